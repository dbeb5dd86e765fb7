"""The action lane_heartbeat: its process outlives the worker that started it, and ends with ansible-playbook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ansible.module_utils.lane.lifecycle import run_state

BUSY = 10.0  #: seconds
#: The worker of a playbook does the task and ends, on a machine so busy that the new process gets its first turn later.
PLAYBOOK = """
import importlib.util, os, sys, time
from types import SimpleNamespace

import ansible.module_utils

root, folder = sys.argv[1:]
ansible.module_utils.__path__.append(f"{root}/module_utils")
from ansible.module_utils.lane.core import process_end

spec = importlib.util.spec_from_file_location("plugin", f"{root}/plugins/action/lane_heartbeat.py")
heartbeat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(heartbeat)
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


def test_it_goes_on_when_its_worker_has_ended_and_ends_with_the_playbook(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    command = [sys.executable, "-c", PLAYBOOK, str(Path(__file__).parents[2]), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as playbook:
        assert run_state.until(lambda: beats.exists() and len(beats.read_text().split()) > 3, BUSY)
        assert playbook.poll() is None
        assert playbook.stdin
        playbook.stdin.close()
    pid = int(beats.read_text().split()[0])
    assert run_state.until(lambda: not Path(f"/proc/{pid}").exists(), BUSY)
