"""Teardown as an assertion: it is red when something stays, and it touches no stranger."""

from __future__ import annotations

import os
import socket
import subprocess
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


def test_a_directory_that_is_no_lanes_is_refused_and_left(lane: Any) -> None:
    lane.dir.mkdir(mode=0o700)
    (lane.dir / "thesis.txt").write_text("mine")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (lane.dir / "daemon.pid").write_text(str(stranger.pid))
        down = lane.run("playbooks/teardown.yml")
        assert down.rc == 2, down
        assert down.result("Take the lane down")["lane_failure"]["code"] == "lane_dir_foreign"
        assert sorted(os.listdir(lane.dir)) == ["daemon.pid", "thesis.txt"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        (lane.dir / "daemon.pid").unlink()
        (lane.dir / "thesis.txt").unlink()
        lane.dir.rmdir()
