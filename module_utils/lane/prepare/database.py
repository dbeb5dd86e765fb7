"""An empty database with kerbside's schema, made once and copied for each run.

Making it takes mariadb-install-db, a server and `kerbside db upgrade`: three to four seconds. A copy takes
milliseconds. The cache holds a data directory that its server closed cleanly, under a key that changes with the
programs that made it and with kerbside's newest migration. It holds no user and no secret: those belong to a run.
Whether the schema really is the newest one is asked of the server while it is made, because no file tells.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import command
from ..core.errors import LaneError, one_line
from ..core.layout import Layout
from ..core.private_dir import Run, read_json, write_private
from ..programs import records, start, stop
from ..programs.program import Program
from . import cache

# beside the data directory: the size of each of its files, and the content of kerbside's tables
STAMP = "lane-database.json"
TABLES = "kerbside"  # the folder of kerbside's tables; the rest is MariaDB's own
SERVER = "database_made"  # the name of the program that is the server while the database is made
QUERY_LIMIT = 20.0  #: seconds for one query of the running server
LOCK_LIMIT = 120.0  #: seconds to wait for another lane that is making the same database
ASSIGNMENT = re.compile(r"(?m)^(revision|down_revision)\b[^=\n]*=\s*(.+?)\s*(?:#.*)?$")


@dataclass(frozen=True)
class Options:
    """How the database is made: programs in their order, among them the server SERVER, which keeps its data in datadir.

    inputs: paths and texts that the content depends on; of a path its size and time of change count. kerbside: the bin
    folder of its environment. client: the program `mariadb`.
    """

    programs: tuple[Program, ...]
    datadir: str
    inputs: tuple[str, ...]
    kerbside: str
    client: str

    @property
    def noted(self) -> Path:
        """Beside the data directory: the revisions of its schema."""
        return Path(f"{self.datadir}.schema")

    def home(self, cache_dir: str) -> Path:
        """Its place in the cache, another one when an input changes."""
        inputs = [cache.file_state(entry) if entry.startswith("/") else entry for entry in self.inputs]
        return Path(cache_dir, "databases", cache.key(inputs, sorted(newest_revisions(self.kerbside))))


def newest_revisions(kerbside: str) -> set[str]:
    """The revisions that no other migration of this kerbside follows, read without importing them."""
    revisions, followed = set(), set()
    for path in Path(kerbside).parent.glob("lib/python3*/site-packages/kerbside/**/versions/*.py"):
        found = {name: ast.literal_eval(value) for name, value in ASSIGNMENT.findall(path.read_text(encoding="utf-8"))}
        if "revision" in found:
            revisions.add(found["revision"])
            before = found.get("down_revision")
            followed |= {before} if isinstance(before, str) else set(before or ())
    return revisions - followed


def check_existing(options: Options) -> None:
    """Raise LaneError (lane) when the data directory has another schema than the installed kerbside, as when another
    kerbside is installed into a lane that is up.
    """
    known, newest = read_json(options.noted, []), newest_revisions(options.kerbside)
    if set(known) != newest:
        raise _other_schema(known, newest, "lane")


def _check_made(options: Options, socket: str, run: Run) -> None:
    """Raise LaneError unless the schema that was made is the newest of the installed kerbside."""
    newest = newest_revisions(options.kerbside)
    if not newest:
        problem = f"found no migrations of kerbside in the environment {Path(options.kerbside).parent}"
        raise LaneError("database_schema_unknown", "lane", problem)
    query = ["-N", "-B", "-e", "SELECT version_num FROM alembic_version", "kerbside"]
    argv = [options.client, "--no-defaults", f"--socket={socket}", *query]
    what = "query the version of the database's schema"
    done = command.run(argv, command.environment(run.mark), QUERY_LIMIT, what, component="database")
    if done.status:
        problem = f"the version of the database's schema cannot be read: {one_line(done.said, 200)}"
        raise LaneError("database_query_failed", "database", problem)
    if (found := done.out.split()) != sorted(newest):
        raise _other_schema(found, newest, "kerbside")


def _other_schema(found: Iterable[str], newest: Iterable[str], component: str) -> LaneError:
    known, needed = (", ".join(sorted(some)) or "none" for some in (found, newest))
    problem = f"the database's schema is at revision {known}, but the installed kerbside needs {needed}"
    fix = "take the lane down (./lane down) and start it with a new database"
    return LaneError("database_schema_old", component, problem, fix)


def provide(cache_dir: str, lane_dir: str, run: Run, options: Options) -> bool:
    """Put it at options.datadir, which must not exist. Whether it had to be made, and is now in the cache.

    Raises LaneError: host when it cannot be copied, the component of the program that failed while it was made, or
    environment when another lane holds the lock longer than LOCK_LIMIT.
    """
    home = options.home(cache_dir)
    with cache.locked(home.parent, home.name, LOCK_LIMIT):
        if _copy(home, options):
            return False
        _make(home, lane_dir, run, options)
        return True


def _copy(home: Path, options: Options) -> bool:
    """Copy it to options.datadir; False when the cache has none whose files are unchanged."""
    if read_json(home / STAMP, None) != dict(_files(home / "data")):
        return False
    try:
        shutil.copytree(home / "data", options.datadir)
    except (shutil.Error, OSError) as error:
        shutil.rmtree(options.datadir, ignore_errors=True)
        # of many files the last one's
        why = error.strerror or str(error.args[0][-1][-1] if isinstance(error, shutil.Error) else error)
        problem = f"the database cannot be copied to {options.datadir}: {one_line(why, 200)}"
        raise LaneError("database_not_copied", "host", problem, f"make room there (df {options.datadir})") from None
    _note(options)
    return True


def _make(home: Path, lane_dir: str, run: Run, options: Options) -> None:
    [program] = [one for one in options.programs if one.name == SERVER]
    start.start(lane_dir, run, list(options.programs), restart=True)
    _check_made(options, Layout(lane_dir).database_socket, run)
    [server] = [entry for entry in records.records(lane_dir) if entry.name == SERVER]
    stop.stop(run, [server], program.limit)
    ended = server.exit_status(lane_dir)
    if ended != 0:
        problem = f"MariaDB did not close the new database cleanly: it {records.ended_how(ended)}"
        raise LaneError("database_not_closed", "database", problem, f"see {program.log}", evidence=program.log)
    records.remove(lane_dir, {one.name for one in options.programs})
    with cache.growing(home.parent) as new:
        shutil.copytree(options.datadir, new / "data")
        (new / STAMP).write_text(json.dumps(dict(_files(new / "data"))), encoding="utf-8")
        cache.publish(new, home)
    _note(options)


def _note(options: Options) -> None:
    write_private(options.noted, json.dumps(sorted(newest_revisions(options.kerbside))).encode())


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file below the folder with its size, those of kerbside's tables with a digest of their content."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            inside = path.relative_to(folder)
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if inside.parts[0] == TABLES else ""
            yield str(inside), f"{path.stat().st_size} {digest}".rstrip()
