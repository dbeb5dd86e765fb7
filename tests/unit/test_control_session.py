"""Every verb against a ryll that behaves as the real one does: what it does, what it sees, and its words when it goes wrong."""

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
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll import verbs
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps, Refused, SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, rehearse, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import HELLO, STATUS, Connection, Peer, Ryll, chunk, header, png, rgba

ROOT = Path(__file__).parents[2]
Result = dict[str, Any]
H: dict[str, Any] = {"hello": {}}


def play(handler: Callable[[Connection], object], *steps: object, step_limit: float = 5.0, **settings: Any) -> Result:
    with Peer(handler) as peer:
        return run(Settings(peer.path, **settings), plan(list(steps), step_limit))


def fail(handler: Callable[[Connection], object], *steps: object, step_limit: float = 5.0, **settings: Any) -> SessionFailed:
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


def test_the_smoke_check(tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    before = time.time()
    ryll = Ryll()
    result = play(
        ryll,
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
    assert before <= result["transcript"][0]["started"] <= time.time()
    assert result["server"] == {"name": "ryll", "protocol_version": "1.5"}
    assert seen(result, 1) == {
        "spice_connected": True,
        "agent_connected": False,
        "surfaces": [{"channel_id": 0, "surface_id": 0, "width": 8, "height": 4}],
        "marks": 1,
        "asked": 1,
    }
    assert seen(result) == {"format": "png", "width": 8, "height": 4, "bytes": shot.stat().st_size, "one_colour": None, "file": str(shot)}
    assert shot.read_bytes() == png(8, 4, ryll.pixels)
    assert stat.S_IMODE(shot.stat().st_mode) == 0o600
    assert ryll.asked == ["hello", "status", "stats", "status", "screenshot", "status"]


def test_status_is_told_as_it_is() -> None:
    assert seen(play(Ryll(), H, {"status": {}})) == STATUS


# --- await ---------------------------------------------------------------------------------------


def test_await_goes_on_asking_until_all_holds() -> None:
    ryll = Ryll()
    ryll.surfaces = False
    timer = threading.Timer(0.15, lambda: setattr(ryll, "surfaces", True))
    timer.start()
    result = play(ryll, H, {"await": {"surfaces": 1, "size": "8x4", "agent": False}})
    timer.join()
    assert 0.1 < result["transcript"][1]["seconds"] < 0.5
    assert 2 <= seen(result)["asked"] <= 8


AWAIT: dict[str, tuple[dict[str, Any], str]] = {
    "agent": ({"agent": True}, "expected the agent connected within 0.1 s, but the last that came was agent not connected, surfaces 0 of 8x4"),
    "surfaces": ({"surfaces": 2}, "expected 2 surface(s) with a size within 0.1 s, but"),
    "size": ({"size": "8x8"}, "expected surface 0 of 8x8 within 0.1 s, but"),
    "surface": ({"size": "8x4", "surface_id": 1}, "expected surface 1 of 8x4 within 0.1 s, but"),
    "marks": ({"marks": 2}, "expected 2 drawn mark(s) within 0.1 s, but the last that came was agent not connected, surfaces 0 of 8x4, 1 marks"),
}


@pytest.mark.parametrize(("options", "words"), AWAIT.values(), ids=AWAIT.keys())
def test_what_does_not_come_true_is_told_and_blamed(options: dict[str, Any], words: str) -> None:
    began = time.monotonic()
    failed = fail(Ryll(), H, {"await": options, "within": 0.1, "blame": "guest", "name": "the guest"}, {"status": {}})
    assert time.monotonic() - began < 0.5
    assert str(failed).startswith(f"guest: step 2 of 3 (the guest) {words}")
    assert (failed.component, failed.check, failed.kind) == ("guest", "the guest", "unmet")
    assert failed.result["failed_step"] == {"index": 2, "name": "the guest", "step": "await", "kind": "unmet"}


def test_no_agent_can_be_wanted() -> None:
    ryll = Ryll()
    ryll.agent = True
    assert "expected no agent connected within 0.1 s, but the last that came was agent connected" in str(
        fail(ryll, H, {"await": {"agent": False}, "within": 0.1})
    )


def test_surfaces_without_a_size_do_not_count() -> None:
    ryll = Ryll()
    ryll.size = (0, 0)
    assert "surfaces 0 of 0x0" in str(fail(ryll, H, {"await": {"surfaces": 1}, "within": 0.1}))


def test_a_ryll_that_falls_silent_in_mid_await_is_blamed_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "ANSWER_WITHIN", 0.1)

    def serve(c: Connection) -> None:
        c.hello()
        c.accept(c.request(), STATUS)
        c.wait()

    failed = fail(serve, H, {"await": {"agent": True}, "within": 0.3, "blame": "guest"})
    assert failed.component == "ryll"
    assert re.search(r"expected an answer to `status` within 0\.[123] s, but nothing came", str(failed))


def test_silence_at_the_very_end_of_a_limit_is_not_the_point() -> None:
    def serve(c: Connection) -> None:
        c.hello()
        c.accept(c.request(), STATUS)
        c.wait()

    failed = fail(serve, H, {"await": {"agent": True}, "within": 0.3, "blame": "guest"})
    assert failed.component == "guest"


def test_marks_before_there_is_a_display_are_none() -> None:
    def serve(c: Connection) -> None:
        c.hello()
        for request in c.requests():
            c.accept(request, STATUS if request["method"] == "status" else {"display": None})

    assert "0 marks" in str(fail(serve, H, {"await": {"marks": 1}, "within": 0.1}))


# --- screenshot ------------------------------------------------------------------------------------


def shots(*pictures: tuple[int, int, bytes], form: str = "png", surfaces: list[tuple[int, int]] | None = None) -> Callable[[Connection], None]:
    """A ryll that gives these pictures (width, height, data) in turn, and these surface sizes to status, the last of each for ever."""
    sizes = list(surfaces or [(8, 4)])

    def serve(c: Connection) -> None:
        c.hello()
        left = list(pictures)
        for request in c.requests():
            if request["method"] == "status":
                width, height = sizes.pop(0) if len(sizes) > 1 else sizes[0]
                c.accept(request, STATUS | {"surfaces": [{"channel_id": 0, "surface_id": 0, "width": width, "height": height}]})
            else:
                width, height, data = left.pop(0) if len(left) > 1 else left[0]
                c.accept(request, {"width": width, "height": height, "format": form, "data_base64": base64.b64encode(data).decode()})

    return serve


def flat(x: int, y: int) -> tuple[int, int, int]:
    return 1, 2, 3


def steep(x: int, y: int) -> tuple[int, int, int]:
    return x, y, 0


SHOT = {"screenshot": {}}
BAD_SHOTS: dict[str, tuple[Callable[[Connection], None], dict[str, Any], str]] = {
    "one colour": (
        shots((8, 4, png(8, 4, flat))),
        {"not_one_colour": True},
        "expected the picture to be more than one colour, but all of it is #010203",
    ),
    "one colour in a region": (
        shots((8, 4, png(8, 4, lambda x, y: (y, 0, 0)))),
        {"not_one_colour": True, "region": {"x": 0, "y": 1, "width": 8, "height": 1}},
        "expected the region 8x1+0+1 to be more than one colour, but all of it is #010000",
    ),
    "another size than the surface": (shots((4, 4, png(4, 4, steep))), {}, "expected a picture of 8x4 as the surface has, but it is 4x4"),
    "another size than wanted": (shots((8, 4, png(8, 4, steep))), {"size": "640x480"}, "expected a picture of 640x480 as asked for, but it is 8x4"),
    "a PNG of another size": (shots((8, 4, png(4, 8, steep))), {}, "expected a PNG of 8x4 as announced, but its header says 4x8"),
    "a cut PNG": (shots((8, 4, png(8, 4, steep)[:70])), {}, "expected a whole PNG, but it is cut after 70 bytes"),
    "a region outside": (
        shots((8, 4, png(8, 4, steep))),
        {"region": {"x": 1, "y": 0, "width": 8, "height": 1}},
        "expected a picture that holds the region 8x1+1+0, but it is 8x4",
    ),
    "another format": (shots((8, 4, b""), form="rgba"), {}, 'expected a screenshot of format png, but another format came: "rgba"'),
    "rgba of another length": (shots((8, 4, bytes(5)), form="rgba"), {"format": "rgba"}, "expected 128 bytes of RGBA for 8x4, but 5 came"),
    "no such surface": (Ryll(), {"surface_id": 7}, 'expected `screenshot` to be accepted, but ryll refused it with no_such_surface: "no"'),
}


@pytest.mark.parametrize(("handler", "options", "words"), BAD_SHOTS.values(), ids=BAD_SHOTS.keys())
def test_a_wrong_picture_is_told(handler: Callable[[Connection], None], options: dict[str, Any], words: str) -> None:
    assert words in str(fail(handler, H, {"screenshot": options}))


def test_a_wrong_picture_is_kept_as_evidence(tmp_path: Path) -> None:
    file = tmp_path / "s.png"
    failed = fail(shots((8, 4, png(8, 4, flat))), H, {"screenshot": {"not_one_colour": True, "file": str(file)}})
    assert file.read_bytes() == png(8, 4, flat)
    assert str(failed).endswith(f"look at {file}")


def test_a_picture_may_settle() -> None:
    black, drawn = png(8, 4, flat), png(8, 4, steep)
    result = play(shots((8, 4, black), (8, 4, black), (8, 4, drawn)), H, {"screenshot": {"not_one_colour": True, "settle": 5}})
    assert seen(result)["one_colour"] is None
    assert 0.1 <= result["transcript"][1]["seconds"] < 2


def test_a_picture_that_does_not_settle_is_told_in_time() -> None:
    began = time.monotonic()
    failed = fail(shots((8, 4, png(8, 4, flat))), H, {"screenshot": {"not_one_colour": True, "settle": 0.3}})
    assert "expected the picture to be more than one colour" in str(failed)
    assert 0.2 < time.monotonic() - began < 1.5


def test_a_surface_that_changes_meanwhile_is_taken_again() -> None:
    handler = shots((8, 4, png(8, 4, steep)), (16, 4, png(16, 4, steep)), surfaces=[(8, 4), (16, 4)])
    assert seen(play(handler, H, SHOT))["width"] == 16


def test_a_surface_that_is_not_in_the_status_has_no_picture() -> None:
    ryll = Ryll()
    ryll.on_status = lambda c, r, p: c.accept(r, STATUS | {"surfaces": []})  # type: ignore[method-assign]
    assert "expected a surface 0 in the status, but there is none" in str(fail(ryll, H, SHOT))


def test_pictures_are_compared_by_their_pixels() -> None:
    ryll = Ryll()
    ryll.pixels = lambda x, y: (x, y, 9 if ryll.keys and x == 5 else 0)
    left = {"x": 0, "y": 0, "width": 5, "height": 4}
    result = play(
        ryll,
        H,
        SHOT | {"register": "a"},
        {"screenshot": {"format": "rgba", "same_as": "a"}},
        {"send_key": {"key": "x"}},
        {"screenshot": {"differs_from": "a", "not_one_colour": True}},
        {"screenshot": {"same_as": "a", "region": left}},
    )
    assert result["changed"] is True
    assert result["registered"]["a"] == seen(result, 1)
    assert seen(result, 2)["format"] == "rgba"


def test_a_picture_that_should_have_changed() -> None:
    failed = fail(Ryll(), H, SHOT | {"register": "a"}, {"screenshot": {"differs_from": "a"}})
    assert "step 3 of 3 (screenshot) expected the picture to differ from that of 'a', but it is the same" in str(failed)


def test_a_picture_that_should_not_have_changed() -> None:
    failed = fail(Ryll(), H, SHOT | {"register": "a"}, {"send_key": {"key": "x"}}, {"screenshot": {"same_as": "a"}})
    assert "expected the picture to equal that of 'a', but it differs" in str(failed)


def test_pictures_of_different_sizes_differ() -> None:
    ryll = Ryll()
    steps = [H, SHOT | {"register": "a"}, {"resize": {"width": 16, "height": 8}}]
    play(ryll, *steps, {"screenshot": {"differs_from": "a"}})
    ryll.size = (8, 4)
    assert "but it differs" in str(fail(ryll, *steps, {"screenshot": {"same_as": "a"}}))


def test_reading_a_picture_ends_with_the_steps_limit() -> None:
    black = zlib.compress((b"\4" + bytes(4 * 2000)) * 1000)
    packed = b"\x89PNG\r\n\x1a\n" + header(2000, 1000) + chunk(b"IDAT", black) + chunk(b"IEND", b"")
    failed = fail(shots((2000, 1000, packed), surfaces=[(2000, 1000)]), H, {"screenshot": {}, "within": 0.3})
    assert "expected the picture to be read within 0.3 s, but the time was over in the midst of it" in str(failed)
    assert failed.result["transcript"][1]["seconds"] < 0.5


# --- keys --------------------------------------------------------------------------------------------


def test_a_chord_goes_down_and_comes_up_in_order() -> None:
    ryll = Ryll()
    result = play(ryll, H, {"send_key": {"key": "ctrl-alt-f2"}})
    assert ryll.keys == [(0x1D, "down"), (0x38, "down"), (0x3C, "press"), (0x38, "up"), (0x1D, "up")]
    assert result["changed"] is True
    assert seen(result) == {"scancodes": [["0x1d", "0x38", "0x3c"]], "state": "press"}


def test_keys_go_one_after_the_other_with_a_pause() -> None:
    ryll = Ryll()
    result = play(ryll, H, {"send_key": {"keys": ["a", "left"], "delay_ms": 100}})
    assert ryll.keys == [(0x1E, "press"), (0xE04B, "press")]
    assert result["transcript"][1]["seconds"] >= 0.1


def test_a_scancode_and_a_state() -> None:
    ryll = Ryll()
    play(ryll, H, {"send_key": {"scancode": 0xE050}}, {"send_key": {"key": "shift-a", "state": "down"}}, {"send_key": {"key": "shift-a", "state": "up"}})
    assert ryll.keys == [(0xE050, "press"), (0x2A, "down"), (0x1E, "down"), (0x1E, "up"), (0x2A, "up")]


def test_modifiers_come_up_again_when_ryll_refuses_the_key() -> None:
    ryll = Ryll()

    def refuse_press(c: Connection, request: Any, params: Any) -> None:
        ryll.keys.append((params["scancode"], params["state"]))
        if params["state"] == "press":
            c.refuse(request, "internal_error", "input channel closed or full")
        else:
            c.accept(request, {})

    ryll.on_send_key = refuse_press  # type: ignore[method-assign]
    failed = fail(ryll, H, {"send_key": {"key": "ctrl-c"}})
    assert ryll.keys == [(0x1D, "down"), (0x2E, "press"), (0x1D, "up")]
    assert 'ryll refused it with internal_error: "input channel closed or full"' in str(failed)
    assert failed.result["changed"] is True


def test_text_is_typed_key_by_key() -> None:
    ryll = Ryll()
    result = play(ryll, H, {"type": {"text": "aB\n", "delay_ms": 0}})
    assert ryll.keys == [(0x1E, "press"), (0x2A, "down"), (0x30, "press"), (0x2A, "up"), (0x1C, "press")]
    assert seen(result) == {"text": "aB\n", "characters": 3}


def test_typing_ends_with_the_steps_limit() -> None:
    failed = fail(Ryll(), H, {"type": {"text": "a" * 100, "delay_ms": 50}, "within": 0.12})
    assert "expected all 100 keys to be sent in time, but " in str(failed)


# --- paste and clipboard -------------------------------------------------------------------------------


def test_paste_waits_for_its_end() -> None:
    ryll = Ryll()
    result = play(ryll, H, {"paste": {"text": "ls\n"}})
    assert ryll.pasted == "ls\n"
    assert ryll.asked[1:] == ["subscribe", "paste"]
    assert seen(result) == {"text": "ls\n", "characters": 3}


def test_paste_without_waiting_asks_for_nothing_else() -> None:
    ryll = Ryll()
    play(ryll, H, {"paste": {"text": "ls", "wait": False}})
    assert ryll.asked[1:] == ["paste"]


def test_a_paste_that_never_ends_names_the_flag() -> None:
    ryll = Ryll()
    ryll.on_paste = lambda c, r, p: c.accept(r, {})  # type: ignore[method-assign]
    failed = fail(ryll, H, {"paste": {"text": "x"}, "within": 0.1})
    assert "neither paste_completed nor paste_failed came; does ryll run with --enable-paste-as-keystrokes?" in str(failed)


def test_a_paste_that_fails_tells_why() -> None:
    assert 'ryll said paste_failed: "cannot paste: 1 unrepresentable character(s): U+2022"' in str(fail(Ryll(), H, {"paste": {"text": "•"}}))


def paste_answers(*events: dict[str, Any]) -> Ryll:
    ryll = Ryll()

    def on_paste(c: Connection, request: Any, params: Any) -> None:
        c.accept(request, {})
        for event in events:
            c.event(event["name"], **({"request_id": request["id"]} | event["data"]))

    ryll.on_paste = on_paste  # type: ignore[method-assign]
    return ryll


def test_a_paste_that_sends_fewer_characters() -> None:
    ryll = paste_answers({"name": "paste_completed", "data": {"chars_sent": 2}})
    assert "expected 3 characters to be pasted, but ryll sent 2" in str(fail(ryll, H, {"paste": {"text": "abc"}}))


def test_the_end_of_another_paste_does_not_count() -> None:
    ryll = paste_answers({"name": "paste_completed", "data": {"chars_sent": 3, "request_id": 99}})
    assert "neither paste_completed" in str(fail(ryll, H, {"paste": {"text": "abc"}, "within": 0.1}))


def test_a_paste_whose_end_may_have_been_dropped() -> None:
    ryll = paste_answers({"name": "dropped", "data": {"count": 7, "request_id": 0}})
    failed = fail(ryll, H, {"paste": {"text": "abc"}, "within": 0.1})
    assert "neither paste_completed nor paste_failed came; 7 events were dropped meanwhile" in str(failed)
    assert failed.result["notices"] == ["ryll dropped 7 events because they were not read in time"]


def test_the_clipboard_there_and_back() -> None:
    ryll = Ryll()
    ryll.agent = True
    result = play(
        ryll,
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


@pytest.mark.parametrize(("held", "words"), [(None, "but it is empty"), ("other", "but it is 'other'")])
def test_another_clipboard_text_is_told(held: str | None, words: str) -> None:
    ryll = Ryll()
    ryll.clipboard = held
    assert f"expected the clipboard to hold 'mine', {words}" in str(fail(ryll, H, {"clipboard_get": {"equals": "mine"}}))


# --- resize, stats, call ---------------------------------------------------------------------------------


def test_resize_tells_the_size_that_was_sent_on_and_await_can_use_it() -> None:
    ryll = Ryll()
    result = play(ryll, H, {"resize": {"width": 801, "height": 601}, "register": "r"}, {"await": {"size_as": "r"}})
    assert seen(result, 1) == {"width": 800, "height": 600}


def test_a_full_resize_queue_is_tried_again() -> None:
    ryll, usual = Ryll(), Ryll.on_resize
    refusals = [1, 2]

    def on_resize(c: Connection, request: Any, params: Any) -> None:
        if refusals:
            refusals.pop()
            c.refuse(request, "queue_full", "resize queue is full; retry shortly")
        else:
            usual(ryll, c, request, params)

    ryll.on_resize = on_resize  # type: ignore[method-assign]
    play(ryll, H, {"resize": {"width": 16, "height": 16}})
    assert ryll.asked.count("resize") == 3
    refusals += range(100)
    assert "ryll refused it with queue_full" in str(fail(ryll, H, {"resize": {"width": 16, "height": 16}, "within": 0.2}))


def test_stats_may_be_told_and_required() -> None:
    assert seen(play(Ryll(), H, {"stats": {"marks": 1}}))["display"]["marks_received"] == 1
    assert "expected at least 2 drawn marks, but there are 1" in str(fail(Ryll(), H, {"stats": {"marks": 2}}))


def test_call_reaches_a_verb_of_a_newer_ryll() -> None:
    ryll = Ryll()
    ryll.methods.append("dance")
    ryll.on_dance = lambda c, r, p: c.accept(r, {"steps": p["n"], "more": 1})  # type: ignore[attr-defined]
    result = play(ryll, H, {"call": {"method": "dance", "params": {"n": 3}, "result": {"steps": 3}, "acts": True}})
    assert seen(result) == {"result": {"steps": 3, "more": 1}}
    assert result["changed"] is True
    assert "expected `steps` of the answer to `dance` as given, but it is another" in str(
        fail(ryll, H, {"call": {"method": "dance", "params": {"n": 3}, "result": {"steps": 4}}})
    )
    assert "but it is missing" in str(fail(ryll, H, {"call": {"method": "dance", "params": {"n": 3}, "result": {"x": 4}}}))


# --- versions and refusals -----------------------------------------------------------------------------------


def test_a_verb_that_ryll_does_not_list_is_not_tried() -> None:
    ryll = Ryll()
    ryll.methods.remove("resize")
    failed = fail(ryll, H, {"resize": {"width": 8, "height": 8}})
    assert "expected a ryll that has the verb `resize`, but this one lists hello, status," in str(failed)
    assert failed.kind == "unsupported"
    assert ryll.asked == ["hello"]
    assert "a ryll that has the verb `dance`" in str(fail(ryll, H, {"call": {"method": "dance"}}))


def test_an_event_that_ryll_does_not_list_is_not_tried() -> None:
    ryll = Ryll()
    assert "expected a ryll that has the event `digest_updated`" in str(fail(ryll, H, {"subscribe": {"events": ["digest_updated"]}}))
    ryll.events = []
    assert "the event `paste_completed`, but this one lists none" in str(fail(ryll, H, {"paste": {"text": "x"}}))
    assert ryll.asked == ["hello", "hello"]


def test_await_needs_stats_only_for_marks() -> None:
    ryll = Ryll()
    ryll.methods.remove("stats")
    play(ryll, H, {"await": {"surfaces": 1}})
    assert "the verb `stats`" in str(fail(ryll, H, {"await": {"marks": 1}, "blame": "guest"}))


@pytest.mark.parametrize("version", ["1.0", "1.99"])
def test_any_minor_version_will_do(version: str) -> None:
    play(lambda c: c.hello(protocol_version=version), H)


def test_a_refusal_can_be_what_is_wanted() -> None:
    ryll = Ryll()
    ryll.surfaces = False
    result = play(
        ryll,
        {"call": {"method": "dance"}, "refused": "unknown_method"},
        H,
        {"screenshot": {}, "refused": "no_such_surface"},
        {"call": {"method": "dance"}, "refused": "unknown_method"},
    )
    assert seen(result) == {"refused": "unknown_method"}


def test_a_wanted_refusal_that_does_not_come() -> None:
    assert "expected ryll to refuse `status` with busy, but it accepted" in str(fail(Ryll(), H, {"status": {}, "refused": "busy"}))
    assert "with busy, but it refused with no_such_surface" in str(fail(Ryll(), H, {"screenshot": {"surface_id": 1}, "refused": "busy"}))


def test_another_major_version_can_be_refused_on_purpose() -> None:
    play(Ryll(), {"hello": {"protocol_version": "2.0"}, "refused": "protocol_version_mismatch"})


def busy(c: Connection) -> None:
    c.send({"ok": False, "error": {"code": "busy", "message": "another client is connected"}})


def test_a_client_that_has_just_left_is_outwaited() -> None:
    """ryll 0.3.0 notices the end of a connection a moment later; until then the next client is told busy."""
    ryll = Ryll()
    for first in (H, {"call": {"method": "dance"}, "refused": "unknown_method"}):
        with Peer(busy, busy, ryll) as peer:
            run(Settings(peer.path), plan([first, H]))


def test_busy_is_told_and_can_be_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "LEAVES_WITHIN", 0.1)
    assert 'expected `hello` to be accepted, but ryll refused it with busy: "another client is connected"' in str(fail(busy, H))
    play(busy, H | {"refused": "busy"})


def test_who_only_wants_a_picture_outwaits_it_too() -> None:
    """`./lane shot` and the check `frames` may meet at the socket."""
    deadline = time.monotonic() + 5
    with Peer(busy, busy, Ryll()) as peer, Client(peer.path) as client:
        assert client.open("me", deadline).protocol_version == "1.5"
    with Peer(busy, busy, busy) as peer, Client(peer.path) as client, pytest.raises(Refused, match="refused it with busy"):
        client.open("me", deadline, bear=0.08)
    with Peer(lambda c: c.send({"ok": False, "error": {"code": "internal", "message": "no"}})) as peer, Client(peer.path) as client:
        with pytest.raises(Refused, match="internal"):
            client.open("me", deadline)


# --- events ------------------------------------------------------------------------------------------------------


SUBSCRIBE = {"subscribe": {"events": ["surface_drawn", "latency", "dropped"]}}


def events_after_subscribe(*events: dict[str, Any], later: float = 0.0) -> Callable[[Connection], None]:
    def serve(c: Connection) -> None:
        c.hello()
        request = c.request()
        c.accept(request, {"subscribed": request["params"]["events"]})
        time.sleep(later)
        for event in events:
            c.event(event["name"], **event["data"])
        for request in c.requests():
            c.accept(request, STATUS)

    return serve


def event(name: str, **data: Any) -> dict[str, Any]:
    return {"name": name, "data": data}


def test_events_between_steps_are_kept_in_order_and_taken_once() -> None:
    handler = events_after_subscribe(event("latency", n=1), event("surface_drawn", n=2), event("latency", n=3))
    result = play(
        handler,
        H,
        SUBSCRIBE,
        {"status": {}},
        {"expect_event": {"event": "surface_drawn"}},
        {"expect_event": {"event": "latency", "count": 2}, "register": "l"},
    )
    assert [(one["name"], one["data"]["n"]) for one in result["events"]] == [("latency", 1), ("surface_drawn", 2), ("latency", 3)]
    assert all(one["during"] in (3, 4) and 0 < one["seconds"] < result["seconds"] for one in result["events"])
    assert result["registered"]["l"] == {"event": "latency", "count": 2, "data": [{"n": 1}, {"n": 3}]}
    assert result["events_seen"] == {"latency": 2, "surface_drawn": 1}
    assert "1 came" in str(fail(handler, H, SUBSCRIBE, {"expect_event": {"event": "surface_drawn", "count": 2}, "within": 0.1}))


def test_an_event_is_awaited_and_picked_by_its_data() -> None:
    handler = events_after_subscribe(event("latency", n=1), event("latency", n=2), later=0.05)
    result = play(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"n": 2}}})
    assert seen(result)["data"] == [{"n": 2}]
    assert "expected 1 event(s) latency with n as given within 0.15 s, but 0 came, and 2 with other data" in str(
        fail(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"n": 9}}, "within": 0.15})
    )


