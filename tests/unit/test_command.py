"""Short-lived programs: their environment, their end, and that nothing of them stays."""

import os
import subprocess
import sys
from pathlib import Path

from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.lifecycle import proc, run_state
from prepared import fails


def gone(file: Path) -> bool:
    """Whether the process with the pid in the file ends, or is a zombie, within some seconds."""
    return run_state.until(lambda: not ((found := proc.read(int(file.read_text()))) and found.alive), 30)


def test_a_fresh_environment_keeps_only_what_is_named(monkeypatch):
    for name in ("RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_HTTP_PROXY", "PYTHONPATH", "https_proxy"):
        monkeypatch.setenv(name, "x")
    env = command.environment("7/run", ("CARGO_HTTP_*",))
    assert env["KERBSIDE_LANE"] == "7/run"
    assert env["CARGO_HTTP_PROXY"] == "x"
    assert not {"RUSTFLAGS", "CARGO_TARGET_DIR", "PYTHONPATH", "https_proxy"} & set(env)
    assert command.environment(None, network=True)["https_proxy"] == "x"
    assert "KERBSIDE_LANE" not in command.environment(None)


def test_status_and_words():
    script = "echo out; echo first; echo 'error: this one' >&2; exit 3"
    done = command.run(["/bin/sh", "-c", script], command.environment(None), 5, "sh")
    assert (done.status, done.out, done.said) == (3, "out\nfirst\n", "error: this one")


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path):
    argv, log = ["/bin/sh", "-c", f"sleep 50 & echo $! >{tmp_path}/child; wait"], str(tmp_path / "log")
    with fails("command_timeout", "ryll") as failed:
        command.run(argv, command.environment(None), 0.3, "build ryll", component="ryll", log=log)
    assert failed.value.evidence == log
    assert failed.value.problem == "build ryll: /bin/sh was still running after 0.3 s and was killed"
    assert gone(tmp_path / "child")


def test_a_program_dies_with_the_process_that_runs_it(tmp_path):
    file = tmp_path / "pid"
    argv = ["/bin/sh", "-c", f"echo $$ >{file}; exec sleep 50"]
    script = f"from lane.core import command; command.run({argv}, command.environment(None), 60, 'sleep')"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "module_utils")}
    with subprocess.Popen([sys.executable, "-c", script], env=env) as runner:
        assert run_state.until(lambda: file.exists() and file.read_text().endswith("\n"), 30)
        runner.kill()
    assert gone(file)


def test_a_program_that_cannot_be_started():
    with fails("command_not_started", "host"):
        command.run(["/none/git"], {}, 1, "clone", component="host")
