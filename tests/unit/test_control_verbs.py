"""What each verb does to ryll and sees of it: keys, clipboard, sizes, refusals, events."""

import stat
import threading
import time
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll import verbs
from ansible.module_utils.lane.protocols.ryll.client import Client
from control_peer import STATUS, Connection, Peer, Ryll, png
from control_play import (
    BUSY,
    PRESS,
    SUBSCRIBE,
    H,
    dancing,
    events_after_subscribe,
    fail,
    play,
    ryll,
    seen,
    silent_after_status,
    without,
)


def test_the_smoke_check(tmp_path):
    file, made = tmp_path / "shot.png", Ryll()
    result = play(
        made,
        {"hello": {}},
        {"await": {"surfaces": 1, "marks": 1, "agent": False}, "name": "status", "within": 30, "blame": "guest"},
        {"screenshot": {"file": str(file), "not_one_colour": True}},
    )
    assert result["changed"] is False
    names = [(entry["name"], entry["step"], entry["result"]) for entry in result["transcript"]]
    assert names == [("hello", "hello", "ok"), ("status", "await", "ok"), ("screenshot", "screenshot", "ok")]
    assert result["server"] == {"name": "ryll", "protocol_version": "1.5"}
    assert seen(result, 1) == STATUS | {"marks": 1, "asked": 1}
    size = {"width": 8, "height": 4, "bytes": file.stat().st_size}
    assert seen(result) == size | {"format": "png", "one_colour": None, "file": str(file)}
    assert file.read_bytes() == png(8, 4, made.pixels)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.asked == ["hello", "status", "stats", "status", "screenshot", "status"]


def test_await_goes_on_asking_until_all_holds():
    made = ryll(surfaces=False)
    timer = threading.Timer(0.15, lambda: setattr(made, "surfaces", True))
    timer.start()
    result = play(made, H, {"await": {"surfaces": 1, "size": "8x4", "agent": False}})
    timer.join()
    assert result["transcript"][1]["seconds"] > 0.1
    assert seen(result)["asked"] >= 2


def test_a_ryll_that_falls_silent_is_blamed_itself_unless_the_limit_was_over(monkeypatch):
    steps = [H, {"await": {"agent": True}, "within": 0.3, "blame": "guest"}]
    assert fail(silent_after_status, *steps).component == "guest"
    monkeypatch.setattr(verbs, "ANSWER_WITHIN", 0.1)
    failed = fail(silent_after_status, *steps)
    assert (failed.component, failed.code) == ("ryll", "ryll_timeout")


KEYS: list[tuple[dict[str, Any], list[tuple[int, str]]]] = [
    (
        {"send_key": {"key": "ctrl-alt-f2"}},
        [(0x1D, "down"), (0x38, "down"), (0x3C, "press"), (0x38, "up"), (0x1D, "up")],
    ),
    ({"send_key": {"scancode": 0xE050}}, [(0xE050, "press")]),
    ({"send_key": {"key": "shift-a", "state": "down"}}, [(0x2A, "down"), (0x1E, "down")]),
    ({"send_key": {"key": "shift-a", "state": "up"}}, [(0x1E, "up"), (0x2A, "up")]),
    ({"send_key": {"keys": ["a", "left"]}}, [(0x1E, "press"), (0xE04B, "press")]),
    (
        {"type": {"text": "aB\n", "delay_ms": 0}},
        [(0x1E, "press"), (0x2A, "down"), (0x30, "press"), (0x2A, "up"), (0x1C, "press")],
    ),
]


@pytest.mark.parametrize(("step", "keys"), KEYS)
def test_keys_go_down_and_come_up_in_order(step, keys):
    made = Ryll()
    assert play(made, H, step)["changed"] is True
    assert made.keys == keys


def test_what_the_transcript_shows_of_keys_and_text_and_how_long_they_take():
    steps = [{"send_key": {"keys": ["ctrl-alt-f2", "a"], "delay_ms": 100}}, {"type": {"text": "aB\n"}}]
    result = play(Ryll(), H, *steps)
    assert seen(result, 1) == {"scancodes": [["0x1d", "0x38", "0x3c"], ["0x1e"]], "state": "press"}
    assert 0.1 <= result["transcript"][1]["seconds"] < 0.2 * BUSY
    assert seen(result, 2) == {"text": "aB\n", "characters": 3}


