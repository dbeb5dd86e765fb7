"""The actors `api` and `audit` of the suites, on a lane whose answers are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import plan, tokens
from suite_lane import Lane, asked, outcome

SOON = {"within": 0.03}


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


@pytest.mark.parametrize(
    ("options", "answer", "code"),
    [
        ({}, (200, ""), None),
        ({}, (404, ""), "api_answer_wrong"),
        ({"status": 404}, (404, ""), None),
        ({"match": "b"}, (200, "abc"), None),
        ({"match": "x"}, (200, "abc"), "api_answer_wrong"),
        ({"never": "x"}, (200, "abc"), None),
        ({"never": "b"}, (200, "abc"), "api_answer_wrong"),
        ({"holds": {"a": "x+"}}, (200, '{"a": "xx", "b": 1}'), None),
        ({"holds": {"a": "x"}}, (200, '{"a": "xx"}'), "api_answer_wrong"),  # the whole value
        ({"holds": {"a": "false", "b": "1"}}, (200, '{"a": false, "b": 1}'), None),
        ({"holds": {"a": "x"}}, (200, '{"b": "x"}'), "api_answer_wrong"),
        ({"holds": {"a": "x"}}, (200, '["a"]'), "api_answer_wrong"),
        ({"holds": {"{uuid}": {"a": "x"}}}, (200, '{"UUID": {"a": "x"}}'), None),
        ({"holds": [{"a": "x"}, {"a": "y"}]}, (200, '[{"a": "y", "b": 1}, {"a": "x"}]'), None),
        ({"holds": [{"a": "x"}, {"a": "y"}]}, (200, '[{"a": "x"}]'), "api_answer_wrong"),
        ({"holds": ["x"]}, (200, "[]"), "api_answer_wrong"),
        ({"holds": ["x"]}, (200, '{"x": 1}'), "api_answer_wrong"),
        ({"holds": ["x"]}, (200, "<html>"), "api_answer_wrong"),
    ],
)
def test_an_answer_of_the_api_is_as_wanted(
    lane: Lane, options: dict[str, Any], answer: tuple[int, str], code: str | None
) -> None:
    lane.answer = lambda *_: answer
    assert outcome(lane, {"api": {"path": "/x", **options}, **SOON})[0] == code


@pytest.mark.parametrize(
    ("options", "may"), [({}, False), ({"shows_ticket": False}, False), ({"shows_ticket": True}, True)]
)
def test_only_an_answer_that_may_show_the_ticket_is_not_searched_for_it(
    lane: Lane, options: dict[str, Any], may: bool
) -> None:
    lane.answer = lambda *_: (200, "")
    assert outcome(lane, {"api": {"path": "/x", **options}})[0] is None
    assert asked(lane, "request")[0][4] is may


@pytest.mark.parametrize(
    ("options", "times", "code"),
    [
        ({}, 3, None),
        ({"retry": False}, 1, "api_answer_wrong"),
        ({"method": "POST"}, 1, "api_answer_wrong"),
    ],
)
def test_only_a_get_is_repeated(lane: Lane, options: dict[str, Any], times: int, code: str | None) -> None:
    answers = iter([(500, ""), (500, ""), (200, "")])
    lane.answer = lambda *_: next(answers)
    assert outcome(lane, {"api": {"path": "/x", **options}, "within": 5})[0] == code
    assert len(asked(lane, "request")) == times


@pytest.mark.parametrize(
    ("options", "authorization"),
    [
        ({}, "Bearer x.e30.y"),
        ({"token": "none"}, None),
        ({"token": "mine"}, "Bearer mine"),
        ({"jwt": {"set": {"a": 1}}}, "forged"),
    ],
)
def test_a_request_has_the_token_that_is_asked_for(
    lane: Lane, options: dict[str, Any], authorization: str | None
) -> None:
    assert outcome(lane, {"api": {"path": "/x", "accept": "text/html", **options}}) == (None, None)
    ((_, _, _, headers, _),) = asked(lane, "request")
    if authorization == "forged":
        assert tokens.claims(headers["Authorization"].removeprefix("Bearer ")) == {"a": 1}
    else:
        assert headers.get("Authorization") == authorization
    assert headers["Accept"] == "text/html"


ROWS = [
    {"session_id": "s", "channel": None, "message": "came"},
    {"session_id": None, "channel": "main", "message": "went"},
]
STORED = [["s", None, "came"], [None, "main", "went"]]


def audited(lane: Lane, rows: list[dict[str, Any]], total: int | None = None, status: int = 200) -> None:
    body = json.dumps({"audit": rows, "total": len(rows) if total is None else total})
    lane.answer = lambda *_: (status, body)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, None),
        ({"has": ["^came", "went"], "has_not": ["^no"]}, None),
        ({"has": ["came", "gone"]}, "audit_wrong"),
        ({"has_not": ["gone", "went"]}, "audit_wrong"),
        ({"session": "s", "has": ["came"], "has_not": ["went"]}, None),
        ({"session": "other", "has": ["came"]}, "audit_wrong"),
        ({"grown_by": 0}, None),
    ],
)
def test_the_audit_holds_what_happened(lane: Lane, options: dict[str, Any], code: str | None) -> None:
    audited(lane, ROWS)
    assert outcome(lane, {"audit": options, **SOON})[0] == code
    assert asked(lane, "request")[0][1:3] == ("GET", f"/console/{lane.place.source}/UUID/audit?limit=1000")


def test_the_audit_is_asked_for_until_it_holds_what_happened(lane: Lane) -> None:
    answers = iter([[], ROWS])
    lane.answer = lambda *_: (200, json.dumps({"audit": next(answers), "total": 2}))
    assert outcome(lane, {"audit": {"has": ["came"]}}) == (None, None)


def test_an_audit_that_is_not_given_fails_at_once(lane: Lane) -> None:
    audited(lane, ROWS, status=500)
    assert outcome(lane, {"audit": {}, "within": 60}) == ("api_answer_wrong", "kerbside")


@pytest.mark.parametrize(("grown", "code"), [(0, "audit_wrong"), (1, None), (2, "audit_wrong")])
def test_the_audit_grows_by_as_many_rows_as_asked(lane: Lane, grown: int, code: str | None) -> None:
    def grow(*_: Any) -> None:
        audited(lane, ROWS, total=2 + grown)

    audited(lane, ROWS)
    steps = ({"audit": {}, "register": "before"}, {"grow": {}}, {"audit": {"than": "before", "grown_by": 1}, **SOON})
    assert outcome(lane, *steps, actors={"grow": plan.Actor({}, grow)})[0] == code


def test_the_audit_of_another_console_is_asked_for_by_its_own_name(lane: Lane) -> None:
    audited(lane, ROWS)
    more = {"machines": [{"name": "m"}], "consoles": [{"name": "k", "machine": "m"}]}
    assert outcome(lane, {"audit": {"of": "k"}}, **more) == (None, None)
    assert asked(lane, "request")[0][2] == f"/console/suite-k/{lane.machines.uuid('k')}/audit?limit=1000"


@pytest.mark.parametrize(
    ("stored", "total", "failure"),
    [
        (STORED, 2, (None, None)),
        (STORED[::-1], 2, (None, None)),
        (STORED[:1], 2, ("audit_wrong", "kerbside")),
        ([*STORED[:1], ["s", None, "went"]], 2, ("audit_wrong", "kerbside")),
        (STORED, 3, ("audit_wrong", "kerbside")),
        ([*STORED[:1], ["t", None, "x"], ["u", None, "y"]], 3, ("audit_wrong", "kerbside")),
        (None, 2, ("suite_database_silent", "database")),
    ],
)
def test_api_and_database_have_the_same_audit(
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    stored: list[Any] | None,
    total: int,
    failure: tuple[str | None, str | None],
) -> None:
    python = Path(lane.place.database_python)
    python.write_text(
        f"#!/bin/sh\n[ $5 = UUID ] || exit 3\n{'exit 1' if stored is None else f'echo {json.dumps(json.dumps(stored))}'}\n"
    )
    python.chmod(0o700)
    audited(lane, ROWS, total)
    assert outcome(lane, {"audit": {"same_in_database": True}, **SOON}) == failure


def test_of_an_audit_that_is_too_long_only_the_number_is_compared(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"session_id": "s", "channel": "main", "message": str(number)} for number in range(1000)]
    python = Path(lane.place.database_python)
    python.write_text(f"#!/bin/sh\necho '{json.dumps([['s', 'main', '1']] * 1001)}'\n")
    python.chmod(0o700)
    audited(lane, rows, 1001)
    assert outcome(lane, {"audit": {"same_in_database": True}, **SOON}) == (None, None)
    python.write_text(f"#!/bin/sh\necho '{json.dumps([['s', 'main', '1']] * 999)}'\n")
    audited(lane, rows[:999])
    assert outcome(lane, {"audit": {"same_in_database": True}, **SOON})[0] == "audit_wrong"


# --- the clipboard, and pictures ----------------------------------------------------------------
