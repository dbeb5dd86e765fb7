"""What each verb of the step language does. Each function plays one step and returns what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, TypeVar

from ...core.private_dir import write_private
from .client import Client, Event
from .errors import Malformed, Refused, TimedOut, Unmet
from .keys import strokes
from .png import Region, alike, look
from .private import MOST_SOUGHT, Secrets, hidden, texts
from .replies import Hello, Shot, Status, marks, take, whole
from .steps import PASTE_ENDS, VERBS, Step

#: Seconds between two tries when ryll's queue is full or it still serves the connection that was just closed.
RETRY_EVERY = 0.05
#: Seconds that ryll may take to answer a poll; when more are left of a limit, silence is its fault and not that of what is awaited.
ANSWER_WITHIN = 1.0
#: Seconds between two pictures of a screenshot step that waits for the right one.
SETTLE_INTERVAL = 0.05
#: Seconds that a new connection bears with "busy": ryll 0.3.0 does not notice at once that the client before has left.
LEAVES_WITHIN = 1.0

Answer = TypeVar("Answer")


@dataclass
class Kept:
    """What a registered step left for later ones: the newest event before it, a picture, a size in pixels."""

    event: int
    shot: Shot | None = None
    size: tuple[int, int] | None = None


@dataclass
class Stage:
    """What the steps of one session share. secrets: texts that may not be shown."""

    client: Client
    client_name: str
    secrets: Secrets
    patience: float = 0.0
    kept: dict[str, Kept] = field(default_factory=dict)
    acted: bool = False


def play(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    """Play one step until it is done or its deadline (a point of time.monotonic()) has passed; returns what was seen."""
    client = stage.client
    if step.verb != "reconnect":
        client.drain()
    if step.register:
        stage.kept[step.register] = Kept(client.events.last)
    if client.server and not step.refused:
        client.need(VERBS[step.verb].needs, _events_needed(step))
    if not step.refused:
        return _PLAY[step.verb](stage, step, deadline)
    try:
        _PLAY[step.verb](stage, step, deadline)
    except Refused as error:
        if error.code == step.refused:
            return {"refused": error.code}
        raise Unmet(f"ryll to refuse `{step.verb}` with {step.refused}", f"it refused with {error.code}") from None
    raise Unmet(f"ryll to refuse `{step.verb}` with {step.refused}", "it accepted")


def _events_needed(step: Step) -> list[str]:
    if step.verb == "subscribe":
        return list(step.options["events"])
    if step.verb == "paste" and step.options["wait"]:
        return list(PASTE_ENDS)
    return [step.options["event"]] if "event" in step.options else []


def _beginning(text: str) -> str:
    return repr(text[:100])


def _text(step: Step, text: str) -> str:
    return hidden(text) if step.private else text


def _opening(stage: Stage, step: Step, deadline: float, ask: Callable[[], Answer], patience: float | None = None) -> Answer:
    """Connect if there is no connection and ask; a ryll that is busy is asked again over a new connection for LEAVES_WITHIN seconds."""
    client = stage.client
    if client.wire.connected:
        return ask()
    until = time.monotonic() + LEAVES_WITHIN if patience is None else deadline
    while True:
        client.connect(deadline, stage.patience if patience is None else patience)
        try:
            return ask()
        except Refused as error:
            if error.code != "busy" or step.refused == "busy" or time.monotonic() + RETRY_EVERY >= min(until, deadline):
                raise
        client.close()
        client.wire.idle(time.monotonic() + RETRY_EVERY)


def _hello(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    def greet() -> Hello:
        return stage.client.hello(stage.client_name, deadline, step.options["protocol_version"])

    server = _opening(stage, step, deadline, greet)
    return {
        "server_name": server.server_name,
        "protocol_version": server.protocol_version,
        "supported_methods": list(server.methods),
        "supported_events": list(server.events),
    }


def _status_now(stage: Stage, deadline: float) -> Status:
    return Status.read(stage.client.request("status", {}, deadline))


def _status(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    return asdict(_status_now(stage, deadline))


def _await(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    surface_id = options["surface_id"]
    size = options["size"] or (stage.kept[options["size_as"]].size if options["size_as"] else None)
    if options["marks"]:
        stage.client.need(("stats",))
    parts = [] if options["agent"] is None else ["the agent connected" if options["agent"] else "no agent connected"]
    parts += [f"{options['surfaces']} surface(s) with a size"] if options["surfaces"] else []
    parts += [f"surface {surface_id} of {size[0]}x{size[1]}"] if size else []
    parts += [f"{options['marks']} drawn mark(s)"] if options["marks"] else []
    expected = f"{', '.join(parts)} within {step.limit:g} s"
    seen: dict[str, Any] = {}
    shown = "no status came"
    asked = 0
    while True:
        began = time.monotonic()
        try:
            status = _status_now(stage, deadline)
            drawn = marks(stage.client.request("stats", {}, deadline)) if options["marks"] else None
        except TimedOut:
            if not seen or deadline - began > ANSWER_WITHIN:
                raise
            raise Unmet(expected, f"the last that came was {shown}") from None
        asked += 1
        sized = [surface for surface in status.surfaces if surface.width and surface.height]
        surface = status.surface(surface_id)
        seen = {**asdict(status), "asked": asked} | ({} if drawn is None else {"marks": drawn})
        shown = f"agent {'' if status.agent_connected else 'not '}connected, surfaces "
        shown += ", ".join(f"{one.surface_id} of {one.width}x{one.height}" for one in status.surfaces[:8]) or "none"
        shown += "" if drawn is None else f", {drawn} marks"
        if (
            options["agent"] in (None, status.agent_connected)
            and len(sized) >= (options["surfaces"] or 0)
            and (size is None or (surface is not None and (surface.width, surface.height) == size))
            and (drawn is None or drawn >= options["marks"])
        ):
            return seen
        if time.monotonic() >= deadline:
            raise Unmet(expected, f"the last that came was {shown}")
        stage.client.pump(min(deadline, time.monotonic() + options["interval"]))


def _screenshot(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    """Pictures until one is as wanted, for `settle` seconds: a new surface is black until the guest has drawn on it."""
    settled = min(deadline, time.monotonic() + step.options["settle"])
    while True:
        try:
            return _judge_shot(stage, step, deadline)
        except Unmet:
            if time.monotonic() + SETTLE_INTERVAL >= settled:
                raise
        stage.client.pump(time.monotonic() + SETTLE_INTERVAL)


def _judge_shot(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    shot, surface = _take_shot(stage, options["surface_id"], options["format"], deadline)
    region = options["region"]
    wanted = options["size"] or (surface.width, surface.height)
    if (shot.width, shot.height) != wanted:
        whose = "as asked for" if options["size"] else "as the surface has"
        raise Unmet(f"a picture of {wanted[0]}x{wanted[1]} {whose}", f"it is {shot.width}x{shot.height}")
    if region and (region.x + region.width > shot.width or region.y + region.height > shot.height):
        raise Unmet(f"a picture that holds the region {_region(region)}", f"it is {shot.width}x{shot.height}")

    def tick() -> None:
        if time.monotonic() > deadline:
            raise TimedOut(f"the picture to be read within {step.limit:g} s", "the time was over in the midst of it")

    others = {key: stage.kept[options[key]].shot for key in ("same_as", "differs_from") if options[key]}
    pixels = look((shot.format, shot.data), shot.width, shot.height, tick, region, digest=False)
    if options["file"]:
        write_private(options["file"], shot.data)
    seen = {"format": shot.format, "width": shot.width, "height": shot.height, "bytes": len(shot.data), "one_colour": pixels.one_colour}
    seen |= {"file": options["file"]} if options["file"] else {}
    where = f"the region {_region(region)}" if region else "the picture"
    if options["not_one_colour"] and pixels.one_colour:
        raise Unmet(f"{where} to be more than one colour", f"all of it is {pixels.one_colour}", options["file"] or "")
    for key, other in others.items():
        assert other is not None  # `plan` saw to it that the step took a picture
        same = (other.width, other.height) == (shot.width, shot.height)
        same = same and alike((shot.format, shot.data), (other.format, other.data), shot.width, shot.height, tick, region)
        if same != (key == "same_as"):
            relation = "equal" if key == "same_as" else "differ from"
            raise Unmet(f"{where} to {relation} that of {options[key]!r}", "it differs" if key == "same_as" else "it is the same", options["file"] or "")
        seen[key] = options[key]
    if step.register:
        stage.kept[step.register].shot = shot
        stage.kept[step.register].size = (shot.width, shot.height)
    return seen


def _take_shot(stage: Stage, surface_id: int, form: str, deadline: float) -> tuple[Shot, Any]:
    """A picture and the surface that it shows; when the surface's size changed meanwhile, the pair is taken again."""
    while True:
        surface = _status_now(stage, deadline).surface(surface_id)
        shot = Shot.read(stage.client.request("screenshot", {"surface_id": surface_id, "format": form}, deadline))
        if shot.format != form:
            raise Malformed(f"a screenshot of format {form}", "another format came", sample=shot.format)
        after = _status_now(stage, deadline).surface(surface_id)
        if surface == after or time.monotonic() >= deadline:
            if surface is None:
                raise Unmet(f"a surface {surface_id} in the status", "there is none, though ryll gave a screenshot of it")
            return shot, surface