def test_modifiers_come_up_again_when_ryll_refuses_the_key():
    def refuse_press(c: Connection, request: Any, params: Any) -> None:
        made.keys.append((params["scancode"], params["state"]))
        if params["state"] == "press":
            c.refuse(request, "internal_error", "input channel closed or full")
        else:
            c.accept(request, {})

    made = ryll(on_send_key=refuse_press)
    failed = fail(made, H, {"send_key": {"key": "ctrl-c"}})
    assert made.keys == [(0x1D, "down"), (0x2E, "press"), (0x1D, "up")]
    assert (failed.code, failed.sample) == ("ryll_refused", "input channel closed or full")
    assert failed.result["changed"] is True


def test_paste_waits_for_its_end_unless_told_not_to():
    made = Ryll()
    assert seen(play(made, H, {"paste": {"text": "ls\n"}})) == {"text": "ls\n", "characters": 3}
    assert (made.pasted, made.asked[1:]) == ("ls\n", ["subscribe", "paste"])
    made.asked.clear()
    play(made, H, {"paste": {"text": "ls", "wait": False}})
    assert made.asked[1:] == ["paste"]


def test_the_clipboard_there_and_back():
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


def test_resize_sees_the_size_that_was_sent_on_and_tries_a_full_queue_again():
    made = Ryll()

    def on_resize(c: Connection, request: Any, params: Any) -> None:
        if made.asked.count("resize") < 3:
            c.refuse(request, "queue_full", "resize queue is full; retry shortly")
        else:
            Ryll.on_resize(made, c, request, params)

    vars(made)["on_resize"] = on_resize
    result = play(made, H, {"resize": {"width": 801, "height": 601}, "register": "r"}, {"await": {"size_as": "r"}})
    assert seen(result, 1) == {"width": 800, "height": 600}


def test_stats_and_a_verb_of_a_newer_ryll():
    dance = {"call": {"method": "dance", "params": {"n": 3}, "acts": True}}
    result = play(dancing(lambda p: {"n": p["n"], "more": 1}), H, {"stats": {"marks": 1}}, dance)
    assert seen(result, 1)["display"]["marks_received"] == 1
    assert seen(result) == {"result": {"n": 3, "more": 1}}
    assert result["changed"] is True


def test_any_minor_version_will_do_and_nothing_unlisted_is_tried():
    for version in ("1.0", "1.99"):
        play(lambda c, version=version: c.hello(protocol_version=version), H)
    play(without("stats"), H, {"await": {"surfaces": 1}})
    made = without("resize")
    fail(made, H, {"resize": {"width": 8, "height": 8}})
    assert made.asked == ["hello"]


def test_a_refusal_can_be_expected():
    dance = {"call": {"method": "dance"}, "refused": "unknown_method"}
    result = play(ryll(surfaces=False), dance, H, {"screenshot": {}, "refused": "no_such_surface"}, dance)
    assert seen(result) == {"refused": "unknown_method"}
    play(Ryll(), {"hello": {"protocol_version": "2.0"}, "refused": "protocol_version_mismatch"})


def busy(c: Connection) -> None:
    c.send({"ok": False, "error": {"code": "busy", "message": "another client is connected"}})


def test_a_busy_ryll_is_asked_again(monkeypatch):
    """ryll 0.3.0 notices the end of a connection a moment later; until then the next client gets busy."""
    made, dance = Ryll(), {"call": {"method": "dance"}, "refused": "unknown_method"}
    play([busy, busy, made], H)
    play([busy, busy, made], dance, H)
    play([made, busy, busy, made], H, {"reconnect": {}}, {"status": {}})
    assert fail([made, busy], H, {"reconnect": {}, "within": 0.2}).code == "ryll_refused"
    result = play([made, busy], H, {"reconnect": {}, "within": 5 * BUSY, "refused": "busy"})
    assert result["transcript"][1]["seconds"] < 1 * BUSY
    assert play(busy, H | {"refused": "busy"})["transcript"][0]["seconds"] < 0.9
    monkeypatch.setattr(verbs, "LEAVES_WITHIN", 0.1)
    assert fail(busy, H).sample == "another client is connected"


