"""Bare machines of the tests: what runs in one is kept apart."""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bare_trees import Tree, obstacle


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A tree with nothing in it but the places where something is mounted."""
    if (why := obstacle()) and why != "mmdebstrap is not installed":
        pytest.skip(why)
    made = Tree(tmp_path / "root")
    for name in ("proc", "dev", "sys", "root/.cache/pip"):
        (made.path / name).mkdir(parents=True)
    return made


def test_mounts_are_the_commands_own(tree):
    """While the command runs it has proc, dev, sys and pip's cache in the tree; the machine itself never had them."""
    look = subprocess.run(tree.beside(["cat", "/proc/self/mountinfo"]), capture_output=True, text=True, check=True)
    assert all(f" {tree.path}/{name} " in look.stdout for name in ("proc", "dev", "sys", "root/.cache/pip"))
    assert str(tree.path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    failed = subprocess.run(tree.beside(["sh", "-c", "exit 7"]))
    assert failed.returncode == 7
    shutil.rmtree(tree.path / "sys")
    assert subprocess.run(tree.beside(["true"]), capture_output=True).returncode == 125


def test_what_runs_in_a_tree_dies_with_the_test(tree):
    """Even with one that is killed: whatever it started is in a process namespace whose first process goes too."""
    read, write = os.pipe()  # held open by everything that lives in the tree, and by nothing else
    command = tree.beside(["sh", "-c", "setsid sleep 1000 & echo begun; wait"])
    code = f"import subprocess\nsubprocess.run({command!r}, pass_fds=[{write}])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=[write]) as test:
        os.close(write)
        assert test.stdout.readline() == b"begun\n"
        test.kill()
    with open(read, "rb") as pipe:
        assert select.select([pipe], [], [], 10)[0] == [pipe]
        assert pipe.read() == b""
