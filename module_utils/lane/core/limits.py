"""What the kernel says about the machine's limits: how busy the processors are, and which limit a program has run
into.
"""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
#: The kernel's counters of what it refused or killed: in a cgroup (name in v2, in v1), and of the whole machine.
KILLED, FORKS = "oom_kill", "max"
FILES = re.compile(
    r"Too many open files|\b(?:Errcode:|error(?: number| code)?|os error|errno:|Errno) 24\b", re.IGNORECASE
)
PROCESSES = re.compile(
    r"can.?(?:t|not) (?:start new|create(?: a)?|fork|initialize timers)(?: thread)?\b"
    r"|pthread_create.*failed|\bfork: |unable to (?:fork|create.* thread)"
    r"|\b(?:Errcode:|os error|errno:|Errno) 11\b|Resource temporarily unavailable",
    re.IGNORECASE,
)
MEMORY = re.compile(
    r"Cannot allocate memory|cannot set up guest memory|Out of memory \(Needed|MemoryError"
    r"|\b(?:Errcode:|os error|errno:|Errno) 12\b"
)


def load() -> str:
    """How busy the processors are, as a clause: the load average, and the share of time in which somebody waited for a
    processor (PSI).
    """
    processors = len(os.sched_getaffinity(0))
    words = f"the machine's load is {os.getloadavg()[0]:.1f} on {processors} processor{'s' if processors > 1 else ''}"
    if waited := re.search(r"^some .*avg60=([\d.]+)", _read("/proc/pressure/cpu"), re.MULTILINE):
        words += f", and tasks waited for one {float(waited[1]):.0f} % of the last minute"
    return words


def limit_reached(text: str) -> tuple[str, str] | None:
    """(error code, problem) when a program's words or an exception's mean that it ran into a limit of the machine."""
    if FILES.search(text):
        return (
            "too_many_files",
            f"the limit of open files was reached (ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})",
        )
    if PROCESSES.search(text):
        file = _cgroup_file("pids", "pids.max", "pids.max")
        most = _read(str(file)).strip() if file else "max"
        limit = (
            f"pids.max is {most} in {file}"
            if most != "max"
            else f"ulimit -u is {resource.getrlimit(resource.RLIMIT_NPROC)[0]}"
        )
        return "too_many_processes", f"the limit of processes and threads was reached ({limit})"
    if MEMORY.search(text):
        return (
            "memory_refused",
            "the machine did not give a program the memory that it asked for (see free -m and ulimit -v)",
        )
    return None


def counters() -> dict[str, int]:
    """The kernel's counters of processes that it killed for memory and did not let start, by "file name": of this
    process's cgroup, or of the machine.
    """
    killed = _cgroup_file("memory", "memory.events", "memory.oom_control") or Path("/proc/vmstat")
    forks = _cgroup_file("pids", "pids.events", "pids.events")
    found = {f"{file} {name}": _counter(str(file), name) for file, name in ((killed, KILLED), (forks, FORKS)) if file}
    return {key: count for key, count in found.items() if count is not None}


def rise(before: dict[str, int], name: str) -> str:
    """By how much a counter has risen since counters() returned `before`, in words; "" when it has not."""
    for key, count in before.items():
        file, _, counted = key.rpartition(" ")
        if counted == name and (now := _counter(file, name)) is not None and now > count:
            return f"{name} in {file} rose from {count} to {now}"
    return ""


def _cgroup_file(controller: str, name_v2: str, name_v1: str) -> Path | None:
    """A control file of this process's cgroup, of the unified hierarchy or of a v1 controller's; None where it cannot
    be seen.
    """
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        file = CGROUPS / (controller if controllers else "") / path.lstrip("/") / (name_v1 if controllers else name_v2)
        if file.exists():
            return file
    return None


def _counter(file: str, name: str) -> int | None:
    """A number from a file of lines "name number"."""
    found = re.search(rf"^{name} (\d+)$", _read(file), re.MULTILINE)
    return int(found[1]) if found else None


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
