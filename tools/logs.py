"""`./lane logs`: the logs of a running lane, or of the last run of one that is not running, in the order of time;
all of them or one part.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence.log_excerpt import readable
from ansible.module_utils.lane.evidence.logs import Entry, line_of, lines, moment, part_of
from ansible.module_utils.lane.lifecycle import running

from tools import ROOT, look


def place(lane_id: int) -> tuple[Path, str]:
    """(the folder of a lane's logs, its directory): of the running lane, else of its artifacts, with "" as directory.

    Raises LaneError (lane).
    """
    if up := running.up(lane_id):
        return Path(up.dir, "logs"), up.dir
    kept = ROOT / f"artifacts/lane-{lane_id}/logs"
    if not kept.is_dir():
        problem = f"lane {lane_id} is not running, and there is no {kept}"
        raise LaneError("no_logs", "lane", problem, "see ./lane ps for the lanes that are running")
    return kept, ""


def follow(folder: Path, part: str, lane_dir: str) -> Iterator[Entry]:
    """Yield what is added to the logs from now on, until the lane's directory is removed."""
    read = {path: path.stat().st_size for path in folder.glob("*.log")}
    while Path(lane_dir).exists():
        for path in sorted(folder.glob("*.log")):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(read.get(path, 0))
                for raw in file:
                    if not raw.endswith(b"\n"):
                        break  # the rest of the line comes later
                    read[path] = read.get(path, 0) + len(raw)
                    line = raw.decode(errors="replace")
                    if part in ("", part_of(path, line)):
                        yield Entry(part_of(path, line), moment(line), readable(line).rstrip())
        time.sleep(0.1)


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane logs`."""
    if asked.inventory:
        look.over(asked, "logs", part=asked.part)
    folder, lane_dir = place(asked.lane_id)
    for line in lines(folder, asked.part):
        print(line, flush=True)
    if asked.follow and lane_dir:
        for entry in follow(folder, asked.part, lane_dir):
            print(line_of(entry, asked.part), flush=True)
