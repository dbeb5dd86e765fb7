"""A run as `./lane` shows it without -v: the callback plugin's events as lines on the terminal, Ansible's own output in a log (docs/red-lane.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..core.errors import one_line
from ..core.private_dir import RUN_FILE, read_json
from . import ansible_log
from .terminal import Terminal

LONGEST = 100  #: characters of a note
CLAIM = "claim"  #: what comes before the first role
#: Phases whose programs write a log of the machine's.
ELSEWHERE = {"deps": (Path("/var/log/dpkg.log"),)}


class Quiet:
    """One run. log: the file for what Ansible says; display: Ansible's; check: nothing is changed, so that phases tell what they would do."""

    def __init__(self, log: str, display: Any, live: bool, paint: Callable[[str, str], str], check: bool) -> None:
        self.log = Path(log)
        ansible_log.divert(display, log)
        self.terminal = Terminal(live, paint, self._last_line)
        self._check = check
        self._run: dict[str, Any] = {}
        self._kept = 0
        self._task = ""
        self._begin(CLAIM)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._started, self._since = time.time(), time.monotonic()
        self._notes: list[str] = []
        self._failed = ""
        self._done = False
        self.terminal.begin(phase)

    def phase(self, name: str) -> None:
        """The phase so far is over, and this one begins."""
        self.end()
        self._begin(name)

    def task(self, name: str) -> None:
        """A task begins, with its name as Ansible gives it: `role : name`."""
        self._task = name.removeprefix(f"{self._phase} : ")
        self.terminal.step(self._task)

    def note(self, text: str) -> None:
        """Words for the phase's line."""
        self._notes.append(text)

    def result(self, values: dict[str, Any], warnings: Iterable[str]) -> None:
        """A task was done, well or not."""
        self._done = True
        for text in warnings:
            self.terminal.say(f"warning: {text}", "bright purple")
        if self._check and values.get("changed"):
            self._notes.append(f"would {self._task[:1].lower()}{self._task[1:]}")
        elif note := values.get("lane_note"):
            self._notes.append(one_line(str(note), LONGEST))
        if run := (values.get("ansible_facts") or {}).get("lane_run"):
            self._run = run
        self._kept = values.get("lane_ansible_kept") or self._kept

    def failed(self, values: dict[str, Any], warnings: Iterable[str]) -> None:
        """A task failed, and nobody minds the failure."""
        self.result(values, warnings)
        check = (values.get("lane_failure") or {}).get("check")
        self._failed = self._failed or (f"check {check}" if check else self._task)

    def end(self) -> None:
        """Show the phase, if it came to anything."""
        seconds = time.monotonic() - self._since
        if self._failed:
            self.terminal.end(seconds, f"FAILED: {self._failed}", "red")
        elif self._done and self._phase != CLAIM:
            self.terminal.end(seconds, ", ".join(self._notes))

    def keep(self, artifacts: Path | None) -> None:
        """Keep the log: with the artifacts what came after the evidence, unless that part of it was held back; with a lane that stays up all of it."""
        said = self.log.read_bytes()
        kept = artifacts / "logs" / ansible_log.FILE if artifacts and self._mine(artifacts / "result.json") else None
        if kept and kept.exists():
            ansible_log.append(kept, said[self._kept :], 0o644)
        if lane_dir := self._lane_dir():
            ansible_log.append(lane_dir / "logs" / ansible_log.FILE, said, 0o600)

    def _mine(self, path: Path) -> bool:
        """Whether a file tells of this run: on another machine's lane, what is here by that name is none of it."""
        return bool(self._run.get("run_id")) and read_json(path, {}).get("run_id") == self._run["run_id"]

    def _lane_dir(self) -> Path | None:
        found = Path(self._run.get("dir") or "/nowhere")
        return found if self._mine(found / RUN_FILE) else None

    def _last_line(self) -> str:
        from . import logs  # not before it is wanted

        lane_dir = self._lane_dir()
        return logs.last_line(lane_dir, self._started, ELSEWHERE.get(self._phase, ())) if lane_dir else ""
