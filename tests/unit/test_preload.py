"""plugins/callback/preload.py: every name in it is there to be imported, and no fork happens in the middle of an import."""

from __future__ import annotations

import importlib
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

#: Prints which of the imports ahead has something done before or after each fork in the process that forks.
ADDED = """
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


def test_every_name_can_be_imported(preload: ModuleType) -> None:
    for name in preload.AHEAD:
        assert importlib.util.find_spec(name), name


def test_no_import_adds_to_what_a_fork_does() -> None:
    """A lock that an import adds while Ansible is about to fork would be given back without having been taken, which Python tells on the terminal."""
    told = subprocess.run([sys.executable, "-c", ADDED, str(PLUGIN), str(PLUGIN.parents[2] / "module_utils")], capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("", "")


def test_a_fork_waits_for_the_import_under_way_and_no_longer(preload: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for number in range(3):
        (tmp_path / f"slow_{number}.py").write_text("import time; time.sleep(0.2)")
    monkeypatch.setattr(preload, "AHEAD", ("no_such_module", "slow_0", "slow_1", "slow_2"))
    hooks: dict[str, Any] = {}
    monkeypatch.setattr(os, "register_at_fork", lambda **given: hooks.update(given))
    preload.CallbackModule()
    hooks["before"]()  # the first fork has nothing to wait for
    hooks["after_in_parent"]()
    until = time.monotonic() + 5
    while "slow_0" not in sys.modules and time.monotonic() < until:
        time.sleep(0.01)
    begun = time.monotonic()
    hooks["before"]()
    assert time.monotonic() - begun < 0.35  # one import, not three
    assert not [thread for thread in threading.enumerate() if thread.name == "preload"]
    assert "slow_2" not in sys.modules
    while "slow_2" not in sys.modules and time.monotonic() < until:
        hooks["after_in_parent"]()
        time.sleep(0.05)
        hooks["before"]()
    assert "slow_2" in sys.modules
