"""The steps that wait for an event of ryll, or for there being none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from .client import Event
from .errors import Unmet
from .stage import Stage
from .steps import Step


def next_event(stage: Stage, wanted: Callable[[Event], bool], deadline: float) -> Event | None:
    """The oldest kept event that is wanted, else the first that comes; None when none has at the deadline."""
    events = stage.client.events
    looked = 0

    def newer() -> bool:
        return events.last > looked

    while (found := events.take(wanted, looked)) is None and time.monotonic() < deadline:
        looked = events.last
        stage.client.pump(deadline, newer)
    return found


def matcher(stage: Stage, step: Step, after: int = 0) -> Callable[[Event], bool]:
    """Whether an event is the one that the step names: after the step `since`, or else above this number."""
    name, fields, since = step.options["event"], step.options["fields"] or {}, step.options["since"]
    if since:
        after = stage.kept[since].event

    def wanted(event: Event) -> bool:
        return (
            event.name == name
            and event.number > after
            and all(key in event.data and same(event.data[key], value) for key, value in fields.items())
        )

    return wanted


def same(found: object, wanted: object) -> bool:
    """Whether two values of JSON are the same: 1 and 1.0 are, 1 and true are not."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def expect_event(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    count, name, events = step.options["count"], step.options["event"], stage.client.events
    dropped, seen, begun = events.dropped_by_server, events.seen[name], events.last
    wanted = matcher(stage, step)
    found: list[Event] = []
    while len(found) < count:
        event = next_event(stage, wanted, deadline)
        if event is None:
            words = f"{len(found)} of {count} event(s) {name}"
            if step.options["fields"]:
                words += f" with {', '.join(step.options['fields'])} as given"
            words += f" arrived within {step.limit:g} s"
            other = events.seen[name] - seen - len(found)
            if step.options["fields"] and other > 0:
                words += f", and {other} with other data{_last(stage, step)}"
            came = Counter(one.name for one in events.kept if one.number > begun and one.name != name)
            if came:
                words += f"; others came: {', '.join(f'{count} {kind}' for kind, count in came.most_common(5))}"
            if lost := events.dropped_by_server - dropped:
                words += f" ({lost} events were dropped meanwhile)"
            raise Unmet(words)
        found.append(event)
    return {"event": name, "count": count, "data": [event.data for event in found]}


def _last(stage: Stage, step: Step) -> str:
    """What the last event of that name has in the fields that were asked for, unless something is to be private."""
    data = [one.data for one in stage.client.events.kept if one.name == step.options["event"]][-1:]
    if not data or stage.secrets.any:
        return ""
    return f" ({', '.join(f'{key} {data[0].get(key)!r}' for key in step.options['fields'])})"[:200]


def quiet(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    seconds, name, events = step.options["seconds"], step.options["event"], stage.client.events
    dropped = events.dropped_by_server + events.lost_here
    until = min(deadline, time.monotonic() + seconds)
    if next_event(stage, matcher(stage, step, after=events.last), until) is not None:
        raise Unmet(f"an event {name} arrived within {seconds:g} s")
    if missing := events.dropped_by_server + events.lost_here - dropped:
        raise Unmet(f"{missing} events were dropped within {seconds:g} s, so an event {name} may have been missed")
    return {"event": name, "seconds": seconds}
