"""`./lane cache`: what the lane's cache keeps, with size and last use; the oldest entries go when a new one is made."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ansible.module_utils.lane.core.private_dir import read_json
from ansible.module_utils.lane.prepare import cache


def lines(root: Path) -> list[str]:
    """A line for each entry of each family, the largest family first."""
    families = sorted((folder for folder in root.iterdir() if folder.is_dir()), key=cache.size, reverse=True)
    found = [f"{root}: {_megabytes(cache.size(root))}"]
    for family in families:
        found.append(f"  {family.name:<38} {_megabytes(cache.size(family)):>10}")
        for entry in cache.entries(family) if family.name in ("programs", "venvs", "sources", "databases") else []:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.stat().st_mtime))
            known = read_json(entry / "record.json", None) or (read_json(entry / "lane-venv.json", None) or {}).get("versions", {})
            version = known.get("version") or known.get("kerbside") or ""
            found.append(f"    {entry.name:<36} {_megabytes(cache.size(entry)):>10}  last used {used}  {version}".rstrip())
    return found


def main() -> int:
    """Entry point."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "kerbside-lane").expanduser()
    parser = argparse.ArgumentParser(prog="./lane cache", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=default, help=f"lane_cache_dir (default: {default})")
    root = parser.parse_args().folder
    if not root.is_dir():
        print(f"there is no cache at {root}")
        return 0
    print("\n".join(lines(root)))
    return 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
