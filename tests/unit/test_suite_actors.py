"""The actors of the suites, on a lane whose answers are given: each is seen to pass, and to fail for each of its
reasons.
"""

import base64
import stat
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from ansible.module_utils.lane.checks import second_look
from ansible.module_utils.lane.checks.suites import pictures, plan
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.core.command import Done
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll import pictures as ryll_pictures
from PIL import Image
from suite_lane import PASSED, SOON, TICKET, Monitor, asked, does, entry_of, fake_lane, gives, outcome, says

lane = fake_lane

CONSOLE = {"console": {}, "register": "c"}


@pytest.mark.parametrize(("password", "changed"), [("Ab7", "Ab0"), ("Ab0", "Ab1"), ("", "0")])
def test_a_console_gives_its_token_and_two_wrong_ones(lane, password, changed):
    lane.keys = {"password": password, "title": "kerbside session 123456789abc"}
    seen: dict[str, Any] = {}
    note = plan.Actor({}, lambda play, *_: seen.update(play.values["c"]))
    assert outcome(lane, CONSOLE, {"note": {}}, actors={"note": note}) == PASSED
    given = (seen["password"], seen["changed"], seen["swapped"], seen["session"])
    assert given == (password, changed, password.swapcase(), "123456789abc")


KEYS = {"type": "spice", "password": "good"}
QEMU = {"type": "spice", "host": "127.0.0.1", "port": "17904", "password": TICKET}


@pytest.mark.parametrize(
    ("options", "keys", "ryll"),
    [
        ({}, KEYS, ("--suite",)),
        ({"options": ["--x"]}, KEYS, ("--x",)),
        ({"options": []}, KEYS, ()),
        ({"console": "c"}, {"password": "of c"}, ("--suite",)),
        ({"console": "c", "edit": {"password": None, "absent": None, "port": 5}}, {"port": "5"}, ("--suite",)),
        ({"direct": True}, QEMU, ("--suite",)),
    ],
)
def test_a_client_connects_as_asked(lane, options, keys, ryll):
    given = gives("console", {"keys": {"password": "of c"}})
    assert outcome(lane, CONSOLE, {"connect": options}, actors=given, ryll=["--suite"]) == PASSED
    assert asked(lane, "connect") == [("connect", "ryll", keys, ryll)]


@pytest.mark.parametrize(
    ("component", "options", "blamed"),
    [
        ("ryll", {}, "proxy"),
        ("kerbside", {}, "kerbside"),
        ("ryll", {"direct": True}, "ryll"),
        ("ryll", {"console": "c"}, "ryll"),
    ],
)
def test_a_client_that_shows_nothing_is_tried_without_the_proxy(lane, monkeypatch, component, options, blamed):
    def connect(*_: Any) -> None:
        raise LaneError("ryll_unmet", component, "it shows nothing")

    monkeypatch.setattr(lane, "connect", connect)
    monkeypatch.setattr(second_look, "blame", lambda error, *_: LaneError(error.code, "proxy", error.cause))
    assert outcome(lane, CONSOLE, {"connect": options}) == ("ryll_unmet", blamed)


@pytest.mark.parametrize(
    ("end", "exits", "failure"),
    [
        (Done(1, "", "Error: PermissionDenied"), 1, PASSED),
        (Done(1, "PermissionDenied", ""), 1, PASSED),
        (Done(2, "", "PermissionDenied"), 2, PASSED),
        (None, 1, ("client_not_refused", "proxy")),
        (Done(0, "", "PermissionDenied"), 1, ("client_not_refused", "proxy")),
        (Done(1, "", "another reason"), 1, ("client_refused_otherwise", "proxy")),
        (Done(1, TICKET, "PermissionDenied"), 1, ("suite_ticket_shown", "ryll")),
    ],
)
def test_a_client_is_refused_as_expected(lane, end, exits, failure):
    lane.end = end
    more = {} if exits == 1 else {"exits": exits}
    assert outcome(lane, {"connect": {"refused": "PermissionDenied", **more}, "within": 0.001}) == failure
    assert asked(lane, "refused") == [("refused", "ryll", KEYS, (), 0.1)] and asked(lane, "stop")


