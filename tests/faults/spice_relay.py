"""Stands between kerbside-proxy and qemu, knows where each SPICE message begins, and does one thing wrong with them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

#: (to_server, channel type, message type, body) -> the bodies to pass on instead; the message's type stays.
Change = Callable[[bool, int, int, bytes], list[bytes]]
#: Display's messages that draw a picture of their own (SPICE_MSG_DISPLAY_DRAW_COPY), and how it may be packed
#: (SpiceImageType).
DRAW_COPY = 304
IMAGES = {"bitmap": 0, "quic": 1, "lz_palette": 100, "lz": 101, "glz": 102, "lz4": 109}
MAIN_INIT, KEY_DOWN = 103, 101
CHANNELS = {"main": 1, "display": 2, "inputs": 3, "cursor": 4}


class Relay:
    """Listens on the port `own`, or any, and passes everything on to `port`."""

    def __init__(self, port: int, change: Change, own: int = 0) -> None:
        self._target, self._change = port, change
        self._server = socket.create_server(("127.0.0.1", own))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Free the port at once: a socket that a thread accepts on listens on after a mere close()."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pair, args=(client,), daemon=True).start()

    def _pair(self, client: socket.socket) -> None:
        try:
            qemu = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        link = Link()
        for end in (client, qemu):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, to_server in ((client, qemu, True), (qemu, client, False)):
            threading.Thread(target=self._pass, args=(source, sink, to_server, link), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, to_server: bool, link: Link) -> None:
        try:
            for piece in link.pieces(source, to_server, self._change):
                sink.sendall(piece)
        except (OSError, EOFError):
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Link:
    """One connection: the link and its authentication pass as they are, then there are messages with short headers."""

    def __init__(self) -> None:
        self.channel = 0

    def pieces(self, source: socket.socket, to_server: bool, change: Change) -> Iterator[bytes]:
        head = exactly(source, 16)
        body = exactly(source, struct.unpack_from("<I", head, 12)[0])
        if to_server:
            self.channel = body[4]
        yield head + body
        yield exactly(source, 4 + 128 if to_server else 4)  # the mechanism and the encrypted ticket; the answer
        while True:
            kind, size = struct.unpack("<HI", exactly(source, 6))
            for passed in change(to_server, self.channel, kind, exactly(source, size)):
                yield struct.pack("<HI", kind, len(passed)) + passed


def image(kind: int, body: bytes) -> int | None:
    """How the image of a message is packed: after surface, box and clip comes the offset of its descriptor."""
    if kind != DRAW_COPY:
        return None
    at = 21 + (4 + 16 * struct.unpack_from("<I", body, 21)[0] if body[20] else 0)
    return body[struct.unpack_from("<I", body, at)[0] + 8]


def exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def change(rule: dict[str, Any]) -> Change:
    """What a rule does wrong.

    Which messages it changes: those of `channel`, sent `to` the server or the client; of `types` only, if given; of
    these only draws whose image is packed in one of the ways of `images`, or surfaces of `size` (width, height).
    From when on: after `typed` keys were pressed in the session, `later` seconds after the last key, and when no such
    message has come for `still` seconds.
    How: `drop` (true for all, or the numbers of those to drop, counted from 1), `double` (numbers), `delay` (seconds),
    `flip` (turn the lowest bit of this byte, counted from the end, where more than `longer` bytes come before it).
    """
    wanted = (rule["to"] == "server", CHANNELS[rule["channel"]])
    counted, pressed, since, last = 0, 0, 0.0, 0.0

    def wrong(to_server: bool, channel: int, kind: int, body: bytes) -> list[bytes]:
        nonlocal counted, pressed, since, last
        if (channel, kind) == (CHANNELS["main"], MAIN_INIT) and not to_server:
            pressed = 0
        if (channel, kind) == (CHANNELS["inputs"], KEY_DOWN) and to_server:
            pressed, since = pressed + 1, time.monotonic()
        if pressed < rule.get("typed", 0) or time.monotonic() - since < rule.get("later", 0):
            return [body]
        if (to_server, channel) != wanted or kind not in rule.get("types", (kind,)):
            return [body]
        if "images" in rule and image(kind, body) not in [IMAGES[name] for name in rule["images"]]:
            return [body]
        if "size" in rule and struct.unpack_from("<II", body, 4) != tuple(rule["size"]):
            return [body]
        if not counted and (last + rule.get("still", 0)) > time.monotonic():
            last = time.monotonic()
            return [body]
        counted += 1
        time.sleep(rule.get("delay", 0))
        if rule.get("drop") is True or counted in (rule.get("drop") or ()):
            return []
        if counted in rule.get("double", ()):
            return [body, body]
        if rule.get("flip") and len(body) > rule["flip"] + rule.get("longer", 0):
            changed = bytearray(body)
            changed[-rule["flip"]] ^= 1
            return [bytes(changed)]
        return [body]

    return wrong
