"""Each way in which a step can fail says why, and leaves a transcript."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll import verbs
from control_peer import STATUS, Connection, Ryll, png
from control_play import (
    BUSY,
    FLAT,
    PRESS,
    SHOT,
    STEEP,
    SUBSCRIBE,
    H,
    Handler,
    dancing,
    events_after_subscribe,
    fail,
    ryll,
    shots,
    steep,
    without,
)


def paste_answers(*events: tuple[str, dict[str, Any]]) -> Ryll:
    def on_paste(c: Connection, request: Any, params: Any) -> None:
        c.accept(request, {})
        for name, data in events:
            c.event(name, **({"request_id": request["id"]} | data))

    return ryll(on_paste=on_paste)


def subscribed_in_part(c: Connection) -> None:
    c.hello()
    c.accept(c.request(), {"subscribed": ["latency"]})
    c.wait()


DROPPED = events_after_subscribe(("dropped", {"count": 5}), later=0.05)
FAILS: dict[str, tuple[Handler, list[dict[str, Any]], str, str]] = {
    "no agent": (
        Ryll(),
        [{"await": {"agent": True}}],
        "ryll_unmet",
        "agent connected; last seen: agent not connected, surfaces 0 of 8x4",
    ),
    "an agent": (
        ryll(agent=True),
        [{"await": {"agent": False}}],
        "ryll_unmet",
        "no agent connected; last seen: agent connected",
    ),
    "too few surfaces": (Ryll(), [{"await": {"surfaces": 2}}], "ryll_unmet", r"2 surface\(s\) with a size; last"),
    "surfaces without a size": (ryll(size=(0, 0)), [{"await": {"surfaces": 1}}], "ryll_unmet", "surfaces 0 of 0x0"),
    "another size": (Ryll(), [{"await": {"size": "8x8"}}], "ryll_unmet", "surface 0 of 8x8; last"),
    "no such surface to await": (
        Ryll(),
        [{"await": {"size": "8x4", "surface_id": 1}}],
        "ryll_unmet",
        "surface 1 of 8x4; last",
    ),
    "too few marks": (Ryll(), [{"await": {"marks": 2}}], "ryll_unmet", r"2 drawn mark\(s\); last seen: .* 1 marks"),
    "no display": (
        ryll(on_stats=lambda c, r, p: c.accept(r, {"display": None})),
        [{"await": {"marks": 1}}],
        "ryll_unmet",
        "0 marks",
    ),
    "stats without marks": (Ryll(), [{"stats": {"marks": 2}}], "ryll_unmet", "counts 1 drawn marks, not 2"),
    "one colour": (
        shots((8, 4, FLAT)),
        [{"screenshot": {"not_one_colour": True}}],
        "ryll_unmet",
        "only one colour, #010203",
    ),
    "one colour in a region": (
        shots((8, 4, png(8, 4, lambda x, y: (y, 0, 0)))),
        [{"screenshot": {"not_one_colour": True, "region": {"x": 0, "y": 1, "width": 8, "height": 1}}}],
        "ryll_unmet",
        r"the region 8x1\+0\+1 has only one colour, #010000",
    ),
    "another size than the surface": (
        shots((4, 4, png(4, 4, steep))),
        [{"screenshot": {}}],
        "ryll_unmet",
        "is 4x4, not 8x4 as its surface",
    ),
    "another size than wanted": (
        shots((8, 4, STEEP)),
        [{"screenshot": {"size": "640x480"}}],
        "ryll_unmet",
        "is 8x4, not 640x480 as wanted",
    ),
    "a PNG of another size": (
        shots((8, 4, png(4, 8, steep))),
        [{"screenshot": {}}],
        "ryll_malformed",
        "PNG of 4x8, not 8x4",
    ),
    "a cut PNG": (shots((8, 4, STEEP[:70])), [{"screenshot": {}}], "ryll_malformed", "not a whole PNG"),
    "a region outside": (
        Ryll(),
        [{"screenshot": {"region": {"x": 1, "y": 0, "width": 8, "height": 1}}}],
        "ryll_unmet",
        r"8x1\+1\+0 is not inside",
    ),
    "another format": (
        shots((8, 4, b""), form="rgba"),
        [{"screenshot": {}}],
        "ryll_malformed",
        'another format than png: "rgba"',
    ),
    "rgba of another length": (
        shots((8, 4, bytes(5)), form="rgba"),
        [{"screenshot": {"format": "rgba"}}],
        "ryll_malformed",
        "5 bytes, not 128",
    ),
    "no such surface": (Ryll(), [{"screenshot": {"surface_id": 7}}], "ryll_refused", 'with no_such_surface: "no"'),
    "a surface without status": (
        ryll(on_status=lambda c, r, p: c.accept(r, STATUS | {"surfaces": []})),
        [SHOT],
        "ryll_unmet",
        "does not list",
    ),
    "a picture that should have changed": (
        Ryll(),
        [SHOT, {"screenshot": {"differs_from": "a"}}],
        "ryll_unmet",
        "is the same as that of 'a'",
    ),
    "a picture that should not have": (
        Ryll(),
        [SHOT, PRESS, {"screenshot": {"same_as": "a"}}],
        "ryll_unmet",
        "32 of 32 pixels differ",
    ),
    "a picture of another size": (
        Ryll(),
        [SHOT, {"resize": {"width": 16, "height": 8}}, {"screenshot": {"same_as": "a"}}],
        "ryll_unmet",
        "it is 16x8, not 8x4",
    ),
    "typing that takes too long": (
        Ryll(),
        [{"type": {"text": "a" * 100, "delay_ms": 50}}],
        "ryll_timeout",
        r"only \d+ of 100 keys",
    ),
    "a paste without an end": (
        ryll(on_paste=lambda c, r, p: c.accept(r, {})),
        [{"paste": {"text": "x"}}],
        "ryll_unmet",
        "--enable-paste-as-keystrokes",
    ),
    "a paste that fails": (
        Ryll(),
        [{"paste": {"text": "\u2022"}}],
        "ryll_unmet",
        r'paste_failed\): "cannot paste: 1 unrep.*U\+2022"',
    ),
    "a paste of fewer characters": (
        paste_answers(("paste_completed", {"chars_sent": 2})),
        [{"paste": {"text": "abc"}}],
        "ryll_unmet",
        "2 of 3 char",
    ),
    "the end of another paste": (
        paste_answers(("paste_completed", {"chars_sent": 3, "request_id": 9})),
        [{"paste": {"text": "abc"}}],
        "ryll_unmet",
        "neither",
    ),
    "a paste whose end was dropped": (
        paste_answers(("dropped", {"count": 7})),
        [{"paste": {"text": "abc"}}],
        "ryll_unmet",
        "7 events were dropped",
    ),
    "an empty clipboard": (
        Ryll(),
        [{"clipboard_get": {"equals": "mine"}}],
        "ryll_unmet",
        "the clipboard is empty, not 'mine'",
    ),
    "another clipboard": (
        ryll(clipboard="other"),
        [{"clipboard_get": {"equals": "mine"}}],
        "ryll_unmet",
        "holds 'other', not 'mine'",
    ),
    "a verb that is not listed": (
        without(methods=["resize"]),
        [{"resize": {"width": 8, "height": 8}}],
        "ryll_unsupported",
        "no verb `resize`; it lists hello",
    ),
    "a call that is not listed": (Ryll(), [{"call": {"method": "dance"}}], "ryll_unsupported", "no verb `dance`"),
    "marks without stats": (
        without(methods=["stats"]),
        [{"await": {"marks": 1}}],
        "ryll_unsupported",
        "no verb `stats`",
    ),
    "an event that is not listed": (
        Ryll(),
        [{"subscribe": {"events": ["digest_updated"]}}],
        "ryll_unsupported",
        "no event `digest_updated`",
    ),
    "the events of a paste": (
        ryll(events=[]),
        [{"paste": {"text": "x"}}],
        "ryll_unsupported",
        "no event `paste_completed`; it lists none",
    ),
    "another result": (
        dancing(lambda p: {"n": 3}),
        [{"call": {"method": "dance", "result": {"n": 4}}}],
        "ryll_unmet",
        "`n` .* has another value",
    ),
    "a result that is missing": (
        dancing(lambda p: {}),
        [{"call": {"method": "dance", "result": {"n": 4}}}],
        "ryll_unmet",
        "`n` .* is missing",
    ),
    "an accepted request": (
        Ryll(),
        [{"status": {}, "refused": "busy"}],
        "ryll_unmet",
        "accepted `status`, which it was to refuse with busy",
    ),
    "another refusal": (
        Ryll(),
        [{"screenshot": {"surface_id": 1}, "refused": "busy"}],
        "ryll_unmet",
        "with no_such_surface, not with busy",
    ),
    "a full queue": (
        ryll(on_resize=lambda c, r, p: c.refuse(r, "queue_full")),
        [{"resize": {"width": 16, "height": 16}}],
        "ryll_refused",
        "with queue_full",
    ),
    "an event that never comes": (
        Ryll(),
        [SUBSCRIBE, {"expect_event": {"event": "latency"}}],
        "ryll_unmet",
        r"0 of 1 event\(s\) latency arrived",
    ),
    "an event with other data": (
        events_after_subscribe(("latency", {"n": 1}), ("latency", {"n": 2}), later=0.02),
        [SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"n": 9}}}],
        "ryll_unmet",
        r"with n as given arrived within 0.15 s, and 2 with other data \(n 2\)",
    ),
    "another event than awaited": (
        events_after_subscribe(("surface_drawn", {}), ("surface_drawn", {}), later=0.02),
        [SUBSCRIBE, {"expect_event": {"event": "latency"}}],
        "ryll_unmet",
        "arrived within 0.15 s; others came: 2 surface_drawn",
    ),
    "an event that was dropped": (
        DROPPED,
        [SUBSCRIBE, {"expect_event": {"event": "latency"}}],
        "ryll_unmet",
        "5 events were dropped meanwhile",
    ),
    "an event before": (
        Ryll(),
        [
            SUBSCRIBE,
            PRESS,
            {"pause": {"seconds": 0.05}},
            {"status": {}, "register": "s"},
            {"expect_event": {"event": "surface_drawn", "since": "s"}},
        ],
        "ryll_unmet",
        "0 of 1",
    ),
    "no quiet": (
        events_after_subscribe(("latency", {}), later=0.05),
        [SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 3}}],
        "ryll_unmet",
        "arrived",
    ),
    "no quiet before": (
        Ryll(),
        [
            SUBSCRIBE,
            PRESS | {"register": "p"},
            {"pause": {"seconds": 0.05}},
            {"quiet": {"event": "surface_drawn", "seconds": 0.05, "since": "p"}},
        ],
        "ryll_unmet",
        "an event surface_drawn arrived",
    ),
    "quiet with dropped events": (
        DROPPED,
        [SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 0.15}}],
        "ryll_unmet",
        "may have been missed",
    ),
    "a subscription in part": (subscribed_in_part, [SUBSCRIBE], "ryll_malformed", "left out surface_drawn, dropped"),
    "an end in a pause": (
        lambda c: (c.hello(), time.sleep(0.1)),
        [{"pause": {"seconds": 5}}],
        "ryll_closed",
        "ryll closed the connection",
    ),
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
    assert failed.result["failed_step"] == {
        "index": len(steps) + 1,
        "name": "the last",
        "step": verb,
        "kind": code.removeprefix("ryll_"),
    }
    assert failed.result["transcript"][-1]["seconds"] < 1 * BUSY
