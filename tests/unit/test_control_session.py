"""Every verb against a ryll that behaves as the real one does: what it does, what it sees, and how it fails."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll import pictures, verbs
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps, Refused, SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, rehearse, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import HELLO, STATUS, Connection, Peer, Ryll, png, rgba

ROOT = Path(__file__).parents[2]
Result = dict[str, Any]
Handler = Callable[[Connection], object]
H: dict[str, Any] = {"hello": {}}
BUSY = 3.0  #: times longer than on an idle machine


def play(handler: Handler, *steps: object, step_limit: float = 5.0, **settings: Any) -> Result:
    with Peer(handler) as peer:
        return run(Settings(peer.path, **settings), plan(list(steps), step_limit))


def fail(handler: Handler, *steps: object, step_limit: float = 5.0, **settings: Any) -> SessionFailed:
    with pytest.raises(SessionFailed) as caught:
        play(handler, *steps, step_limit=step_limit, **settings)
    transcript = caught.value.result["transcript"]
    assert [entry["index"] for entry in transcript] == list(range(1, len(steps) + 1))
    at = [entry["result"] for entry in transcript].index("failed")
    assert [entry["result"] for entry in transcript] == ["ok"] * at + ["failed"] + ["skipped"] * (len(steps) - at - 1)
    assert "\n" not in str(caught.value)
    return caught.value


def seen(result: Result, number: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = result["transcript"][number]["seen"]
    return found


def ryll(**changed: Any) -> Ryll:
    """A ryll that is changed: attributes, and methods as functions of connection, request and parameters."""
    made = Ryll()
    vars(made).update(changed)
    return made


def dancing(answer: Callable[[Any], dict[str, Any]]) -> Ryll:
    """A ryll with one more verb."""
    made = ryll(on_dance=lambda c, r, p: c.accept(r, answer(p)))
    made.methods.append("dance")
    return made


def test_the_smoke_check(tmp_path: Path) -> None:
    shot, made = tmp_path / "shot.png", Ryll()
    result = play(
        made,
        {"hello": {}, "name": "hello"},
        {"await": {"surfaces": 1, "marks": 1, "agent": False}, "name": "status", "within": 30, "blame": "guest"},
        {"screenshot": {"file": str(shot), "not_one_colour": True}, "name": "screenshot"},
    )
    assert result["changed"] is False
    assert [(entry["name"], entry["step"], entry["result"]) for entry in result["transcript"]] == [
        ("hello", "hello", "ok"),
        ("status", "await", "ok"),
        ("screenshot", "screenshot", "ok"),
    ]
    assert result["server"] == {"name": "ryll", "protocol_version": "1.5"}
    assert seen(result, 1) == STATUS | {"marks": 1, "asked": 1}
    assert seen(result) == {"format": "png", "width": 8, "height": 4, "bytes": shot.stat().st_size, "one_colour": None, "file": str(shot)}
    assert shot.read_bytes() == png(8, 4, made.pixels)
    assert stat.S_IMODE(shot.stat().st_mode) == 0o600
    assert made.asked == ["hello", "status", "stats", "status", "screenshot", "status"]


def test_await_goes_on_asking_until_all_holds() -> None:
    made = ryll(surfaces=False)
    timer = threading.Timer(0.15, lambda: setattr(made, "surfaces", True))
    timer.start()
    result = play(made, H, {"await": {"surfaces": 1, "size": "8x4", "agent": False}})
    timer.join()
    assert result["transcript"][1]["seconds"] > 0.1
    assert seen(result)["asked"] >= 2


def silent_after_status(c: Connection) -> None:
    c.hello()
    c.accept(c.request(), STATUS)
    c.wait()


def test_a_ryll_that_falls_silent_is_blamed_itself_unless_the_limit_was_over(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [H, {"await": {"agent": True}, "within": 0.3, "blame": "guest"}]
    assert fail(silent_after_status, *steps).component == "guest"
    monkeypatch.setattr(verbs, "ANSWER_WITHIN", 0.1)
    failed = fail(silent_after_status, *steps)
    assert (failed.component, failed.code) == ("ryll", "ryll_timeout")


# --- what does not come true: handler, steps after hello, code, words ------------------------------------------------


def shots(*found: tuple[int, int, bytes], form: str = "png", surfaces: list[tuple[int, int]] | None = None) -> Handler:
    """A ryll that gives these pictures (width, height, data) in turn, and these surface sizes to status, the last of each for ever."""
    sizes = list(surfaces or [(8, 4)])

    def serve(c: Connection) -> None:
        c.hello()
        left = list(found)
        for request in c.requests():
            if request["method"] == "status":
                width, height = sizes.pop(0) if len(sizes) > 1 else sizes[0]
                c.accept(request, STATUS | {"surfaces": [{"channel_id": 0, "surface_id": 0, "width": width, "height": height}]})
            else:
                width, height, data = left.pop(0) if len(left) > 1 else left[0]
                c.accept(request, {"width": width, "height": height, "format": form, "data_base64": base64.b64encode(data).decode()})

    return serve


def paste_answers(*events: tuple[str, dict[str, Any]]) -> Ryll:
    def on_paste(c: Connection, request: Any, params: Any) -> None:
        c.accept(request, {})
        for name, data in events:
            c.event(name, **({"request_id": request["id"]} | data))

    return ryll(on_paste=on_paste)


SUBSCRIBE = {"subscribe": {"events": ["surface_drawn", "latency", "dropped"]}}


def events_after_subscribe(*events: tuple[str, dict[str, Any]], later: float = 0.0) -> Handler:
    def serve(c: Connection) -> None:
        c.hello()
        request = c.request()
        c.accept(request, {"subscribed": request["params"]["events"]})
        time.sleep(later)
        for name, data in events:
            c.event(name, **data)
        for request in c.requests():
            c.accept(request, STATUS)

    return serve


def subscribed_in_part(c: Connection) -> None:
    c.hello()
    c.accept(c.request(), {"subscribed": ["latency"]})
    c.wait()


def without(**lists: list[str]) -> Ryll:
    made = Ryll()
    for kind, names in lists.items():
        vars(made)[kind] = [name for name in vars(made)[kind] if name not in names]
    return made


def steep(x: int, y: int) -> tuple[int, int, int]:
    return x, y, 0


FLAT, STEEP = png(8, 4, lambda x, y: (1, 2, 3)), png(8, 4, steep)
PRESS: dict[str, Any] = {"send_key": {"key": "a"}}
SHOT: dict[str, Any] = {"screenshot": {}, "register": "a"}
DROPPED = events_after_subscribe(("dropped", {"count": 5}), later=0.05)
FAILS: dict[str, tuple[Handler, list[dict[str, Any]], str, str]] = {
    "no agent": (Ryll(), [{"await": {"agent": True}}], "ryll_unmet", "agent connected; last seen: agent not connected, surfaces 0 of 8x4"),
    "an agent": (ryll(agent=True), [{"await": {"agent": False}}], "ryll_unmet", "no agent connected; last seen: agent connected"),
    "too few surfaces": (Ryll(), [{"await": {"surfaces": 2}}], "ryll_unmet", r"2 surface\(s\) with a size; last"),
    "surfaces without a size": (ryll(size=(0, 0)), [{"await": {"surfaces": 1}}], "ryll_unmet", "surfaces 0 of 0x0"),
    "another size": (Ryll(), [{"await": {"size": "8x8"}}], "ryll_unmet", "surface 0 of 8x8; last"),
    "no such surface to await": (Ryll(), [{"await": {"size": "8x4", "surface_id": 1}}], "ryll_unmet", "surface 1 of 8x4; last"),
    "too few marks": (Ryll(), [{"await": {"marks": 2}}], "ryll_unmet", r"2 drawn mark\(s\); last seen: .* 1 marks"),
    "no display": (ryll(on_stats=lambda c, r, p: c.accept(r, {"display": None})), [{"await": {"marks": 1}}], "ryll_unmet", "0 marks"),
    "stats without marks": (Ryll(), [{"stats": {"marks": 2}}], "ryll_unmet", "counts 1 drawn marks, not 2"),
    "one colour": (shots((8, 4, FLAT)), [{"screenshot": {"not_one_colour": True}}], "ryll_unmet", "only one colour, #010203"),
    "one colour in a region": (
        shots((8, 4, png(8, 4, lambda x, y: (y, 0, 0)))),
        [{"screenshot": {"not_one_colour": True, "region": {"x": 0, "y": 1, "width": 8, "height": 1}}}],
        "ryll_unmet",
        r"the region 8x1\+0\+1 has only one colour, #010000",
    ),
    "another size than the surface": (shots((4, 4, png(4, 4, steep))), [{"screenshot": {}}], "ryll_unmet", "is 4x4, not 8x4 as its surface"),
    "another size than wanted": (shots((8, 4, STEEP)), [{"screenshot": {"size": "640x480"}}], "ryll_unmet", "is 8x4, not 640x480 as wanted"),
    "a PNG of another size": (shots((8, 4, png(4, 8, steep))), [{"screenshot": {}}], "ryll_malformed", "PNG of 4x8, not 8x4"),
    "a cut PNG": (shots((8, 4, STEEP[:70])), [{"screenshot": {}}], "ryll_malformed", "not a whole PNG"),
    "a region outside": (Ryll(), [{"screenshot": {"region": {"x": 1, "y": 0, "width": 8, "height": 1}}}], "ryll_unmet", r"8x1\+1\+0 is not inside"),
    "another format": (shots((8, 4, b""), form="rgba"), [{"screenshot": {}}], "ryll_malformed", 'another format than png: "rgba"'),
    "rgba of another length": (shots((8, 4, bytes(5)), form="rgba"), [{"screenshot": {"format": "rgba"}}], "ryll_malformed", "5 bytes, not 128"),
    "no such surface": (Ryll(), [{"screenshot": {"surface_id": 7}}], "ryll_refused", 'with no_such_surface: "no"'),
    "a surface without status": (ryll(on_status=lambda c, r, p: c.accept(r, STATUS | {"surfaces": []})), [SHOT], "ryll_unmet", "does not list"),
    "a picture that should have changed": (Ryll(), [SHOT, {"screenshot": {"differs_from": "a"}}], "ryll_unmet", "is the same as that of 'a'"),
    "a picture that should not have": (Ryll(), [SHOT, PRESS, {"screenshot": {"same_as": "a"}}], "ryll_unmet", "32 of 32 pixels differ"),
    "a picture of another size": (
        Ryll(),
        [SHOT, {"resize": {"width": 16, "height": 8}}, {"screenshot": {"same_as": "a"}}],
        "ryll_unmet",
        "it is 16x8, not 8x4",
    ),
    "typing that takes too long": (Ryll(), [{"type": {"text": "a" * 100, "delay_ms": 50}}], "ryll_timeout", r"only \d+ of 100 keys"),
    "a paste without an end": (ryll(on_paste=lambda c, r, p: c.accept(r, {})), [{"paste": {"text": "x"}}], "ryll_unmet", "--enable-paste-as-keystrokes"),
    "a paste that fails": (Ryll(), [{"paste": {"text": "\u2022"}}], "ryll_unmet", r'paste_failed\): "cannot paste: 1 unrep.*U\+2022"'),
    "a paste of fewer characters": (paste_answers(("paste_completed", {"chars_sent": 2})), [{"paste": {"text": "abc"}}], "ryll_unmet", "2 of 3 char"),
    "the end of another paste": (paste_answers(("paste_completed", {"chars_sent": 3, "request_id": 9})), [{"paste": {"text": "abc"}}], "ryll_unmet", "neither"),
    "a paste whose end was dropped": (paste_answers(("dropped", {"count": 7})), [{"paste": {"text": "abc"}}], "ryll_unmet", "7 events were dropped"),
    "an empty clipboard": (Ryll(), [{"clipboard_get": {"equals": "mine"}}], "ryll_unmet", "the clipboard is empty, not 'mine'"),
    "another clipboard": (ryll(clipboard="other"), [{"clipboard_get": {"equals": "mine"}}], "ryll_unmet", "holds 'other', not 'mine'"),
    "a verb that is not listed": (without(methods=["resize"]), [{"resize": {"width": 8, "height": 8}}], "ryll_unsupported", "no verb `resize`; it lists hello"),
    "a call that is not listed": (Ryll(), [{"call": {"method": "dance"}}], "ryll_unsupported", "no verb `dance`"),
    "marks without stats": (without(methods=["stats"]), [{"await": {"marks": 1}}], "ryll_unsupported", "no verb `stats`"),
    "an event that is not listed": (Ryll(), [{"subscribe": {"events": ["digest_updated"]}}], "ryll_unsupported", "no event `digest_updated`"),
    "the events of a paste": (ryll(events=[]), [{"paste": {"text": "x"}}], "ryll_unsupported", "no event `paste_completed`; it lists none"),
    "another result": (dancing(lambda p: {"n": 3}), [{"call": {"method": "dance", "result": {"n": 4}}}], "ryll_unmet", "`n` .* has another value"),
    "a result that is missing": (dancing(lambda p: {}), [{"call": {"method": "dance", "result": {"n": 4}}}], "ryll_unmet", "`n` .* is missing"),
    "an accepted request": (Ryll(), [{"status": {}, "refused": "busy"}], "ryll_unmet", "accepted `status`, which it was to refuse with busy"),
    "another refusal": (Ryll(), [{"screenshot": {"surface_id": 1}, "refused": "busy"}], "ryll_unmet", "with no_such_surface, not with busy"),
    "a full queue": (
        ryll(on_resize=lambda c, r, p: c.refuse(r, "queue_full")),
        [{"resize": {"width": 16, "height": 16}}],
        "ryll_refused",
        "with queue_full",
    ),
    "an event that never comes": (Ryll(), [SUBSCRIBE, {"expect_event": {"event": "latency"}}], "ryll_unmet", r"0 of 1 event\(s\) latency arrived"),
    "an event with other data": (
        events_after_subscribe(("latency", {"n": 1}), ("latency", {"n": 2}), later=0.02),
        [SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"n": 9}}}],
        "ryll_unmet",
        "with n as given arrived within 0.15 s, and 2 with other data",
    ),
    "an event that was dropped": (DROPPED, [SUBSCRIBE, {"expect_event": {"event": "latency"}}], "ryll_unmet", "5 events were dropped meanwhile"),
    "an event before": (
        Ryll(),
        [SUBSCRIBE, PRESS, {"pause": {"seconds": 0.05}}, {"status": {}, "register": "s"}, {"expect_event": {"event": "surface_drawn", "since": "s"}}],
        "ryll_unmet",
        "0 of 1",
    ),
    "no quiet": (events_after_subscribe(("latency", {}), later=0.05), [SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 3}}], "ryll_unmet", "arrived"),
    "no quiet before": (
        Ryll(),
        [SUBSCRIBE, PRESS | {"register": "p"}, {"pause": {"seconds": 0.05}}, {"quiet": {"event": "surface_drawn", "seconds": 0.05, "since": "p"}}],
        "ryll_unmet",
        "an event surface_drawn arrived",
    ),
    "quiet with dropped events": (DROPPED, [SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 0.15}}], "ryll_unmet", "may have been missed"),
    "a subscription in part": (subscribed_in_part, [SUBSCRIBE], "ryll_malformed", "left out surface_drawn, dropped"),
    "an end in a pause": (lambda c: (c.hello(), time.sleep(0.1)), [{"pause": {"seconds": 5}}], "ryll_closed", "ryll closed the connection"),
}


@pytest.mark.parametrize(("handler", "steps", "code", "words"), FAILS.values(), ids=FAILS)
def test_what_fails_says_why(handler: Handler, steps: list[dict[str, Any]], code: str, words: str) -> None:
    last = {"name": "the last", "blame": "guest", **steps[-1]}
    if not {"quiet", "pause"} & set(last):
        last["within"] = 0.15
    failed = fail(handler, H, *steps[:-1], last)
    assert re.search(words, failed.cause), failed.cause
    assert (failed.code, failed.check) == (code, "the last")
    assert failed.component == ("guest" if code == "ryll_unmet" else "ryll")
    assert failed.cause.startswith(f"step {len(steps) + 1} of {len(steps) + 1} (the last): ")
    verb = next(key for key in steps[-1] if key in verbs.VERBS)
    assert failed.result["failed_step"] == {"index": len(steps) + 1, "name": "the last", "step": verb, "kind": code.removeprefix("ryll_")}
    assert failed.result["transcript"][-1]["seconds"] < 1 * BUSY


# --- pictures ------------------------------------------------------------------------------------------------------------


def test_a_wrong_picture_is_kept_as_evidence(tmp_path: Path) -> None:
    file = tmp_path / "s.png"
    failed = fail(shots((8, 4, FLAT)), H, {"screenshot": {"not_one_colour": True, "file": str(file)}})
    assert file.read_bytes() == FLAT
    assert failed.fix == f"look at {file}"


def test_a_picture_may_settle() -> None:
    result = play(shots((8, 4, FLAT), (8, 4, FLAT), (8, 4, STEEP)), H, {"screenshot": {"not_one_colour": True, "settle": 5}})
    assert seen(result)["one_colour"] is None
    assert result["transcript"][1]["seconds"] >= 0.1
    assert fail(shots((8, 4, FLAT)), H, {"screenshot": {"not_one_colour": True, "settle": 0.3}}).result["transcript"][1]["seconds"] >= 0.2


def test_a_surface_that_changes_meanwhile_is_taken_again() -> None:
    handler = shots((8, 4, STEEP), (16, 4, png(16, 4, steep)), surfaces=[(8, 4), (16, 4)])
    assert seen(play(handler, H, SHOT))["width"] == 16


def test_pictures_are_compared_by_their_pixels() -> None:
    made = Ryll()
    made.pixels = lambda x, y: (x, y, 9 if made.keys and x == 5 else 0)
    left, mask = {"x": 0, "y": 0, "width": 5, "height": 4}, {"x": 5, "y": 0, "width": 1, "height": 4}
    result = play(
        made,
        H,
        SHOT,
        {"screenshot": {"format": "rgba", "same_as": "a"}},
        PRESS,
        {"screenshot": {"differs_from": "a", "not_one_colour": True}},
        {"screenshot": {"same_as": "a", "region": left}},
        {"screenshot": {"same_as": "a", "masks": [mask]}},
        {"screenshot": {"same_as": "a", "masks": [mask], "region": {"x": 2, "y": 1, "width": 6, "height": 2}}},
        {"screenshot": {"differs_from": "a", "masks": [left]}},
        {"resize": {"width": 16, "height": 8}},
        {"screenshot": {"differs_from": "a"}},
    )
    assert result["changed"] is True
    assert result["registered"]["a"] == seen(result, 1)
    assert seen(result, 2)["format"] == "rgba"


def test_a_picture_is_compared_with_a_file(tmp_path: Path) -> None:
    file, difference = tmp_path / "reference.png", tmp_path / "difference.png"
    file.write_bytes(png(8, 4, lambda x, y: (x, y, 9 if x == 3 and y == 1 else 0)))
    made = ryll(pixels=steep)
    equals = {"equals": str(file), "difference": str(difference)}
    failed = fail(made, H, {"screenshot": equals})
    assert "is not equal to" in failed.problem and "1 of 32 pixels differ" in failed.problem
    assert [point for point in ((x, y) for x in range(8) for y in range(4)) if pictures.read_file(str(difference)).getpixel(point) != (0, 0, 0)] == [(3, 1)]
    mask = {"x": 3, "y": 1, "width": 1, "height": 1}
    assert seen(play(made, H, {"screenshot": equals | {"masks": [mask]}}))["equals"] == str(file)
    assert not difference.exists()
    play(made, H, {"screenshot": equals | {"lossy": True}})
    assert fail(made, H, {"screenshot": {"equals": str(tmp_path / "none.png")}}).code == "ryll_input"


def test_a_picture_may_be_awaited_until_it_stands_still() -> None:
    moving = [png(8, 4, lambda x, y, n=n: (n, x, y)) for n in range(4)]  # type: ignore[misc]
    result = play(shots(*((8, 4, data) for data in moving)), H, {"screenshot": {"until_still": 0.2}, "register": "last"})
    assert result["transcript"][1]["seconds"] >= 0.3
    made = Ryll()
    made.pixels = lambda x, y: (len(made.asked) & 255, x, y)
    failed = fail(made, H, {"screenshot": {"until_still": 0.3}, "within": 0.6})
    assert "never stood still for 0.3 s within 0.6 s" in failed.problem
    play(made, H, {"screenshot": {"until_still": 0.1, "masks": [{"x": 0, "y": 0, "width": 8, "height": 4}]}})


def test_rgba_pictures_are_written_unchanged(tmp_path: Path) -> None:
    made = Ryll()
    play(made, H, {"screenshot": {"format": "rgba", "file": str(tmp_path / "s.rgba")}})
    assert (tmp_path / "s.rgba").read_bytes() == rgba(8, 4, made.pixels)
    assert os.listdir(tmp_path) == ["s.rgba"]


# --- keys, paste, clipboard, resize, call -----------------------------------------------------------------------------------


def test_keys_go_down_and_come_up_in_order() -> None:
    made = Ryll()
    result = play(made, H, {"send_key": {"key": "ctrl-alt-f2"}}, {"send_key": {"scancode": 0xE050}}, {"send_key": {"key": "shift-a", "state": "down"}})
    assert made.keys[:5] == [(0x1D, "down"), (0x38, "down"), (0x3C, "press"), (0x38, "up"), (0x1D, "up")]
    assert made.keys[5:] == [(0xE050, "press"), (0x2A, "down"), (0x1E, "down")]
    assert result["changed"] is True
    assert seen(result, 1) == {"scancodes": [["0x1d", "0x38", "0x3c"]], "state": "press"}
    made.keys.clear()
    result = play(made, H, {"send_key": {"key": "shift-a", "state": "up"}}, {"send_key": {"keys": ["a", "left"], "delay_ms": 100}})
    assert made.keys == [(0x1E, "up"), (0x2A, "up"), (0x1E, "press"), (0xE04B, "press")]
    assert result["transcript"][2]["seconds"] >= 0.1


def test_modifiers_come_up_again_when_ryll_refuses_the_key() -> None:
    def refuse_press(c: Connection, request: Any, params: Any) -> None:
        made.keys.append((params["scancode"], params["state"]))
        if params["state"] == "press":
            c.refuse(request, "internal_error", "input channel closed or full")
        else:
            c.accept(request, {})

    made = ryll(on_send_key=refuse_press)
    failed = fail(made, H, {"send_key": {"key": "ctrl-c"}})
    assert made.keys == [(0x1D, "down"), (0x2E, "press"), (0x1D, "up")]
    assert (failed.code, failed.sample, failed.result["changed"]) == ("ryll_refused", "input channel closed or full", True)


def test_text_is_typed_key_by_key() -> None:
    made = Ryll()
    result = play(made, H, {"type": {"text": "aB\n", "delay_ms": 0}})
    assert made.keys == [(0x1E, "press"), (0x2A, "down"), (0x30, "press"), (0x2A, "up"), (0x1C, "press")]
    assert seen(result) == {"text": "aB\n", "characters": 3}


def test_paste_waits_for_its_end_unless_told_not_to() -> None:
    made = Ryll()
    assert seen(play(made, H, {"paste": {"text": "ls\n"}})) == {"text": "ls\n", "characters": 3}
    assert (made.pasted, made.asked[1:]) == ("ls\n", ["subscribe", "paste"])
    made.asked.clear()
    play(made, H, {"paste": {"text": "ls", "wait": False}})
    assert made.asked[1:] == ["paste"]


def test_the_clipboard_there_and_back() -> None:
    result = play(
        ryll(agent=True),
        H,
        {"clipboard_get": {}},
        {"subscribe": {"events": ["clipboard_changed"]}},
        {"clipboard_set": {"text": "häl\0lo"}},
        {"expect_event": {"event": "clipboard_changed", "fields": {"bytes": 7}}},
        {"clipboard_get": {"equals": "HÄL\0LO"}, "register": "text"},
    )
    assert seen(result, 1) == {"text": None, "characters": None}
    assert result["registered"] == {"text": {"text": "HÄL\0LO", "characters": 6}}
    assert result["changed"] is True


def test_resize_sees_the_size_that_was_sent_on_and_tries_a_full_queue_again() -> None:
    made, refusals = Ryll(), [1, 2]

    def on_resize(c: Connection, request: Any, params: Any) -> None:
        if refusals:
            refusals.pop()
            c.refuse(request, "queue_full", "resize queue is full; retry shortly")
        else:
            Ryll.on_resize(made, c, request, params)

    vars(made)["on_resize"] = on_resize
    result = play(made, H, {"resize": {"width": 801, "height": 601}, "register": "r"}, {"await": {"size_as": "r"}})
    assert seen(result, 1) == {"width": 800, "height": 600}
    assert made.asked.count("resize") == 3


def test_stats_and_a_verb_of_a_newer_ryll() -> None:
    result = play(dancing(lambda p: {"n": p["n"], "more": 1}), H, {"stats": {"marks": 1}}, {"call": {"method": "dance", "params": {"n": 3}, "acts": True}})
    assert seen(result, 1)["display"]["marks_received"] == 1
    assert seen(result) == {"result": {"n": 3, "more": 1}}
    assert result["changed"] is True


# --- versions, refusals, busy -------------------------------------------------------------------------------------------------


def test_any_minor_version_will_do_and_nothing_unlisted_is_tried() -> None:
    for version in ("1.0", "1.99"):
        play(lambda c, version=version: c.hello(protocol_version=version), H)  # type: ignore[misc]
    made = without(methods=["resize"])
    fail(made, H, {"resize": {"width": 8, "height": 8}})
    assert made.asked == ["hello"]
    play(without(methods=["stats"]), H, {"await": {"surfaces": 1}})


def test_a_refusal_can_be_expected() -> None:
    dance = {"call": {"method": "dance"}, "refused": "unknown_method"}
    assert seen(play(ryll(surfaces=False), dance, H, {"screenshot": {}, "refused": "no_such_surface"}, dance)) == {"refused": "unknown_method"}
    play(Ryll(), {"hello": {"protocol_version": "2.0"}, "refused": "protocol_version_mismatch"})


def busy(c: Connection) -> None:
    c.send({"ok": False, "error": {"code": "busy", "message": "another client is connected"}})


def test_a_busy_ryll_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """ryll 0.3.0 notices the end of a connection a moment later; until then the next client gets busy."""
    made = Ryll()
    for steps in ([H], [{"call": {"method": "dance"}, "refused": "unknown_method"}, H]):
        with Peer(busy, busy, made) as peer:
            run(Settings(peer.path), plan(steps))
    with Peer(made, busy, busy, made) as peer:
        run(Settings(peer.path), plan([H, {"reconnect": {}}, {"status": {}}]))
    with Peer(made, busy) as peer, pytest.raises(SessionFailed) as caught:
        run(Settings(peer.path), plan([H, {"reconnect": {}, "within": 0.2}]))
    assert caught.value.code == "ryll_refused"
    monkeypatch.setattr(verbs, "LEAVES_WITHIN", 0.1)
    assert fail(busy, H).sample == "another client is connected"
    play(busy, H | {"refused": "busy"})


def test_a_client_of_its_own_waits_for_a_busy_ryll_too() -> None:
    """`./lane shot` and the check `frames` may use the socket at the same time."""
    deadline = time.monotonic() + 5 * BUSY
    with Peer(busy, busy, Ryll()) as peer, Client(peer.path) as client:
        assert client.open("me", deadline).protocol_version == "1.5"
        assert client.request("status", {}, deadline) == STATUS
    with Peer(busy, busy, busy) as peer, Client(peer.path) as client, pytest.raises(Refused, match="busy"):
        client.open("me", deadline, busy_limit=0.08)
    with Peer(lambda c: c.send({"ok": False, "error": {"code": "internal", "message": "no"}})) as peer, Client(peer.path) as client:
        with pytest.raises(Refused, match="internal"):
            client.open("me", deadline)


# --- events ------------------------------------------------------------------------------------------------------------------


def test_events_between_steps_are_kept_in_order_and_taken_once() -> None:
    handler = events_after_subscribe(("latency", {"n": 1}), ("surface_drawn", {"n": 2}), ("latency", {"n": 3}))
    latency = {"expect_event": {"event": "latency", "count": 2}, "register": "l"}
    result = play(handler, H, SUBSCRIBE, {"status": {}}, {"expect_event": {"event": "surface_drawn"}}, latency)
    assert [(one["name"], one["data"]["n"]) for one in result["events"]] == [("latency", 1), ("surface_drawn", 2), ("latency", 3)]
    assert all(one["during"] in (3, 4) and 0 < one["seconds"] < result["seconds"] for one in result["events"])
    assert result["registered"]["l"] == {"event": "latency", "count": 2, "data": [{"n": 1}, {"n": 3}]}
    assert result["events_seen"] == {"latency": 2, "surface_drawn": 1}
    assert "1 of 2" in fail(handler, H, SUBSCRIBE, {"expect_event": {"event": "surface_drawn", "count": 2}, "within": 0.1}).problem


def test_an_event_is_picked_by_its_data_and_true_is_not_1() -> None:
    handler = events_after_subscribe(("latency", {"on": 1, "list": [True, {"a": 0}]}), later=0.02)
    for fields in ({"on": True}, {"list": [1, {"a": 0}]}, {"list": [True, {"a": False}]}, {"list": [True]}, {"list": {}}):
        failed = fail(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": fields}, "within": 0.1})
        assert "and 1 with other data" in failed.problem
    play(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"on": 1.0, "list": [True, {"a": 0}]}}})
    play(handler, H, SUBSCRIBE, {"quiet": {"event": "latency", "fields": {"on": 2}, "seconds": 0.15}})


def test_since_leaves_out_what_came_before_and_quiet_is_quiet() -> None:
    """The event of a key comes after the key's answer, so it is awaited first."""
    drawn = {"event": "surface_drawn", "since": "p"}
    steps = [H, SUBSCRIBE, PRESS, {"pause": {"seconds": 0.05}}, PRESS | {"register": "p"}, {"expect_event": drawn}]
    result = play(Ryll(), *steps, {"quiet": {"event": "surface_drawn", "seconds": 0.1}})
    assert result["transcript"][6]["seconds"] >= 0.1


