"""What claim, keeper and teardown know of a run: who holds it, whose its directory is, which processes are its own.

Nothing here changes anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import LaneError
from ..core.private_dir import HANDOVER, RUN_FILE, Run, check_ours, read_json, read_run
from . import proc

#: In the environment of all that an ansible-playbook starts, "<pid>-<random>"; set by plugins/callback/lane.py.
OWNER = "LANE_OWNER"
#: The pids of the scripts above ansible-playbook, separated by blanks; each `./lane` adds itself.
SCRIPTS = "LANE_SCRIPTS"
#: In lane_dir: touched by a command on another machine as long as it goes on (plugins/action/lane_heartbeat.py).
HEARTBEAT = "heartbeat"
#: In lane_dir: the ansible-playbook that works on the lane, or did last.
AT_WORK = "command.json"
#: In the environment of a keeper, beside the mark.
KEEPER = "LANE_KEEPER"


@dataclass(frozen=True)
class Watched:
    """A process that must live as long as the run. `started` is in clock ticks since boot, as in proc.Process."""

    pid: int
    started: int
    name: str

    @property
    def alive(self) -> bool:
        found = proc.read(self.pid)
        return found is not None and found.alive and found.started == self.started


@dataclass(frozen=True)
class Order:
    """What a keeper is started with. watched: empty for a lane that keeps running until its lease, in seconds since its
    last use, is over.

    heartbeat: seconds in which a command on another machine touches HEARTBEAT at least once; 0 where it does not.
    owner: the value of LANE_OWNER. command: the id of the ansible-playbook command (core/check_report.py). timeline,
    verdict_file, ansible_log: files of ansible-playbook and of `./lane`, or ""; they stay behind when those are killed.
    """

    lane_id: int
    run_id: str
    started: float
    lane_dir: str
    artifacts_dir: str
    ports: dict[str, int]
    lease: float
    watched: list[Watched]
    owner: str
    timeline: str
    verdict_file: str
    planned: list[Any]
    versions: dict[str, str]
    ansible_log: str = ""
    command: str = ""
    heartbeat: float = 0.0

    @property
    def bound(self) -> bool:
        """Whether the run ends with the command that made it."""
        return bool(self.watched or self.heartbeat)

    @property
    def run(self) -> Run:
        return Run(self.lane_id, self.run_id, self.started)

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Order:
        """From the JSON of a keeper's command line."""
        return cls(**{**given, "watched": [Watched(**w) for w in given["watched"]]})


@dataclass(frozen=True)
class Holder:
    """Who holds a lane, as run.json says: its keeper, and what that was started with.

    used: when a command last used the lane. beaten: when a command on another machine last gave a sign of life.
    """

    keeper: Watched
    order: Order
    used: float
    beaten: float

    @property
    def alive(self) -> bool:
        """Whether the command that started the run goes on, or the lease of a run that stays is not over."""
        if self.order.heartbeat:
            return time.time() < self.beaten + self.order.heartbeat
        watched = self.order.watched
        return all(w.alive for w in watched) if watched else time.time() < self.used + self.order.lease

    @property
    def words(self) -> str:
        if self.order.heartbeat:
            return "run by ansible-playbook on another machine"
        for first in self.order.watched:
            return f"run by {first.name} (pid {first.pid})"
        return f"kept until {time.strftime('%H:%M:%S', time.localtime(self.used + self.order.lease))}"


def recorded(lane_dir: str) -> dict[str, Any]:
    """run.json as it stands; {} when there is none that can be read."""
    found = read_json(Path(lane_dir, RUN_FILE), {})
    return found if isinstance(found, dict) else {}


def holder(lane_dir: str) -> Holder | None:
    """Who holds the lane in this directory; None for one without a keeper."""
    try:
        data = recorded(lane_dir)["held"]
        used = Path(lane_dir, RUN_FILE).stat().st_mtime
        beat = Path(lane_dir, HEARTBEAT)
        beaten = beat.stat().st_mtime if beat.exists() else used
        return Holder(Watched(**data["keeper"]), Order.parse(data["order"]), used, beaten)
    except (FileNotFoundError, KeyError, TypeError):
        return None