def test_truth_is_no_number() -> None:
    """Though Python holds true and 1 for the same."""
    handler = events_after_subscribe(event("latency", on=1, list=[True, {"a": 0}]), later=0.02)
    for fields in ({"on": True}, {"list": [1, {"a": 0}]}, {"list": [True, {"a": False}]}, {"list": [True]}, {"list": {}}):
        assert "0 came, and 1 with other data" in str(fail(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": fields}, "within": 0.1}))
    play(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"on": 1.0, "list": [True, {"a": 0}]}}})


@pytest.mark.parametrize(
    "data",
    [b'"name","data":{"x":[' + b"[]," * 2000 + b"[]]}", b'"%06d' + b"x" * 100_000 + b'","data":{}', b'"name","data":{"x":"' + b"x" * 100_000 + b'"}'],
    ids=["of many values", "of long names", "of long texts"],
)
def test_kept_events_take_little_memory(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer sends 6 MB in lines, or what becomes 8 MB of values, to a client that may keep 1 MiB."""
    monkeypatch.setattr("ansible.module_utils.lane.protocols.ryll.client.MOST_EVENT_BYTES", 1 << 20)
    number = 60

    def serve(c: Connection) -> None:
        c.hello()
        for at in range(number):
            c.raw(b'{"event":' + (data % at if b"%06d" in data else data) + b"}\n")
        c.accept(c.request(), STATUS)

    tracemalloc.start()
    result = play(serve, H, {"status": {}}, step_limit=30)
    assert sum(result["events_seen"].values()) == number
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20


def test_many_events_are_taken_in_little_time() -> None:
    def serve(c: Connection) -> None:
        c.hello()
        c.accept(c.request(), {"subscribed": SUBSCRIBE["subscribe"]["events"]})
        c.raw(b'{"event":"surface_drawn","data":{}}\n' * 5000 + b'{"event":"latency","data":{}}\n' * 5000)
        for request in c.requests():
            c.accept(request, STATUS)

    wait = {"expect_event": {"event": "latency", "count": 1}}
    steps = [H, SUBSCRIBE, {"status": {}}, wait, {"expect_event": {"event": "latency", "count": 4999}}, {"status": {}}]
    before = time.thread_time()
    play(serve, *steps)
    assert time.thread_time() - before < 2


def test_since_leaves_out_what_came_before() -> None:
    ryll = Ryll()
    press = {"send_key": {"key": "a"}}
    steps = [H, SUBSCRIBE, press, {"pause": {"seconds": 0.05}}]
    play(ryll, *steps, press | {"register": "p"}, {"expect_event": {"event": "surface_drawn", "since": "p"}})
    failed = fail(ryll, *steps, {"status": {}, "register": "s"}, {"expect_event": {"event": "surface_drawn", "since": "s"}, "within": 0.1, "blame": "guest"})
    assert str(failed).startswith("guest: step 6 of 6 (expect_event) expected 1 event(s) surface_drawn within 0.1 s, but 0 came")


def test_quiet_is_quiet() -> None:
    """The event of the key comes after the key's answer, so it is awaited first."""
    drawn = {"expect_event": {"event": "surface_drawn"}}
    result = play(Ryll(), H, SUBSCRIBE, {"send_key": {"key": "a"}}, drawn, {"quiet": {"event": "surface_drawn", "seconds": 0.1}})
    assert result["transcript"][4]["seconds"] >= 0.1


def test_quiet_is_broken_at_once() -> None:
    began = time.monotonic()
    failed = fail(events_after_subscribe(event("latency", n=1), later=0.1), H, SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 3}})
    assert "expected no event latency for 3 s, but one came" in str(failed)
    assert time.monotonic() - began < 1


