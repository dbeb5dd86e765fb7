"""`./lane bench`: what it counts, and what it makes of it. The lanes themselves are timed by hand, because machines of CI are noisy."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def run() -> ModuleType:
    """tests/bench/run.py as a module."""
    spec = importlib.util.spec_from_file_location("bench_run", BENCH / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(tmp_path: Path, *command: str) -> Any:
    result = tmp_path / "result.json"
    done = subprocess.run([sys.executable, str(BENCH / "measure.py"), str(result), *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(result.read_text())


def test_processor_time_of_what_outlives_the_command_is_counted(tmp_path: Path) -> None:
    burn = "import os, time\nwhile sum(os.times()[:2]) < 0.6: pass"
    found = measure(tmp_path, "--", "sh", "-c", 'setsid "$0" -c "$1" & exit 0', sys.executable, burn)
    assert found["wall"] < 0.5
    assert found["cpu"] >= 0.6
    assert (found["status"], found["killed"]) == (0, 0)


def test_what_does_not_end_is_killed_and_counted(tmp_path: Path) -> None:
    found = measure(tmp_path, "--outlive", "0.2", "--", "sh", "-c", "setsid sleep 60 & exit 3")
    assert (found["status"], found["killed"]) == (3, 1)


def test_memory_is_that_of_everything_at_its_peak(tmp_path: Path) -> None:
    hold = "import time; x = bytearray(b'x') * 80_000_000; time.sleep(0.4)"
    found = measure(tmp_path, "--memory", "--", "env", "KERBSIDE_LANE=98/x", sys.executable, "-c", hold)
    assert 80_000 * 1000 / 1024 < found["programs_kib"] <= found["all_kib"] < 120_000


def event(kind: str, at: float, name: str, path: str = "") -> dict[str, Any]:
    return {"_event": kind, "_timestamp": f"2026-11-24T00:00:{at:06.3f}Z", "task": {"name": name, "path": path}}


def test_where_the_time_goes(run: ModuleType, tmp_path: Path) -> None:
    tasks = tmp_path / "main.yml"
    tasks.write_text("- name: Boot\n  lane_process:\n    programs: []\n  when: true\n- name: Copy\n  when: true\n  ansible.builtin.copy:\n    src: x\n")
    zero = 1795478400.0  # 2026-11-24 00:00:00 UTC
    events = [
        event("v2_playbook_on_task_start", 1.0, "vm : Boot", f"{tasks}:1"),
        event("v2_runner_on_ok", 3.0, "vm : Boot", f"{tasks}:1"),
        event("v2_playbook_on_task_start", 3.25, "Copy", f"{tasks}:5"),
        event("v2_runner_on_skipped", 3.5, "Copy", f"{tasks}:5"),
    ]
    assert run.where_time_goes(events, 4.0, zero) == {
        "start": 1.0,
        "between": 0.25,
        "waiting": 2.0,
        "working": 0.25,
        "end": 0.5,
        "tasks": [["vm : Boot", 2.0, "lane_process"], ["Copy", 0.25, "copy"]],
        "phases": {"vm": 2.0, "lane.yml": 0.25},
    }


@pytest.mark.parametrize(("lane", "word"), [(4.0, "| 0.80 | met |"), (4.1, "| 0.82 | not met |")])
def test_the_table_says_what_is_met(run: ModuleType, lane: float, word: str) -> None:
    seconds = {name: run.tell([value] * 3) for name, value in (("lane", lane), ("shell", 5.0), ("plain", 6.0), ("boot", 3.5))}
    figures = {
        "machine": {"processors": 2, "python": "3.11", "date": "2026-11-24"},
        "seconds": seconds,
        "cpu": {"lane": run.tell([8.0])},
        "parts": {"start": 1, "between": 1, "working": 1, "waiting": 1, "end": 0, "tasks": [["vm : Boot", 2.0, "lane_process"]], "phases": {"vm": 2.0}},
        "memory": {"all_kib": 500 * 1024, "programs_kib": 460 * 1024},
        "scale": [{"lanes": 8, "wall": 35.0, "cpu": 64.0, "all_kib": 1024, "ratio": 1.09}],
    }
    told = run.report(figures)
    assert f"| warm `./lane` / shell lane | at most 0.8 {word}" in told
    assert "| peak memory of one lane's programs (PSS) | at most 450 MB | 460 MB | not met |" in told
    assert "| the same with Ansible and its workers | | 500 MB | |" in told
    assert "| 8 lanes: wall / (8 x CPU seconds of one / 2) | at most 1.1 | 1.09 | met |" in told
