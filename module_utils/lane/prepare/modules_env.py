"""The Python environment of the lane's modules on a machine that Ansible itself does not run on: what requirements.txt
pins, in the cache as venvs/modules-KEY, made once for each content of that file and each Python.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ..core.private_dir import read_json
from . import cache
from .python_env import STAMP, run
from .source import Place

NAME = "modules"
TRY = "import cryptography, google_crc32c, yaml, zxingcpp; from PIL import Image"


def home(cache_dir: str, requirements: str) -> Path:
    """Where the environment lies for this requirements.txt and this machine's Python."""
    return Path(cache_dir, "venvs", f"{NAME}-{cache.key(requirements, sys.version, os.path.realpath(sys.executable))}")


def find(cache_dir: str, requirements: str) -> str | None:
    """The Python of an environment that is ready; None without one."""
    folder = home(cache_dir, requirements)
    python = str(read_json(folder / STAMP, {}).get("python", ""))
    if not python or not os.access(python, os.X_OK):
        return None
    cache.used(folder)
    return python


def build(place: Place, requirements: str) -> str:
    """Make the environment, or wait for who is making it. Returns its Python. Raises LaneError (environment)."""
    folder = home(place.cache_dir, requirements)
    with cache.locked(folder.parent, NAME, place.limit):
        if found := find(place.cache_dir, requirements):
            return found
        with cache.made_in_place(folder):
            python = _make(place, folder, requirements)
        (folder / STAMP).write_text(json.dumps({"python": python}), encoding="utf-8")
        cache.prune(folder.parent, f"{NAME}-")
        return python


def _make(place: Place, folder: Path, requirements: str) -> str:
    python = str(folder / "bin" / "python")
    own = os.path.realpath(sys.executable)
    run(place, [own, "-m", "venv", str(folder)], "make a virtual environment for the modules")
    wanted = folder / "requirements.txt"
    wanted.write_text(requirements, encoding="utf-8")
    arguments = ["install", "--no-deps", "--require-hashes", "-r", str(wanted)]
    place.pip(arguments, "install the packages that the lane's modules need", python=python)
    run(place, [python, "-c", TRY], "import what was installed for the modules")
    return python
