"""What did not happen within a step's limit is told by what was seen instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from suite_lane import NAP, SOON, Lane, Monitor, does, entry_of

STATUS = {"qemu": {"execute": "query-status", "equals": {"status": "running"}}}


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


def writes(text: str) -> Callable[[Lane], None]:
    return lambda lane: Path(lane.place.serial_log).write_text(text) and None


def answers(body: Any) -> Callable[[Lane], None]:
    return lambda lane: setattr(lane, "answer", lambda *_: (200, json.dumps(body)))


def monitor(*said: Any) -> Callable[[Lane], None]:
    return lambda lane: setattr(lane, "monitor", Monitor(*said))


def holds(value: Any) -> dict[str, Any]:
    return {"api": {"path": "/", "holds": value}}


ROWS = [{"session_id": "s", "channel": None, "message": message} for message in ("came", "went")]
LINE, LONG = {"serial": {"line": "x", "since": "w"}}, "t" * 25


@pytest.mark.parametrize(
    ("prepare", "step", "cause"),
    [
        (writes("one\ntwo\n"), LINE, "its last line is 'two'"),
        (writes("one\nlin"), LINE, "its last line is 'lin', which it has not ended"),
        (monitor({"status": "paused"}), STATUS, "qemu answered {'status': 'paused'}, and not {'status': 'running'}"),
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
def test_a_failure_says_what_was_seen_instead(
    lane: Lane, prepare: Callable[[Lane], None], step: dict[str, Any], cause: str
) -> None:
    Path(lane.place.serial_log).touch()
    actors = {"prepare": does(lambda: prepare(lane))}
    entry = entry_of(lane, {**NAP, "register": "w"}, {"prepare": {}}, {**step, **SOON}, actors=actors)
    assert cause in entry["detail"]["cause"] and LONG not in json.dumps(entry)