def at_work(lane_dir: str) -> Watched | None:
    """Another ansible-playbook of this machine that works on this lane; None when there is none."""
    try:
        found = Watched(**read_json(Path(lane_dir, AT_WORK), {}))
    except TypeError:
        return None
    return found if found.alive and found.pid not in proc.own_line() else None


def owned(lane_id: int, lane_dir: str) -> Run | None:
    """The run that lane_dir belongs to; None when nothing is there, or a directory that a run was about to fill or has
    all but removed.

    Raises LaneError (environment) for whatever is not this user's, not a lane's, or another lane's: it must not be
    removed.
    """
    if not check_ours(lane_dir):
        return None
    if not Path(lane_dir, RUN_FILE).exists():
        # private_dir.write_private; a module that Ansible ran on another machine after the lane was taken down there
        names = [name for name in os.listdir(lane_dir) if not name.startswith(".new-")]
        if strange := [name for name in names if not _of_ansible(Path(lane_dir, name))]:
            problem = f"{lane_dir} is not a lane's directory: it holds {sorted(strange)[0]} and no {RUN_FILE}"
            raise LaneError("lane_dir_foreign", "environment", problem, "set lane_dir to another path")
        return None
    try:
        run = read_run(lane_dir)
    except LaneError as error:
        if error.code == "run_file_broken" and Path(lane_dir, HANDOVER).is_dir():  # a lane's, and nobody's run
            return None
        raise
    if run.lane_id != lane_id:
        problem = f"{lane_dir} belongs to lane {run.lane_id}, not to lane {lane_id}"
        fix = f"set another lane_dir, or -e lane_id={run.lane_id}"
        raise LaneError("lane_dir_foreign", "environment", problem, fix)
    return run


def _of_ansible(path: Path) -> bool:
    """Whether this is Ansible's folder for modules in lane_dir (ansible_remote_tmp), with nothing else in it."""
    return path.name == "tmp" and path.is_dir() and all(name.startswith("ansible-tmp-") for name in os.listdir(path))


def homes(lane_id: int) -> list[str]:
    """The directories that the live processes of a lane belong to, wherever a lane of this number runs."""
    named = {proc.environ(p.pid, "HOME") or "" for p in proc.marked(lane_id)}
    return sorted(home for home in named if home and Path(home, RUN_FILE).exists())


def check_elsewhere(lane_id: int, lane_dir: str) -> None:
    """Raise LaneError (lane) when the lane runs in another directory than this one."""
    if other := [home for home in homes(lane_id) if os.path.realpath(home) != os.path.realpath(lane_dir)]:
        problem = f"lane {lane_id} runs in {', '.join(other)}, not in {lane_dir}"
        raise LaneError("lane_elsewhere", "lane", problem, f"add -e lane_dir={other[0]}, or use another lane_id")


def not_running(lane_id: int) -> LaneError:
    """The failure of a command that needs a lane that is running."""
    mine = f" -e lane_id={lane_id}" if lane_id else ""
    return LaneError("lane_not_running", "lane", f"lane {lane_id} is not running", f"start it with ./lane up{mine}")


def keepers(lane_id: int, run_id: str = "") -> list[proc.Process]:
    """The live keepers of a lane, of one run of it if that is named."""
    return [p for p in proc.marked(lane_id, run_id) if proc.environ(p.pid, KEEPER)]


def programs(lane_id: int, run_id: str = "") -> list[proc.Process]:
    """The processes with the lane's mark, except its keeper, this process and its ancestors."""
    line = proc.own_line()
    return [p for p in proc.marked(lane_id, run_id) if p.pid not in line and not proc.environ(p.pid, KEEPER)]


def until(holds: Callable[[], bool], limit: float) -> bool:
    """Poll every 50 ms until it holds; False when it did not within `limit` seconds."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
