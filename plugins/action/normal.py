"""Run Python modules in a fork of Ansible's worker when the lane's machine is the one that Ansible runs on
(docs/performance.md).

Ansible packs each module into an archive and starts a new Python for it: about 0.3 s of processor time per task. A fork
of the worker has everything loaded already. This is only an accelerator: whatever is not exactly that case is left to
Ansible's own `normal`, which this class extends, and so is everything on an ansible-core that the tests do not run, and
when the variable lane_fork_modules is false.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

import ansible.module_utils
import ansible.modules
import ansible.plugins.action
from ansible import constants as C
from ansible.executor.module_common import NEW_STYLE_PYTHON_MODULE_RE
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.release import __version__

TESTED = ("2.19", "2.21")  #: versions of ansible-core on which tests run the lane in forks (docs/testing.md)
try:
    # Private to Ansible: a built module, how its archive starts one, and which side of the connection this process is.
    from ansible.executor.module_common import _BuiltModule
    from ansible.module_utils import _internal
    from ansible.module_utils._internal._ansiballz import _loader
    from ansible.module_utils.common.json import Direction, get_module_encoder
except ImportError:
    TESTED = ()
spec = importlib.util.spec_from_file_location(
    "ansible_normal", Path(ansible.plugins.action.__file__).with_name("normal.py")
)
ansible_normal = importlib.util.module_from_spec(spec)  # by its path, because this file has its name
spec.loader.exec_module(ansible_normal)
PROFILE = "legacy"  #: how Ansible writes the arguments and results of modules as JSON


class ActionModule(ansible_normal.ActionModule):
    """Ansible's own `normal`, with two steps replaced where that is the same: to build the archive, and to run it."""

    _forked = None  # the module's name, its path and its arguments as JSON, until it has run

    def run(self, tmp=None, task_vars=None):
        """Decide how the module runs; Ansible does the rest."""
        self._may_fork = ".".join(__version__.split(".")[:2]) in TESTED and self._runs_here(task_vars or {})
        return super().run(tmp, task_vars)

    def _runs_here(self, variables):
        """Whether a fork of this process is the same as the Python that the connection would start."""
        return (
            boolean(self._templar.template(variables.get("lane_fork_modules", True)))
            and self._connection.transport == "local"
            and self._templar.template(variables.get("ansible_python_interpreter", "")) == sys.executable
            and not self._connection.become
            and not self._task.async_val
            and not self._task.delegate_to
            and not C.DEFAULT_KEEP_REMOTE_FILES
            and self._connection.is_pipelining_enabled()  # otherwise the command that runs the module is one of several
        )

    def _configure_module(self, module_name, module_args, task_vars):
        loader = self._shared_loader_obj.module_loader
        found = loader.find_plugin_with_context(module_name, ".py", collection_list=self._task.collections)
        own = found.plugin_resolved_collection in ("", "ansible.builtin")  # Ansible's, or in a library folder
        path = found.plugin_resolved_path if found.resolved and own else None
        if not path or not self._may_fork or not _forkable(Path(path).read_bytes()):
            return super()._configure_module(module_name, module_args, task_vars)
        name = f"ansible.modules.{Path(path).stem}"
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        self._forked = (name, path, json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder).encode())
        shebang = f"#!{sys.executable}"
        return _BuiltModule(b_module_data=b"", module_style="new", shebang=shebang, serialization_profile=PROFILE), path

    def _low_level_execute_command(self, cmd, *args, **kwargs):
        forked, self._forked = self._forked, None
        if forked is None:
            return super()._low_level_execute_command(cmd, *args, **kwargs)
        name, path, params = forked
        environment = {}
        self._compute_environment_string(environment)
        output = os.memfd_create("stdout"), os.memfd_create("stderr")
        child = os.fork()  # of the worker: a module that is killed is a failed task, as in a Python of its own
        if child == 0:
            status = 1
            try:
                _leave_ansible(output, environment, self._loader.get_basedir(), path)
                status = _run(name, params)
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stdout, stderr = map(_content, output)
        if status < 0:
            problem = f"the module was killed by {signal.Signals(-status).name}"
            stdout = json.dumps({"failed": True, "rc": status, "msg": problem})
        lines = {"stdout_lines": stdout.splitlines(), "stderr_lines": stderr.splitlines()}
        return {"rc": status, "stdout": stdout, "stderr": stderr, **lines}


def _forkable(source):
    """False for what is not Python, and for a module that may restart itself under another one: that needs the
    archive.
    """
    return NEW_STYLE_PYTHON_MODULE_RE.search(source) and b"respawn_module" not in source


def _content(descriptor):
    with open(descriptor, encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.seek(0)
        return file.read()


def _run(name, params):
    """Run the module, and return its exit status."""
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


def _leave_ansible(output, environment, folder, path):
    """Give this process the descriptors, folder, environment and import paths of a Python started for the module."""
    for number, descriptor in enumerate(output, 1):
        os.dup2(descriptor, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the module runs
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    sys.argv = [path]
    os.environ.update({str(key): str(value) for key, value in environment.items()})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    atexit._clear()  # Ansible's exit functions are for Ansible's process
    logging.getLogger().handlers.clear()  # Ansible's log file
    for package, paths in (
        (ansible.modules, [os.path.dirname(path)]),
        (ansible.module_utils, C.DEFAULT_MODULE_UTILS_PATH),
    ):
        package.__path__.extend(one for one in paths if one not in package.__path__)
    _internal.is_controller = False
