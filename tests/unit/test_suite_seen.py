"""The suites' questions to qemu's monitor; and what did not happen within a step's limit is told by what was seen
instead.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from suite_lane import SOON, Lane, Monitor, entry_of, fake_lane

lane = fake_lane


RUNNING = {"execute": "query-status", "equals": {"status": "running"}}


def channels(*ids: int, **more: bool) -> dict[str, Any]:
    return {"channels": [{"connection-id": one, **more} for one in ids]}


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
def test_qemus_monitor_is_asked_until_it_answers_as_wanted(lane, options, answers, code):
    lane.monitor = Monitor(*answers)
    detail = entry_of(lane, {"qemu": options, **(SOON if code else {"within": 5})})["detail"]
    assert (detail.get("code"), detail.get("evidence")) == (code, lane.log("qemu") if code else None)
    assert code != "spice_channels_wrong" or ("with TLS" in detail["cause"]) is ("tls" in options)
    if "monitor" in options:
        assert lane.monitor.asked[0] == ("human-monitor-command", {"command-line": "info x"})


@pytest.mark.parametrize(("after", "good"), [([2, 2], True), ([1, 2], False), ([], False)])
def test_new_channels_are_none_of_those_before(lane, after, good):
    lane.monitor = Monitor(channels(1, 1), channels(*after))
    first = {"qemu": {"channels": 2}, "register": "before"}
    detail = entry_of(lane, first, {"qemu": {"execute": "x", "differ_from": "before"}, **SOON})["detail"]
    assert detail.get("code") == (None if good else "spice_channels_wrong")
    seen = ["qemu: 2 SPICE channels", "qemu: 2 SPICE channels, none of those before"]
    assert detail["witnesses"] == seen[: 1 + good]
    words = f"shows {len(after)} channels, {after.count(1)} of them of the connection before"
    assert good or detail["cause"].endswith(words)


def test_the_id_of_a_connection_is_unsigned(lane):
    lane.monitor = Monitor(channels(-1))
    answers({"id": (1 << 32) - 1})(lane)
    assert entry_of(lane, {"qemu": {"channels": 1}, "register": "q"}, holds({"id": "{q.id}"}))["result"] == "pass"


def answers(body: Any) -> Callable[[Lane], None]:
    return lambda lane: setattr(lane, "answer", lambda *_: (200, json.dumps(body)))


def monitor(*said: Any) -> Callable[[Lane], None]:
    return lambda lane: setattr(lane, "monitor", Monitor(*said))


def holds(value: Any) -> dict[str, Any]:
    return {"api": {"path": "/", "holds": value}}


ROWS = [{"session_id": "s", "channel": None, "message": message} for message in ("came", "went")]
LONG = "t" * 25


@pytest.mark.parametrize(
    ("prepare", "step", "cause"),
    [
        (
            monitor({"status": "paused"}),
            {"qemu": RUNNING},
            "qemu answered {'status': 'paused'}, and not {'status': 'running'}",
        ),
        (monitor("VM paused"), {"qemu": {"monitor": "x", "match": "z"}}, "qemu answered VM paused, without 'z'"),
        (monitor({"channels": []}), {"qemu": {"channels": 4}}, "shows 0 channels and not 4"),
        (
            monitor({"channels": [{}]}),
            {"qemu": {"channels": 1, "tls": True}},
            "1 channels, 0 of them with TLS and not all",
        ),
        (answers({"a": 1, "b": 2}), holds({"c": "1"}), "without c in the answer, which has a, b"),
        (answers({"a": "red"}), holds({"a": "blue"}), "with a a that is not 'blue' but 'red'"),
        (answers({"a": LONG}), holds({"a": "blue"}), "with a a that is not 'blue' but 25 characters"),
        (answers([{"a": 1}, {"a": 2}]), holds([{"a": "3"}]), "among 2; the last is with a a that is not '3' but '2'"),
        (answers([]), holds([{"a": "3"}]), "; there is none at all"),
        (
            answers({"total": 2, "audit": ROWS}),
            {"audit": {"has": ["gone"]}},
            "no 'gone' among 2 rows; the last is 'went'",
        ),
        (lambda lane: None, {"connect": {"refused": "Denied"}}, "its last words: INFO still connected"),
    ],
)
def test_a_failure_says_what_was_seen_instead(lane, prepare, step, cause):
    prepare(lane)
    entry = entry_of(lane, {**step, **SOON})
    assert cause in entry["detail"]["cause"] and LONG not in json.dumps(entry)
