"""How slow the machine is, and which of its limits no lane can live with, before anything starts."""

import os
import resource
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.core import limits
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
def test_limits_grow_with_load(monkeypatch, loop, load, scale):
    monkeypatch.setattr(machine, "_loop", lambda: loop)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert machine.speed()["time_scale"] == scale


def test_the_loop_is_short_and_measures_the_processor_not_the_waiting():
    over = threading.Event()
    waiting = threading.Thread(target=lambda: [time.sleep(0) for _ in iter(over.is_set, True)])
    alone = min(machine._loop() for _ in range(5))
    waiting.start()
    beside = min(machine._loop() for _ in range(5))
    over.set()
    waiting.join()
    assert alone < 40 * machine.REFERENCE
    assert beside < 10 * alone


def soft_limits(monkeypatch: pytest.MonkeyPatch, **given: int) -> None:
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
def test_a_resource_limit_too_low_is_named(monkeypatch, name, least, words):
    monkeypatch.setattr(machine, "_threads_of_user", lambda user: 7)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    soft_limits(monkeypatch, **{name: least - 1})
    assert refused() == words
    soft_limits(monkeypatch, **{name: least})
    assert refused() == ""


def test_processes_are_counted_but_not_limited_for_root(monkeypatch):
    assert machine._threads_of_user(os.geteuid()) >= 1
    soft_limits(monkeypatch, NPROC=0)
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
def test_a_control_group_may_be_the_limit(monkeypatch, tmp_path, own, file):
    soft_limits(monkeypatch)
    monkeypatch.setattr(machine.limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine.limits, "_read", lambda file: own)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    (path.parent / "pids.current").write_text("5\n")
    enough = machine.PROCESSES + 5 if path.name == "pids.max" else machine.MEMORY
    for most, bad in (("max", False), (enough, False), (enough - 1, True)):
        path.write_text(f"{most}\n")
        assert (str(path) in refused()) == bad


def test_no_memory_and_no_room_are_named(monkeypatch, tmp_path):
    soft_limits(monkeypatch)
    usage: Any = SimpleNamespace(free=machine.DISK - 1)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage)
    assert refused(f"{tmp_path}/not/there/yet").startswith(f"the disk of {tmp_path} leaves 39 MiB of room")
    usage.free = machine.DISK
    assert refused(str(tmp_path)) == ""
    monkeypatch.setattr(machine, "MEMORY", 1 << 60)
    assert refused().startswith("MemAvailable of /proc/meminfo leaves ")


# --- what the kernel's files say of the limits ----------------------------------------------------


@pytest.mark.parametrize(
    ("own", "files", "killed"),
    [
        ("0::/a\n", {"a/memory.events": "oom_kill 3\n", "a/pids.max": "40\n"}, "a/memory.events"),
        ("8:pids:/p\n4:cpu,memory:/m\n0::/\n",
         {"memory/m/memory.oom_control": "under_oom 0\noom_kill 3\n", "pids/p/pids.max": "40\n"},
         "memory/m/memory.oom_control"),
        ("0::/elsewhere\n", {}, "/proc/vmstat"),
    ],
)  # fmt: skip
def test_counters_of_the_cgroup_or_else_of_the_machine(tmp_path, monkeypatch, own, files, killed):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    read, machine = limits._read, {"/proc/self/cgroup": own, "/proc/vmstat": "pgfault 1\noom_kill 3\n"}
    monkeypatch.setattr(limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(limits, "_read", lambda file: machine.get(file) or read(file))
    counters = limits.counters()
    assert counters == {str(tmp_path / killed): 3}
    assert limits.rise(counters) == limits.rise({}) == ""
    assert limits.rise(dict.fromkeys(counters, 2)) == f"oom_kill in {tmp_path / killed} rose from 2 to 3"
    if files:
        reached = limits.limit_reached("can't start new thread")
        assert reached and reached[1].startswith("the limit of processes and threads was reached (pids.max is 40 in ")


def test_a_line_that_is_no_limit():
    warning = "[Warning] Could not increase number of max_open_files to more than 20000 (request: 32073)"
    assert limits.limit_reached(warning) is None
    assert limits.limit_reached("error 245 in line 24") is None


@pytest.mark.parametrize(
    "pressure",
    ["some avg10=99.00 avg60=78.21 avg300=34.13 total=250\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", ""],
)
def test_how_busy_the_machine_is(monkeypatch, pressure):
    monkeypatch.setattr(limits, "_read", lambda _: pressure)
    monkeypatch.setattr(limits.os, "getloadavg", lambda: (9.34, 1.0, 1.0))
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: {0, 1})
    waited = ", and tasks waited for one 78 % of the last minute" if pressure else ""
    assert limits.load() == f"the machine's load is 9.3 on 2 processors{waited}"
