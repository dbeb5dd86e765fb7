"""Actors that speak SPICE by themselves: what a real client never sends, and how long an acknowledgement takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ...core.errors import LaneError
from ...protocols.spice_link import CAPABILITIES, CHANNELS, PERMISSION_DENIED, Link, LinkClosed, LinkRefused
from .engine import Play, Unmet
from .plan import Actor, Option, Step
from .stage import read_text

#: Seconds in which a connection has to stay open to count as one that stays.
STAYS = 0.3
UNUSED = 1.0  #: and one on which nothing is sent
PIECES = (3, 5)  #: bytes that go first of each message: half of a header, and the rest of it with some of the body


def _open(play: Play, options: dict[str, Any]) -> Link:
    place, to = play.lane.place, options["to"]
    port = {"proxy": place.proxy_port, "plain": place.proxy_plain_port, "qemu": place.spice_port}[to]
    tls = to == "proxy" and options["as_far_as"] != "tcp"
    ca = Path(place.ca_file).read_text(encoding="ascii") if tls else None
    return Link(port, ca, source=options["from"])


def link(play: Play, step: Step, options: dict[str, Any], deadline: float) -> Any:
    """Open a channel as far as asked; what is registered stays open until the end of the suite, and anything else is
    closed.
    """
    known = play.value(options["console"]) if options["console"] else None
    main = play.value(options["main"])["link"].session if options["main"] else 0
    password = read_text(play.lane.place.ticket_file) if options["to"] == "qemu" else known["password"] if known else ""
    if options["password"] is not None:
        password = options["password"]
    channel = f"the {options['channel']} channel"
    try:
        made = _open(play, options)
    except LinkClosed as error:
        raise Unmet("link_wrong", f"no connection as far as {options['as_far_as']}: {error}") from None
    try:
        if options["as_far_as"] == "hello":
            made.hello(CHANNELS[options["channel"]])
        elif options["as_far_as"] == "channel":
            made.link(CHANNELS[options["channel"]], password, main, options["capabilities"])
    except LinkRefused as error:
        made.close()
        if options["refused"] == error.result:
            return f"refused: {error}"
        if error.result == PERMISSION_DENIED and options["to"] == "proxy" and not step.blame:
            problem = f"{channel} was not let in: {error}"
            raise LaneError("client_refused", "kerbside", problem, evidence=play.lane.log("daemon")) from None
        raise Unmet("link_wrong", f"{channel} was refused with {error}") from None
    except (LinkClosed, TimeoutError) as error:
        made.close()
        raise Unmet("link_wrong", f"{channel} was not linked: {error}") from None
    if options["refused"] is not None or not step.register:
        made.close()
    else:
        play.held.append(made)
    if options["refused"] is not None:
        raise Unmet("client_not_refused", f"{channel} was linked and not refused")
    return {"link": made, "shown": f"{options['as_far_as']} of {options['channel']} by the port of {options['to']}"}


def send(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Send one message of that type on a link, and see whether the peer closes the connection or leaves it."""
    made, message, begun = play.value(options["link"])["link"], f"message {options['type']}", time.monotonic()
    try:
        body = bytes.fromhex(options["hex"]) or bytes(options["bytes"])
        made.send(options["type"], body, options["says"], bytes.fromhex(options["before"]), PIECES)
    except LinkClosed as error:
        if options["then"] == "closed":
            return f"closed: {error}"
        raise Unmet("link_wrong", f"{message} could not be sent: {error}") from None
    if options["then"] == "closed":
        if made.closed(deadline):
            return f"{message}: closed after {1000 * (time.monotonic() - begun):.0f} ms"
        raise Unmet("link_wrong", f"the connection stayed open after {message} of {options['bytes']} bytes")
    if made.closed(min(deadline, time.monotonic() + STAYS)):
        raise Unmet("link_wrong", f"the connection was closed after {message} of {options['bytes']} bytes")
    return f"{message}: the connection stays"


def closed(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    begun = time.monotonic()
    made = play.value(options["link"])["link"]
    if made.closed(deadline):
        return f"closed after {time.monotonic() - begun:.1f} s"
    raise Unmet("link_wrong", f"the connection is still open after {step.limit:g} s")


def stays_open(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    if play.value(options["link"])["link"].closed(min(deadline, time.monotonic() + UNUSED)):
        raise Unmet("link_wrong", "the connection was closed though nothing was sent")
    return f"open for {UNUSED:g} s"


_LINK = Option("word", required=True, refers=("link",))
ACTORS: dict[str, Actor] = {
    "link": Actor(
        {
            "to": Option("word", "proxy", choices=("proxy", "plain", "qemu")),
            "from": Option("word", ""),
            "channel": Option("word", "main", choices=tuple(CHANNELS)),
            "as_far_as": Option("word", "channel", choices=("tcp", "tls", "hello", "channel")),
            "console": Option("word", refers=("console",)),
            "password": Option("text"),
            "main": Option("word", refers=("link",)),
            "refused": Option("whole"),
            "capabilities": Option("whole", CAPABILITIES),
        },
        link,
        "proxy",
        "daemon",
    ),
    "send": Actor(
        {
            "link": _LINK,
            "type": Option("whole", required=True),
            "bytes": Option("whole", 0),
            "hex": Option("hex", ""),
            "before": Option("hex", ""),
            "says": Option("whole"),
            "then": Option("word", "stays", choices=("stays", "closed")),
        },
        send,
        "proxy",
        "daemon",
    ),
    "open": Actor({"link": _LINK}, stays_open, "proxy", "daemon"),
    "closed": Actor({"link": _LINK}, closed, "proxy", "daemon"),
}
