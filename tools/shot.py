"""A picture now, of a lane that is up: `./lane shot`. ryll's, as it came through kerbside, or else the one that qemu draws."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ansible.module_utils.lane.checks import outside_checks, picture_compare
from ansible.module_utils.lane.core.errors import LaneError, legacy_error
from ansible.module_utils.lane.core.private_dir import RUN_FILE, read_json, read_run, write_private
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.protocols.qmp import Qmp
from ansible.module_utils.lane.protocols.ryll import session, steps
from ansible.module_utils.lane.protocols.ryll.pictures import to_png

from tools import ps

LIMIT = 10.0  #: seconds


def by_ryll(lane_dir: str, file: Path) -> str:
    """Have ryll's picture in the file, and return its size. Raises LaneError (ryll) when it is not up, serves somebody else or gives none."""
    entry = records.record(lane_dir, "ryll")
    if not entry or not entry.running(read_run(lane_dir)):
        raise legacy_error("ryll", "ryll to be up", "ryll is not up")
    asked = [{"hello": {}}, {"screenshot": {"file": str(file)}}]
    settings = session.Settings(f"{lane_dir}/ryll.sock", client_name="lane-shot", limit=LIMIT)
    seen = session.run(settings, steps.plan(asked, LIMIT))["transcript"][-1]["seen"]
    return f"{seen['width']}x{seen['height']}"


def by_qemu(lane_dir: str, file: Path) -> str:
    """Have qemu's picture in the file, and return its size. Raises LaneError (qemu)."""
    with Qmp.connect(f"{lane_dir}/qmp.sock", LIMIT) as qmp:
        picture = outside_checks.screendump(lane_dir, qmp)
    write_private(file, to_png(picture))
    return picture_compare.size(picture)


def take(lane_id: int, wanted: Path | None) -> str:
    """Take a picture and say where it is, its size and whose it is. Raises LaneError when the lane is not up, or nobody has one."""
    up = ps.up(lane_id)
    if up is None:
        raise legacy_error("environment", f"lane {lane_id} to be up", "it is not", "./lane ps")
    file = wanted or Path(read_json(Path(up.dir, RUN_FILE), {})["artifacts_dir"], time.strftime("shot-%H%M%S.png"))
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise legacy_error("environment", f"a directory to write {file} into", "it is not there or not writable")
    try:
        size, whose = by_ryll(up.dir, file), "by ryll, through kerbside"
    except LaneError as error:
        size, whose = by_qemu(up.dir, file), f"by qemu itself ({error.problem})"
    file.chmod(0o644)
    return f"{file}: {size}, {whose}"


def main() -> None:
    """Entry point of `./lane shot`."""
    parser = argparse.ArgumentParser(prog="./lane shot", description="A picture now, of a lane that is up: by ryll through kerbside, or else by qemu.")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a PNG file (default: shot-HHMMSS.png in the lane's artifacts)")
    ps.add_lane_option(parser)
    asked = parser.parse_args()
    try:
        print(take(asked.lane_id, asked.file))
    except LaneError as error:
        print(f"lane: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
