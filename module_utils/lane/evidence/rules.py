"""Rules of the diagnosis: the machine's limits, and programs that did not start or do not work. session_rules.py has
those of a connection.

A rule reads the evidence and returns what it found, or None. It names the faults of tests/faults/catalogue.yml that are
blamed wrongly without it. What the logs contain was seen on the real programs (docs/diagnosis.md).
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core import limits
from ..core.errors import PRODUCT, one_line
from ..lifecycle import proc
from ..programs import loss, records
from .log_excerpt import quoted, readable
from .observed import Evidence

#: With less free space than this, in bytes, mariadbd, qemu or a log cannot go on.
LEAST_SPACE = 1 << 20
#: MariaDB's server errors for a user who lacks a privilege (mariadb.com/kb: error codes).
DENIED = re.compile(r'\(\\*"?(1044|1045|1049|1142|1143|1227|1698), \\*["\'](.{0,200}?)\\*["\']\)')
NO_SPACE = re.compile(
    r"No space left on device|Errcode: 28\b|os error 28\b|OS error(?: code)? 28\b|errno: 28\b|error 28\b", re.IGNORECASE
)
#: The line of a cause below "Caused by:" in the errors of kerbside-proxy and ryll (Rust's anyhow).
CAUSE = re.compile(r"^ {4}(?: *\d+: )?(?=\S)")
#: OVMF starts the guest's program, and has done its own part.
BOOTED = re.compile(r"BdsDxe: starting ")
#: The programs that a smoke check needs.
NEEDED = ("qemu", "database", "api", "daemon")


@dataclass(frozen=True)
class Found:
    """What a rule found: as LaneError has it. evidence: a path below the lane's directory, with ":LINE" where one fits,
    or None.
    """

    code: str
    component: str
    problem: str
    fix: str = ""
    evidence: str | None = None

    @property
    def cause(self) -> str:
        return one_line(f"{self.problem}; {self.fix}" if self.fix else self.problem, 800)


Rule = Callable[[Evidence], Found | None]
#: Name -> rule, in the order in which they are applied: what affects everything first, what only one connection shows
#: last.
RULES: dict[str, Rule] = {}
#: Name -> the faults of the catalogue that need it.
FAULTS: dict[str, tuple[str, ...]] = {}


def rule(*faults: str) -> Callable[[Rule], Rule]:
    """Make a function a rule; faults: those of the catalogue that are blamed wrongly without it."""

    def register(function: Rule) -> Rule:
        RULES[function.__name__] = function
        FAULTS[function.__name__] = faults
        return function

    return register


@rule("work-dir-full")
def disk_full(seen: Evidence) -> Found | None:
    """The disk of the lane's directory is full: whatever program fails then is not at fault."""
    space = os.statvfs(seen.lane_dir)
    said = next((found for name in seen.records if (found := seen.find(name, NO_SPACE))), None)
    free = space.f_bavail * space.f_frsize
    if said is None and free >= LEAST_SPACE:
        return None
    words = f", and {Path(said[0].file).stem} says: {quoted(said[0].text)}" if said else ""
    problem = f"the disk of {seen.lane_dir} is full: {free // 1024} KiB are free{words}"
    return Found("disk_full", "host", problem, f"see df {seen.lane_dir}", said[0].place if said else None)


@rule("memory-too-small", "files-limited", "processes-limited")
def limit_of_machine(seen: Evidence) -> Found | None:
    """A program ran into a limit of the machine: memory, open files, processes."""
    if seen.blame["component"] not in PRODUCT:
        return None
    for name in seen.records:
        for line in seen.log(name):
            if reached := limits.limit_reached(line.text):
                code, problem = reached
                return Found(code, "host", f"{problem}; {name} says: {quoted(line.text)}", evidence=line.place)
    return None


@rule("certificate-v1", "key-of-another-certificate", "key-unreadable", "certificate-empty")
def proxy_refuses_its_certificate(seen: Evidence) -> Found | None:
    """The proxy ends at once because of its certificate or key; the daemon ends with it."""
    said = seen.find("daemon", r"^Error: (?:loading|opening) TLS |invalid peer certificate: ")
    if said is None or _running(seen, "daemon"):
        return None
    # from the outermost to the root
    chain = [line for line in seen.log("daemon") if line.number > said[0].number and CAUSE.match(line.text)] or [
        said[0]
    ]
    words = one_line(": ".join(CAUSE.sub("", readable(line.text)) for line in chain), 300)
    return Found(
        "proxy_certificate_refused",
        "tls",
        f"kerbside-proxy refuses its certificate or key: {words}",
        "see logs/daemon.log",
        chain[-1].place,
    )


