"""Bare machines: minimal Debian systems without what the lane needs. No machine with the packages can prove this."""

from collections.abc import Iterator

import pytest
from bare_trees import Tree, bare_tree, obstacle, packages_of_a_lane
from whole_lanes import copy_checkout


@pytest.fixture
def tree() -> Iterator[Tree]:
    if why := obstacle():
        pytest.skip(why)
    with bare_tree("debian-12") as made:
        yield made


@pytest.mark.slow
def test_a_whole_lane_on_a_bare_debian_12(tree, number):
    """On a machine that has Python alone; then by a user who finds everything there; then by one who does not."""
    needed = packages_of_a_lane("debian-12")
    copy_checkout(tree.path / "srv/lane")
    command = ["/srv/lane/lane", "-e", f"lane_id={number}", "-e", "lane_cache_dir=/srv/cache"]
    had = tree.installed()
    assert not had & {*needed, "ensurepip", "git", "sudo", "python3-apt"}

    check = tree.run(*command, "--check", limit=600)
    assert check.returncode == 0, check.stdout[-3000:]
    assert "lane: installing python3-venv by apt-get" in check.stdout
    after = tree.installed()
    assert "python3-venv" in after and not after & (needed - {"python3-venv"})
    assert not (tree.path / "srv/cache").exists() and list((tree.path / "tmp").iterdir()) == []

    cold = tree.run(*command, limit=900)
    assert cold.returncode == 0, cold.stdout[-3000:]
    assert f"LANE PASS lane {number}: 15 of 15 checks" in cold.stdout.splitlines()[-1]
    assert tree.chosen() >= needed

    tree.run("useradd", "--create-home", "somebody")
    tree.run("chown", "-R", "somebody:", "/srv/lane", "/srv/cache")
    as_somebody = ["setpriv", "--reuid=somebody", "--regid=somebody", "--init-groups", "--reset-env", *command]
    before = tree.installed()
    theirs = tree.run(*as_somebody, "-e", "lane_guest=pocket", limit=600)
    assert theirs.returncode == 0, theirs.stdout[-3000:]
    assert f"LANE PASS lane {number}: 7 of 7 checks" in theirs.stdout.splitlines()[-1]
    assert tree.installed() == before
    assert list((tree.path / "tmp").iterdir()) == []

    tree.run("dpkg", "--purge", "--force-depends", "ovmf")
    refused = tree.run(*as_somebody, limit=300)
    assert refused.returncode == 2
    assert refused.stdout.splitlines()[-1] == (
        "LANE FAIL host: apt could not install ovmf: /bin/sh: 1: sudo: not found; the lane may not become root here, "
        "or install by hand: su - -c 'apt-get update && apt-get install -y --no-install-recommends ovmf'"
    )