def _region(region: Region) -> str:
    return f"{region.width}x{region.height}+{region.x}+{region.y}"


def _press(stage: Stage, chord: tuple[int, ...], deadline: float, state: str = "press") -> None:
    """Send a chord: the modifiers go down, the last key is pressed, the modifiers come up again, also when ryll refused the key."""

    def send(code: int, how: str) -> None:
        stage.acted = True
        stage.client.request("send_key", {"scancode": code, "state": how}, deadline)

    if state != "press":
        for code in chord if state == "down" else chord[::-1]:
            send(code, state)
        return
    held: list[int] = []
    try:
        for code in chord[:-1]:
            send(code, "down")
            held.append(code)
        send(chord[-1], "press")
    except Refused:
        for code in reversed(held):
            send(code, "up")
        raise
    for code in reversed(held):
        send(code, "up")


def _press_all(stage: Stage, chords: list[tuple[int, ...]], delay_ms: int, deadline: float, state: str = "press") -> None:
    for number, chord in enumerate(chords):
        if number and delay_ms:
            stage.client.pump(min(deadline, time.monotonic() + delay_ms / 1000))
        if time.monotonic() > deadline:
            raise TimedOut(f"all {len(chords)} keys to be sent in time", f"{number} were")
        _press(stage, chord, deadline, state)


