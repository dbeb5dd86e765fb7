"""/proc/PID/stat (proc(5)): the one parser of it, with few imports because the keeper of a lane waits with it."""

from __future__ import annotations

import os

#: Indexes of the fields that read() returns after the name.
STATE, PARENT, GROUP, USER, SYSTEM, THREADS, STARTED = 0, 1, 2, 11, 12, 17, 19


def read(pid: int) -> tuple[str, list[str]] | None:
    """(name, fields from the state on) of a process, or None. A name may have blanks and parentheses in it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, tail = file.read().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return head.partition("(")[2], tail.split()


def started(pid: int) -> int | None:
    """The start time in clock ticks since boot, or None when there is no such process."""
    found = read(pid)
    return int(found[1][STARTED]) if found else None


def processor_seconds(pid: int) -> float:
    """The processor time that a process has used; 0 when there is no such process."""
    found = read(pid)
    return (int(found[1][USER]) + int(found[1][SYSTEM])) / os.sysconf("SC_CLK_TCK") if found else 0.0
