"""`./lane shot`: a screenshot of a running lane, by ryll through kerbside, or else by qemu."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from ansible.module_utils.lane.checks import outside_checks, picture_compare
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.private_dir import RUN_FILE, read_json, read_run, write_private
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.protocols.qmp import Qmp
from ansible.module_utils.lane.protocols.ryll import session, steps
from ansible.module_utils.lane.protocols.ryll.pictures import to_png

from tools import end_quietly, ps

LIMIT = 10.0  #: seconds


def by_ryll(lane_dir: str, file: Path) -> str:
    """Write ryll's screenshot to the file and return its size. Raises LaneError (ryll) when ryll is not running or busy, or has no picture."""
    entry = records.record(lane_dir, "ryll")
    if not entry or not entry.running(read_run(lane_dir)):
        raise LaneError("program_not_running", "ryll", "ryll is not running")
    asked = [{"hello": {}}, {"screenshot": {"file": str(file)}}]
    settings = session.Settings(f"{lane_dir}/ryll.sock", client_name="lane-shot", limit=LIMIT)
    seen = session.run(settings, steps.plan(asked, LIMIT))["transcript"][-1]["seen"]
    return f"{seen['width']}x{seen['height']}"


def by_qemu(lane_dir: str, file: Path) -> str:
    """Write qemu's screenshot to the file and return its size. Raises LaneError (qemu)."""
    with Qmp.connect(f"{lane_dir}/qmp.sock", LIMIT) as qmp:
        picture = outside_checks.screendump(lane_dir, qmp)
    write_private(file, to_png(picture))
    return str(picture_compare.size(picture))


def take(lane_id: int, wanted: Path | None) -> str:
    """Take a screenshot and return a line about it. Raises LaneError when the lane is not running, or has no picture."""
    up = ps.running(lane_id)
    file = wanted or Path(read_json(Path(up.dir, RUN_FILE), {})["artifacts_dir"], time.strftime("shot-%H%M%S.png"))
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise LaneError("not_writable", "environment", f"cannot write {file}: its directory does not exist or is not writable", "name another file")
    try:
        size, whose = by_ryll(up.dir, file), "by ryll, through kerbside"
    except LaneError as error:
        size, whose = by_qemu(up.dir, file), f"by qemu itself ({error.problem})"
    file.chmod(0o644)
    return f"{file}: {size}, {whose}"


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane shot`."""
    end_quietly(signal.SIGINT)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a socket that the peer closes raises an error of its own
    print(take(asked.lane_id, asked.file))
