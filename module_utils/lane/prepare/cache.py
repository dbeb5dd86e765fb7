"""The lane's cache: shared by lanes that may fill it at the same time, trusted because programs are run from it, and
kept small.

An entry is a folder in a family ("venvs", "programs"); its time of change is when a lane last used it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core import lock
from ..core.errors import LaneError
from ..core.private_dir import read_json, write_private

#: Entries of a kind that stay: enough to go back and forth between a few branches.
KEEP = 4


def key(*parts: Any) -> str:
    """A short digest of these values, for a file name."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def file_state(path: str) -> list[Any]:
    """A value for `key` that changes with the file behind a path, by its size and time of change."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return [path]
    return [os.path.realpath(path), found.st_size, found.st_mtime_ns]


@contextlib.contextmanager
def locked(root: Path, name: str, limit: float) -> Iterator[None]:
    """One builder of `name` at a time, of all lanes. Raises LaneError when it is busy for `limit` seconds."""
    make_private(root)
    path = root / f".lock-{name}"
    problem = f"another lane has been preparing {name} for more than {limit:g} s and still holds {path}"
    with lock.held(path, limit, LaneError("cache_busy", "environment", problem, "wait for it, or stop it")):
        yield


def make_private(folder: Path) -> None:
    """Make a folder. Raises LaneError when others can write to it, or no program can be run from it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()) or mode & 0o022:
        problem = (
            f"{folder} belongs to uid {found.st_uid} with mode {mode:04o}, so that others could replace the programs "
            "in it"
        )
        raise LaneError("cache_not_private", "environment", problem, f"chmod go-w {folder}, or set lane_cache_dir")
    _check_exec(folder)


def _check_exec(folder: Path) -> None:
    """Raise LaneError (host) when the folder is on a file system that no program can be run from."""
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        problem = f"{folder} is on a file system that is mounted noexec, and the lane runs programs from its cache"
        raise LaneError("cache_noexec", "host", problem, "set lane_cache_dir or XDG_CACHE_HOME to another file system")


@contextlib.contextmanager
def growing(root: Path) -> Iterator[Path]:
    """A new folder in the cache; it is gone afterwards unless it was renamed."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=root, ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def made_in_place(home: Path) -> Iterator[None]:
    """Make an entry, under the lock, at its own path, which its files hold; it is gone again if that fails."""
    shutil.rmtree(home, ignore_errors=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def publish(new: Path, home: Path) -> None:
    """Give a whole folder its name. Under the lock, so what has the name already is broken and makes way."""
    new.chmod(0o755)
    shutil.rmtree(home, ignore_errors=True)
    os.rename(new, home)


def used(home: Path) -> None:
    """Note that a lane uses this entry now. Raises LaneError (host) when no program can be run from it."""
    _check_exec(home)
    os.utime(home)


def entries(root: Path, prefix: str = "") -> list[Path]:
    """The entries of a family, the last used first."""
    found = [path for path in root.glob(f"{prefix}*") if path.is_dir() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def prune(root: Path, prefix: str = "") -> list[str]:
    """Remove all but the KEEP entries that were used last and those that a process uses; returns the names."""
    old = entries(root, prefix)[KEEP:]
    in_use = _in_use() if old else ""
    gone = [path for path in old if f"{path}/" not in in_use]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in gone]


def kept(cache_dir: str, family: str, key: str) -> dict[str, Any]:
    """The values that were kept under this key; {} without it, or when the file cannot be read."""
    found = read_json(Path(cache_dir, family, f"{key}.json"), {})
    return found if isinstance(found, dict) else {}


def keep(cache_dir: str, family: str, key: str, values: dict[str, Any]) -> None:
    """Keep values under a key, and remove those of other keys."""
    path = Path(cache_dir, family, f"{key}.json")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, json.dumps(values, indent=1).encode())
    for other in path.parent.glob("*.json"):
        if other != path:
            other.unlink(missing_ok=True)


def size(folder: Path) -> int:
    """Bytes of all files below, but for those that another command removes meanwhile."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += os.lstat(os.path.join(root, name)).st_size
    return found


def _in_use() -> str:
    """Command line, program and environment of every process of this machine that may be read."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(process / "exe"))
            found += [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
    return "\0".join(found)
