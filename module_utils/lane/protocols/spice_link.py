"""A bare SPICE client for one channel: it links, and then sends and receives messages as they are (spice-protocol:
protocol.h).

It draws nothing and knows no message; the suites use it for what no real client sends. Every wait has a deadline.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..core.layout import ADDRESS

MAGIC = b"REDQ"
#: Common capabilities: choice of the authentication, SPICE's own, short message headers.
CAPABILITIES = 0b1011
AUTH_SPICE = 1
KEY_BYTES = 162
#: Bytes of the largest message that is taken.
LARGEST = 64 << 20
#: Seconds between two pieces of a message.
PAUSE = 0.01
#: Seconds to connect, to send, and for each part of the answer to a link.
LIMIT = 8.0
_NAMES = "main display inputs cursor playback record tunnel smartcard usbredir port webdav"
CHANNELS = {name: number for number, name in enumerate(_NAMES.split(), 1)}
#: Words for the results of a link, from 0 on (SpiceLinkErr).
_RESULTS = "ok, error, invalid magic, invalid data, version mismatch, TLS needed, no TLS needed, permission denied"
RESULTS = _RESULTS.split(", ")
PERMISSION_DENIED = 7
#: The main channel's first message, which begins with the session's id for the other channels (SpiceMsgMainInit).
MAIN_INIT = 103


class LinkClosed(Exception):
    """The peer closed the connection, or there is none; the text is a clause."""


class LinkRefused(Exception):
    """The peer answered the link with an error."""

    def __init__(self, result: int) -> None:
        words = RESULTS[result] if result < len(RESULTS) else "unknown"
        super().__init__(f"link result {result} ({words})")
        self.result = result


class Link:
    """One connection. ca: the certificate (PEM) that the peer's has to be signed by, or None for no TLS; source: the
    address to connect from, or "" for any.
    """

    def __init__(self, port: int, ca: str | None, source: str = "") -> None:
        self.session = 0
        try:
            plain = socket.create_connection((ADDRESS, port), LIMIT, (source, 0) if source else None)
        except OSError as error:
            raise LinkClosed(f"connecting failed: {error.strerror or error}") from None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: socket.socket = plain
        if ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False  # SPICE compares the subject, and who tests that uses a real client
            context.load_verify_locations(cadata=ca)
            try:
                self.socket = context.wrap_socket(plain)
            except OSError as error:
                plain.close()
                raise LinkClosed(f"TLS failed: {error}") from None

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def hello(self, channel: int, session: int = 0, capabilities: int = CAPABILITIES) -> None:
        """Send the link message, the first of the protocol."""
        body = struct.pack("<IBBIIII", session, channel, 0, 1, 0, 18, capabilities)
        self.send_raw(MAGIC + struct.pack("<III", 2, 2, len(body)) + body)

    def link(self, channel: int, password: str, session: int = 0, capabilities: int = CAPABILITIES) -> None:
        """Link as this channel. Raises LinkRefused with the peer's result, LinkClosed when it hangs up."""
        self.hello(channel, session, capabilities)
        magic, _, _, size = struct.unpack("<4sIII", self._exactly(16))
        if magic != MAGIC or size > 4096:
            raise LinkClosed("the peer does not speak SPICE")
        reply = self._exactly(size)
        _accepted(reply)
        key = serialization.load_der_public_key(reply[4 : 4 + KEY_BYTES])
        assert isinstance(key, rsa.RSAPublicKey)
        sha1 = hashes.SHA1()  # noqa: S303 - the protocol has no other
        scheme = padding.OAEP(mgf=padding.MGF1(sha1), algorithm=sha1, label=None)
        self.send_raw(struct.pack("<I", AUTH_SPICE) + key.encrypt(password.encode() + b"\0", scheme))
        _accepted(self._exactly(4))
        if channel == CHANNELS["main"]:
            kind, body = self.receive(time.monotonic() + LIMIT)
            if kind != MAIN_INIT or len(body) < 4:
                raise LinkClosed(f"the main channel began with message {kind}")
            (self.session,) = struct.unpack_from("<I", body)

    def send(
        self, kind: int, body: bytes = b"", size: int | None = None, before: bytes = b"", pieces: tuple[int, ...] = ()
    ) -> None:
        """Send a message; size: what its header says, when that is not the length of the body; before: what goes with
        it in one write; pieces: bytes that go first, each for itself, as over a slow network.
        """
        data = before + struct.pack("<HI", kind, len(body) if size is None else size) + body
        for piece in pieces:
            self.send_raw(data[:piece])
            data = data[piece:]
            time.sleep(PAUSE)
        self.send_raw(data)

    def send_raw(self, data: bytes) -> None:
        try:
            self.socket.settimeout(LIMIT)
            self.socket.sendall(data)
        except OSError as error:
            raise LinkClosed(f"the peer closed the connection ({error})") from None

    def receive(self, deadline: float) -> tuple[int, bytes]:
        """The next message's type and body.

        Raises LinkClosed, or TimeoutError at the deadline (a point of time.monotonic()).
        """
        kind, size = struct.unpack("<HI", self._exactly(6, deadline))
        if size > LARGEST:
            raise LinkClosed(f"the peer announced a message of {size} bytes")
        return kind, self._exactly(size, deadline)

    def closed(self, deadline: float) -> bool:
        """Whether the peer closes the connection by the deadline; what it sends until then is thrown away."""
        try:
            while True:
                self._some(65536, deadline)
        except LinkClosed:
            return True
        except TimeoutError:
            return False

    def _exactly(self, size: int, deadline: float | None = None) -> bytes:
        end = time.monotonic() + LIMIT if deadline is None else deadline
        data = b""
        while len(data) < size:
            data += self._some(size - len(data), end)
        return data

    def _some(self, most: int, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came by the deadline")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(most)
        except TimeoutError:
            raise
        except OSError as error:
            raise LinkClosed(f"the connection broke ({error})") from None
        if not data:
            raise LinkClosed("the peer closed the connection")
        return data


def _accepted(reply: bytes) -> None:
    """Raise LinkRefused unless the reply begins with the result 0."""
    (result,) = struct.unpack_from("<I", reply)
    if result:
        raise LinkRefused(result)
