"""What of a lane is up: `./lane status`. Everything comes from /proc and the lane's directory; nothing is changed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.core.private_dir import RUN_FILE, Run, handed_over, read_run
from ansible.module_utils.lane.evidence import verdict
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import loss, records

from tools import ps

ROW = "  {:12} {:10} {:>8}  {:9}  {:24} {}"


@dataclass(frozen=True)
class Row:
    """One program. state: ready, starting, done, stopped or lost (with its exit status); age: seconds since its start."""

    name: str
    component: str
    pid: int | None
    age: float
    state: str
    ports: list[int]


def rows(lane_dir: str, run: Run) -> list[Row]:
    """The lane's programs in the order of their start."""
    listening = [c for c in proc.connections() if c.state == proc.LISTEN]
    lost = {gone.entry.name: gone.problem for gone in loss.lost(lane_dir)}
    found = []
    for entry in records.records(lane_dir):
        members = entry.members() if entry.mark == run.mark else []
        inodes = proc.socket_inodes([p.pid for p in members])
        ports = sorted({c.local[1] for c in listening if c.inode in inodes})
        found.append(Row(entry.name, entry.component, entry.pid if members else None, time.time() - entry.started, state(entry, lost), ports))
    return found


def state(entry: records.Record, lost: dict[str, str]) -> str:
    """A word for the program; `lost` with the reason is what must not be."""
    if entry.name in lost:
        return f"lost: {lost[entry.name]}"
    if entry.ready_seconds is None:
        return "starting"
    return "done" if entry.oneshot else "ready"


def tell(lane_id: int, up: ps.Up, run: Run, found: list[Row], result: dict[str, Any] | None) -> str:
    """For people."""
    known = handed_over(up.dir)
    guest, accel = known.get("lane_guest", {}).get("name", "not booted"), known.get("lane_accel", {}).get("chosen", "not chosen")
    lines = [
        f"lane {lane_id}: run {run.run_id}, up since {time.strftime('%H:%M:%S', time.localtime(run.started))}, {up.state}; guest {guest}, accelerator {accel}"
    ]
    lines.append(ROW.format("program", "part", "pid", "seconds", "state", "ports"))
    for row in found:
        lines.append(ROW.format(row.name, row.component, row.pid or "-", f"{row.age:.0f}", row.state, " ".join(map(str, row.ports))).rstrip())
    lines.append(f"last verdict: {verdict.line(result)}" if result else "no check of this run has come to a verdict")
    return "\n".join(lines)


def main() -> None:
    """Entry point of `./lane status`. Exit status: 0 everything is at work, 1 something is lost, 2 no such lane is up."""
    parser = argparse.ArgumentParser(prog="./lane status", description="What of a lane is up. Exit status: 0 all of it, 1 something is lost, 2 it is not up.")
    ps.add_lane_option(parser)
    lane_id = parser.parse_args().lane_id
    up = ps.up(lane_id)
    if up is None:
        print(f"lane {lane_id} is not up")
        sys.exit(2)
    run = read_run(up.dir)
    found = rows(up.dir, run)
    artifacts = json.loads(Path(up.dir, RUN_FILE).read_text(encoding="utf-8")).get("artifacts_dir", "")
    print(tell(lane_id, up, run, found, verdict.of_run(artifacts, run) if artifacts else None))
    sys.exit(int(any(row.state.startswith("lost") for row in found)))


if __name__ == "__main__":
    main()
