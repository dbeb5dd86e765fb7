"""What is missing is found by what is installed and named with its package; the real qemu proves its SPICE."""

import os
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.prepare import packages
from prepared import executable, fails

TABLE = yaml.safe_load((Path(__file__).parents[2] / "roles/deps/vars/main.yml").read_text())["__deps_packages"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with none of the lane's programs and no firmware."""
    monkeypatch.setattr(command, "find_program", lambda name: None)
    monkeypatch.setattr(packages.firmware, "find_pair", lambda: None)


@pytest.fixture
def present() -> packages.Survey:
    """What this machine has, when it has everything."""
    found = packages.survey()
    if found.missing:
        pytest.skip(f"not installed here: {packages.describe(found, None)}")
    return found


def test_each_release_has_a_package_for_each_need():
    assert set(TABLE) == {"debian-12", "debian-13", "ubuntu-24.04"}
    assert TABLE["debian-13"]["spice"] == ["qemu-system-modules-spice"]
    for name, needs in TABLE.items():
        assert (set(needs) ^ set(packages.NEEDS)) <= set(packages.OPTIONAL), name
        assert all(needs.values()), name


@pytest.mark.usefixtures("bare")
def test_build_tools_are_required_only_when_something_is_built():
    assert packages.missing_tools() == list(packages.BUILD)
    assert not {*packages.BUILD} & {*packages.survey().missing}
    assert {*packages.survey(tools=["cc", "make"]).required} & {*packages.BUILD} == {"cc", "make"}
    assert packages.packages_for(["cc"], TABLE["debian-12"]) == ["gcc", "libc6-dev"]


@pytest.mark.usefixtures("bare")
def test_an_optional_program_is_asked_for_by_root_or_along_with_another(monkeypatch):
    found = packages.survey(TABLE["debian-12"])
    assert "swtpm" in found.missing and "swtpm" not in found.required
    assert set(found.required) >= {*packages.PROGRAMS, "firmware", "spice"}
    assert "swtpm" not in packages.survey(TABLE["debian-13"]).missing
    monkeypatch.setattr(command, "find_program", lambda name: None if name == "swtpm" else f"/bin/{name}")
    monkeypatch.setattr(packages.firmware, "find_pair", lambda: "there")
    for user, missing in ((0, ["swtpm"]), (1000, [])):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        found = packages.survey(TABLE["debian-12"])
        assert (found.missing, found.required) == (missing, [])
    monkeypatch.setattr(command, "find_program", lambda name: f"/bin/{name}")
    assert packages.survey(TABLE["debian-12"]).paths["swtpm"] == "/bin/swtpm"
    assert "swtpm" not in packages.survey(TABLE["debian-13"]).paths


def test_the_release_is_what_os_release_says(monkeypatch):
    found = {"ID": "debian", "VERSION_ID": "12"}
    monkeypatch.setattr(packages.platform, "freedesktop_os_release", lambda: found)
    assert packages.release() == "debian-12"
    found["VERSION_ID"] = ""
    assert packages.release() == "debian"
    del found["VERSION_ID"]
    assert packages.release() == "debian"
    monkeypatch.setattr(packages.platform, "freedesktop_os_release", lambda: os.stat("/no/os-release"))
    assert packages.release() == "unknown"


INSTALL = "apt-get install -y --no-install-recommends ovmf"


@pytest.mark.parametrize(
    ("user", "sudo", "line"),
    [
        (0, None, f"apt-get update && {INSTALL}"),
        (1000, "/usr/bin/sudo", f"sudo apt-get update && sudo {INSTALL}"),
        (1000, None, f"su - -c 'apt-get update && {INSTALL}'"),
    ],
)
def test_the_command_to_type(monkeypatch, user, sudo, line):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(packages.command, "find_program", lambda name: sudo)
    assert packages.by_hand(["ovmf"]) == line


FAILED = "'/usr/bin/apt-get -y -o \"Dpkg::Options::=--force-confdef\" install 'ovmf'' failed: "
LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (apt-get)"
FRONTEND = "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"
LISTS = (
    "Failed to lock apt for exclusive operation: Failed to lock directory /var/lib/apt/lists/: E:Could not get lock x"
)
NO_NAME = "E: Failed to fetch http://mirror.example/ovmf_1_all.deb Temporary failure resolving 'mirror.example'"
NO_ROUTE = "E: Failed to fetch http://mirror.example/x  Could not connect to 10.0.0.1:3128 (113: No route to host)"
NO_PASSWORD = """Task failed: Premature end of stream waiting for become success.
>>> Standard Error
sudo: unable to resolve host vm: Name or service not known
sudo: a password is required"""


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        (NO_PASSWORD, "apt_not_root", "sudo: a password is required"),
        (">>> Standard Error\n/bin/sh: 1: sudo: not found\n", "apt_not_root", "/bin/sh: 1: sudo: not found"),
        ("No package matching 'ovmf' is available ", "apt_failed", "No package matching 'ovmf' is available"),
        ("frame\nE: Unable to locate package python3-apt\n", "apt_failed", "E: Unable to locate package python3-apt"),
        (f"{FAILED}{LOCKED}\n{FRONTEND}\n", "apt_locked", f"{LOCKED} / {FRONTEND}"),
        (LISTS, "apt_locked", ""),
        (f"{FAILED}{NO_NAME}\n", "apt_unreachable", NO_NAME),
        (NO_ROUTE, "apt_unreachable", ""),
    ],
    ids=["password", "no sudo", "no package", "not located", "lock", "lists", "name", "route"],
)
def test_apts_own_reason_is_given_whole(said, code, reason):
    """What Ansible 2.19, sudo 1.9 and apt 2.6 said on a Debian 12 without rights, sources, network or lock."""
    error = packages.apt_failure(said, ["ovmf"])
    assert (error.code, error.component) == (code, "host")
    assert error.problem.startswith(f"apt could not install ovmf: {reason}")
    assert error.problem.endswith(reason)
    assert error.fix.endswith(f"install by hand: {packages.by_hand(['ovmf'])}")


