"""What a suite says to one of its clients."""

import os
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import conversation as of_client
from ansible.module_utils.lane.checks.suites.conversation import Conversation
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.protocols.ryll import steps as ryll_steps
from control_peer import Peer, Ryll


def conversation(path: str, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """With a peer of this process in a client's place."""
    entry = SimpleNamespace(pid=os.getpid())
    monkeypatch.setattr(records, "record", lambda lane_dir, name: entry)
    return Conversation("", "ryll", path, "ryll.log", slowness=2.0)


def test_a_step_has_more_time_on_a_slow_machine(monkeypatch):
    seen: list[tuple[float, float]] = []

    def play(of: Any, step: Any, deadline: float) -> None:
        seen.append((deadline - time.monotonic(), step.limit))

    monkeypatch.setattr(of_client, "play", play)
    conversation("/nowhere", monkeypatch).play(ryll_steps.plan([{"hello": {}}], 100.0)[0])
    ((left, limit),) = seen
    assert 100 < left <= 200 and limit == 200  # a failure says how long it waited


def test_events_of_before_are_forgotten_and_a_moment_is_kept(monkeypatch):
    ryll = Ryll()
    with Peer(ryll) as peer:
        talk = conversation(peer.path, monkeypatch)
        talk.open(["surface_drawn"])
        client = talk.stage.client
        client.request("send_key", {"scancode": 30, "state": "press"}, time.monotonic() + 5)
        client.request("status", {}, time.monotonic() + 5)
        talk.mark("now")
        assert len(client.events.kept) == 1 and talk.stage.kept["now"].event == client.events.last
        talk.subscribe(["surface_drawn", "paste_failed"])
        talk.subscribe(["surface_drawn"])
        assert not client.events.kept and ryll.subscribed == {"surface_drawn", "paste_failed"}
        assert ryll.asked.count("subscribe") == 2
        talk.close()
