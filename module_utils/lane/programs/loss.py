"""Which programs of the lane have stopped working: ended, stopped, broken though alive, or never ready."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..core import bounded, limits
from ..core.errors import LaneError, one_line
from ..lifecycle import proc
from .records import Record, ended_how, records, status_file

#: Seconds between two checks of the lane's programs.
CHECK_EVERY = 0.25
#: Process states (proc(5)) in which nothing runs until somebody sends SIGCONT.
STOPPED = "Tt"
#: Signals that come from elsewhere: the log of a program that was killed by one does not say why.
KILLS = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
#: Part of the daemon's process group, but a component of its own.
PROXY = "kerbside-proxy"
#: Is started anew by each check; that of an earlier check may have ended.
CLIENT = "ryll"
#: Stands for every client among the programs to leave out.
CLIENTS = "every ryll"
#: A fatal text is searched in the last bytes of a file, so many at the most.
SEARCHED = 1 << 20


@dataclass(frozen=True)
class Lost:
    """A program that does not work. problem: a clause with its name; at: the time of its end, or of this check."""

    entry: Record
    code: str
    component: str
    problem: str
    at: float
    evidence: str

    def error(self) -> LaneError:
        """The failure as an exception."""
        fix = f"see {self.evidence.partition(':')[0]}"
        return LaneError(self.code, self.component, self.problem, fix, evidence=self.evidence)


def lost(lane_dir: str, apart: Collection[str] = ()) -> list[Lost]:
    """The programs of the lane that do not work, the first to fail first; `apart` names those to leave out.

    A program that is still within the limit for its start is left out; one that ended before it was ready, or is not
    ready after its limit, is not.
    """
    watched = [r for r in records(lane_dir) if r.name not in apart and (r.component != CLIENT or CLIENTS not in apart)]
    groups = proc.members({entry.group for entry in watched})
    found = []
    for entry in watched:
        members = entry.members(groups.get(entry.group, []))
        status = entry.exit_status(lane_dir)  # after the members: it is written before the last of them ends
        gone = _ended(lane_dir, entry, status, members) or _stopped(entry, members) or _broken(entry)
        if gone := gone or _never_ready(entry, members):
            found.append(gone)
    return sorted(found, key=lambda lost: lost.at)


def check_alive(lane_dir: str, apart: Collection[str] = ()) -> None:
    """Raise the LaneError of the program that failed first, if one did."""
    if gone := lost(lane_dir, apart):
        raise gone[0].error()


@contextmanager
def watched(lane_dir: str, apart: Collection[str] = ()) -> Iterator[None]:
    """While the block runs, check the lane's programs every CHECK_EVERY seconds, and raise the LaneError of one that is
    lost.

    For the main thread only: it uses SIGALRM, whose handler's exception ends a system call that waits (PEP 475).
    """

    def check(*_: object) -> None:
        try:
            check_alive(lane_dir, apart)
        except LaneError:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    check()
    before = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, CHECK_EVERY, CHECK_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def end_of(entry: Record, status: int | None, suffix: str) -> tuple[str, str, str]:
    """(code, component, problem) of a program that ended: with the words of its log, unless it was killed from outside;
    killed for memory is the machine's.
    """
    if status in (None, 128 + signal.SIGKILL) and (rise := limits.rise(entry.counters)):
        problem = f"{entry.name} was killed by the kernel because the machine or the cgroup ran out of memory ({rise})"
        return "out_of_memory", "host", problem
    words = entry.said() if status is not None and status - 128 not in KILLS else ""
    return "program_ended", entry.component, f"{entry.name} {ended_how(status)}{suffix}{words}"


def _ended(lane_dir: str, entry: Record, status: int | None, members: list[proc.Process]) -> Lost | None:
    if (status is None and members) or (entry.oneshot and status == 0):
        return None
    at = status_file(lane_dir, entry.name).stat().st_mtime if status is not None else time.time()
    when = "" if entry.ready_seconds is not None or entry.oneshot else " before it was ready"
    return Lost(entry, *end_of(entry, status, when), at, entry.evidence)


def _stopped(entry: Record, members: list[proc.Process]) -> Lost | None:
    # the supervisor shell last
    one = max((m for m in members if m.state in STOPPED), key=lambda m: m.pid != entry.group, default=None)
    if one is None:
        return None
    component = "proxy" if one.name == PROXY else entry.component
    name = entry.name if one.parent == entry.group else one.name  # many a program changes its name
    if one.pid == entry.group:
        name = f"the shell that started {entry.name}"
    problem = f"{name} (pid {one.pid}) is stopped (state {one.state}, as after SIGSTOP)"
    return Lost(entry, "program_stopped", component, problem, time.time(), entry.evidence)


def _broken(entry: Record) -> Lost | None:
    """A text in its log, or in another file, shows that it is of no use any more."""
    if entry.fatal is None or entry.ready_seconds is None:
        return None
    start = entry.log_start if entry.fatal.file == entry.log else 0
    said = _search(entry.fatal.file, start, entry.fatal.pattern)
    if said is None:
        return None
    place, words = said
    problem = entry.fatal.problem.replace("{}", one_line(words, 200))
    return Lost(entry, "program_broken", entry.fatal.component, problem, time.time(), place)


def _search(path: str, start: int, pattern: str) -> tuple[str, str] | None:
    """(its place, text of the last group) of the first match after `start` bytes, in the last SEARCHED of a file.

    The place has the number of the line unless the file is longer.
    """
    skipped, data = bounded.tail(path, SEARCHED)
    begin = max(start - skipped, 0)
    match = re.search(pattern, data[begin:].decode("utf-8", errors="replace"), re.MULTILINE)
    if match is None:
        return None
    last = match.lastindex or 0
    line = data.count(b"\n", 0, begin) + match.string.count("\n", 0, match.end(last)) + 1
    return path if skipped else f"{path}:{line}", match[last]


def _never_ready(entry: Record, members: list[proc.Process]) -> Lost | None:
    if entry.ready_seconds is not None or time.time() - entry.started <= entry.limit or not members:
        return None
    problem = f"{entry.name} did not become ready within {entry.limit:g} s{entry.said()}"
    return Lost(entry, "program_not_ready", entry.component, problem, entry.started + entry.limit, entry.evidence)
