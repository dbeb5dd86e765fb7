"""Import what the lane's modules need while Ansible waits for the tasks before them (docs/performance.md)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preload
type: aggregate
short_description: Import what modules need before they are forked
description:
  - A module that runs in a fork of Ansible (plugins/action/normal.py) has all that Ansible has imported; the rest it imports itself, each module anew.
  - This imports cryptography and the lane's own code once, in Ansible's own process, while that waits for the first tasks.
    An import that fails is left to the module, which tells it.
requirements:
  - enabled by C(callbacks_enabled = preload) in ansible.cfg
"""

import contextlib
import importlib
import os
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


class CallbackModule(CallbackBase):
    """Imports in a thread that is at rest whenever Ansible forks: a fork in the middle of an import would leave that module locked in the child."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._left = list(AHEAD)
        self._forking = threading.Event()
        self._thread = None
        ansible.module_utils.__path__.extend(C.DEFAULT_MODULE_UTILS_PATH)
        os.register_at_fork(before=self._rest, after_in_parent=self._go_on)

    def _rest(self):
        if self._thread:
            self._forking.set()
            self._thread.join()

    def _go_on(self):
        self._forking.clear()
        self._thread = threading.Thread(target=self._import, name="preload", daemon=True) if self._left else None
        if self._thread:
            self._thread.start()

    def _import(self):
        while self._left and not self._forking.is_set():
            with contextlib.suppress(ImportError):
                importlib.import_module(self._left.pop(0))
