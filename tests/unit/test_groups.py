"""proc.Groups: looks at some process groups that do not read all of /proc each time, and miss nobody who ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from ansible.module_utils.lane.lifecycle import proc


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        ["/bin/sh", "-c", "sleep 60 & echo; read x; sleep 60 & wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdout and process.stdout.readline()
        yield process
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each look at all of /proc."""
    seen: list[int] = []
    everyone = proc.everyone
    monkeypatch.setattr(proc, "everyone", lambda: seen.append(1) or everyone())
    return seen


def test_only_the_first_look_reads_all_of_proc(sleeper: subprocess.Popen[bytes], scans: list[int]) -> None:
    groups = proc.Groups()
    looks = [groups.members({sleeper.pid}) for _ in range(5)]
    assert len(scans) == 1
    assert all({p.pid for p in look[sleeper.pid]} == {p.pid for p in looks[0][sleeper.pid]} for look in looks)
    assert sleeper.pid in {p.pid for p in looks[0][sleeper.pid]} and len(looks[0][sleeper.pid]) == 2


def test_one_that_is_stopped_or_ends_is_seen_at_the_next_look(sleeper: subprocess.Popen[bytes], scans: list[int]) -> None:
    groups = proc.Groups()
    [child] = [p.pid for p in groups.members({sleeper.pid})[sleeper.pid] if p.pid != sleeper.pid]
    os.kill(child, signal.SIGSTOP)
    until = time.monotonic() + 5
    while {p.pid: p.state for p in groups.members({sleeper.pid})[sleeper.pid]}[child] != "T":
        assert time.monotonic() < until
    os.kill(child, signal.SIGKILL)
    while child in {p.pid for p in groups.members({sleeper.pid})[sleeper.pid]}:
        assert time.monotonic() < until
    assert len(scans) == 1


def test_a_group_without_anybody_is_looked_for_in_all_of_proc(sleeper: subprocess.Popen[bytes], scans: list[int]) -> None:
    groups = proc.Groups()
    assert groups.members({sleeper.pid})
    os.killpg(sleeper.pid, signal.SIGKILL)
    sleeper.wait()
    until = time.monotonic() + 5
    while groups.members({sleeper.pid}):
        assert time.monotonic() < until
    assert len(scans) > 1
    with subprocess.Popen(["sleep", "60"], process_group=0) as other:
        assert list(groups.members({other.pid})) == [other.pid]  # another group than before, and at once
        other.kill()


def test_who_joins_a_group_is_seen_after_a_while(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc.Groups, "RESCAN", 0.2)
    groups = proc.Groups()
    assert len(groups.members({sleeper.pid})[sleeper.pid]) == 2
    assert sleeper.stdin
    sleeper.stdin.write(b"go on\n")
    sleeper.stdin.flush()
    until = time.monotonic() + 5
    while len(groups.members({sleeper.pid})[sleeper.pid]) == 2:
        assert time.monotonic() < until
        time.sleep(0.02)
