"""Bare machines of the tests: what runs in one is kept apart."""

import os
import select
import subprocess
import sys

import pytest
from bare_trees import Tree, obstacle


def test_what_runs_in_a_tree_dies_with_the_test(tmp_path):
    """Even with one that is killed: whatever it started is in a process namespace whose first process goes too."""
    if (why := obstacle()) and why != "mmdebstrap is not installed":
        pytest.skip(why)
    tree = Tree(tmp_path / "root")
    for name in ("proc", "dev", "sys", "root/.cache/pip"):
        (tree.path / name).mkdir(parents=True)
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
