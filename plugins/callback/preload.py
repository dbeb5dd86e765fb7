"""Import what later modules need while Ansible waits for a task (docs/performance.md)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preload
type: aggregate
short_description: Import what modules need before they are forked
description:
  - A module in a fork of Ansible's worker (plugins/action/normal.py) has all that Ansible has imported. The rest each module imports for itself.
  - This imports cryptography and the lane's own code once, in Ansible's own process, while that waits for the first tasks.
    An import that fails is left to the module, which reports it.
requirements:
  - enabled by C(callbacks_enabled = preload) in ansible.cfg
"""

import concurrent.futures.thread  # noqa: F401 - it registers a lock for forks, and must not do so in the middle of one
import contextlib
import importlib
import os
import threading

import ansible.module_utils
from ansible import constants as C
from ansible.plugins.callback import CallbackBase

LANE = "ansible.module_utils.lane"
CRYPTO = "ansible_collections.community.crypto.plugins.modules"
#: In the order in which the roles need them. Each brings its own imports along.
AHEAD = (
    *(f"{LANE}.{name}" for name in ("lifecycle.claim", "core.ansible_result", "prepare.accelerator", "prepare.packages", "prepare.guests")),
    *(f"{LANE}.{name}" for name in ("programs.start", "prepare.ryll")),
    *(f"{CRYPTO}.{name}" for name in ("openssl_privatekey", "openssl_csr", "x509_certificate", "certificate_complete_chain")),
    *(f"{LANE}.{name}" for name in ("prepare.python_env", "prepare.database", "protocols.kerbside_api", "protocols.ryll", "checks.outside_checks")),
    *(f"{LANE}.{name}" for name in ("evidence.verdict", "core.secrets", "evidence.secret_scan", "lifecycle.teardown")),
)


class CallbackModule(CallbackBase):
    """Imports in a thread that ends before Ansible forks.

    A fork in the middle of an import would leave the import's lock locked in the child.
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._names = iter(AHEAD)
        self._main = os.getpid()
        self._forking = threading.Event()
        self._thread = None
        ansible.module_utils.__path__.extend(C.DEFAULT_MODULE_UTILS_PATH)
        os.register_at_fork(before=self._stop, after_in_parent=self._go_on)

    def _stop(self):
        if self._thread and os.getpid() == self._main:
            self._forking.set()
            self._thread.join()

    def _go_on(self):
        if os.getpid() == self._main:  # a worker forks too
            self._forking.clear()
            self._thread = threading.Thread(target=self._import, name="preload", daemon=True)
            self._thread.start()

    def _import(self):
        for name in self._names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
            if self._forking.is_set():
                return
