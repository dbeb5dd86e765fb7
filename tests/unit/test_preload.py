"""plugins/callback/preload.py: every name in it can be imported, and no fork happens in the middle of an import."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

#: Prints which of the imports registers something for the time before or after a fork in the process that forks.
REGISTERED = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("preload_plugin", sys.argv[1])
preload = importlib.util.module_from_spec(spec)
spec.loader.exec_module(preload)
import ansible.cli, ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[2])
os.register_at_fork = lambda **given: given.keys() - {"after_in_child"} and print(name, given)
for name in preload.AHEAD:
    importlib.import_module(name)
"""
PLUGIN = Path(__file__).parents[2] / "plugins/callback/preload.py"


@pytest.fixture
def preload(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plugin's file as a module."""
    spec = importlib.util.spec_from_file_location("preload_plugin", PLUGIN)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_import_registers_for_forks(preload: ModuleType) -> None:
    """A lock that is registered while Ansible is about to fork would be released without having been taken, which Python reports on the terminal."""
    for name in preload.AHEAD:
        assert importlib.util.find_spec(name), name
    found = subprocess.run([sys.executable, "-c", REGISTERED, str(PLUGIN), str(PLUGIN.parents[2] / "module_utils")], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("", "")


def test_a_fork_waits_for_the_import_at_work_and_for_no_other(preload: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for number in range(3):
        (tmp_path / f"slow_{number}.py").write_text("import time; begun = time.monotonic(); time.sleep(0.2); ended = time.monotonic()")
    monkeypatch.setattr(preload, "AHEAD", ("no_such_module", "slow_0", "slow_1", "slow_2"))
    hooks: dict[str, Any] = {}
    monkeypatch.setattr(os, "register_at_fork", lambda **given: hooks.update(given))
    preload.CallbackModule()
    hooks["before"]()  # the first fork has nothing to wait for
    hooks["after_in_parent"]()
    end = time.monotonic() + 60
    while "slow_0" not in sys.modules and time.monotonic() < end:
        time.sleep(0.001)
    hooks["before"]()
    assert not [thread for thread in threading.enumerate() if thread.name == "preload"]
    assert hasattr(sys.modules["slow_0"], "ended")
    assert "slow_2" not in sys.modules
    while "slow_2" not in sys.modules and time.monotonic() < end:
        hooks["after_in_parent"]()
        time.sleep(0.05)
        hooks["before"]()
    assert hasattr(sys.modules["slow_2"], "ended")
