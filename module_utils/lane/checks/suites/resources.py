"""Actors that see what sessions leave behind in kerbside's programs and ryll, and what these do while nobody is
connected.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core import proc_stat
from ...core.errors import LaneError
from ...lifecycle import proc
from ...programs import records
from ...protocols import kerbside_api
from .engine import Play
from .latency import inputs_of
from .plan import CLIENT, LOOK_LIMIT, Actor, Option, Step

POLL = 0.1
#: What is measured, with the words for it.
FIGURES = {
    "files": "open files",
    "threads": "threads",
    "memory": "MiB of memory",
    "processor": "ms of a processor",
    "log": "bytes in its log",
}
OWNERS = {"api": "kerbside", "daemon": "kerbside", "proxy": "proxy", "ryll": "ryll"}
LOGS = {"proxy": "daemon", "ryll": CLIENT}  #: where each end of a connection writes
ADDRESSES = 2  #: that kerbside's proxy is told: for its ports, and for its counters
ANONYMOUS = re.compile(r"(?m)^RssAnon:\s+(\d+) kB$")
KEEPALIVE = "02"  #: the timer that sees whether an idle peer is there (proc_net_tcp in Linux's documentation)


def _programs(play: Play) -> Iterator[tuple[str, str, list[proc.Process]]]:
    """Name, log and processes of the API, the daemon, the proxy, which is the daemon's child, and ryll if it runs."""
    for name in ("api", "daemon"):
        if (entry := records.record(play.lane.place.lane_dir, name)) is None:
            raise LaneError("program_not_running", "lane", f"{name} was not started, so it uses nothing")
        members, pid = entry.members(), entry.pid
        proxies = [one for one in members if name == "daemon" and one.parent == pid]
        yield name, entry.log, [one for one in members if one not in proxies]
        if proxies:
            yield "proxy", "", proxies  # it writes into the daemon's log
    if (entry := records.record(play.lane.place.lane_dir, CLIENT)) and (members := entry.members()):
        yield CLIENT, entry.log, members


def _use(log: str, processes: list[proc.Process]) -> dict[str, float]:
    """What a program's processes use together, in the units of FIGURES."""
    found = dict.fromkeys(FIGURES, 0.0)
    found["log"] = os.stat(log).st_size if log else 0
    for process in processes:
        with suppress(OSError):  # one that has ended meanwhile uses nothing
            found["files"] += len(os.listdir(f"/proc/{process.pid}/fd"))
            if anonymous := ANONYMOUS.search(Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")):
                found["memory"] += int(anonymous[1]) / 1024
        found["threads"] += process.threads
        found["processor"] += 1000 * proc_stat.processor_seconds(process.pid)
    return found


def resources(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """What API, daemon and proxy use; with `since`, none of them more than it did then by more than these numbers."""
    before = play.value(options["since"])["used"] if options["since"] else {}
    allowed = {name: options[name] for name in FIGURES if options[name] is not None}
    while True:
        seen = {name: (log, _use(log, processes)) for name, log, processes in _programs(play)}
        used = {name: found for name, (_, found) in seen.items()}
        both = used.keys() & before.keys()
        grown = {name: {key: used[name][key] - before[name][key] for key in allowed} for name in both}
        wrong = [(name, key) for name, found in grown.items() for key in allowed if found[key] > allowed[key]]
        if not wrong:
            most = {key: max((found[key] for found in grown.values()), default=0) for key in allowed}
            return {"used": used, "shown": ", ".join(f"at most {most[key]:.1f} more {FIGURES[key]}" for key in most)}
        if time.monotonic() >= deadline:
            name, key = wrong[0]
            more = f"{grown[name][key]:.0f} more {FIGURES[key]} than before"
            problem = f"{name} has {more}, and not at most {allowed[key]} more"
            raise LaneError("resources_grew", OWNERS[name], problem, evidence=seen[name][0] or play.lane.log("daemon"))
        time.sleep(POLL)


def listeners(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """API, daemon and proxy listen on the lane's address alone.

    What the proxy does elsewhere is kerbside's fault unless kerbside told it that address for its ports and its
    counters.
    """
    address = play.lane.place.address
    elsewhere = [one for one in proc.connections() if one.state == proc.LISTEN and one.local[0] != address]
    for name, _, processes in _programs(play):
        inodes = proc.socket_inodes(one.pid for one in processes)
        if wrong := [one.local for one in elsewhere if one.inode in inodes]:
            told = Path(f"/proc/{processes[0].pid}/cmdline").read_text(encoding="utf-8").split("\0").count(address)
            problem = f"{name} listens on {wrong[0][0]}:{wrong[0][1]}, and not on {address} alone"
            raise LaneError("listens_elsewhere", OWNERS[name] if told == ADDRESSES else "kerbside", problem)
    return f"only on {address}"


def keepalive(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Both ends of each connection between the proxy and its clients have TCP's keepalive timer."""
    port = play.lane.place.proxy_port
    while True:
        found = [one for one in proc.connections() if one.state == proc.ESTABLISHED]
        ends = {
            "proxy": [one for one in found if one.local[1] == port],
            "ryll": [one for one in found if one.remote[1] == port],
        }
        without = {name: sum(one.timer != KEEPALIVE for one in mine) for name, mine in ends.items()}
        if all(ends.values()) and not any(without.values()):
            return f"of both ends of {len(ends['ryll'])} connections"
        if time.monotonic() >= deadline:
            wrong = max(without, key=lambda name: without[name])
            problem = (
                f"{without[wrong]} of {len(ends[wrong])} connections have no keepalive timer at the end of {wrong}"
            )
            raise LaneError("keepalive_missing", wrong, problem, evidence=play.lane.log(LOGS[wrong]))
        time.sleep(POLL)


def sessions(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Sessions one after the other, each with a console.vv and the channels of its own, while the API lists it."""
    headers = kerbside_api.headers(play.lane.token())
    for _ in range(options["count"]):
        with inputs_of(play, proxied=True):
            play.lane.request("GET", "/session", headers)
    return f"{options['count']} sessions"


ACTORS: dict[str, Actor] = {
    "resources": Actor(
        {"since": Option("word", refers=("resources",)), **{name: Option("whole") for name in FIGURES}}, resources
    ),
    "listeners": Actor({}, listeners),
    "keepalive": Actor({}, keepalive, "proxy", "daemon", limit=LOOK_LIMIT),
    "sessions": Actor({"count": Option("whole", 10)}, sessions, "proxy", "daemon"),
}