def test_without_a_ticket_an_output_cannot_hold_it(lane):
    Path(lane.place.ticket_file).write_text("")
    lane.end = Done(1, "", "PermissionDenied")
    assert outcome(lane, {"connect": {"refused": "Permission"}}) == PASSED


def test_a_client_stops(lane):
    assert outcome(lane, {"connect": {}}, {"stop": {}}) == PASSED
    assert asked(lane, "stop") == [("stop", "ryll")] and lane.talk.did[-1] == "close"


def test_a_program_that_was_never_started_cannot_be_asked_to_end(lane):
    assert outcome(lane, {"end_program": {"name": "daemon"}}) == ("program_not_running", "lane")


@pytest.mark.parametrize(
    ("made", "mode", "size"), [({"bytes": 4096}, 0o600, 4096), ({"program": "#!/bin/sh"}, 0o700, 9)]
)
def test_a_file_is_its_owners_alone(lane, made, mode, size):
    assert outcome(lane, {"file": {"name": "x", **made}}) == PASSED
    found = Path(lane.place.lane_dir, "tmp/x").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_size) == (mode, size)


@pytest.mark.parametrize(
    ("options", "reported", "typed", "failure"),
    [
        ({"text": "abcdefg"}, 1, ["abcdef", "g"], PASSED),
        ({"text": "abc", "times": 3, "window": 4}, 1, ["abca", "bcab", "c"], PASSED),
        ({"text": "abcdefg"}, 0, ["abcdef"], ("serial_line_missing", "guest")),
        ({"text": "abcdefg"}, 2, ["abcdef"], ("serial_line_unexpected", "guest")),
    ],
)
def test_a_burst_of_keys_waits_for_the_guest_to_tell_of_each(lane, options, reported, typed, failure):
    found: list[str] = []

    def play(step: Any) -> None:
        assert step.options["delay_ms"] == 0
        found.append(step.options["text"])
        later = says(lane, *(f"key: {letter}" for letter in found[-1] * reported), "another line")
        Timer(0.02, later.play).start()  # a slow guest

    lane.talk.on_play = play
    within = {"within": 5} if reported else SOON
    assert outcome(lane, {"connect": {}}, {"burst": options, **within}) == failure
    assert found == typed


def test_what_an_actor_cannot_do_without():
    required = {name: {key for key, one in actor.options.items() if one.required} for name, actor in ACTORS.items()}
    assert {name: keys for name, keys in required.items() if keys} == {
        "api": {"path"},
        "burst": {"text"},
        "clipboard": {"bytes"},
        "clipboard_is": {"bytes"},
        "closed": {"link"},
        "command": {"run"},
        "link_relay": {"mbit"},
        "move_console": {"of", "to"},
        "paced": {"link", "since"},
        "remove_console": {"of"},
        "drain": {"equals"},
        "end_program": {"name"},
        "file": {"name"},
        "handed_out": {"console"},
        "log": {"of"},
        "open": {"link"},
        "process": {"name"},
        "send": {"link", "type"},
        "settled": {"kind"},
        "wait": {"seconds"},
    }


def test_the_clipboard_gets_a_text_of_the_size_and_gives_it_back_in_capitals(lane):
    assert outcome(lane, {"connect": {}}, {"clipboard": {"bytes": 13}}) == PASSED
    assert lane.talk.did[-2].options["text"] == "abcdefghijabc"  # before it is closed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ABCDEFGHIJABC", None),
        ("abcdefghijabc", "clipboard_wrong"),
        ("ABC", "clipboard_wrong"),
        (None, "clipboard_wrong"),
    ],
)
def test_a_clipboard_is_compared_whole(lane, text, code):
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
        (picture(8, 4), picture(8, 4), PASSED),
        (picture(8, 4), picture(8, 4, 1), ("picture_differs", "ryll")),
        (picture(8, 4), picture(4, 8), ("picture_differs", "ryll")),
        (Image.new("RGB", (8, 4)), Image.new("RGB", (8, 4)), ("picture_empty", "ryll")),
    ],
)
def test_pictures_have_to_be_equal_and_not_empty(lane, monkeypatch, mine, truth, failure):
    lane.monitor = Monitor(None)
    monkeypatch.setattr(pictures, "shown", lambda *_: mine)
    monkeypatch.setattr(pictures, "drawn", lambda *_: truth)
    detail = entry_of(lane, {"same_picture": {}, **SOON})["detail"]
    assert (detail.get("code"), detail.get("component")) == failure
    if failure[0] == "picture_differs":
        assert ("8x4 and not 4x8" if truth.height == 8 else "1 of 32 pixels differ") in detail["cause"]
    kept = [Path(lane.place.logs_dir, f"suite-mine-{name}.png") for name in ("shown", "drawn")]
    assert [path.exists() for path in kept] == [failure[0] == "picture_differs"] * 2
    if kept[0].exists():
        assert ryll_pictures.read("png", kept[1].read_bytes(), *truth.size).tobytes() == truth.tobytes()


