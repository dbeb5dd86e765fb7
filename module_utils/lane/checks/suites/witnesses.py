"""Actors that look at one part of the lane: the serial port, logs, the proxy's counters, qemu's monitor, processes."""

from __future__ import annotations

import operator
import re
import time
from typing import Any

from ...core import bounded
from ...core.errors import LaneError, one_line
from ...programs import records
from ...protocols.qmp import Qmp
from .engine import Play, Unmet
from .kinds import GROWTH
from .plan import LOOK_LIMIT, Actor, Option, Step

POLL = 0.02
RUNS = 0.1  #: seconds in which a program has to stay to count as one that runs
PREFIX = "kerbside_proxy_"
COMPARE = {None: operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt}
#: Bytes of a log or of the serial port that are looked at.
MOST_READ = 16 << 20
#: Codes of a line that is missing, and of one that must not be.
SERIAL = ("serial_line_missing", "serial_line_unexpected")
LOG = ("log_line_missing", "log_line_unexpected")
OWNERS = {"api": "kerbside", "daemon": "kerbside", "qemu": "qemu", "database": "database"}


def tail(path: str, start: int) -> str:
    """What a log holds from a place on."""
    return bounded.since(path, start, MOST_READ)


def whole_lines(text: str) -> list[tuple[int, str]]:
    """The whole lines of a text, and where each ends, in bytes from its beginning."""
    found, at = [], 0
    for line in text.splitlines(keepends=True):
        at += len(line.encode(errors="replace"))
        if line.endswith("\n"):
            found.append((at, line.rstrip("\r\n")))
    return found


def _look(play: Play, path: str, what: str, codes: tuple[str, str], options: dict[str, Any], deadline: float) -> str:
    start = play.file_since(path, options["since"])
    if options["never"] is not None:
        return _never(path, start, what, codes[1], options)
    wanted, count = options["line"], options["count"]
    pattern = re.compile(options["match"] or "")
    limit = deadline - time.monotonic()
    while True:
        text = tail(path, start)
        lines = whole_lines(text)
        found = [one for one in lines if (one[1] == wanted if wanted is not None else pattern.search(one[1]))]
        if len(found) >= count:
            end, line = found[count - 1]
            play.cursors[path] = start + end
            return one_line(line, 120) + (f" ({count} of them)" if count > 1 else "")
        if time.monotonic() >= deadline:
            said = repr(wanted) if wanted is not None else f"a line with {pattern.pattern!r}"
            last = text.splitlines()[-1:]
            ended = f"its last line is {one_line(last[0], 120)!r}" if last else "it said nothing in that time"
            ended += "" if not last or text.endswith("\n") else ", which it has not ended"
            did = f"said {said} {len(found)} times and not {count}" if count > 1 else f"did not say {said}"
            raise Unmet(codes[0], f"{what} {did} within {limit:.3g} s; {ended}", f"{path}:{_number(path)}")
        time.sleep(POLL)


def _never(path: str, start: int, what: str, code: str, options: dict[str, Any]) -> str:
    pattern, end = re.compile(options["never"]), time.monotonic() + options["seconds"]
    while True:
        for _, line in whole_lines(tail(path, start)):
            if pattern.search(line):
                raise Unmet(code, f"{what} said {one_line(line, 200)!r}", path)
        if time.monotonic() >= end:
            return f"nothing like {options['never']!r}"
        time.sleep(POLL)


def _number(path: str) -> int:
    return tail(path, 0).count("\n") or 1