def test_quiet_can_look_back() -> None:
    steps = [H, SUBSCRIBE, {"send_key": {"key": "a"}, "register": "p"}, {"pause": {"seconds": 0.05}}]
    quiet = {"quiet": {"event": "surface_drawn", "seconds": 0.05, "since": "p"}}
    assert "but one came" in str(fail(Ryll(), *steps, quiet))


def test_quiet_minds_only_the_data_it_is_given() -> None:
    play(events_after_subscribe(event("latency", n=1), later=0.05), H, SUBSCRIBE, {"quiet": {"event": "latency", "fields": {"n": 2}, "seconds": 0.15}})


def test_quiet_proves_nothing_when_events_were_dropped() -> None:
    failed = fail(events_after_subscribe(event("dropped", count=5), later=0.05), H, SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 0.15}})
    assert "expected no event latency for 0.15 s, but 5 events were dropped meanwhile, so nobody can tell" in str(failed)


def test_dropped_events_are_a_notice_of_their_own() -> None:
    result = play(events_after_subscribe(event("dropped", count=5), event("dropped", count=2)), H, SUBSCRIBE, {"status": {}})
    assert result["notices"] == ["ryll dropped 7 events because they were not read in time"]


def test_a_wait_for_a_dropped_event_says_so() -> None:
    failed = fail(events_after_subscribe(event("dropped", count=5), later=0.05), H, SUBSCRIBE, {"expect_event": {"event": "latency"}, "within": 0.2})
    assert "but 0 came; 5 events were dropped meanwhile" in str(failed)


