"""Actors that measure: how long qemu's acknowledgement takes through kerbside-proxy and without it, and a key to its
picture.
"""

from __future__ import annotations

import random
import statistics
import struct
import time
from itertools import chain
from pathlib import Path
from typing import Any

from ...protocols.ryll import steps as ryll_steps
from ...protocols.spice_link import CHANNELS, Link, LinkClosed, LinkRefused
from .engine import Play, Unmet
from .plan import Actor, Option, Step
from .stage import read_text

#: SPICE_MSGC_INPUTS_MOUSE_MOTION, and the acknowledgement that qemu gives for every fourth (spice-protocol: enums.h).
MOTION = 111
MOTIONS_PER_ACK = 4
MOTION_ACK = 111
#: Seconds for one acknowledgement.
LONGEST = 5.0


def acknowledgements(play: Play, proxied: bool, rounds: int, port: int | None = None) -> list[float]:
    """Seconds from four movements of the mouse to their acknowledgement, for each round, on a session of its own."""
    place = play.lane.place
    ca = Path(place.ca_file).read_text(encoding="ascii") if proxied else None
    password = play.lane.console()["password"] if proxied else read_text(place.ticket_file)
    port = port or (place.proxy_port if proxied else place.spice_port)
    motion = struct.pack("<iiH", 0, 0, 0)
    found = []
    try:
        with Link(place.address, port, ca) as main, Link(place.address, port, ca) as inputs:
            main.link(CHANNELS["main"], password)
            inputs.link(CHANNELS["inputs"], password, main.session)
            for _ in range(rounds):
                begun = time.monotonic()
                for _ in range(MOTIONS_PER_ACK):
                    inputs.send(MOTION, motion)
                while inputs.receive(begun + LONGEST)[0] != MOTION_ACK:
                    pass
                found.append(time.monotonic() - begun)
    except (LinkClosed, LinkRefused, TimeoutError) as error:
        where = "through the proxy" if proxied else "directly to qemu"
        raise Unmet(
            "link_wrong",
            f"no acknowledgement came {where} after {len(found)} of {rounds}: {error}",
            play.lane.log("daemon"),
        ) from None
    return found


def _figures(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=20)
    return f"p50 {1000 * cuts[9]:.2f} ms, p95 {1000 * cuts[18]:.2f} ms"


def _percentiles(seconds: list[float]) -> list[float]:
    """Milliseconds at every fifth percentile, from the least to the most, for the report's plot."""
    found = sorted(seconds)
    return [round(1000 * found[round(number / 20 * (len(found) - 1))], 3) for number in range(21)]


def acknowledged(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The acknowledgement, proxied and direct in turn, so that what else the machine does hits both alike.

    The gate is the ratio of the fastest turn's medians: a busy machine makes single turns slow, a slow proxy all.
    """
    proxied: list[list[float]] = []
    direct: list[list[float]] = []
    for _ in range(options["turns"]):
        direct.append(acknowledgements(play, False, options["rounds"]))
        proxied.append(acknowledgements(play, True, options["rounds"]))
    ratio = min(map(statistics.median, proxied)) / min(map(statistics.median, direct))
    through, around = list(chain(*proxied)), list(chain(*direct))
    figures = f"proxied {_figures(through)}; direct {_figures(around)}; ratio {ratio:.1f}"
    if ratio > options["most"]:
        raise Unmet(
            "latency_ratio",
            f"the acknowledgement through the proxy takes {ratio:.1f} times as long, "
            f"at most {options['most']:g}: {figures}",
        )
    return {
        "shown": figures,
        "latency": {"through kerbside": _percentiles(through), "directly to qemu": _percentiles(around)},
    }


def key_to_draw(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """From the request for a key to the next draw.

    than: the same by another way. The gate is the ratio of the two lower quartiles: what else the machine does makes
    single keys slow, and qemu, which refreshes every 30 ms, hides what is much less than that.
    """
    talk = play.talk(step.client)
    press, draw = ryll_steps.plan(
        [
            {"hello": {}},
            {"subscribe": {"events": ["surface_drawn"]}},
            {"send_key": {"key": "x"}},
            {"expect_event": {"event": "surface_drawn"}, "within": 5},
        ]
    )[2:]
    talk.subscribe(["surface_drawn"])
    found = []
    for _ in range(options["keys"]):
        time.sleep(random.uniform(0.05, 0.15))
        talk.subscribe([])  # forgets what was drawn before
        begun = time.monotonic()
        talk.play(press)
        talk.play(draw)
        found.append(time.monotonic() - begun)
    quarter, figures = statistics.quantiles(found, n=4)[0], _figures(found)
    if options["than"]:
        other = play.value(options["than"])
        ratio = other["quarter"] / quarter
        figures = f"proxied {other['shown']}; direct {figures}; ratio {ratio:.1f}"
        if ratio > options["most"]:
            raise Unmet(
                "latency_ratio",
                f"a key takes {ratio:.1f} times as long to its picture through the proxy, at most "
                f"{options['most']:g}: {figures}",
            )
    # "": the engine knows how the client is connected
    return {"shown": figures, "quarter": quarter, "latency": {"": _percentiles(found)}}


ACTORS: dict[str, Actor] = {
    "acknowledged": Actor(
        {"turns": Option("whole", 4), "rounds": Option("whole", 100), "most": Option("number", 20)},
        acknowledged,
        "proxy",
    ),
    "key_to_draw": Actor(
        {
            "keys": Option("whole", 20),
            "than": Option("word", refers=("key_to_draw",)),
            "most": Option("number", 2.5),
        },
        key_to_draw,
        "proxy",
    ),
}
