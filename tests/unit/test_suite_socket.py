"""What a suite says to ryll's control socket line by line, to a peer that answers as it is told to."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import socket_lines
from control_peer import Connection, Peer
from suite_lane import PASSED, Lane, entry_of, fake_lane, outcome

lane = fake_lane
WRONG = ("socket_answer_wrong", "ryll")
OK: dict[str, Any] = {"id": 1, "ok": True, "result": {"a": 1}}
BUSY = {"ok": False, "error": {"code": "busy", "message": "no"}}
EVENT = {"event": "e", "data": {"n": 1}}


def saying(*answers: Any, then: Callable[[Connection], object] = Connection.wait) -> Callable[[Connection], None]:
    """A peer that says these objects after the first line that it gets."""

    def serve(connection: Connection) -> None:
        connection.file.readline()
        for answer in answers:
            connection.send(answer)
        then(connection)

    return serve


def ends(connection: Connection) -> None:
    """The peer closes the connection."""


def told(lane: Lane, *handlers: Callable[[Connection], object], **options: Any) -> tuple[Any, Any]:
    """The failure of a check that says `x` to a peer."""
    with Peer(*handlers) as peer:
        lane.socket = lambda client: peer.path  # type: ignore[attr-defined]
        return outcome(lane, {"lines": {"send": ["x"], **options}, "within": 0.5})


@pytest.mark.parametrize(
    ("answers", "options", "passes"),
    [
        ([OK], {"receive": [OK]}, True),
        ([OK], {"receive": [{"id": 1, "result": {}}]}, True),  # what a line has besides does not matter
        ([OK], {"receive": [{"id": 2}]}, False),
        ([OK], {"receive": [OK, OK]}, False),  # one is missing
        ([OK], {}, False),  # one too many
        ([], {}, True),
        ([BUSY], {"receive": [{"id": None, "ok": False}]}, True),  # one without an id
        ([OK], {"receive": [{"id": None}]}, False),
        ([EVENT, OK], {"receive": [OK]}, False),
        ([EVENT, OK, EVENT], {"receive": [OK], "among_others": True}, True),
        ([EVENT], {"receive": [OK], "among_others": True}, False),
        ([OK, EVENT], {"receive": [EVENT, OK], "among_others": True}, False),  # in this order
    ],
)
def test_the_answers_are_those_that_are_wanted(lane, answers, options, passes):
    assert told(lane, saying(*answers), **options) == (PASSED if passes else WRONG)


@pytest.mark.parametrize(
    ("answers", "then", "closes", "passes"),
    [
        ([OK], ends, True, True),
        ([OK], Connection.wait, True, False),
        ([OK, OK], ends, True, False),
        ([OK], ends, False, False),
        ([], ends, False, False),
    ],
)
def test_a_connection_is_closed_where_that_is_wanted(lane, answers, then, closes, passes):
    assert told(lane, saying(*answers, then=then), receive=[OK], closes=closes) == (PASSED if passes else WRONG)


@pytest.mark.parametrize(("ahead", "passes"), [(0, True), (-3600, False), (3600, False)])
def test_an_event_is_dated_now(lane, ahead, passes):
    at = int(1e6 * (time.time() + ahead))
    event = {"event": "e", "data": {"wallclock_us": at}}
    assert told(lane, saying(event), receive=[{"event": "e"}]) == (PASSED if passes else WRONG)


def test_a_ryll_that_still_sees_the_client_before_is_asked_again(lane, monkeypatch):
    assert told(lane, saying(BUSY, then=ends), saying(OK), receive=[OK]) == PASSED
    monkeypatch.setattr(socket_lines, "RETRY_EVERY", 0.1)
    assert told(lane, saying(BUSY, then=ends), receive=[OK]) == WRONG


def test_a_connection_stays_open_until_a_step_leaves_it(lane):
    got: list[Any] = []

    def echo(connection: Connection) -> None:
        for request in connection.requests():
            got.append(request)
            connection.send({**OK, "id": request["id"]})
        got.append("left")

    def say(number: int, **more: Any) -> dict[str, Any]:
        return {"lines": {"send": [json.dumps({"id": number})], "receive": [{"id": number}], **more}}

    with Peer(echo) as peer:
        lane.socket = lambda client: peer.path
        steps = [{**say(1), "register": "c"}, say(2, connection="c"), say(3, connection="c", leaves=True), say(4)]
        assert entry_of(lane, *steps)["result"] == "pass"
    assert got == [{"id": 1}, {"id": 2}, {"id": 3}, "left", {"id": 4}, "left"]


def test_a_socket_that_is_not_there(lane, tmp_path):
    lane.socket = lambda client: str(Path(tmp_path, "none"))
    assert outcome(lane, {"lines": {"send": ["x"]}, "within": 0.1}) == WRONG
