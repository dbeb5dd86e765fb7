"""What the lane needs from the machine, which package gives it, and the proof that it is there.

What is looked for is programs, files and libraries, never package names alone: a qemu from elsewhere is as good.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import legacy_error, one_line
from ..core.private_dir import write_private
from ..protocols.qmp import QmpError
from . import firmware
from .probe_qemu import Trial

CACHE_VERSION = 1
#: Need -> program. mariadb-install-db calls my_print_defaults, which comes with the client.
PROGRAMS = {
    "qemu": "qemu-system-x86_64",
    "qemu_img": "qemu-img",
    "mariadbd": "mariadbd",
    "mariadb_install_db": "mariadb-install-db",
    "mariadb": "mariadb",
    "my_print_defaults": "my_print_defaults",
}
#: Programs that the lane is better off with and goes without: a release's table may name a package for them.
HELPERS = {"swtpm": "swtpm"}
#: Need -> what a person calls it, where it is no program.
FEATURES = {
    "spice": "SPICE in qemu",
    "firmware": "OVMF's CODE and VARS",
    "venv": "venv and ensurepip of this Python",
    "libasound": "libasound.so.2 (ryll is linked with it)",
}
NEEDS = {**PROGRAMS, **FEATURES, **HELPERS}
DPKG_STATUS = "/var/lib/dpkg/status"


@dataclass
class Survey:
    """paths: need -> absolute path of the programs that are there. firmware: OVMF's pair. missing: the needs that are not met.

    details: need -> why, where there is more to say than that it is not there.
    """

    paths: dict[str, str] = field(default_factory=dict)
    firmware: firmware.Pair | None = None
    missing: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)


def release(os_release: str = "/etc/os-release") -> str:
    """The distribution and its release as one word, such as debian-12 (os-release(5): ID and VERSION_ID); "unknown" without the file."""
    try:
        text = Path(os_release).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    found = {key: value.strip("\"'") for key, value in re.findall(r"(?m)^([A-Z_]+)=(.*)$", text)}
    return "-".join(part for part in (found.get("ID", "unknown"), found.get("VERSION_ID", "")) if part)


def check_table(table: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Raise LaneError (lane) unless every release of the table gives a package for every need, and for nothing else."""
    for name, packages in table.items():
        odd_needs = (set(packages) ^ set(NEEDS)) - set(HELPERS)
        if odd_needs or not all(packages.values()):
            odd = ", ".join(sorted(odd_needs) or sorted(need for need in packages if not packages[need]))
            raise legacy_error("lane", f"a package for each need on {name}", f"it is not so for {odd}", "roles/deps/vars/main.yml")


def survey(helpers: Collection[str] = ()) -> Survey:
    """What is there and what is not, without starting anything; "spice" is not asked here, because only qemu can tell.

    helpers: those of HELPERS among them are of use with this release. They are missing only where that costs nobody anything: with root, or when others are.
    """
    found = Survey()
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
    for need, program in HELPERS.items():
        if need not in helpers:
            continue
        if path := command.find_program(program):
            found.paths[need] = path
        elif found.missing or os.geteuid() == 0:
            found.missing.append(need)
    return found


