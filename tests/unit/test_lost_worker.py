"""An ansible-playbook that waits for a worker that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import lost_worker, proc

PROGRAM = """
import os, sys, time
import ansible.module_utils
ansible.module_utils.__path__.append("module_utils")
from ansible.module_utils.lane.lifecycle import lost_worker
lost_worker.LIMIT = 2
lost_worker.watch(lambda: {waiting}, lambda: os.write(1, b"ended"))
{before}
end = time.monotonic() + 4.5
while time.monotonic() < end:
    time.sleep(0.1)
"""


def ends(waiting: bool, before: str) -> tuple[int, str]:
    """Status and output of a program that rests for 4.5 s under watch."""
    program = textwrap.dedent(PROGRAM).format(waiting=waiting, before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_a_worker_that_comes_back_begins_the_count_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: did.append(handler))
    monkeypatch.setattr(signal, "setitimer", lambda *given: did.append(given))
    monkeypatch.setattr(os, "kill", lambda *given: did.append(given))
    monkeypatch.setattr(lost_worker.proc, "everyone", lambda: workers)
    worker = proc.Process(1, os.getpid(), 1, "S", 0, "x")
    workers: list[proc.Process] = []
    lost_worker.watch(lambda: True, lambda: did.append("last"))
    look, timer = did
    assert timer == (signal.ITIMER_REAL, 1, 1)  # or LIMIT is none of seconds
    for seen in ([], [worker], []):
        workers[:] = seen
        for _ in range(lost_worker.LIMIT - 1):
            look()
    assert did[2:] == []
    look()
    assert did[2:] == ["last", (os.getpid(), lost_worker.SIGNAL)]


@pytest.mark.parametrize(
    ("waiting", "before", "expected"),
    [
        (True, "", (-lost_worker.SIGNAL, "ended")),
        (True, "os.fork() or os._exit(0)", (-lost_worker.SIGNAL, "ended")),  # nobody has waited for it
        (True, "os.fork() or time.sleep(5) or os._exit(0)", (0, "")),
        (False, "", (0, "")),
    ],
    ids=["no-worker", "a-dead-worker", "a-worker", "nothing-to-do"],
)
def test_who_is_ended(waiting: bool, before: str, expected: tuple[int, str]) -> None:
    begun = time.monotonic()
    assert ends(waiting, before) == expected
    assert time.monotonic() - begun > 1.9
