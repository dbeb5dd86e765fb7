"""The suites' questions to qemu's monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from suite_lane import SOON, Lane, Monitor, entry_of

RUNNING = {"execute": "query-status", "equals": {"status": "running"}}


def channels(*ids: int, **more: bool) -> dict[str, Any]:
    return {"channels": [{"connection-id": one, **more} for one in ids]}


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


@pytest.mark.parametrize(
    ("options", "answers", "code"),
    [
        ({"execute": "query-status"}, [{"status": "paused"}], None),
        (RUNNING, [{"status": "paused"}, {"status": "running", "more": 1}], None),
        (RUNNING, [{"status": "paused"}], "monitor_answer_wrong"),
        (RUNNING, ["running"], "monitor_answer_wrong"),
        ({"monitor": "info x"}, ["anything"], None),
        ({"monitor": "info x", "match": "^b"}, ["a", "b"], None),
        ({"monitor": "info x", "match": "^b"}, ["a"], "monitor_answer_wrong"),
        ({"channels": 2}, [channels(1), channels(1, 1)], None),
        ({"channels": 0}, [{}], None),
        ({"channels": 1}, [{}], "spice_channels_wrong"),
        ({"channels": 1, "tls": True}, [channels(1, tls=True)], None),
        ({"channels": 1, "tls": True}, [channels(1, tls=False)], "spice_channels_wrong"),
        ({"channels": 1, "tls": False}, [channels(1, tls=True)], "spice_channels_wrong"),
    ],
)
def test_qemus_monitor_is_asked_until_it_answers_as_wanted(
    lane: Lane, options: dict[str, Any], answers: list[Any], code: str | None
) -> None:
    lane.monitor = Monitor(*answers)
    detail = entry_of(lane, {"qemu": options, "within": 0.03 if code else 5})["detail"]
    assert (detail.get("code"), detail.get("evidence")) == (code, lane.log("qemu") if code else None)
    assert code != "spice_channels_wrong" or ("with TLS" in detail["cause"]) is ("tls" in options)
    if "monitor" in options:
        assert lane.monitor.asked[0] == ("human-monitor-command", {"command-line": "info x"})


@pytest.mark.parametrize(("after", "good"), [([2, 2], True), ([1, 2], False), ([], False)])
def test_new_channels_are_none_of_those_before(lane: Lane, after: list[int], good: bool) -> None:
    lane.monitor = Monitor(channels(1, 1), channels(*after))
    first = {"qemu": {"channels": 2}, "register": "before"}
    detail = entry_of(lane, first, {"qemu": {"execute": "x", "differ_from": "before"}, **SOON})["detail"]
    assert detail.get("code") == (None if good else "spice_channels_wrong")
    seen = ["qemu: 2 SPICE channels", "qemu: 2 SPICE channels, none of those before"]
    assert detail["witnesses"] == seen[: 1 + good]
    words = f"shows {len(after)} channels, {after.count(1)} of them of the connection before"
    assert good or detail["cause"].endswith(words)
