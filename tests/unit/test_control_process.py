"""ryll as a process: killed, stopped or gone, between two steps and in the midst of one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll import ryll_process
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.ryll_process import Watch, log_end
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan

HERE = Path(__file__).parent
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from control_peer import Peer, Ryll
ryll = Ryll()
if sys.argv[2] == "deaf":
    ryll.on_status = lambda connection, request, params: None
with Peer(ryll) as peer:
    print(peer.path, flush=True)
    sys.stdin.read()
"""
BUSY = 3.0  #: times longer than on an idle machine
H: dict[str, Any] = {"hello": {}}
PAUSE: dict[str, Any] = {"pause": {"seconds": 5}}


@contextlib.contextmanager
def process(kind: str = "good") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A ryll of the tests in a process of its own, which stays a zombie after its end, as this process does not wait for it."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(HERE), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert child.stdin
    try:
        path = child.stdout.readline().strip()
        assert path
        yield child, path
    finally:
        child.send_signal(signal.SIGCONT)
        child.kill()
        child.stdin.close()
        child.stdout.close()
        child.wait()
        with contextlib.suppress(OSError):
            os.unlink(path)
            os.rmdir(os.path.dirname(path))


def fail(pid: int | None, path: str, *steps: Any, **settings: Any) -> tuple[str, float, str]:
    began = time.monotonic()
    with pytest.raises(SessionFailed) as caught:
        run(Settings(path, pid=pid, **settings), plan([H, *steps]))
    return str(caught.value), time.monotonic() - began, caught.value.kind


