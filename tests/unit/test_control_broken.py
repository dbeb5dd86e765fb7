"""A ryll that is broken: each fault has a clear end within the step's limit, and takes little memory."""

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed, TimedOut
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import HELLO, STATUS, Connection, Peer, shot, sized

LIMIT = 0.5
EVENT = b'{"event":"latency","data":{"sample_ms":1.5}}\n'
FAT_EVENT = b'{"event":"latency","data":{"x":"' + b"y" * 500_000 + b'"}}\n'
STEPS: list[Any] = [{"hello": {}}, {"await": {"agent": True}}, {"screenshot": {}}]


def after_hello(act: Callable[[Connection, dict[str, Any]], object]) -> Callable[[Connection], None]:
    """A peer that answers hello, and the next request with `act`."""

    def serve(c: Connection) -> None:
        c.hello()
        act(c, c.request())
        c.wait()

    return serve


def answer(**changed: object) -> Callable[[Connection], None]:
    """A peer whose answer to the second request is changed like this; values that are None are left out."""
    return after_hello(lambda c, r: c.send(known({"id": r["id"], "ok": True, "result": STATUS} | changed)))


def known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def message(**values: object) -> Callable[[Connection], None]:
    """A peer whose answer to the second request is just this."""
    return after_hello(lambda c, r: c.send(values))


def refusal(error: object = None, **values: object) -> Callable[[Connection], None]:
    return message(**known({"id": 2, "ok": False, "error": error} | values))


def status(**changed: object) -> Callable[[Connection], None]:
    return answer(result=known(STATUS | changed))


def hello(**changed: object) -> Callable[[Connection], None]:
    return lambda c: c.accept(c.request(), known(HELLO | changed))


def surface(**changed: object) -> Callable[[Connection], None]:
    return status(surfaces=[STATUS["surfaces"][0] | changed])


def picture(data: bytes | str, width: object = 8, form: object = "png") -> Callable[[Connection], None]:
    """A peer that is fine until the screenshot; a text is its base64."""

    def serve(c: Connection) -> None:
        c.hello()
        for request in c.requests():
            if request["method"] == "status":
                c.accept(request, sized(width, 4) | {"agent_connected": True})
            elif isinstance(data, str):
                c.accept(request, shot(width, 4, b"", form) | {"data_base64": data})
            else:
                c.accept(request, shot(width, 4, data, form))

    return serve


def flood(data: bytes) -> Callable[[Connection], None]:
    def serve(c: Connection) -> None:
        c.hello()
        while True:
            c.raw(data)

    return serve


def busy(c: Connection, *_: object) -> None:
    c.send({"ok": False, "error": {"code": "busy", "message": "another"}})


