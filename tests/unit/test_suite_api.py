"""The actors `api` and `audit` of the suites, on a lane whose answers are given."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import tokens
from prepared import executable
from suite_lane import CONSOLE_K, PASSED, SOON, STARTED, TICKET, Lane, asked, does, entry_of, fake_lane, outcome

lane = fake_lane

WRONG = "api_answer_wrong"


@pytest.mark.parametrize(
    ("options", "answer", "code"),
    [
        ({}, (200, ""), None),
        ({}, (404, ""), WRONG),
        ({"status": 404}, (404, ""), None),
        ({"match": "b"}, (200, "abc"), None),
        ({"match": "x"}, (200, "abc"), WRONG),
        ({"never": "x"}, (200, "abc"), None),
        ({"never": "b"}, (200, "abc"), WRONG),
        ({"holds": {"a": "x+"}}, (200, '{"a": "xx", "b": 1}'), None),
        ({"holds": {"a": "x"}}, (200, '{"a": "xx"}'), WRONG),  # the whole value
        ({"holds": {"a": "false", "b": "1"}}, (200, '{"a": false, "b": 1}'), None),
        ({"holds": {"a": False, "b": 1}}, (200, '{"a": false, "b": 1}'), None),
        ({"holds": {"a": False}}, (200, '{"a": "false"}'), WRONG),
        ({"holds": {"b": 1}}, (200, '{"b": true}'), WRONG),
        ({"holds": {"a": "x"}}, (200, '{"b": "x"}'), WRONG),
        ({"holds": {"a": "x"}}, (200, '["a"]'), WRONG),
        ({"holds": {"{uuid}": {"a": "x"}}}, (200, '{"UUID": {"a": "x"}}'), None),
        ({"holds": [{"a": "x"}, {"a": "y"}]}, (200, '[{"a": "y", "b": 1}, {"a": "x"}]'), None),
        ({"holds": [{"a": "x"}, {"a": "y"}]}, (200, '[{"a": "x"}]'), WRONG),
        ({"holds": ["x"]}, (200, '{"x": 1}'), WRONG),
        ({"holds": ["x"]}, (200, "<html>"), WRONG),
        ({"holds": {"a": "x"}}, (200, '{"a": "x"}', "text/html"), WRONG),  # what it says that it is
        ({"match": "a"}, (200, "a", "text/html"), None),
        ({"type": "text/plain", "match": "a"}, (200, "a", "text/plain"), None),
        ({"type": "text/plain", "match": "a"}, (200, "a", "text/html"), WRONG),
        ({"type": "text/plain"}, (200, "", ""), WRONG),
    ],
)
def test_an_answer_of_the_api_is_as_wanted(lane, options, answer, code):
    lane.answer = lambda *_: answer
    assert outcome(lane, {"api": {"path": "/x", **options}, **SOON})[0] == code


@pytest.mark.parametrize(("options", "may"), [({}, False), ({"shows_ticket": True}, True)])
def test_only_an_answer_that_may_show_the_ticket_is_not_searched_for_it(lane, options, may):
    assert outcome(lane, {"api": {"path": "/x", **options}}) == PASSED
    assert asked(lane, "request")[0][4] is may


def test_a_failure_does_not_show_the_ticket_that_it_missed(lane):
    step = {"api": {"path": "/x", "match": "password={ticket}", "shows_ticket": True}, **SOON}
    cause = entry_of(lane, step)["detail"]["cause"]
    assert "password={ticket}" in cause and TICKET not in cause


@pytest.mark.parametrize(
    ("options", "times", "code"), [({}, 3, None), ({"retry": False}, 1, WRONG), ({"method": "POST"}, 1, WRONG)]
)
def test_only_a_get_is_repeated(lane, options, times, code):
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
def test_a_request_has_the_token_that_is_asked_for(lane, options, authorization):
    assert outcome(lane, {"api": {"path": "/x", "accept": "text/html", **options}}) == PASSED
    ((_, _, _, headers, _),) = asked(lane, "request")
    if authorization == "forged":
        assert tokens.claims(headers["Authorization"].removeprefix("Bearer ")) == {"a": 1}
    else:
        assert headers.get("Authorization") == authorization
    assert headers["Accept"] == "text/html"


def row(session: str | None, channel: str | None, message: str, pid: str | None = None, **more: Any) -> dict[str, Any]:
    row = {"session_id": session, "channel": channel, "node": "lane-1", "pid": pid, "message": message}
    return {**row, "timestamp": STARTED + 1.5, **more}


def stored(rows: list[dict[str, Any]]) -> list[Any]:
    """The same rows, as the database gives them."""
    return [list(row.values()) for row in rows]


ROWS = [row("s", None, "came"), row(None, "main", "went")]
STORED = stored(ROWS)


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
def test_the_audit_holds_what_happened(lane, options, code):
    audited(lane, ROWS)
    assert outcome(lane, {"audit": options, **SOON})[0] == code
    assert asked(lane, "request")[0][1:3] == ("GET", f"/console/{lane.place.source}/UUID/audit?limit=1000")


def test_the_audit_is_asked_for_until_it_holds_what_happened(lane):
    answers = iter([[], ROWS])
    lane.answer = lambda *_: (200, json.dumps({"audit": next(answers), "total": 2}))
    assert outcome(lane, {"audit": {"has": ["came"]}}) == PASSED


def test_an_audit_that_is_not_given_fails_at_once(lane):
    audited(lane, ROWS, status=500)
    assert outcome(lane, {"audit": {}, "within": 60}) == ("api_answer_wrong", "kerbside")


@pytest.mark.parametrize(("grown", "code"), [(0, "audit_wrong"), (1, None), (2, "audit_wrong")])
def test_the_audit_grows_by_as_many_rows_as_asked(lane, grown, code):
    audited(lane, ROWS)
    grow = does(lambda: audited(lane, ROWS, total=2 + grown))
    steps = ({"audit": {}, "register": "before"}, {"grow": {}}, {"audit": {"than": "before", "grown_by": 1}, **SOON})
    assert outcome(lane, *steps, actors={"grow": grow})[0] == code


def test_the_audit_of_another_console_is_asked_for_by_its_own_name(lane):
    audited(lane, ROWS)
    assert outcome(lane, {"audit": {"of": "k"}}, **CONSOLE_K) == PASSED
    assert asked(lane, "request")[0][2] == f"/console/suite-k/{lane.machines.uuid('k')}/audit?limit=1000"


def stores(lane: Lane, rows: list[Any] | None) -> None:
    """What the database holds; None: it does not say."""
    says = "exit 1" if rows is None else f"echo '{json.dumps(rows)}'"
    executable(Path(lane.place.database_python), f'[ "$5 $6" = "{lane.place.source} UUID" ] || exit 3\n{says}')


MANY = [row("s", "main", str(number)) for number in range(1001)]
DIFFER = ("audit_wrong", "kerbside")
NEVER = [row("s", None, "came", timestamp=STARTED - 3600)]
COMING = [row("s", None, "came", timestamp=STARTED + 86400)]


@pytest.mark.parametrize(
    ("rows", "stored", "total", "failure"),
    [
        pytest.param(ROWS, STORED, 2, PASSED, id="the same"),
        pytest.param(ROWS, STORED[::-1], 2, DIFFER, id="in another order"),
        pytest.param(ROWS, STORED[:1], 2, DIFFER, id="a row too few"),
        pytest.param(ROWS, STORED, 3, DIFFER, id="another total"),
        pytest.param(ROWS, [*STORED[:1], *stored([row("s", None, "went")])], 2, DIFFER, id="another row"),
        pytest.param(ROWS, [*STORED[:1], *stored([row(None, "main", "went", "p")])], 2, DIFFER, id="another pid"),
        pytest.param(ROWS, [*STORED[:1], *stored([{**ROWS[1], "node": "x"}])], 2, DIFFER, id="another node"),
        pytest.param(ROWS, stored([{**one, "timestamp": STARTED} for one in ROWS]), 2, DIFFER, id="another time"),
        pytest.param([row("s", None, "came", timestamp=None)], STORED[:1], 1, DIFFER, id="no time"),
        pytest.param(NEVER, stored(NEVER), 1, DIFFER, id="before the run"),
        pytest.param(COMING, stored(COMING), 1, DIFFER, id="tomorrow"),
        pytest.param(ROWS, None, 2, ("suite_database_silent", "database"), id="a silent database"),
        pytest.param(MANY[1:], stored(MANY), 1001, PASSED, id="more than one answer holds"),
        pytest.param(MANY[:1000], stored(MANY), 1001, DIFFER, id="the oldest of them"),
    ],
)
def test_api_and_database_have_the_same_audit(lane, rows, stored, total, failure):
    stores(lane, stored)
    audited(lane, rows, total)
    assert outcome(lane, {"audit": {"same_in_database": True}, **SOON}) == failure


BY_KERBSIDE, BY_PROXY = row("s", "main", "created", "p"), row("s", "main", "connected", "p")
OF_NO_CONNECTION = row("s", None, "terminated")


@pytest.mark.parametrize(
    ("rows", "failure"),
    [
        ([BY_KERBSIDE, BY_PROXY, OF_NO_CONNECTION], PASSED),
        ([BY_KERBSIDE, BY_PROXY, {**BY_KERBSIDE, "pid": "q"}, {**BY_PROXY, "pid": "q"}], PASSED),
        ([BY_KERBSIDE, BY_KERBSIDE, BY_PROXY, BY_PROXY], DIFFER),
        ([OF_NO_CONNECTION, OF_NO_CONNECTION, BY_PROXY], DIFFER),
        ([BY_KERBSIDE, BY_PROXY, BY_PROXY], ("audit_wrong", "proxy")),
        ([row("other", "main", "created", "p")] * 2, PASSED),  # another check's session
    ],
)
def test_nothing_is_told_twice_of_a_session(lane, rows, failure):
    stores(lane, stored(rows))
    audited(lane, rows)
    assert outcome(lane, {"audit": {"session": "s", "same_in_database": True}, **SOON}) == failure
