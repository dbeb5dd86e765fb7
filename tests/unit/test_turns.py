"""module_utils/lane/turns.py on the real sockets, by names of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from ansible.module_utils.lane import turns


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of the machine's lanes."""
    monkeypatch.setattr(turns, "NAME", f"kerbside-lane-turns-of-test-{os.getpid()}-{time.monotonic_ns()}-{{}}")


def test_as_many_as_there_are_and_the_next_when_one_is_given_back() -> None:
    first, second = turns.take(2), turns.take(2)
    assert first and second
    waited: list[str] = []
    late = threading.Timer(0.3, first.close)
    late.start()
    began = time.monotonic()
    third = turns.take(2, waiting=lambda: waited.append("once"))
    assert third
    assert 0.25 < time.monotonic() - began < 3
    assert waited == ["once"]
    late.join()
    for turn in (second, third):
        turn.close()


def test_who_waits_too_long_goes_on_without_one() -> None:
    only = turns.take(1)
    assert only
    began = time.monotonic()
    assert turns.take(1, limit=0.2) is None
    assert 0.2 <= time.monotonic() - began < 3
    only.close()


def test_the_turn_of_a_process_that_is_killed_is_free_and_what_it_started_does_not_hold_it() -> None:
    hold = f"""
import subprocess, sys, time
from ansible.module_utils.lane import turns
turns.NAME = {turns.NAME!r}
turn = turns.take(1)
print(subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(30)
"""
    path = os.path.dirname(os.path.dirname(turns.__file__))
    extended = f"import ansible.module_utils; ansible.module_utils.__path__.append({path!r})\n{hold}"
    with subprocess.Popen([sys.executable, "-c", extended], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        sleeper = int(holder.stdout.readline())
        assert turns.take(1, limit=0.1) is None
        holder.kill()
        holder.wait()
        turn = turns.take(1, limit=2)
        assert turn
        os.kill(sleeper, 9)
        turn.close()


def test_processors_are_those_that_this_process_may_use() -> None:
    assert 1 <= turns.processors() <= (os.cpu_count() or 1)
