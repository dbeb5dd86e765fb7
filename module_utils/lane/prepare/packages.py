"""What the lane needs from the machine, which package provides it, and the proof that it works.

The lane looks for programs, files and libraries, never for package names: a qemu from elsewhere is as good.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import command
from ..core.errors import LaneError, one_line
from ..protocols.qmp import QmpError
from . import cache, firmware
from .probe_qemu import ProbeQemu

CACHE_VERSION = 1
#: Need -> program. mariadb-install-db calls my_print_defaults, which comes with the client.
PROGRAMS = {
    "qemu": "qemu-system-x86_64",
    "mariadbd": "mariadbd",
    "mariadb_install_db": "mariadb-install-db",
    "mariadb": "mariadb",
    "my_print_defaults": "my_print_defaults",
}
#: Optional programs: a release's table may name a package for them, and a lane runs without them.
OPTIONAL = {"swtpm": "swtpm"}
#: Programs that a build from source starts: wanted only when something is built here.
BUILD = {"git": "git", "cc": "cc", "cxx": "c++", "make": "make", "cmake": "cmake", "pkg_config": "pkg-config"}
#: Need -> what a person calls it, where it is not a program.
FEATURES = {
    "spice": "SPICE in qemu",
    "firmware": "OVMF's CODE and VARS",
    "venv": "venv and ensurepip of this Python",
    "libasound": "libasound.so.2 (ryll is linked with it)",
}
SUITE_FEATURES = {"spice_gtk": "spice-gtk for the system's Python (the suite clients)"}
SPICE_GTK = "import gi; gi.require_version('SpiceClientGLib', '2.0'); from gi.repository import SpiceClientGLib"
NEEDS = {**PROGRAMS, **FEATURES, **OPTIONAL, **BUILD, **SUITE_FEATURES}
DPKG_STATUS = "/var/lib/dpkg/status"
UNREACHABLE = (
    "Could not resolve|Temporary failure resolving|Network is unreachable|No route to host|Could not connect"
    "|Connection (refused|timed out|failed)"
)
#: (pattern in apt's, sudo's or Ansible's words, code, what to do other than installing the packages by hand).
APT_FAILURES = (
    (r"\b(sudo|su|doas): |become", "apt_not_root", "the lane may not become root here"),
    (
        "[Cc]ould not get lock|Unable to (acquire|lock)|Failed to lock",
        "apt_locked",
        "another package manager is at work; wait for it to end",
    ),
    (UNREACHABLE, "apt_unreachable", "check this machine's network, name resolution, proxy and apt sources"),
)


@dataclass
class Survey:
    """paths: need -> absolute path of the programs found. firmware: OVMF's pair. missing: the needs that are not met.

    details: need -> why, where there is more to say than that it was not found.
    """

    paths: dict[str, str] = field(default_factory=dict)
    firmware: firmware.Pair | None = None
    missing: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)

    @property
    def required(self) -> list[str]:
        """What is missing and not optional."""
        return [need for need in self.missing if need not in OPTIONAL]


def release() -> str:
    """The distribution, such as debian-12 (ID and VERSION_ID of os-release(5)); "unknown" without that file."""
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return "unknown"
    return "-".join(filter(None, (found["ID"], found.get("VERSION_ID"))))


def missing_tools() -> list[str]:
    """The needs of BUILD that are not met."""
    return [need for need, program in BUILD.items() if not command.find_program(program)]


def missing_for(suites: Collection[str]) -> list[str]:
    """The needs of these suites that are not met; "all" stands for every suite."""
    if not {"clients", "all"} & set(suites):
        return []
    try:
        argv, env = ["/usr/bin/python3", "-c", SPICE_GTK], command.environment(None)
        status = command.run(argv, env, 60, "ask the system's Python for spice-gtk").status
    except LaneError:  # there is no such Python
        status = 1
    return ["spice_gtk"] if status else []


def survey(optional: Collection[str] = (), tools: Collection[str] = ()) -> Survey:
    """What is installed and what is missing, without starting anything; whether qemu has SPICE only `prove` can tell.

    optional: those of OPTIONAL among them are of use with this release. They count as missing only for root, or when
    something else is missing as well. tools: those of BUILD, and needs of suites, that are missing and wanted.
    """
    found = Survey(missing=list(tools))
    for need, program in PROGRAMS.items():
        if path := command.find_program(program):
            found.paths[need] = path
        else:
            found.missing.append(need)
    found.firmware = firmware.find_pair()
    if not found.firmware:
        found.missing.append("firmware")
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        found.missing.append("venv")
        found.details["venv"] = f"asked {sys.executable}"
    try:
        ctypes.CDLL("libasound.so.2")
    except OSError as error:
        found.missing.append("libasound")
        found.details["libasound"] = one_line(str(error), 120)
    if "qemu" in found.missing:
        found.missing.append("spice")
    for need, program in OPTIONAL.items():
        if need not in optional:
            continue
        if path := command.find_program(program):
            found.paths[need] = path
        elif found.missing or os.geteuid() == 0:
            found.missing.append(need)
    return found


def prove(found: Survey, folder: str, log: str, mark: str | None, start_limit: float) -> dict[str, Any]:
    """Versions that the programs themselves report: {qemu_version, spice_version, ovmf_version, mariadb_version}.

    Starts qemu with SPICE, the agent's port and the firmware, its processor stopped, and asks it by QMP. When that qemu
    has no SPICE, "spice" is added to found.missing and {} returned. Raises LaneError (qemu) when it has, and fails all
    the same; its output is then in `log`.
    """
    assert found.firmware
    arguments = [
        *("-machine", "q35,accel=tcg", "-S", "-m", "32", "-nodefaults", "-vga", "std", "-display", "none"),
        *("-spice", "unix=on,addr={home}/s,disable-ticketing=on", "-device", "virtio-serial-pci"),
        *("-chardev", "spicevmc,id=vdagent,name=vdagent"),
        *("-device", "virtserialport,chardev=vdagent,name=com.redhat.spice.0"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={found.firmware.code}"),
        *("-drive", f"if=pflash,format=raw,snapshot=on,file={found.firmware.vars}"),
    ]
    qemu = ProbeQemu(found.paths["qemu"], arguments, folder, mark, start_limit)
    try:
        with qemu:
            spice = qemu.qmp.execute("query-spice")
            ports = {entry["label"]: entry["filename"] for entry in qemu.qmp.execute("query-chardev")}
            qemu_version = qemu.qmp.version
    except QmpError as error:
        how = qemu.failure(error, lines=2)
        if re.search(r"no option group 'spice'|'spicevmc' is not a valid char|spice support is disabled", how):
            found.missing.append("spice")
            found.details["spice"] = how
            return {}
        problem = f"qemu {how} when it was started with SPICE, an agent port and OVMF"
        qemu.save_output(log, problem)
        raise LaneError("qemu_probe_failed", "qemu", problem, f"see {log}", evidence=log) from None
    if not spice.get("enabled") or ports.get("vdagent") != "spicevmc":
        said = f"query-spice says {one_line(json.dumps(spice), 200)}, chardev vdagent is {ports.get('vdagent')}"
        problem = f"qemu started, but without its SPICE server or agent port: {said}"
        raise LaneError("qemu_without_spice", "qemu", problem)
    return {
        "qemu_version": qemu_version,
        "spice_version": str(spice.get("compiled-version", "unknown")),
        "ovmf_version": _firmware_version(mark, start_limit),
        "mariadb_version": _mariadb_version(found.paths["mariadbd"], mark, start_limit),
    }


def _mariadb_version(mariadbd: str, mark: str | None, limit: float) -> str:
    argv, env = [mariadbd, "--no-defaults", "--version"], command.environment(mark)
    done = command.run(argv, env, limit, "ask mariadbd for its version", component="database")
    if done.status or not (found := re.search(r"Ver (\S+)", done.out)):
        said = one_line(done.said, 200)
        problem = f"{mariadbd} does not report its version: it ended with status {done.status} and said {said}"
        raise LaneError("mariadb_version_unknown", "database", problem)
    return found[1]


def _firmware_version(mark: str | None, limit: float) -> str:
    """From dpkg; "unknown" where there is none. The firmware's files do not have it."""
    query = command.find_program("dpkg-query")
    if not query:
        return "unknown"
    argv = [query, "-W", "-f=${Version}", "ovmf"]
    done = command.run(argv, command.environment(mark), limit, "ask dpkg for a version")
    return "unknown" if done.status else done.out.strip() or "unknown"


