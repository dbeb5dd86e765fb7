"""The callback plugins phases (the lines of a run) and lane (its last line), and Ansible's log as it is kept."""

import importlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.evidence import ansible_log, logs
from lanes import claimed_lane

from plugins.callback import lane as lane_plugin
from plugins.callback import phases


class Screen:
    """The other end of a pipe or of a terminal."""

    def __init__(self, live: bool) -> None:
        self._read, self.out = os.openpty() if live else os.pipe()
        os.set_blocking(self._read, False)

    def text(self) -> str:
        """What has come since the last call."""
        try:
            return os.read(self._read, 65536).decode()
        except BlockingIOError:
            return ""

    def until(self, seen: Callable[[str], bool]) -> str:
        """What comes until it is as wanted."""
        text, end = "", time.monotonic() + 30
        while not seen(text):
            assert time.monotonic() < end, text
            text += self.text()
            time.sleep(0.005)
        return text


@contextmanager
def terminal(
    monkeypatch: pytest.MonkeyPatch, live: bool, said: str = "", period: float = 0.02
) -> Iterator[tuple[Any, Screen]]:
    """A Terminal with short periods, and what it writes to."""
    monkeypatch.setattr(phases, "PERIOD", period)
    monkeypatch.setattr(phases, "QUIET_PERIOD", 0.1)
    screen = Screen(live)
    made = phases.Terminal(live, lambda text, colour: f"<{colour}>{text}", lambda lane: said, screen.out)
    try:
        yield made, screen
    finally:
        made._over.set()
        screen.text()  # what waits for a reader holds the lock
        made.close()
        os.close(screen.out)


def test_a_pipe_gets_a_line_per_phase_and_progress_lines(monkeypatch):
    with terminal(monkeypatch, False, "Install x: Compiling y") as (made, screen):
        made.begin("deps")
        text = screen.until(lambda text: text.count("\n") >= 2)
        made.end("qemu\n7.2", "red")
        made.say("report: x")
        lines = (text + screen.until(lambda text: "report" in text)).splitlines()
    assert {re.sub(r"\d+ s \.\.\.", "@", line) for line in lines[:-2]} == {"deps             @  Install x: Compiling y"}
    assert re.fullmatch(r"<red>deps           \d\.\d s  qemu 7.2", lines[-2]) and lines[-1] == "report: x"


def test_a_reader_that_goes_away_does_not_stop_the_lane(monkeypatch):
    with terminal(monkeypatch, False, period=0.001) as (made, screen):
        os.close(screen._read)
        monkeypatch.setattr(screen, "text", lambda: "")
        made.begin("tls")
        made.end("")
        made.say("more")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_finds_the_lock_free(monkeypatch):
    """Ansible forks a worker for each task. The thread that could hold the lock is not in the child."""
    with terminal(monkeypatch, True, period=0.0001) as (made, screen):
        made.begin("tls")
        made._progress = lambda lane: time.sleep(0.002) or "slow"
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                made.say("child")
                os._exit(0)
            end = time.monotonic() + 20
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                screen.text()
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    pytest.fail("the child waits for a lock that nobody holds")
                time.sleep(0.001)


# --- the callback -------------------------------------------------------------------------------

HOST = SimpleNamespace(get_name=lambda: "box", get_vars=dict)


def result_of(values: dict[str, Any], *warnings: str) -> Any:
    """As ansible-core 2.19 and later give it; tests/playbooks/test_ansible_versions.py has an older one."""
    events = [SimpleNamespace(event=SimpleNamespace(msg=text)) for text in warnings]
    return SimpleNamespace(host=HOST, result=values, warnings=events)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the callback plugin phases shows, in lines; Ansible's own callback below it does nothing."""
    for name in ("playbook_on_play_start", "runner_on_start", "runner_on_ok", "runner_on_failed", "playbook_on_stats"):
        monkeypatch.setattr(phases.Default, f"v2_{name}", lambda *_, **__: None)
    lines: list[str] = []

    def write(_: Any, text: str) -> None:
        lines.extend(re.sub(r" +\d\.\d s", " @", line) for line in text.splitlines())

    monkeypatch.setattr(phases.Terminal, "_write", write)
    monkeypatch.setattr(phases.context, "CLIARGS", {})
    monkeypatch.setattr(phases.colours, "ANSIBLE_COLOR", False)
    return lines


def task_of(role: str, name: str) -> Any:
    return SimpleNamespace(_role=SimpleNamespace(get_name=lambda: role), get_name=lambda: f"{role} : {name}")


def show(*tasks: tuple[str, str, str, dict[str, Any]]) -> None:
    """Show tasks, each (role, name, how it ended, its values)."""
    made = phases.CallbackModule()
    for role, name, ended, values in tasks:
        made.v2_runner_on_start(HOST, task_of(role, name))
        given = result_of(values, "take care") if ended == "warned" else result_of(values)
        if ended in ("failed", "ignored"):
            made.v2_runner_on_failed(given, ignore_errors=ended == "ignored")
        elif ended != "skipped":
            made.v2_runner_on_ok(given)
    made.v2_playbook_on_stats(None)