ENDS = {
    signal.SIGKILL: "it has ended (zombie, not yet reaped)",
    signal.SIGSTOP: "it is stopped (state T, as after SIGSTOP)",
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(
    "step", [PAUSE, {"await": {"agent": True}, "within": 5, "blame": "guest"}], ids=["between", "in mid-step"]
)
def test_a_process_that_is_lost_is_told_at_once_with_its_state(how: signal.Signals, step: dict[str, Any]) -> None:
    with process() as (child, path):
        timer = threading.Timer(0.1, child.send_signal, [how])
        timer.start()
        told, took, kind = fail(child.pid, path, step, {"status": {}})
        timer.join()
    assert told.startswith(
        f"ryll: step 2 of 3 ({'pause' if step is PAUSE else 'await'}): ryll (process {child.pid}) is lost: {ENDS[how]}"
    )
    assert took < 1 * BUSY
    assert kind == "process"


def test_a_process_that_never_answers_and_is_stopped() -> None:
    with process("deaf") as (child, path):
        timer = threading.Timer(0.1, child.send_signal, [signal.SIGSTOP])
        timer.start()
        told, took, _ = fail(child.pid, path, {"status": {}})
        timer.join()
    assert "it is stopped" in told
    assert took < 1 * BUSY


def test_a_stopped_process_that_nobody_watches_ends_with_the_limit() -> None:
    with process() as (child, path):
        child.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(SessionFailed, match=r"did not answer `hello` within 0\.3 s: nothing arrived"):
            run(Settings(path), plan([H], 0.3))
        assert time.monotonic() - began < 0.5 * BUSY


def test_a_process_that_was_stopped_before_is_told_before_anything_is_tried() -> None:
    with process() as (child, path):
        child.send_signal(signal.SIGSTOP)
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
        told, took, _ = fail(child.pid, path)
    assert "step 1 of 1 (hello)" in told
    assert "it is stopped" in told
    assert took < 0.2 * BUSY


def test_a_process_that_is_not_there() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    told, _, _ = fail(child.pid, "/tmp/none.sock")
    assert told == f"ryll: step 1 of 1 (hello): ryll (process {child.pid}) is lost: no such process is running"


def test_a_process_that_ends_before_its_socket_appears(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.1)"])
    log = tmp_path / "ryll.log"
    log.write_text(
        "\x1b[31mError\x1b[0m: headless SPICE connection failed\n\nCaused by:\n    0: connecting to 127.0.0.1:17999\n    1: Connection refused (os error 111)\n"
    )
    began = time.monotonic()
    with pytest.raises(SessionFailed) as caught:
        run(Settings(f"{tmp_path}/r.sock", pid=child.pid, connect_within=20, log_file=str(log)), plan([H]))
    child.wait()
    assert time.monotonic() - began < 2 * BUSY
    assert str(caught.value).endswith(
        'it has ended (zombie, not yet reaped); its log ends with "Error: headless SPICE connection failed / Caused by: / '
        f'0: connecting to 127.0.0.1:17999 / 1: Connection refused (os error 111)"; look at {log}'
    )
    assert caught.value.evidence == f"{log}:5"


def test_a_process_that_lives_on_after_closing_is_not_called_dead() -> None:
    with process() as (child, path):
        told, _, kind = fail(
            child.pid,
            path,
            {"hello": {"protocol_version": "2.0"}, "refused": "protocol_version_mismatch"},
            {"status": {}},
        )
    assert "ryll closed the connection" in told
    assert kind == "closed"


def test_watching_costs_no_processor_time() -> None:
    with process() as (child, path):
        watch = Watch(child.pid)
        with Client(path, watch=watch) as client:
            client.connect(time.monotonic() + 5)
            before = time.process_time()
            client.pump(time.monotonic() + 0.5)
            assert time.process_time() - before < 0.03 * BUSY
        watch.close()


def test_no_descriptor_is_left_open() -> None:
    with process() as (child, path):
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(3):
            run(Settings(path, pid=child.pid), plan([H, {"reconnect": {}}]))
            with pytest.raises(SessionFailed):
                run(Settings(path + "x", pid=child.pid), plan([H]))
        assert sorted(os.listdir("/proc/self/fd")) == before


# --- the log ----------------------------------------------------------------------------------------


def test_the_end_of_a_log_is_quoted_whatever_it_is(tmp_path: Path) -> None:
    log = tmp_path / "ryll.log"
    assert log_end(str(log)) == ("", 0)
    assert log_end(str(tmp_path)) == ("", 0)
    log.write_bytes(b"\n \n")
    assert log_end(str(log)) == ("", 0)
    log.write_bytes(b"one\n2026-11-23T12:52:55.208067Z  INFO two\nthree\n\nfour\nf\xffve\n\n")
    assert log_end(str(log)) == ("INFO two / three / four / f\ufffdve", 6)
    log.write_bytes(b"x" * (2 << 20) + b"\nlast\n")
    assert log_end(str(log))[1] == 0 and log_end(str(log))[0].endswith(" / last")
    os.mkfifo(tmp_path / "fifo")
    assert log_end(str(tmp_path / "fifo")) == ("", 0)


def test_routine_lines_at_the_end_of_a_log_do_not_hide_the_cause(tmp_path: Path) -> None:
    """As ryll 0.3.0 ended when its guest was killed."""
    log = tmp_path / "ryll.log"
    routine = [
        "control: client task cancelled by shutdown",
        "control: removed socket /r.sock",
        "headless: surface mirror task exiting (broadcast closed)",
        "Headless mode finished",
    ]
    told = [
        "display: channel disconnected",
        "display: run loop exited cleanly",
        "Main channel disconnected, exiting",
        "Connection task completed",
        *routine,
    ]
    log.write_text("".join(f"2026-11-23T12:58:51.669126Z  INFO {line}\n" for line in told))
    assert log_end(str(log)) == ("INFO display: channel disconnected / INFO Main channel disconnected, exiting", 3)
    log.write_text("".join(f"2026-11-23T12:58:51.669126Z  INFO {line}\n" for line in routine))
    assert log_end(str(log))[0].endswith("INFO Headless mode finished")


def test_a_long_log_is_quoted_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "ryll.log"
    log.write_text("x" * 1000 + " the cause\n")
    with pytest.raises(SessionFailed) as caught:
        run(Settings(f"{tmp_path}/r.sock", log_file=str(log)), plan([H]))
    assert f'xxx the cause"; look at {log}' in str(caught.value)
    assert 'its log ends with "...xxx' in str(caught.value)


def test_a_log_that_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "ryll.log"
    log.write_text("x\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ryll_process, "open", refuse, raising=False)
    assert log_end(str(log)) == ("", 0)
