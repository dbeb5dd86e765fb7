"""What the lane's machine can do: how fast it is, and whether its limits let a lane run at all."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ..core import limits
from ..core.errors import LaneError

#: Milliseconds of processor time that the loop of `speed` took on the machine that all time limits were chosen on (2
#: cores, 2.x GHz, Python 3.11).
REFERENCE = 1.4
ROUNDS, STEPS = 5, 20_000
MOST_LOAD, MOST_SCALE = 3.0, 40.0
#: The least that a lane can run with: with less, one was seen to fail on two cores (docs/packages.md).
FILES = 64
PROCESSES = 50
DISK = 40 << 20
MEMORY = 250 << 20
ADDRESS_SPACE = 1200 << 20
STACK = 256 << 10


def speed() -> dict[str, float]:
    """How slow this machine is: {"time_scale", "loop_ms", "load", "processors"}.

    time_scale, at least 1: what to multiply a time limit by. It is the processor time of a fixed loop against
    REFERENCE, times the number of runnable processes per processor (the load of the last minute, at most MOST_LOAD). It
    takes about 7 ms.
    """
    loop = min(_loop() for _ in range(ROUNDS))
    processors = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    scale = max(1.0, loop / REFERENCE) * min(MOST_LOAD, max(1.0, load / processors))
    return {
        "time_scale": round(min(scale, MOST_SCALE), 1),
        "loop_ms": round(loop, 2),
        "load": round(load, 2),
        "processors": processors,
    }


def _loop() -> float:
    """Milliseconds of this thread's processor time for integer arithmetic, like most of kerbside's start-up."""
    began, value = time.thread_time(), 0
    for step in range(STEPS):
        value = (value * 31 + step) & 0xFFFFFFFF
    return 1000 * (time.thread_time() - began)


def check_limits(folders: list[str]) -> None:
    """Raise LaneError (host) when a limit is too low for any lane. folders: where a lane writes."""
    for limit, there, needed, what in (*_files(), *_processes(), *_memory(), *_disk(folders)):
        if there < needed:
            large = needed > 1 << 20
            left, least = (f"{number >> 20} MiB" if large else str(number) for number in (there, needed))
            problem = f"{limit} leaves {left}{' of' if large else ''} {what}, and a lane needs at least {least}"
            raise LaneError("host_limit", "host", problem, "raise that limit, or free what uses it up")


#: A limit: its name, what it leaves, what a lane needs, and of what.
Limit = tuple[str, int, int, str]


def _files() -> Iterator[Limit]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most != resource.RLIM_INFINITY:
        yield "ulimit -n", most, FILES, "open files"


def _processes() -> Iterator[Limit]:
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if most != resource.RLIM_INFINITY and os.geteuid() != 0:  # root is exempt: setrlimit(2)
        yield "ulimit -u", max(0, most - _threads_of_user(os.geteuid())), PROCESSES, "processes and threads"
    for file, most, used in _cgroup_limits("pids", ("pids.max",), "pids.current"):
        yield file, max(0, most - used), PROCESSES, "processes and threads"


def _memory() -> Iterator[Limit]:
    values = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    yield "MemAvailable of /proc/meminfo", int(values["MemAvailable"].split()[0]) << 10, MEMORY, "memory"
    for name, which, least, what in (
        ("ulimit -v", resource.RLIMIT_AS, ADDRESS_SPACE, "address space"),
        ("ulimit -s", resource.RLIMIT_STACK, STACK, "bytes of stack"),
    ):
        most = resource.getrlimit(which)[0]
        if most != resource.RLIM_INFINITY:
            yield name, most, least, what
    for file, most, _ in _cgroup_limits("memory", ("memory.max", "memory.limit_in_bytes"), ""):
        yield file, most, MEMORY, "memory"


def _disk(folders: list[str]) -> Iterator[Limit]:
    for folder in folders:
        there = limits.existing(folder)
        yield f"the disk of {there}", shutil.disk_usage(there).free, DISK, "room"


def _cgroup_limits(controller: str, maximums: tuple[str, ...], current: str) -> Iterator[tuple[str, int, int]]:
    """The limits of this cgroup and of those above it: (file, most, used). current: the file of what is used."""
    for folder in limits.cgroups(controller):
        for file in (folder / name for name in maximums):
            with contextlib.suppress(OSError, ValueError):  # no such limit, or the word max
                most = int(file.read_text(encoding="ascii"))
                yield str(file), most, int((folder / current).read_text(encoding="ascii")) if current else 0


def _threads_of_user(user: int) -> int:
    """How many processes and threads of this user there are."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if folder.stat().st_uid == user:
                count += len(os.listdir(folder / "task"))
    return count
