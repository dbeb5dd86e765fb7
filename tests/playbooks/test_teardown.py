"""Teardown as an assertion: it is red when something stays, and it touches no stranger."""

from __future__ import annotations

import os
import socket
from typing import Any


def test_it_is_red_when_something_stays_and_leaves_the_stranger_alone(lane: Any) -> None:
    assert lane.run("playbooks/lane.yml", "--tags", "tls").rc == 0
    port = 17900 + 10 * lane.id
    with socket.create_server(("127.0.0.1", port)) as stranger:
        down = lane.run("playbooks/teardown.yml")
        assert down.rc == 2, down
        assert down.result("Take the lane down")["lane_failure"]["code"] == "not_clean"
        assert f"a listener on port {port} (" in down.failures[0]
        assert f"pid {os.getpid()})" in down.failures[0]
        socket.create_connection(stranger.getsockname(), timeout=5).close()
    assert not lane.dir.exists()
    assert not lane.marked()
    assert lane.run("playbooks/teardown.yml").rc == 0
