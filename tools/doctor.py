"""`./lane doctor`: what this machine has and lacks for a lane.

Nothing is installed, started or changed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.limits import existing
from ansible.module_utils.lane.lifecycle import proc, running
from ansible.module_utils.lane.prepare import accelerator, cache, machine, packages, pip, rust
from ansible.release import __version__

from tools import ROOT, cache_dir
from tools.cache import version

INDEX_LIMIT = 20.0  #: seconds for the package index to answer
DEVICE = "/dev/kvm"
WORDS = {"ok": "ok", "note": "note", "missing": "MISSING"}


@dataclass(frozen=True)
class Line:
    """What was looked at. state: ok; note, with which a lane runs all the same; or missing, with which none can."""

    name: str
    state: str
    text: str


def defaults(role: str) -> Any:
    """The default values of a role."""
    return yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))


def kvm(root_dir: Path) -> Line:
    """Whether KVM can be used, as an earlier probe of the firmware found; without it the lane falls back to TCG."""
    if wrong := accelerator.check_device(DEVICE):
        return Line("kvm", "note", f"not usable, the guest runs under TCG: {wrong.reason}; {wrong.fix}")
    found = packages.survey()
    if "qemu" not in found.paths or not found.firmware:
        text = "opens; whether UEFI guests run is probed once qemu and the firmware are installed"
        return Line("kvm", "note", f"{DEVICE} {text}")
    cpus = defaults("kvm_probe")["kvm_probe_cpus"]
    key = accelerator.cache_key(DEVICE, found.paths["qemu"], found.firmware, cpus)
    known = accelerator.read_cache(str(root_dir), key)
    if known is None:
        return Line("kvm", "note", f"{DEVICE} opens; the first lane probes whether UEFI guests run")
    if known.state == "runs":
        return Line("kvm", "ok", f"UEFI guests run with -cpu {known.cpu}")
    return Line("kvm", "note", f"not usable, the guest runs under TCG: {known.reason}; {known.fix}")


def system_packages() -> Line:
    """The programs and libraries that the role deps installs."""
    found, release = packages.survey(), packages.release()
    if not found.required:
        return Line("packages", "ok", f"all there on {release}: {', '.join(sorted(found.paths))}")
    tables = yaml.safe_load((ROOT / "roles/deps/vars/main.yml").read_text(encoding="utf-8"))["__deps_packages"]
    needed = packages.describe(found, tables.get(release))
    if release not in tables:
        text = f"{needed}; {release} is not in roles/deps/vars/main.yml, so install them yourself"
        return Line("packages", "missing", text)
    command = packages.by_hand(packages.packages_for(found.required, tables[release]))
    state = "note" if root().state == "ok" else "missing"
    return Line("packages", state, f"the first run installs {needed}; by hand: {command}")


def root() -> Line:
    """Root is needed only to install packages."""
    if os.geteuid() == 0:
        return Line("root", "ok", "this is root")
    asked = ["sudo", "-n", "true"]
    if (
        shutil.which("sudo")
        and subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
    ):
        return Line("root", "ok", "by sudo, without a password")
    return Line("root", "note", "neither root nor sudo without a password: no packages can be installed")


def python() -> Line:
    """The Python of .venv, which runs Ansible and kerbside."""
    return Line("python", "ok", f"{platform.python_version()} in {sys.prefix}, ansible-core {__version__}")


def rust_toolchain() -> Line:
    """Rust is needed only for products that are built from source."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            found = rust.find(rust.environment(None, folder), folder, folder, "", "a product")
        except LaneError as error:
            return Line("rust", "note", str(error).removeprefix(f"{error.component}: "))
    return Line("rust", "ok", f"{'.'.join(map(str, found.version))}, {found.cargo}")


