"""An actor that talks to ryll's control socket line by line: how ryll answers what its other clients never send."""

from __future__ import annotations

import json
import time
from typing import Any

from ...core.errors import LaneError, one_line
from ...protocols.json_lines import Lines
from .control import lacking
from .engine import Play, Unmet
from .plan import Actor, Option, Step

#: Seconds after the last answer in which no other may come.
QUIET = 0.2
#: Seconds between two attempts to connect to a ryll that has not noticed yet that the client before has left.
RETRY_EVERY = 0.02
#: Seconds that the clocks of an event and of this process may differ, which are the same machine's.
CLOCK = 1.0
WRONG = "socket_answer_wrong"
BUSY = {"ok": False, "error": {"code": "busy"}}


class _Closed(LaneError):
    """ryll has closed the connection."""


class _Busy(Unmet):
    """It serves another client, or has not noticed yet that the one before has left."""


def _fail(kind: str, problem: str, sample: str) -> LaneError:
    return (_Closed if kind == "closed" else LaneError)(WRONG, "ryll", problem)


def lines(play: Play, step: Step, options: dict[str, Any], deadline: float) -> Any:
    """Send lines to a client's control socket, and see that it answers with these objects, in this order, and no more.

    A connection that is registered stays open for later steps, until one `leaves` it.
    """
    play.hang_up(step.client)  # it serves one client at a time
    known = play.value(options["connection"])["lines"] if options["connection"] else None
    while True:
        link = known or Lines(play.lane.socket(step.client), "ryll", _fail)
        if not known:
            play.held.append(link)
            link.connect(deadline)
        try:
            _exchange(link, options, deadline)
        except (LaneError, Unmet) as error:
            link.close()  # or the next check finds ryll busy
            if known or not isinstance(error, _Busy) or time.monotonic() + RETRY_EVERY >= deadline:
                raise
            time.sleep(RETRY_EVERY)
            continue
        if options["leaves"] or not (step.register or known):
            link.close()
        return {"lines": link, "shown": f"{len(options['send'])} lines, {len(options['receive'])} answers"}


def _exchange(link: Lines, options: dict[str, Any], deadline: float) -> None:
    began = time.time()
    link.send_text("".join(f"{line}\n" for line in options["send"]), deadline)
    for number, wanted in enumerate(options["receive"], 1):
        _receive(
            link, wanted, f"answer {number} of {len(options['receive'])}", options["among_others"], began, deadline
        )
    try:
        if options["closes"]:
            more = link.receive(deadline)
        else:
            more = None if options["among_others"] else link.receive(min(deadline, time.monotonic() + QUIET))
    except _Closed:
        if options["closes"]:
            return
        raise Unmet(WRONG, "ryll closed the connection") from None
    if more:
        raise Unmet(WRONG, f"another line came: {_shown(more)}")
    if options["closes"]:
        raise Unmet(WRONG, "ryll left the connection open")


def _receive(link: Lines, wanted: Any, which: str, among_others: bool, began: float, deadline: float) -> None:
    """Wait for a line that is as wanted, where one without an id has the id null."""
    problem = ""
    while True:
        try:
            message = link.receive(deadline)
        except _Closed as closed:
            raise Unmet(WRONG, f"{which} did not come: {closed.problem}") from None
        if message is None:
            raise Unmet(WRONG, f"{which} did not come in time{f'; one came {problem}' if problem else ''}")
        if "ok" in message:
            message = {"id": None, **message}
        problem = lacking(wanted, message, "the line") or _misdated(message, began)
        if not problem:
            return
        if not lacking(BUSY, message, ""):
            raise _Busy(WRONG, "ryll serves another client")
        if not among_others:
            raise Unmet(WRONG, f"{which} came {problem}: {_shown(message)}")


def _misdated(message: dict[str, Any], began: float) -> str:
    """What is wrong with the time of an event; "" for one that came since the lines were sent."""
    data = message.get("data")
    at = data.get("wallclock_us") if isinstance(data, dict) else None
    if not isinstance(at, int) or began - CLOCK <= at / 1e6 <= time.time() + CLOCK:
        return ""
    return f"with a wallclock_us that is {at / 1e6 - time.time():.0f} s from now"


def _shown(message: dict[str, Any]) -> str:
    return one_line(json.dumps(message), 200)


ACTORS: dict[str, Actor] = {
    "lines": Actor(
        {
            "send": Option("any_texts", ()),
            "receive": Option("holds", ()),
            "connection": Option("word", refers=("lines",)),
            "among_others": Option("truth", False),
            "closes": Option("truth", False),
            "leaves": Option("truth", False),
        },
        lines,
        "ryll",
        "ryll",
    ),
}