def test_unsubscribe_stops_the_events() -> None:
    result = play(Ryll(), H, SUBSCRIBE, {"unsubscribe": {"events": ["surface_drawn"]}}, PRESS, {"pause": {"seconds": 0.05}})
    assert seen(result, 2) == {"unsubscribed": ["surface_drawn"]}
    assert result["events"] == []


def flood(*lines: bytes) -> Handler:
    def serve(c: Connection) -> None:
        c.hello()
        c.accept(c.request(), {"subscribed": SUBSCRIBE["subscribe"]["events"]})
        for line in lines:
            c.raw(line)
        for request in c.requests():
            c.accept(request, STATUS)

    return serve


def test_a_flood_of_events_is_bounded_and_reported() -> None:
    handler = flood(b'{"event":"latency","data":{}}\n' * 10_500 + b'{"event":"surface_drawn","data":{}}\n')
    before = time.thread_time()
    result = play(handler, H, SUBSCRIBE, {"status": {}}, {"expect_event": {"event": "surface_drawn"}})
    assert time.thread_time() - before < 2 * BUSY
    assert len(result["events"]) == 1000
    assert len(result["notices"]) == 2 and "501 events" in result["notices"][0] and "the first 1000 of 10501" in result["notices"][1]


def test_large_events_take_little_memory_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer sends 6 MB to a client that may keep 1 MiB."""
    monkeypatch.setattr("ansible.module_utils.lane.protocols.ryll.client.MOST_EVENT_BYTES", 1 << 20)
    handler = flood(*[b'{"event":"latency","data":{"x":"' + b"x" * 100_000 + b'"}}\n'] * 60)
    tracemalloc.start()
    result = play(handler, H, SUBSCRIBE, {"status": {}}, step_limit=30)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result["events_seen"] == {"latency": 60}
    assert len(result["events"]) < 20
    assert most < 6 << 20


def test_dropped_events_are_a_notice() -> None:
    result = play(events_after_subscribe(("dropped", {"count": 5}), ("dropped", {"count": 2})), H, SUBSCRIBE, {"status": {}})
    assert result["notices"] == ["ryll dropped 7 events because they were not read in time"]


# --- the session as a whole ---------------------------------------------------------------------------------------------------


def test_pause_before_hello_just_waits() -> None:
    assert play(Ryll(), {"pause": {"seconds": 0.1}}, H)["transcript"][0]["seconds"] >= 0.1


def test_reconnect_says_hello_and_subscribes_again() -> None:
    made = Ryll()
    result = play(made, H, SUBSCRIBE, {"reconnect": {}}, PRESS, {"expect_event": {"event": "surface_drawn"}})
    assert made.asked[:4] == ["hello", "subscribe", "hello", "subscribe"]
    assert seen(result, 2) == {"protocol_version": "1.5", "subscribed": ["surface_drawn", "latency", "dropped"]}
    play(made, H, SUBSCRIBE, {"reconnect": {"resubscribe": False}}, {"status": {}})
    assert made.asked[-2:] == ["hello", "status"]
    with Peer(lambda c: c.hello(), Ryll()) as peer:  # also when the peer ended the connection
        run(Settings(peer.path), plan([H, {"reconnect": {}}, {"status": {}}]))


def test_what_comes_after_the_steps_has_their_connection() -> None:
    made, found = ryll(agent=True), []
    with Peer(made) as peer:
        run(Settings(peer.path), plan([H]), then=lambda stage: found.append(stage.client.request("status", {}, time.monotonic() + 5)))
        assert found[0]["agent_connected"] is True
        with pytest.raises(SessionFailed):
            run(Settings(peer.path), plan([H, {"stats": {"marks": 9}}]), then=found.append)
    assert len(found) == 1


def test_the_session_has_a_limit() -> None:
    failed = fail(silent_after_status, H, {"status": {}}, {"status": {}, "within": 30}, limit=0.3)
    assert failed.code == "ryll_timeout" and "limit of 0.3 s ended the step" in failed.problem
    failed = fail(Ryll(), H, {"await": {"agent": True}, "blame": "guest", "within": 30}, limit=0.3)
    assert (failed.component, failed.code) == ("guest", "ryll_unmet") and "limit of 0.3 s ended the step" in failed.problem
    failed = fail(Ryll(), H, limit=1e-9)
    assert (failed.component, failed.code) == ("lane", "ryll_timeout") and "earlier steps used it up" in failed.problem


@pytest.mark.parametrize("step", [{"pause": {"seconds": 3}}, {"quiet": {"event": "latency", "seconds": 3}}], ids=["pause", "quiet"])
def test_a_wait_that_the_session_has_no_time_for_is_refused(step: dict[str, Any]) -> None:
    """A `quiet` that was cut short would prove nothing."""
    failed = fail(Ryll(), H, SUBSCRIBE, step | {"blame": "guest"}, limit=2)
    assert re.search(r"[12]\.\d s of it are left for 3 s of this step", failed.problem)
    assert (failed.component, failed.kind) == ("lane", "timeout")
    assert failed.result["transcript"][2]["seconds"] < 1


def test_the_transcript_is_written_in_any_case(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    result = play(Ryll(), H, transcript_file=str(file))
    assert json.loads(file.read_text()) == {"command_id": "", "files": [], **result}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    failed = fail(Ryll(), H, {"stats": {"marks": 5}, "blame": "guest"}, {"status": {}}, transcript_file=str(file))
    written = json.loads(file.read_text())
    assert [entry["result"] for entry in written["transcript"]] == ["ok", "failed", "skipped"]
    assert written["transcript"] == failed.result["transcript"]
    assert written["transcript"][1]["seen"] == {"problem": "ryll counts 1 drawn marks, not 5", "kind": "unmet", "code": "ryll_unmet"}
    assert (written["component"], written["cause"]) == ("guest", failed.cause)


def test_a_session_that_takes_no_picture_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    file, picture = tmp_path / "t.json", tmp_path / "s.png"
    picture.write_bytes(b"of an earlier session")
    fail(Ryll(), H, {"stats": {"marks": 5}}, {"screenshot": {"file": str(picture)}}, transcript_file=str(file))
    assert not picture.exists()
    assert json.loads(file.read_text())["files"] == [str(picture)]


def test_files_that_cannot_be_written_are_the_machines_fault(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.mkdir()
    failed = fail(Ryll(), H, {"stats": {"marks": 5}}, transcript_file=str(file))
    assert failed.code == "ryll_unmet"
    assert failed.result["notices"] == [f"the transcript could not be written to {file}: Is a directory"]
    with pytest.raises(LaneError) as caught:
        play(Ryll(), H, transcript_file=str(file))
    assert (caught.value.code, caught.value.component) == ("session_file_unwritten", "environment")
    assert [entry["result"] for entry in caught.value.result["transcript"]] == ["ok"]
    failed = fail(Ryll(), H, {"screenshot": {"file": str(file)}})
    assert (failed.code, failed.component, failed.kind) == ("session_file_unwritten", "environment", "environment")


SETTINGS: list[dict[str, Any]] = [
    {"limit": 0},
    {"limit": math.nan},
    {"limit": math.inf},
    {"connect_within": -1},
    {"max_line_bytes": 1023},
    {"max_line_bytes": (64 << 20) + 1},
    {"pid": 0},
    {"client_name": "a\nb"},
    {"client_name": ""},
    {"transcript_file": "t.json"},
    {"transcript_file": "/none/t.json"},
    {"socket": "r.sock"},
    {"socket": "/r\0"},
    {"socket": ""},
    {"socket": "/" + "x" * 107},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_wrong_setting_is_refused_before_anything_starts(settings: dict[str, Any]) -> None:
    made = Ryll()
    with Peer(made) as peer, pytest.raises(BadSteps, match=next(iter(settings)) if "/none" not in str(settings) else "/none/t.json") as caught:
        run(Settings(**{"socket": peer.path, **settings}), plan([H]))
    assert (caught.value.code, caught.value.component) == ("ryll_input", "lane")
    assert made.asked == []


def test_a_directory_for_a_picture_is_checked_before_anything_starts() -> None:
    made = Ryll()
    with Peer(made) as peer, pytest.raises(BadSteps, match=r"/none/s\.png"):
        run(Settings(peer.path), plan([H, {"screenshot": {"file": "/none/s.png"}}]))
    assert made.asked == []


def test_a_rehearsal_touches_nothing() -> None:
    steps = plan([H, {"send_key": {"key": "a"}, "name": "press it"}, {"screenshot": {"file": "/none/s.png"}}])
    assert rehearse(Settings("/none/r.sock"), steps) == {"changed": True, "would": ["1. hello", "2. press it (`send_key`)", "3. screenshot"], "transcript": []}
    assert rehearse(Settings("/none/r.sock"), steps[:1])["changed"] is False


def test_large_answers_are_cut_in_the_transcript() -> None:
    made = dancing(lambda p: {"list": list(range(2000)), "dict": {str(n): n for n in range(2000)}})
    made.clipboard = "x" * 100_000
    result = play(made, H, {"clipboard_get": {"equals": "x" * 100_000}}, {"call": {"method": "dance"}})
    assert seen(result, 1)["text"] == "x" * 65536 + "... (100000 characters)"
    assert seen(result)["result"]["list"][-1] == "... (2000 entries)"
    assert seen(result)["result"]["dict"]["..."] == "(2000 entries)"
    shown = seen(play(dancing(lambda p: {str(n): "x" * 60_000 for n in range(20)}), H, {"call": {"method": "dance", "result": {"19": "x" * 60_000}}}))
    assert re.fullmatch(r"\(120\d{4} characters\)", shown["..."])


def test_the_page_shows_how_to_use_it_from_plain_python() -> None:
    """Its block, in a Python without site-packages, and so without Ansible."""
    page = (ROOT / "docs/ryll_session.md").read_text(encoding="utf-8")
    found = re.search(r"## From plain Python\n.*?```python\n(.*?)```", page, re.DOTALL)
    assert found
    with Peer(Ryll()) as peer:
        code = found[1].replace("/tmp/lane/ryll.sock", peer.path)
        command = [sys.executable, "-S", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(ROOT / "module_utils")})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1.5", str(STATUS["surfaces"]), "ryll: step 2 of 2 (stats): ryll counts 1 drawn marks, not 1000000"]
    assert HELLO["protocol_version"] == "1.5"


# --- private texts -----------------------------------------------------------------------------------------------------------


SECRET = "open sesame 42"


def leaky(c: Connection) -> None:
    """Repeats what it was sent wherever it can."""
    c.hello()
    for request in c.requests():
        text = str(request["params"])
        c.event("latency", echo=text)
        if request["method"] == "subscribe":
            c.accept(request, {"subscribed": request["params"]["events"]})
        else:
            c.refuse(request, "bad_params", f"cannot do {text}")


def pasting(clipboard: str, answer: str, end: str, **data: Any) -> Ryll:
    made = ryll(clipboard=clipboard)
    vars(made)["on_paste"] = lambda c, r, p: (c.accept(r, {"text": answer}), made.tell(c, end, request_id=r["id"], **data))
    return made


PRIVATE = {
    "type": {"type": {"text": SECRET, "delay_ms": 0}},
    "paste": {"paste": {"text": SECRET}},
    "clipboard_set": {"clipboard_set": {"text": SECRET}},
    "clipboard_get": {"clipboard_get": {"equals": SECRET}},
    "call": {"call": {"method": "paste", "params": {"text": SECRET}, "result": {"text": SECRET}}},
}
PEERS: dict[str, Handler] = {
    "good": pasting(SECRET, SECRET, "paste_completed", chars_sent=14),
    "other": pasting("quite " + SECRET, SECRET + "!", "paste_failed", reason=SECRET),
    "leaky": leaky,
    "failing": lambda c: (c.hello(), c.request()),
    "garbage": lambda c: (c.hello(), c.raw(b"garbage " + SECRET.encode() + b"\n")),
}


@pytest.mark.parametrize("step", PRIVATE.values(), ids=PRIVATE.keys())
@pytest.mark.parametrize("kind", PEERS)
def test_a_private_text_is_nowhere(step: dict[str, Any], kind: str, tmp_path: Path) -> None:
    file, log = tmp_path / "t.json", tmp_path / "ryll.log"
    log.write_text(f"inputs: got {SECRET}\n")
    try:
        result = play(PEERS[kind], H, step | {"private": True, "register": "r"}, transcript_file=str(file), log_file=str(log))
        if kind == "good":
            assert "(private" in str(seen(result))
    except SessionFailed as failed:
        assert kind != "good"
        result = failed.result | {"msg": str(failed), "failure": failed.as_dict()}
    for place in (json.dumps(result), file.read_text()):
        assert SECRET not in place
        assert "sesame" not in place


def test_a_private_text_is_searched_for_by_its_lines_and_in_quotes(tmp_path: Path) -> None:
    """A password is typed with its line end; whoever repeats it may leave that out, or put it in quotes."""
    file, log = tmp_path / "t.json", tmp_path / "ryll.log"
    log.write_text("typing sesame\n")

    def serve(c: Connection) -> None:
        c.hello()
        for request in c.requests():
            c.event("latency", echo="got sesame", quoted=repr('se"sa\\me'), json=json.dumps('se"sa\\me'))
            if request["method"] == "clipboard_get":
                return
            c.accept(request, {"text": "sesame"})

    steps = [H, {"clipboard_set": {"text": "sesame\n"}, "private": True}, {"clipboard_set": {"text": 'se"sa\\me\n'}, "private": True}, {"clipboard_get": {}}]
    failed = fail(serve, *steps, transcript_file=str(file), log_file=str(log))
    assert 'its log ends with "typing (private, 6 characters)"' in str(failed)
    assert len(failed.result["events"]) == 3
    for place in (json.dumps(failed.result), file.read_text(), str(failed)):
        assert "sesame" not in place
        assert "sa\\" not in place


def test_a_private_text_is_hidden_before_its_step_and_where_the_guest_sends_it() -> None:
    long = "sesame " * 50
    made = ryll(clipboard=SECRET)
    hidden = {"text": "(private, 14 characters)", "characters": 14}
    assert seen(play(made, H, {"clipboard_get": {}}, {"clipboard_set": {"text": SECRET}, "private": True}), 1) == hidden
    made = ryll(clipboard=SECRET)
    result = play(made, H, {"clipboard_get": {}, "private": True}, {"clipboard_get": {}})
    assert seen(result, 1) == seen(result, 2) == hidden
    failed = fail(made, H, {"clipboard_set": {"text": long}, "private": True}, {"clipboard_get": {"equals": "other"}})
    assert "holds (private, 350 characters), not (private, 5 characters)" in failed.problem
    made = pasting("", "", "paste_failed", reason="no " + long)
    failed = fail(made, H, {"clipboard_set": {"text": long}, "private": True}, {"paste": {"text": "x"}})
    assert failed.cause.endswith("ryll could not paste the text (paste_failed)")
    assert "sesame" not in json.dumps(failed.result)
    assert 'bad_params: "cannot do' in fail(leaky, H, {"clipboard_set": {"text": "x"}}).cause  # without private the peer is quoted


def test_a_private_answer_of_many_texts_takes_little_time() -> None:
    made = dancing(lambda p: {"texts": [[f"secret {n}", {"a": f"word {n}"}] for n in range(20_000)]})
    before = time.thread_time()
    result = play(made, H, {"call": {"method": "dance"}, "private": True}, {"call": {"method": "dance", "result": {}}})
    assert time.thread_time() - before < 3 * BUSY
    assert seen(result, 1) == {"result": "(private)"}
