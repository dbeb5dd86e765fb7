"""Run a Python module in a fork of Ansible's worker, where the lane's machine is the one that Ansible runs on.

Ansible packs a module and its module_utils into an archive for each task, starts a new Python and compiles everything in it anew: here about 0.3 s of a
processor per task, for a few milliseconds of work. On the machine and by the Python that Ansible itself runs on, its worker, a fork that does one task and
ends, has all of that loaded already; a fork of it is the module.
Whatever differs (another connection or Python, become, async, a module that is no Python or that starts itself anew under another one, as apt does) goes
Ansible's usual way, and so does everything when the variable `lane_fork_modules` is false. docs/performance.md has the figures; the
module is started by the very function that Ansible's archive calls.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import ansible.module_utils
import ansible.modules
from ansible import constants as C
from ansible.executor.module_common import NEW_STYLE_PYTHON_MODULE_RE, _BuiltModule, _get_ansible_module_fqn
from ansible.module_utils import _internal
from ansible.module_utils._internal._ansiballz import _loader
from ansible.module_utils.common import warnings
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

PROFILE = "legacy"  # how arguments and results are written as JSON; what every module here uses


class ActionModule(ActionBase):
    """Ansible's own way to run a module, with two steps replaced where that gives the same result: the archive, and the command that runs it."""

    _params = None  # the module's name and its arguments as JSON, when it runs here

    _supports_check_mode = True  # a module that does not says so itself
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        """What Ansible's own action `normal`, which this one stands in for, does."""
        self._variables = task_vars or {}
        apart = bool(self._task.async_val) and not self._connection.has_native_async
        result = {**super().run(tmp, task_vars), **self._execute_module(task_vars=task_vars, wrap_async=apart)}
        if self._task.action in C._ACTION_SETUP:
            result["_ansible_verbose_override"] = True  # too long for -v
        if not apart:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _runs_here(self):
        """Whether this process is as good as a Python started by the connection."""
        wanted = self._templar.template(self._variables.get("lane_fork_modules", True))
        python = self._templar.template(self._variables.get("ansible_python_interpreter", ""))
        return (
            boolean(wanted)
            and self._connection.transport == "local"
            and python == sys.executable
            and not self._connection.become
            and not self._task.async_val
            and not self._task.delegate_to
        )

    @staticmethod
    def _movable(source):
        """False for what is no Python, and for a module that may start itself anew (`respawn_module`): for that it needs its archive."""
        return NEW_STYLE_PYTHON_MODULE_RE.search(source) and b"respawn_module" not in source

    def _configure_module(self, module_name, module_args, task_vars):
        found = self._shared_loader_obj.module_loader.find_plugin_with_context(module_name, ".py", collection_list=self._task.collections)
        path = found.plugin_resolved_path if found.resolved else None
        if not path or not self._runs_here() or not self._movable(Path(path).read_bytes()):
            return super()._configure_module(module_name, module_args, task_vars)
        try:
            name = _get_ansible_module_fqn(path)
        except ValueError:  # a module of the project's, or of a role
            name = f"ansible.modules.{Path(path).stem}"
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        self._params = (name, path, json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder).encode())
        return _BuiltModule(b_module_data=b"", module_style="new", shebang=f"#!{sys.executable}", serialization_profile=PROFILE), path

    def _low_level_execute_command(self, cmd, *args, **kwargs):
        if self._params is None:
            return super()._low_level_execute_command(cmd, *args, **kwargs)
        environment = {}
        self._compute_environment_string(environment)
        name, path, params = self._params
        output = os.memfd_create("stdout"), os.memfd_create("stderr")
        child = os.fork()  # a module that is killed takes nothing of Ansible with it, and is a failed task
        if child == 0:
            status = 1
            try:
                _become_module(output, {str(key): str(value) for key, value in environment.items()}, self._loader.get_basedir(), path)
                status = _run(name, params)
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stdout, stderr = map(_all_of, output)
        if status < 0:
            stdout = json.dumps({"failed": True, "rc": status, "msg": f"the module was killed by {signal.Signals(-status).name}"})
        return {"rc": status, "stdout": stdout, "stdout_lines": stdout.splitlines(), "stderr": stderr, "stderr_lines": stderr.splitlines()}


def _all_of(descriptor):
    with open(descriptor, encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.seek(0)
        return file.read()


def _run(name, params):
    """The exit status of the module."""
    status = 1
    try:
        _loader.run_module(json_params=params, profile=PROFILE, module_fqn=name, modlib_path="", extensions={})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status


def _become_module(output, environment, folder, path):
    """Give this process the descriptors, folder, environment and import paths that a Python of the module's own would have."""
    for number, descriptor in enumerate(output, 1):
        os.dup2(descriptor, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the module
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    sys.argv = [path]
    os.environ.update(environment)
    atexit._clear()  # what Ansible registered is Ansible's, and this process ends without it
    warnings._global_warnings.clear()
    warnings._global_deprecations.clear()
    for package, paths in ((ansible.modules, [os.path.dirname(path)]), (ansible.module_utils, C.DEFAULT_MODULE_UTILS_PATH)):
        package.__path__.extend(one for one in paths if one not in package.__path__)
    _internal.is_controller = False
