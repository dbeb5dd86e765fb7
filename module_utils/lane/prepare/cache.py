"""The lane's cache: shared by lanes that may fill it at the same time, and trusted, because programs are run from it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from ..core.errors import legacy_error

#: pip's settings for reaching an index; those that say where or what to install would change what comes.
PIP_KEEP = (
    "PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_CERT PIP_CLIENT_CERT PIP_PROXY PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT "
    "PIP_TIMEOUT PIP_RETRIES PIP_CONFIG_FILE PIP_CACHE_DIR PIP_NO_CACHE_DIR PIP_KEYRING_PROVIDER"
).split()


@contextlib.contextmanager
def locked(root: Path, name: str, limit: float) -> Iterator[None]:
    """One builder of `name` at a time, also of other lanes; the lock ends with its holder. Raises LaneError when it is not free within `limit` seconds."""
    make_private(root)
    lock = root / f".lock-{name}"

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise legacy_error("environment", f"another lane to finish with {name} within {limit:g} s", "it still holds the lock", str(lock))

    with open(lock, "w", encoding="utf-8") as file:
        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        yield


def make_private(folder: Path) -> None:
    """Make the cache's folder; refuse one that others can write to, because the lane runs programs from it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & 0o022:
        got = f"it belongs to uid {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}"
        raise legacy_error("environment", f"{folder} to be writable by this user only", got, "lane_cache_dir")
