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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.limits import existing
from ansible.module_utils.lane.lifecycle import proc, running
from ansible.module_utils.lane.prepare import accelerator, cache, machine, packages, pip, rust
from ansible.release import __version__

from tools import ROOT
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


def shared(name: str) -> object:
    """The default of a shared variable."""
    return yaml.safe_load((ROOT / "roles/lane/defaults/main.yml").read_text(encoding="utf-8"))[name]


def kvm(cache_dir: Path) -> Line:
    """Whether KVM can be used, as an earlier probe of the firmware found; without it the lane falls back to TCG."""
    if wrong := accelerator.check_device(DEVICE):
        return Line("kvm", "note", f"not usable, the guest runs under TCG: {wrong.reason}; {wrong.fix}")
    found = packages.survey()
    if "qemu" not in found.paths or not found.firmware:
        return Line(
            "kvm", "note", f"{DEVICE} opens; whether UEFI guests run is probed once qemu and the firmware are installed"
        )
    cpus = yaml.safe_load((ROOT / "roles/kvm_probe/defaults/main.yml").read_text(encoding="utf-8"))["kvm_probe_cpus"]
    known = accelerator.read_cache(
        str(cache_dir), accelerator.cache_key(DEVICE, found.paths["qemu"], found.firmware, cpus)
    )
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
    table = yaml.safe_load((ROOT / "roles/deps/vars/main.yml").read_text(encoding="utf-8"))["__deps_packages"].get(
        release
    )
    needed = packages.describe(found, table)
    if table is None:
        return Line(
            "packages",
            "missing",
            f"{needed}; {release} is not in roles/deps/vars/main.yml, so install them yourself",
        )
    command = packages.by_hand(packages.packages_for(found.required, table))
    return Line(
        "packages",
        "note" if root().state == "ok" else "missing",
        f"the first run installs {needed}; by hand: {command}",
    )


def root() -> Line:
    """Root is needed only to install packages."""
    if os.geteuid() == 0:
        return Line("root", "ok", "this is root")
    able = (
        shutil.which("sudo")
        and subprocess.run(
            ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).returncode
        == 0
    )
    return Line(
        "root",
        "ok" if able else "note",
        "by sudo, without a password"
        if able
        else "neither root nor sudo without a password: no packages can be installed",
    )


def python() -> Line:
    """The Python of .venv, which runs Ansible and kerbside."""
    return Line("python", "ok", f"{platform.python_version()} in {sys.prefix}, ansible-core {__version__}")


def rust_toolchain() -> Line:
    """Rust is needed only for products that are built from source."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = rust.find(rust.environment(None, Path(folder)), Path(folder), Path(folder), "", "a product")
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
    rooms = [f"{shutil.disk_usage(existing(folder)).free / 1e9:.1f} GB in {folder}" for folder in folders]
    tight = min(shutil.disk_usage(existing(folder)).free for folder in folders) < 2e9
    return Line("disk", "note" if tight else "ok", f"{', '.join(rooms)}; the first run needs 1 to 2 GB")


def index(ready: bool) -> Line:
    """Whether the index that pip is configured for has kerbside. ready: the cache has what is needed from it."""
    wanted = f"kerbside=={shared('lane_kerbside_origin')}"
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, wanted]
        try:
            pip.run(pip.program(), arguments, pip.environment(None), INDEX_LIMIT, f"download {wanted}", "")
            said = ""
        except LaneError as error:
            said = error.problem
    if not said:
        return Line("index", "ok", f"has {wanted}")
    text = f"{said}{'; the cache has what the default lane needs' if ready else ''}"
    return Line("index", "note" if ready else "missing", text)


def ports(lane_id: int) -> Line:
    """The ports of a lane."""
    first = int(str(shared("lane_port_base"))) + 10 * lane_id
    taken = {c.local[1] for c in proc.connections() if c.state == proc.LISTEN} & set(range(first, first + 5))
    if not taken:
        return Line("ports", "ok", f"lane {lane_id} has {first} to {first + 4}, all free")
    mine = next((one for one in running.lanes() if taken <= set(one.ports)), None)
    if mine:
        return Line("ports", "ok", f"lane {lane_id} has {first} to {first + 4}; it is running")
    return Line(
        "ports",
        "missing",
        f"{', '.join(map(str, sorted(taken)))} of lane {lane_id} taken by another program; "
        "end it, or use another lane_id",
    )


def leftovers() -> Line:
    """Lanes that are running, and what is left of killed ones."""
    found = running.lanes()
    left = [f"lane {one.lane_id}" for one in found if one.state == "left over"]
    others = ", ".join(f"lane {one.lane_id} ({one.state})" for one in found if one.state != "left over")
    if left:
        return Line(
            "leftovers", "note", f"processes of {', '.join(left)}; the next run or ./lane down of that id removes them"
        )
    return Line("leftovers", "ok", f"none; running: {others or 'no lane'}")


def versions(root_dir: Path) -> tuple[Line, bool]:
    """What the cache has, and whether that is all that the default lane takes from the index."""
    kerbside = [version(path) for path in cache.entries(root_dir / "venvs")]
    ryll = [version(path) for path in cache.entries(root_dir / "programs", "ryll-")]
    ready = str(shared("lane_kerbside_origin")) in kerbside and str(shared("lane_ryll_origin")) in ryll
    shown = [
        f"{name} {', '.join(sorted({one for one in found if one})) or 'none'}"
        for name, found in (("kerbside", kerbside), ("ryll", ryll))
    ]
    return Line(
        "cache",
        "ok" if ready else "note",
        f"{root_dir}: {'; '.join(shown)}{'' if ready else '; the first run fetches what is missing'}",
    ), ready


def examine(lane_id: int = 0) -> list[Line]:
    """All lines, in order."""
    root_dir = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "kerbside-lane").expanduser()
    folders = ["/tmp", str(root_dir), str(ROOT)]
    kept, ready = versions(root_dir)
    steps: list[Callable[[], Line]] = [
        lambda: kvm(root_dir),
        system_packages,
        root,
        python,
        rust_toolchain,
        lambda: limits(folders),
        lambda: disk(folders),
        lambda: index(ready),
        lambda: ports(lane_id),
        leftovers,
    ]
    return [*(step() for step in steps), kept]


def main(asked: argparse.Namespace) -> int:
    """Entry point of `./lane doctor`. Exit status: 0 a lane can run here, 2 something is missing."""
    found = examine(asked.lane_id)
    if asked.json:
        print(json.dumps([asdict(line) for line in found], indent=1))
    else:
        print("\n".join(f"{WORDS[line.state]:8} {line.name:10} {line.text}" for line in found))
    return 2 if any(line.state == "missing" for line in found) else 0
