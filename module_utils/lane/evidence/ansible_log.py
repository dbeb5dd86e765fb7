"""Ansible's own output in a file instead of on the terminal: `./lane` without -v. LANE_ANSIBLE_LOG names the file as long as there is one."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ..core.errors import clock

LOG = "LANE_ANSIBLE_LOG"
FILE = "ansible.log"


def divert(display: Any, path: str) -> None:
    """Have all that Ansible's Display shows written to this file from now on: plain, each message with its time."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    show = display.display

    def write(msg: str, color: str | None = None, *_: Any, screen_only: bool = False, caplevel: int | None = None, **__: Any) -> None:
        if display._final_q:  # in a worker: the process that has the terminal gets it
            show(msg, color=color, screen_only=screen_only, caplevel=caplevel)
        elif not screen_only:
            with contextlib.suppress(OSError):  # a full disk is told by whoever needs it
                os.write(file, stamped(msg))
            show(msg, color=color, log_only=True, caplevel=caplevel)  # for ANSIBLE_LOG_PATH

    display.display = write


def stamped(text: str) -> bytes:
    """The message as it stands in the log; its first line begins with the time."""
    body = text.strip("\r\n")
    return f"{clock(time.time())} {body}\n".encode(errors="replace") if body.strip() else b""


def append(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """Add to a log, which is made with this mode if it is not there."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode), "ab") as file:
        file.write(data)
