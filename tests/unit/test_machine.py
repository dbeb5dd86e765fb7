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
def test_time_limits_grow_with_slowness_and_load(
    monkeypatch: pytest.MonkeyPatch, loop: float, load: float, scale: float
) -> None:
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
    """These soft limits (NOFILE, NPROC, AS), and none else."""
    names = {getattr(resource, f"RLIMIT_{name}"): value for name, value in given.items()}
    monkeypatch.setattr(
        resource, "getrlimit", lambda which: (names.get(which, resource.RLIM_INFINITY), resource.RLIM_INFINITY)
    )


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
    ("name", "low", "enough", "words"),
    [
        ("NOFILE", machine.FILES - 1, machine.FILES, "ulimit -n leaves 63 open files, and a lane needs at least 64"),
        (
            "AS",
            machine.ADDRESS_SPACE - 1,
            machine.ADDRESS_SPACE,
            "ulimit -v leaves 1199 MiB of address space, and a lane needs at least 1200 MiB",
        ),
    ],
)
def test_a_resource_limit_that_is_too_low_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, low: int, enough: int, words: str
) -> None:
    limits(monkeypatch, **{name: low})
    assert refused() == words
    limits(monkeypatch, **{name: enough})
    assert refused() == ""


def test_the_processes_that_a_user_has_count_against_the_limit_but_not_for_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = machine._threads_of_user(os.geteuid())
    assert used >= 1
    monkeypatch.setattr(machine, "_threads_of_user", lambda user: 7)
    limits(monkeypatch, NPROC=machine.PROCESSES + 6)
    for user, words in ((1000, "ulimit -u leaves 49 processes and threads"), (0, "")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert refused().startswith(words) and bool(refused()) == bool(words)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    limits(monkeypatch, NPROC=machine.PROCESSES + 7)
    assert refused() == ""


@pytest.mark.parametrize(
    ("version", "file"),
    [
        (1, "pids/a/pids.max"),
        (2, "a/b/pids.max"),
        (2, "a/pids.max"),
        (1, "memory/m/memory.limit_in_bytes"),
        (2, "a/memory.max"),
    ],
)
def test_a_control_group_or_one_above_it_may_be_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int, file: str
) -> None:
    """Version 1 has a tree for each controller, version 2 one for all of them; "max" means none."""
    own = {1: "8:pids:/a\n4:memory:/m\n1:cpu:/\n", 2: "0::/a/b\n"}[version]
    limits(monkeypatch)
    monkeypatch.setattr(machine.limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine.limits, "_read", lambda file: own)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    pids = path.name == "pids.max"
    (path.parent / "pids.current").write_text("5\n")
    for most, bad in (
        ("max", False),
        (machine.PROCESSES + 5 if pids else machine.MEMORY, False),
        (machine.PROCESSES + 4 if pids else machine.MEMORY - 1, True),
    ):
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
