"""The environment that kerbside is installed in: made once for each content of its source, checked each time it is
used.

It lies in the cache as venvs/kerbside-KEY. lane-venv.json is written into it when all that was installed has been seen
to be there, and names each file with its size: an environment that lost one of them is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import LaneError, one_line
from ..core.private_dir import read_json
from . import cache, tree
from .origin import FILE, KERBSIDE
from .source import Place, Source, folder

STAMP = "lane-venv.json"
NAME = KERBSIDE.package
RECIPE = 2  # raised when what is installed from the same source changes
#: Read in the new environment: what kerbside requires under this Python, without extras and without the packages that
#: are named.
REQUIRES = """
import importlib.metadata, json, sys
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
wanted = [Requirement(r) for r in importlib.metadata.requires(sys.argv[1]) or []]
wanted = [r for r in wanted if not r.marker or r.marker.evaluate({"extra": ""})]
print(json.dumps([str(r) for r in wanted if canonicalize_name(r.name) not in sys.argv[2:]]))
"""
#: The version of every distribution, kerbside's own list of files with their digests, and the files of any distribution
#: that are not there.
INSTALLED = """
import importlib.metadata as m, json, sys
found = list(m.distributions())
versions = {d.name.lower(): d.version for d in found}
record = next((d.read_text("RECORD") or "" for d in found if d.name.lower() == sys.argv[1]), "")
missing = [str(f.locate()) for d in found for f in d.files or [] if f.suffix != ".pyc" and not f.locate().exists()]
print(json.dumps([versions, record, missing]))
"""


@dataclass(frozen=True)
class Environment:
    """What is asked for: where kerbside comes from, and what to leave out of its dependencies."""

    source: Source
    without: tuple[str, ...] = ()

    def home(self, cache_dir: str) -> Path:
        """Its folder, another one for each content of the source, each Python and each list of packages."""
        kind, identity = self.source.origin.is_tree, self.source.identity
        key = cache.key(RECIPE, kind, identity, self.without, sys.version, sys.base_prefix)
        return Path(cache_dir, "venvs", f"{NAME}-{key}")


def find(cache_dir: str, wanted: Environment) -> dict[str, Any] | None:
    """{bin, python, versions, sha256} of what is ready in the cache; None without it, or when a file of it is missing
    or has another size.
    """
    home = wanted.home(cache_dir)
    known: dict[str, Any] | None = read_json(home / STAMP, None)
    if known is None or not os.access(known["python"], os.X_OK) or _files(home) != known.pop("files"):
        return None
    cache.used(home)
    return known


def build(place: Place, wanted: Environment) -> tuple[dict[str, Any], list[str]]:
    """Make it, or wait for who is making it. Returns what `find` does, and what was removed from the cache for it.

    Raises LaneError: environment when the index cannot be reached, host for what this machine lacks, kerbside when its
    source does not build.
    """
    home = wanted.home(place.cache_dir)
    with cache.locked(home.parent, NAME, place.limit):
        if found := find(place.cache_dir, wanted):
            return found, []
        with cache.made_in_place(home):
            found = _make(place, wanted, home)
        (home / STAMP).write_text(json.dumps({**found, "files": _files(home)}), encoding="utf-8")
        return found, cache.prune(home.parent, f"{NAME}-")


def _make(place: Place, wanted: Environment, home: Path) -> dict[str, Any]:
    python, source = str(home / "bin" / "python"), wanted.source
    run(place, [sys.executable, "-m", "venv", str(home)], "make a virtual environment")
    component = KERBSIDE.component if source.origin.is_tree or source.origin.kind == FILE else ""
    with cache.growing(home.parent) as new:
        what = source.requirement or source.path
        if source.origin.is_tree:
            tree.copy(folder(KERBSIDE, source, place), new / "source")
            what = str(new / "source")
        if not what.endswith(".whl") and not source.requirement:
            arguments = ["wheel", "--no-deps", "--wheel-dir", str(new / "wheel"), what]
            place.pip(arguments, f"build kerbside of {source.words()}", component, python)
            [what] = [str(path) for path in (new / "wheel").glob("*.whl")]
        place.pip(["install", "--no-deps", what], f"install {Path(what).name}", component, python)
    asked = [python, "-c", REQUIRES, NAME, *wanted.without]
    if needs := json.loads(run(place, asked, f"read the dependencies of {NAME}", component)):
        place.pip(["install", *needs], "install the dependencies of kerbside", component, python)
    versions, record, missing = json.loads(run(place, [python, "-c", INSTALLED, NAME], "list what was installed"))
    if missing:
        problem = f"pip installed kerbside without an error, but {missing[0]} is not there"
        raise LaneError("environment_broken", "environment", problem, "see pip's output", evidence=place.log)
    _check_dependencies(place, python, wanted)
    digest = hashlib.sha256(record.encode()).hexdigest()
    return {"bin": str(home / "bin"), "python": python, "versions": versions, "sha256": digest}


def _check_dependencies(place: Place, python: str, wanted: Environment) -> None:
    """Raise LaneError unless `pip check` complains of nothing but what was left out."""
    argv = [python, "-m", "pip", "check", "--disable-pip-version-check"]
    done = command.run(argv, _plain(place), place.limit, "pip to check the environment")
    expected = tuple(f"requires {name}, which is not installed." for name in wanted.without)
    odd = [line for line in done.out.splitlines() if done.status and not line.endswith(expected)]
    if odd:
        problem = f"what pip installed for kerbside does not fit together: {one_line(odd[0], 200)}"
        raise LaneError("environment_broken", "environment", problem, evidence=place.log)


def _files(home: Path) -> dict[str, int]:
    """Every file of an environment and its size, but for what Python compiles by itself."""
    found = {}
    folders = [str(home)]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    folders.append(entry.path)
            elif entry.name != STAMP:
                found[entry.path[len(str(home)) + 1 :]] = entry.stat(follow_symlinks=False).st_size
    return found


def _plain(place: Place) -> dict[str, str]:
    return {**command.environment(place.mark), "PIP_CONFIG_FILE": os.devnull}


def run(place: Place, argv: list[str], what: str, component: str = "") -> str:
    """The stdout of a step of an environment's making. Raises LaneError (component, "" for the environment)."""
    done = command.run(argv, _plain(place), place.limit, f"to {what}", log=place.log)
    if done.status:
        problem = f"could not {what}: {one_line(done.said, 300)}"
        raise LaneError("environment_broken", component or "environment", problem, evidence=place.log)
    return done.out
