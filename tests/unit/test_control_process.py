"""ryll as a process: killed, stopped or gone, between two steps and in the midst of one."""

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
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.ryll_process import Watch, log_end
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_play import BUSY, H

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


@contextlib.contextmanager
def process(kind: str = "good") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A ryll of the tests in a process of its own; after its end it stays a zombie, as nobody waits for it."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(HERE), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
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


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ryll.log"


def fail(pid: int | None, path: str, *steps: Any, **settings: Any) -> tuple[SessionFailed, float]:
    """How the session failed, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(SessionFailed) as caught:
        run(Settings(path, pid=pid, **settings), plan([H, *steps]))
    return caught.value, time.monotonic() - began


ENDS = {
    signal.SIGKILL: "it has ended (zombie, not yet reaped)",
    signal.SIGSTOP: "it is stopped (state T, as after SIGSTOP)",
}
STEPS: dict[str, dict[str, Any]] = {
    "good": {"pause": {"seconds": 5}},
    "without an agent": {"await": {"agent": True}, "within": 5, "blame": "guest"},
    "deaf": {"status": {}},
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("kind", STEPS)
def test_a_process_that_is_lost_is_told_at_once_with_its_state(how, kind):
    with process(kind) as (child, path):
        timer = threading.Timer(0.1, child.send_signal, [how])
        timer.start()
        failed, took = fail(child.pid, path, STEPS[kind], {"status": {}})
        timer.join()
    place = f"ryll: step 2 of 3 ({next(iter(STEPS[kind]))})"
    assert str(failed) == f"{place}: ryll (process {child.pid}) is lost: {ENDS[how]}"
    assert failed.kind == "process"
    assert took < 1 * BUSY


def test_a_process_that_is_not_there():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    failed, _ = fail(child.pid, "/tmp/none.sock")
    assert str(failed) == f"ryll: step 1 of 1 (hello): ryll (process {child.pid}) is lost: no such process is running"


def test_a_process_that_ends_before_its_socket_appears(log):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.1)"])
    log.write_text(
        "\x1b[31mError\x1b[0m: headless SPICE connection failed\n\nCaused by:\n"
        "    0: connecting to 127.0.0.1:17999\n    1: Connection refused (os error 111)\n"
    )
    failed, took = fail(child.pid, f"{log}.sock", connect_within=20, log_file=str(log))
    child.wait()
    assert took < 2 * BUSY
    assert str(failed).endswith(
        'it has ended (zombie, not yet reaped); its log ends with "Error: headless SPICE connection failed / '
        f'Caused by: / 0: connecting to 127.0.0.1:17999 / 1: Connection refused (os error 111)"; look at {log}'
    )
    assert failed.evidence == f"{log}:5"


def test_a_process_that_lives_on_after_closing_is_not_called_dead():
    other = {"hello": {"protocol_version": "2.0"}, "refused": "protocol_version_mismatch"}
    with process() as (child, path):
        failed, _ = fail(child.pid, path, other, {"status": {}})
    assert "ryll closed the connection" in str(failed)
    assert failed.kind == "closed"


def test_watching_costs_no_processor_time():
    with process() as (child, path):
        watch = Watch(child.pid)
        with Client(path, watch=watch) as client:
            client.connect(time.monotonic() + 5)
            before = time.process_time()
            client.pump(time.monotonic() + 0.5)
            assert time.process_time() - before < 0.03 * BUSY
        watch.close()


def test_no_descriptor_is_left_open():
    with process() as (child, path):
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(3):
            run(Settings(path, pid=child.pid), plan([H, {"reconnect": {}}]))
            with pytest.raises(SessionFailed):
                run(Settings(path + "x", pid=child.pid), plan([H]))
        assert sorted(os.listdir("/proc/self/fd")) == before


# --- the log ----------------------------------------------------------------------------------------


def test_what_is_no_log_has_no_end(log):
    assert log_end(str(log)) == ("", 0)
    assert log_end(str(log.parent)) == ("", 0)
    os.mkfifo(f"{log}.fifo")
    assert log_end(f"{log}.fifo") == ("", 0)
    log.write_bytes(b"\n \n")
    assert log_end(str(log)) == ("", 0)


ROUTINE = [
    "control: client task cancelled by shutdown",
    "headless: surface mirror task exiting (broadcast closed)",
    "display: run loop exited cleanly",
    "Connection task completed",
    "Headless mode finished",
]
CAUSE = ["display: channel disconnected", "Main channel disconnected, exiting"]


def timed(*lines: str) -> bytes:
    return "".join(f"2026-11-23T12:58:51.669126Z  INFO {line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"one\n" + timed("two") + b"three\n\nfour\nf\xffve\n\n", ("INFO two / three / four / f\ufffdve", 6)),
        # routine lines: as ryll 0.3.0 ended when its guest was killed
        (timed(*CAUSE, *ROUTINE), ("INFO display: channel disconnected / INFO Main channel disconnected, exiting", 2)),
        (timed(*ROUTINE[-2:]), ("INFO Connection task completed / INFO Headless mode finished", 2)),
        (b"x" * (2 << 20) + b"\n1\n2\n3\n4\n", ("1 / 2 / 3 / 4", 0)),
    ],
    ids=["last lines", "routine lines", "only routine", "large"],
)
def test_the_end_of_a_log_is_its_last_lines_that_are_not_routine(text, end, log):
    log.write_bytes(text)
    assert log_end(str(log)) == end


def test_a_long_log_is_quoted_from_its_end(log):
    log.write_text("x" * 1000 + " the cause\n")
    failed, _ = fail(None, f"{log}.sock", log_file=str(log))
    assert f'its log ends with "...{"x" * 290} the cause"; look at {log}' in str(failed)