def proved(found: packages.Survey, folder: Path, limit: float = 60) -> dict:
    return packages.prove(found, str(folder), str(folder / "log"), "99/t", limit)


def test_the_proof_on_the_real_qemu(present, tmp_path):
    said = proved(present, tmp_path)
    assert not present.missing
    assert said["qemu_version"][0].isdigit() and said["spice_version"].startswith("0.")
    assert "MariaDB" in said["mariadb_version"] and said["ovmf_version"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "said",  # by QEMU 10.0.13 of Debian 13 without qemu-system-modules-spice
    [
        "-spice unix=on: There is no option group 'spice'\nqemu: Perhaps you want to install it",
        "-chardev spicevmc: 'spicevmc' is not a valid char driver name",
    ],
)
def test_a_qemu_without_spice_is_not_a_broken_one(present, tmp_path, said):
    present.paths["qemu"] = executable(tmp_path / "qemu", f'echo "qemu: {said}" >&2; exit 1')
    assert proved(present, tmp_path) == {}
    assert present.missing == ["spice"]
    lacking = packages.describe(present, TABLE["debian-13"])
    assert "exited with status 1" in lacking and "package qemu-system-modules-spice" in lacking


@pytest.mark.parametrize(
    ("script", "limit", "words"),
    [
        ("echo 'qemu: symbol lookup error' >&2; exit 127", 60, "exited with status 127 (symbol lookup error)"),
        ("exec sleep 50", 0.5, "did not answer within 0.5 s (no output)"),
    ],
)
def test_a_qemu_that_is_broken(present, tmp_path, script, limit, words):
    present.paths["qemu"] = executable(tmp_path / "qemu", script)
    with fails("qemu_probe_failed", "qemu", words) as failed:
        proved(present, tmp_path, limit)
    assert failed.value.evidence == str(tmp_path / "log")
    assert words in (tmp_path / "log").read_text()


def test_the_proof_is_kept_until_a_program_changes(present, tmp_path):
    qemu = tmp_path / "qemu"
    qemu.write_text("")
    present.paths["qemu"] = str(qemu)
    key = packages.cache_key(present)
    assert packages.cache_key(present) == key
    qemu.write_text("other")
    assert packages.cache_key(present) != key
