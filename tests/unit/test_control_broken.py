"""A ryll that is broken: each fault has a clear end within the step's limit, and takes little memory."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import HELLO, STATUS, Connection, Peer

LIMIT = 0.5
STEPS: list[Any] = [{"hello": {}}, {"await": {"agent": True}}, {"screenshot": {}}]


def after_hello(act: Callable[[Connection, dict[str, Any]], object]) -> Callable[[Connection], None]:
    """A peer that answers hello, and the next request with `act`."""

    def serve(c: Connection) -> None:
        c.hello()
        act(c, c.request())
        c.wait()

    return serve


def line(data: bytes) -> Callable[[Connection], None]:
    return after_hello(lambda c, r: c.raw(data + b"\n"))


def answer(message: dict[str, Any] | None = None, **changed: object) -> Callable[[Connection], None]:
    """A peer whose answer to the second request is this; values that are None are left out."""

    def act(c: Connection, r: dict[str, Any]) -> None:
        full = message if message is not None else {"id": r["id"], "ok": True, "result": STATUS} | changed
        c.send({key: value for key, value in full.items() if value is not None})

    return after_hello(act)


def status(**changed: object) -> Callable[[Connection], None]:
    return answer(result={key: value for key, value in (STATUS | changed).items() if value is not None})


def hello(**changed: object) -> Callable[[Connection], None]:
    return lambda c: c.accept(
        c.request(), {key: value for key, value in (HELLO | changed).items() if value is not None}
    )


def surface(**changed: object) -> Callable[[Connection], None]:
    return status(surfaces=[STATUS["surfaces"][0] | changed])  # type: ignore[index]


def shot(
    data: bytes | str, width: object = 8, height: object = 4, form: object = "png"
) -> Callable[[Connection], None]:
    """A peer that is fine until the screenshot."""

    def serve(c: Connection) -> None:
        c.hello()
        for request in c.requests():
            if request["method"] == "status":
                sized = {"channel_id": 0, "surface_id": 0, "width": width, "height": height}
                c.accept(request, STATUS | {"agent_connected": True, "surfaces": [sized]})
            else:
                text = data if isinstance(data, str) else base64.b64encode(data).decode()
                c.accept(request, {"width": width, "height": height, "format": form, "data_base64": text})

    return serve


def silent(c: Connection) -> None:
    c.wait()


def without_end(c: Connection) -> None:
    c.hello()
    while True:
        c.raw(b"x" * 65536)


def drip(c: Connection) -> None:
    for byte in b'{"id":1,"ok":true,' * 1000:
        c.raw(bytes([byte]))
        time.sleep(0.005)


def flood_of_events(c: Connection) -> None:
    c.hello()
    while True:
        c.raw(b'{"event":"latency","data":{"sample_ms":1.5}}\n' * 100)


def flood_of_blank_lines(c: Connection) -> None:
    c.hello()
    while True:
        c.raw(b"\n \r\n" * 1000)


def fat_events(c: Connection) -> None:
    c.hello()
    while True:
        c.raw(b'{"event":"latency","data":{"x":"' + b"y" * 500_000 + b'"}}\n')


def torn_events_and_old_answers(c: Connection) -> None:
    """A flood of events in pieces of seven bytes, and the first answer once more behind them."""
    c.hello()
    c.request()
    data = (
        b'{"event":"latency","data":{"sample_ms":1.5}}\n' * 50
        + json.dumps({"id": 1, "ok": True, "result": HELLO}).encode()
        + b"\n"
    )
    for at in range(0, len(data), 7):
        c.raw(data[at : at + 7])
    c.wait()


def late(c: Connection) -> None:
    """Answers when the limit is over."""
    request = c.request()
    time.sleep(LIMIT + 0.2)
    c.accept(request, HELLO)
    c.wait()


PEERS: dict[str, tuple[Callable[[Connection], object], str, str]] = {
    "says nothing": (silent, "timeout", "ryll did not answer `hello` within 0.5 s: nothing arrived"),
    "answers too late": (late, "timeout", "did not answer `hello`"),
    "drips": (drip, "timeout", "bytes of an unfinished line"),
    "a line without end": (without_end, "malformed", "a line of more than 1048576 bytes"),
    "a flood of events": (flood_of_events, "timeout", "events arrived but no answer"),
    "a flood of blank lines": (flood_of_blank_lines, "timeout", "nothing arrived"),
    "fat events": (fat_events, "timeout", "events arrived but no answer"),
    "closes at once": (lambda c: None, "closed", "step 1 of 3 (hello)"),
    "closes after hello": (lambda c: c.hello(), "closed", "step 2 of 3 (await)"),
    "closes in mid-line": (
        after_hello(lambda c, r: (c.raw(b'{"id":2'), c.link.shutdown(2))),
        "closed",
        "7 bytes after the last whole one",
    ),
    "busy": (
        lambda c: c.send({"ok": False, "error": {"code": "busy", "message": "another"}}),
        "refused",
        'with busy: "another"',
    ),
    "busy later": (
        after_hello(lambda c, r: c.send({"ok": False, "error": {"code": "busy", "message": "x"}})),
        "refused",
        "with busy",
    ),
    "says no unasked": (
        lambda c: (
            c.hello(),
            c.send({"ok": False, "error": {"code": "bad_params", "message": "longer than"}}),
            c.wait(),
        ),
        "refused",
        "bad_params",
    ),
    "torn events and an old answer": (torn_events_and_old_answers, "malformed", "request 1 was answered"),
    "two answers": (
        after_hello(lambda c, r: (c.accept(r, STATUS), c.accept(r, STATUS))),
        "malformed",
        "an answer without a request",
    ),
    "no JSON": (line(b"hello there"), "malformed", '"hello there"'),
    "an empty object": (answer({}), "malformed", "`ok` is missing in the answer to `status`"),
    "ok is 1": (answer(ok=1), "malformed", "`ok` in the answer to `status` is a whole number, not true or false"),
    "no id": (answer(id=None), "malformed", "`id` is missing"),
    "id as text": (answer(id="2"), "malformed", "`id` in the answer to `status` is a text"),
    "id true": (answer(id=True), "malformed", "`id` in the answer to `status` is true or false"),
    "an id of the future": (answer(id=3), "malformed", "did not answer request 2 (`status`): request 3 was answered"),
    "a refusal of another request": (
        answer({"id": 9, "ok": False, "error": {"code": "x", "message": "y"}}),
        "malformed",
        "request 9 was answered",
    ),
    "a refusal with a text as id": (
        answer({"id": "2", "ok": False, "error": {"code": "x", "message": "y"}}),
        "malformed",
        "`id` in the answer to `status` is a text",
    ),
    "result missing": (answer(result=None), "malformed", "`result` is missing"),
    "result a list": (answer(result=[]), "malformed", "`result` in the answer to `status` is a list"),
    "error missing": (answer({"id": 2, "ok": False}), "malformed", "`error` is missing"),
    "error a text": (
        answer({"id": 2, "ok": False, "error": "no"}),
        "malformed",
        "`error` in the answer to `status` is a text",
    ),
    "error without code": (
        answer({"id": 2, "ok": False, "error": {"message": "x"}}),
        "malformed",
        "`code` is missing in an error",
    ),
    "error without message": (
        answer({"id": 2, "ok": False, "error": {"code": "x"}}),
        "malformed",
        "`message` is missing in an error",
    ),
    "an event with an id": (
        answer({"id": 2, "event": "latency", "data": {}}),
        "malformed",
        "both an answer and an event",
    ),
    "an event without a name": (answer({"event": 5, "data": {}}), "malformed", "`event` in an event is a whole number"),
    "an event without data": (answer({"event": "latency"}), "malformed", "`data` is missing in an event"),
    "dropped without count": (
        answer({"event": "dropped", "data": {}}),
        "malformed",
        "`count` is missing in the event `dropped`",
    ),
    "dropped less than none": (answer({"event": "dropped", "data": {"count": -1}}), "malformed", "is -1, not from 0"),
    "major 2": (hello(protocol_version="2.0"), "malformed", "speaks protocol 2.0, not major version 1"),
    "major 0": (hello(protocol_version="0.9"), "malformed", "speaks protocol 0.9"),
    "version of words": (hello(protocol_version="newest"), "malformed", "speaks protocol newest"),
    "version a number": (
        hello(protocol_version=1.5),
        "malformed",
        "`protocol_version` in the answer to `hello` is a number",
    ),
    "no methods": (hello(supported_methods=None), "malformed", "`supported_methods` is missing"),
    "methods of numbers": (hello(supported_methods=[1]), "malformed", "not a list of texts"),
    "events a text": (
        hello(supported_events="latency"),
        "malformed",
        "`supported_events` in the answer to `hello` is a text",
    ),
    "no server name": (hello(server_name=None), "malformed", "`server_name` is missing"),
    "status without agent": (status(agent_connected=None), "malformed", "`agent_connected` is missing"),
    "status without spice": (
        status(spice_connected=0),
        "malformed",
        "`spice_connected` in the answer to `status` is a whole number",
    ),
    "surfaces an object": (status(surfaces={}), "malformed", "`surfaces` in the answer to `status` is an object"),
    "surfaces of texts": (status(surfaces=["x"]), "malformed", "not a list of objects: one is a text"),
    "surface without width": (
        status(surfaces=[{"channel_id": 0, "surface_id": 0}]),
        "malformed",
        "`width` is missing in a surface",
    ),
    "surface of words": (surface(width="8"), "malformed", "`width` in a surface in the answer to `status` is a text"),
    "surface of one less than nothing": (surface(width=-1), "malformed", "is -1, not from 0 to 16384"),
    "surface beyond measure": (surface(height=16385), "malformed", "is 16385, not from 0 to 16384"),
    "base64 that is none": (shot("####"), "malformed", "is not base64"),
    "base64 in other letters": (shot("\u00e4\u00e4\u00e4="), "malformed", "is not base64"),
    "base64 cut": (shot("iVBOR"), "malformed", "is not base64"),
    "base64 with more behind": (shot("iVBO=AAA"), "malformed", "is not base64"),
    "an empty picture": (shot(b""), "malformed", "a picture is not a whole PNG"),
    "a picture without width": (
        shot(b"", width=0),
        "malformed",
        "`width` in the answer to `screenshot` is 0, not from 1",
    ),
    "a picture in words": (shot(b"", form=5), "malformed", "`format` in the answer to `screenshot` is a whole number"),
}


@pytest.mark.parametrize(("handler", "kind", "words"), PEERS.values(), ids=PEERS.keys())
def test_a_broken_ryll_gets_a_clear_end(handler: Callable[[Connection], object], kind: str, words: str) -> None:
    with Peer(handler) as peer:
        settings = Settings(peer.path, max_line_bytes=1 << 20)
        tracemalloc.start()
        began = time.monotonic()
        with pytest.raises(SessionFailed) as caught:
            run(settings, plan(STEPS, LIMIT))
        took = time.monotonic() - began
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert words in caught.value.cause
    assert (caught.value.code, caught.value.component) == (f"ryll_{kind}", "ryll") or (kind, caught.value.code) == (
        "refused",
        "ryll_closed",
    )
    assert caught.value.cause.startswith("step ") and str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert took < 3 * LIMIT + 5  # other programs may have the processor
    assert most < 40 << 20
    json.dumps(caught.value.result, ensure_ascii=False).encode()


def test_an_answer_in_single_bytes_and_many_lines_in_one_packet() -> None:
    def serve(c: Connection) -> None:
        event = json.dumps({"event": "latency", "data": {"n": 1}}).encode() + b"\r\n"
        c.raw(
            event + b"\n" + json.dumps({"id": c.request()["id"], "ok": True, "result": HELLO}).encode() + b"\n" + event
        )
        for request in c.requests():
            for byte in json.dumps({"id": request["id"], "ok": True, "result": STATUS}).encode() + b"\n":
                c.raw(bytes([byte]))

    with Peer(serve) as peer:
        result = run(Settings(peer.path), plan([{"hello": {}}, {"status": {}}]))
    assert result["transcript"][1]["seen"] == STATUS
    assert [event["data"] for event in result["events"]] == [{"n": 1}, {"n": 1}]
