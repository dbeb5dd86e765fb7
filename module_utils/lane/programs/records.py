"""What is known of the lane's started programs: lane_dir/processes/NAME.json and NAME.status, and what /proc says of
them.

A record counts only as long as a process of the group that it names carries the mark of the record's run: a pid may be
a stranger's by now.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core import bounded
from ..core.private_dir import MARK, Run, broken, read_state, write_private
from ..evidence import log_excerpt
from ..lifecycle import proc
from .program import Fatal, Program
from .readiness import Ready

RECORDS = "processes"
#: Seconds from the end of a program until its exit status is written, at the most; milliseconds were seen.
STATUS_WAIT = 2.0
POLL = 0.02
#: Only the end of a longer log is read.
LOG_END = 65536


@dataclass
class Record:
    """A program that was started. mark: that of its run. counters: what limits.counters() returned at its start."""

    name: str
    component: str
    group: int
    started: float
    sequence: int
    digest: str
    log: str
    log_start: int
    stop_signal: str
    oneshot: bool
    ready_seconds: float | None = None
    limit: float = 30.0
    mark: str = ""
    fatal: Fatal | None = None
    counters: dict[str, int] = field(default_factory=dict)

    def save(self, lane_dir: str) -> None:
        write_private(_folder(lane_dir) / f"{self.name}.json", json.dumps(asdict(self), indent=1).encode())

    @property
    def pid(self) -> int | None:
        """The program itself, which is the supervisor shell's child; None when it has ended."""
        return next((p.pid for p in self.members() if p.parent == self.group), None)

    def members(self, found: list[proc.Process] | None = None) -> list[proc.Process]:
        """The live processes of the group (found: as /proc was just read); none when no one carries the mark."""
        members = proc.group_members(self.group) if found is None else found
        return members if any(proc.environ(p.pid, MARK) == self.mark for p in members) else []

    def running(self, run: Run) -> bool:
        """Whether the group still exists and is this run's."""
        return self.mark == run.mark and bool(self.members())

    def exit_status(self, lane_dir: str) -> int | None:
        """128 + n after signal n; None while it runs, or when the supervisor shell was killed with it."""
        text = status_file(lane_dir, self.name)
        return read_state(text, int) if text.exists() and text.stat().st_size else None

    def last_status(self, lane_dir: str) -> int | None:
        """The exit status of a program that has ended, for which its supervisor shell may need a moment yet."""
        until = time.monotonic() + STATUS_WAIT
        while self.exit_status(lane_dir) is None and self.pid is None and self.members() and time.monotonic() < until:
            time.sleep(POLL)
        return self.exit_status(lane_dir)

    def log_lines(self) -> list[str]:
        """The lines that the program wrote since its start, from the last LOG_END bytes."""
        begin, data = bounded.tail(self.log, LOG_END)
        return data[max(self.log_start - begin, 0) :].decode("utf-8", errors="replace").splitlines()

    def said(self) -> str:
        """What its log says about a failure, as the end of a sentence."""
        words = log_excerpt.telling(self.log_lines())
        return f": {words}" if words else " and wrote nothing to its log"

    @property
    def evidence(self) -> str:
        """The log, with the number of its last line."""
        try:
            with open(self.log, "rb") as file:
                count = sum(1 for _ in file)
        except FileNotFoundError:
            return self.log
        return f"{self.log}:{count}" if count else self.log


def _folder(lane_dir: str) -> Path:
    folder = Path(lane_dir, RECORDS)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def status_file(lane_dir: str, name: str) -> Path:
    """Where the supervisor shell writes the exit status."""
    return Path(lane_dir, RECORDS, f"{name}.status")


def records(lane_dir: str) -> list[Record]:
    """All programs that were started in this lane, in the order of their start."""
    found = []
    for path in Path(lane_dir, RECORDS).glob("*.json"):
        values = read_state(path)
        try:
            found.append(Record(**{**values, "fatal": Fatal(**values["fatal"]) if values["fatal"] else None}))
        except (KeyError, TypeError) as error:
            raise broken(path, f"{type(error).__name__}: {error}") from None
    return sorted(found, key=lambda r: r.sequence)


def record(lane_dir: str, name: str) -> Record | None:
    """What is known of one program, or None when it was never started."""
    return next((r for r in records(lane_dir) if r.name == name), None)


def describe(lane_dir: str, programs: Collection[Program]) -> None:
    """Keep how the roles start these programs, so that a suite can start them again, as they were or with changes.

    A description holds the paths of secrets and no secrets.
    """
    for program in programs:
        write_private(_folder(lane_dir) / f"{program.name}.program", json.dumps(asdict(program)).encode())


def described(lane_dir: str, name: str) -> Program | None:
    """The program as a role described it last, or None."""
    path = Path(lane_dir, RECORDS, f"{name}.program")
    if not path.exists():
        return None
    kept = read_state(path)
    for key in ("secret_env", "secret_files"):
        kept[key] = {what: tuple(source) for what, source in kept[key].items()}
    kept["fatal"] = Fatal(**kept["fatal"]) if kept["fatal"] else None
    kept.update(argv=tuple(kept["argv"]), after=tuple(kept["after"]), ready=Ready(**kept["ready"]))
    return Program(**kept)


def remove(lane_dir: str, names: Collection[str]) -> None:
    """Remove the records of programs that have done their work and ended. Their logs stay."""
    for name in names:
        (_folder(lane_dir) / f"{name}.json").unlink(missing_ok=True)
        status_file(lane_dir, name).unlink(missing_ok=True)


def ended_how(status: int | None) -> str:
    """A clause for an exit status: "was killed by SIGKILL", "ended with status 1"."""
    if status is None:
        return "was killed with its whole process group (no exit status)"
    if status - 128 in {*signal.Signals}:
        return f"was killed by {signal.Signals(status - 128).name}"
    return f"ended with status {status}"
