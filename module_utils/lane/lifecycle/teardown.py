"""Take a lane down: end what carries its mark, remove its directory, and look whether anything stayed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from ..core.errors import LaneError, legacy_error
from ..core.private_dir import RUN_FILE, Run, check_ours, read_run
from ..programs import records, stop
from . import keeper, proc

#: Times that the directory is emptied again when something was still writing there.
TRIES = 20


def take_down(lane_id: int, lane_dir: str, ports: dict[str, int], limit: float, *, look_only: bool = False, run_id: str = "") -> dict[str, Any]:
    """Returns {"changed", "ended": [names], "removed": [paths]}; changed is False on a clean machine.

    Whatever carries the mark is killed, all at once: nothing of a lane outlives its directory, the evidence was kept before, and a kerbside daemon that is
    asked to end drains its clients for up to 10 s (facts/kerbside.md 8). The keeper stays: `keeper.dismiss` ends it.
    run_id: only this run of the lane; one that came after it is left alone.
    Raises LaneError (lane) when something stays, and (environment) for a directory that is no lane's or another lane's.
    """
    try:
        run = owned(lane_id, lane_dir)
    except LaneError:
        if run_id and not look_only and (mine := programs(lane_id, run_id)):  # whatever became of the directory, these are that run's
            stop.end_groups({p.group for p in mine}, signal.SIGKILL, limit)
        raise
    there = os.path.lexists(lane_dir) and (not run_id or (run is not None and run.run_id == run_id))
    mine = programs(lane_id, run_id)
    if look_only:
        return {"changed": there or bool(mine), "ended": sorted({p.name for p in mine}), "removed": [lane_dir] if there else []}
    ended: list[str] = []
    if mine:
        ended = _names(lane_dir if there and run else "", mine)
        stop.end_groups({p.group for p in mine}, signal.SIGKILL, limit)
    if rest := programs(lane_id, run_id):  # started while the first look was taken
        ended += sorted({p.name for p in rest})
        stop.end_groups({p.group for p in rest}, signal.SIGKILL, limit)
    if there:
        remove(lane_dir)
    left = [f"{p.name} (pid {p.pid})" for p in programs(lane_id, run_id)]
    if there and os.path.lexists(lane_dir):
        left.append(lane_dir)
    if there or ended:
        left += [f"a listener on port {port} ({owner})" for port, owner in proc.listeners(ports.values()).items()]
    if left:
        raise legacy_error("lane", f"nothing of lane {lane_id} to stay", f"these did: {', '.join(left)}", "ps -eo pid,pgid,stat,args")
    return {"changed": there or bool(ended), "ended": ended, "removed": [lane_dir] if there else []}


def _names(lane_dir: str, found: list[proc.Process]) -> list[str]:
    """What was found, by the names that the lane's records give it, the last started first, and by its own where they do not know it."""
    known = {entry.group: entry.name for entry in (records.records(lane_dir) if lane_dir else [])}
    groups = {p.group for p in found}
    return [name for group, name in reversed(known.items()) if group in groups] + sorted({p.name for p in found if p.group not in known})


def programs(lane_id: int, run_id: str = "") -> list[proc.Process]:
    """What carries the lane's mark, but for its keeper, this process and those above it."""
    line = proc.own_line()
    return [p for p in proc.marked(lane_id, run_id) if p.pid not in line and not proc.environ(p.pid, keeper.KEEPER)]


def owned(lane_id: int, lane_dir: str) -> Run | None:
    """The run that lane_dir belongs to; None when nothing is there, or a directory that a run was about to fill or has all but removed.

    Raises LaneError (environment) for whatever is not this user's, not a lane's, or another lane's: it will not be removed.
    """
    if not check_ours(lane_dir):
        return None
    if not Path(lane_dir, RUN_FILE).exists():
        strange = [name for name in os.listdir(lane_dir) if not name.startswith(".new-")]  # workdir.write_private
        if strange:
            raise legacy_error("environment", f"{lane_dir} to be a lane's or empty", f"it holds {sorted(strange)[0]} and no {RUN_FILE}", f"ls -la {lane_dir}")
        return None
    run = read_run(lane_dir)
    if run.lane_id != lane_id:
        raise legacy_error("environment", f"{lane_dir} to be of lane {lane_id}", f"it is of lane {run.lane_id}", f"lane_dir, or -e lane_id={run.lane_id}")
    return run


def remove(lane_dir: str) -> None:
    """Remove the directory, run.json last: as long as anything of it is there it can be told whose it is."""
    last = os.path.join(lane_dir, RUN_FILE)
    for _ in range(TRIES):
        for entry in list(os.scandir(lane_dir)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.path != last:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)
        if os.listdir(lane_dir) in ([], [RUN_FILE]):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(last)
            os.rmdir(lane_dir)
            return
