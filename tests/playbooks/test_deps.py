"""The role deps: what it hands on, that a second run looks nowhere, and what it says of what is not there."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.prepare import packages
from prepared import change
from whole_lanes import ROOT

TABLE = yaml.safe_load((ROOT / "roles/deps/vars/main.yml").read_text())["__deps_packages"]
SEE = "Find out what is missing, and prove that what is installed works"


def test_what_is_there_is_proved_once_and_handed_on(lane):
    first = lane.role("deps")
    assert first.rc == 0, first
    facts = first.results(SEE)[0]["ansible_facts"]["lane_deps"]
    for name in ("qemu", "firmware_code", "firmware_vars", "mariadbd", "mariadb_install_db", "mariadb"):
        assert Path(facts[name]).is_absolute() and Path(facts[name]).exists()
    for name in ("qemu_version", "spice_version", "ovmf_version", "mariadb_version"):
        assert facts[name]
    again = lane.role("deps")
    assert again.changed == 0
    assert again.result(SEE)["cached"]
    assert again.result(SEE)["ansible_facts"]["lane_deps"] == facts


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of the lane's own package, to be changed: with it, Ansible's modules find no swtpm."""
    shutil.copytree(ROOT / "module_utils", tmp_path / "library", ignore=shutil.ignore_patterns("__pycache__"))
    change(tmp_path / "library/lane/prepare/packages.py", '{"swtpm": "swtpm"}', '{"swtpm": "no-such-swtpm"}')
    return tmp_path / "library"


def test_a_missing_package_is_a_change_in_check_mode(lane, library):
    change(library / "lane/prepare/firmware.py", "/usr/share/OVMF/", "/nowhere/", most=-1)
    env = {"ANSIBLE_MODULE_UTILS": str(library)}
    if packages.release() in TABLE:
        found = lane.role("deps", "--check", env=env).result(SEE)
        assert found["changed"]
        assert found["packages"] == ["ovmf"]
        assert "OVMF's CODE and VARS (package ovmf)" in found["missing"]
    refused = lane.role("deps", "--check", env=env, __deps_packages={}).result(SEE)
    assert refused["lane_failure"]["code"] == "packages_unknown_release"
    assert f"{packages.release()} is not in the lane's table of packages, and these are missing: OVMF" in refused["msg"]


@pytest.mark.skipif(
    os.geteuid() != 0 or packages.release() != "debian-12", reason="only root is asked for swtpm, and only on Debian 12"
)
def test_an_optional_package_that_cannot_be_installed_is_a_warning(lane, library, tmp_path):
    """An apt-get that finds its lock taken, in the place of the real one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text("#!/bin/sh\necho 'E: Could not get lock, held by process 4711' >&2\nexit 100\n")
    (programs / "apt-get").chmod(0o755)
    table = {"debian-12": {**TABLE["debian-12"], "swtpm": ["lane-no-such-package"]}}
    env = {"ANSIBLE_MODULE_UTILS": str(library), "PATH": f"{programs}:{os.environ['PATH']}"}
    played = lane.role("deps", env=env, __deps_packages=table)
    assert played.rc == 0, played
    [warned] = played.results("install | Warn that the lane goes on without them")
    assert "apt could not install lane-no-such-package: " in str(warned["warnings"])
    assert warned["ansible_facts"]["lane_deps"]["qemu_version"]
