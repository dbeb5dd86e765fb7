"""The role deps: what it hands on, that a second run looks nowhere, and that --check on a bare machine changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.prepare import packages

TABLE = yaml.safe_load((Path(__file__).parents[2] / "roles/deps/vars/main.yml").read_text())["__deps_packages"]
SEE = "Find out what is missing, and prove that what is installed works"


def test_what_is_there_is_proved_once_and_handed_on(lane: Any) -> None:
    first = lane.role("deps")
    assert first.rc == 0, first
    facts = first.results(SEE)[0]["ansible_facts"]["lane_deps"]
    for name in ("qemu", "qemu_img", "firmware_code", "firmware_vars", "mariadbd", "mariadb_install_db", "mariadb"):
        assert Path(facts[name]).is_absolute() and Path(facts[name]).exists()
    for name in ("qemu_version", "spice_version", "ovmf_version", "mariadb_version"):
        assert facts[name]
    again = lane.role("deps")
    assert again.changed == 0
    assert again.result(SEE)["cached"]
    assert again.result(SEE)["ansible_facts"]["lane_deps"] == facts


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment for Ansible whose module_utils find neither firmware nor swtpm."""
    root, bare = Path(__file__).parents[2], tmp_path / "module_utils"
    shutil.copytree(root / "module_utils", bare, ignore=shutil.ignore_patterns("__pycache__"))
    prepare = bare / "lane/prepare"
    for name, old, new in (
        ("firmware.py", "/usr/share/OVMF/", "/nowhere/"),
        ("packages.py", '{"swtpm": "swtpm"}', '{"swtpm": "no-such-swtpm"}'),
    ):
        text = (prepare / name).read_text()
        assert old in text
        (prepare / name).write_text(text.replace(old, new))
    return {"ANSIBLE_MODULE_UTILS": str(bare)}


def test_a_missing_package_is_a_change_in_check_mode_and_a_failure_when_apt_failed(
    lane: Any, bare: dict[str, str]
) -> None:
    if (release := packages.release()) not in TABLE:
        assert f"{release} is not in the lane's table of packages" in str(
            lane.role("deps", "--check", env=bare).failures
        )
        return
    found = lane.role("deps", "--check", env=bare).result(SEE)
    assert found["changed"]
    assert found["packages"] == ["ovmf"]
    assert "OVMF's CODE and VARS (package ovmf)" in found["missing"]
    asked = {"lane_dir": "/none", "cache_dir": "/none", "packages": TABLE, "failure": "sudo: a password is required"}
    failed = lane.run([{"name": "Ask", "lane_deps": asked}], env=bare).result("Ask")
    assert (failed["lane_failure"]["component"], failed["lane_failure"]["code"]) == ("host", "apt_not_root")
    assert packages.by_hand(["ovmf"]) in failed["msg"]


@pytest.mark.skipif(
    os.geteuid() != 0 or packages.release() != "debian-12", reason="only root is asked for swtpm, and only on Debian 12"
)
def test_an_optional_package_that_cannot_be_installed_is_a_warning(
    lane: Any, bare: dict[str, str], tmp_path: Path
) -> None:
    """An apt-get that finds its lock taken, in the place of the real one."""
    firmware = tmp_path / "module_utils/lane/prepare/firmware.py"
    firmware.write_text(firmware.read_text().replace("/nowhere/", "/usr/share/OVMF/"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text("#!/bin/sh\necho 'E: Could not get lock, held by process 4711' >&2\nexit 100\n")
    (programs / "apt-get").chmod(0o755)
    table = {"debian-12": {**TABLE["debian-12"], "swtpm": ["lane-no-such-package"]}}
    env = {**bare, "PATH": f"{programs}:{os.environ['PATH']}"}
    played = lane.role("deps", env=env, __deps_packages=table)
    assert played.rc == 0, played
    [warned] = played.results("install | Warn that the lane goes on without them")
    assert "apt could not install lane-no-such-package: " in str(warned["warnings"])
    assert warned["ansible_facts"]["lane_deps"]["qemu_version"]


def test_a_limit_of_the_session_is_named_before_anything_starts(lane: Any) -> None:
    played = lane.role("deps", around=lambda command: ["prlimit", "--nofile=60:60", *command])
    failed = played.result(SEE)
    assert failed["lane_failure"]["code"] == "host_limit"
    assert "ulimit -n leaves 60 open files" in failed["msg"]
    assert not [line for line in lane.marked() if "qemu" in line]
