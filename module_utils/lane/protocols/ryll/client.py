"""Requests, answers and events of the control socket. Deadlines are points of time.monotonic(), in seconds."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..json_lines import Lines
from .errors import Closed, Malformed, Refused, TimedOut, Unsupported, failed
from .replies import Hello, Status, names, take, whole
from .ryll_process import Watch

PROTOCOL_VERSION = "1.0"
#: The longest line that is taken from ryll. A picture is one line.
MAX_LINE_BYTES = 64 << 20
#: Events that are kept until a step asks for them; of more, the oldest are dropped, and counted.
MOST_EVENTS = 10_000
MOST_EVENT_BYTES = 8 << 20
#: Seconds for which `drain` reads at most, of a ryll that floods; a busy machine may stop this program for a while.
DRAIN = 1.0
#: Seconds between two attempts to connect to a ryll that is busy.
RETRY_EVERY = 0.05
#: Seconds for which a new connection accepts "busy": ryll 0.3.0 does not notice at once that the client before has
#: left.
LEAVES_WITHIN = 1.0
#: About what Python needs for an event besides its characters.
EVENT_BYTES = 500

Answer = TypeVar("Answer")


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
        self.listener: Callable[[Event], object] = lambda event: None
        #: The number of the newest event so far.
        self.last = 0
        self._bytes = 0

    def add(self, name: str, data: dict[str, Any]) -> None:
        self.last += 1
        self.seen[name] += 1
        if name == "dropped":
            self.dropped_by_server += whole(data, "count", "the event `dropped`")
        event = Event(self.last, time.monotonic(), name, data, len(str(data)) + EVENT_BYTES)
        self.kept.append(event)
        self.listener(event)
        self._bytes += event.size
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

    def open(self, client_name: str, deadline: float) -> Hello:
        """Connect and say hello; see `opening`."""
        return self.opening(lambda: self.hello(client_name, deadline), deadline)

    def opening(
        self,
        ask: Callable[[], Answer],
        deadline: float,
        busy_limit: float = LEAVES_WITHIN,
        connect_wait: float = 0.0,
    ) -> Answer:
        """Connect and ask. While ryll serves another client (`./lane shot`), try again for busy_limit seconds."""
        until = min(time.monotonic() + busy_limit, deadline)
        while True:
            self.connect(deadline, connect_wait)
            try:
                return ask()
            except Refused as error:
                if error.refusal != "busy" or time.monotonic() + RETRY_EVERY >= until:
                    raise
            self.close()
            self.wire.idle(time.monotonic() + RETRY_EVERY)

    def need(self, methods: Iterable[str] = (), events: Iterable[str] = ()) -> None:
        """Raise Unsupported for the first method or event that the server did not list in its answer to hello. Before
        hello everything may be tried.
        """
        if self.server is None:
            return
        for kind, wanted, listed in (("verb", methods, self.server.methods), ("event", events, self.server.events)):
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
        came = f"{count} events arrived but no answer" if count else "nothing arrived"
        if self.wire.unfinished:
            came += f", {self.wire.unfinished} bytes of an unfinished line are there"
        raise TimedOut(f"ryll did not answer `{method}` within {max(round(deadline - began, 1), 0.1):g} s: {came}")

    def status(self, deadline: float) -> Status:
        """What ryll knows of its session now."""
        return Status.read(self.request("status", {}, deadline))

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
                if message.get("ok") is False:
                    raise Closed("ryll no longer serves this connection", sample=str(message.get("error")))
                raise Malformed("ryll sent an answer without a request")

    def drain(self) -> None:
        """Take what is there to be read now, without waiting; for DRAIN seconds at most, however much there is."""
        self.pump(time.monotonic() + DRAIN, lambda: not self.wire.ready())

    def _list(self, method: str, key: str, events: list[str], deadline: float) -> list[str]:
        result = self.request(method, {"events": events}, deadline)
        taken = names(result, key, f"the answer to `{method}`")
        if missing := [name for name in events if name not in taken]:
            raise Malformed(f"ryll left out {', '.join(missing)} in its answer to `{method}`")
        return list(taken)

    def _message(self, deadline: float) -> dict[str, Any] | None:
        """The next message, or None when none was complete at the deadline."""
        message = self.wire.receive(deadline)
        if message is not None and "event" in message:
            if "id" in message or "ok" in message:
                raise Malformed("ryll sent a line that is both an answer and an event")
            self.events.add(take(message, "event", str, "an event"), take(message, "data", dict, "an event"))
        return message

    def _result(self, method: str, number: int, message: dict[str, Any]) -> dict[str, Any]:
        place = f"the answer to `{method}`"
        accepted = take(message, "ok", bool, place)
        if accepted or "id" in message:  # a refusal such as busy may have none
            found = take(message, "id", int, place)
            if found != number:
                raise Malformed(f"ryll did not answer request {number} (`{method}`): request {found} was answered")
        if accepted:
            result: dict[str, Any] = take(message, "result", dict, place)
            return result
        error = take(message, "error", dict, place)
        raise Refused(method, take(error, "code", str, "an error"), take(error, "message", str, "an error"))
