"""The lines of a run on a pipe and on a terminal, Ansible's words in a log, and what was said last."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.evidence import ansible_log, logs, progress, terminal
from lanes import claimed_lane


class Display:
    """As much of Ansible's as is used; `_final_q` is set in workers only."""

    def __init__(self) -> None:
        self._final_q: object = None
        self.shown: list[tuple[str, dict[str, Any]]] = []

    def display(self, msg: str, **how: Any) -> None:
        self.shown.append((msg, how))


class Screen:
    """The other end of a pipe or of a terminal."""

    def __init__(self, live: bool) -> None:
        self._read, self.out = os.openpty() if live else os.pipe()

    def text(self) -> str:
        """What has come so far."""
        os.set_blocking(self._read, False)
        try:
            return os.read(self._read, 65536).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        for end in (self._read, self.out):
            os.close(end)


@contextmanager
def shown(monkeypatch: pytest.MonkeyPatch, live: bool, period: float = 0.02, patience: float = 0.1, said: str = "") -> Iterator[tuple[Any, Screen]]:
    """A Terminal whose seconds are short, and what it writes to."""
    monkeypatch.setattr(terminal, "PERIOD", period)
    monkeypatch.setattr(terminal, "PATIENCE", patience)
    screen = Screen(live)
    made = terminal.Terminal(live, lambda text, colour: f"<{colour}>{text}", lambda: said, screen.out)
    try:
        yield made, screen
    finally:
        made._over.set()
        screen.text()  # what waits for a reader holds the lock
        made.close()
        screen.close()


def test_on_a_pipe_there_is_a_line_for_each_phase_and_one_for_every_while_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown(monkeypatch, False, said="Compiling x") as (made, screen):
        made.begin("deps")
        made.step("Have apt install")
        time.sleep(0.35)
        made.end(0.35, "qemu\n7.2", "red")
        made.say("report: x")
        time.sleep(0.2)
        lines = screen.text().splitlines()
    going = [line for line in lines if "..." in line]
    assert 1 <= len(going) <= 4
    assert set(going) == {"deps             0 s ...  Have apt install: Compiling x"}
    assert [line for line in lines if line not in going] == ["<red>deps           0.3 s  qemu 7.2", "report: x"]


def test_on_a_terminal_the_phase_at_work_has_the_last_line_until_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown(monkeypatch, True, said="x" * 200) as (made, screen):
        made.begin("tls")
        made.step("Make keys")
        time.sleep(0.2)
        first = screen.text()
        made.end(0.2, "")
        last = screen.text()
        time.sleep(0.1)
        assert screen.text() == ""  # nothing is at work
    assert "\n" not in first
    frames = [frame for frame in first.split(terminal.ERASE) if frame]
    assert len(frames) > 2 and set(frames) == {("tls              0 s ...  Make keys: " + "x" * 80)[:79]}
    assert last.endswith(f"{terminal.ERASE}tls            0.2 s\r\n")


def test_a_short_phase_is_not_shown_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown(monkeypatch, True, period=0.2) as (made, screen):
        time.sleep(0.1)
        made.begin("tls")
        time.sleep(0.15)
        made.end(0.15, "")
        assert screen.text() == "tls            0.1 s\r\n"


