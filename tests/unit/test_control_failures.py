"""Each way in which a step can fail says why, and leaves a transcript."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll import verbs
from control_peer import STATUS, Connection, Ryll, png
from control_play import BUSY, PRESS, SHOT, STEEP, SUBSCRIBE, H, dancing, fail, ryll, shots, steep, subscribed, without


def pasted(event: str = "paste_completed", **data: int) -> Ryll:
    """A ryll that answers a paste with this event."""

    def on_paste(c: Connection, request: Any, params: Any) -> None:
        c.accept(request, {})
        c.event(event, **({"request_id": request["id"]} | data))

    return ryll(on_paste=on_paste)


def subscribed_in_part(c: Connection) -> None:
    c.hello()
    c.accept(c.request(), {"subscribed": ["latency"]})
    c.wait()


ABC, PICTURE = [{"paste": {"text": "abc"}}], [{"screenshot": {}}]
DANCE_4 = [{"call": {"method": "dance", "result": {"n": 4}}}]
DRAWN, STATUS_S = {"event": "surface_drawn"}, {"status": {}, "register": "s"}
LATENCY, LATENCY_9 = ({"expect_event": {"event": "latency", **more}} for more in ({}, {"fields": {"n": 9}}))
EXPECT = [SUBSCRIBE, LATENCY]
PAUSE, SAME = {"pause": {"seconds": 0.05}}, {"screenshot": {"same_as": "a"}}
ROW, BIG = {"x": 0, "y": 1, "width": 8, "height": 1}, {"width": 16, "height": 8}
PRESSED = [SUBSCRIBE, PRESS | {"register": "p"}, PAUSE, STATUS_S]
QUIET = {"quiet": {"event": "latency", "seconds": 0.15}}
NO_DISPLAY = ryll(on_stats=lambda c, r, p: c.accept(r, {"display": None}))
NO_SURFACE = ryll(on_status=lambda c, r, p: c.accept(r, STATUS | {"surfaces": []}))
FULL = ryll(on_resize=lambda c, r, p: c.refuse(r, "queue_full"))
SHORT_RGBA = shots((8, 4, bytes(5)), form="rgba")
COLOURED_ROW = [{"screenshot": {"not_one_colour": True, "region": ROW}}]
STILL = {"quiet": DRAWN | {"seconds": 0.05, "since": "p"}}
FLAT, STRIPES = png(8, 4, lambda x, y: (1, 2, 3)), png(8, 4, lambda x, y: (y, 0, 0))
ONE_LATENCY = subscribed(("latency", {}), later=0.05)
TWO_LATENCIES = subscribed(("latency", {"n": 1}), ("latency", {"n": 2}), later=0.02)
TWO_PICTURES = subscribed(("surface_drawn", {}), ("surface_drawn", {}), later=0.02)
DROPPED = subscribed(("dropped", {"count": 5}), later=0.05)
FAILS: dict[str, dict[str, tuple[Any, list[dict[str, Any]], str]]] = {
    "unmet": {
        "no agent": (Ryll(), [{"await": {"agent": True}}], "agent connected; last seen: agent not connected, surf"),
        "an agent": (ryll(agent=True), [{"await": {"agent": False}}], "no agent connected; last seen: agent connected"),
        "too few surfaces": (Ryll(), [{"await": {"surfaces": 2}}], r"2 surface\(s\) with a size; last"),
        "surfaces without a size": (ryll(size=(0, 0)), [{"await": {"surfaces": 1}}], "surfaces 0 of 0x0"),
        "another size": (Ryll(), [{"await": {"size": "8x8"}}], "surface 0 of 8x8; last"),
        "no such surface to await": (Ryll(), [{"await": {"size": "8x4", "surface_id": 1}}], "surface 1 of 8x4; last"),
        "too few marks": (Ryll(), [{"await": {"marks": 2}}], r"2 drawn mark\(s\); last seen: .* 1 marks"),
        "no display": (NO_DISPLAY, [{"await": {"marks": 1}}], "0 marks"),
        "stats without marks": (Ryll(), [{"stats": {"marks": 2}}], "counts 1 drawn marks, not 2"),
        "one colour": (shots((8, 4, FLAT)), [{"screenshot": {"not_one_colour": True}}], "only one colour, #010203"),
        "one colour in a region": (shots((8, 4, STRIPES)), COLOURED_ROW, r"8x1\+0\+1 has only one colour, #010000"),
        "another size than its surface": (shots((4, 4, png(4, 4, steep))), PICTURE, "is 4x4, not 8x4 as its surface"),
        "another size than wanted": (shots((8, 4, STEEP)), [{"screenshot": {"size": "640x480"}}], "8x4, not 640x480"),
        "a region outside": (Ryll(), [{"screenshot": {"region": ROW | {"x": 1, "y": 0}}}], r"8x1\+1\+0 is not inside"),
        "a surface without status": (NO_SURFACE, [SHOT], "does not list"),
        "an unchanged picture": (Ryll(), [SHOT, {"screenshot": {"differs_from": "a"}}], "the same as that of 'a'"),
        "a picture that changed": (Ryll(), [SHOT, PRESS, SAME], "32 of 32 pixels differ"),
        "a picture of another size": (Ryll(), [SHOT, {"resize": BIG}, SAME], "it is 16x8, not 8x4"),
        "a paste without an end": (ryll(on_paste=lambda c, r, p: c.accept(r, {})), ABC, "--enable-paste-as-keystrokes"),
        "a paste that fails": (Ryll(), [{"paste": {"text": "\u2022"}}], r'failed\): "cannot paste: 1 unrep.*U\+2022"'),
        "a paste of fewer characters": (pasted(chars_sent=2), ABC, "2 of 3 char"),
        "the end of another paste": (pasted(chars_sent=3, request_id=9), ABC, "neither"),
        "a paste whose end was dropped": (pasted("dropped", count=7), ABC, "7 events were dropped"),
        "an empty clipboard": (Ryll(), [{"clipboard_get": {"equals": "mine"}}], "the clipboard is empty, not 'mine'"),
        "another clipboard": (ryll(clipboard="other"), [{"clipboard_get": {"equals": "mine"}}], "'other', not 'mine'"),
        "another result": (dancing(lambda p: {"n": 3}), DANCE_4, "`n` .* has another value"),
        "a result that is missing": (dancing(lambda p: {}), DANCE_4, "`n` .* is missing"),
        "an accepted request": (Ryll(), [{"status": {}, "refused": "busy"}], "which it was to refuse with busy"),
        "another refusal": (Ryll(), [{"screenshot": {"surface_id": 1}, "refused": "busy"}], "surface, not with busy"),
        "an event that never comes": (Ryll(), EXPECT, r"0 of 1 event\(s\) latency arrived"),
        "another latency": (TWO_LATENCIES, [SUBSCRIBE, LATENCY_9], r"within 0.15 s, and 2 with other data \(n 2\)"),
        "another event than awaited": (TWO_PICTURES, EXPECT, "within 0.15 s; others came: 2 surface_drawn"),
        "an event that was dropped": (DROPPED, EXPECT, "5 events were dropped meanwhile"),
        "an event before": (Ryll(), [*PRESSED, {"expect_event": DRAWN | {"since": "s"}}], "0 of 1"),
        "no quiet": (ONE_LATENCY, [SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 3}}], "arrived"),
        "no quiet before": (Ryll(), [*PRESSED[:-1], STILL], "surface_drawn arrived"),
        "quiet with dropped events": (DROPPED, [SUBSCRIBE, QUIET], "may have been missed"),
    },
    "malformed": {
        "a PNG of another size": (shots((8, 4, png(4, 8, steep))), PICTURE, "PNG of 4x8, not 8x4"),
        "a cut PNG": (shots((8, 4, STEEP[:70])), PICTURE, "not a whole PNG"),
        "another format": (shots((8, 4, b""), form="rgba"), PICTURE, 'another format than png: "rgba"'),
        "rgba of another length": (SHORT_RGBA, [{"screenshot": {"format": "rgba"}}], "5 bytes, not 128"),
        "a subscription in part": (subscribed_in_part, [SUBSCRIBE], "left out surface_drawn, dropped"),
    },
    "refused": {
        "no such surface": (Ryll(), [{"screenshot": {"surface_id": 7}}], 'with no_such_surface: "no"'),
        "a full queue": (FULL, [{"resize": BIG}], "with queue_full"),
    },
    "timeout": {"slow typing": (Ryll(), [{"type": {"text": "a" * 100, "delay_ms": 50}}], r"only \d+ of 100 keys")},
    "unsupported": {
        "a verb that is not listed": (without(methods=["resize"]), [{"resize": BIG}], "`resize`; it lists hello"),
        "a call that is not listed": (Ryll(), [{"call": {"method": "dance"}}], "no verb `dance`"),
        "marks without stats": (without(methods=["stats"]), [{"await": {"marks": 1}}], "no verb `stats`"),
        "an unlisted event": (Ryll(), [{"subscribe": {"events": ["digest_updated"]}}], "no event `digest_updated`"),
        "a paste's events": (ryll(events=[]), [{"paste": {"text": "x"}}], "no event `paste_completed`; it lists none"),
    },
    "closed": {"an end": (lambda c: (c.hello(), time.sleep(0.1)), [{"pause": {"seconds": 5}}], "ryll closed the c")},
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in FAILS.items() for name in found])
def test_what_fails_says_why(kind: str, name: str) -> None:
    handler, steps, words = FAILS[kind][name]
    last = {"name": "the last", "blame": "guest", **steps[-1]}
    if not {"quiet", "pause"} & set(last):
        last["within"] = 0.15
    failed = fail(handler, H, *steps[:-1], last)
    number = len(steps) + 1
    assert re.search(words, failed.cause), failed.cause
    assert (failed.code, failed.check) == (f"ryll_{kind}", "the last")
    assert failed.component == ("guest" if kind == "unmet" else "ryll")
    assert failed.cause.startswith(f"step {number} of {number} (the last): ")
    verb = next(key for key in steps[-1] if key in verbs.VERBS)
    assert failed.result["failed_step"] == {"index": number, "name": "the last", "step": verb, "kind": kind}
    assert failed.result["transcript"][-1]["seconds"] < 1 * BUSY
