"""Each way in which a step can fail says why, and leaves a transcript."""

import re
import time
from functools import partial
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


def pasting(event: str, **data: Any) -> Ryll:
    """A ryll that answers a paste with this event."""

    def on_paste(c: Connection, request: Any, params: Any) -> None:
        c.accept(request, {})
        c.event(event, **({"request_id": request["id"]} | data))

    return ryll(on_paste=on_paste)


def subscribed_in_part(c: Connection) -> None:
    c.hello()
    c.accept(c.request(), {"subscribed": ["latency"]})
    c.wait()


def case(kind: str, words: str, handler: Handler, *steps: dict[str, Any]) -> Any:
    """The last of the steps fails with this kind and these words, a regular expression."""
    return pytest.param(kind, words, handler, list(steps), id=words)


unmet, malformed = partial(case, "unmet"), partial(case, "malformed")
unsupported, refused = partial(case, "unsupported"), partial(case, "refused")
DROPPED = events_after_subscribe(("dropped", {"count": 5}), later=0.05)
DRAWN = events_after_subscribe(("surface_drawn", {}), ("surface_drawn", {}), later=0.02)
NUMBERED = events_after_subscribe(("latency", {"n": 1}), ("latency", {"n": 2}), later=0.02)
LATENCY = {"expect_event": {"event": "latency"}}
PAUSE = {"pause": {"seconds": 0.05}}
ROW = {"x": 0, "y": 1, "width": 8, "height": 1}
CASES = [
    unmet("agent connected; last seen: agent not connected, surfaces 0 of 8x4", Ryll(), {"await": {"agent": True}}),
    unmet("no agent connected; last seen: agent connected", ryll(agent=True), {"await": {"agent": False}}),
    unmet(r"2 surface\(s\) with a size; last", Ryll(), {"await": {"surfaces": 2}}),
    unmet("surfaces 0 of 0x0", ryll(size=(0, 0)), {"await": {"surfaces": 1}}),
    unmet("surface 0 of 8x8; last", Ryll(), {"await": {"size": "8x8"}}),
    unmet(
        "surface 0 of 16x8; last",
        ryll(on_resize=lambda c, r, p: c.accept(r, p)),  # it keeps its own size
        {"resize": {"width": 16, "height": 8}, "register": "r"},
        {"await": {"size_as": "r"}},
    ),
    unmet("surface 1 of 8x4; last", Ryll(), {"await": {"size": "8x4", "surface_id": 1}}),
    unmet(r"2 drawn mark\(s\); last seen: .* 1 marks", Ryll(), {"await": {"marks": 2}}),
    unmet("0 marks", ryll(on_stats=lambda c, r, p: c.accept(r, {"display": None})), {"await": {"marks": 1}}),
    unsupported("no verb `stats`", without("stats"), {"await": {"marks": 1}}),
    unmet("counts 1 drawn marks, not 2", Ryll(), {"stats": {"marks": 2}}),
    unmet("only one colour, #010203", shots((8, 4, FLAT)), {"screenshot": {"not_one_colour": True}}),
    unmet(
        r"the region 8x1\+0\+1 has only one colour, #010000",
        shots((8, 4, png(8, 4, lambda x, y: (y, 0, 0)))),
        {"screenshot": {"not_one_colour": True, "region": ROW}},
    ),
    unmet("is 4x4, not 8x4 as its surface", shots((4, 4, png(4, 4, steep))), {"screenshot": {}}),
    unmet("is 8x4, not 640x480 as wanted", shots((8, 4, STEEP)), {"screenshot": {"size": "640x480"}}),
    unmet(r"8x1\+1\+1 is not inside", Ryll(), {"screenshot": {"region": ROW | {"x": 1}}}),
    malformed("PNG of 4x8, not 8x4", shots((8, 4, png(4, 8, steep))), {"screenshot": {}}),
    malformed('another format than png: "rgba"', shots((8, 4, b""), form="rgba"), {"screenshot": {}}),
    malformed("5 bytes, not 128", shots((8, 4, bytes(5)), form="rgba"), {"screenshot": {"format": "rgba"}}),
    refused('with no_such_surface: "no"', Ryll(), {"screenshot": {"surface_id": 7}}),
    unmet("does not list", ryll(on_status=lambda c, r, p: c.accept(r, STATUS | {"surfaces": []})), SHOT),
    unmet("is the same as that of 'a'", Ryll(), SHOT, {"screenshot": {"differs_from": "a"}}),
    unmet("32 of 32 pixels differ", Ryll(), SHOT, PRESS, {"screenshot": {"same_as": "a"}}),
    unmet(
        "it is 16x8, not 8x4", Ryll(), SHOT, {"resize": {"width": 16, "height": 8}}, {"screenshot": {"same_as": "a"}}
    ),
    case("timeout", r"only \d+ of 100 keys", Ryll(), {"type": {"text": "a" * 100, "delay_ms": 50}}),
    unmet("--enable-paste-as-keystrokes", ryll(on_paste=lambda c, r, p: c.accept(r, {})), {"paste": {"text": "x"}}),
    unmet(r'paste_failed\): "cannot paste: 1 unrep.*U\+2022"', Ryll(), {"paste": {"text": "\u2022"}}),
    unmet("2 of 3 char", pasting("paste_completed", chars_sent=2), {"paste": {"text": "abc"}}),
    unmet("neither", pasting("paste_completed", chars_sent=3, request_id=9), {"paste": {"text": "abc"}}),
    unmet("7 events were dropped", pasting("dropped", count=7), {"paste": {"text": "abc"}}),
    unsupported("no event `paste_completed`; it lists none", ryll(events=[]), {"paste": {"text": "x"}}),
    unmet("the clipboard is empty, not 'mine'", Ryll(), {"clipboard_get": {"equals": "mine"}}),
    unmet("holds 'other', not 'mine'", ryll(clipboard="other"), {"clipboard_get": {"equals": "mine"}}),
    unsupported("`resize`; it lists hello", without("resize"), {"resize": {"width": 8, "height": 8}}),
    refused(
        "with queue_full",
        ryll(on_resize=lambda c, r, p: c.refuse(r, "queue_full")),
        {"resize": {"width": 8, "height": 8}},
    ),
    unsupported("no verb `dance`", Ryll(), {"call": {"method": "dance"}}),
    unmet("`n` .* has another value", dancing(lambda p: {"n": 3}), {"call": {"method": "dance", "result": {"n": 4}}}),
    unmet("`n` .* is missing", dancing(lambda p: {}), {"call": {"method": "dance", "result": {"n": 4}}}),
    unmet("accepted `status`, which it was to refuse with busy", Ryll(), {"status": {}, "refused": "busy"}),
    unmet("with no_such_surface, not with busy", Ryll(), {"screenshot": {"surface_id": 1}, "refused": "busy"}),
    unsupported("no event `digest_updated`", Ryll(), {"subscribe": {"events": ["digest_updated"]}}),
    malformed("left out surface_drawn, dropped", subscribed_in_part, SUBSCRIBE),
    unmet(r"0 of 1 event\(s\) latency arrived within 0.15 s$", Ryll(), SUBSCRIBE, PRESS, PAUSE, LATENCY),
    unmet(
        r"with n as given arrived within 0.15 s, and 2 with other data \(n 2\)",
        NUMBERED,
        SUBSCRIBE,
        {"expect_event": {"event": "latency", "fields": {"n": 9}}},
    ),
    unmet(
        "with n as given arrived within 0.15 s$",
        Ryll(),
        SUBSCRIBE,
        {"expect_event": {"event": "latency", "fields": {"n": 9}}},
    ),
    unmet("arrived within 0.15 s; others came: 2 surface_drawn", DRAWN, SUBSCRIBE, LATENCY),
    unmet("5 events were dropped meanwhile", DROPPED, SUBSCRIBE, LATENCY),
    unmet(
        "0 of 1 .* arrived within 0.15 s$",
        Ryll(),
        SUBSCRIBE,
        PRESS,
        PAUSE,
        {"status": {}, "register": "s"},
        {"expect_event": {"event": "surface_drawn", "since": "s"}},
    ),
    unmet(
        "event latency arrived",
        events_after_subscribe(("latency", {}), later=0.05),
        SUBSCRIBE,
        {"quiet": {"event": "latency", "seconds": 3}},
    ),
    unmet(
        "an event surface_drawn arrived",
        Ryll(),
        SUBSCRIBE,
        PRESS | {"register": "p"},
        PAUSE,
        {"quiet": {"event": "surface_drawn", "seconds": 0.05, "since": "p"}},
    ),
    unmet("may have been missed", DROPPED, SUBSCRIBE, {"quiet": {"event": "latency", "seconds": 0.15}}),
    case("closed", "ryll closed the connection", lambda c: (c.hello(), time.sleep(0.1)), {"pause": {"seconds": 5}}),
]


@pytest.mark.parametrize(("kind", "words", "handler", "steps"), CASES)
def test_what_fails_says_why(kind, words, handler, steps):
    last = {"name": "the last", "blame": "guest", **steps[-1]}
    if not {"quiet", "pause"} & set(last):
        last["within"] = 0.15
    failed = fail(handler, H, *steps[:-1], last)
    number = len(steps) + 1
    assert re.search(words, failed.cause), failed.cause
    assert failed.cause.startswith(f"step {number} of {number} (the last): ")
    assert (failed.code, failed.check) == (f"ryll_{kind}", "the last")
    assert failed.component == ("guest" if kind == "unmet" else "ryll")
    verb = next(key for key in steps[-1] if key in verbs.VERBS)
    assert failed.result["failed_step"] == {"index": number, "name": "the last", "step": verb, "kind": kind}
    assert failed.result["transcript"][-1]["seconds"] < 1 * BUSY