def test_unsubscribe_stops_the_events() -> None:
    ryll = Ryll()
    result = play(ryll, H, SUBSCRIBE, {"unsubscribe": {"events": ["surface_drawn"]}}, {"send_key": {"key": "a"}}, {"pause": {"seconds": 0.05}})
    assert seen(result, 2) == {"unsubscribed": ["surface_drawn"]}
    assert result["events"] == []


def test_a_subscription_that_is_not_taken_fails() -> None:
    def serve(c: Connection) -> None:
        c.hello()
        c.accept(c.request(), {"subscribed": ["latency"]})
        c.wait()

    assert "expected `subscribe` to take every event asked for, but it left out surface_drawn, dropped" in str(fail(serve, H, SUBSCRIBE))


def test_a_flood_of_events_is_bounded_and_told() -> None:
    def serve(c: Connection) -> None:
        c.hello()
        c.accept(c.request(), {"subscribed": SUBSCRIBE["subscribe"]["events"]})
        c.raw(b'{"event":"latency","data":{}}\n' * 10_500 + b'{"event":"surface_drawn","data":{}}\n')
        for request in c.requests():
            c.accept(request, STATUS)

    result = play(serve, H, SUBSCRIBE, {"status": {}}, {"expect_event": {"event": "surface_drawn"}})
    assert len(result["events"]) == 1000
    assert result["notices"] == [
        "501 events came that no step asked for in time; they were thrown away, the oldest first",
        "`events` holds the first 1000 of 10501 events",
    ]


