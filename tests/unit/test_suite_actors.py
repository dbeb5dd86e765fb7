"""The actors of the suites, on a lane whose answers are given: each is seen to pass, and to fail for each of its reasons."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import pictures, plan, tokens
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.core.command import Done
from ansible.module_utils.lane.protocols.ryll import pictures as ryll_pictures
from PIL import Image
from suite_lane import TICKET, Lane, Monitor, check, gives, outcome, played, says

SOON = {"within": 0.03}
CONSOLE = {"console": {}, "register": "c"}


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


def asked(lane: Lane, what: str) -> list[Any]:
    return [one for one in lane.did if one[0] == what]


def test_a_console_gives_its_token_and_two_wrong_ones(lane: Lane) -> None:
    for password, changed in (("Ab7", "Ab0"), ("Ab0", "Ab1"), ("", "0")):
        lane.keys = {"password": password, "title": "kerbside session 123456789abc"}
        seen: dict[str, Any] = {}
        note = plan.Actor({"v": plan.Option("text")}, lambda play, *_, seen=seen: seen.update(play.values["c"]))
        assert outcome(lane, CONSOLE, {"note": {}}, actors={"note": note}) == (None, None)
        told = (seen["password"], seen["changed"], seen["swapped"], seen["session"])
        assert told == (password, changed, password.swapcase(), "123456789abc")


@pytest.mark.parametrize(
    ("options", "keys", "ryll"),
    [
        ({}, {"type": "spice", "password": "good"}, ("--suite",)),
        ({"options": ["--x"]}, {"type": "spice", "password": "good"}, ("--x",)),
        ({"options": []}, {"type": "spice", "password": "good"}, ()),
        ({"console": "c"}, {"password": "of c"}, ("--suite",)),
        ({"console": "c", "edit": {"password": None, "absent": None, "port": 5}}, {"port": "5"}, ("--suite",)),
        ({"direct": True}, {"type": "spice", "host": "127.0.0.1", "port": "17904", "password": TICKET}, ("--suite",)),
    ],
)
def test_a_client_connects_as_asked(lane: Lane, options: dict[str, Any], keys: dict[str, str], ryll: tuple[str, ...]) -> None:
    given = gives("console", {"keys": {"password": "of c"}})
    assert outcome(lane, CONSOLE, {"connect": options}, actors=given, ryll=["--suite"]) == (None, None)
    assert asked(lane, "connect") == [("connect", "ryll", keys, ryll)]


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        (Done(1, "", "Error: PermissionDenied"), (None, None)),
        (Done(1, "PermissionDenied", ""), (None, None)),
        (None, ("client_not_refused", "proxy")),
        (Done(0, "", "PermissionDenied"), ("client_not_refused", "proxy")),
        (Done(1, "", "another reason"), ("client_refused_otherwise", "proxy")),
        (Done(1, TICKET, "PermissionDenied"), ("suite_ticket_shown", "ryll")),
    ],
)
def test_a_client_is_refused_as_expected(lane: Lane, end: Done | None, failure: tuple[str | None, str | None]) -> None:
    lane.end = end
    step = {"connect": {"refused": "PermissionDenied"}, "within": 0.001}
    assert outcome(lane, step) == failure
    (refused,) = asked(lane, "refused")
    assert refused[1:] == ("ryll", {"type": "spice", "password": "good"}, (), 0.1) and asked(lane, "stop")


def test_without_a_ticket_an_output_cannot_hold_it(lane: Lane) -> None:
    Path(lane.place.ticket_file).write_text("")
    lane.end = Done(2, "", "PermissionDenied")
    assert outcome(lane, {"connect": {"refused": "Permission", "exits": 2}}) == (None, None)


def test_a_client_stops_and_a_file_is_made(lane: Lane) -> None:
    assert outcome(lane, {"connect": {}}, {"stop": {}}, {"file": {"name": "disk", "bytes": 4096}}) == (None, None)
    assert asked(lane, "stop") == [("stop", "ryll")] and lane.talk.did[-1] == "close"
    made = os.stat(f"{lane.place.lane_dir}/tmp/disk")
    assert made.st_size == 4096 and stat.S_IMODE(made.st_mode) == 0o600


def test_a_burst_of_keys_waits_for_a_slow_guest(lane: Lane) -> None:
    late: list[Timer] = []

    def play(step: Any) -> dict[str, Any]:
        late.append(Timer(0.05, says(lane, "key: a").play))
        late[-1].start()
        assert step.options["delay_ms"] == 0
        return {}

    lane.talk.on_play = play
    assert outcome(lane, {"connect": {}}, {"burst": {"text": "aa", "window": 1}}) == (None, None)
    assert len(late) == 2


def test_a_burst_has_windows_of_six_keys(lane: Lane) -> None:
    typed: list[str] = []

    def play(step: Any) -> dict[str, Any]:
        typed.append(step.options["text"])
        says(lane, *(f"key: {letter}" for letter in typed[-1])).play()
        return {}

    lane.talk.on_play = play
    assert outcome(lane, {"connect": {}}, {"burst": {"text": "abcdefg"}}) == (None, None)
    assert typed == ["abcdef", "g"]


def test_what_an_actor_cannot_do_without() -> None:
    required = {name: {key for key, option in actor.options.items() if option.required} for name, actor in ACTORS.items()}
    assert {name: keys for name, keys in required.items() if keys} == {
        "api": {"path"},
        "burst": {"text"},
        "clipboard": {"bytes"},
        "clipboard_is": {"bytes"},
        "closed": {"link"},
        "drain": {"equals"},
        "file": {"name", "bytes"},
        "handed_out": {"console"},
        "log": {"of"},
        "open": {"link"},
        "process": {"name"},
        "send": {"link", "type"},
        "settled": {"kind"},
        "wait": {"seconds"},
    }


@pytest.mark.parametrize(
    ("told", "failure"),
    [(1, (None, None)), (0, ("serial_line_missing", "guest")), (2, ("serial_line_unexpected", "guest"))],
)
def test_a_burst_of_keys_waits_for_the_guest_to_tell_of_each(lane: Lane, told: int, failure: tuple[str | None, str | None]) -> None:
    typed: list[str] = []

    def play(step: Any) -> dict[str, Any]:
        typed.append(step.options["text"])
        says(lane, *(f"key: {letter}" for letter in step.options["text"] * told), "another line").play()
        return {}

    lane.talk.on_play = play
    step = {"burst": {"text": "abc", "times": 3, "window": 4}, **SOON}
    assert outcome(lane, {"connect": {}}, step) == failure
    assert typed == (["abca", "bcab", "c"] if told == 1 else ["abca"])


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
def test_an_answer_of_the_api_is_as_wanted(lane: Lane, options: dict[str, Any], answer: tuple[int, str], code: str | None) -> None:
    lane.answer = lambda *_: answer
    assert outcome(lane, {"api": {"path": "/x", **options}, **SOON})[0] == code


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
    [({}, "Bearer x.e30.y"), ({"token": "none"}, None), ({"token": "mine"}, "Bearer mine"), ({"jwt": {"set": {"a": 1}}}, "forged")],
)
def test_a_request_has_the_token_that_is_asked_for(lane: Lane, options: dict[str, Any], authorization: str | None) -> None:
    assert outcome(lane, {"api": {"path": "/x", "accept": "text/html", **options}}) == (None, None)
    ((_, _, _, headers),) = asked(lane, "request")
    if authorization == "forged":
        assert tokens.claims(headers["Authorization"].removeprefix("Bearer ")) == {"a": 1}
    else:
        assert headers.get("Authorization") == authorization
    assert headers["Accept"] == "text/html"


ROWS = [{"session_id": "s", "channel": None, "message": "came"}, {"session_id": None, "channel": "main", "message": "went"}]
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
    lane: Lane, monkeypatch: pytest.MonkeyPatch, stored: list[Any] | None, total: int, failure: tuple[str | None, str | None]
) -> None:
    python = Path(lane.place.database_python)
    python.write_text(f"#!/bin/sh\n[ $5 = UUID ] || exit 3\n{'exit 1' if stored is None else f'echo {json.dumps(json.dumps(stored))}'}\n")
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


def test_the_clipboard_gets_a_text_of_the_size_and_gives_it_back_in_capitals(lane: Lane) -> None:
    assert outcome(lane, {"connect": {}}, {"clipboard": {"bytes": 13}}) == (None, None)
    assert lane.talk.did[-2].options["text"] == "abcdefghijabc"  # before it is closed


@pytest.mark.parametrize(
    ("text", "code"), [("ABCDEFGHIJABC", None), ("abcdefghijabc", "clipboard_wrong"), ("ABC", "clipboard_wrong"), (None, "clipboard_wrong")]
)
def test_a_clipboard_is_compared_whole(lane: Lane, text: str | None, code: str | None) -> None:
    lane.talk.answers["clipboard_get"] = {"text": text}
    assert outcome(lane, {"connect": {}}, {"clipboard_is": {"bytes": 13}})[0] == code


def picture(width: int, height: int, odd: int = 0) -> Image.Image:
    """Two colours, and `odd` pixels of a third one."""
    made = Image.new("RGB", (width, height), (10, 20, 30))
    for at in range(1 + odd):
        made.putpixel((at, 0), (99, 9, 9) if at else (50, 50, 50))
    return made


@pytest.mark.parametrize(
    ("mine", "truth", "failure"),
    [
        (picture(8, 4), picture(8, 4), (None, None)),
        (picture(8, 4), picture(8, 4, 1), ("picture_differs", "ryll")),
        (picture(8, 4), picture(4, 8), ("picture_differs", "ryll")),
        (Image.new("RGB", (8, 4)), Image.new("RGB", (8, 4)), ("picture_empty", "ryll")),
    ],
)
def test_pictures_have_to_be_equal_and_not_empty(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, mine: Image.Image, truth: Image.Image, failure: tuple[str | None, str | None]
) -> None:
    lane.monitor = Monitor(None)
    monkeypatch.setattr(pictures, "shown", lambda *_: mine)
    monkeypatch.setattr(pictures, "drawn", lambda *_: truth)
    (entry,) = played(lane, check({"same_picture": {}, **SOON}))
    assert (entry["detail"].get("code"), entry["detail"].get("component")) == failure
    if failure[0] == "picture_differs":
        assert ("8x4 and not 4x8" if truth.height == 8 else "1 of 32 pixels differ") in entry["detail"]["cause"]
    kept = [Path(lane.place.logs_dir, f"suite-mine-{name}.png") for name in ("shown", "drawn")]
    assert [path.exists() for path in kept] == [failure[0] == "picture_differs"] * 2
    if kept[0].exists():
        assert ryll_pictures.read("png", kept[1].read_bytes(), *truth.size).tobytes() == truth.tobytes()


def test_pictures_are_compared_until_they_are_equal(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    lane.monitor = Monitor(None)
    mine = iter([picture(8, 4, 1), picture(8, 4)])
    monkeypatch.setattr(pictures, "shown", lambda *_: next(mine))
    monkeypatch.setattr(pictures, "drawn", lambda *_: picture(8, 4))
    assert outcome(lane, {"same_picture": {}, "within": 30}) == (None, None)


def test_what_is_shown_and_drawn_is_read_from_ryll_and_from_qemu(lane: Lane) -> None:
    import base64

    taken: list[dict[str, Any]] = []

    def screenshot(params: dict[str, Any]) -> dict[str, Any]:
        taken.append(params)
        return {"width": 2, "height": 1, "format": "rgba", "data_base64": base64.b64encode(bytes((1, 2, 3, 255, 4, 5, 6, 255))).decode()}

    class Screen(Monitor):
        def execute(self, command: str, arguments: Any = None) -> Any:
            Image.frombytes("RGB", (2, 1), bytes((1, 2, 3, 4, 5, 6))).save(arguments["filename"], "PPM")

    lane.talk.answers["screenshot"], lane.monitor = screenshot, Screen(None)
    assert outcome(lane, {"connect": {}}, {"same_picture": {}}) == (None, None)
    assert taken == [{"surface_id": 0, "format": "rgba"}]


RELAYED = "kerbside_proxy_bytes_relayed_total{direction=server_to_client}"


@pytest.mark.parametrize(
    ("proxy", "client", "good"),
    [(100, 100, True), (300, 100, True), (301, 100, False), (99, 100, False), (0, 0, False), (200, 0, False), (1, 1, True)],
)
def test_the_proxy_counts_what_the_client_got(lane: Lane, proxy: int, client: int, good: bool) -> None:
    def draw(*_: Any) -> None:
        lane.counted[RELAYED] = 1000.0 + proxy
        lane.talk.answers["stats"] = {"display": {"bytes_in": 500 + client}}

    lane.counted, lane.talk.answers["stats"] = {RELAYED: 1000.0}, {"display": {"bytes_in": 500}}
    steps = ({"connect": {}}, {"relayed": {}, "register": "before"}, {"draw": {}}, {"relayed": {"than": "before"}, **SOON})
    expected = (None, None) if good else ("relayed_bytes_differ", "proxy")
    assert outcome(lane, *steps, actors={"draw": plan.Actor({}, draw)}) == expected


def test_what_is_on_its_way_to_the_client_is_waited_for(lane: Lane) -> None:
    got, counts = iter([500, 600, 600, 700, 1700]), iter([2000.0] * 3 + [3100.0] * 2)
    lane.talk.answers["stats"] = lambda _: {"display": {"bytes_in": next(got)}}
    vars(lane)["counters"] = lambda: {RELAYED: next(counts)}
    steps = ({"connect": {}}, {"relayed": {}, "register": "before"}, {"relayed": {"than": "before"}, "within": 30})
    assert outcome(lane, *steps) == (None, None)
    assert list(got) == []
