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


def next_event(stage: Stage, wanted: Callable[[Event], bool], deadline: float, looked: int = 0) -> Event | None:
    """The oldest kept event with a number above `looked` that is wanted, else the first that comes; None when none has
    at the deadline.
    """
    events = stage.client.events

    def newer() -> bool:
        return events.last > looked

    while True:
        if (found := events.take(wanted, looked)) is not None:
            return found
        if time.monotonic() >= deadline:
            return None
        looked = events.last
        stage.client.pump(deadline, newer)


def matcher(stage: Stage, step: Step) -> Callable[[Event], bool]:
    name, fields, since = step.options["event"], step.options["fields"] or {}, step.options["since"]
    after = stage.kept[since].event if since else 0

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
    count, name = step.options["count"], step.options["event"]
    dropped = stage.client.events.dropped_by_server
    seen, begun = stage.client.events.seen[name], stage.client.events.last
    wanted = matcher(stage, step)
    found: list[Event] = []
    while len(found) < count:
        event = next_event(stage, wanted, deadline, found[-1].number if found else 0)
        if event is None:
            fields = f" with {', '.join(step.options['fields'])} as given" if step.options["fields"] else ""
            other = stage.client.events.seen[name] - seen - len(found)
            others = f", and {other} with other data{_last(stage, step)}" if fields and other > 0 else ""
            came = Counter(one.name for one in stage.client.events.kept if one.number > begun and one.name != name)
            if came:
                others += f"; others came: {', '.join(f'{count} {kind}' for kind, count in came.most_common(5))}"
            lost = stage.client.events.dropped_by_server - dropped
            dropped_too = f" ({lost} events were dropped meanwhile)" if lost else ""
            raise Unmet(
                f"{len(found)} of {count} event(s) {name}{fields} arrived within {step.limit:g} s{others}{dropped_too}"
            )
        found.append(event)
    return {"event": name, "count": count, "data": [event.data for event in found]}


def _last(stage: Stage, step: Step) -> str:
    """What the last event of that name has in the fields that were asked for, unless something is to be private."""
    data = [one.data for one in stage.client.events.kept if one.name == step.options["event"]][-1:]
    if not data or stage.secrets.any or step.private:
        return ""
    return f" ({', '.join(f'{key} {data[0].get(key)!r}' for key in step.options['fields'])})"[:200]


def quiet(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options, events = step.options, stage.client.events
    seconds, name = options["seconds"], options["event"]
    after = stage.kept[options["since"]].event if options["since"] else events.last
    matches = matcher(stage, step)
    dropped, lost = events.dropped_by_server, events.lost_here
    event = next_event(
        stage, lambda one: one.number > after and matches(one), min(deadline, time.monotonic() + seconds)
    )
    if event is not None:
        raise Unmet(f"an event {name} arrived within {seconds:g} s")
    missing = events.dropped_by_server - dropped + events.lost_here - lost
    if missing:
        raise Unmet(f"{missing} events were dropped within {seconds:g} s, so an event {name} may have been missed")
    return {"event": name, "seconds": seconds}
