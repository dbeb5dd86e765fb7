"""Locks between commands of one user: flock(2) on files in a directory that nobody else can enter, so that no other
user can hold a lane off.

The kernel releases a lock as soon as its holder has ended, however that was. The empty file stays for the next one.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LaneError

POLL = 0.02  #: seconds between two attempts


@contextmanager
def held(path: str | os.PathLike[str], limit: float, busy: LaneError) -> Iterator[None]:
    """Hold the lock of this file, which is made (0600) if it is not there, while the block runs.

    Raises `busy` when somebody else holds it for `limit` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    end = time.monotonic() + limit
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > end:
                raise busy
            time.sleep(POLL)
        yield
    finally:
        os.close(descriptor)


def folder() -> Path:
    """The directory of this user's locks, mode 0700.

    It does not depend on HOME, the checkout or a login session, since two commands that do not meet in it would both
    get a lock: it is below the home directory that the user database names. A user without a usable one (some
    containers) gets a directory in XDG_RUNTIME_DIR or /tmp. Raises LaneError (environment) when there is none that only
    this user can enter.
    """
    tried = []
    for parent, name in _candidates():
        place = parent / name
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            found = place.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                place.chmod(0o700)
                if os.access(place, os.W_OK | os.X_OK):
                    return place
            tried.append(f"{place} belongs to uid {found.st_uid}, or is not a writable directory")
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
    problem = f"cannot make a private directory for the lane's locks ({'; '.join(tried)})"
    raise LaneError("no_lock_directory", "environment", problem, "set XDG_RUNTIME_DIR to a directory of this user")


def _candidates() -> Iterator[tuple[Path, str]]:
    """(an existing directory, the name in it)."""
    with suppress(KeyError):
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        with suppress(OSError):
            (home / ".cache").mkdir(mode=0o700, exist_ok=True)
        yield home / ".cache", "kerbside-lane-locks"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime), "kerbside-lane-locks"
    yield Path("/tmp"), f"kerbside-lane-locks-{os.getuid()}"
