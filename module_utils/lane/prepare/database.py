"""An empty database with kerbside's schema, made once and copied for each run.

Making it takes mariadb-install-db, a server and `kerbside db upgrade`: three to four seconds. A copy takes a few milliseconds. What is kept is a data
directory that its server closed in order, under a key that changes with the programs that made it; it holds no user and no secret, for these are each
run's own. tests/playbooks/test_database.py holds a copy equal to one made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import legacy_error, one_line
from ..core.private_dir import Run
from ..programs import process
from . import cache

STAMP = "lane-database.json"  # beside the data directory: the size of each of its files
SERVER = "database_made"  # the record of the server that makes it


@dataclass(frozen=True)
class Wish:
    """What makes it: programs in their order, among them the server SERVER, which puts its data into datadir.

    inputs: paths and texts that its content depends on; of a path its size and time of change count.
    """

    programs: tuple[process.Program, ...]
    datadir: str
    inputs: tuple[str, ...]

    def home(self, cache_dir: str) -> Path:
        """Its place in the cache, another one when an input changes."""
        digest = hashlib.sha256()
        for entry in self.inputs:
            digest.update(entry.encode() + b"\0" + (_state(entry) if entry.startswith("/") else b""))
        return Path(cache_dir, "databases", digest.hexdigest()[:16])


def _state(path: str) -> bytes:
    """Size and time of change of the file behind a path, or nothing where there is none."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(path)
        return f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}\0".encode()
    return b"none\0"


def copied(cache_dir: str, wish: Wish) -> bool:
    """Put a copy at wish.datadir, which must not be there; False, and nothing is there, when the cache has none whose files are as they were.

    Raises LaneError (environment) when there is no room for it.
    """
    home = wish.home(cache_dir)
    try:
        sizes = json.loads((home / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    if sizes != dict(_sizes(home / "data")):
        return False
    try:
        shutil.copytree(home / "data", wish.datadir)
    except (shutil.Error, OSError) as error:
        shutil.rmtree(wish.datadir, ignore_errors=True)  # half a copy is none
        words = error.strerror or str(error.args[0][-1][-1] if isinstance(error, shutil.Error) else error)  # of many files the last one's
        raise legacy_error("environment", f"room for the database in {wish.datadir}", one_line(words, 200), f"df {wish.datadir}") from None
    return True


def make(cache_dir: str, lane_dir: str, run: Run, wish: Wish, limit: float) -> bool:
    """Make it for the cache and put a copy at wish.datadir. False when another lane made it meanwhile.

    Raises LaneError with the component of the program that failed, or (environment) when another lane holds the lock longer than `limit` seconds.
    """
    home = wish.home(cache_dir)
    with cache.locked(home.parent, home.name, limit):
        if copied(cache_dir, wish):
            return False
        _make(home, lane_dir, run, wish)
        if not copied(cache_dir, wish):
            raise legacy_error("environment", f"{home} to hold the database that was just made", "a file of it is missing or cut", str(home))
        return True


def _make(home: Path, lane_dir: str, run: Run, wish: Wish) -> None:
    program = next((one for one in wish.programs if one.name == SERVER), None)
    if program is None:
        raise legacy_error("lane", f"a program {SERVER} among those that make the database", f"they are {', '.join(one.name for one in wish.programs)}")
    shutil.rmtree(wish.datadir, ignore_errors=True)
    process.start(lane_dir, run, list(wish.programs), restart=True)
    [server] = [entry for entry in process.records(lane_dir) if entry.name == SERVER]
    process.stop(lane_dir, run, [server], program.limit)
    ended = server.exit_status(lane_dir)
    if ended != 0:
        raise legacy_error("database", "the server to close its data in order", f"it ended {process.status_words(ended)}", program.log)
    process.forget(lane_dir, {one.name for one in wish.programs})
    fresh = home.with_name(f".new-{home.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    shutil.copytree(wish.datadir, fresh / "data")
    (fresh / STAMP).write_text(json.dumps(dict(_sizes(fresh / "data"))), encoding="utf-8")
    fresh.rename(home)
    shutil.rmtree(wish.datadir)


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            yield str(path.relative_to(folder)), path.stat().st_size
