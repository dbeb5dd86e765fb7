"""Actors for sessions over a slow network link: the link itself, and whether its rate was what it was to be."""

from __future__ import annotations

import time
from typing import Any

from ...core.errors import LaneError
from ...protocols.link_relay import LinkRelay
from .engine import Play
from .pictures import TO_CLIENT
from .plan import Actor, Option, Step
from .witnesses import value

#: How far a link's delay may be off, and how much faster than its rate it may be, as a part of it.
OFF = 0.2


def link_relay(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """A slow link to kerbside-proxy, until the end of the suite. Registers its port."""
    place, delay, rate = play.lane.place, options["delay_ms"] / 1000, options["mbit"] * 1e6
    relay = LinkRelay(place.proxy_port, delay, rate)
    play.held.append(relay)
    shown = f"{2000 * delay:g} ms there and back, {options['mbit']:g} Mbit/s"
    return {"port": relay.port, "delay": 2 * delay, "rate": rate, "shown": shown}


def paced(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """What the proxy has sent since then, all of which has arrived, took as long as the link's rate says."""
    link, mark = play.value(options["link"]), play.marks[options["since"]]
    took = time.monotonic() - mark.at
    sent = value(play.lane.counters(), TO_CLIENT) - value(mark.counters or {}, TO_CLIENT)
    shown = f"{sent:.0f} bytes in {took:.2f} s over {link['rate'] / 1e6:g} Mbit/s"
    if took < (1 - OFF) * 8 * sent / link["rate"]:
        raise LaneError("link_relay_wrong", "lane", f"the relay for the slow link is too fast: {shown}")
    return shown


ACTORS: dict[str, Actor] = {
    "link_relay": Actor({"delay_ms": Option("delay", 0), "mbit": Option("rate", required=True)}, link_relay),
    "paced": Actor(
        {
            "link": Option("word", required=True, refers=("link_relay",)),
            "since": Option("word", required=True, refers=("any",)),
        },
        paced,
    ),
}
