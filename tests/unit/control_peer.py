"""Peers for the tests of the control socket: a real unix-socket server in a thread, and a ryll that behaves as
docs/ryll_session.md says.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

METHODS = (
    "hello status send_key paste screenshot subscribe unsubscribe clipboard_set clipboard_get resize stats".split()
)
EVENTS = (
    "latency agent_connected paste_completed paste_failed dropped surface_drawn clipboard_changed input_rtt".split()
)
HELLO = {"server_name": "ryll", "protocol_version": "1.5", "supported_methods": METHODS, "supported_events": EVENTS}


def sized(width: object, height: object) -> dict[str, Any]:
    """The answer to `status` with one surface."""
    surface = {"channel_id": 0, "surface_id": 0, "width": width, "height": height}
    return {"spice_connected": True, "agent_connected": False, "surfaces": [surface]}


def shot(width: object, height: object, data: bytes, form: object = "png") -> dict[str, Any]:
    """The answer to `screenshot`."""
    return {"width": width, "height": height, "format": form, "data_base64": base64.b64encode(data).decode()}


STATUS = sized(8, 4)


class Connection:
    """The server's side of one connection."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.file = link.makefile("rb")

    def requests(self) -> Iterator[dict[str, Any]]:
        for line in self.file:
            yield json.loads(line)

    def request(self) -> dict[str, Any]:
        return next(self.requests())

    def raw(self, data: bytes) -> None:
        self.link.sendall(data)

    def send(self, message: object) -> None:
        self.raw(json.dumps(message).encode() + b"\n")

    def accept(self, request: dict[str, Any], result: dict[str, Any]) -> None:
        self.send({"id": request["id"], "ok": True, "result": result})

    def refuse(self, request: dict[str, Any], code: str, message: str = "no") -> None:
        self.send({"id": request["id"], "ok": False, "error": {"code": code, "message": message}})

    def event(self, name: str, **data: object) -> None:
        self.send({"event": name, "data": data})

    def hello(self, **changed: object) -> None:
        self.accept(self.request(), HELLO | changed)

    def wait(self) -> None:
        """Until the client has gone."""
        while self.file.read(65536):
            pass


class Peer:
    """A server on a unix socket: the n-th connection is served by the n-th handler, later ones by the last."""

    def __init__(self, *handlers: Callable[[Connection], object]) -> None:
        self.folder = tempfile.mkdtemp(prefix="peer-", dir="/tmp")
        self.path = f"{self.folder}/ryll.sock"
        self.failures: list[BaseException] = []
        self._handlers = handlers
        self._links: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(8)

    def __enter__(self) -> Peer:
        self._start(self._accept)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for link in [self._listener, *self._links]:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "the peer hangs"
        shutil.rmtree(self.folder)
        if self.failures and kind is None:
            raise self.failures[0]

    def _start(self, work: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._links.append(link)
            self._start(self._serve, self._handlers[min(number, len(self._handlers) - 1)], link)
            number += 1

    def _serve(self, handler: Callable[[Connection], object], link: socket.socket) -> None:
        connection = Connection(link)
        try:
            handler(connection)
        except (OSError, StopIteration, json.JSONDecodeError):
            pass  # the client has gone, which is its right
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            connection.file.close()
            link.close()


class Ryll:
    """A ryll with a guest of 8x4 pixels, as a handler for Peer. keys, pasted, clipboard, size: what the guest got."""

    def __init__(self) -> None:
        self.agent = False
        self.size = (8, 4)
        self.surfaces = True
        self.marks = 1
        self.methods = list(METHODS)
        self.events = list(EVENTS)
        self.clipboard: str | None = None
        self.keys: list[tuple[int, str]] = []
        self.pasted = ""
        self.asked: list[str] = []
        self.subscribed: set[str] = set()
        self.pixels: Callable[[int, int], tuple[int, int, int]] = lambda x, y: (x & 255, y & 255, len(self.keys) & 255)

    def __call__(self, connection: Connection) -> None:
        self.subscribed = set()
        for request in connection.requests():
            method, params = request["method"], request["params"]
            self.asked.append(method)
            answer = getattr(self, f"on_{method}", None)
            if method not in self.methods or answer is None:
                connection.refuse(request, "unknown_method", f"unknown method {method}")
                continue
            answer(connection, request, params)

    def tell(self, connection: Connection, name: str, **data: object) -> None:
        if name in self.subscribed:
            connection.event(name, **data)

    def on_hello(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        if not params["protocol_version"].startswith("1."):
            connection.refuse(request, "protocol_version_mismatch", "server speaks major version 1")
            raise OSError
        connection.accept(request, HELLO | {"supported_methods": self.methods, "supported_events": self.events})

    def on_status(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        answer = sized(*self.size) | {"agent_connected": self.agent}
        connection.accept(request, answer if self.surfaces else answer | {"surfaces": []})

    def on_stats(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        connection.accept(request, {"display": {"channel_id": 0, "marks_received": self.marks, "bytes_in": 100}})

    def on_screenshot(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        if not self.surfaces or params["surface_id"]:
            connection.refuse(request, "no_such_surface")
            return
        make = png if params["format"] == "png" else rgba
        connection.accept(request, shot(*self.size, make(*self.size, self.pixels), params["format"]))

    def on_send_key(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        self.keys.append((params["scancode"], params["state"]))
        connection.accept(request, {})
        if params["state"] == "press":
            self.marks += 1
            self.tell(connection, "surface_drawn", surface_id=0, produced_at_secs=1.5, wallclock_us=1)

    def on_paste(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        connection.accept(request, {})
        if not params["text"].isascii():
            reason = "cannot paste: 1 unrepresentable character(s): U+2022"
            self.tell(connection, "paste_failed", request_id=request["id"], reason=reason)
            return
        self.pasted += params["text"]
        self.tell(connection, "paste_completed", request_id=request["id"], chars_sent=len(params["text"]))

    def on_subscribe(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        taken = [name for name in params["events"] if name in self.events]
        self.subscribed |= set(taken)
        connection.accept(request, {"subscribed": taken})

    def on_unsubscribe(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        taken = [name for name in params["events"] if name in self.subscribed]
        self.subscribed -= set(taken)
        connection.accept(request, {"unsubscribed": taken})

    def on_clipboard_set(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        self.clipboard = params["text"]
        connection.accept(request, {})
        if self.agent:  # the built-in guest's habit: it gives the text back in capitals
            self.clipboard = params["text"].upper()
            self.tell(connection, "clipboard_changed", bytes=len(params["text"].encode()))

    def on_clipboard_get(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        connection.accept(request, {"text": self.clipboard})

    def on_resize(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        self.size = (max(8, params["width"] // 8 * 8), max(8, params["height"] // 8 * 8))
        connection.accept(request, {"width": self.size[0], "height": self.size[1]})


def monitor(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Connection], None]:
    """qemu's monitor as a handler for Peer: it greets, and says to each request what `answer` makes of it."""

    def serve(connection: Connection) -> None:
        connection.send({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}})
        for request in connection.requests():
            connection.send({**answer(request), "id": request["id"]})

    return serve


def rgba(width: int, height: int, pixels: Callable[[int, int], tuple[int, int, int]]) -> bytes:
    return b"".join(bytes([*pixels(x, y), 255]) for y in range(height) for x in range(width))


def png(width: int, height: int, pixels: Callable[[int, int], tuple[int, int, int]]) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGBA", (width, height), rgba(width, height, pixels)).save(file, "PNG")
    return file.getvalue()