def test_pictures_are_compared_until_they_are_equal(lane, monkeypatch):
    lane.monitor = Monitor(None)
    mine = iter([picture(8, 4, 1), picture(8, 4)])
    monkeypatch.setattr(pictures, "shown", lambda *_: next(mine))
    monkeypatch.setattr(pictures, "drawn", lambda *_: picture(8, 4))
    assert outcome(lane, {"same_picture": {}, "within": 30}) == PASSED


def test_a_picture_that_has_to_differ(lane, monkeypatch):
    lane.monitor = Monitor(None)
    monkeypatch.setattr(pictures, "drawn", lambda *_: picture(8, 4))
    for odd, failure in ((1, PASSED), (0, ("picture_equal", "ryll"))):
        monkeypatch.setattr(pictures, "shown", lambda *_, odd=odd: picture(8, 4, odd))
        assert outcome(lane, {"same_picture": {"differs": True}, **SOON}) == failure


def test_what_is_shown_and_drawn_is_read_from_ryll_and_from_qemu(lane):
    taken: list[dict[str, Any]] = []

    def screenshot(params: dict[str, Any]) -> dict[str, Any]:
        taken.append(params)
        pixels = base64.b64encode(bytes((1, 2, 3, 255, 4, 5, 6, 255))).decode()
        return {"width": 2, "height": 1, "format": "rgba", "data_base64": pixels}

    class Screen(Monitor):
        def execute(self, command: str, arguments: Any = None) -> Any:
            Image.frombytes("RGB", (2, 1), bytes((1, 2, 3, 4, 5, 6))).save(arguments["filename"], "PPM")

    lane.talk.answers["screenshot"], lane.monitor = screenshot, Screen(None)
    assert outcome(lane, {"connect": {}}, {"same_picture": {}}) == PASSED
    assert taken == [{"surface_id": 0, "format": "rgba"}]


RELAYED = "kerbside_proxy_bytes_relayed_total{direction=server_to_client}"


@pytest.mark.parametrize(
    ("proxy", "client", "good"),
    [(100, 100, True), (300, 100, True), (301, 100, False), (99, 100, False), (200, 0, False), (1, 1, True)],
)
def test_the_proxy_counts_what_the_client_got(lane, proxy, client, good):
    def draw(relayed: int, got: int) -> None:
        lane.counted[RELAYED] = 1000.0 + relayed
        lane.talk.answers["stats"] = {"display": {"bytes_in": 500 + got}}

    draw(0, 0)
    then = {"relayed": {"than": "before"}, **SOON}
    steps = ({"connect": {}}, {"relayed": {}, "register": "before"}, {"draw": {}}, then)
    expected = PASSED if good else ("relayed_bytes_differ", "proxy")
    assert outcome(lane, *steps, actors={"draw": does(lambda: draw(proxy, client))}) == expected


def test_what_is_on_its_way_to_the_client_is_waited_for(lane):
    got, counts = iter([500, 600, 600, 700, 1700]), iter([2000.0] * 3 + [3100.0] * 2)
    lane.talk.answers["stats"] = lambda _: {"display": {"bytes_in": next(got)}}
    vars(lane)["counters"] = lambda: {RELAYED: next(counts)}
    steps = ({"connect": {}}, {"relayed": {}, "register": "before"}, {"relayed": {"than": "before"}, "within": 30})
    assert outcome(lane, *steps) == PASSED
    assert list(got) == []