def test_a_refusal_other_than_busy_is_not_tried_again():
    assert fail([lambda c: c.refuse(c.request(), "internal"), Ryll()], H).code == "ryll_refused"


def test_a_client_of_its_own_waits_for_a_busy_ryll_too():
    """`./lane shot` and the check `frames` may use the socket at the same time."""
    deadline = time.monotonic() + 5 * BUSY
    with Peer(busy, busy, Ryll()) as peer, Client(peer.path) as client:
        assert client.open("me", deadline).protocol_version == "1.5"
        assert client.status(deadline).surfaces[0].width == 8


def test_events_between_steps_are_kept_in_order_and_taken_once():
    handler = events_after_subscribe(("latency", {"n": 1}), ("surface_drawn", {"n": 2}), ("latency", {"n": 3}))
    latency = {"expect_event": {"event": "latency", "count": 2}, "register": "l"}
    result = play(handler, H, SUBSCRIBE, {"status": {}}, {"expect_event": {"event": "surface_drawn"}}, latency)
    events = [(one["name"], one["data"]["n"]) for one in result["events"]]
    assert events == [("latency", 1), ("surface_drawn", 2), ("latency", 3)]
    assert all(one["during"] in (3, 4) and 0 < one["seconds"] < result["seconds"] for one in result["events"])
    assert result["registered"]["l"] == {"event": "latency", "count": 2, "data": [{"n": 1}, {"n": 3}]}
    assert result["events_seen"] == {"latency": 2, "surface_drawn": 1}
    too_many = {"expect_event": {"event": "surface_drawn", "count": 2}, "within": 0.1}
    assert "1 of 2" in fail(handler, H, SUBSCRIBE, too_many).problem


def test_an_event_is_picked_by_its_data_and_true_is_not_1():
    handler = events_after_subscribe(("latency", {"on": 1, "list": [True, {"a": 0}]}), later=0.02)
    others: list[Any] = [[1, {"a": 0}], [True, {"a": False}], [True], {}]
    for fields in ({"on": True}, *({"list": other} for other in others)):
        failed = fail(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": fields}, "within": 0.1})
        assert "and 1 with other data" in failed.problem
    play(handler, H, SUBSCRIBE, {"expect_event": {"event": "latency", "fields": {"on": 1.0, "list": [True, {"a": 0}]}}})
    play(handler, H, SUBSCRIBE, {"quiet": {"event": "latency", "fields": {"on": 2}, "seconds": 0.15}})


def test_unsubscribe_stops_the_events():
    unsubscribe = {"unsubscribe": {"events": ["surface_drawn"]}}
    result = play(Ryll(), H, SUBSCRIBE, unsubscribe, PRESS, {"pause": {"seconds": 0.05}})
    assert seen(result, 2) == {"unsubscribed": ["surface_drawn"]}
    assert result["events"] == []


def test_a_flood_of_events_is_bounded_and_reported():
    handler = events_after_subscribe(*[("latency", {})] * 10_500, ("surface_drawn", {}))
    before = time.thread_time()
    result = play(handler, H, SUBSCRIBE, {"pause": {"seconds": 1}}, {"expect_event": {"event": "surface_drawn"}})
    assert time.thread_time() - before < 2 * BUSY
    assert len(result["events"]) == 1000
    assert result["notices"] == [
        "501 events that no step waited for in time were dropped, the oldest first",
        "`events` holds the first 1000 of 10501 events",
    ]


def test_large_events_are_counted_and_not_all_kept():
    """The peer sends 12 MB; a transcript holds 1 MiB, and a session 8 MiB, of it."""
    handler = events_after_subscribe(*[("latency", {"x": "x" * 200_000})] * 60)
    result = play(handler, H, SUBSCRIBE, {"status": {}}, step_limit=30)
    assert result["events_seen"] == {"latency": 60}
    assert [event["name"] for event in result["events"]] == ["latency"] * 5
    assert result["notices"][0].startswith("19 events that no step waited for in time")
