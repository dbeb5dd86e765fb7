"""Peers that mean no good: each gets a clear end within the step's limit, and none more than a little memory."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import HELLO, STATUS, Connection, Peer, chunk, header

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
    return lambda c: c.accept(c.request(), {key: value for key, value in (HELLO | changed).items() if value is not None})


def surface(**changed: object) -> Callable[[Connection], None]:
    return status(surfaces=[STATUS["surfaces"][0] | changed])  # type: ignore[index]


def shot(data: bytes | str, width: object = 8, height: object = 4, form: object = "png") -> Callable[[Connection], None]:
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


def events_of_many_values(c: Connection) -> None:
    c.hello()
    while True:
        c.raw(b'{"event":"latency","data":{"x":[' + b"{}," * 2000 + b"{}]}}\n")


def events_of_many_texts(c: Connection) -> None:
    c.hello()
    data = ",".join(f'"{number}":"{"y" * 60_000}"' for number in range(15))
    while True:
        c.raw(b'{"event":"latency","data":{' + data.encode() + b"}}\n")


def long_names(c: Connection) -> None:
    c.hello()
    number = 0
    while True:
        number += 1
        c.raw(b'{"event":"e%d' % number + b"x" * 900_000 + b'","data":{}}\n')


def torn_events_and_old_answers(c: Connection) -> None:
    """A flood of events in pieces of seven bytes, and the first answer once more behind them."""
    c.hello()
    c.request()
    data = b'{"event":"latency","data":{"sample_ms":1.5}}\n' * 50 + json.dumps({"id": 1, "ok": True, "result": HELLO}).encode() + b"\n"
    for at in range(0, len(data), 7):
        c.raw(data[at : at + 7])
    c.wait()


def late(c: Connection) -> None:
    """Answers when the limit is over."""
    request = c.request()
    time.sleep(LIMIT + 0.2)
    c.accept(request, HELLO)
    c.wait()


def ends_its_side(c: Connection) -> None:
    """Says no more, but would go on listening."""
    c.hello()
    c.link.shutdown(1)
    c.wait()


def many_names(c: Connection) -> None:
    c.hello()
    number = 0
    while True:
        number += 1
        c.raw(b'{"event":"e%d","data":{}}\n' % number)


BOMB = b"\x89PNG\r\n\x1a\n" + header(8, 4) + chunk(b"IDAT", zlib.compress(bytes(50 << 20), 9)) + chunk(b"IEND", b"")
PACKED = zlib.compress((b"\0" + bytes(32)) * 4)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")
BIG = zlib.compressobj(9)
BIG_BOMB = b"\x89PNG\r\n\x1a\n" + header(16384, 16384)
BIG_BOMB += chunk(b"IDAT", b"".join(BIG.compress(b"\4" + bytes(4 * 16384)) for _ in range(1000)) + BIG.flush()) + chunk(b"IEND", b"")

PEERS: dict[str, tuple[Callable[[Connection], object], str]] = {
    "says nothing": (silent, "step 1 of 3 (hello) expected an answer to `hello` within 0.5 s, but nothing came"),
    "closes at once": (lambda c: None, "step 1 of 3 (hello) expected ryll to keep the connection, but it closed it"),
    "closes after hello": (lambda c: c.hello(), "step 2 of 3 (await) expected ryll to keep the connection, but it closed it"),
    "closes in mid-line": (after_hello(lambda c, r: (c.raw(b'{"id":2'), c.link.shutdown(2))), "it closed it in mid-line, 7 bytes after the last whole line"),
    "busy": (lambda c: c.send({"ok": False, "error": {"code": "busy", "message": "another"}}), 'ryll refused it with busy: "another"'),
    "busy later": (after_hello(lambda c, r: c.send({"ok": False, "error": {"code": "busy", "message": "x"}})), 'refused it with busy: "x"'),
    "says no unasked": (
        lambda c: (c.hello(), c.send({"ok": False, "error": {"code": "bad_params", "message": "longer than"}}), c.wait()),
        "bad_params",
    ),
    "drips": (drip, "expected an answer to `hello` within 0.5 s, but nothing came, "),
    "a line without end": (without_end, "expected lines of at most 1048576 bytes, but one is longer"),
    "a flood of events": (flood_of_events, "events came but no answer"),
    "a flood of blank lines": (flood_of_blank_lines, "s, but nothing came"),
    "fat events": (fat_events, "events came but no answer"),
    "many names of events": (many_names, "events came but no answer"),
    "events of many values": (events_of_many_values, "events came but no answer"),
    "events of many texts": (events_of_many_texts, "events came but no answer"),
    "long names of events": (long_names, "events came but no answer"),
    "torn events and an old answer": (torn_events_and_old_answers, "request 1 was answered once more"),
    "an answer after the limit": (late, "step 1 of 3 (hello) expected an answer to `hello` within 0.5 s, but nothing came"),
    "ends its side": (ends_its_side, "step 2 of 3 (await) expected ryll to keep the connection, but it closed it"),
    "not JSON": (line(b"hello there"), 'expected a line with one JSON object, but it is not JSON at character 1: "hello there"'),
    "escape codes": (line(b"\x1b[31mred\x07"), 'it is not JSON at character 1: "[31mred"'),
    "not an object": (line(b"[1,2]"), 'it holds JSON that is not an object: "[1,2]"'),
    "bad UTF-8": (line(b'{"id":2,"ok":true,"result":{"a":"\xff"}}'), "byte 34 of it is not UTF-8"),
    "a NUL byte": (line(b'{"id":2,\0"ok":true}'), "it holds a NUL byte"),
    "deep nesting": (line(b'{"id":2,"ok":true,"result":' + b"[" * 90_000), "it is nested deeper than 32 levels"),
    "too many values": (line(b'{"id":2,"ok":true,"result":' + b"[]," * 100_001), "it holds more than 100000 values"),
    "a key twice": (line(b'{"id":2,"id":2,"ok":true,"result":{}}'), "a key stands in it twice"),
    "short texts without end": (line(b'{"a":[' + b"[]," * 40 + b'""' * 500_000), "it holds more than 100000 values"),
    "half a surrogate pair": (line(b'{"id":2,"ok":true,"result":{"a":"\\udc00"}}'), "a text in it has half of a surrogate pair"),
    "an id of many digits": (line(b'{"id":' + b"1" * 39 + b',"ok":true,"result":{}}'), "but the id that came is 1111"),
    "a huge number": (line(b'{"id":' + b"2" * 10_000 + b',"ok":true,"result":{}}'), "a number in it has 10000 digits"),
    "NaN": (line(b'{"id":2,"ok":true,"result":{"a":NaN}}'), "it holds NaN"),
    "an empty object": (answer({}), "expected `ok` in the answer to `status` to be true or false, but it is missing"),
    "ok missing": (answer(ok=None), "expected `ok` in the answer to `status` to be true or false, but it is missing"),
    "ok is 1": (answer(ok=1), "expected `ok` in the answer to `status` to be true or false, but it is a whole number"),
    "no id": (answer(id=None), "expected `id` in the answer to `status`, but it is missing"),
    "id null": (line(b'{"id":null,"ok":true,"result":{}}'), "expected the answer to request 2 (`status`), but the id that came is of another kind (NoneType)"),
    "id as text": (answer(id="2"), "but the id that came is of another kind (str)"),
    "id true": (answer(id=True), "but the id that came is of another kind (bool)"),
    "id as fraction": (line(b'{"id":2.0,"ok":true,"result":{}}'), "but the id that came is of another kind (float)"),
    "an id of the future": (answer(id=3), "expected the answer to request 2 (`status`), but the id that came is 3"),
    "an id of the past": (answer(id=1), "expected the answer to request 2 (`status`), but request 1 was answered once more"),
    "a negative id": (answer(id=-2), "but the id that came is -2"),
    "a refusal of another request": (answer({"id": 9, "ok": False, "error": {"code": "x", "message": "y"}}), "but the id that came is 9"),
    "two answers": (after_hello(lambda c, r: (c.accept(r, STATUS), c.accept(r, STATUS))), "an answer came that nobody asked for"),
    "result missing": (answer(result=None), "expected `result` in the answer to `status` to be an object, but it is missing"),
    "result a list": (answer(result=[]), "expected `result` in the answer to `status` to be an object, but it is a list"),
    "error missing": (answer({"id": 2, "ok": False}), "expected `error` in the answer to `status` to be an object, but it is missing"),
    "error a text": (answer({"id": 2, "ok": False, "error": "no"}), "expected `error` in the answer to `status` to be an object, but it is a text"),
    "error without code": (answer({"id": 2, "ok": False, "error": {"message": "x"}}), "expected `code` in an error to be a text, but it is missing"),
    "error without message": (answer({"id": 2, "ok": False, "error": {"code": "x"}}), "expected `message` in an error to be a text, but it is missing"),
    "a code of many words": (
        answer({"id": 2, "ok": False, "error": {"code": "some thing\n", "message": "x"}}),
        'expected `code` in an error to be a word such as bad_params, but it is not: "some thing"',
    ),
    "a code without end": (answer({"id": 2, "ok": False, "error": {"code": "x" * 100_000, "message": "x"}}), "to be a word such as bad_params, but it is not"),
    "an event with an id": (answer({"id": 2, "event": "latency", "data": {}}), "expected a line to be an answer or an event, but one is both"),
    "an event without a name": (answer({"event": 5, "data": {}}), "expected `event` in an event to be a text, but it is a whole number"),
    "an event without data": (answer({"event": "latency"}), "expected `data` in an event to be an object, but it is missing"),
    "dropped without count": (answer({"event": "dropped", "data": {}}), "expected `count` in the event `dropped` to be a whole number, but it is missing"),
    "dropped less than none": (answer({"event": "dropped", "data": {"count": -1}}), "expected `count` in the event `dropped` to be from 0 to"),
    "major 2": (hello(protocol_version="2.0"), "expected a server of protocol major version 1, but this one speaks 2.0"),
    "major 0": (hello(protocol_version="0.9"), "expected a server of protocol major version 1, but this one speaks 0.9"),
    "version of words": (hello(protocol_version="newest"), 'to be major.minor, but it is not: "newest"'),
    "version with digits of elsewhere": (hello(protocol_version="\u0661.\u0660"), "to be major.minor, but it is not"),
    "version a number": (hello(protocol_version=1.5), "expected `protocol_version` in the answer to `hello` to be a text, but it is a number"),
    "no methods": (hello(supported_methods=None), "expected `supported_methods` in the answer to `hello` to be a list, but it is missing"),
    "methods of numbers": (hello(supported_methods=[1]), "expected `supported_methods` in the answer to `hello` to be a list of texts, but"),
    "methods an object": (hello(supported_methods={"hello": 1}), "expected `supported_methods` in the answer to `hello` to be a list, but it is an object"),
    "events a text": (hello(supported_events="latency"), "expected `supported_events` in the answer to `hello` to be a list, but it is a text"),
    "no server name": (hello(server_name=None), "expected `server_name` in the answer to `hello` to be a text, but it is missing"),
    "status without agent": (status(agent_connected=None), "expected `agent_connected` in the answer to `status` to be true or false, but it is missing"),
    "status without spice": (status(spice_connected=0), "expected `spice_connected` in the answer to `status` to be true or false, but it is a whole"),
    "surfaces an object": (status(surfaces={}), "expected `surfaces` in the answer to `status` to be a list, but it is an object"),
    "surfaces of texts": (status(surfaces=["x"]), "expected `surfaces` in the answer to `status` to be a list of objects, but one is a text"),
    "surface without width": (status(surfaces=[{"channel_id": 0, "surface_id": 0}]), "expected `width` in a surface in the answer to `status`"),
    "surface of words": (surface(width="8"), "expected `width` in a surface in the answer to `status` to be a whole number, but it is a text"),
    "surface of truth": (surface(width=True), "expected `width` in a surface in the answer to `status` to be a whole number, but it is true or false"),
    "surface of less than nothing": (surface(height=-4), "expected `height` in a surface in the answer to `status` to be from 0 to 16384, but it is -4"),
    "surface of a billion": (surface(width=1e9), "expected `width` in a surface in the answer to `status` to be a whole number, but it is a number"),
    "surface of one less than nothing": (surface(width=-1), "expected `width` in a surface in the answer to `status` to be from 0 to 16384, but it is -1"),
    "surface beyond measure": (surface(width=1 << 40), "to be from 0 to 16384, but it is 1099511627776"),
    "base64 that is none": (shot("####"), "expected `data_base64` in the answer to `screenshot` to be base64, but it is not ("),
    "base64 in other letters": (shot("\u00e4\u00e4\u00e4="), "to be base64, but it holds a character outside ASCII"),
    "base64 cut": (shot("iVBOR"), "to be base64, but it is not ("),
    "base64 with more behind": (shot("iVBO=AAA"), "to be base64, but it is not ("),
    "an empty picture": (shot(b""), "expected a PNG, but it does not begin with the PNG signature"),
    "a picture that bursts": (shot(BOMB), "expected 4 rows of pixels in the PNG, but there is more pixel data than that"),
    "a picture as large as it says": (shot(BIG_BOMB, 16384, 16384), "to be read within 0.5 s, but the time was over"),
    "a picture of chunks without end": (
        shot(SIGNATURE + header(8, 4) + chunk(b"tEXt", b"") * 50_000 + chunk(b"IDAT", PACKED) + END),
        "expected a PNG of at most 20000 chunks, but it has more",
    ),
    "a picture with a wrong checksum": (
        shot(SIGNATURE + header(8, 4) + chunk(b"IDAT", PACKED)[:-1] + b"!" + END),
        "expected a whole PNG, but the checksum of its chunk IDAT at byte 33 is wrong",
    ),
    "an interlaced picture": (
        shot(SIGNATURE + header(8, 4, interlace=1) + chunk(b"IDAT", PACKED) + END),
        "expected a PNG of 8 bit RGB or RGBA, not interlaced, but this one has depth 8, colour type 6, interlace 1",
    ),
    "a picture of 16 bit": (shot(SIGNATURE + header(8, 4, depth=16) + chunk(b"IDAT", PACKED) + END), "but this one has depth 16, colour type 6, interlace 0"),
    "a picture without pixels": (
        shot(SIGNATURE + header(8, 4) + chunk(b"IDAT", b"") + END),
        "expected 4 rows of pixels in the PNG, but its data ends in row 0",
    ),
    "a picture without width": (shot(b"", width=0), "to be from 1 to 16384, but it is 0"),
    "a picture in words": (shot(b"", form=5), "expected `format` in the answer to `screenshot` to be a text, but it is a whole number"),
}


@pytest.mark.parametrize(("handler", "words"), PEERS.values(), ids=PEERS.keys())
def test_a_hostile_peer_gets_a_clear_end(handler: Callable[[Connection], object], words: str) -> None:
    with Peer(handler) as peer:
        settings = Settings(peer.path, max_line_bytes=1 << 20)
        tracemalloc.start()
        began, before = time.monotonic(), time.thread_time()
        with pytest.raises(SessionFailed) as caught:
            run(settings, plan(STEPS, LIMIT))
        took, cpu = time.monotonic() - began, time.thread_time() - before
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    told = str(caught.value)
    assert words in told
    assert told.startswith("ryll: step ")
    assert told.isprintable()
    assert cpu < 3 * LIMIT + 0.7
    assert took < 3 * LIMIT + 3  # other programs and the peer may have the processor
    assert most < 40 << 20
    json.dumps(caught.value.result, ensure_ascii=False).encode()


def test_an_answer_in_single_bytes_is_an_answer() -> None:
    def serve(c: Connection) -> None:
        for request in c.requests():
            for byte in json.dumps({"id": request["id"], "ok": True, "result": HELLO if request["method"] == "hello" else STATUS}).encode() + b"\n":
                c.raw(bytes([byte]))

    with Peer(serve) as peer:
        result = run(Settings(peer.path), plan([{"hello": {}}, {"status": {}}]))
    assert result["transcript"][1]["seen"] == STATUS


def test_many_lines_in_one_packet_are_many_lines() -> None:
    def serve(c: Connection) -> None:
        request = c.request()
        event = json.dumps({"event": "latency", "data": {"n": 1}}).encode() + b"\r\n"
        c.raw(event + b"\n" + json.dumps({"id": request["id"], "ok": True, "result": HELLO}).encode() + b"\n" + event)
        c.accept(c.request(), STATUS)
        c.wait()

    with Peer(serve) as peer:
        result = run(Settings(peer.path), plan([{"hello": {}}, {"status": {}}]))
    assert [event["data"] for event in result["events"]] == [{"n": 1}, {"n": 1}]


def test_what_the_peer_says_does_not_make_the_sentence_long() -> None:
    with Peer(line(b"x" * 100_000)) as peer, pytest.raises(SessionFailed) as caught:
        run(Settings(peer.path), plan(STEPS, LIMIT))
    assert len(str(caught.value)) < 400
