"""Lines over a unix stream socket: every wait ends at a deadline, every line has a most length, the process is watched meanwhile.

Deadlines are points of time.monotonic(), in seconds.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time

from .errors import BadSteps, Closed, Malformed, TimedOut, Unreachable
from .ryll_process import LOOK_EVERY, Watch

#: The longest path that a unix socket can have, in bytes (unix(7): 108 with the closing NUL).
LONGEST_PATH = 107
MAX_LINE_BYTES = 64 << 20
#: Seconds between two tries to connect while the socket is awaited.
RETRY_EVERY = 0.02
_PIECE = 1 << 18


def check_path(path: str) -> None:
    """Raise BadSteps when no unix socket can have this path."""
    if not path or "\0" in path:
        raise BadSteps("the path of a unix socket", "it is empty" if not path else "it holds a NUL character")
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise BadSteps("the path of a unix socket", "it has half of a surrogate pair") from None
    if size > LONGEST_PATH:
        raise BadSteps(f"a socket path of at most {LONGEST_PATH} bytes", f"{path} has {size}")


class Wire:
    """One connection. Lines come without their newline; memory is bounded by max_line_bytes and one read more."""

    def __init__(self, path: str, *, max_line_bytes: int = MAX_LINE_BYTES, watch: Watch | None = None) -> None:
        check_path(path)
        self.path = path
        self.max_line_bytes = max_line_bytes
        self._watch = watch
        self._next_look = 0.0
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._scanned = 0
        self._ended = False

    def connect(self, deadline: float, patience: float = 0.0) -> None:
        """Connect, trying again for `patience` seconds while nothing is there or nobody listens.

        Raises Unreachable with the reason, or ProcessLost when the watched process ends meanwhile.
        """
        self.close()
        until = min(deadline, time.monotonic() + patience)
        while (reason := self._try_connect()) is not None:
            if self._watch:
                self._watch.look()
            left = until - time.monotonic()
            if left <= 0:
                waited = f" after {patience:g} s" if patience else ""
                raise Unreachable(f"ryll's control socket at {self.path}", f"{reason}{waited}")
            self._poll(min(left, RETRY_EVERY))

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self._buffer.clear()
        self._scanned = 0
        self._ended = False

    def send(self, line: bytes, deadline: float) -> None:
        """Send a whole line. What the peer says meanwhile is read and kept, so that neither waits for the other.

        A peer that has closed is not an error here: what it said before (as "busy") is still to be read by `line`.
        """
        link = self._link()
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[link.send(rest) :]
                continue
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return
            if time.monotonic() >= deadline:
                raise TimedOut("ryll to read its control socket", f"it left {len(rest)} of {len(line)} bytes unread")
            self._await(deadline, writing=True)

    def ready(self) -> bool:
        """Whether `line` has something to look at without waiting: bytes, or the end of the connection."""
        return b"\n" in self._buffer or self._ended or bool(self._socket and self._poll(0.0, reading=True))

    def line(self, deadline: float) -> bytes | None:
        """The next line, or None when none was whole at the deadline; what is there already is read in any case.

        Raises Closed, Malformed, ProcessLost.
        """
        late = False
        while True:
            at = self._buffer.find(b"\n", self._scanned)
            if at > self.max_line_bytes or (at < 0 and len(self._buffer) > self.max_line_bytes):
                raise Malformed(f"lines of at most {self.max_line_bytes} bytes", "one is longer", sample=self._buffer[:100].decode("utf-8", "replace"))
            if at >= 0:
                found = bytes(self._buffer[:at])
                del self._buffer[: at + 1]
                self._scanned = 0
                return found
            self._scanned = len(self._buffer)
            if self._ended:
                self._closed()
            if late:
                return None
            self._await(deadline)
            late = time.monotonic() >= deadline

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
        """Bytes of a line whose end has not come yet."""
        return len(self._buffer) - self._buffer.rfind(b"\n") - 1

    def _try_connect(self) -> str | None:
        """Connect; None when that worked, else why not. Raises Unreachable for what waiting cannot mend."""
        expected = f"ryll's control socket at {self.path}"
        try:
            if not stat.S_ISSOCK(os.stat(self.path).st_mode):
                raise Unreachable(expected, "what is there is not a socket", self.path)
        except FileNotFoundError:
            return "nothing is there"
        except OSError as error:
            raise Unreachable(expected, f"the system said {error.strerror}", self.path) from None
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.setblocking(False)
        try:
            link.connect(self.path)
        except FileNotFoundError:
            reason = "nothing is there"
        except ConnectionRefusedError:
            reason = "nobody listens on the socket that is there"
        except BlockingIOError:
            reason = "the socket's queue is full and nobody accepts"
        except OSError as error:
            link.close()
            raise Unreachable(expected, f"the system said {error.strerror}", self.path) from None
        else:
            self._socket = link
            return None
        link.close()
        return reason

    def _link(self) -> socket.socket:
        if self._socket is None:
            raise Closed("a connection to ryll's control socket", "there is none")
        return self._socket

    def _await(self, deadline: float, writing: bool = False) -> None:
        """Wait until there is something to read or, if wanted, room to write; read what came."""
        left = deadline - time.monotonic()
        full = len(self._buffer) > self.max_line_bytes
        reading = not self._ended and not full
        happened = self._poll(max(0.0, left), reading=reading, writing=writing)
        if not happened & (select.POLLIN | select.POLLHUP | select.POLLERR) or not reading:
            return
        try:
            piece = self._link().recv(_PIECE)
        except BlockingIOError:
            return
        except ConnectionResetError:
            piece = b""
        self._buffer += piece
        self._ended = not piece

    def _poll(self, seconds: float, *, reading: bool = False, writing: bool = False) -> int:
        """poll(2) for the socket and the watched process, at most `seconds`, at most LOOK_EVERY when a process is watched."""
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

    def _closed(self) -> None:
        if self._watch:
            self._watch.settle()
        cut = f" in mid-line, {len(self._buffer)} bytes after the last whole line" if self._buffer else ""
        raise Closed("ryll to keep the connection", f"it closed it{cut}")
