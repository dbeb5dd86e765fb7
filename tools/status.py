"""`./lane status`: the programs of a running lane, as /proc and the lane's directory show them. Nothing is changed."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils.lane.core.private_dir import Run, handed_over, read_run
from ansible.module_utils.lane.evidence import verdict
from ansible.module_utils.lane.lifecycle import proc, run_state, running
from ansible.module_utils.lane.programs import loss, records

ROW = "  {:12} {:10} {:>8}  {:9}  {:24} {}"


@dataclass(frozen=True)
class Row:
    """One program. state: ready, starting, done, stopped or lost (with its exit status); age: seconds since its
    start.
    """

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
        pid, age = entry.pid if members else None, time.time() - entry.started
        found.append(Row(entry.name, entry.component, pid, age, state(entry, lost), ports))
    return found


def state(entry: records.Record, lost: dict[str, str]) -> str:
    """One word, and the reason for `lost`, which is a fault."""
    if entry.name in lost:
        return f"lost: {lost[entry.name]}"
    if entry.ready_seconds is None:
        return "starting"
    return "done" if entry.oneshot else "ready"


def text(lane_id: int, up: running.Running, run: Run, found: list[Row], result: dict[str, Any] | None) -> str:
    """For people."""
    known = handed_over(up.dir)
    guest = known.get("lane_guest", {}).get("name", "not booted")
    accel = known.get("lane_accel", {}).get("chosen", "not chosen")
    since = time.strftime("%H:%M:%S", time.localtime(run.started))
    lines = [f"lane {lane_id}: run {run.run_id}, running since {since}, {up.state}; guest {guest}, accelerator {accel}"]
    lines.append(ROW.format("program", "part", "pid", "seconds", "state", "ports"))
    for row in found:
        ports = " ".join(map(str, row.ports))
        line = ROW.format(row.name, row.component, row.pid or "-", f"{row.age:.0f}", row.state, ports)
        lines.append(line.rstrip())
    lines.append(f"last verdict: {verdict.line(result)}" if result else "there is no verdict of this run")
    return "\n".join(lines)


def main(asked: argparse.Namespace) -> int:
    """Entry point of `./lane status`. Exit status: 0 every program runs, 1 one is lost, 2 the lane is not running."""
    up = running.running(asked.lane_id)
    run = read_run(up.dir)
    found = rows(up.dir, run)
    artifacts = run_state.recorded(up.dir).get("artifacts_dir", "")
    result = verdict.of_run(artifacts, run) if artifacts else None
    if asked.json:
        print(json.dumps({**asdict(up), "programs": [asdict(row) for row in found], "result": result}, indent=1))
    else:
        print(text(asked.lane_id, up, run, found, result))
    return int(any(row.state.startswith("lost") for row in found))
