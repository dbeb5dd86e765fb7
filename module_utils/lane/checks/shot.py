"""A screenshot of a lane that is up: by ryll through kerbside, or else by qemu."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import LaneError
from ..core.layout import Layout
from ..core.private_dir import read_run, write_private
from ..programs import records
from ..protocols.qmp import Qmp
from ..protocols.ryll import session, steps
from ..protocols.ryll.pictures import to_png
from . import outside_checks, picture_compare

LIMIT = 10.0  #: seconds


def by_ryll(lane_dir: str, file: Path) -> str:
    """Write ryll's screenshot to the file and return its size.

    Raises LaneError (ryll) when ryll is not running or busy, or has no picture.
    """
    entry = records.record(lane_dir, "ryll")
    if not entry or not entry.running(read_run(lane_dir)):
        raise LaneError("program_not_running", "ryll", "ryll is not running")
    asked = [{"hello": {}}, {"screenshot": {"file": str(file)}}]
    settings = session.Settings(Layout(lane_dir).control_socket, client_name="lane-shot", limit=LIMIT)
    seen = session.run(settings, steps.plan(asked, LIMIT))["transcript"][-1]["seen"]
    return f"{seen['width']}x{seen['height']}"


def by_qemu(lane_dir: str, file: Path) -> str:
    """Write qemu's screenshot to the file and return its size. Raises LaneError (qemu)."""
    with Qmp.connect(Layout(lane_dir).qmp_socket, LIMIT) as qmp:
        picture = outside_checks.screendump(lane_dir, qmp)
    write_private(file, to_png(picture))
    return picture_compare.size(picture)


def take(lane_dir: str, file: Path) -> str:
    """Write a screenshot and return a line about it. Raises LaneError when there is no picture."""
    try:
        size, whose = by_ryll(lane_dir, file), "by ryll, through kerbside"
    except LaneError as error:
        size, whose = by_qemu(lane_dir, file), f"by qemu itself ({error.problem})"
    file.chmod(0o644)
    return f"{size}, {whose}"
