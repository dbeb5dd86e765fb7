"""`./lane cache`: what the lane's cache keeps, with size and last use; the oldest entries go when a new one is made."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.core.private_dir import read_json
from ansible.module_utils.lane.prepare import cache


@dataclass(frozen=True)
class Family:
    """entries: name, bytes, last use (seconds since 1970) and version, of those that are worth a line."""

    name: str
    bytes: int
    entries: list[dict[str, Any]]


def families(root: Path) -> list[Family]:
    """What a cache keeps, the largest family first."""
    found = []
    for folder in root.iterdir() if root.is_dir() else []:
        if folder.is_dir():
            entries = (
                [_entry(path) for path in cache.entries(folder)]
                if folder.name in ("programs", "venvs", "sources", "databases")
                else []
            )
            found.append(Family(folder.name, cache.size(folder), entries))
    return sorted(found, key=lambda family: family.bytes, reverse=True)


def version(path: Path) -> str:
    """The version of the product that an entry holds, or ""."""
    environment = read_json(path / "lane-venv.json", None) or {}
    known = read_json(path / "record.json", None) or environment.get("versions", {})
    return str(known.get("version") or known.get("kerbside") or "")


def _entry(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": cache.size(path), "used": path.stat().st_mtime, "version": version(path)}


def lines(root: Path) -> list[str]:
    """A line for each entry of each family."""
    if not root.is_dir():
        return [f"there is no cache at {root}"]
    found = [f"{root}: {_megabytes(cache.size(root))}"]
    for family in families(root):
        found.append(f"  {family.name:<38} {_megabytes(family.bytes):>10}")
        for entry in family.entries:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["used"]))
            found.append(
                f"    {entry['name']:<36} {_megabytes(entry['bytes']):>10}  last used {used}  "
                f"{entry['version']}".rstrip()
            )
    return found


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane cache`."""
    if asked.json:
        print(
            json.dumps(
                {"folder": str(asked.folder), "families": [asdict(family) for family in families(asked.folder)]},
                indent=1,
            )
        )
    else:
        print("\n".join(lines(asked.folder)))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
