"""The artifacts directory: whose it is, and how the results of earlier commands are moved away so that none can pass
for a new one.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core import check_report
from ..core.errors import PRODUCT, LaneError, clock
from ..core.private_dir import Run
from ..evidence import check_results, verdict
from . import proc, run_state

#: Names the run that made the directory.
MARK_FILE = ".lane"
#: In a directory with nothing but the result of a command that was refused.
REFUSED = ".refused"
#: What a judging command writes anew; of a lane that keeps running, the rest stays.
RESULTS = ("result.json", "junit.xml", "report.html", "screenshot.png", "screendump.png")


def check(artifacts_dir: str) -> None:
    """Raise LaneError when the artifacts would go to a directory that holds something else."""
    names = os.listdir(artifacts_dir) if os.path.isdir(artifacts_dir) else []
    if names and not {MARK_FILE, verdict.RESULT} & set(names):
        problem = f"{artifacts_dir} holds {sorted(names)[0]} and was not made by a lane"
        fix = "set lane_artifacts_dir to an empty or a new directory"
        raise LaneError("artifacts_dir_foreign", "environment", problem, fix)


def within(artifacts_dir: str, lane_dir: str) -> bool:
    """Whether the artifacts would be in the lane's directory, which teardown removes."""
    folder, lane = os.path.normpath(artifacts_dir), os.path.normpath(lane_dir)
    return f"{folder}/".startswith(f"{lane}/")


def claim(artifacts_dir: str, run: Run) -> None:
    """An artifacts directory for this run; one that is this run's already stays as it is.

    Raises LaneError (lane) when it belongs to another run that goes on.
    """
    mark = Path(artifacts_dir, MARK_FILE)
    if (live := _live_run(artifacts_dir)) and live != run.run_id:
        problem = f"run {live} keeps its evidence in {artifacts_dir}"
        raise LaneError("artifacts_in_use", "lane", problem, "set lane_artifacts_dir to another directory")
    if not mark.exists() or run.run_id not in mark.read_text(encoding="utf-8"):
        put_away(artifacts_dir)
        os.makedirs(artifacts_dir, exist_ok=True)
        mark.write_text(f"Made by the kerbside lane, run {run.run_id}; replaced by the next run.\n", encoding="utf-8")


def begin(lane_dir: str, artifacts_dir: str, fresh: bool) -> bool:
    """Move the results of earlier commands to NAME.previous; False when this command must not write there: a live run
    does that it has no part in.

    fresh: a new run is wanted, which a lane that is running refuses: then everything of that lane stays. Otherwise this
    command goes on with the lane that is running, and only RESULTS are moved. Call it before anything can fail.
    """
    if not os.path.isabs(artifacts_dir) or within(artifacts_dir, lane_dir):
        return False  # claim refuses it
    if not os.path.isdir(artifacts_dir):
        return True
    check(artifacts_dir)
    live = _live_run(artifacts_dir)
    if not live:
        put_away(artifacts_dir)
        return True
    holder = run_state.holder(lane_dir)
    bound = holder and holder.order.bound and holder.alive
    if fresh or bound or run_state.at_work(lane_dir) or run_state.recorded(lane_dir).get("run_id") != live:
        return False
    put_away(artifacts_dir, RESULTS)
    return True


def _live_run(artifacts_dir: str) -> str:
    """The id of the run that made the directory, as long as a process with its mark is there; else ""."""
    try:
        found = re.search(r"\brun (\S+);", Path(artifacts_dir, MARK_FILE).read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1] if found and any(mark.endswith(f"/{found[1]}") for _, mark in proc.marks()) else ""


def put_away(artifacts_dir: str, names: tuple[str, ...] = ()) -> None:
    """Move the directory, or only these files of it, to NAME.previous, in place of what is there."""
    check(artifacts_dir)
    artifacts_dir = os.path.normpath(artifacts_dir)
    there = set(os.listdir(artifacts_dir) if os.path.isdir(artifacts_dir) else [])
    if not names and REFUSED in there:  # of a command that never had a run: the evidence in NAME.previous is worth more
        gone = f"{artifacts_dir}.{os.getpid()}"  # all at once: another lane that was refused may be writing there
        os.rename(artifacts_dir, gone)
        shutil.rmtree(gone)
        return
    if not there.intersection(names or there):
        return
    previous = Path(f"{artifacts_dir}.previous")
    if previous.is_dir():
        check(str(previous))
        shutil.rmtree(previous)
    if not names:
        os.rename(artifacts_dir, previous)
        return
    previous.mkdir()
    previous.joinpath(MARK_FILE).touch()
    for name in there.intersection(names):
        os.rename(os.path.join(artifacts_dir, name), previous / name)


def refuse(
    artifacts_dir: str,
    lane_id: int | str,
    failure: dict[str, Any],
    planned: Sequence[Any],
    phases: Sequence[dict[str, Any]] = (),
) -> dict[str, str]:
    """Write result.json for a command that was refused before it had a run, or whose machine was lost in one of these
    phases.

    Returns the `lane_verdict` of the module.

    Raises ValueError for a lane_id that is no number: then there is no lane to write for.
    """
    now = clock(time.time())
    result = {
        "schema": verdict.SCHEMA,
        "lane_id": int(lane_id),
        "run_id": "",
        "command_id": check_report.command_id(),
        "verdict": "fail" if failure["component"] in PRODUCT else "error",
        "started": clock(phases[0]["started"]) if phases else now,
        "finished": now,
        "seconds": round(time.time() - phases[0]["started"], 2) if phases else 0.0,
        "accel": {"chosen": None, "reason": None},
        "guests": [],
        "versions": {},
        "origins": {},
        "phases": list(phases),
        "checks_planned": len(planned),
        "plan_changed": None,
        "checks": check_results.entries([], check_results.planned_keys(list(planned), None), None),
        "blame": {"phase": "claim", "check": None, "evidence": None, **failure},
    }
    os.makedirs(artifacts_dir, exist_ok=True)
    if not os.listdir(artifacts_dir):
        Path(artifacts_dir, REFUSED).touch()
        Path(artifacts_dir, "logs").mkdir()
    verdict.save(artifacts_dir, result)
    return verdict.shown(result, artifacts_dir)
