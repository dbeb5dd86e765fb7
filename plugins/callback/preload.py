"""Use the time in which Ansible waits for a task: import what later modules need, and look less often for the result (docs/performance.md)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preload
type: aggregate
short_description: Import what modules need before they are forked, and wait calmly
description:
  - A module that runs in a worker of Ansible (plugins/action/normal.py), which is a fork, has all that Ansible has imported; the rest it imports itself,
    each module anew.
  - This imports cryptography and the lane's own code once, in Ansible's own process, while that waits for the first tasks.
    An import that fails is left to the module, which tells it.
  - Templates are compiled once and not at each look (module_utils/lane/templates.py); a worker that is killed is a failed task
    (module_utils/lane/workers.py).
  - Once a task has taken a tenth of a second, Ansible looks for its result every 10 ms, and no longer every millisecond;
    after a second, every 20 ms; after three, every 50 ms.
  - Garbage is not collected in Ansible's own process, which ends soon, so that a fork shares its memory instead of copying it (the advice of Python's C(gc)).
    A module that runs in a worker collects its own.
requirements:
  - enabled by C(callbacks_enabled = preload) in ansible.cfg
"""

import concurrent.futures.thread  # noqa: F401 - takes a lock before each fork; imported while Ansible forks it would only give it back
import contextlib
import gc
import importlib
import os
import sys
import threading

import ansible.module_utils
from ansible import constants as C
from ansible.plugins.callback import CallbackBase

AHEAD = (
    *(f"ansible.module_utils.lane.{name}" for name in ("claim", "bridge", "kvm", "packages", "guests", "process", "program_options", "ryll_build")),
    *(f"ansible_collections.community.crypto.plugins.modules.{name}" for name in ("openssl_privatekey", "openssl_csr", "x509_certificate")),
    "ansible_collections.community.crypto.plugins.modules.certificate_complete_chain",
    *(f"ansible.module_utils.lane.{name}" for name in ("venv", "database", "console", "control", "spine", "verdict", "canaries", "teardown")),
)
#: Seconds that the thread which imports may keep Ansible's own waiting, when both want to run; Python's own 5 ms is a tenth of a task.
SWITCH = 0.0005
#: Seconds between two looks of Ansible's for a task's result: its own 1 ms takes 5 % of a processor, which a task that is not done at once had better have.
EAGER = 0.001
#: The same once a task has taken so many seconds (more).
CALMER = ((0.1, 0.01), (0.9, 0.02), (2.0, 0.05))


class CallbackModule(CallbackBase):
    """Does that in a thread which is at rest whenever Ansible forks: a fork in the middle of an import would leave that module locked in the child."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        gc.disable()
        sys.setswitchinterval(SWITCH)
        self._ahead = self._steps()
        self._main = os.getpid()
        self._forking = threading.Event()
        self._thread = None
        ansible.module_utils.__path__.extend(C.DEFAULT_MODULE_UTILS_PATH)
        importlib.import_module("ansible.module_utils.lane.workers").install()
        self._templates = importlib.import_module("ansible.module_utils.lane.templates").install()
        os.register_at_fork(before=self._rest, after_in_parent=self._go_on)

    def _steps(self):
        """What there is to do ahead, in steps of milliseconds."""
        if self._templates:
            yield from self._templates.known()
        for name in AHEAD:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
            yield

    def _rest(self):
        if os.getpid() != self._main:
            return
        if self._thread:
            self._forking.set()
            self._thread.join()
            C.DEFAULT_INTERNAL_POLL_INTERVAL = EAGER
        gc.freeze()

    def _go_on(self):
        if os.getpid() == self._main:  # a worker forks too, and has nothing to import for anyone
            self._forking.clear()
            self._thread = threading.Thread(target=self._meanwhile, name="preload", daemon=True)
            self._thread.start()

    def _meanwhile(self):
        for _ in self._ahead:
            if self._forking.is_set():
                return
        for seconds, interval in CALMER:
            if self._forking.wait(seconds):
                return
            C.DEFAULT_INTERNAL_POLL_INTERVAL = interval
