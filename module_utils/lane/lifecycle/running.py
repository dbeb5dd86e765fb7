"""The lanes that are running on this machine, as /proc and their run.json show them. Nothing is changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..core.private_dir import RUN_FILE
from . import proc, run_state

ROW = "{:>4}  {:23}  {:>8}  {:>5}  {:>8}  {:30}  {}"


@dataclass(frozen=True)
class Running:
    """One run. age: seconds, None without its directory; memory: sum of PSS in KiB; state: who holds it."""

    lane_id: int
    run_id: str
    dir: str
    age: float | None
    ports: list[int]
    processes: int
    memory: int
    state: str


def lanes() -> list[Running]:
    """Every run with a live process of this user, by lane id."""
    runs: dict[str, list[proc.Process]] = {}
    for process, mark in proc.marks():
        if mark.partition("/")[0].isdigit():
            runs.setdefault(mark, []).append(process)
    found = [_up(mark, processes) for mark, processes in runs.items()]
    return sorted(found, key=lambda one: (one.lane_id, one.run_id))


def up(lane_id: int) -> Running | None:
    """The run of a lane; None when it is not running."""
    return next((one for one in lanes() if one.lane_id == lane_id and one.dir), None)


def running(lane_id: int) -> Running:
    """The run of a lane. Raises LaneError (lane) when it is not running."""
    if found := up(lane_id):
        return found
    raise run_state.not_running(lane_id)


def _up(mark: str, processes: list[proc.Process]) -> Running:
    lane_id, _, run_id = mark.partition("/")
    pids = [p.pid for p in processes]
    homes = {proc.environ(pid, "HOME") or "" for pid in pids}
    lane_dir = next((home for home in homes if Path(home, RUN_FILE).exists()), "")
    held = run_state.holder(lane_dir) if lane_dir else None
    began = run_state.recorded(lane_dir).get("started") if lane_dir else None
    age = round(time.time() - began, 1) if began else None
    state = "left over" if not lane_dir or (held and not held.alive) else held.words if held else "without a keeper"
    if held and held.alive and not any(proc.environ(pid, run_state.KEEPER) for pid in pids):
        state += ", its keeper has ended"
    inodes = proc.socket_inodes(pids)
    ports = sorted({c.local[1] for c in proc.connections() if c.state == proc.LISTEN and c.inode in inodes})
    return Running(int(lane_id), run_id, lane_dir, age, ports, len(pids), sum(memory(pid) for pid in pids), state)


def memory(pid: int) -> int:
    """The proportional set size in KiB (proc(5), smaps_rollup); 0 when the process has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


def table(found: list[Running]) -> str:
    """As a table for the terminal."""
    if not found:
        return "no lane is running"
    rows = [ROW.format("lane", "run", "age", "procs", "memory", "ports", "state")]
    for one in found:
        ports = " ".join(map(str, one.ports)) or "none"
        age = "?" if one.age is None else f"{int(one.age) // 3600}:{int(one.age) // 60 % 60:02}:{int(one.age) % 60:02}"
        size = f"{one.memory / 1024:.0f} MiB"
        rows.append(ROW.format(one.lane_id, one.run_id, age, one.processes, size, ports, one.state))
    return "\n".join(rows)
