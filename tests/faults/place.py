"""Where a fault happens, and how what was done there is undone."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import records

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass
class Place:
    """Where a fault happens: the lane, a scratch folder, and what replaces the words in braces in the catalogue.

    prefix: words to put before the command that runs the lane, for what surrounds the whole run.
    """

    lane_id: int
    lane_dir: Path
    scratch: Path
    guests_file: Path
    cache_dir: Path
    undoing: list[Callable[[], None]] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)

    @property
    def words(self) -> dict[str, str]:
        first = 17900 + 10 * self.lane_id
        ports = ("proxy_port", "proxy_plain_port", "api_port", "metrics_port", "spice_port", "unused_port")
        words = {name: str(first + n) for n, name in enumerate(ports)}
        words |= {"scratch": str(self.scratch), "lane_dir": str(self.lane_dir), "lane_id": str(self.lane_id)}
        words |= {"here": str(HERE), "python": sys.executable}
        for name, file, key in (
            ("ticket", "secrets/spice_ticket", ""),
            ("ryll", "handover/ryll.json", "path"),
            ("kerbside_bin", "handover/kerbside.json", "bin"),
        ):
            path = self.lane_dir / file
            if path.exists():
                words[name] = json.loads(path.read_text())[key] if key else path.read_text()
        if (ca := self.lane_dir / "tls/ca.pem").exists():
            words["ca"] = ca.read_text().replace("\n", "\\n")  # as a .vv has it
        return words

    def fill(self, value: Any) -> Any:
        """The value with every {word} replaced."""
        if isinstance(value, str):
            for name, text in self.words.items():
                value = value.replace("{" + name + "}", text)
            return value
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        return {k: self.fill(v) for k, v in value.items()} if isinstance(value, dict) else value

    def undo(self) -> None:
        """Revert what the actions changed."""
        while self.undoing:
            self.undoing.pop()()

    def group(self, program: str) -> int:
        """The process group of one of the lane's programs, which has to be running."""
        group = live_group(self.lane_dir, program)
        if group is None:
            raise LookupError(f"{program} does not run in lane {self.lane_id}")
        return group


def live_group(lane_dir: Path, program: str) -> int | None:
    """The process group of a program of the lane in this directory; None when nothing of it is running."""
    entry = records.record(str(lane_dir), program)
    return entry.group if entry and proc.group_members(entry.group) else None


def ryll_script(rules: dict[str, Any], ryll: str) -> str:
    """A shell script that stands in for ryll: programs/ryll.py with these rules, before the real one at `ryll`."""
    return f"#!/bin/sh\nexec {sys.executable} {HERE}/programs/ryll.py '{json.dumps(rules)}' {ryll} \"$@\"\n"
