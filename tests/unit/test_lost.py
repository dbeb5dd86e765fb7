"""A program that is lost is noticed within a second, whatever the lane waits for at that moment."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.programs import process, readiness
from lanes import TestLane, claimed_lane

FOREVER = "exec sleep 60"
SOON = 1.5  # seconds; process.LOOK_EVERY and a loaded machine


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def pid(lane: TestLane, name: str) -> int:
    entry = process.record(lane.dir, name)
    assert entry
    assert entry.pid
    return entry.pid


def test_programs_at_work_are_not_lost_and_oneshots_never_are(lane: TestLane) -> None:
    lane.start(lane.program("one", FOREVER), lane.program("done", "true", oneshot=True))
    assert process.lost(lane.dir) == []
    process.check_alive(lane.dir)


@pytest.mark.parametrize(("script", "words"), [("sleep 0.2", "it ended with status 0"), ("sleep 0.2; exit 7", "it ended with status 7")])
def test_an_end_is_told_with_its_status(lane: TestLane, script: str, words: str) -> None:
    lane.start(lane.program("one", script))
    time.sleep(0.5)
    with pytest.raises(LaneError, match=rf"^kerbside: expected one to go on running, but {words}, and its log is empty"):
        process.check_alive(lane.dir)
    process.check_alive(lane.dir, {"one"})


def test_a_program_killed_with_its_whole_group_leaves_no_status_and_is_lost_all_the_same(lane: TestLane) -> None:
    lane.start(lane.program("one", FOREVER))
    os.killpg(os.getpgid(pid(lane, "one")), signal.SIGKILL)
    time.sleep(0.2)
    assert [gone.what for gone in process.lost(lane.dir)] == ["it ended by a signal to its whole process group (no exit status)"]


def test_a_stopped_program_is_lost_until_it_goes_on(lane: TestLane) -> None:
    lane.start(lane.program("one", FOREVER))
    one = pid(lane, "one")
    os.kill(one, signal.SIGSTOP)
    time.sleep(0.1)
    assert [(gone.ended, gone.what) for gone in process.lost(lane.dir)] == [(False, f"it (pid {one}) is stopped (state T, as after SIGSTOP)")]
    os.kill(one, signal.SIGCONT)
    time.sleep(0.1)
    assert process.lost(lane.dir) == []


def test_a_wait_on_a_silent_socket_ends_when_a_program_is_lost(lane: TestLane) -> None:
    lane.start(lane.program("one", "sleep 0.4; exit 3"))
    begun = time.monotonic()
    mine, silent = socket.socketpair()
    with mine, silent, pytest.raises(LaneError, match=r"one to go on running, but it ended with status 3"), process.watched(lane.dir):
        mine.recv(1)
    assert time.monotonic() - begun < 0.4 + SOON
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_program_that_is_lost_already_ends_the_wait_before_it_begins(lane: TestLane) -> None:
    lane.start(lane.program("one", "sleep 0.1"))
    time.sleep(0.4)
    with pytest.raises(LaneError), process.watched(lane.dir):
        pytest.fail("the wait began")


def test_a_start_that_watches_ends_when_another_program_is_lost(lane: TestLane) -> None:
    lane.start(lane.program("one", "sleep 0.5; exit 3"))
    begun = time.monotonic()
    slow = lane.program("two", FOREVER, ready=readiness.Ready(log="never"), limit=20.0)
    with pytest.raises(LaneError, match=r"expected one to go on running"):
        lane.start(slow, watch=True)
    assert time.monotonic() - begun < 0.5 + SOON


def test_a_start_that_does_not_watch_lets_others_be(lane: TestLane) -> None:
    lane.start(lane.program("one", "sleep 0.2; exit 3"))
    time.sleep(0.4)
    with pytest.raises(LaneError, match=r"expected two to write 'never' to its log within 0\.6 s"):
        lane.start(lane.program("two", FOREVER, ready=readiness.Ready(log="never"), limit=0.6))


def test_a_program_that_dies_after_it_was_ready_ends_the_start_of_those_after_it(lane: TestLane) -> None:
    begun = time.monotonic()
    first = lane.program("one", "echo up; sleep 0.4; exit 3", ready=readiness.Ready(log="up"))
    second = lane.program("two", FOREVER, ready=readiness.Ready(log="never"), limit=20.0, after=("one",))
    with pytest.raises(LaneError, match=r"expected one to go on running, but it ended with status 3"):
        lane.start(first, second)
    assert time.monotonic() - begun < 0.4 + SOON
