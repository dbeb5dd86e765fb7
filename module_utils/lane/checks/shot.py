"""A screenshot of a lane that is up: by ryll through kerbside, or else by qemu."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import LaneError
from ..core.layout import Layout
from ..core.private_dir import read_run, write_private
from ..programs import records
from ..protocols.qmp import Qmp
from ..protocols.ryll import shots
from ..protocols.ryll.client import Client
from ..protocols.ryll.pictures import to_png
from . import outside_checks, picture_compare

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT = 10.0  #: seconds


def by_ryll(lane_dir: str) -> Image:
    """What ryll shows. Raises LaneError (ryll) when it is not running or busy, or has no picture."""
    entry = records.record(lane_dir, "ryll")
    if not entry or not entry.running(read_run(lane_dir)):
        raise LaneError("program_not_running", "ryll", "ryll is not running")
    deadline = time.monotonic() + LIMIT
    with Client(Layout(lane_dir).control_socket) as ryll:
        ryll.open("lane-shot", deadline)
        return shots.now(ryll, deadline)


def take(lane_dir: str, file: Path) -> str:
    """Write a screenshot and return a line about it. Raises LaneError when there is no picture."""
    try:
        picture, whose = by_ryll(lane_dir), "by ryll, through kerbside"
    except LaneError as error:
        with Qmp.connect(Layout(lane_dir).qmp_socket, LIMIT) as qmp:
            picture, whose = outside_checks.screendump(lane_dir, qmp), f"by qemu itself ({error.problem})"
    write_private(file, to_png(picture))
    file.chmod(0o644)
    return f"{picture_compare.size(picture)}, {whose}"
