"""Bare machines: minimal Debian systems, on which nothing is installed that the lane needs. What is proved here no machine with the packages can tell."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.prepare.packages import BUILD, SUITE_FEATURES
from bare_trees import Tree, bare_tree, obstacle
from lane_numbers import lane_ids
from whole_lanes import ROOT, copy_checkout

TABLE = yaml.safe_load((ROOT / "roles/deps/vars/main.yml").read_text(encoding="utf-8"))["__deps_packages"]
SEE = "Find out what is missing, and prove that what is installed works"
PROVE = "install | Prove that everything is installed now"
APT = "python3-apt"  # Ansible's apt module brings it along


@pytest.fixture
def debian_12() -> Iterator[Tree]:
    yield from machine("debian-12")


@pytest.fixture
def debian_13() -> Iterator[Tree]:
    yield from machine("debian-13")


def machine(release: str) -> Iterator[Tree]:
    if why := obstacle():
        pytest.skip(why)
    with bare_tree(release) as tree:
        yield tree


@pytest.fixture
def number() -> Iterator[int]:
    """A lane id that no other test has: a tree's processes and files are its own, the machine's ports are not."""
    with lane_ids(1) as ids:
        yield ids[0]


@pytest.mark.slow
def test_debian_13_gets_what_is_missing_through_the_chroot_connection(lane: Any, debian_13: Tree, tmp_path: Path) -> None:
    host = {"ansible_host": str(debian_13.path), "ansible_connection": "community.general.chroot", "ansible_python_interpreter": "/usr/bin/python3"}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"lane": {"hosts": {"bare": host}}}), encoding="utf-8")
    where = ["-i", str(inventory), "--tags", "deps"]
    places = {"lane_dir": "/tmp/lane", "lane_cache_dir": "/root/.cache/kerbside-lane"}  # in the tree

    own = [
        option for name in os.environ if name.startswith("PIP_") or "CERT" in name or "CA_BUNDLE" in name for option in ("-u", name)
    ]  # the tree has settings of its own

    def beside(command: list[str]) -> list[str]:
        return debian_13.beside(["env", *own, *command])

    def deps() -> Any:
        played = lane.run("playbooks/lane.yml", *where, around=beside, limit=900, **places)
        assert played.rc == 0, str(played)
        return played

    had = debian_13.chosen()
    first = deps()
    wanted = needed("debian-13")
    assert set(first.result(SEE)["packages"]) == wanted
    assert debian_13.chosen() - had == wanted | {APT}
    proved = first.result(PROVE)["ansible_facts"]["lane_deps"]
    assert proved["qemu_version"].startswith("10."), proved
    assert re.match(r"\d+\.\d+", proved["spice_version"]), proved
    for name in ("firmware_code", "firmware_vars"):
        assert (debian_13.path / proved[name][1:]).exists(), proved
    assert deps().changed == 0

    spice = "qemu-system-modules-spice"
    assert debian_13.run("dpkg", "--purge", spice).returncode == 0
    mended = deps()
    missing = mended.result(SEE)["missing"]
    assert missing.startswith(f"SPICE in qemu (package {spice}, exited with status 1 ("), missing
    assert "There is no option group 'spice'" in missing
    assert mended.result(SEE)["packages"] == [spice]
    assert mended.result(PROVE)["ansible_facts"]["lane_deps"] == proved
    assert spice in debian_13.installed()


@pytest.mark.slow
def test_a_whole_lane_on_a_bare_debian_12(debian_12: Tree, number: int) -> None:
    whole_lane(debian_12, "debian-12", number)


def whole_lane(tree: Tree, release: str, number: int) -> None:
    """./lane on a machine that has Python alone; then by an ordinary user who finds everything there; then by one who does not."""
    copy_checkout(tree.path / "srv/lane")
    command = ["/srv/lane/lane", "-e", f"lane_id={number}", "-e", "lane_cache_dir=/srv/cache"]
    had = tree.installed()
    assert not had & {*needed(release), "ensurepip", "git", "sudo", APT}

    check = tree.run(*command, "--check", limit=600)
    assert check.returncode == 0, check.stdout[-3000:]
    assert "lane: installing python3-venv by apt-get" in check.stdout
    after = tree.installed()
    assert "python3-venv" in after and not after & (needed(release) - {"python3-venv"})
    assert not (tree.path / "srv/cache").exists() and list((tree.path / "tmp").iterdir()) == []

    cold = tree.run(*command, limit=900)
    assert cold.returncode == 0, cold.stdout[-3000:]
    assert f"LANE PASS lane {number}: 15 of 15 checks" in cold.stdout.splitlines()[-1]
    assert tree.chosen() >= needed(release)

    tree.run("useradd", "--create-home", "somebody")
    tree.run("chown", "-R", "somebody:", "/srv/lane", "/srv/cache")
    as_somebody = ["setpriv", "--reuid=somebody", "--regid=somebody", "--init-groups", "--reset-env", *command]
    before = tree.installed()
    theirs = tree.run(*as_somebody, limit=600)
    assert theirs.returncode == 0, theirs.stdout[-3000:]
    assert f"LANE PASS lane {number}: 15 of 15 checks" in theirs.stdout.splitlines()[-1]
    assert tree.installed() == before
    assert list((tree.path / "tmp").iterdir()) == []

    tree.run("dpkg", "--purge", "--force-depends", "ovmf")
    refused = tree.run(*as_somebody, limit=300)
    assert refused.returncode == 2
    assert refused.stdout.splitlines()[-1] == (
        "LANE FAIL host: apt could not install ovmf: /bin/sh: 1: sudo: not found; the lane may not become root here, or install by hand: "
        "su - -c 'apt-get update && apt-get install -y --no-install-recommends ovmf'"
    )


def needed(release: str) -> set[str]:
    """The packages of a lane that builds no product and plays no suite."""
    return {package for need, packages in TABLE[release].items() if need not in {*BUILD, *SUITE_FEATURES} for package in packages}
