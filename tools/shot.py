"""`./lane shot`: a screenshot of a running lane, by ryll through kerbside, or else by qemu."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from ansible.module_utils.lane.checks import shot
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.private_dir import RUN_FILE, read_json
from ansible.module_utils.lane.lifecycle import running

from tools import end_quietly, look


def take(lane_id: int, wanted: Path | None) -> str:
    """Take a screenshot and return a line about it.

    Raises LaneError when the lane is not running, or has no picture.
    """
    up = running.running(lane_id)
    file = wanted or Path(read_json(Path(up.dir, RUN_FILE), {})["artifacts_dir"], time.strftime("shot-%H%M%S.png"))
    if file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        why = "it is a directory" if file.is_dir() else "its directory does not exist or is not writable"
        problem = f"cannot write {file}: {why}"
        raise LaneError("not_writable", "environment", problem, "name another file")
    return f"{file}: {shot.take(up.dir, file)}"


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane shot`."""
    end_quietly(signal.SIGINT)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a socket that the peer closes raises an error of its own
    if asked.inventory:
        look.over(asked, "shot", file=asked.file)
    print(take(asked.lane_id, asked.file))
