"""How processes of a run end: by a signal, with the one that forked them, or because a worker was lost."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import process_end
from ansible.module_utils.lane.lifecycle import lost_worker, proc, run_state

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
def test_a_signal_ends_it_whatever_its_handler_does(tmp_path, number, handler):
    words, heard = tmp_path / "words", tmp_path / "heard"

    def hears(*given: Any) -> None:
        heard.touch()
        handler(*given)

    assert ended(number, hears, lambda: process_end.by_signal(words.touch)) == -number
    assert heard.exists() and words.exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fork_is_just_ended(tmp_path, number):
    # in the place of Ansible's, which fail in a fork
    before = [signal.signal(one, lambda *_: os._exit(3)) for one in NUMBERS]
    try:
        process_end.by_signal((tmp_path / "words").touch)
        assert ended(number, signal.getsignal(number), lambda: None) == -number
    finally:
        for one, handler in zip(NUMBERS, before, strict=True):
            signal.signal(one, handler)
    assert not (tmp_path / "words").exists()


def test_a_signal_in_the_middle_of_a_fork_is_not_lost():
    def ready() -> None:
        process_end.by_signal(lambda: None)
        # what is raised there Python only prints
        os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
        if os.fork() == 0:
            os._exit(0)
        os._exit(6)

    assert ended(signal.SIGINT, signal.default_int_handler, ready) == -signal.SIGINT


def test_a_signal_that_nothing_handles_is_left_alone():
    assert ended(signal.SIGINT, signal.SIG_IGN, lambda: process_end.by_signal(lambda: os._exit(3))) == 4


def test_a_fork_ends_with_the_process_that_forked_it():
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


# --- an ansible-playbook that waits for a worker that was killed ----------------------------------

WATCHED = """
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


def resting(waiting: bool, before: str) -> tuple[int, str]:
    """Status and output of a program that rests for 4.5 s under watch."""
    program = textwrap.dedent(WATCHED).format(waiting=waiting, before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_a_worker_that_comes_back_begins_the_count_anew(monkeypatch):
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
def test_who_is_ended(waiting, before, expected):
    begun = time.monotonic()
    assert resting(waiting, before) == expected
    assert time.monotonic() - begun > 1.9


# --- the action lane_heartbeat: its process outlives the worker that started it, not the playbook -

BUSY = 10.0  #: seconds
#: The worker of a playbook does the task and ends, on a machine so busy that the new process gets its first turn later.
PLAYBOOK = """
import os, sys, time
from types import SimpleNamespace

import ansible.module_utils

root, folder = sys.argv[1:]
ansible.module_utils.__path__.append(f"{root}/module_utils")
from ansible.module_utils.lane.core import process_end

sys.path.insert(0, root)
from plugins.action import lane_heartbeat as heartbeat

heartbeat.PERIOD = 0.05

def beat(command, sudoable):
    open(f"{folder}/beats", "a").write(f"{os.getpid()}\\n")
    return 0, b"", b""

if os.fork() == 0:
    os.register_at_fork(after_in_child=lambda: time.sleep(0.5))
    process_end.forks_with_this_process()
    action = object.__new__(heartbeat.ActionModule)
    action._task = SimpleNamespace(args={"file": f"{folder}/heartbeat"})
    action._connection = SimpleNamespace(exec_command=beat)
    heartbeat.ActionBase.run = lambda self, tmp, task_vars: {}
    assert action.run() == {"changed": False}
    os._exit(0)
os.wait()
sys.stdin.read()
"""


def test_it_goes_on_when_its_worker_has_ended_and_ends_with_the_playbook(tmp_path):
    beats = tmp_path / "beats"
    command = [sys.executable, "-c", PLAYBOOK, str(Path(__file__).parents[2]), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as playbook:
        assert run_state.until(lambda: beats.exists() and len(beats.read_text().split()) > 3, BUSY)
        assert playbook.poll() is None
        playbook.stdin.close()
    pid = int(beats.read_text().split()[0])
    assert run_state.until(lambda: not Path(f"/proc/{pid}").exists(), BUSY)
