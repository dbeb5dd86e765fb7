"""What is missing is found by what is on the machine, named with its package, and qemu's SPICE is proved on the real qemu."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import packages

TABLE = yaml.safe_load((Path(__file__).parents[2] / "roles/deps/vars/main.yml").read_text())["__deps_packages"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with none of the lane's programs and no firmware."""
    monkeypatch.setattr(command, "find_program", lambda name: None)
    monkeypatch.setattr(packages.firmware, "find_pair", lambda: None)


@pytest.fixture
def present() -> packages.Survey:
    """What this machine has, when it has all."""
    found = packages.survey()
    if found.missing:
        pytest.skip(f"not installed here: {packages.describe(found, None)}")
    return found


def test_each_release_has_a_package_for_each_need() -> None:
    packages.check_table(TABLE)
    assert set(TABLE) == {"debian-12", "debian-13", "ubuntu-24.04"}
    assert TABLE["debian-13"]["spice"] == ["qemu-system-modules-spice"]


def test_a_table_with_a_hole_is_refused() -> None:
    for broken in ({**TABLE["debian-12"], "typo": ["x"]}, {**TABLE["debian-12"], "spice": []}):
        with pytest.raises(LaneError, match=r"^lane: expected a package for each need on debian-12, but it is not so for (typo|spice); look at roles/deps"):
            packages.check_table({"debian-12": broken})


@pytest.mark.usefixtures("bare")
def test_a_help_is_wanted_with_root_or_along_with_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "swtpm" in packages.survey(TABLE["debian-12"]).missing
    assert "swtpm" not in packages.survey(TABLE["debian-13"]).missing
    monkeypatch.setattr(command, "find_program", lambda name: None if name == "swtpm" else f"/bin/{name}")
    monkeypatch.setattr(packages.firmware, "find_pair", lambda: "there")
    for user, missing in ((0, ["swtpm"]), (1000, [])):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert packages.survey(TABLE["debian-12"]).missing == missing


def test_a_help_is_used_only_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_program", lambda name: f"/bin/{name}")
    assert packages.survey(TABLE["debian-12"]).paths["swtpm"] == "/bin/swtpm"
    assert "swtpm" not in packages.survey(TABLE["debian-13"]).paths


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', "debian-12"),
        ('ID=ubuntu\nVERSION_ID="24.04"\nID_LIKE=debian\n', "ubuntu-24.04"),
        ("ID=arch\n", "arch"),
        ("", "unknown"),
    ],
)
def test_the_release_is_read_from_os_release(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "os-release").write_text(text)
    assert packages.release(str(tmp_path / "os-release")) == name


def test_no_os_release_at_all(tmp_path: Path) -> None:
    assert packages.release(str(tmp_path / "none")) == "unknown"


@pytest.mark.usefixtures("bare")
def test_a_bare_machine_lacks_everything_and_each_package_is_wanted_once() -> None:
    found = packages.survey()
    assert set(found.missing) >= {*packages.PROGRAMS, "firmware", "spice"}
    wanted = packages.wanted(found, TABLE["debian-13"])
    assert len(wanted) == len(set(wanted))
    assert {"qemu-system-x86", "qemu-system-modules-spice", "mariadb-server-core", "mariadb-client-core", "ovmf", "qemu-utils"} <= set(wanted)
    words = packages.describe(found, TABLE["debian-13"])
    assert "qemu-system-x86_64 (package qemu-system-x86); qemu-img (package qemu-utils)" in words
    assert "SPICE in qemu (package qemu-system-modules-spice)" in words


@pytest.mark.parametrize(
    ("uid", "sudo", "line"),
    [
        (0, None, "apt-get update && apt-get install -y --no-install-recommends ovmf"),
        (1000, "/usr/bin/sudo", "sudo apt-get update && sudo apt-get install -y --no-install-recommends ovmf"),
        (1000, None, "su - -c 'apt-get update && apt-get install -y --no-install-recommends ovmf'"),
    ],
)
def test_the_line_to_type(monkeypatch: pytest.MonkeyPatch, uid: int, sudo: str | None, line: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(packages.command, "find_program", lambda name: sudo)
    assert packages.by_hand(["ovmf"]) == line


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "Task failed: Premature end of stream waiting for become success.\n>>> Standard Error\nsudo: unable to resolve host vm: Name or service not known\n"
            "sudo: a password is required",
            "it could not (sudo: a password is required); the lane may not become root here",
        ),
        (">>> Standard Error\n/bin/sh: 1: sudo: not found\n", "it could not (/bin/sh: 1: sudo: not found); the lane may not become root here"),
        ("No package matching 'ovmf' is available ", "it could not (No package matching 'ovmf' is available)"),
        ("frame\nE: Unable to locate package python3-apt\n", "it could not (E: Unable to locate package python3-apt)"),
    ],
)
def test_why_apt_could_not(said: str, words: str) -> None:
    """Words that Ansible 2.19, sudo 1.9 and apt 2.6 really said on a Debian 12 without rights, sources or network."""
    assert packages.why_not_installed(said) == words


def test_the_proof_on_the_real_qemu(present: packages.Survey, tmp_path: Path) -> None:
    said = packages.prove(present, str(tmp_path), "99/t")
    assert not present.missing
    assert said["qemu_version"][0].isdigit()
    assert said["spice_version"].startswith("0.")
    assert "MariaDB" in said["mariadb_version"]
    assert said["ovmf_version"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "-spice unix=on,addr=/s,disable-ticketing=on: There is no option group 'spice'\n"
        "qemu-system-x86_64: -spice unix=on: Perhaps you want to install qemu-system-modules-spice package?",
        "-chardev spicevmc,id=vdagent,name=vdagent: 'spicevmc' is not a valid char driver name",
    ],
)
def test_a_qemu_without_spice_is_told_from_a_broken_one(present: packages.Survey, tmp_path: Path, words: str) -> None:
    """What QEMU 10.0.13 of Debian 13 says without qemu-system-modules-spice."""
    qemu = tmp_path / "qemu"
    qemu.write_text(f'#!/bin/sh\necho "qemu-system-x86_64: {words}" >&2\nexit 1\n')
    qemu.chmod(0o755)
    present.paths["qemu"] = str(qemu)
    assert packages.prove(present, str(tmp_path), None) == {}
    assert present.missing == ["spice"]
    assert "ended with status 1" in packages.describe(present, TABLE["debian-13"])
    assert "package qemu-system-modules-spice" in packages.describe(present, TABLE["debian-13"])


def test_a_qemu_that_cannot_start_is_qemus_fault(present: packages.Survey, tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text('#!/bin/sh\necho "qemu: symbol lookup error" >&2\nexit 127\n')
    qemu.chmod(0o755)
    present.paths["qemu"] = str(qemu)
    with pytest.raises(
        LaneError, match=r"^qemu: expected qemu to start with SPICE, an agent port and OVMF, but it ended with status 127 \(symbol lookup error\)"
    ):
        packages.prove(present, str(tmp_path), None)


def test_the_proof_is_kept_until_a_program_changes(present: packages.Survey, tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("")
    present.paths["qemu"] = str(qemu)
    key = packages.cache_key(present)
    assert packages.read_cache(str(tmp_path), key) is None
    packages.write_cache(str(tmp_path), key, {"qemu_version": "7.2.22"})
    assert packages.read_cache(str(tmp_path), key) == {"qemu_version": "7.2.22"}
    qemu.write_text("other")
    assert packages.cache_key(present) != key
    (tmp_path / "deps" / f"{key}.json").write_text("[1")
    assert packages.read_cache(str(tmp_path), key) is None
