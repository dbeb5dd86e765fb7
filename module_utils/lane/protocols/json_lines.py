"""JSON objects, one per line, over a unix stream socket: every wait ends at a deadline, every line has a maximum
length.

Shared by ryll's control socket and qemu's monitor. Deadlines are points of time.monotonic(), in seconds.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..core.errors import LaneError, one_line

#: The longest path that a unix socket can have, in bytes (unix(7): 108 with the closing NUL).
LONGEST_PATH = 107
#: Seconds between two looks at the watched process: nothing reports a SIGSTOP to other processes.
LOOK_EVERY = 0.1
#: Seconds between two attempts to connect while the socket is awaited.
RETRY_EVERY = 0.02
_PIECE = 1 << 18
#: Why a connection cannot be made, as long as it may still come.
_NOT_YET = {
    FileNotFoundError: "it does not exist",
    ConnectionRefusedError: "nothing listens on it",
    BlockingIOError: "its queue is full and nothing accepts",
}


class Watched(Protocol):
    """The process behind the socket. `look` raises when it is lost, `settle` gives it a moment to end first."""

    def fileno(self) -> int | None: ...
    def look(self) -> None: ...
    def settle(self) -> None: ...


class Lines:
    """One connection to a peer. Memory is bounded by max_line_bytes and one read more.

    peer: how messages call the other side, such as "ryll". fail: makes the exception for a kind ("unreachable",
    "closed", "timeout", "malformed"), a problem (a clause) and a sample of what the peer sent.
    """

    def __init__(
        self,
        path: str,
        peer: str,
        fail: Callable[[str, str, str], LaneError],
        *,
        max_line_bytes: int = 64 << 20,
        watch: Watched | None = None,
    ) -> None:
        self.path = path
        self.peer = peer
        self.max_line_bytes = max_line_bytes
        self._fail = fail
        self._watch = watch
        self._next_look = 0.0
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._scanned = 0
        self._ended = False

    def connect(self, deadline: float, connect_wait: float = 0.0) -> None:
        """Connect, trying again for `connect_wait` seconds while nothing is there or nothing listens.

        Raises "unreachable" with the reason, or what the watched process raises when it ends meanwhile.
        """
        self.close()
        until = min(deadline, time.monotonic() + connect_wait)
        while (reason := self._try_connect()) is not None:
            if self._watch:
                self._watch.look()
            left = until - time.monotonic()
            if left <= 0:
                waited = f" after {connect_wait:g} s" if connect_wait else ""
                raise self._unreachable(f"{reason}{waited}")
            self._poll(min(left, RETRY_EVERY))

    def attach(self, connected: socket.socket) -> None:
        """Take a socket that is connected already."""
        connected.setblocking(False)
        self._socket = connected

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self._buffer.clear()
        self._scanned = 0
        self._ended = False

    def send(self, message: dict[str, Any], deadline: float) -> None:
        """Send an object; see send_text."""
        self.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")) + "\n", deadline)

    def send_text(self, text: str, deadline: float) -> None:
        """Send a text. What the peer says meanwhile is read and kept, so that neither waits for the other.

        A peer that has closed is not an error here: what it said before (such as "busy") is still to be read by
        `receive`.
        """
        line = text.encode()
        if self._socket is None:
            raise self._fail("closed", f"there is no connection to {self.peer}", "")
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
                continue
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return
            if time.monotonic() >= deadline:
                problem = f"{self.peer} does not read its socket: {len(rest)} of {len(line)} bytes are left"
                raise self._fail("timeout", problem, "")
            self._await(deadline, writing=True)

    def receive(self, deadline: float) -> dict[str, Any] | None:
        """The next object, or None when none was complete at the deadline; what has arrived already is read in any
        case. Empty lines are skipped.
        """
        while (line := self.line(deadline)) is not None:
            if line.strip():
                return self._parse(line)
            if time.monotonic() > deadline:
                break
        return None

    def line(self, deadline: float) -> bytes | None:
        """The next line without its end, or None when none was complete at the deadline."""
        late = False
        while True:
            at = self._buffer.find(b"\n", self._scanned)
            if at > self.max_line_bytes or (at < 0 and len(self._buffer) > self.max_line_bytes):
                problem = f"{self.peer} sent a line of more than {self.max_line_bytes} bytes"
                raise self._fail("malformed", problem, self._buffer[:100].decode("utf-8", "replace"))
            if at >= 0:
                found = bytes(self._buffer[:at])
                del self._buffer[: at + 1]
                self._scanned = 0
                return found
            self._scanned = len(self._buffer)
            if self._ended:
                raise self._closed()
            if late:
                return None
            self._await(deadline)
            late = time.monotonic() >= deadline

    def ready(self) -> bool:
        """Whether `receive` has something to look at without waiting: bytes, or the end of the connection."""
        return b"\n" in self._buffer or self._ended or bool(self._socket and self._poll(0.0, reading=True))

    @property
    def connected(self) -> bool:
        """Whether there is a connection; the peer may have ended it already."""
        return self._socket is not None

    def idle(self, until: float) -> None:
        """Let time pass without reading, watching the process."""
        while (left := until - time.monotonic()) > 0:
            self._poll(left)

    @property
    def unfinished(self) -> int:
        """Bytes of a line whose end has not arrived yet."""
        return len(self._buffer) - self._buffer.rfind(b"\n") - 1

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            message = json.loads(line)
        except UnicodeDecodeError as error:
            why = f"byte {error.start + 1} is not UTF-8"
        except json.JSONDecodeError as error:
            why = f"it is not JSON at character {error.pos + 1}"
        except (ValueError, RecursionError) as error:
            why = f"it cannot be read ({one_line(str(error), 80)})"
        else:
            if isinstance(message, dict):
                return message
            why = "it is not a JSON object"
        problem = f"{self.peer} sent a line that cannot be used: {why}"
        raise self._fail("malformed", problem, line[:200].decode("utf-8", "replace"))

    def _unreachable(self, reason: str) -> LaneError:
        return self._fail("unreachable", f"{self.peer}'s socket {self.path} cannot be reached: {reason}", "")

    def _closed(self) -> LaneError:
        if self._watch:
            self._watch.settle()
        cut = f" in the middle of a line, {len(self._buffer)} bytes after the last whole one" if self._buffer else ""
        return self._fail("closed", f"{self.peer} closed the connection{cut}", "")

    def _try_connect(self) -> str | None:
        """Connect; None when that worked, else why not. Raises "unreachable" for what waiting cannot change."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.setblocking(False)
        try:
            link.connect(self.path)
        except OSError as error:
            link.close()
            if os.path.isfile(self.path):
                raise self._unreachable("it is not a socket") from None
            if reason := _NOT_YET.get(type(error)):
                return reason
            raise self._unreachable(error.strerror or str(error)) from None
        self._socket = link
        return None

    def _await(self, deadline: float, writing: bool = False) -> None:
        """Wait until there is something to read or, if wanted, room to write; read what has arrived."""
        left = deadline - time.monotonic()
        reading = not self._ended and len(self._buffer) <= self.max_line_bytes
        happened = self._poll(max(0.0, left), reading=reading, writing=writing)
        if not happened & (select.POLLIN | select.POLLHUP | select.POLLERR) or not reading or self._socket is None:
            return
        try:
            piece = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        except ConnectionResetError:
            piece = b""
        self._buffer += piece
        self._ended = not piece

    def _poll(self, seconds: float, *, reading: bool = False, writing: bool = False) -> int:
        """poll(2) for the socket and the watched process, at most `seconds`, at most LOOK_EVERY when a process is
        watched.
        """
        poll = select.poll()
        if self._socket and (reading or writing):
            poll.register(self._socket, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
        if self._watch:
            seconds = min(seconds, LOOK_EVERY)
            if (ending := self._watch.fileno()) is not None:
                poll.register(ending, select.POLLIN)
        found = dict(poll.poll(seconds * 1000))
        mine = found.get(self._socket.fileno(), 0) if self._socket else 0
        if self._watch and not mine and (found or time.monotonic() >= self._next_look):
            self._next_look = time.monotonic() + LOOK_EVERY
            self._watch.look()
        return mine