def test_notes_warnings_and_failures(shown):
    show(
        ("tls", "Make keys", "ok", {"changed": True}),
        ("deps", "Find packages", "warned", {"lane_note": "x" * 200}),
        ("sextant_vm", "Boot", "ignored", {}),
        ("smoke", "Start", "ok", {"lane_note": "hello"}),
        ("smoke", "Check", "failed", {"lane_failure": {"check": "frames"}, "lane_note": "y"}),
        ("smoke", "Check more", "failed", {"lane_failure": {"check": None}}),
        ("kerbside", "Ask", "failed", {"lane_failure": {"check": None}}),
        ("evidence", "Keep", "skipped", {}),
    )
    notes = ["tls @", "warning: take care", f"deps @  {'x' * 200}", "sextant_vm @"]
    assert shown == [*notes, "smoke @  FAILED: check frames", "kerbside @  FAILED: Ask"]


def test_check_mode_shows_what_would_be_done(shown, monkeypatch):
    monkeypatch.setattr(phases.context, "CLIARGS", {"check": True})
    show(("tls", "Make keys", "ok", {"changed": True}), ("tls", "Find", "ok", {"lane_note": "here"}))
    assert shown == ["tls @  would make keys, here"]


def test_with_several_hosts_each_line_names_its_lane(shown):
    made = phases.CallbackModule()
    variables = SimpleNamespace(get_vars=lambda play: {"ansible_play_hosts_all": ["one", "two"]})
    made.v2_playbook_on_play_start(SimpleNamespace(get_variable_manager=lambda: variables))
    hosts = [SimpleNamespace(get_name=lambda name=name: name) for name in ("one", "two")]
    for role in ("tls", "smoke"):
        for host in hosts:
            made.v2_runner_on_start(host, task_of(role, "Work"))
            given = SimpleNamespace(host=host, result={"lane_note": role}, warnings=[])
            (made.v2_runner_on_failed if (host, role) == (hosts[1], "smoke") else made.v2_runner_on_ok)(given)
    made.v2_playbook_on_stats(None)
    assert shown == [
        f"{'one':20} tls @  tls",
        f"{'two':20} tls @  tls",
        f"{'one':20} smoke @  smoke",
        f"{'two':20} smoke @  FAILED: Work",
    ]


def test_an_unexplained_failure_shows_a_log(shown, monkeypatch, tmp_path):
    (tmp_path / "log").write_text("Ansible's words\n")
    monkeypatch.setattr(phases.C, "DEFAULT_LOG_PATH", str(tmp_path / "log"), raising=False)
    failed = ("tls", "Make keys", "failed", {})
    show(failed)
    assert shown == ["tls @  FAILED: Make keys", "Ansible's words"]
    shown.clear()
    show(failed, ("evidence", "Keep", "ok", {"lane_verdict": {}}))
    assert shown == ["tls @  FAILED: Make keys", "evidence @"]


@pytest.mark.parametrize("version", ["2.15.13", "2.9.27"])
def test_an_old_ansible_core_is_refused_in_one_sentence(monkeypatch, tmp_path, capsys, version):
    """tests/playbooks/test_ansible_versions.py runs lanes on those that are not."""
    monkeypatch.setattr(lane_plugin, "__version__", version)
    monkeypatch.setenv("LANE_VERDICT_FILE", str(tmp_path / "verdict"))
    with pytest.raises(SystemExit, match="2"):
        lane_plugin.CallbackModule()
    words = f"LANE FAIL environment: ansible-core {version} is too old; use 2.16 or newer"
    assert capsys.readouterr().out.startswith(words)
    assert (tmp_path / "verdict").read_text() == "error"


def test_what_modules_share_is_loaded_before_they_fork():
    for name in lane_plugin.SHARED_IMPORTS:
        importlib.import_module(name)


# --- Ansible's log ------------------------------------------------------------------------------


def test_the_log_is_kept_with_the_evidence_of_this_run_only(tmp_path):
    log = tmp_path / "ansible.log"
    log.write_text("before\nafter\n")
    with claimed_lane() as lane:
        run = {"run_id": lane.run.run_id, "dir": lane.dir}
        artifacts = Path(lane.artifacts)
        kept = artifacts / "logs/ansible.log"
        kept.parent.mkdir()
        kept.write_text("before\n")
        for run_id, text in (("another", "before\n"), (lane.run.run_id, "before\nafter\n")):
            (artifacts / "result.json").write_text(f'{{"run_id": "{run_id}"}}')
            ansible_log.keep(log, 7, run, artifacts)
            assert kept.read_text() == text
        kept.unlink()  # withheld
        ansible_log.keep(log, 7, run, artifacts)
        assert not kept.exists()
        own = Path(lane.dir, "logs/ansible.log")
        assert own.read_text() == "before\nafter\n" * 3  # the lane is up: what each command logged is added
        assert own.stat().st_mode & 0o777 == 0o600


def test_the_last_line_is_the_newest_whole_one_without_secrets(tmp_path):
    with claimed_lane() as lane:
        folder, since = Path(lane.dir), time.time()
        secret = (folder / "secrets/spice_ticket").read_text()
        api = folder / "logs/api.log"
        line = f"\n2026-11-24T03:55:58Z INFO ticket {secret}".encode()
        api.write_bytes(b"x" * 5000 + line + b"\xb0\x00\n\nunfinished")
        assert logs.last_line(folder, since - 60) == "INFO ticket (spice_ticket)"
        assert logs.last_line(folder, since - 60, but={"api.log"}) == ""  # it is an earlier phase's
        newer = tmp_path / "dpkg.log"
        newer.write_text("status installed x\n")
        os.utime(newer, (time.time() + 5, time.time() + 5))
        assert logs.last_line(folder, since, [newer]) == "status installed x"
