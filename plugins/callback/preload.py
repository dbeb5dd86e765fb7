"""Import what later modules need while Ansible waits for a task (docs/performance.md)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preload
type: aggregate
short_description: Import what modules need before they are forked
description:
  - A module that runs in a worker of Ansible (plugins/action/normal.py), which is a fork, has all that Ansible has imported; the rest it imports itself,
    each module anew.
  - This imports cryptography and the lane's own code once, in Ansible's own process, while that waits for the first tasks.
    An import that fails is left to the module, which tells it.
requirements:
  - enabled by C(callbacks_enabled = preload) in ansible.cfg
"""

import concurrent.futures.thread  # noqa: F401 - takes a lock before each fork; imported while Ansible forks it would only give it back
import contextlib
import importlib
import os
import threading

import ansible.module_utils
from ansible import constants as C
from ansible.plugins.callback import CallbackBase

LANE = "ansible.module_utils.lane"
CRYPTO = "ansible_collections.community.crypto.plugins.modules"
AHEAD = (
    *(f"{LANE}.{name}" for name in ("lifecycle.claim", "core.ansible_result", "prepare.accelerator", "prepare.packages", "prepare.guests")),
    *(f"{LANE}.{name}" for name in ("programs.start", "prepare.ryll")),
    *(f"{CRYPTO}.{name}" for name in ("openssl_privatekey", "openssl_csr", "x509_certificate", "certificate_complete_chain")),
    *(f"{LANE}.{name}" for name in ("prepare.python_env", "prepare.database", "protocols.kerbside_api", "protocols.ryll", "checks.outside_checks")),
    *(f"{LANE}.{name}" for name in ("evidence.verdict", "core.secrets", "evidence.secret_scan", "lifecycle.teardown")),
)


class CallbackModule(CallbackBase):
    """Does that in a thread which is at rest whenever Ansible forks: a fork in the middle of an import would leave that module locked in the child."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._ahead = self._steps()
        self._main = os.getpid()
        self._forking = threading.Event()
        self._thread = None
        ansible.module_utils.__path__.extend(C.DEFAULT_MODULE_UTILS_PATH)
        os.register_at_fork(before=self._rest, after_in_parent=self._go_on)

    def _steps(self):
        """What there is to do ahead, in steps of milliseconds."""
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

    def _go_on(self):
        if os.getpid() == self._main:  # a worker forks too, and has nothing to import for anyone
            self._forking.clear()
            self._thread = threading.Thread(target=self._meanwhile, name="preload", daemon=True)
            self._thread.start()

    def _meanwhile(self):
        for _ in self._ahead:
            if self._forking.is_set():
                return
