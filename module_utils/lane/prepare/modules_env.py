"""The Python environment of the lane's modules on a machine that Ansible itself does not run on: what requirements.txt
pins of what they import.

It lies in the cache as venvs/modules-KEY, made once for each content of the pins and each Python.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from ..core.private_dir import read_json
from . import cache
from .python_env import STAMP, run
from .source import Place

#: What modules import, with what that stands on. Ansible itself is not needed there.
PACKAGES = ("cffi", "cryptography", "google-crc32c", "pillow", "pycparser", "pyyaml", "zxing-cpp")
NAME = "modules"
TRY = "import cryptography, google_crc32c, yaml, zxingcpp; from PIL import Image"


def pinned(requirements: str) -> str:
    """The entries of requirements.txt that belong to PACKAGES, with their hashes."""
    entries = re.split(r"\n(?=[A-Za-z])", f"\n{requirements}")
    return "".join(
        f"{entry.strip()}\n" for entry in entries if re.split(r"[=\s]", entry.strip(), maxsplit=1)[0] in PACKAGES
    )


def home(cache_dir: str, pins: str) -> Path:
    """Where the environment lies for these pins and this machine's Python."""
    return Path(cache_dir, "venvs", f"{NAME}-{cache.key(pins, sys.version, os.path.realpath(sys.executable))}")


def find(cache_dir: str, pins: str) -> str | None:
    """The Python of an environment that is ready; None without one."""
    folder = home(cache_dir, pins)
    python = str(read_json(folder / STAMP, {}).get("python", ""))
    if not python or not os.access(python, os.X_OK):
        return None
    cache.check_exec(folder)
    cache.used(folder)
    return python


def build(place: Place, pins: str) -> str:
    """Make the environment, or wait for who is making it. Returns its Python. Raises LaneError (environment)."""
    folder = home(place.cache_dir, pins)
    with cache.locked(folder.parent, NAME, place.limit):
        if found := find(place.cache_dir, pins):
            return found
        with cache.made_in_place(folder):
            python = _make(place, folder, pins)
        (folder / STAMP).write_text(json.dumps({"python": python}), encoding="utf-8")
        cache.prune(folder.parent, f"{NAME}-")
        return python


def _make(place: Place, folder: Path, pins: str) -> str:
    python = str(folder / "bin" / "python")
    own = os.path.realpath(sys.executable)
    run(place, [own, "-m", "venv", str(folder)], "make a virtual environment for the modules")
    wanted = folder / "requirements.txt"
    wanted.write_text(pins, encoding="utf-8")
    arguments = ["install", "--no-deps", "--require-hashes", "-r", str(wanted)]
    place.pip(arguments, "install the packages that the lane's modules need", python=python)
    run(place, [python, "-c", TRY], "import what was installed for the modules")
    return python
