"""The lane's private directory: who it belongs to, and what roles hand on through it."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import legacy_error

#: Every process of a lane has this in its environment: KERBSIDE_LANE=<lane_id>/<run_id>.
MARK = "KERBSIDE_LANE"
RUN_FILE = "run.json"
HANDOVER = "handover"
ALONE_LIMIT = 30.0  #: seconds until another command has made or removed the lane; clearing one whose keeper is at it takes the longest, 13 at most


@dataclass(frozen=True)
class Run:
    """One run of one lane, as written in lane_dir/run.json."""

    lane_id: int
    run_id: str
    started: float

    @property
    def mark(self) -> str:
        return f"{self.lane_id}/{self.run_id}"


def hold_name(names: Sequence[str], limit: float, waiting: Callable[[], None] = lambda: None) -> socket.socket | None:
    """Hold the first of these names of the abstract namespace (unix(7)) that is or gets free, until the socket is closed; None after `limit` seconds.

    No file stays of it, and it is free as soon as its process is gone. `waiting` is called once, when none is free at first.
    """
    held, end, told = socket.socket(socket.AF_UNIX), time.monotonic() + limit, False
    while True:
        for name in names:
            with suppress(OSError):
                held.bind(f"\0{name}")
                return held
        if time.monotonic() > end:
            held.close()
            return None
        if not told:
            waiting()
            told = True
        time.sleep(0.02)


@contextmanager
def alone(lane_id: int) -> Iterator[None]:
    """No other command of this user makes or removes this lane while the block runs. Raises LaneError (environment) when it does not become free."""
    name = f"kerbside-lane-{os.getuid()}-{lane_id}"
    held = hold_name([name], ALONE_LIMIT)
    if held is None:
        got = f"another command has been making or removing it for {ALONE_LIMIT:g} s"
        raise legacy_error("environment", f"lane {lane_id} to be free", got, f"grep {name} /proc/net/unix")
    with held:
        yield


def read_json(path: Path, default: Any) -> Any:
    """What the file holds, or default when it is not there or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return default


def check_ours(lane_dir: str) -> bool:
    """True when lane_dir is there and is a directory of ours with mode 0700; False when nothing is there.

    Raises LaneError (component environment) for a link, a file, a directory of someone else, or one that others can enter.
    """
    try:
        found = os.lstat(lane_dir)
    except FileNotFoundError:
        return False
    expected = f"{lane_dir} to be a private directory of this user (uid {os.getuid()}, mode 0700)"
    if stat.S_ISLNK(found.st_mode):
        raise legacy_error("environment", expected, "it is a symbolic link", f"ls -ld {lane_dir}")
    if not stat.S_ISDIR(found.st_mode):
        raise legacy_error("environment", expected, "it is not a directory", f"ls -ld {lane_dir}")
    if found.st_uid != os.getuid():
        raise legacy_error("environment", expected, f"it belongs to uid {found.st_uid}; take another lane_id", f"ls -ld {lane_dir}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise legacy_error("environment", expected, f"its mode is {mode:04o}", f"ls -ld {lane_dir}")
    return True


def read_run(lane_dir: str) -> Run:
    """The run that lane_dir belongs to. Raises LaneError (component lane) when there is none."""
    path = Path(lane_dir, RUN_FILE)
    try:
        check_ours(lane_dir)
        data = json.loads(path.read_text(encoding="utf-8"))
        return Run(int(data["lane_id"]), str(data["run_id"]), float(data["started"]))
    except FileNotFoundError:
        raise legacy_error("lane", f"a lane in {lane_dir}", "none is up there", "./lane up") from None
    except (ValueError, KeyError, TypeError) as error:
        raise legacy_error("lane", f"{path} to describe the run", f"it cannot be read ({error})", str(path)) from None


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


def hand_over(lane_dir: str, name: str, value: dict[str, Any]) -> bool:
    """Keep what a role found out for the roles and commands after it; True when it differs from what was kept.

    It is stored as lane_dir/handover/NAME.json; a module also returns it as the fact `lane_NAME`.
    """
    path = Path(lane_dir, HANDOVER, f"{name}.json")
    data = json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, data)
    return True


def handed_over(lane_dir: str) -> dict[str, dict[str, Any]]:
    """All that earlier roles kept, as facts: {"lane_NAME": value}."""
    return {f"lane_{path.stem}": json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(lane_dir, HANDOVER).glob("*.json"))}
