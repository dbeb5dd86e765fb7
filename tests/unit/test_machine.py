"""How slow the machine is, and that a limit which no lane can live with is named before anything starts."""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import machine


@pytest.mark.parametrize(
    ("loop", "load", "scale"),
    [
        (machine.REFERENCE, 0.1, 1.0),
        (machine.REFERENCE / 2, 0.1, 1.0),  # a faster machine has the same limits
        (machine.REFERENCE * 19, 0.1, 19.0),
        (machine.REFERENCE, 4.0, 2.0),  # two runnable processes for each of two processors
        (machine.REFERENCE, 60.0, machine.MOST_LOAD),
        (machine.REFERENCE * 2, 4.0, 4.0),
        (machine.REFERENCE * 999, 0.1, machine.MOST_SCALE),
    ],
)
def test_limits_grow_with_load(monkeypatch: pytest.MonkeyPatch, loop: float, load: float, scale: float) -> None:
    monkeypatch.setattr(machine, "_loop", lambda: loop)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert machine.speed()["time_scale"] == scale


def test_the_loop_is_short_and_measures_the_processor_not_the_waiting() -> None:
    over = threading.Event()
    waiting = threading.Thread(target=lambda: [time.sleep(0) for _ in iter(over.is_set, True)])
    alone = min(machine._loop() for _ in range(5))
    waiting.start()
    beside = min(machine._loop() for _ in range(5))
    over.set()
    waiting.join()
    assert alone < 40 * machine.REFERENCE
    assert beside < 10 * alone


def limits(monkeypatch: pytest.MonkeyPatch, **given: int) -> None:
    """These soft limits (NOFILE, NPROC, AS, STACK), and none else."""
    names = {getattr(resource, f"RLIMIT_{name}"): value for name, value in given.items()}
    none = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: (names.get(which, none), none))


def refused(*folders: str) -> str:
    """The problem that the check names, or ""; it has to be the machine's."""
    failure = None
    try:
        machine.check_limits(list(folders))
    except LaneError as error:
        failure = error
    assert failure is None or (failure.code, failure.component) == ("host_limit", "host")
    return failure.problem if failure else ""


@pytest.mark.parametrize(
    ("name", "least", "words"),
    [
        ("NOFILE", machine.FILES, "ulimit -n leaves 63 open files, and a lane needs at least 64"),
        ("AS", machine.ADDRESS_SPACE, "ulimit -v leaves 1199 MiB of address space, and a lane needs at least 1200 MiB"),
        ("STACK", machine.STACK, "ulimit -s leaves 262143 bytes of stack, and a lane needs at least 262144"),
        ("NPROC", machine.PROCESSES + 7, "ulimit -u leaves 49 processes and threads, and a lane needs at least 50"),
    ],
)
def test_a_resource_limit_too_low_is_named(monkeypatch: pytest.MonkeyPatch, name: str, least: int, words: str) -> None:
    monkeypatch.setattr(machine, "_threads_of_user", lambda user: 7)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    limits(monkeypatch, **{name: least - 1})
    assert refused() == words
    limits(monkeypatch, **{name: least})
    assert refused() == ""


def test_processes_are_counted_but_not_limited_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._threads_of_user(os.geteuid()) >= 1
    limits(monkeypatch, NPROC=0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert refused() == ""


V1, V2 = "8:pids:/a\n4:memory:/m\n1:cpu:/\n", "0::/a/b\n"  # a tree for each controller, one for all of them


@pytest.mark.parametrize(
    ("own", "file"),
    [
        (V1, "pids/a/pids.max"),
        (V2, "a/b/pids.max"),
        (V2, "a/pids.max"),
        (V1, "memory/m/memory.limit_in_bytes"),
        (V2, "a/memory.max"),
    ],
    ids=["v1", "v2", "above", "memory v1", "memory v2"],
)
def test_a_control_group_may_be_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str, file: str) -> None:
    limits(monkeypatch)
    monkeypatch.setattr(machine.limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine.limits, "_read", lambda file: own)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    (path.parent / "pids.current").write_text("5\n")
    enough = machine.PROCESSES + 5 if path.name == "pids.max" else machine.MEMORY
    for most, bad in (("max", False), (enough, False), (enough - 1, True)):
        path.write_text(f"{most}\n")
        assert (str(path) in refused()) == bad


def test_no_memory_and_no_room_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits(monkeypatch)
    usage: Any = SimpleNamespace(free=machine.DISK - 1)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage)
    assert refused(f"{tmp_path}/not/there/yet").startswith(f"the disk of {tmp_path} leaves 39 MiB of room")
    usage.free = machine.DISK
    assert refused(str(tmp_path)) == ""
    monkeypatch.setattr(machine, "MEMORY", 1 << 60)
    assert refused().startswith("MemAvailable of /proc/meminfo leaves ")
