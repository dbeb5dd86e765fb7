"""Actors that measure: how long qemu's acknowledgement takes through kerbside-proxy and without it, and a key to its
line on the serial port and to its picture.
"""

from __future__ import annotations

import os
import random
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from ...core.errors import LaneError
from ...protocols.ryll import steps as ryll_steps
from ...protocols.spice_link import CHANNELS, Link, LinkClosed, LinkRefused
from .engine import Play, Unmet
from .plan import Actor, Option, Step, prelude
from .slow_links import OFF
from .stage import read_text
from .witnesses import tail, whole_lines

#: SPICE_MSGC_INPUTS_MOUSE_MOTION, and the acknowledgement that qemu gives for every fourth (spice-protocol: enums.h).
MOTION = 111
MOTIONS_PER_ACK = 4
MOTION_ACK = 111
#: SPICE_MSGC_INPUTS_KEY_DOWN and _UP, and the scancode of x, which the latter has with a bit more.
KEY_DOWN, KEY_UP, X, RELEASED = 101, 102, 0x2D, 0x80
#: Seconds for one acknowledgement, or one line.
LONGEST = 5.0
SERIAL_POLL = 0.0005


def _way(proxied: bool) -> str:
    return "through the proxy" if proxied else "directly to qemu"


@contextmanager
def inputs_of(play: Play, proxied: bool, port: int | None = None) -> Iterator[Link]:
    """The inputs channel of a bare session of its own, through the proxy (by another port, such as a slow link's) or
    directly to qemu.
    """
    place = play.lane.place
    ca = Path(place.ca_file).read_text(encoding="ascii") if proxied else None
    password = play.lane.console()["password"] if proxied else read_text(place.ticket_file)
    port = port or (place.proxy_port if proxied else place.spice_port)
    try:
        with Link(port, ca) as main:
            main.link(CHANNELS["main"], password)
            with Link(port, ca) as inputs:
                inputs.link(CHANNELS["inputs"], password, main.session)
                yield inputs
    except (LinkClosed, LinkRefused, TimeoutError) as error:
        raise Unmet("link_wrong", f"a session {_way(proxied)} failed: {error}", play.lane.log("daemon")) from None


def acknowledgements(play: Play, proxied: bool, rounds: int, port: int | None = None) -> list[float]:
    """Seconds from four movements of the mouse to their acknowledgement, for each round, on a session of its own."""
    motion = struct.pack("<iiH", 0, 0, 0)
    found = []
    with inputs_of(play, proxied, port) as inputs:
        for _ in range(rounds):
            begun = time.monotonic()
            for _ in range(MOTIONS_PER_ACK):
                inputs.send(MOTION, motion)
            while inputs.receive(begun + LONGEST)[0] != MOTION_ACK:
                pass
            found.append(time.monotonic() - begun)
    return found


def _figures(seconds: list[float]) -> str:
    found = _percentiles(seconds)
    return f"p50 {found[10]:.2f} ms, p95 {found[19]:.2f} ms"


def _percentiles(seconds: list[float]) -> list[float]:
    """Milliseconds at every fifth percentile, from the least to the most: the 11th is p50, the 20th p95."""
    found = sorted(seconds)
    return [round(1000 * found[round(number / 20 * (len(found) - 1))], 3) for number in range(21)]


def _measured(shown: str, **seconds: list[float]) -> dict[str, Any]:
    """What a step returns. seconds: by the way that they were taken on."""
    return {"shown": shown, "latency": {way: _percentiles(found) for way, found in seconds.items()}}


