"""`./lane cache`: what the lane's cache keeps, with size and last use; the oldest entries go when a new one is made."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.core.private_dir import read_json
from ansible.module_utils.lane.prepare import cache

LISTED = ("programs", "venvs", "sources", "databases")  #: families whose entries are worth a line each


def families(root: Path) -> list[dict[str, Any]]:
    """What a cache keeps, the largest family first: name, bytes, and entries with name, bytes, last use (seconds since
    1970) and version.
    """
    found = []
    for folder in filter(Path.is_dir, root.iterdir() if root.is_dir() else ()):
        entries = [
            {"name": path.name, "bytes": cache.size(path), "used": path.stat().st_mtime, "version": version(path)}
            for path in (cache.entries(folder) if folder.name in LISTED else ())
        ]
        found.append({"name": folder.name, "bytes": cache.size(folder), "entries": entries})
    return sorted(found, key=lambda family: family["bytes"], reverse=True)


def version(path: Path) -> str:
    """The version of the product that an entry holds, or ""."""
    environment = read_json(path / "lane-venv.json", None) or {}
    known = read_json(path / "record.json", None) or environment.get("versions", {})
    return str(known.get("version") or known.get("kerbside") or "")


def table(root: Path) -> str:
    """A line for each family and each entry."""
    if not root.is_dir():
        return f"there is no cache at {root}"
    rows = [f"{root}: {_megabytes(cache.size(root))}"]
    for family in families(root):
        rows.append(f"  {family['name']:<38} {_megabytes(family['bytes']):>10}")
        for entry in family["entries"]:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["used"]))
            row = f"    {entry['name']:<36} {_megabytes(entry['bytes']):>10}  last used {used}  {entry['version']}"
            rows.append(row.rstrip())
    return "\n".join(rows)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane cache`."""
    root = asked.folder
    print(json.dumps({"folder": str(root), "families": families(root)}, indent=1) if asked.json else table(root))
