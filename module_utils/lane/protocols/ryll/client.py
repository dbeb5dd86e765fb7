"""Requests, answers and events of the control socket. Deadlines are points of time.monotonic(), in seconds."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..json_lines import Lines
from .errors import Closed, Malformed, Refused, TimedOut, Unsupported, failed
from .replies import Hello, take, whole
from .ryll_process import Watch

PROTOCOL_VERSION = "1.0"
#: The longest line that is taken from ryll. A picture is one line.
MAX_LINE_BYTES = 64 << 20
#: Events that are kept until a step asks for them; of more, the oldest are dropped, and counted.
MOST_EVENTS = 10_000
MOST_EVENT_BYTES = 8 << 20
#: Longer names of events, and more of them, are only counted.
LONGEST_NAME = 100
MOST_NAMES = 100
DRAIN = 0.05
#: About what Python needs for an event besides its characters.
EVENT_BYTES = 500
_CODE = re.compile(r"[a-z0-9_]{1,60}")


@dataclass(frozen=True)
class Event:
    """One event. number: 1 for the first of the session; arrived: point of time.monotonic(); size: about the bytes that
    it needs in memory.
    """

    number: int
    arrived: float
    name: str
    data: dict[str, Any]
    size: int


class Events:
    """The events of a session in order of arrival, bounded in number and bytes."""

    def __init__(self) -> None:
        self.kept: deque[Event] = deque()
        self.seen: Counter[str] = Counter()
        self.dropped_by_server = 0
        self.lost_here = 0
        self.listener: Callable[[Event], None] | None = None
        self._bytes = 0
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the newest event so far."""
        return self._last

    def add(self, name: str, data: dict[str, Any], size: int) -> None:
        self._last += 1
        known = name in self.seen or (len(self.seen) < MOST_NAMES and len(name) <= LONGEST_NAME)
        self.seen[name if known else "(others)"] += 1
        if name == "dropped":
            self.dropped_by_server += whole(data, "count", "the event `dropped`")
        event = Event(self._last, time.monotonic(), name, data, size)
        self.kept.append(event)
        if self.listener:
            self.listener(event)
        self._bytes += size
        while len(self.kept) > MOST_EVENTS or self._bytes > MOST_EVENT_BYTES:
            self._bytes -= self.kept.popleft().size
            self.lost_here += 1

    def take(self, wanted: Callable[[Event], bool], after: int = 0) -> Event | None:
        """Remove and return the oldest event that is wanted, of those with a number above `after`."""
        for at in range(bisect_right(self.kept, after, key=lambda event: event.number), len(self.kept)):
            event = self.kept[at]
            if wanted(event):
                del self.kept[at]
                self._bytes -= event.size
                return event
        return None


