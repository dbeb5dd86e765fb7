"""plugins/action/normal.py: a module in a fork returns what one in its own Python returns; where it is forked."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import lost_worker, proc, run_state
from whole_lanes import ROOT

PROBE = '''#!/usr/bin/python
"""A module that returns what it sees of its process, and ends as it is told."""
import gc, logging, os, signal, sys, tempfile, time
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import errors


def main():
    spec = {"end": {"default": "well"}, "secret": {"no_log": True}, "old": {"removed_in_version": "99"}, "note": {}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    end = module.params["end"]
    if module.params["note"]:
        with open(module.params["note"], "a") as file:
            file.write(f"{os.getpid()}\\n")
    if end == "kills Ansible":
        os.kill(int(os.environ["LANE_OWNER"].partition("-")[0]), signal.SIGKILL)
        time.sleep(30)
    if end == "kills its worker, which hands in a result":
        from ansible.utils.display import Display
        Display()._final_q._wlock.acquire() # nobody else can from now on
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)
    if end == "badly":
        module.fail_json(msg="it went badly", number=3)
    if end == "raises":
        raise ValueError("nobody caught this")
    if end == "exits":
        sys.exit(5)
    if end.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, end))
    if end == "traces":
        os.chdir("/")
        os.umask(0)
        os.environ["GIVEN"] = "of the module before"
        sys.argv.append("of the module before")
    if end == "forks":
        if (child := os.fork()) == 0:
            sys.exit(7)
        number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        module.exit_json(changed=False, number=number)
    if end == "noisy":
        print("noise on stdout before the result")
        sys.stderr.write("x" * 300_000)
    if end == "warns":
        module.warn("take care")
        module.deprecate("soon gone", version="99")
    mask = os.umask(0)
    os.umask(mask)
    module.exit_json(
        changed=not module.check_mode, forked="ansible.executor.module_common" in sys.modules,
        environment={name: os.environ.get(name) for name in ("HOME", "PATH", "LANG", "LC_ALL", "GIVEN")},
        folder=os.getcwd(), arguments=len(sys.argv), stdin=sys.stdin.read(), encoding=sys.stdout.encoding, umask=mask,
        session=os.getsid(0) != 0, temporary=os.path.basename(tempfile.gettempdir())[:14],
        diff=module._diff, verbosity=module._verbosity, tmp=os.path.isdir(module.tmpdir), name=module._name,
        products=errors.PRODUCT, big="y" * 300_000 if end == "noisy" else "", python=sys.executable,
        given=module.params["secret"], collects=gc.isenabled(), loggers=len(logging.getLogger().handlers),
        handlers=[str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGCHLD)],
    )


if __name__ == "__main__":
    main()
'''
RESPAWNED = """#!/usr/bin/python
import sys
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module

if __name__ == "__main__":
    if not has_respawned():
        respawn_module("/usr/bin/python3")
    forked = "ansible.executor.module_common" in sys.modules
    AnsibleModule(argument_spec={}).exit_json(forked=forked, python=sys.executable)
"""
SHELL = '#!/bin/sh\necho \'{"changed": false, "forked": false, "shell": true}\'\n'


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, str]:
    """The environment in which Ansible finds these modules; what killed ones leave is removed with the test."""
    library = tmp_path / "modules"
    library.mkdir()
    for name, text in (("probe.py", PROBE), ("respawned.py", RESPAWNED), ("in_shell", SHELL)):
        (library / name).write_text(text)
    path = f"{library}:{ROOT / 'library'}"
    return {"ANSIBLE_LIBRARY": path, "TMPDIR": str(tmp_path), "ANSIBLE_LOG_PATH": str(tmp_path / "log")}


def test_a_fork_gives_what_a_python_of_its_own_gives(lane, modules):
    ends = ("well", "badly", "raises", "exits", "noisy", "warns")
    loop = ["warns", "traces", "well", "raises", "well"]
    tasks: list[dict[str, Any]] = [
        *({"name": end, "probe": {"end": end, "secret": "hush"}, "environment": {"GIVEN": "a b"}} for end in ends),
        {"name": "one after another", "probe": {"end": "{{ item }}"}, "loop": loop},
        {"name": "checked", "probe": {}, "check_mode": True},
        {"name": "deprecated", "probe": {"old": "x"}},
        {"name": "unknown", "probe": {"nobody": 1}},
        {"name": "Ansible's own", "ansible.builtin.stat": {"path": "/etc/os-release"}},
        {"name": "forks", "probe": {"end": "forks"}},
        {"name": "after it", "probe": {}},
    ]
    tasks = [{**task, "ignore_errors": True} for task in tasks]
    seen, temporary = [], lane.scratch / "tmp"
    temporary.mkdir(mode=0o700)
    for fork in (True, False):
        played = lane.run(tasks, env=modules, lane_fork_modules=fork, ansible_remote_tmp=str(temporary))
        assert list(temporary.iterdir()) == []
        assert played.rc == 0, played
        assert played.result("well")["forked"] is fork
        assert "hush" not in played.text + played.stderr + str(played.events)
        assert fork is (played.result("forks").get("number") == 7)
        # Once each: the child of `forks` leaves by an exception, and does not go on as Ansible.
        assert [one["task"] for one in played.results()] == [task["name"] for task in tasks]
        seen.append({one["task"]: _comparable(one) for one in played.results()[:-2]})
    assert seen[0]["well"]["temporary"] == "ansible-local-"  # the folder that is removed with the command
    for task, result in seen[0].items():
        assert result == seen[1][task], task


def _comparable(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what differs between two runs, or comes from how it ran: the traceback, the deprecator."""
    for one in result.get("deprecations", []):
        one.pop("deprecator")
        one.pop("collection_name")
    gone = ("exception", "_ansible_delegated_vars", "invocation", "forked")
    result["results"] = [_comparable(one) for one in result.get("results", ())]
    result.get("stat", {}).pop("atime", None)
    return {key: value for key, value in result.items() if key not in gone}