def acknowledged(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The acknowledgement, proxied and direct in turn.

    through: over that slow link to the proxy and without it in turn, where the link has to add its delay.
    """
    rounds = options["rounds"]
    if not options["through"]:
        return compared(options, "the acknowledgement", lambda proxied: acknowledgements(play, proxied, rounds))
    link = play.value(options["through"])
    ports = {False: None, True: link["port"]}
    near, far = in_turn(options["turns"], lambda away: acknowledgements(play, True, rounds, ports[away]))
    added = fastest(far) - fastest(near)
    over, without = list(chain(*far)), list(chain(*near))
    gap = f"added {1000 * added:.1f} of {1000 * link['delay']:g} ms"
    figures = f"over the link {_figures(over)}; without it {_figures(without)}; {gap}"
    if abs(added - link["delay"]) > OFF * link["delay"]:
        raise LaneError("link_relay_wrong", "lane", f"the relay for the slow link does not add its delay: {figures}")
    return _measured(figures, **{"over the slow link": over, "through kerbside": without})


def in_turn(turns: int, once: Callable[[bool], list[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """The turns of the short way and of the long one, so that what else the machine does hits both alike."""
    found: tuple[list[list[float]], list[list[float]]] = [], []
    for _ in range(turns):
        for long in (False, True):
            found[long].append(once(long))
    return found


def fastest(turns: list[list[float]]) -> float:
    """The median of the fastest turn: a busy machine makes single turns slow, a slow product all."""
    return min(map(statistics.median, turns))


def compared(options: dict[str, Any], what: str, once: Callable[[bool], list[float]]) -> dict[str, Any]:
    """Both ways in turn, gated by the ratio of their fastest turns. once: the seconds of one turn, proxied or not."""
    direct, proxied = in_turn(options["turns"], once)
    ratio = fastest(proxied) / fastest(direct)
    through, around = list(chain(*proxied)), list(chain(*direct))
    figures = f"proxied {_figures(through)}; direct {_figures(around)}; ratio {ratio:.1f}"
    if ratio > options["most"]:
        longer = f"{what} through the proxy takes {ratio:.1f} times as long, at most {options['most']:g}"
        raise Unmet("latency_ratio", f"{longer}: {figures}")
    return _measured(figures, **{"through kerbside": through, "directly to qemu": around})


def key_to_serial(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """From a key to the guest's line about it on its serial port, proxied and direct in turn."""
    return compared(options, "a key to its serial line", lambda proxied: serial_lines(play, proxied, options["keys"]))


def serial_lines(play: Play, proxied: bool, keys: int) -> list[float]:
    """Seconds from each key to its line, on a session of its own, at random intervals as a person types."""
    path = play.lane.place.serial_log
    found = []
    with inputs_of(play, proxied) as inputs:
        for _ in range(keys):
            time.sleep(random.uniform(0.02, 0.05))
            at, begun = os.stat(path).st_size, time.monotonic()
            inputs.send(KEY_DOWN, struct.pack("<I", X))
            inputs.send(KEY_UP, struct.pack("<I", X | RELEASED))
            while not any(line == "key: x" for _, line in whole_lines(tail(path, at))):
                if time.monotonic() - begun > LONGEST:
                    raise Unmet("serial_line_missing", f"the guest did not tell of a key sent {_way(proxied)}", path)
                time.sleep(SERIAL_POLL)
            found.append(time.monotonic() - begun)
    return found


def key_to_draw(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """From the request for a key to the next draw.

    than: the same by another way. The gate is the ratio of the two lower quartiles: what else the machine does makes
    single keys slow, and qemu, which refreshes every 30 ms, hides what is much less than that.
    """
    talk = play.talk(step.client)
    drawn = {"expect_event": {"event": "surface_drawn"}, "within": 5}
    steps = [*prelude(["surface_drawn"]), {"send_key": {"key": "x"}}, drawn]
    press, draw = ryll_steps.plan(steps)[2:]
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
            longer = f"a key takes {ratio:.1f} times as long to its picture through the proxy"
            raise Unmet("latency_ratio", f"{longer}, at most {options['most']:g}: {figures}")
    way = "directly to qemu" if step.client in play.direct else "through kerbside"
    return {**_measured(figures, **{way: found}), "quarter": quarter}


ACTORS: dict[str, Actor] = {
    "acknowledged": Actor(
        {
            "turns": Option("whole", 4),
            "rounds": Option("whole", 100),
            "most": Option("number", 20),
            "through": Option("word", refers=("link_relay",)),
        },
        acknowledged,
        "proxy",
    ),
    "key_to_serial": Actor(
        {"turns": Option("whole", 3), "keys": Option("whole", 20), "most": Option("number", 4)}, key_to_serial, "proxy"
    ),
    "key_to_draw": Actor(
        {"keys": Option("whole", 20), "than": Option("word", refers=("key_to_draw",)), "most": Option("number", 2.5)},
        key_to_draw,
        "proxy",
    ),
}
