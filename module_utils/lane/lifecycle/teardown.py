"""Take a lane down: end what carries its mark, remove its directory, and check that nothing stayed."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any

from ..core.errors import LaneError
from ..core.private_dir import RUN_FILE
from ..programs import records, stop
from . import proc
from .run_state import check_elsewhere, owned, programs

#: Attempts to empty the directory while something still writes there.
TRIES = 20


def take_down(
    lane_id: int, lane_dir: str, ports: dict[str, int], *, look_only: bool = False, run_id: str = ""
) -> dict[str, Any]:
    """Returns {"changed", "ended": [names], "removed": [paths]}; changed is False on a clean machine.

    Everything with the mark is killed, all at once: nothing of a lane outlives its directory, the evidence was kept
    before, and a kerbside daemon that gets SIGTERM drains its clients for up to 10 s. The keeper
    stays: `keeper.dismiss` ends it. run_id: only this run of the lane; a later one is left alone. Raises LaneError
    (lane) when something stays or when the lane runs in another directory, and (environment) for a directory that is
    not this lane's.
    """
    try:
        run = owned(lane_id, lane_dir)
    except LaneError:
        # whatever became of the directory, these are that run's
        if run_id and not look_only and (mine := programs(lane_id, run_id)):
            stop.kill_groups({p.group for p in mine})
        raise
    if not run_id:
        check_elsewhere(lane_id, lane_dir)
    there = os.path.lexists(lane_dir) and (not run_id or (run is not None and run.run_id == run_id))
    mine = programs(lane_id, run_id)
    removed = [lane_dir] if there else []
    if look_only:
        return {"changed": there or bool(mine), "ended": sorted({p.name for p in mine}), "removed": removed}
    ended: list[str] = []
    if mine:
        ended = _names(lane_dir if there and run else "", mine)
        stop.kill_groups({p.group for p in mine})
    if rest := programs(lane_id, run_id):  # started while the first list was made
        ended += sorted({p.name for p in rest})
        stop.kill_groups({p.group for p in rest})
    if there:
        remove(lane_dir)
    left = [f"{p.name} (pid {p.pid})" for p in programs(lane_id, run_id)]
    if there and os.path.lexists(lane_dir):
        left.append(lane_dir)
    if there or ended:
        left += [f"a listener on port {port} ({owner})" for port, owner in proc.listeners(ports.values()).items()]
    if left:
        problem = f"lane {lane_id} was taken down, but these are still there: {', '.join(left)}"
        raise LaneError("not_clean", "lane", problem, "end or remove them")
    return {"changed": there or bool(ended), "ended": ended, "removed": removed}


def _names(lane_dir: str, found: list[proc.Process]) -> list[str]:
    """By the lane's records, the last started first; by the process's own name where there is no record."""
    known: dict[int, str] = {}
    if lane_dir:
        with contextlib.suppress(LaneError):  # a broken record keeps nothing up
            known = {entry.group: entry.name for entry in records.records(lane_dir)}
    groups = {p.group for p in found}
    return [name for group, name in reversed(known.items()) if group in groups] + sorted(
        {p.name for p in found if p.group not in known}
    )


def remove(lane_dir: str) -> None:
    """Remove the directory, run.json last: as long as anything of it exists, its owner is known."""
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
