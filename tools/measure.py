"""Measure a command with all that it starts: `python measure.py RESULT.json [--memory] [--outlive SECONDS] --
COMMAND...`.

The lane's programs do not stay children of the command, so this process becomes the parent of orphans
(PR_SET_CHILD_SUBREAPER, prctl(2)): their processor time is counted when it reaps them. Memory is sampled only on
request, because that takes processor time too.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import tools  # noqa: F401 - it makes the lane's own code importable # isort: skip

from ansible.module_utils.lane.core.private_dir import MARK
from ansible.module_utils.lane.lifecycle import proc, running

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def descendants(pid: int) -> list[proc.Process]:
    """The live processes that have pid among their ancestors."""
    everyone = list(proc.everyone())
    below = {pid}
    while more := {p.pid for p in everyone if p.parent in below} - below:
        below |= more
    return [p for p in everyone if p.pid in below - {pid} and p.alive]


def watch_memory(peaks: dict[str, int], stop: threading.Event) -> None:
    """Keep the highest sums of PSS (KiB) every 50 ms: of the lane's programs, and of everything with Ansible."""
    while not stop.wait(0.05):
        found = [(running.memory(p.pid), bool(proc.environ(p.pid, MARK))) for p in descendants(os.getpid())]
        peaks["all_kib"] = max(peaks["all_kib"], sum(size for size, _ in found))
        peaks["programs_kib"] = max(peaks["programs_kib"], sum(size for size, marked in found if marked))


def reap(command: int) -> int:
    """Wait for the command's end and return its status. Orphans that end meanwhile are reaped too."""
    while True:
        pid, status = os.wait()
        if pid == command:
            return os.waitstatus_to_exitcode(status)


def reap_the_rest(limit: float) -> int:
    """Reap what is left, kill what does not end within `limit` seconds; the number of those killed."""
    until = time.monotonic() + limit
    killed: set[int] = set()
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            if time.monotonic() > until:
                for process in descendants(os.getpid()):
                    killed.add(process.pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
    return len(killed)


def main() -> None:
    """Writes {"wall", "cpu" (seconds), "status", "killed", "all_kib", "programs_kib"} to RESULT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path)
    parser.add_argument("--memory", action="store_true")
    words = "seconds that what was started may outlive the command"
    parser.add_argument("--outlive", type=float, default=15, help=words)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peaks = {"all_kib": 0, "programs_kib": 0}
    stop = threading.Event()
    watcher = threading.Thread(target=watch_memory, args=(peaks, stop))
    if asked.memory:
        watcher.start()
    began = time.monotonic()
    process = subprocess.Popen(asked.command, stdin=subprocess.DEVNULL)
    status = reap(process.pid)
    process.returncode = status  # reaped here, not by Popen
    wall = time.monotonic() - began
    killed = reap_the_rest(asked.outlive)
    stop.set()
    if asked.memory:
        watcher.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    found = {"wall": round(wall, 3), "cpu": round(cpu, 3), "status": status, "killed": killed, **peaks}
    asked.result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
