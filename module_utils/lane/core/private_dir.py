"""The lane's private directory: whose it is, and what roles hand on through it."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bounded, lock
from .errors import LaneError

#: Every process of a lane has this in its environment: KERBSIDE_LANE=<lane_id>/<run_id>.
MARK = "KERBSIDE_LANE"
RUN_FILE = "run.json"
HANDOVER = "handover"
FOLDERS = ("logs", "secrets", "handover", "processes", "tmp", "tls", "tpm")
#: seconds to wait for another command that makes or removes the lane; waiting for a keeper takes longest, 13 at most
ALONE_LIMIT = 30.0


@dataclass(frozen=True)
class Run:
    """One run of one lane, as written in lane_dir/run.json."""

    lane_id: int
    run_id: str
    started: float

    @property
    def mark(self) -> str:
        return f"{self.lane_id}/{self.run_id}"


@contextmanager
def alone(lane_id: int) -> Iterator[None]:
    """No other command of this user makes or removes this lane meanwhile. Raises LaneError (lane) otherwise."""
    path = lock.folder() / f"lane-{lane_id}"
    problem = f"another command has been starting or stopping lane {lane_id} for {ALONE_LIMIT:g} s"
    with lock.held(path, ALONE_LIMIT, LaneError("lane_busy", "lane", problem, f"end that command; it holds {path}")):
        yield


def claimed_at(lane_dir: str, run: Run) -> float:
    """When the last command claimed the lane (seconds since 1970); each claim writes or touches run.json."""
    try:
        return max(run.started, Path(lane_dir, RUN_FILE).stat().st_mtime)
    except OSError:
        return run.started


def make_folders(lane_dir: str) -> None:
    """The folders that every lane has, each 0700 whatever the umask."""
    for name in FOLDERS:
        path = Path(lane_dir, name)
        path.mkdir(exist_ok=True)
        path.chmod(0o700)


def read_json(path: Path, default: Any) -> Any:
    """The JSON in a regular file, or default when there is none or it cannot be parsed."""
    try:
        return read_state(path, object)
    except (FileNotFoundError, LaneError):
        return default


def read_state(path: Path, kind: type = dict) -> Any:
    """The JSON in a file of lane_dir, a value of this kind. Raises LaneError (lane) when it is broken, and
    FileNotFoundError.
    """
    try:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        file = bounded.open_regular(path)
        if file is None:
            raise ValueError("it is not a file that can be read")
        with file:
            found = json.loads(file.read().decode("utf-8"))
        if not isinstance(found, kind):
            raise ValueError(f"it holds {type(found).__name__} and not {kind.__name__}")
        return found
    except (ValueError, RecursionError) as error:
        raise broken(path, error) from None


def broken(path: Path, why: object) -> LaneError:
    """The failure of a command that needs this file of lane_dir."""
    problem = f"cannot read {path}: {why}"
    return LaneError("run_file_broken", "lane", problem, "stop the lane (./lane down) and start it again")


def check_ours(lane_dir: str) -> bool:
    """True when lane_dir is there and is a directory of ours with mode 0700; False when nothing is there.

    Raises LaneError (environment) for a link, a file, a directory of another user, or one that others can enter.
    """
    try:
        found = os.lstat(lane_dir)
    except FileNotFoundError:
        return False
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(found.st_mode):
        problem = "is not a directory"
    elif found.st_uid != os.getuid():
        problem = f"belongs to uid {found.st_uid}"
    elif mode & 0o077:
        problem = f"can be entered by others (mode {mode:04o})"
    else:
        return True
    fix = "the lane's directory must be this user's alone; remove it, or use another lane_id"
    raise LaneError("lane_dir_foreign", "environment", f"{lane_dir} {problem}", fix)


def read_run(lane_dir: str) -> Run:
    """The run that lane_dir belongs to. Raises LaneError (lane) when there is none."""
    path = Path(lane_dir, RUN_FILE)
    try:
        check_ours(lane_dir)
        data = read_state(path)
        return Run(int(data["lane_id"]), str(data["run_id"]), float(data["started"]))
    except FileNotFoundError:
        problem = f"no lane is running in {lane_dir}"
        raise LaneError("lane_not_running", "lane", problem, "start it with ./lane up") from None
    except (ValueError, KeyError, TypeError) as error:
        raise broken(path, f"{type(error).__name__}: {error}") from None


def write_private(path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all, never readable by others, whatever the umask."""
    folder = os.path.dirname(os.fspath(path))
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def hand_over(lane_dir: str, name: str, value: dict[str, Any]) -> None:
    """Keep what a role found out for the roles and commands after it.

    It is stored as lane_dir/handover/NAME.json; a module also returns it as the fact `lane_NAME`.
    """
    data = json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
    write_private(Path(lane_dir, HANDOVER, f"{name}.json"), data)


def handed_over(lane_dir: str) -> dict[str, dict[str, Any]]:
    """All that earlier roles kept, as facts: {"lane_NAME": value}."""
    return {f"lane_{path.stem}": read_state(path) for path in sorted(Path(lane_dir, HANDOVER).glob("*.json"))}
