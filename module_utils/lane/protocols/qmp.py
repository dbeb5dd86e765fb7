"""A client for qemu's machine protocol, QMP: one JSON value per line over a stream socket (qemu: docs/interop/qmp-spec).

The server greets with {"QMP": ...}, takes qmp_capabilities, and answers each command with "return" or "error"; events may come in
between and are kept. Every wait has a deadline and every line a greatest length, so a qemu that hangs or talks nonsense costs no
more than the limit.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Collection
from types import TracebackType
from typing import Any

from ..core.errors import LaneError, one_line

MAX_LINE = 4 << 20  #: bytes; the longest answer that the lane asks for (query-chardev) has a few hundred
KEPT_EVENTS = 1000


class QmpError(LaneError):
    """QMP did not go as the protocol says; component qemu."""

    def __init__(self, expected: str, got: str, where: str) -> None:
        super().__init__("unclassified", "qemu", f"expected {expected}, but {got}", f"look at {where}")
        self.expected, self.got, self.where = expected, got, where


class QmpClosed(QmpError):
    """Nobody answers on the socket, or qemu closed it: mostly because the process has ended."""


class QmpTimeout(QmpError):
    """No answer within the limit."""


class QmpGarbage(QmpError):
    """What came is no QMP."""


class QmpRefused(QmpError):
    """qemu answered a command with an error; error_class and description are its own words."""

    def __init__(self, command: str, error_class: str, description: str, where: str) -> None:
        super().__init__(f"qemu to carry out {command}", f"it refused: {one_line(description, 300)} ({error_class})", where)
        self.error_class = error_class
        self.description = description


class Qmp:
    """One connection, ready for commands once it is made.

    name: the socket's path, or what else tells a person which qemu this is. limit: seconds for each wait, unless a call says otherwise.
    events: what has come and not been taken by `event` yet, oldest first, at most KEPT_EVENTS. version: of qemu, from its greeting.
    """

    def __init__(self, connection: socket.socket, name: str, limit: float = 5.0) -> None:
        self.name = name
        self.limit = limit
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._socket = connection
        self._pending = b""
        self._id = 0
        try:
            greeting = self._read(time.monotonic() + limit, "qemu's greeting")
            try:
                number = greeting["QMP"]["version"]["qemu"]
                self.version = f"{number['major']}.{number['minor']}.{number['micro']}"
            except (KeyError, TypeError):
                raise QmpGarbage("qemu's greeting", f"this came: {one_line(json.dumps(greeting), 200)}", name) from None
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    @classmethod
    def connect(cls, path: str, limit: float = 5.0) -> Qmp:
        """Connect to the unix socket `path`. Raises QmpClosed when nobody listens there, QmpTimeout when nobody accepts."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(limit)
        expected = f"qemu to accept on its QMP socket {path}"
        try:
            connection.connect(path)
        except TimeoutError:
            connection.close()
            raise QmpTimeout(expected, f"it did not within {limit:g} s", path) from None
        except OSError as error:
            connection.close()
            raise QmpClosed(expected, error.strerror or str(error), path) from None
        return cls(connection, path, limit)

    def execute(self, command: str, arguments: dict[str, Any] | None = None, limit: float | None = None) -> Any:
        """The "return" value of a command. Raises QmpRefused, or QmpClosed, QmpTimeout, QmpGarbage when none comes."""
        self._id += 1
        request: dict[str, Any] = {"execute": command, "id": self._id}
        if arguments:
            request["arguments"] = arguments
        seconds = self.limit if limit is None else limit
        deadline = time.monotonic() + seconds
        expected = f"qemu to answer {command}"
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except TimeoutError:
            raise QmpTimeout(expected, f"it took no request for {seconds:g} s", self.name) from None
        except OSError as error:
            raise QmpClosed(expected, f"the connection is broken ({error.strerror})", self.name) from None
        while True:
            message = self._read(deadline, expected)
            if "event" in message:
                self.events.append(message)
            elif "error" in message and message.get("id", self._id) == self._id:
                refusal = message["error"] if isinstance(message["error"], dict) else {}
                raise QmpRefused(command, str(refusal.get("class", "no class")), str(refusal.get("desc", "no reason given")), self.name)
            elif "return" not in message:
                raise QmpGarbage(expected, f"this came: {one_line(json.dumps(message), 200)}", self.name)
            elif message.get("id") == self._id:
                return message["return"]
            # Else: the late answer to a command that was given up.

    def event(self, names: Collection[str], limit: float) -> dict[str, Any] | None:
        """The next event with one of these names, kept or still to come; None when there is none within limit seconds.

        Events of other names are thrown away. Raises QmpClosed when qemu closes the connection first.
        """
        deadline = time.monotonic() + limit
        while True:
            while self.events:
                found = self.events.popleft()
                if found.get("event") in names:
                    return found
            try:
                message = self._read(deadline, f"one of the events {', '.join(sorted(names))}")
            except QmpTimeout:
                return None
            if "event" in message:
                self.events.append(message)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read(self, deadline: float, expected: str) -> dict[str, Any]:
        """The next message that is not an empty line."""
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if len(line) > MAX_LINE:
                raise QmpGarbage(expected, f"a line longer than {MAX_LINE} bytes came", self.name)
            if newline:
                self._pending = rest
                if line.strip():
                    return self._parse(line, expected)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpTimeout(expected, "nothing came within the limit", self.name)
            self._socket.settimeout(left)
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise QmpClosed(expected, f"the connection broke ({error.strerror})", self.name) from None
            if not piece:
                raise QmpClosed(expected, "qemu closed the connection", self.name)
            self._pending += piece

    def _parse(self, line: bytes, expected: str) -> dict[str, Any]:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise QmpGarbage(expected, f"this came: {one_line(line[:200].decode(errors='replace'))}", self.name)
        return message
