"""What the kernel says about the machine's limits: how busy the processors are, and which limit a program has run
into.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FILES = re.compile(
    r"Too many open files|(?:\b(?:Errcode:|error(?: number| code)?|os error|errno:|Errno)|\(\) failed) 24\b",
    re.IGNORECASE,
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
    """How busy the processors are, as a clause: the load average, and how often somebody waited for one (PSI)."""
    processors = len(os.sched_getaffinity(0))
    words = f"the machine's load is {os.getloadavg()[0]:.1f} on {processors} processor{'s' if processors > 1 else ''}"
    if waited := re.search(r"^some .*avg60=([\d.]+)", _read("/proc/pressure/cpu"), re.MULTILINE):
        words += f", and tasks waited for one {float(waited[1]):.0f} % of the last minute"
    return words


def limit_reached(text: str) -> tuple[str, str] | None:
    """(error code, problem) when a program's words or an exception's mean that it ran into a limit of the machine."""
    if FILES.search(text):
        limit = f"ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
        return "too_many_files", f"the limit of open files was reached ({limit})"
    if PROCESSES.search(text):
        file = _cgroup_file("pids", "pids.max")
        limit = f"ulimit -u is {resource.getrlimit(resource.RLIMIT_NPROC)[0]}"
        if file and (most := _read(str(file)).strip()) != "max":
            limit = f"pids.max is {most} in {file}"
        return "too_many_processes", f"the limit of processes and threads was reached ({limit})"
    if MEMORY.search(text):
        problem = "the machine did not give a program the memory that it asked for (see free -m and ulimit -v)"
        return "memory_refused", problem
    return None


def counters() -> dict[str, int]:
    """How many processes were killed for memory, by the file that says so: of this cgroup, or of the machine."""
    file = str(_cgroup_file("memory", "memory.events", "memory.oom_control") or "/proc/vmstat")
    count = _killed(file)
    return {} if count is None else {file: count}


def rise(before: dict[str, int]) -> str:
    """By how much a count has risen since counters() returned `before`, in words; "" when it has not."""
    for file, count in before.items():
        if (now := _killed(file)) is not None and now > count:
            return f"oom_kill in {file} rose from {count} to {now}"
    return ""


def cgroups(controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and of those above it, in the unified hierarchy or a v1 controller's."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = CGROUPS / (controller if controllers else "")
            own = root / path.lstrip("/")
            yield from (own, *own.parents)[: len(Path(path).parts)]


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (Path(path), *Path(path).parents) if folder.exists())


def _cgroup_file(controller: str, *names: str) -> Path | None:
    """A control file of the nearest cgroup that has it, by its name in v2 or in v1; None where it cannot be seen."""
    files = (folder / name for folder in cgroups(controller) for name in names)
    return next((file for file in files if file.exists()), None)


def _killed(file: str) -> int | None:
    """The count of oom_kill in a file of lines "name number"."""
    found = re.search(r"^oom_kill (\d+)$", _read(file), re.MULTILINE)
    return int(found[1]) if found else None


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