def prove(found: Survey, folder: str, mark: str | None) -> dict[str, Any]:
    """What the programs really say of themselves: {qemu_version, spice_version, ovmf_version, mariadb_version}.

    Starts qemu with SPICE, the agent's port and the firmware, its processor stopped, and asks it by QMP. When that qemu has no SPICE,
    "spice" is added to found.missing and {} returned. Raises LaneError (component qemu) when it has, and cannot start even so.
    """
    assert found.firmware
    arguments = [
        *("-machine", "q35,accel=tcg", "-S", "-m", "32", "-nodefaults", "-vga", "std", "-display", "none"),
        *("-spice", "unix=on,addr={home}/s,disable-ticketing=on", "-device", "virtio-serial-pci"),
        *("-chardev", "spicevmc,id=vdagent,name=vdagent", "-device", "virtserialport,chardev=vdagent,name=com.redhat.spice.0"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={found.firmware.code}"),
        *("-drive", f"if=pflash,format=raw,snapshot=on,file={found.firmware.vars}"),
    ]
    trial = Trial(found.paths["qemu"], arguments, folder, mark)
    try:
        with trial:
            spice = trial.qmp.execute("query-spice")
            ports = {entry["label"]: entry["filename"] for entry in trial.qmp.execute("query-chardev")}
            qemu_version = trial.qmp.version
    except QmpError as error:
        how = trial.ended(lines=2)
        if re.search(r"no option group 'spice'|'spicevmc' is not a valid char|spice support is disabled", how):
            found.missing.append("spice")
            found.details["spice"] = how
            return {}
        raise legacy_error("qemu", "qemu to start with SPICE, an agent port and OVMF", f"it {how}", error.where) from None
    if not spice.get("enabled") or ports.get("vdagent") != "spicevmc":
        got = f"query-spice says {one_line(json.dumps(spice), 200)}, chardev vdagent {ports.get('vdagent')}"
        raise legacy_error("qemu", "qemu's SPICE server and its agent port", got)
    return {
        "qemu_version": qemu_version,
        "spice_version": str(spice.get("compiled-version", "unknown")),
        "ovmf_version": _package_version("ovmf", mark),
        "mariadb_version": _mariadb_version(found.paths["mariadbd"], mark),
    }


def _mariadb_version(mariadbd: str, mark: str | None) -> str:
    done = command.run([mariadbd, "--no-defaults", "--version"], command.environment(mark), 20, "mariadbd to say its version", component="database")
    if done.status or not (found := re.search(r"Ver (\S+)", done.out)):
        raise legacy_error("database", "mariadbd to say its version", f"it ended with status {done.status} and said {one_line(done.said, 200)}", mariadbd)
    return found[1]


def _package_version(package: str, mark: str | None) -> str:
    """As dpkg knows it; "unknown" where there is no dpkg. The firmware's files do not say it."""
    query = command.find_program("dpkg-query")
    if not query:
        return "unknown"
    done = command.run([query, "-W", "-f=${Version}", package], command.environment(mark), 20, "dpkg-query")
    return done.out.strip() if done.status == 0 and done.out.strip() else "unknown"


def cache_key(found: Survey) -> str:
    """Changes with each program that the proof asks, with the firmware, and with whatever dpkg installs or removes."""
    assert found.firmware
    parts: list[Any] = [CACHE_VERSION]
    for path in (found.paths["qemu"], found.paths["mariadbd"], found.firmware.code, found.firmware.vars, DPKG_STATUS):
        try:
            seen = os.stat(path)
            parts.append([path, seen.st_size, seen.st_mtime_ns])
        except OSError:
            parts.append([path])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def read_cache(cache_dir: str, key: str) -> dict[str, Any] | None:
    """An earlier proof for this key, or None."""
    try:
        known = json.loads(Path(cache_dir, "deps", f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and all(isinstance(value, str) for value in known.values()) else None


def write_cache(cache_dir: str, key: str, proof: dict[str, Any]) -> None:
    """Keep a proof; the ones before it are dropped."""
    path = Path(cache_dir, "deps", f"{key}.json")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, json.dumps(proof, indent=1).encode())
    for other in path.parent.glob("*.json"):
        if other != path:
            other.unlink(missing_ok=True)


def describe(found: Survey, packages: Mapping[str, Sequence[str]] | None) -> str:
    """The missing needs in words, each with its package where that is known and with why where there is more to say."""
    words = []
    for need in found.missing:
        notes = [f"package {' '.join(packages[need])}" if packages else "", found.details.get(need, "")]
        note = ", ".join(part for part in notes if part)
        words.append(f"{NEEDS[need]} ({note})" if note else NEEDS[need])
    return "; ".join(words)


def wanted(found: Survey, packages: Mapping[str, Sequence[str]]) -> list[str]:
    """The packages to install for what is missing, each once."""
    return list(dict.fromkeys(package for need in found.missing for package in packages[need]))


def why_not_installed(said: str) -> str:
    """A clause out of what Ansible's become or apt said: the lines that tell, without its frame."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\b(sudo|su|doas|E|Err): |not found", line) and "unable to resolve host" not in line] or lines
    short = one_line(" / ".join(telling[:2]), 200)
    return f"it could not ({short})" + ("; the lane may not become root here" if re.search(r"\b(sudo|su|doas): ", short) else "")


def by_hand(packages: Sequence[str]) -> str:
    """The line that a person types when the lane may not."""
    install = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if os.geteuid() == 0:
        return f"apt-get update && {install}"
    return f"sudo apt-get update && sudo {install}" if command.find_program("sudo") else f"su - -c 'apt-get update && {install}'"