#: (kind, words of the message, peer)
PEERS: list[tuple[str, str, Callable[[Connection], object]]] = [
    ("timeout", "ryll did not answer `hello` within 0.5 s: nothing arrived", lambda c: c.wait()),
    ("timeout", "nothing arrived, 7 bytes of an unfinished line", lambda c: (c.raw(b'{"id":1'), c.wait())),
    ("malformed", "a line of more than 1048576 bytes", flood(b"x" * 65536)),
    ("timeout", "events arrived but no answer", flood(EVENT * 100)),
    ("timeout", "nothing arrived", flood(b"\n \r\n" * 1000)),
    ("timeout", "events arrived but no answer", flood(FAT_EVENT)),
    ("closed", "step 1 of 3 (hello)", lambda c: None),
    ("closed", "step 2 of 3 (await)", lambda c: c.hello()),
    ("closed", "7 bytes after the last whole one", after_hello(lambda c, r: (c.raw(b'{"id":2'), c.link.shutdown(2)))),
    ("refused", 'with busy: "another"', busy),
    ("refused", "with busy", after_hello(busy)),
    (
        "malformed",
        "an answer without a request",
        after_hello(lambda c, r: (c.accept(r, STATUS), c.accept(r, STATUS))),
    ),
    ("malformed", '"hello there"', after_hello(lambda c, r: c.raw(b"hello there\n"))),
    ("malformed", "`ok` is missing in the answer to `status`", message()),
    ("malformed", "`ok` in the answer to `status` is a whole number, not true or false", answer(ok=1)),
    ("malformed", "`id` is missing", answer(id=None)),
    ("malformed", "`id` in the answer to `status` is a text", answer(id="2")),
    ("malformed", "`id` in the answer to `status` is true or false", answer(id=True)),
    ("malformed", "did not answer request 2 (`status`): request 1 was answered", answer(id=1)),
    ("malformed", "did not answer request 2 (`status`): request 3 was answered", answer(id=3)),
    ("malformed", "request 9 was answered", refusal({"code": "x", "message": "y"}, id=9)),
    ("malformed", "`id` in the answer to `status` is a text", refusal({"code": "x", "message": "y"}, id="2")),
    ("malformed", "`result` is missing", answer(result=None)),
    ("malformed", "`result` in the answer to `status` is a list", answer(result=[])),
    ("malformed", "`error` is missing", refusal()),
    ("malformed", "`error` in the answer to `status` is a text", refusal("no")),
    ("malformed", "`code` is missing in an error", refusal({"message": "x"})),
    ("malformed", "`message` is missing in an error", refusal({"code": "x"})),
    ("malformed", "both an answer and an event", message(id=2, event="latency", data={})),
    ("malformed", "both an answer and an event", message(ok=True, event="latency", data={})),
    ("malformed", "`event` in an event is a whole number", message(event=5, data={})),
    ("malformed", "`data` is missing in an event", message(event="latency")),
    ("malformed", "`count` is missing in the event `dropped`", message(event="dropped", data={})),
    ("malformed", "is -1, not from 0", message(event="dropped", data={"count": -1})),
    ("malformed", "speaks protocol 2.0, not major version 1", hello(protocol_version="2.0")),
    ("malformed", "speaks protocol newest", hello(protocol_version="newest")),
    ("malformed", "`protocol_version` in the answer to `hello` is a number", hello(protocol_version=1.5)),
    ("malformed", "`supported_methods` is missing", hello(supported_methods=None)),
    ("malformed", "`supported_methods` in the answer to `hello` is not a list of texts", hello(supported_methods=[1])),
    ("malformed", "`supported_events` in the answer to `hello` is a text", hello(supported_events="latency")),
    ("malformed", "`server_name` is missing", hello(server_name=None)),
    ("malformed", "`agent_connected` is missing", status(agent_connected=None)),
    ("malformed", "`spice_connected` in the answer to `status` is a whole number", status(spice_connected=0)),
    ("malformed", "`surfaces` in the answer to `status` is an object", status(surfaces={})),
    ("malformed", "not a list of objects: one is a text", status(surfaces=["x"])),
    ("malformed", "`width` in a surface in the answer to `status` is a text", surface(width="8")),
    ("malformed", "is -1, not from 0 to 16384", surface(width=-1)),
    ("malformed", "is 16385, not from 0 to 16384", surface(height=16385)),
    ("malformed", "is not base64", picture("####")),
    ("malformed", "is not base64", picture("\u00e4\u00e4\u00e4=")),
    ("malformed", "is not base64", picture("iVBOR")),
    ("malformed", "is not base64", picture("iVBO=AAA")),
    ("malformed", "a picture is not a whole PNG", picture(b"")),
    ("malformed", "`width` in the answer to `screenshot` is 0, not from 1", picture(b"", width=0)),
    ("malformed", "`format` in the answer to `screenshot` is a whole number", picture(b"", form=5)),
]


@pytest.mark.parametrize(("kind", "words", "handler"), PEERS)
def test_a_broken_ryll_gets_a_clear_end(kind, words, handler):
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
    assert (caught.value.code, caught.value.component) == (f"ryll_{kind}", "ryll")
    assert caught.value.cause.startswith("step ") and str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert took < 3 * LIMIT + 5  # other programs may have the processor
    assert most < 40 << 20
    json.dumps(caught.value.result, ensure_ascii=False).encode()


def test_an_answer_that_is_late_before_it_is_awaited():
    """When sending the request took longer than there was time."""
    with Peer(lambda c: c.wait()) as peer, Client(peer.path) as client:
        client.connect(time.monotonic() + 5)
        with pytest.raises(TimedOut, match=r"did not answer `status` within 0\.1 s"):
            client.answer("status", 1, time.monotonic() - 1)


def test_a_ryll_that_refuses_unasked_has_ended_the_conversation():
    """As real ryll does for a line that is too long."""

    def serve(c: Connection) -> None:
        c.hello()
        c.send({"ok": False, "error": {"code": "bad_params", "message": "longer than"}})
        c.wait()

    with Peer(serve) as peer, pytest.raises(SessionFailed, match="longer than") as caught:
        run(Settings(peer.path), plan([{"hello": {}}, {"pause": {"seconds": 5}}]))
    assert caught.value.code == "ryll_closed"
