"""A virtual environment in the lane's cache that holds one requirement, built once and found again by what it was built from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import legacy_error, one_line
from . import cache

STAMP = "lane-venv.json"
#: Read in the new venv: what a distribution requires under this Python, without extras.
REQUIRES = """
import importlib.metadata, json, sys
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
wanted = [Requirement(r) for r in importlib.metadata.requires(sys.argv[1]) or []]
keep = [str(r) for r in wanted if (not r.marker or r.marker.evaluate({"extra": ""})) and canonicalize_name(r.name) not in sys.argv[2:]]
print(json.dumps(keep))
"""
VERSIONS = "import importlib.metadata as m, json; print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"


@dataclass(frozen=True)
class Venv:
    """What is asked for: a pip requirement (or a path of a checkout), the name of its distribution, what to leave out of its
    dependencies, and what to add."""

    requirement: str
    distribution: str
    without: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def checkout(self) -> Path | None:
        """The local directory that the requirement names, if it names one."""
        text = re.sub(r"\[[^\]]*\]$", "", self.requirement.removeprefix("file://"))
        path = Path(text).expanduser()
        return path if ("/" in self.requirement and path.is_dir()) else None

    def key(self) -> str:
        """Changes with the requirement, with Python, and with any file of a checkout."""
        digest = hashlib.sha256(json.dumps([self.requirement, self.without, self.extra, sys.version, sys.base_prefix]).encode())
        if self.checkout:
            for path in _files(self.checkout):
                found = path.lstat()
                digest.update(f"{path.relative_to(self.checkout)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in {".git", "__pycache__", "build", "dist", ".tox", ".venv"} and not f.endswith(".egg-info"))
        for name in sorted(names):
            yield Path(root, name)


def find(cache_dir: str, wish: Venv) -> dict[str, Any] | None:
    """What stands in the cache for this wish: {"bin", "python", "versions", "requirement"}, or None."""
    try:
        found = json.loads((_home(cache_dir, wish) / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return dict(found) if os.access(found["python"], os.X_OK) else None


def build(cache_dir: str, wish: Venv, limit: float, log: str, mark: str | None = None) -> dict[str, Any]:
    """Build it, or wait for who is building it. log: a file for what pip says; mark: for pip.

    Raises LaneError (environment) with pip's own words when pip fails.
    """
    home = _home(cache_dir, wish)
    with cache.locked(home.parent, home.name, limit):
        if found := find(cache_dir, wish):
            return found
        if home.exists():
            shutil.rmtree(home)
        python = str(home / "bin" / "python")
        _run([sys.executable, "-m", "venv", str(home)], log, limit, "a virtual environment", mark)
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        _run([*pip, "--no-deps", str(wish.checkout) if wish.checkout else wish.requirement], log, limit, f"pip to install {wish.requirement}", mark, True)
        needs = json.loads(_run([python, "-c", REQUIRES, wish.distribution, *wish.without], log, limit, f"the dependencies of {wish.distribution}", mark))
        if needs or wish.extra:
            _run([*pip, *needs, *wish.extra], log, limit, f"pip to install what {wish.requirement} needs", mark, True)
        versions = json.loads(_run([python, "-c", VERSIONS], log, limit, "the versions of what was installed", mark))
        found = {"bin": str(home / "bin"), "python": python, "requirement": wish.requirement, "versions": versions}
        (home / STAMP).write_text(json.dumps(found, indent=1), encoding="utf-8")
        return found


def _home(cache_dir: str, wish: Venv) -> Path:
    return Path(cache_dir, "venvs", f"{wish.distribution}-{wish.key()}")


def _run(argv: list[str], log: str, limit: float, what: str, mark: str | None, together: bool = False) -> str:
    env = {**command.environment(mark, cache.PIP_KEEP, network=True), "PIP_REQUIRE_VIRTUALENV": "0"}
    done = command.run(argv, env, limit, what, log=log, together=together)
    if done.status:
        raise legacy_error("environment", what, f"it ended with status {done.status}: {one_line(done.said, 300)}", log)
    return done.out
