"""A client for qemu's machine protocol, QMP: one JSON object per line over a stream socket (qemu:
docs/interop/qmp-spec).

The server greets with {"QMP": ...}, takes qmp_capabilities, and answers each command with "return" or "error"; events
may arrive in between and are kept. One was seen before the greeting: qemu 7.2 sends them as soon as somebody connects
anew.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Collection
from typing import Any

from ..core.errors import LaneError, one_line
from .json_lines import Lines

MAX_LINE = 4 << 20  #: bytes; the longest answer that the lane asks for (query-chardev) has a few hundred
KEPT_EVENTS = 1000


class QmpError(LaneError):
    """QMP did not go as the protocol says: what arrived is not QMP, or what a subclass says; component qemu.

    where: the socket, or what else says which qemu this is.
    """

    code_of_kind = "qmp_garbage"

    def __init__(self, problem: str, where: str) -> None:
        super().__init__(self.code_of_kind, "qemu", f"{problem} (QMP on {where})", "look at logs/qemu.log")


class QmpClosed(QmpError):
    """Nothing answers on the socket, or qemu closed it, usually because the process has ended."""

    code_of_kind = "qmp_closed"


class QmpTimeout(QmpError):
    """No answer within the limit."""

    code_of_kind = "qmp_timeout"


class QmpRefused(QmpError):
    """qemu answered a command with an error; description: in its own words."""

    code_of_kind = "qmp_refused"

    def __init__(self, command: str, error_class: str, description: str, where: str) -> None:
        super().__init__(f"qemu refused the command {command}: {one_line(description, 300)} ({error_class})", where)
        self.description = description


_OF_KIND = {"unreachable": QmpClosed, "closed": QmpClosed, "timeout": QmpTimeout, "malformed": QmpError}


class Qmp:
    """One connection, ready for commands once it is made.

    connection: a connected socket. name: the socket's path, or what else tells a person which qemu this is. limit:
    seconds for each wait, unless a call says otherwise. events: those that arrived and were not taken yet, oldest
    first. version: of qemu, from its greeting.
    """

    def __init__(self, connection: socket.socket | None, name: str, limit: float = 5.0) -> None:
        self.name = name
        self.limit = limit
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._id = 0
        self._lines = Lines(name, "qemu", self._failed, max_line_bytes=MAX_LINE)
        deadline = time.monotonic() + limit
        try:
            if connection:
                self._lines.attach(connection)
            else:
                self._lines.connect(deadline)
            while "event" in (greeting := self._receive(deadline, "greeting")):
                self.events.append(greeting)
            try:
                number = greeting["QMP"]["version"]["qemu"]
                self.version = f"{number['major']}.{number['minor']}.{number['micro']}"
            except (KeyError, TypeError):
                raise QmpError(f"qemu did not greet but said {one_line(json.dumps(greeting), 200)}", name) from None
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    @classmethod
    def connect(cls, path: str, limit: float = 5.0) -> Qmp:
        """Connect to the unix socket `path`.

        Raises QmpClosed when nothing listens there, QmpTimeout when nothing answers.
        """
        return cls(None, path, limit)

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """The "return" value of a command.

        Raises QmpRefused, or another QmpError when there is none.
        """
        self._id += 1
        deadline = time.monotonic() + self.limit
        self._lines.send({"execute": command, "id": self._id, "arguments": arguments or {}}, deadline)
        while True:
            message = self._receive(deadline, f"answer to {command}")
            if "event" in message:
                self.events.append(message)
            elif "error" in message and message.get("id", self._id) == self._id:
                refusal = message["error"] if isinstance(message["error"], dict) else {}
                kind, words = (str(refusal.get(key, f"no {key}")) for key in ("class", "desc"))
                raise QmpRefused(command, kind, words, self.name)
            elif "return" not in message:
                raise QmpError(f"qemu answered {command} with {one_line(json.dumps(message), 200)}", self.name)
            elif message.get("id") == self._id:
                return message["return"]
            # Else: the late answer to a command that was given up.

    def event(self, names: Collection[str], limit: float) -> dict[str, Any] | None:
        """The next event with one of these names, kept or still to arrive; None when there is none within limit
        seconds.

        Events of other names are thrown away. Raises QmpClosed when qemu closes the connection first.
        """
        deadline = time.monotonic() + limit
        while True:
            while self.events:
                found = self.events.popleft()
                if found.get("event") in names:
                    return found
            message = self._lines.receive(deadline)
            if message is None:
                return None
            if "event" in message:
                self.events.append(message)

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, deadline: float, what: str) -> dict[str, Any]:
        message = self._lines.receive(deadline)
        if message is None:
            raise QmpTimeout(f"qemu gave no {what} within the limit", self.name)
        return message

    def _failed(self, kind: str, problem: str, sample: str) -> LaneError:
        return _OF_KIND[kind](f"{problem}: {one_line(sample, 200)}" if sample else problem, self.name)