@rule("proxy-port-taken-late")
def port_was_taken(seen: Evidence) -> Found | None:
    """The proxy cannot listen because another process does."""
    said = seen.find("daemon", r"binding .* listener on (\S+)")
    if said is None or not seen.find("daemon", r"Address already in use"):
        return None
    port = int(said[1][1].rpartition(":")[2])
    owner = proc.listener(port) or "a process that has ended since"
    return Found(
        "port_taken",
        "environment",
        f"port {port}, which kerbside-proxy needs, was taken by {owner}",
        "see logs/daemon.log",
        said[0].place,
    )


@rule("proxy-of-another-version")
def proxy_does_not_fit(seen: Evidence) -> Found | None:
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
    return Found("proxy_incompatible", "proxy", problem, "see logs/daemon.log", said[0].place)


@rule("proxy-exits-at-once", "proxy-killed")
def proxy_ended(seen: Evidence) -> Found | None:
    """The daemon ends because its child, the proxy, has; or it has not noticed yet."""
    entry = seen.records.get("daemon")
    # it may have ended before ryll started
    if entry and (said := seen.find("daemon", r"Rust proxy child died with exit code (-?\d+)", whole=True)):
        status = records.status_of_returncode(int(said[1][1]))
        if status == 128 + signal.SIGKILL and (rise := limits.rise(entry.counters)):
            return Found(
                "out_of_memory",
                "host",
                f"kerbside-proxy was killed by the kernel for memory ({rise})",
                evidence=said[0].place,
            )
        problem = f"kerbside-proxy {records.ended_how(status)}, and the daemon ended with it"
        return Found("proxy_ended", "proxy", problem, "see logs/daemon.log", said[0].place)
    if (
        entry
        and entry.ready_seconds is not None
        and entry.pid
        and not any(m.name == loss.PROXY for m in entry.members())
    ):
        return Found(
            "proxy_ended",
            "proxy",
            "kerbside-proxy is gone although the daemon, which started it, still runs",
            "see logs/daemon.log",
            entry.log,
        )
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
def program_lost(seen: Evidence) -> Found | None:
    """A program does not work. ryll is the last of every chain and has a rule of its own."""
    for gone in seen.lost:
        never_ready = gone.entry.ready_seconds is None and not gone.entry.oneshot
        if gone.entry.name == loss.CLIENT or (never_ready and seen.blame["phase"] != "smoke"):
            continue  # the task that started it has reported it with more words
        if gone.entry.name == "qemu" and gone.entry.exit_status(seen.lane_dir) == 0:
            problem = (
                "qemu ended with status 0: the guest switched itself off or reset the machine (qemu runs with "
                "-no-reboot)"
            )
            return Found("guest_ended", "guest", problem, "see logs/serial.log", seen.serial_path)
        if gone.code == "program_broken" and gone.component == "firmware" and BOOTED.search(seen.serial):
            problem = (
                "the guest's program died of an exception, which the firmware reported: "
                f"{gone.problem.partition(': ')[2]}"
            )
            return Found("guest_exception", "guest", problem, "see logs/serial.log", gone.evidence)
        error = gone.error()
        return Found(error.code, error.component, error.problem, error.fix, error.evidence)
    return None


@rule("kerbside-never-started")
def never_started(seen: Evidence) -> Found | None:
    """A smoke check on a lane that was not brought up completely."""
    missing = [name for name in NEEDED if name not in seen.records]
    if seen.blame["phase"] != "smoke" or not missing:
        return None
    return Found(
        "never_started", "lane", f"the lane is not complete: never started: {', '.join(missing)}", "run ./lane up first"
    )


@rule("api-workers-die")
def workers_die(seen: Evidence) -> Found | None:
    """gunicorn goes on, and starts one worker after another that does not live long enough to answer."""
    gone = [
        line
        for line in seen.log("api")
        if re.search(r"Worker \(pid:\d+\) was sent SIG(?:KILL|SEGV|ABRT|BUS)", line.text)
    ]
    if len(gone) < 2 or seen.blame["component"] != "kerbside":
        return None
    last = (
        f"{len(gone)} workers of kerbside's API were killed one after another, the last with: {quoted(gone[-1].text)}"
    )
    if rise := limits.rise(seen.records["api"].counters):
        return Found(
            "out_of_memory",
            "host",
            f"{last}; the kernel killed processes for memory ({rise})",
            "see logs/api.log",
            gone[-1].place,
        )
    return Found("api_workers_die", "kerbside", last, "see logs/api.log", gone[-1].place)


@rule("database-grant-wrong")
def database_denies(seen: Evidence) -> Found | None:
    """kerbside reaches its database, and the database refuses its user."""
    if seen.blame["component"] not in ("kerbside", "proxy", "ryll"):
        return None
    for name in ("schema", "api", "daemon"):
        if said := seen.find(name, DENIED):
            line, match = said
            problem = f"the database denies kerbside access: error {match[1]}: {one_line(match[2], 160)}"
            return Found("database_denies", "database", problem, f"see logs/{name}.log", line.place)
    return None


def _running(seen: Evidence, name: str) -> bool:
    entry = seen.records.get(name)
    return entry is not None and entry.pid is not None
