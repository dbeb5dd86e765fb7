"""Rules of the diagnosis: the machine's limits, and programs that did not start or do not work. session_rules.py has
those of a connection.

A rule reads the evidence and returns the failure that it found, or None. It names the faults of
tests/faults/catalogue.yml, or the bugs of tests/mutation/proxy.yml, that are blamed wrongly without it. What the logs
contain was seen on the real programs (docs/diagnosis.md).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from ..core import limits
from ..core.errors import PRODUCT, LaneError, one_line
from ..lifecycle import proc
from ..programs import loss
from ..protocols import program_end
from .log_excerpt import quoted, readable
from .observed import Evidence, Line

#: With less free space than this, in bytes, mariadbd, qemu or a log cannot go on.
LEAST_SPACE = 1 << 20
#: MariaDB's server errors for a user who lacks a privilege (mariadb.com/kb: error codes).
DENIED = re.compile(r'\(\\*"?(1044|1045|1049|1142|1143|1227|1698), \\*["\'](.{0,200}?)\\*["\']\)')
NO_SPACE = re.compile(
    r"No space left on device|Errcode: 28\b|os error 28\b|OS error(?: code)? 28\b|errno: 28\b|error 28\b", re.IGNORECASE
)
#: The line of a cause below "Caused by:" in the errors of kerbside-proxy and ryll (Rust's anyhow).
CAUSE = re.compile(r"^ {4}(?: *\d+: )?(?=\S)")
WORKER_KILLED = re.compile(r"Worker \(pid:\d+\) was sent SIG(?:KILL|SEGV|ABRT|BUS)")
#: The programs that a smoke check needs.
NEEDED = ("qemu", "database", "api", "daemon")


Rule = Callable[[Evidence], LaneError | None]
#: Name -> rule, in the order in which they are applied: what affects everything first, what only one connection shows
#: last.
RULES: dict[str, Rule] = {}
#: Name -> the faults that need it.
FAULTS: dict[str, tuple[str, ...]] = {}


def rule(*faults: str) -> Callable[[Rule], Rule]:
    """Make a function a rule; faults: those that are blamed wrongly without it."""

    def register(function: Rule) -> Rule:
        RULES[function.__name__] = function
        FAULTS[function.__name__] = faults
        return function

    return register


def at(line: Line, code: str, component: str, problem: str) -> LaneError:
    """A failure that a line of a log shows."""
    return LaneError(code, component, problem, f"see logs/{Path(line.file).name}", evidence=line.place)


@rule("work-dir-full")
def disk_full(seen: Evidence) -> LaneError | None:
    """The disk of the lane's directory is full: whatever program fails then is not at fault."""
    space = os.statvfs(seen.lane_dir)
    said = next((found for name in seen.records if (found := seen.find(name, NO_SPACE))), None)
    free = space.f_bavail * space.f_frsize
    if said is None and free >= LEAST_SPACE:
        return None
    words = f", and {Path(said[0].file).stem} says: {quoted(said[0].text)}" if said else ""
    problem = f"the disk of {seen.lane_dir} is full: {free // 1024} KiB are free{words}"
    return LaneError("disk_full", "host", problem, f"see df {seen.lane_dir}", evidence=said[0].place if said else None)


@rule("memory-too-small", "files-limited", "processes-limited")
def limit_of_machine(seen: Evidence) -> LaneError | None:
    """A program ran into a limit of the machine: memory, open files, processes."""
    if seen.blame["component"] not in PRODUCT:
        return None
    for name in seen.records:
        for line in seen.log(name):
            if reached := limits.limit_reached(line.text):
                code, problem = reached
                return LaneError(code, "host", f"{problem}; {name} says: {quoted(line.text)}", evidence=line.place)
    return None


@rule("certificate-v1", "key-of-another-certificate", "key-unreadable", "certificate-empty")
def proxy_refuses_its_certificate(seen: Evidence) -> LaneError | None:
    """The proxy ends at once because of its certificate or key; the daemon ends with it."""
    said = seen.find("daemon", r"^Error: (?:loading|opening) TLS |invalid peer certificate: ")
    if said is None or _running(seen, "daemon"):
        return None
    # from the outermost to the root
    causes = [line for line in seen.log("daemon") if line.number > said[0].number and CAUSE.match(line.text)]
    chain = causes or [said[0]]
    words = one_line(": ".join(CAUSE.sub("", readable(line.text)) for line in chain), 300)
    problem = f"kerbside-proxy refuses its certificate or key: {words}"
    return at(chain[-1], "proxy_certificate_refused", "tls", problem)


