"""plugins/action/normal.py: what a module that ran in Ansible's worker leaves of itself there."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils import _internal

PLUGIN = Path(__file__).parents[2] / "plugins/action/normal.py"


@pytest.fixture
def normal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The plugin's file as a module, in a process whose handlers at exit and folder are given back to it."""
    spec = importlib.util.spec_from_file_location("normal_plugin", PLUGIN)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_internal, "is_controller", True)
    monkeypatch.setattr(atexit, "_clear", lambda: None)  # pytest's
    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: None)
    yield module
    gc.enable()


def state() -> dict[str, Any]:
    """What a module may change of its process, and the next one has to find as it was."""
    umask = os.umask(0)
    os.umask(umask)
    descriptors = {number: os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)}
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return {
        "umask": umask,
        "descriptors": descriptors,
        "open": len(os.listdir("/proc/self/fd")),
        "streams": streams,
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "controller": _internal.is_controller,
        "collects": gc.isenabled(),
    }


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_but_the_folder(normal: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collects: bool) -> None:
    said = os.memfd_create("out"), os.memfd_create("err")
    monkeypatch.setattr(sys, "argv", ["ansible-playbook", "lane.yml"])
    (gc.enable if collects else gc.disable)()
    before = state()

    def module() -> None:
        with normal._surroundings(said, {"NEW": "n"}, str(tmp_path), "/library/ping.py"):
            assert (sys.argv, os.environ["NEW"], os.getcwd()) == (["/library/ping.py"], "n", str(tmp_path))
            assert (_internal.is_controller, gc.isenabled()) == (False, True)
            os.environ["LEFT"] = "l"
            del os.environ["NEW"]
            sys.argv.append("more")
            os.umask(0o123)
            os.chdir("/")
            print("out", flush=True)
            os.write(2, "err é".encode())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        module()
    assert state() == before
    assert [normal._all_of(one) for one in said] == ["out\n", "err é"]


@pytest.mark.parametrize(("end", "status"), [("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit('words')", 1)])
def test_the_status_of_a_module(normal: ModuleType, monkeypatch: pytest.MonkeyPatch, end: str, status: int) -> None:
    done: list[str] = []
    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: done.append("exit functions"))
    monkeypatch.setattr(normal._loader, "run_module", lambda **_: exec(end, {"sys": sys}))
    assert normal._run("ping", b"{}") == status
    assert done == ["exit functions"]


def test_ansibles_own_exit_functions_are_not_run_with_the_modules(normal: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(atexit, "_clear", lambda: done.append("forgotten"))
    with normal._surroundings((os.memfd_create("out"), os.memfd_create("err")), {}, str(tmp_path), "p"):
        done.append("module")
    assert done == ["forgotten", "module"]
