"""Run a Python module in a fork of Ansible's worker, where the lane's machine is the one that Ansible runs on.

Ansible packs a module and its module_utils into an archive for each task, starts a new Python and compiles everything in it anew: here about 0.3 s of a
processor per task, for a few milliseconds of work. On the machine and by the Python that Ansible itself runs on, a fork has all of that loaded already.
Whatever differs (another connection or Python, become, async, a module that is no Python or that starts itself anew under another one, as apt does) goes
Ansible's usual way, and so does everything when the variable `lane_fork_modules` is false. docs/performance.md has the figures; the
module is started by the very function that Ansible's archive calls.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path

import ansible.module_utils
import ansible.modules
from ansible import constants as C
from ansible.executor.module_common import NEW_STYLE_PYTHON_MODULE_RE, _BuiltModule, _get_ansible_module_fqn
from ansible.module_utils import _internal
from ansible.module_utils._internal._ansiballz import _loader
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

PROFILE = "legacy"  # how arguments and results are written as JSON; what every module here uses


class ActionModule(ActionBase):
    """Ansible's own way to run a module, with two steps replaced where that gives the same result: the archive, and the command that runs it."""

    _params = None  # the module's name and its arguments as JSON, when it runs in a fork

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

    def _forks(self):
        """Whether a fork of this process is as good as a Python started by the connection."""
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
    def _forkable(source):
        """False for what is no Python, and for a module that may start itself anew (`respawn_module`): for that it needs its archive."""
        return NEW_STYLE_PYTHON_MODULE_RE.search(source) and b"respawn_module" not in source

    def _configure_module(self, module_name, module_args, task_vars):
        found = self._shared_loader_obj.module_loader.find_plugin_with_context(module_name, ".py", collection_list=self._task.collections)
        path = found.plugin_resolved_path if found.resolved else None
        if not path or not self._forks() or not self._forkable(Path(path).read_bytes()):
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
        folder = self._loader.get_basedir()
        out, err = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            _become_module(out, err, {str(key): str(value) for key, value in environment.items()}, folder, name, path, params)
        os.close(out[1])
        os.close(err[1])
        words = [b""]
        reader = threading.Thread(target=lambda: words.append(_all_of(err[0])), daemon=True)
        reader.start()
        text = _all_of(out[0])
        reader.join()
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stdout, stderr = (part.decode(errors="surrogateescape") for part in (text, words[-1]))
        return {
            "rc": ended if ended >= 0 else 128 - ended,  # as the shell tells it
            "stdout": stdout,
            "stdout_lines": stdout.splitlines(),
            "stderr": stderr,
            "stderr_lines": stderr.splitlines(),
        }


def _all_of(descriptor):
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _become_module(out, err, environment, folder, name, path, params):
    """Be the module's process: its descriptors, signals, folder, environment and import paths are those that a Python of its own would have."""
    status = 1
    gc.enable()  # off in Ansible's own process (plugins/callback/preload.py)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for descriptor, end in ((1, out[1]), (2, err[1])):
            os.dup2(end, descriptor)
        for descriptor in (*out, *err):
            os.close(descriptor)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        sys.argv = [path]
        os.environ.update(environment)
        atexit._clear()  # what Ansible registered is Ansible's
        _internal.is_controller = False
        ansible.modules.__path__.append(os.path.dirname(path))
        ansible.module_utils.__path__.extend(C.DEFAULT_MODULE_UTILS_PATH)
        _loader.run_module(json_params=params, profile=PROFILE, module_fqn=name, modlib_path="", extensions={})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