@rule("proxy-port-taken-late", "spice-port-taken-late")
def port_was_taken(seen: Evidence) -> LaneError | None:
    """The proxy or qemu cannot listen because another process does."""
    program, said = "qemu", seen.find("qemu", r"binding socket to \S+:(\d+) failed")
    if said is None and seen.find("daemon", r"Address already in use"):
        program, said = "kerbside-proxy", seen.find("daemon", r"binding .* listener on \S+:(\d+)")
    if said is None:
        return None
    port = int(said[1][1])
    owner = proc.listener(port) or "a process that has ended since"
    return at(said[0], "port_taken", "environment", f"port {port}, which {program} needs, was taken by {owner}")


@rule("proxy-of-another-version")
def proxy_does_not_fit(seen: Evidence) -> LaneError | None:
    """The daemon asks the proxy for its contract before it starts it, and refuses one that answers otherwise or not at
    all.
    """
    said = seen.find("daemon", r"The kerbside-proxy binary at (\S+) does not match this kerbside version")
    if said is None or _running(seen, "daemon"):
        return None
    problem = (
        f"kerbside-proxy does not fit kerbside's version: {said[1][1]} does not know its contract, and the daemon "
        "refuses to start it"
    )
    return at(said[0], "proxy_incompatible", "proxy", problem)


@rule("proxy-exits-at-once", "proxy-killed")
def proxy_ended(seen: Evidence) -> LaneError | None:
    """The daemon ends because its child, the proxy, has; or it has not noticed yet."""
    entry = seen.records.get("daemon")
    if entry is None:
        return None
    if died := program_end.of_proxy(entry):
        return died
    if entry.ready_seconds is not None and entry.pid and loss.PROXY not in {m.name for m in entry.members()}:
        problem = "kerbside-proxy is gone although the daemon, which started it, still runs"
        return LaneError("proxy_ended", "proxy", problem, "see logs/daemon.log", evidence=entry.log)
    return None


@rule(
    "qemu-killed",
    "database-killed",
    "daemon-killed",
    "api-killed",
    "qemu-stopped",
    "database-stopped",
    "proxy-stopped",
    "guest-powers-off",
    "daemon-thread-dead",
    "firmware-exception",
    "guest-exception",
    "kerbside-never-ready",
    "qemu-killed-for-memory",
)
def program_lost(seen: Evidence) -> LaneError | None:
    """A program does not work. ryll is the last of every chain and has a rule of its own."""
    for gone in seen.lost:
        never_ready = gone.entry.ready_seconds is None and not gone.entry.oneshot
        if gone.entry.name == loss.CLIENT or (never_ready and seen.blame["phase"] != "smoke"):
            continue  # the task that started it has reported it with more words
        return program_end.failure(gone, seen.lane_dir, seen.serial)
    return None


@rule("kerbside-never-started")
def never_started(seen: Evidence) -> LaneError | None:
    """A smoke check on a lane that was not brought up completely."""
    missing = [name for name in NEEDED if name not in seen.records]
    if seen.blame["phase"] != "smoke" or not missing:
        return None
    problem = f"the lane is not complete: never started: {', '.join(missing)}"
    return LaneError("never_started", "lane", problem, "run ./lane up first")


@rule("api-workers-die")
def workers_die(seen: Evidence) -> LaneError | None:
    """gunicorn goes on, and starts one worker after another that does not live long enough to answer."""
    gone = [line for line in seen.log("api") if WORKER_KILLED.search(line.text)]
    if len(gone) < 2 or seen.blame["component"] != "kerbside":
        return None
    problem = f"{len(gone)} workers of kerbside's API were killed one after another, the last with: "
    problem += quoted(gone[-1].text)
    if rise := limits.rise(seen.records["api"].counters):
        problem += f"; the kernel killed processes for memory ({rise})"
        return at(gone[-1], "out_of_memory", "host", problem)
    return at(gone[-1], "api_workers_die", "kerbside", problem)


@rule("database-grant-wrong")
def database_denies(seen: Evidence) -> LaneError | None:
    """kerbside reaches its database, and the database refuses its user."""
    if seen.blame["component"] not in ("kerbside", "proxy", "ryll"):
        return None
    for name in ("schema", "api", "daemon"):
        if said := seen.find(name, DENIED):
            line, match = said
            problem = f"the database denies kerbside access: error {match[1]}: {one_line(match[2], 160)}"
            return at(line, "database_denies", "database", problem)
    return None


def _running(seen: Evidence, name: str) -> bool:
    entry = seen.records.get(name)
    return entry is not None and entry.pid is not None
