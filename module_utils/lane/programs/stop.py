"""Stop programs of the lane by their process groups."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ..core.errors import LaneError, clock
from ..core.private_dir import Run
from ..lifecycle import proc
from .records import Record

POLL = 0.02
#: Seconds until a process that got SIGKILL has to be gone; most are within milliseconds.
KILL_WAIT = 10.0
#: Beside the log of each program: which of them the lane stopped itself.
LOG = "lane.log"


def stop(run: Run, entries: list[Record], limit: float) -> None:
    """Stop these programs, the last started first, each with its own signal and after `limit` seconds with SIGKILL.

    Signals go to whole process groups, and only to those that carry this run's mark.
    """
    for entry in sorted(entries, key=lambda r: -r.sequence):
        if entry.running(run):
            _note(entry)
            end_groups({entry.group}, signal.Signals[f"SIG{entry.stop_signal}"], limit)


def _note(entry: Record) -> None:
    """Have the report show that this end is the lane's own doing."""
    line = f"{clock(time.time())}  INFO lane: sends SIG{entry.stop_signal} to {entry.name}\n"
    with contextlib.suppress(OSError):
        with open(os.open(Path(entry.log).with_name(LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as log:
            log.write(line)


def end_groups(groups: set[int], first: signal.Signals, limit: float) -> None:
    """Signal process groups, wait until they are empty, and after `limit` seconds kill what is left of them."""
    if not _gone(groups, first, limit):
        kill_groups(groups)


def kill_groups(groups: set[int]) -> None:
    """Kill process groups, and wait until they are empty."""
    if not _gone(groups, signal.SIGKILL, KILL_WAIT):
        problem = f"process groups {sorted(groups)} are still alive after SIGKILL"
        raise LaneError("process_unkillable", "lane", problem, "see ps -eo pid,pgid,stat,args")


def _gone(groups: set[int], number: signal.Signals, limit: float) -> bool:
    """Signal process groups; whether they are empty within `limit` seconds."""
    for group in groups:
        try:
            os.killpg(group, number)
            os.killpg(group, signal.SIGCONT)
        except ProcessLookupError:
            pass
    end = time.monotonic() + limit
    pause = POLL / 16  # most are gone by then
    while time.monotonic() < end:
        if not any(p.group in groups and p.alive for p in proc.everyone()):
            return True
        time.sleep(pause)
        pause = min(2 * pause, POLL)
    return False