def serial(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    return _look(play, play.lane.place.serial_log, "the guest's serial port", SERIAL, options, deadline)


def log(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    name = options["of"]
    try:
        return _look(play, play.lane.log(name), f"the log of {name}", LOG, options, deadline)
    except Unmet as error:
        if step.blame or name not in OWNERS:
            raise
        raise LaneError(error.code, OWNERS[name], error.problem, evidence=error.evidence) from None


def value(counters: dict[str, float], name: str) -> float:
    """The sum of the series of this name (without its prefix) that have at least the labels given in {}."""
    base, _, labels = name.partition("{")
    wanted = {label for label in labels.rstrip("}").split(",") if label}
    total = 0.0
    for series, number in counters.items():
        found, _, have = series.partition("{")
        if found == PREFIX + base and wanted <= set(have.rstrip("}").split(",")):
            total += number
    return total


def _holds(number: float, wanted: object) -> bool:
    parts = GROWTH.fullmatch(str(wanted))
    return parts is not None and bool(COMPARE[parts[1]](number, float(parts[2])))


def counters(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    while True:
        before, after = play.counters_since(options["since"]), play.lane.counters()
        seen = [(name, "grew by", value(after, name) - value(before, name)) for name in options["grow"] or {}]
        seen += [(name, "is", value(after, name)) for name in options["now"] or {}]
        wanted = [*(options["grow"] or {}).values(), *(options["now"] or {}).values()]
        wrong = [(*each, one) for each, one in zip(seen, wanted, strict=True) if not _holds(each[2], one)]
        if not wrong:
            return ", ".join(f"{name} {'+' if how == 'grew by' else 'is '}{number:g}" for name, how, number in seen)
        if time.monotonic() >= deadline:
            said = ", ".join(f"{name} {how} {number:g} and not {one}" for name, how, number, one in wrong)
            raise Unmet("counter_wrong", f"of the proxy's counters {said}")
        time.sleep(POLL)


def qemu(play: Play, step: Step, options: dict[str, Any], deadline: float) -> Any:
    with play.lane.qmp(options["of"]) as qmp:
        if options["channels"] is not None or options["differ_from"]:
            return _channels(play, qmp, options, deadline)
        while True:
            if options["monitor"]:
                answer = qmp.execute("human-monitor-command", {"command-line": options["monitor"]})
                good = re.search(options["match"] or "", answer) is not None
            else:
                answer = qmp.execute(options["execute"], options["arguments"])
                wanted = options["equals"] or {}
                good = not wanted or (isinstance(answer, dict) and wanted.items() <= answer.items())
            if good:
                return one_line(str(answer), 120)
            if time.monotonic() >= deadline:
                lacks = f"without {options['match']!r}" if options["monitor"] else f"and not {options['equals']}"
                problem = f"qemu answered {one_line(str(answer), 200)}, {lacks}"
                raise Unmet("monitor_answer_wrong", problem)
            time.sleep(POLL)


def _channels(play: Play, qmp: Qmp, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The connection ids of SPICE's channels, once their number is as wanted and none is of the set registered
    before.
    """
    before = set(play.value(options["differ_from"])["ids"]) if options["differ_from"] else set()
    while True:
        channels = qmp.execute("query-spice").get("channels") or []
        ids = {channel.get("connection-id") for channel in channels}
        encrypted = options["tls"] is None or all(channel.get("tls") is options["tls"] for channel in channels)
        if encrypted and options["channels"] in (None, len(channels)) and not ids & before and (ids or not before):
            shown = f"{len(channels)} SPICE channels" + (", none of those before" if before else "")
            unsigned = max(ids, default=0) & 0xFFFFFFFF  # as clients and kerbside have it
            return {"ids": sorted(ids), "id": unsigned, "shown": shown}
        if time.monotonic() >= deadline:
            shared = f", {len(ids & before)} of them of the connection before" if before else ""
            wanted = "" if options["channels"] in (None, len(channels)) else f" and not {options['channels']}"
            problem = f"query-spice shows {len(channels)} channels{wanted}{shared}"
            if options["tls"] is not None:
                with_tls = sum(bool(channel.get("tls")) for channel in channels)
                problem += f", {with_tls} of them with TLS and not {'all' if options['tls'] else 'none'}"
            raise Unmet("spice_channels_wrong", problem)
        time.sleep(POLL)


def processes(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    name = options["name"]
    entry = records.record(play.lane.place.lane_dir, name)
    if entry is None:
        raise Unmet("program_end_wrong", f"{name} was never started")
    lane_dir = play.lane.place.lane_dir
    if options["runs"]:
        end = min(deadline, time.monotonic() + RUNS)
        while entry.running(play.lane.run) and entry.exit_status(lane_dir) is None:
            if time.monotonic() >= end:
                return f"{name} runs"
            time.sleep(POLL)
        raise Unmet("program_end_wrong", f"{name} {records.ended_how(entry.exit_status(lane_dir))}", entry.log)
    while (status := entry.exit_status(lane_dir)) is None:
        if time.monotonic() >= deadline:
            problem = f"{name} is still running after {step.limit:g} s{entry.said()}"
            raise Unmet("program_end_wrong", problem, entry.log)
        time.sleep(POLL)
    if status != options["exits"]:
        problem = f"{name} {records.ended_how(status)} and not with {options['exits']}"
        raise Unmet("program_end_wrong", problem, entry.log)
    play.ended.add(name)
    return f"{name} ended with {status}"


def wait(play: Play, step: Step, options: dict[str, Any], deadline: float) -> None:
    time.sleep(options["seconds"])


_LINES = {
    "line": Option("word"),
    "match": Option("pattern"),
    "never": Option("pattern"),
    "count": Option("whole", 1),
    "seconds": Option("number", 0.2),
    "since": Option("word", refers=("any",)),
}
_ONE_LINE = ("line", "match", "never")
ACTORS: dict[str, Actor] = {
    "serial": Actor(_LINES, serial, "guest", one_of=_ONE_LINE, limit=LOOK_LIMIT),
    "log": Actor({"of": Option("word", required=True), **_LINES}, log, one_of=_ONE_LINE, limit=LOOK_LIMIT),
    "counters": Actor(
        {"grow": Option("growth"), "now": Option("growth"), "since": Option("word", refers=("any",))},
        counters,
        "proxy",
        "daemon",
        limit=LOOK_LIMIT,
    ),
    "qemu": Actor(
        {
            "execute": Option("word"),
            "arguments": Option("mapping"),
            "equals": Option("mapping"),
            "monitor": Option("word"),
            "match": Option("pattern"),
            "channels": Option("whole"),
            "differ_from": Option("word", refers=("qemu",)),
            "tls": Option("truth"),
            "of": Option("word", refers=("machines",)),
        },
        qemu,
        "qemu",
        "qemu",
        one_of=("execute", "monitor", "channels"),
        limit=LOOK_LIMIT,
    ),
    "process": Actor(
        {"name": Option("word", required=True), "exits": Option("whole"), "runs": Option("truth")},
        processes,
        one_of=("exits", "runs"),
        limit=LOOK_LIMIT,
    ),
    "wait": Actor({"seconds": Option("limit", required=True)}, wait),
}
