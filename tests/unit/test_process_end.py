"""How processes end: by a signal, whatever they are doing and their handlers do."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import process_end

NUMBERS = [signal.SIGINT, signal.SIGTERM]


def ended(number: signal.Signals, handler: Callable[..., Any], ready: Callable[[], None]) -> int:
    """How a fork ends that has this handler, is made ready and gets the signal."""
    before = signal.signal(number, handler)
    try:
        child = os.fork()
        if child == 0:
            try:
                ready()
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                os._exit(5)
            finally:
                os._exit(4)
    finally:
        signal.signal(number, before)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fails(number: int, frame: object) -> None:
    raise ValueError("process object is closed")


def kills(number: int, frame: object) -> None:
    """What Ansible's own does."""
    signal.signal(number, signal.SIG_DFL)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("handler", [fails, kills, signal.default_int_handler, lambda *_: None])
def test_a_signal_ends_it_whatever_its_handler_does(tmp_path: Path, number: signal.Signals, handler: Any) -> None:
    words, heard = tmp_path / "words", tmp_path / "heard"

    def hears(*given: Any) -> None:
        heard.touch()
        handler(*given)

    assert ended(number, hears, lambda: process_end.by_signal(words.touch)) == -number
    assert heard.exists() and words.exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fork_is_just_ended(tmp_path: Path, number: signal.Signals) -> None:
    # in the place of Ansible's, which fail in a fork
    before = [signal.signal(one, lambda *_: os._exit(3)) for one in NUMBERS]
    try:
        process_end.by_signal((tmp_path / "words").touch)
        assert ended(number, signal.getsignal(number), lambda: None) == -number
    finally:
        for one, handler in zip(NUMBERS, before, strict=True):
            signal.signal(one, handler)
    assert not (tmp_path / "words").exists()


def test_a_signal_in_the_middle_of_a_fork_is_not_lost() -> None:
    def ready() -> None:
        process_end.by_signal(lambda: None)
        # what is raised there Python only prints
        os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
        if os.fork() == 0:
            os._exit(0)
        os._exit(6)

    assert ended(signal.SIGINT, signal.default_int_handler, ready) == -signal.SIGINT


def test_a_signal_that_nothing_handles_is_left_alone() -> None:
    assert ended(signal.SIGINT, signal.SIG_IGN, lambda: process_end.by_signal(lambda: os._exit(3))) == 4


def test_a_fork_ends_with_the_process_that_forked_it() -> None:
    reader, writer = os.pipe()
    if (parent := os.fork()) == 0:
        process_end.forks_with_this_process()
        if os.fork() == 0:
            os.write(writer, b"runs")
        else:
            os.close(writer)
        signal.alarm(60)
        signal.pause()
    os.close(writer)
    assert os.read(reader, 4) == b"runs"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert select.select([reader], [], [], 30)[0], "the fork goes on"
    assert os.read(reader, 4) == b""
    os.close(reader)