def cache_key(found: Survey) -> str:
    """Changes with each program of the proof, with the firmware, and with whatever dpkg installs or removes."""
    assert found.firmware
    paths = (found.paths["qemu"], found.paths["mariadbd"], found.firmware.code, found.firmware.vars, DPKG_STATUS)
    return cache.key(CACHE_VERSION, *map(cache.file_state, paths))


def describe(found: Survey, packages: Mapping[str, Sequence[str]] | None) -> str:
    """The missing needs in words, each with its package where that is known and with why where there is more to say."""
    words = []
    for need in found.missing:
        notes = [f"package {' '.join(packages[need])}" if packages else "", found.details.get(need, "")]
        note = ", ".join(part for part in notes if part)
        words.append(f"{NEEDS[need]} ({note})" if note else NEEDS[need])
    return "; ".join(words)


def packages_for(needs: Sequence[str], packages: Mapping[str, Sequence[str]]) -> list[str]:
    """The packages that provide these needs, each once."""
    return list(dict.fromkeys(package for need in needs for package in packages[need]))


def apt_failure(said: str, wanted: Sequence[str]) -> LaneError:
    """The error for what apt, or Ansible's become, ended with: its own reason, whole."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "unable to resolve host" not in line]
    pattern = r"\b(?:sudo|su|doas): .*|\bE: ?.*|\bErr: .*|.*not found.*"
    reasons = [found[0] for line in lines if (found := re.search(pattern, line))] or lines
    reason = one_line(" / ".join(dict.fromkeys(reasons)), 500)
    problem = f"apt could not install {' '.join(wanted)}: {reason}"
    by_person = f"install by hand: {by_hand(wanted)}"
    for words, code, advice in APT_FAILURES:
        if re.search(words, reason):
            return LaneError(code, "host", problem, f"{advice}, or {by_person}")
    return LaneError("apt_failed", "host", problem, by_person)


def by_hand(packages: Sequence[str]) -> str:
    """The command that a person types when the lane may not."""
    install = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if os.geteuid() == 0:
        return f"apt-get update && {install}"
    if command.find_program("sudo"):
        return f"sudo apt-get update && sudo {install}"
    return f"su - -c 'apt-get update && {install}'"