def _send_key(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    chords = options["keys"] or [options["key"] or options["scancode"]]
    _press_all(stage, chords, options["delay_ms"], deadline, options["state"])
    return {"scancodes": [[f"{code:#x}" for code in chord] for chord in chords], "state": options["state"]}


def _type(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    text = step.options["text"]
    _press_all(stage, strokes(text), step.options["delay_ms"], deadline)
    return {"text": _text(step, text), "characters": len(text)}


def _paste(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    client, text = stage.client, step.options["text"]
    wait = step.options["wait"]
    if wait and (missing := [name for name in PASTE_ENDS if name not in client.subscribed]):
        client.subscribe(missing, deadline)
    stage.acted = True
    number = client.ask("paste", {"text": text, "char_delay_ms": step.options["char_delay_ms"]}, deadline)
    client.answer("paste", number, deadline)
    seen: dict[str, Any] = {"text": _text(step, text), "characters": len(text)}
    if not wait:
        return seen
    lost = client.events.dropped_by_server
    ended = _next_event(stage, lambda event: event.name in PASTE_ENDS and event.data.get("request_id") == number, deadline)
    if ended is None:
        dropped = client.events.dropped_by_server - lost
        why = f"; {dropped} events were dropped meanwhile" if dropped else "; does ryll run with --enable-paste-as-keystrokes?"
        raise Unmet(f"the end of the paste within {step.limit:g} s", f"neither paste_completed nor paste_failed came{why}")
    if ended.name == "paste_failed":
        reason = take(ended.data, "reason", str, "the event `paste_failed`")
        raise Unmet("the text to be pasted", "ryll said paste_failed", sample=reason)
    sent = whole(ended.data, "chars_sent", "the event `paste_completed`")
    if sent != len(text):
        raise Unmet(f"{len(text)} characters to be pasted", f"ryll sent {sent}")
    return seen


def _clipboard_set(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    stage.acted = True
    stage.client.request("clipboard_set", {"text": step.options["text"]}, deadline)
    return {"text": _text(step, step.options["text"]), "characters": len(step.options["text"])}


def _clipboard_get(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    result = stage.client.request("clipboard_get", {}, deadline)
    text = None if "text" in result and result["text"] is None else take(result, "text", str, "the answer to `clipboard_get`")
    if step.private and text is not None:
        stage.secrets.add(text)
    shown = None if text is None else _text(step, text)
    wanted = step.options["equals"]
    if wanted is not None and text != wanted:
        told = hidden if stage.secrets.any else _beginning  # the guest may have made another text of a private one
        raise Unmet(f"the clipboard to hold {told(wanted)}", "it is empty" if text is None else f"it is {told(text)}")
    return {"text": shown, "characters": None if text is None else len(text)}


def _resize(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    stage.acted = True
    params = {"width": step.options["width"], "height": step.options["height"]}
    while True:
        try:
            result = stage.client.request("resize", params, deadline)
            break
        except Refused as error:
            if error.code != "queue_full" or step.refused == "queue_full" or time.monotonic() + RETRY_EVERY >= deadline:
                raise
        stage.client.pump(time.monotonic() + RETRY_EVERY)
    size = (whole(result, "width", "the answer to `resize`"), whole(result, "height", "the answer to `resize`"))
    if step.register:
        stage.kept[step.register].size = size
    return {"width": size[0], "height": size[1]}


def _stats(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    result = stage.client.request("stats", {}, deadline)
    drawn = marks(result)
    if step.options["marks"] and drawn < step.options["marks"]:
        raise Unmet(f"at least {step.options['marks']} drawn marks", f"there are {drawn}")
    return result


def _subscribe(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    return {"subscribed": stage.client.subscribe(step.options["events"], deadline)}


def _unsubscribe(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    return {"unsubscribed": stage.client.unsubscribe(step.options["events"], deadline)}


def _next_event(stage: Stage, wanted: Callable[[Event], bool], deadline: float, looked: int = 0) -> Event | None:
    """The oldest kept event with a number above `looked` that is wanted, else the first that comes; None when none has at the deadline."""
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


def _wanted(stage: Stage, step: Step) -> Callable[[Event], bool]:
    name, fields, since = step.options["event"], step.options["fields"] or {}, step.options["since"]
    after = stage.kept[since].event if since else 0

    def wanted(event: Event) -> bool:
        return event.name == name and event.number > after and all(key in event.data and _same(event.data[key], value) for key, value in fields.items())

    return wanted


def _same(found: object, wanted: object) -> bool:
    """Whether two values of JSON are the same: 1 and 1.0 are, 1 and true are not."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def _expect_event(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    count, name = step.options["count"], step.options["event"]
    dropped = stage.client.events.dropped_by_server
    seen = stage.client.events.seen[name]
    wanted = _wanted(stage, step)
    found: list[Event] = []
    while len(found) < count:
        event = _next_event(stage, wanted, deadline, found[-1].number if found else 0)
        if event is None:
            fields = f" with {', '.join(step.options['fields'])} as given" if step.options["fields"] else ""
            other = stage.client.events.seen[name] - seen - len(found)
            got = f"{len(found)} came" + (f", and {other} with other data" if fields and other > 0 else "")
            lost = stage.client.events.dropped_by_server - dropped
            raise Unmet(f"{count} event(s) {name}{fields} within {step.limit:g} s", got + (f"; {lost} events were dropped meanwhile" if lost else ""))
        found.append(event)
    return {"event": name, "count": count, "data": [event.data for event in found]}


def _quiet(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options, events = step.options, stage.client.events
    seconds, name = options["seconds"], options["event"]
    after = stage.kept[options["since"]].event if options["since"] else events.last
    matches = _wanted(stage, step)
    dropped, lost = events.dropped_by_server, events.lost_here
    event = _next_event(stage, lambda one: one.number > after and matches(one), min(deadline, time.monotonic() + seconds))
    if event is not None:
        raise Unmet(f"no event {name} for {seconds:g} s", "one came")
    missing = events.dropped_by_server - dropped + events.lost_here - lost
    if missing:
        raise Unmet(f"no event {name} for {seconds:g} s", f"{missing} events were dropped meanwhile, so nobody can tell")
    return {"event": name, "seconds": seconds}


def _pause(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    until = min(deadline, time.monotonic() + step.options["seconds"])
    if stage.client.wire.connected:
        stage.client.pump(until)
    else:
        stage.client.wire.idle(until)
    return {"seconds": step.options["seconds"]}


def _reconnect(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    client = stage.client
    events = client.subscribed if step.options["resubscribe"] else []
    client.close()

    def greet() -> Hello:
        return client.hello(stage.client_name, deadline)

    server = _opening(stage, step, deadline, greet, patience=max(0.0, deadline - time.monotonic()))
    if events:
        client.subscribe(events, deadline)
    return {"protocol_version": server.protocol_version, "subscribed": list(client.subscribed)}


def _call(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    if stage.client.server and not step.refused:
        stage.client.need((options["method"],))
    stage.acted = stage.acted or options["acts"]

    def ask() -> dict[str, Any]:
        return stage.client.request(options["method"], options["params"] or {}, deadline)

    result = _opening(stage, step, deadline, ask)
    if step.private:
        for text in islice(texts(result), MOST_SOUGHT):
            stage.secrets.add(text)
    for key, value in (options["result"] or {}).items():
        if key not in result or not _same(result[key], value):
            raise Unmet(f"`{key}` of the answer to `{options['method']}` as given", "it is another" if key in result else "it is missing")
    return {"result": "(private)" if step.private else result}


_PLAY: dict[str, Callable[[Stage, Step, float], dict[str, Any]]] = {
    "hello": _hello,
    "status": _status,
    "await": _await,
    "screenshot": _screenshot,
    "send_key": _send_key,
    "type": _type,
    "paste": _paste,
    "clipboard_set": _clipboard_set,
    "clipboard_get": _clipboard_get,
    "resize": _resize,
    "stats": _stats,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "expect_event": _expect_event,
    "quiet": _quiet,
    "pause": _pause,
    "reconnect": _reconnect,
    "call": _call,
}