# --- the session as a whole ----------------------------------------------------------------------------------------


def test_pause_keeps_events_and_notices_an_end() -> None:
    def leave(c: Connection) -> None:
        c.hello()
        time.sleep(0.1)

    began = time.monotonic()
    failed = fail(leave, H, {"pause": {"seconds": 5}})
    assert "expected ryll to keep the connection, but it closed it" in str(failed)
    assert time.monotonic() - began < 1


def test_pause_before_hello_just_waits() -> None:
    result = play(Ryll(), {"pause": {"seconds": 0.1}}, H)
    assert 0.1 <= result["transcript"][0]["seconds"] < 0.3


def test_reconnect_says_hello_and_subscribes_again() -> None:
    ryll = Ryll()
    result = play(ryll, H, SUBSCRIBE, {"reconnect": {}}, {"send_key": {"key": "a"}}, {"expect_event": {"event": "surface_drawn"}})
    assert ryll.asked[:4] == ["hello", "subscribe", "hello", "subscribe"]
    assert seen(result, 2) == {"protocol_version": "1.5", "subscribed": ["surface_drawn", "latency", "dropped"]}
    play(ryll, H, SUBSCRIBE, {"reconnect": {"resubscribe": False}}, {"status": {}})
    assert ryll.asked[-2:] == ["hello", "status"]