def limits(folders: list[str]) -> Line:
    """Open files, processes, memory and disk."""
    try:
        machine.check_limits(folders)
    except LaneError as error:
        return Line("limits", "missing", error.cause)
    speed = machine.speed()
    text = f"{speed['processors']:g} processors, load {speed['load']:g}, time limits times {speed['time_scale']:g}"
    return Line("limits", "ok", text)


def disk(folders: list[str]) -> Line:
    """Room where a lane writes."""
    free = {folder: shutil.disk_usage(existing(folder)).free for folder in folders}
    rooms = ", ".join(f"{size / 1e9:.1f} GB in {folder}" for folder, size in free.items())
    return Line("disk", "note" if min(free.values()) < 2e9 else "ok", f"{rooms}; the first run needs 1 to 2 GB")


def index(ready: bool) -> Line:
    """Whether the index that pip is configured for has kerbside. ready: the cache has what is needed from it."""
    wanted = f"kerbside=={defaults('lane')['lane_kerbside_origin']}"
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, wanted]
        try:
            pip.run(pip.program(), arguments, pip.environment(None), INDEX_LIMIT, f"download {wanted}", "")
        except LaneError as error:
            if ready:
                return Line("index", "note", f"{error.problem}; the cache has what the default lane needs")
            return Line("index", "missing", error.problem)
    return Line("index", "ok", f"has {wanted}")


def ports(lane_id: int) -> Line:
    """The ports of a lane."""
    first = int(defaults("lane")["lane_port_base"]) + 10 * lane_id
    text = f"lane {lane_id} has {first} to {first + 4}"
    taken = proc.listeners(range(first, first + 5))
    if not taken:
        return Line("ports", "ok", f"{text}, all free")
    if any(set(taken) <= set(one.ports) for one in running.lanes()):
        return Line("ports", "ok", f"{text}; it is running")
    owners = ", ".join(f"{port} ({owner})" for port, owner in sorted(taken.items()))
    text = f"{owners} of lane {lane_id} taken; end that program, or use another lane_id"
    return Line("ports", "missing", text)


def leftovers() -> Line:
    """Lanes that are running, and what is left of killed ones."""
    found = running.lanes()
    if left := ", ".join(f"lane {one.lane_id}" for one in found if one.state == "left over"):
        return Line("leftovers", "note", f"processes of {left}; the next run or ./lane down of that id removes them")
    others = ", ".join(f"lane {one.lane_id} ({one.state})" for one in found)
    return Line("leftovers", "ok", f"none; running: {others or 'no lane'}")


def versions(root_dir: Path) -> Line:
    """What the cache has; ok when that is all that the default lane takes from the index."""
    parts, ready = [], True
    for name, folder, prefix in (("kerbside", "venvs", ""), ("ryll", "programs", "ryll-")):
        found = {version(path) for path in cache.entries(root_dir / folder, prefix)}
        ready = ready and str(defaults("lane")[f"lane_{name}_origin"]) in found
        parts.append(f"{name} {', '.join(sorted(found - {''})) or 'none'}")
    text = f"{root_dir}: {'; '.join(parts)}"
    if ready:
        return Line("cache", "ok", text)
    return Line("cache", "note", f"{text}; the first run fetches what is missing")


def main(asked: argparse.Namespace) -> int:
    """Entry point of `./lane doctor`. Exit status: 0 a lane can run here, 2 something is missing."""
    root_dir = cache_dir()
    folders = ["/tmp", str(root_dir), str(ROOT)]
    kept = versions(root_dir)
    found = [
        kvm(root_dir),
        system_packages(),
        root(),
        python(),
        rust_toolchain(),
        limits(folders),
        disk(folders),
        index(kept.state == "ok"),
        ports(asked.lane_id),
        leftovers(),
        kept,
    ]
    if asked.json:
        print(json.dumps([asdict(line) for line in found], indent=1))
    else:
        print("\n".join(f"{WORDS[line.state]:8} {line.name:10} {line.text}" for line in found))
    return 2 if any(line.state == "missing" for line in found) else 0
