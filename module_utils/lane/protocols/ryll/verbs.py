"""What each verb of the step language does. Each function plays one step and returns what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from .client import LEAVES_WITHIN, RETRY_EVERY, Answer
from .errors import Refused, TimedOut, Unmet
from .event_verbs import expect_event, next_event, quiet, same
from .keys import strokes
from .private import hidden, texts
from .replies import marks, take, whole
from .shots import screenshot
from .stage import Kept, Stage
from .steps import PASTE_ENDS, VERBS, Step

#: Seconds that ryll may take to answer a poll; when more are left of a limit, the silence is ryll's fault and not that
#: of what is awaited.
ANSWER_WITHIN = 1.0


def play(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    """Play one step until it is done or its deadline (a point of time.monotonic()) has passed; returns what was
    seen.
    """
    client = stage.client
    if step.verb != "reconnect":
        client.drain()
    if step.register:
        stage.kept[step.register] = Kept(client.events.last)
    if not step.refused:
        client.need(VERBS[step.verb].needs, _events_needed(step))
        return _PLAY[step.verb](stage, step, deadline)
    try:
        _PLAY[step.verb](stage, step, deadline)
    except Refused as error:
        if error.refusal == step.refused:
            return {"refused": error.refusal}
        raise Unmet(f"ryll refused `{step.verb}` with {error.refusal}, not with {step.refused}") from None
    raise Unmet(f"ryll accepted `{step.verb}`, which it was to refuse with {step.refused}")


def _events_needed(step: Step) -> list[str]:
    if step.verb == "subscribe":
        return list(step.options["events"])
    if step.verb == "paste" and step.options["wait"]:
        return list(PASTE_ENDS)
    return [step.options["event"]] if "event" in step.options else []


def _told(step: Step, text: str) -> dict[str, Any]:
    return {"text": hidden(text) if step.private else text, "characters": len(text)}


def _opening(stage: Stage, step: Step, deadline: float, ask: Callable[[], Answer]) -> Answer:
    """Ask, over a new connection if there is none."""
    if stage.client.wire.connected:
        return ask()
    busy_limit = 0.0 if step.refused == "busy" else LEAVES_WITHIN
    return stage.client.opening(ask, deadline, busy_limit, stage.connect_wait)


def _hello(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    version = step.options["protocol_version"]
    server = _opening(stage, step, deadline, lambda: stage.client.hello(stage.client_name, deadline, version))
    return {
        "server_name": server.server_name,
        "protocol_version": server.protocol_version,
        "supported_methods": list(server.methods),
        "supported_events": list(server.events),
    }


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
    missing = f"not within {step.limit:g} s: {', '.join(parts)}; last seen: "
    shown, seen = "nothing", {"asked": 0}
    while True:
        began = time.monotonic()
        try:
            status = stage.client.status(deadline)
            drawn = marks(stage.client.request("stats", {}, deadline)) if options["marks"] else None
        except TimedOut:
            if not seen["asked"] or deadline - began > ANSWER_WITHIN:
                raise
            raise Unmet(missing + shown) from None
        seen = {**asdict(status), "asked": seen["asked"] + 1} | ({} if drawn is None else {"marks": drawn})
        sized = [surface for surface in status.surfaces if surface.width and surface.height]
        surface = status.surface(surface_id)
        if (
            options["agent"] in (None, status.agent_connected)
            and len(sized) >= (options["surfaces"] or 0)
            and (size is None or (surface is not None and (surface.width, surface.height) == size))
            and (drawn is None or drawn >= options["marks"])
        ):
            return seen
        shown = ", ".join(f"{one.surface_id} of {one.width}x{one.height}" for one in status.surfaces[:8]) or "none"
        shown = f"agent {'' if status.agent_connected else 'not '}connected, surfaces {shown}"
        shown += "" if drawn is None else f", {drawn} marks"
        if time.monotonic() >= deadline:
            raise Unmet(missing + shown)
        stage.client.pump(min(deadline, time.monotonic() + options["interval"]))


def _press(stage: Stage, chord: tuple[int, ...], deadline: float, state: str) -> None:
    """Send a chord: the modifiers go down, the last key is pressed, the modifiers come up again, also when ryll refused
    the key.
    """

    def send(codes: Sequence[int], how: str) -> None:
        stage.acted = True
        for code in codes:
            stage.client.request("send_key", {"scancode": code, "state": how}, deadline)

    if state == "press":
        *modifiers, key = chord
        try:
            send(modifiers, "down")
            send([key], "press")
        except Refused:
            send(modifiers[::-1], "up")
            raise
        send(modifiers[::-1], "up")
    else:
        send(chord if state == "down" else chord[::-1], state)


def _press_all(
    stage: Stage, chords: list[tuple[int, ...]], delay_ms: int, deadline: float, state: str = "press"
) -> None:
    for number, chord in enumerate(chords):
        if number and delay_ms:
            stage.client.pump(min(deadline, time.monotonic() + delay_ms / 1000))
        if time.monotonic() > deadline:
            raise TimedOut(f"only {number} of {len(chords)} keys were sent within the limit")
        _press(stage, chord, deadline, state)


def _send_key(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    chords = options["keys"] or [options["key"] or options["scancode"]]
    _press_all(stage, chords, options["delay_ms"], deadline, options["state"])
    return {"scancodes": [[f"{code:#x}" for code in chord] for chord in chords], "state": options["state"]}


def _type(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    text = step.options["text"]
    _press_all(stage, strokes(text), step.options["delay_ms"], deadline)
    return _told(step, text)


def _paste(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    client, text = stage.client, step.options["text"]
    wait = step.options["wait"]
    if wait and (missing := [name for name in PASTE_ENDS if name not in client.subscribed]):
        client.subscribe(missing, deadline)
    stage.acted = True
    number = client.ask("paste", {"text": text, "char_delay_ms": step.options["char_delay_ms"]}, deadline)
    client.answer("paste", number, deadline)
    if not wait:
        return _told(step, text)
    lost = client.events.dropped_by_server
    ended = next_event(
        stage, lambda event: event.name in PASTE_ENDS and event.data.get("request_id") == number, deadline
    )
    if ended is None:
        dropped = client.events.dropped_by_server - lost
        fix = "" if dropped else "start ryll with --enable-paste-as-keystrokes"
        why = f" ({dropped} events were dropped meanwhile)" if dropped else ""
        raise Unmet(f"neither paste_completed nor paste_failed arrived within {step.limit:g} s{why}", fix)
    if ended.name == "paste_failed":
        reason = take(ended.data, "reason", str, "the event `paste_failed`")
        raise Unmet("ryll could not paste the text (paste_failed)", sample=reason)
    sent = whole(ended.data, "chars_sent", "the event `paste_completed`")
    if sent != len(text):
        raise Unmet(f"ryll pasted {sent} of {len(text)} characters")
    return _told(step, text)


def _clipboard_set(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    stage.acted = True
    stage.client.request("clipboard_set", {"text": step.options["text"]}, deadline)
    return _told(step, step.options["text"])


def _clipboard_get(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    result = stage.client.request("clipboard_get", {}, deadline)
    text = None if result.get("text", "") is None else take(result, "text", str, "the answer to `clipboard_get`")
    if step.private and text is not None:
        stage.secrets.add(text)
    wanted = step.options["equals"]
    if wanted is not None and text != wanted:
        shown = hidden if stage.secrets.any else _quoted  # the guest may have made another text of a private one
        holds = "is empty" if text is None else f"holds {shown(text)}"
        raise Unmet(f"the clipboard {holds}, not {shown(wanted)}")
    return {"text": None, "characters": None} if text is None else _told(step, text)


def _quoted(text: str) -> str:
    return repr(text[:100])


def _resize(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    stage.acted = True
    params = {"width": step.options["width"], "height": step.options["height"]}
    while True:
        try:
            result = stage.client.request("resize", params, deadline)
            break
        except Refused as error:
            full = error.refusal == "queue_full" and step.refused != "queue_full"
            if not full or time.monotonic() + RETRY_EVERY >= deadline:
                raise
        stage.client.pump(time.monotonic() + RETRY_EVERY)
    size = {key: whole(result, key, "the answer to `resize`") for key in ("width", "height")}
    if step.register:
        stage.kept[step.register].size = size["width"], size["height"]
    return size


def _stats(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    result = stage.client.request("stats", {}, deadline)
    drawn = marks(result)
    if step.options["marks"] and drawn < step.options["marks"]:
        raise Unmet(f"ryll counts {drawn} drawn marks, not {step.options['marks']}")
    return result


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
    left = max(0.0, deadline - time.monotonic())
    busy_limit = 0.0 if step.refused == "busy" else left
    server = client.opening(lambda: client.hello(stage.client_name, deadline), deadline, busy_limit, left)
    if events:
        client.subscribe(events, deadline)
    return {"protocol_version": server.protocol_version, "subscribed": list(client.subscribed)}


def _call(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    if not step.refused:
        stage.client.need((options["method"],))
    stage.acted = stage.acted or options["acts"]

    params = options["params"] or {}
    result = _opening(stage, step, deadline, lambda: stage.client.request(options["method"], params, deadline))
    if step.private:
        for text in texts(result):
            stage.secrets.add(text)
    for key, value in (options["result"] or {}).items():
        if key not in result or not same(result[key], value):
            wrong = "has another value" if key in result else "is missing"
            raise Unmet(f"`{key}` of the answer to `{options['method']}` {wrong}")
    return {"result": "(private)" if step.private else result}


_PLAY: dict[str, Callable[[Stage, Step, float], dict[str, Any]]] = {
    "hello": _hello,
    "status": lambda stage, step, deadline: asdict(stage.client.status(deadline)),
    "await": _await,
    "screenshot": screenshot,
    "send_key": _send_key,
    "type": _type,
    "paste": _paste,
    "clipboard_set": _clipboard_set,
    "clipboard_get": _clipboard_get,
    "resize": _resize,
    "stats": _stats,
    "subscribe": lambda stage, step, deadline: {"subscribed": stage.client.subscribe(step.options["events"], deadline)},
    "unsubscribe": lambda stage, step, deadline: {
        "unsubscribed": stage.client.unsubscribe(step.options["events"], deadline)
    },
    "expect_event": expect_event,
    "quiet": quiet,
    "pause": _pause,
    "reconnect": _reconnect,
    "call": _call,
}