def test_reconnect_outwaits_a_busy_ryll() -> None:
    ryll = Ryll()
    with Peer(ryll, busy, busy, ryll) as peer:
        run(Settings(peer.path), plan([H, {"reconnect": {}}, {"status": {}}]))
    with Peer(ryll, busy) as peer, pytest.raises(SessionFailed, match="ryll refused it with busy"):
        run(Settings(peer.path), plan([H, {"reconnect": {}, "within": 0.2}]))


def test_reconnect_brings_back_a_session_that_the_peer_ended() -> None:
    with Peer(lambda c: c.hello(), Ryll()) as peer:
        run(Settings(peer.path), plan([H, {"reconnect": {}}, {"status": {}}]))


def test_the_whole_session_has_a_limit() -> None:
    def slow(c: Connection) -> None:
        c.hello()
        request = c.request()
        time.sleep(0.4)
        c.accept(request, STATUS)
        c.wait()

    told = str(fail(slow, H, {"status": {}}, limit=0.2))
    assert "step 2 of 2 (status) expected an answer to `status` within 0.2 s, but nothing came; the session's limit of 0.2 s ended the step" in told
    failed = fail(Ryll(), H, {"await": {"agent": True}, "blame": "guest", "within": 30}, {"status": {}}, limit=0.3)
    assert str(failed).startswith("guest: step 2 of 3 (await) expected the agent connected within 0.3 s, but the last that came was agent not connected")
    assert str(failed).endswith("the session's limit of 0.3 s ended the step before its own")
    assert failed.result["transcript"][1]["seconds"] < 2


@pytest.mark.parametrize("step", [{"pause": {"seconds": 3}}, {"quiet": {"event": "latency", "seconds": 3}}], ids=["pause", "quiet"])
def test_a_time_that_the_session_has_not_is_not_taken_for_waited(step: dict[str, Any]) -> None:
    """As a `quiet` that was cut short would prove nothing."""
    failed = fail(Ryll(), H, SUBSCRIBE, step | {"blame": "guest"}, limit=2)
    assert re.search(r"^lane: step 3 of 3 .* expected the session to end within its limit of 2 s, but [12]\.\d s of it are left for 3 s of this", str(failed))
    assert failed.kind == "timeout"
    assert failed.result["transcript"][2]["seconds"] < 1


def test_a_session_whose_limit_is_used_up() -> None:
    told = str(fail(Ryll(), H, limit=1e-9))
    assert told == "lane: step 1 of 1 (hello) expected the session to end within its limit of 1e-09 s, but the steps before this one used it up"