def test_whoever_stops_reading_does_not_stop_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(terminal, "PERIOD", 0.01)
    made = terminal.Terminal(True, lambda text, _: text, descriptor=write)
    made.begin("tls")
    time.sleep(0.05)
    made.end(0.1, "")
    made.close()
    os.close(write)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_finds_no_lock_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible forks a worker for each task. Each child speaks, which takes the lock; the thread that could hold it is not there."""
    with shown(monkeypatch, True, period=0.0001) as (made, screen):
        made.begin("tls")
        made._listen = lambda: time.sleep(0.002) or "slow"
        for _ in range(50):
            pid = os.fork()
            if pid == 0:
                made.say("child")
                os._exit(0)
            limit = time.monotonic() + 5
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                screen.text()
                if time.monotonic() > limit:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    pytest.fail("the child waits for a lock that nobody holds")
                time.sleep(0.001)


# --- Ansible's words ----------------------------------------------------------------------------


def test_ansible_speaks_to_a_log(tmp_path: Path) -> None:
    display = Display()
    ansible_log.divert(display, str(tmp_path / "log"))
    display.display("\nTASK [x] ***", color="red")
    display.display("one\ntwo\n")
    display.display("", screen_only=True)
    display.display("in colour", screen_only=True)
    display.display("recap", log_only=True)
    text = (tmp_path / "log").read_text()
    assert re.sub(r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", "@", text) == "@TASK [x] ***\n@one\ntwo\n@recap\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert {how["log_only"] for _, how in display.shown} == {True}  # nothing on the terminal, all of it for ANSIBLE_LOG_PATH


def test_a_worker_hands_its_words_to_the_controller(tmp_path: Path) -> None:
    display = Display()
    ansible_log.divert(display, str(tmp_path / "log"))
    display._final_q = object()
    display.display("from a worker", color="red")
    assert (tmp_path / "log").read_text() == ""
    assert display.shown == [("from a worker", {"color": "red", "screen_only": False, "caplevel": None})]


# --- a run --------------------------------------------------------------------------------------


@contextmanager
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool = False) -> Iterator[tuple[Any, list[str]]]:
    """A Quiet, and the lines that it shows."""
    lines: list[str] = []
    monkeypatch.setattr(terminal.Terminal, "_write", lambda self, text: lines.append(text.rstrip("\n")))
    made = progress.Quiet(str(tmp_path / "ansible.log"), Display(), False, lambda text, colour: f"<{colour}>{text}", check)
    try:
        yield made, lines
    finally:
        made.terminal.close()


def play(made: Any, *tasks: tuple[str, str, str, dict[str, Any]]) -> None:
    """Tasks as (role, name, how it ended, its values)."""
    phase = ""
    for role, name, ended, values in tasks:
        if role != phase:
            made.phase(role)
            phase = role
        made.task(f"{role} : {name}")
        if ended != "skipped":
            (made.failed if ended == "failed" else made.result)(values, ["take care"] if ended == "warned" else [])
    made.end()


def test_notes_warnings_and_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run(tmp_path, monkeypatch) as (made, lines):
        play(
            made,
            ("tls", "Make keys", "ok", {"changed": True}),
            ("deps", "Look", "warned", {"lane_note": "nothing is missing"}),
            ("smoke", "Start", "ok", {"lane_note": "hello"}),
            ("smoke", "Check", "failed", {"lane_failure": {"check": "frames"}, "lane_note": "x" * 200}),
            ("smoke", "Check more", "failed", {}),
            ("kerbside", "Ask", "failed", {"lane_failure": {"check": None}}),
            ("evidence", "Keep", "skipped", {}),
        )
    assert [re.sub(r" +\d\.\d s", " @", line) for line in lines] == [
        "tls @",
        "<bright purple>warning: take care",
        "deps @  nothing is missing",
        "<red>smoke @  FAILED: check frames",
        "<red>kerbside @  FAILED: Ask",
    ]


def test_in_check_mode_it_says_what_would_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run(tmp_path, monkeypatch, check=True) as (made, lines):
        play(made, ("tls", "Make keys", "ok", {"changed": True}), ("tls", "Look", "ok", {"lane_note": "here"}))
    assert [line.partition(" s  ")[2] for line in lines] == ["would make keys, here"]


def test_the_log_is_kept_with_the_evidence_of_this_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed_lane() as lane, run(tmp_path, monkeypatch) as (made, _):
        (tmp_path / "ansible.log").write_text("before\nafter\n")
        artifacts = Path(lane.artifacts)
        (artifacts / "logs").mkdir()
        kept = artifacts / "logs/ansible.log"
        kept.write_text("before\n")
        (artifacts / "result.json").write_text('{"run_id": "another"}')
        made.result({"ansible_facts": {"lane_run": {"run_id": lane.run.run_id, "dir": lane.dir}}, "lane_ansible_kept": 7}, [])
        made.keep(artifacts)
        assert kept.read_text() == "before\n"
        (artifacts / "result.json").write_text(f'{{"run_id": "{lane.run.run_id}"}}')
        made.keep(artifacts)
        assert kept.read_text() == "before\nafter\n"
        kept.unlink()  # held back
        made.keep(artifacts)
        assert not kept.exists()
        mine = Path(lane.dir, "logs/ansible.log")
        assert mine.read_text() == "before\nafter\n" * 3  # the lane is up: each command's words are added
        assert mine.stat().st_mode & 0o777 == 0o600


def test_the_last_line_is_the_newest_whole_one_without_secrets(tmp_path: Path) -> None:
    with claimed_lane() as lane:
        folder, since = Path(lane.dir), time.time()
        assert logs.last_line(folder, since) == ""
        secret = (folder / "secrets/spice_ticket").read_text()
        (folder / "logs/api.log").write_text("x" * 5000 + f"\n2026-11-24T03:55:58Z INFO ticket {secret}\n\nunfinished")
        assert logs.last_line(folder, since - 60) == "INFO ticket (spice_ticket)"
        assert logs.last_line(folder, time.time() + 60) == ""
        newer = tmp_path / "dpkg.log"
        newer.write_text("status installed x\n")
        os.utime(newer, (time.time() + 5, time.time() + 5))
        assert logs.last_line(folder, since, [newer]) == "status installed x"
