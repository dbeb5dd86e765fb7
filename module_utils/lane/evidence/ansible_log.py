"""Ansible's log of one command, as it is kept with the evidence.

`./lane` names it by LANE_ANSIBLE_LOG; it is Ansible's own log_path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..core.private_dir import RUN_FILE, read_json

LOG = "LANE_ANSIBLE_LOG"
FILE = "ansible.log"


def append(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """Add to a log, which is made with this mode if it is not there."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode), "ab") as file:
        file.write(data)


def of_run(path: Path, run: dict[str, Any]) -> bool:
    """Whether a JSON file was written by this run.

    A lane on another machine has no files here, but another lane of the same name may have.
    """
    return bool(run.get("run_id")) and read_json(path, {}).get("run_id") == run["run_id"]


def local_dir(run: dict[str, Any]) -> Path | None:
    """The directory of the run's lane, if the lane is up on this machine. run: what the module lane_run returned, or
    {}.
    """
    found = Path(run.get("dir") or "/nowhere")
    return found if of_run(found / RUN_FILE, run) else None


def keep(log: Path, kept: int, run: dict[str, Any], artifacts: Path | None) -> None:
    """Add to the artifacts what Ansible logged after the first `kept` bytes, which the evidence has; to a lane that
    stays up, all of it.

    A log that the secret scan withheld is not in the artifacts; nothing is added then.
    """
    data = log.read_bytes()
    copy = artifacts / "logs" / FILE if artifacts and of_run(artifacts / "result.json", run) else None
    if copy and copy.exists():
        append(copy, data[kept:], 0o644)
    if lane_dir := local_dir(run):
        append(lane_dir / "logs" / FILE, data, 0o600)