def test_the_transcript_is_written_green_and_red(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    result = play(Ryll(), H, transcript_file=str(file))
    assert json.loads(file.read_text()) == {"command_id": "", "files": [], **result}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    failed = fail(Ryll(), H, {"stats": {"marks": 5}, "blame": "guest"}, {"status": {}}, transcript_file=str(file))
    written = json.loads(file.read_text())
    assert [entry["result"] for entry in written["transcript"]] == ["ok", "failed", "skipped"]
    assert written["transcript"] == failed.result["transcript"]
    assert written["transcript"][1]["seen"] == {"expected": "at least 5 drawn marks", "got": "there are 1", "kind": "unmet"}
    assert written["component"] == "guest"
    assert written["cause"] == failed.cause


def test_a_transcript_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.mkdir()
    failed = fail(Ryll(), H, {"stats": {"marks": 5}}, transcript_file=str(file))
    assert "expected at least 5 drawn marks" in str(failed)
    assert failed.result["notices"] == [f"the transcript could not be written to {file}: Is a directory"]


def test_a_good_session_whose_transcript_cannot_be_written_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.mkdir()
    with pytest.raises(LaneError) as caught:
        play(Ryll(), H, transcript_file=str(file))
    assert str(caught.value) == f"environment: expected the transcript to be written to {file}, but the system said Is a directory"
    assert [entry["result"] for entry in caught.value.result["transcript"]] == ["ok"]


def test_a_session_that_takes_no_picture_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    file, picture = tmp_path / "t.json", tmp_path / "s.png"
    picture.write_bytes(b"of an earlier session")
    fail(Ryll(), H, {"stats": {"marks": 5}}, {"screenshot": {"file": str(picture)}}, transcript_file=str(file))
    assert not picture.exists()
    assert json.loads(file.read_text())["files"] == [str(picture)]


def test_a_picture_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "s.png").mkdir()
    failed = fail(Ryll(), H, {"screenshot": {"file": str(tmp_path / "s.png")}})
    assert str(failed).startswith("environment: step 2 of 2 (screenshot) expected its files to be written, but the system said Is a directory")
    assert failed.kind == "environment"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit": 0}, "expected a limit of the session above 0 and up to 86400 seconds, but it is 0"),
        ({"connect_within": -1}, "expected connect_within from 0 to 86400 seconds, but it is -1"),
        ({"max_line_bytes": 1}, "expected max_line_bytes from 1024 to 67108864, but it is 1"),
        ({"pid": 0}, "expected the pid of a process, but it is 0"),
        ({"client_name": "a\nb"}, "expected a printable client_name"),
        ({"transcript_file": "t.json"}, "expected transcript_file to be an absolute path, but it is not"),
        ({"transcript_file": "/tmp/a\0b"}, "expected transcript_file to be an absolute path, but it is not"),
        ({"limit": math.nan}, "expected a limit of the session above 0 and up to 86400 seconds, but it is nan"),
        ({"limit": math.inf}, "expected a limit of the session above 0 and up to 86400 seconds, but it is inf"),
        ({"transcript_file": "/none/t.json"}, "expected a directory to write /none/t.json into, but it is not there or not writable"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_starts(settings: dict[str, Any], words: str) -> None:
    ryll = Ryll()
    with Peer(ryll) as peer, pytest.raises(BadSteps) as caught:
        run(Settings(peer.path, **settings), plan([H]))
    assert words in str(caught.value)
    assert ryll.asked == []


@pytest.mark.parametrize(
    ("path", "words"), [("r.sock", "the absolute path of a socket, but it is r.sock"), ("/r\ud800", "it has half of a surrogate pair"), ("/r\0", "a NUL")]
)
def test_a_path_that_is_none_is_told_before_anything_starts(path: str, words: str) -> None:
    for act in (run, rehearse):
        with pytest.raises(BadSteps) as caught:
            act(Settings(path), plan([H]))
        assert words in str(caught.value)


def test_a_place_for_a_picture_is_looked_for_before_anything_starts() -> None:
    ryll = Ryll()
    with Peer(ryll) as peer, pytest.raises(BadSteps, match=r"a directory to write /none/s\.png into"):
        run(Settings(peer.path), plan([H, {"screenshot": {"file": "/none/s.png"}}]))
    assert ryll.asked == []


def test_a_rehearsal_tells_and_touches_nothing() -> None:
    steps = plan([H, {"send_key": {"key": "a"}, "name": "press it"}, {"screenshot": {"file": "/none/s.png"}}])
    assert rehearse(Settings("/none/r.sock"), steps) == {"changed": True, "would": ["1. hello", "2. press it (`send_key`)", "3. screenshot"], "transcript": []}
    assert rehearse(Settings("/none/r.sock"), steps[:1])["changed"] is False


def test_a_large_answer_is_cut_in_the_transcript() -> None:
    ryll = Ryll()
    ryll.clipboard = "x" * 100_000
    ryll.methods.append("dance")
    ryll.on_dance = lambda c, r, p: c.accept(r, {"list": list(range(2000)), "dict": {str(n): n for n in range(2000)}})  # type: ignore[attr-defined]
    result = play(ryll, H, {"clipboard_get": {"equals": "x" * 100_000}}, {"call": {"method": "dance"}})
    assert seen(result, 1)["text"] == "x" * 65536 + "... (100000 characters)"
    assert seen(result)["result"]["list"][-1] == "... (2000 entries)"
    assert seen(result)["result"]["dict"]["..."] == "(2000 entries)"


def test_a_huge_answer_is_not_in_the_transcript() -> None:
    """Twenty texts of 60000 characters; the step still sees them all."""
    ryll = Ryll()
    ryll.methods.append("dance")
    ryll.on_dance = lambda c, r, p: c.accept(r, {str(n): "x" * 60_000 for n in range(20)})  # type: ignore[attr-defined]
    shown = seen(play(ryll, H, {"call": {"method": "dance", "result": {"19": "x" * 60_000}}, "register": "r"}))
    assert re.fullmatch(r"\(120\d{4} characters\)", shown["..."])


def test_fat_events_are_counted_but_not_all_told() -> None:
    handler = events_after_subscribe(*[event("latency", text="x" * 60_000)] * 30)
    result = play(handler, H, SUBSCRIBE, {"status": {}}, {"expect_event": {"event": "latency", "count": 30}})
    assert 10 < len(result["events"]) < 20
    assert result["notices"] == [f"`events` holds the first {len(result['events'])} of 30 events"]
    assert result["events_seen"] == {"latency": 30}


def test_the_page_tells_how_to_use_it_from_plain_python() -> None:
    """Its block, in a Python without site-packages, and so without Ansible."""
    page = (ROOT / "docs/ryll_session.md").read_text(encoding="utf-8")
    found = re.search(r"## From plain Python\n.*?```python\n(.*?)```", page, re.DOTALL)
    assert found
    with Peer(Ryll()) as peer:
        code = found[1].replace("/tmp/lane/ryll.sock", peer.path)
        command = [sys.executable, "-S", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={"PYTHONPATH": str(ROOT / "module_utils")})
    assert done.returncode == 0, done.stderr
    version, surfaces, sentence = done.stdout.splitlines()
    assert (version, surfaces) == ("1.5", str(STATUS["surfaces"]))
    assert sentence == "ryll: step 2 of 2 (stats) expected at least 1000000 drawn marks, but there are 1"


def test_the_client_is_usable_from_plain_python() -> None:
    ryll = Ryll()
    with Peer(ryll) as peer, Client(peer.path) as client:
        deadline = time.monotonic() + 5
        client.connect(deadline)
        assert client.hello("me", deadline).protocol_version == HELLO["protocol_version"]
        assert client.request("status", {}, deadline) == STATUS


# --- private texts ---------------------------------------------------------------------------------------------------


SECRET = "open sesame 42"


def leaky(c: Connection) -> None:
    """Says what it was told wherever it can."""
    c.hello()
    for request in c.requests():
        text = str(request["params"])
        c.event("latency", echo=text)
        if request["method"] == "subscribe":
            c.accept(request, {"subscribed": request["params"]["events"]})
        else:
            c.refuse(request, "bad_params", f"cannot do {text}")


PRIVATE = {
    "type": {"type": {"text": SECRET, "delay_ms": 0}},
    "paste": {"paste": {"text": SECRET}},
    "clipboard_set": {"clipboard_set": {"text": SECRET}},
    "clipboard_get": {"clipboard_get": {"equals": SECRET}},
    "call": {"call": {"method": "paste", "params": {"text": SECRET}, "result": {"text": SECRET}}},
}


@pytest.mark.parametrize("step", PRIVATE.values(), ids=PRIVATE.keys())
@pytest.mark.parametrize("kind", ["good", "other", "leaky", "failing", "garbage"])
def test_a_private_text_is_nowhere(step: dict[str, Any], kind: str, tmp_path: Path) -> None:
    file, log = tmp_path / "t.json", tmp_path / "ryll.log"
    log.write_text(f"inputs: got {SECRET}\n")
    good = Ryll()
    good.clipboard = SECRET
    good.on_paste = lambda c, r, p: (c.accept(r, {"text": SECRET}), good.tell(c, "paste_completed", request_id=r["id"], chars_sent=14))  # type: ignore[method-assign]
    other = Ryll()
    other.clipboard = "quite " + SECRET
    other.on_paste = lambda c, r, p: (c.accept(r, {"text": SECRET + "!"}), other.tell(c, "paste_failed", request_id=r["id"], reason=SECRET))  # type: ignore[method-assign]

    def garbage(c: Connection) -> None:
        c.hello()
        c.raw(b"garbage " + SECRET.encode() + b"\n")

    def failing(c: Connection) -> None:
        c.hello()
        c.request()

    handler: Any = {"good": good, "other": other, "leaky": leaky, "failing": failing, "garbage": garbage}[kind]
    try:
        told = play(handler, H, step | {"private": True, "register": "r"}, transcript_file=str(file), log_file=str(log))
        if kind == "good":
            assert "(private" in str(seen(told))
    except SessionFailed as failed:
        assert kind != "good"
        told = failed.result | {"msg": str(failed), "failure": failed.as_dict()}
    for place in (json.dumps(told), file.read_text()):
        assert SECRET not in place
        assert "sesame" not in place


def test_a_private_text_that_came_from_the_guest_is_hidden_as_well() -> None:
    ryll = Ryll()
    ryll.clipboard = SECRET
    result = play(ryll, H, {"clipboard_get": {}, "private": True}, {"clipboard_get": {}})
    assert seen(result, 1) == seen(result, 2) == {"text": "(private, 14 characters)", "characters": 14}


def test_a_private_text_is_sought_by_its_lines_and_in_quotes(tmp_path: Path) -> None:
    """A password is typed with the line end behind it; who repeats it may leave that out, or put it in quotes."""
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
    for told in (json.dumps(failed.result), file.read_text(), str(failed)):
        assert "sesame" not in told
        assert "sa\\" not in told


def test_a_private_text_is_hidden_before_its_step_and_a_cut_of_it_too() -> None:
    long = "sesame " * 50
    ryll = Ryll()
    ryll.clipboard = "open sesame"
    steps = [H, {"clipboard_get": {}}, {"clipboard_set": {"text": "open sesame"}, "private": True}]
    assert seen(play(ryll, *steps), 1)["text"] == "(private, 11 characters)"
    failed = fail(ryll, H, {"clipboard_set": {"text": long}, "private": True}, {"clipboard_get": {"equals": "other"}})
    assert "expected the clipboard to hold (private, 5 characters), but it is (private, 350 characters)" in str(failed)
    ryll.on_paste = lambda c, r, p: (c.accept(r, {}), ryll.tell(c, "paste_failed", request_id=r["id"], reason="no " + long))  # type: ignore[method-assign]
    failed = fail(ryll, H, {"clipboard_set": {"text": long}, "private": True}, {"paste": {"text": "x"}})
    assert str(failed).endswith("expected the text to be pasted, but ryll said paste_failed")
    assert "sesame" not in json.dumps(failed.result)


def test_a_private_answer_of_many_texts_takes_little_time() -> None:
    ryll = Ryll()
    ryll.methods.append("dance")
    ryll.on_dance = lambda c, r, p: c.accept(r, {"texts": [[f"secret {n}", {"a": f"word {n}"}] for n in range(20_000)]})  # type: ignore[attr-defined]
    before = time.thread_time()
    result = play(ryll, H, {"call": {"method": "dance"}, "private": True}, {"call": {"method": "dance", "result": {}}})
    assert time.thread_time() - before < 3
    assert seen(result, 1) == {"result": "(private)"}


def test_without_private_the_peer_is_quoted() -> None:
    assert 'bad_params: "cannot do' in str(fail(leaky, H, {"clipboard_set": {"text": "x"}}))


def test_rgba_pictures_are_written_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "s.rgba"
    ryll = Ryll()
    play(ryll, H, {"screenshot": {"format": "rgba", "file": str(file)}})
    assert file.read_bytes() == rgba(8, 4, ryll.pixels)
    assert os.listdir(tmp_path) == ["s.rgba"]