def test_a_module_that_is_killed_is_a_failed_task(lane, modules):
    """`rescue` and `always` run, as they do after a module in a Python of its own."""
    rest = {"rescue": [{"name": "rescued", "probe": {}}], "always": [{"name": "always", "probe": {}}]}
    signals = ("SIGKILL", "SIGTERM")
    blocks = [{"block": [{"name": "killed", "probe": {"end": number}}], **rest} for number in signals]
    for fork in (True, False):
        played = lane.good(blocks, env=modules, lane_fork_modules=fork)
        assert [one["task"] for one in played.results()] == ["killed", "rescued", "always"] * 2
        assert len(played.failures) == 2
        assert fork is (played.failures == [f"the module was killed by {number}" for number in signals])


@pytest.mark.parametrize("env", [{"ANSIBLE_PIPELINING": "false"}, {"ANSIBLE_KEEP_REMOTE_FILES": "1"}])
def test_without_pipelining_ansible_runs_the_module_once(lane, modules, env):
    """The archive is copied and made executable then: the command that runs the module is one of several."""
    note = lane.scratch / "note"
    tasks = [{"name": "run", "probe": {"note": str(note)}}]
    played = lane.good(tasks, env={**modules, **env}, ansible_remote_tmp=str(lane.scratch))
    assert (played.result("run")["forked"], note.read_text().count("\n")) == (False, 1)


def test_what_is_not_this_very_python_is_left_to_ansible(lane, modules, tmp_path):
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    tasks = [
        {"name": "plain", "probe": {}},
        {"name": "another python", "probe": {}, "vars": {"ansible_python_interpreter": str(other)}},
        {"name": "delegated", "probe": {}, "delegate_to": "other"},
        {"name": "no python", "in_shell": {}},
        {"name": "respawned", "respawned": {}},  # as apt does under a Python without python3-apt
    ]
    if " " not in sys.executable:  # Ansible's async_wrapper cuts an interpreter's path at its first blank
        tasks.append({"name": "async", "probe": {}, "async": 30, "poll": 1})
    if os.geteuid() == 0:
        tasks.append({"name": "become", "probe": {}, "become": True, "become_method": "ansible.builtin.su"})
    inventory = tmp_path / "hosts.yml"
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory.write_text(json.dumps({"all": {"vars": here, "hosts": {"localhost": {}, "other": {}}}}))
    played = lane.good(tasks, "-i", str(inventory), env={**modules, "ANSIBLE_PIPELINING": "true"})
    assert sorted(one["task"] for one in played.results()) == sorted(task["name"] for task in tasks)
    assert [one["task"] for one in played.results() if one["forked"]] == ["plain"]
    assert played.result("respawned")["python"] == "/usr/bin/python3"


def test_a_worker_that_is_killed_while_it_hands_in_a_result_ends_ansible(lane, modules):
    played = lane.run([{"name": "lost", "probe": {"end": "kills its worker, which hands in a result"}}], env=modules)
    assert played.rc == -lost_worker.SIGNAL
    assert "one of its workers was killed" in played.text


def test_a_module_in_a_fork_dies_with_ansible(lane, modules):
    """SIGKILL of ansible-playbook ends its workers and their forks (docs/no-trace.md)."""
    note = lane.scratch / "note"
    played = lane.run([{"name": "Sleep", "probe": {"end": "kills Ansible", "note": str(note)}}], env=modules)
    assert played.rc == -signal.SIGKILL, played
    module = int(note.read_text())
    assert run_state.until(lambda: not ((left := proc.read(module)) and left.alive), 30)
