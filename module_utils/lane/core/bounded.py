"""Read files that somebody else writes: never more than a limit, never from a pipe, a device or through a symbolic
link.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO


def open_regular(path: str | os.PathLike[str]) -> BinaryIO | None:
    """The file, open for reading; None when it is missing or anything but a regular file. Never blocks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


def tail(path: str | os.PathLike[str], limit: int) -> tuple[int, bytes]:
    """(bytes left out, the last `limit` bytes from the beginning of a line); (0, b"") without a regular file."""
    if (file := open_regular(path)) is None:
        return 0, b""
    with file:
        start = max(os.fstat(file.fileno()).st_size - limit, 0)
        file.seek(start)
        data = file.read(limit)
    if start and (first := data.find(b"\n") + 1):
        start, data = start + first, data[first:]
    return start, data


def since(path: str | os.PathLike[str], start: int, limit: int) -> str:
    """The next `limit` bytes of a regular file after the first `start`, or from its beginning when it is shorter: then
    it was begun anew.
    """
    if (file := open_regular(path)) is None:
        return ""
    with file:
        file.seek(start if start <= os.fstat(file.fileno()).st_size else 0)
        return file.read(limit).decode("utf-8", errors="replace")


def ends(path: str | os.PathLike[str], head: int, rest: int) -> bytes | None:
    """The file as it is, or its first `head` and last `rest` bytes, cut at lines, with a line between them that says
    how much was left out.

    None when there is no such regular file.
    """
    if (file := open_regular(path)) is None:
        return None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size <= head + rest:
            return file.read(head + rest)
        start = file.read(head)
    start = start[: start.rfind(b"\n") + 1] or start
    skipped, end = tail(path, rest)
    return start + f"\n[{skipped - len(start)} of {size} bytes are left out here]\n".encode() + end
