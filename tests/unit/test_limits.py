"""What the kernel's files say about the machine's limits, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.lane.core import limits


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
def test_counters_of_the_cgroup_or_else_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], killed: str
) -> None:
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


def test_a_line_that_is_no_limit() -> None:
    warning = "[Warning] Could not increase number of max_open_files to more than 20000 (request: 32073)"
    assert limits.limit_reached(warning) is None
    assert limits.limit_reached("error 245 in line 24") is None


@pytest.mark.parametrize(
    "pressure",
    ["some avg10=99.00 avg60=78.21 avg300=34.13 total=250\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", ""],
)
def test_how_busy_the_machine_is(monkeypatch: pytest.MonkeyPatch, pressure: str) -> None:
    monkeypatch.setattr(limits, "_read", lambda _: pressure)
    monkeypatch.setattr(limits.os, "getloadavg", lambda: (9.34, 1.0, 1.0))
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: {0, 1})
    waited = ", and tasks waited for one 78 % of the last minute" if pressure else ""
    assert limits.load() == f"the machine's load is 9.3 on 2 processors{waited}"
