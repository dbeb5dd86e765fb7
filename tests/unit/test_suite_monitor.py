"""The suites' questions to qemu's monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from suite_lane import Lane, Monitor, check, played

SOON = {"within": 0.03}


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


@pytest.mark.parametrize(
    ("options", "answers", "code"),
    [
        ({"execute": "query-status"}, [{"status": "paused"}], None),
        (
            {"execute": "query-status", "equals": {"status": "running"}},
            [{"status": "paused"}, {"status": "running", "more": 1}],
            None,
        ),
        ({"execute": "query-status", "equals": {"status": "running"}}, [{"status": "paused"}], "monitor_answer_wrong"),
        ({"execute": "query-status", "equals": {"status": "running"}}, ["running"], "monitor_answer_wrong"),
        ({"monitor": "info x"}, ["anything"], None),
        ({"monitor": "info x", "match": "^b"}, ["a", "b"], None),
        ({"monitor": "info x", "match": "^b"}, ["a"], "monitor_answer_wrong"),
        (
            {"channels": 2},
            [{"channels": [{"connection-id": 1}]}, {"channels": [{"connection-id": 1}, {"connection-id": 1}]}],
            None,
        ),
        ({"channels": 0}, [{}], None),
        ({"channels": 1}, [{}], "spice_channels_wrong"),
        ({"channels": 1, "tls": True}, [{"channels": [{"connection-id": 1, "tls": True}]}], None),
        ({"channels": 1, "tls": True}, [{"channels": [{"connection-id": 1, "tls": False}]}], "spice_channels_wrong"),
        ({"channels": 1, "tls": False}, [{"channels": [{"connection-id": 1, "tls": True}]}], "spice_channels_wrong"),
    ],
)
def test_qemus_monitor_is_asked_until_it_answers_as_wanted(
    lane: Lane, options: dict[str, Any], answers: list[Any], code: str | None
) -> None:
    lane.monitor = Monitor(*answers)
    within = {"within": 5} if code is None else SOON
    (entry,) = played(lane, check({"qemu": options, **within}))
    assert entry["detail"].get("code") == code
    assert code != "spice_channels_wrong" or ("with TLS" in entry["detail"]["cause"]) is ("tls" in options)
    if "monitor" in options:
        assert lane.monitor.asked[0] == ("human-monitor-command", {"command-line": "info x"})


@pytest.mark.parametrize(("after", "good"), [([2, 2], True), ([1, 2], False), ([], False)])
def test_new_channels_are_none_of_those_before(lane: Lane, after: list[int], good: bool) -> None:
    lane.monitor = Monitor(*({"channels": [{"connection-id": one} for one in ids]} for ids in ([1, 1], after)))
    first = {"qemu": {"channels": 2}, "register": "before"}
    second = {"qemu": {"execute": "x", "differ_from": "before"}, **SOON}
    (entry,) = played(lane, check(first, second))
    assert entry["detail"].get("code") == (None if good else "spice_channels_wrong")
    assert (
        entry["detail"]["witnesses"]
        == ["qemu: 2 SPICE channels", "qemu: 2 SPICE channels, none of those before"][: 1 + good]
    )
    assert good or entry["detail"]["cause"].endswith(
        f"shows {len(after)} channels, {after.count(1)} of them of the connection before"
    )