class Client:
    """One client of ryll's control socket.

    Use: `with Client(path) as ryll: ryll.connect(d); ryll.hello("me", d); ryll.request("status", {}, d)`, where d is a
    deadline. Every method ends by its deadline; every failure is a ControlError.
    """

    def __init__(self, path: str, *, max_line_bytes: int = MAX_LINE_BYTES, watch: Watch | None = None) -> None:
        self.wire = Lines(path, "ryll", failed, max_line_bytes=max_line_bytes, watch=watch)
        self.events = Events()
        self.server: Hello | None = None
        self.subscribed: list[str] = []
        self._last_id = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, deadline: float, connect_wait: float = 0.0) -> None:
        """A new connection, without hello; see Lines.connect."""
        self.server = None
        self.subscribed = []
        self.wire.connect(deadline, connect_wait)

    def close(self) -> None:
        self.wire.close()

    def hello(self, client_name: str, deadline: float, protocol_version: str = PROTOCOL_VERSION) -> Hello:
        """Open the conversation and learn what the server can do.

        Raises Refused ("busy") when it serves another client.
        """
        result = self.request("hello", {"client_name": client_name, "protocol_version": protocol_version}, deadline)
        self.server = Hello.read(result)
        return self.server

    def open(self, client_name: str, deadline: float, busy_limit: float = 1.0) -> Hello:
        """Connect and say hello; while ryll serves another client (`./lane shot`), try again for busy_limit seconds."""
        until = min(time.monotonic() + busy_limit, deadline)
        while True:
            self.connect(deadline)
            try:
                return self.hello(client_name, deadline)
            except Refused as error:
                if error.refusal != "busy" or time.monotonic() >= until:
                    raise
            self.close()
            self.wire.idle(time.monotonic() + 0.05)

    def need(self, methods: Iterable[str] = (), events: Iterable[str] = ()) -> None:
        """Raise Unsupported for the first method or event that the server did not list in its answer to hello."""
        for kind, wanted, listed in (
            ("verb", methods, self.server.methods if self.server else ()),
            ("event", events, self.server.events if self.server else ()),
        ):
            for name in wanted:
                if name not in listed:
                    raise Unsupported(f"this ryll has no {kind} `{name}`; it lists {', '.join(listed) or 'none'}")

    def request(self, method: str, params: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Ask and return the result; events that arrive before it are kept.

        Raises Refused with ryll's code, or another ControlError.
        """
        return self.answer(method, self.ask(method, params, deadline), deadline)

    def ask(self, method: str, params: dict[str, Any], deadline: float) -> int:
        """Send a request and return its id, without waiting for the answer."""
        self._last_id += 1
        self.wire.send({"id": self._last_id, "method": method, "params": params}, deadline)
        return self._last_id

    def answer(self, method: str, number: int, deadline: float) -> dict[str, Any]:
        """The result of the request with this id, which is the only one that may be open."""
        began = time.monotonic()
        events = self.events.last
        while (message := self._message(deadline)) is not None:
            if "event" not in message:
                return self._result(method, number, message)
            if time.monotonic() > deadline:
                break
        count = self.events.last - events
        parts = [f"{count} events arrived but no answer" if count else "nothing arrived"]
        if self.wire.unfinished:
            parts.append(f"{self.wire.unfinished} bytes of an unfinished line are there")
        raise TimedOut(
            f"ryll did not answer `{method}` within {round(deadline - began, 1) or 0.1:g} s: {', '.join(parts)}"
        )

    def subscribe(self, events: list[str], deadline: float) -> list[str]:
        """Subscribe, and make sure that the server took each of them."""
        taken = self._list("subscribe", "subscribed", events, deadline)
        self.subscribed += [name for name in events if name not in self.subscribed]
        return taken

    def unsubscribe(self, events: list[str], deadline: float) -> list[str]:
        taken = self._list("unsubscribe", "unsubscribed", events, deadline)
        self.subscribed = [name for name in self.subscribed if name not in events]
        return taken

    def pump(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Keep what arrives until a point of time, or until there is enough.

        Raises Malformed for an answer that nobody asked for.
        """
        while not enough() and time.monotonic() <= until:
            message = self._message(until)
            if message is None:
                return
            if "event" not in message:
                self._unasked(message)

    def drain(self) -> None:
        """Take what is there to be read now, without waiting; for DRAIN seconds at most, however much there is."""
        self.pump(time.monotonic() + DRAIN, self._dry)

    def _dry(self) -> bool:
        return not self.wire.ready()

    def _list(self, method: str, key: str, events: list[str], deadline: float) -> list[str]:
        result = self.request(method, {"events": events}, deadline)
        taken = take(result, key, list, f"the answer to `{method}`")
        if missing := [name for name in events if name not in taken]:
            raise Malformed(f"ryll left out {', '.join(missing)} in its answer to `{method}`")
        return [name for name in taken if isinstance(name, str)]

    def _message(self, deadline: float) -> dict[str, Any] | None:
        """The next message, or None when none was complete at the deadline."""
        message = self.wire.receive(deadline)
        if message is not None and "event" in message:
            if "id" in message or "ok" in message:
                raise Malformed("ryll sent a line that is both an answer and an event")
            name = take(message, "event", str, "an event")
            data = take(message, "data", dict, "an event")
            self.events.add(name, data, len(str(data)) + EVENT_BYTES)
        return message

    def _result(self, method: str, number: int, message: dict[str, Any]) -> dict[str, Any]:
        place = f"the answer to `{method}`"
        if not take(message, "ok", bool, place):
            error = take(message, "error", dict, place)
            if "id" in message:
                self._same(method, number, message["id"])
            raise Refused(method, _code(error), take(error, "message", str, "an error"))
        self._same(method, number, take(message, "id", int, place))
        result: dict[str, Any] = take(message, "result", dict, place)
        return result

    def _same(self, method: str, number: int, found: object) -> None:
        if type(found) is int and found == number:
            return
        shown = (
            f"request {found} was answered"
            if type(found) is int
            else f"the id of the answer is no number ({type(found).__name__})"
        )
        raise Malformed(f"ryll did not answer request {number} (`{method}`): {shown}")

    def _unasked(self, message: dict[str, Any]) -> None:
        error = message.get("error")
        if message.get("ok") is False and isinstance(error, dict) and isinstance(error.get("code"), str):
            raise Closed(
                f"ryll no longer serves this connection: it said {_code(error)} unasked",
                sample=str(error.get("message", "")),
            )
        raise Malformed("ryll sent an answer without a request")


def _code(error: dict[str, Any]) -> str:
    """The error's code, which is a word and safe to be shown. Raises Malformed."""
    code: str = take(error, "code", str, "an error")
    if not _CODE.fullmatch(code):
        raise Malformed("`code` in an error is not a word such as bad_params", sample=code)
    return code
