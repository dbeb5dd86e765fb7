"""Runs the lane's own playbook for the fault catalogue, and notes the time of each line of its output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"
LIMIT = 240  # seconds for one run of the playbook; the slowest took 40


@dataclass
class Played:
    """One run of ansible-playbook. Times are unix times.

    verdict_at: when result.json was there, or else when the last line came. page: the text of this run's report.html,
    "" when it made none.
    """

    rc: int
    lines: list[tuple[float, str]]
    verdict_at: float
    result: dict[str, Any]
    page: str

    @property
    def line(self) -> str:
        """The lane's last line, "LANE PASS ..." or "LANE FAIL component: cause", or ""."""
        return next((text for _, text in reversed(self.lines) if text.startswith("LANE ")), "")

    @property
    def component(self) -> str | None:
        """Which component is blamed, in the last line and in result.json alike; None for a pass."""
        found = re.match(r"LANE FAIL (\w+): ", self.line)
        return found[1] if found else None

    @property
    def code(self) -> str | None:
        return (self.result.get("blame") or {}).get("code")

    @property
    def cause(self) -> str:
        return self.line.partition(": ")[2]

    @property
    def green(self) -> bool:
        """Whether exit status, last line and result.json all say pass, and every check of the plan was made, unless the
        plan itself was changed.
        """
        checks = self.result.get("checks", [])
        whole = len(checks) == self.result.get("checks_planned") or bool(self.result.get("plan_changed"))
        passed = self.rc == 0 and self.line.startswith("LANE PASS") and self.result.get("verdict") == "pass"
        return passed and whole and {check["result"] for check in checks} == {"pass"}

    def when(self, pattern: str) -> float | None:
        """The time of the first line that matches."""
        return next((at for at, text in self.lines if re.search(pattern, text)), None)

    def tail(self) -> str:
        return "\n".join(text for _, text in self.lines[-25:])


@dataclass
class Lane:
    """A lane with an id of its own. plant: variables given to every run, to see whether the catalogue notices a gap."""

    id: int
    plant: dict[str, Any] = field(default_factory=dict)
    dir: Path = field(init=False)

    def __post_init__(self) -> None:
        self.dir = Path(f"/tmp/kerbside-lane-{self.id}")

    def play(
        self,
        playbook: str,
        artifacts: Path,
        tags: str | None = None,
        given: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        before: list[str] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Played:
        """Run a playbook of the checkout with these tags and variables.

        `before` is put before the command, `meanwhile` runs beside it.
        """
        values = {"lane_id": self.id, "lane_guest": "pocket", "lane_artifacts_dir": str(artifacts)}
        extra = json.dumps({**values, **self.plant, **(given or {})})
        command = [*(before or []), sys.executable, "-m", "ansible", "playbook", f"playbooks/{playbook}", "-e", extra]
        command += ["--tags", tags] if tags else []
        foreign = ("ANSIBLE_", "LANE_", "PYTHONPATH", "PYTHONHOME")
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        surroundings |= {"LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"}
        surroundings |= env or {}
        begun = time.time()
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            lines: list[tuple[float, str]] = []
            seen: list[float] = []
            over = threading.Event()
            watch = threading.Thread(target=_await_result, args=(artifacts / "result.json", begun, over, seen))
            beside = threading.Thread(target=meanwhile or (lambda: None))
            guard = threading.Timer(LIMIT, process.terminate)
            for thread in (watch, beside, guard):
                thread.start()
            try:
                assert process.stdout
                for line in process.stdout:
                    lines.append((time.time(), line.rstrip("\n")))
                rc = process.wait()
            finally:
                guard.cancel()
                over.set()
                for thread in (watch, beside):
                    thread.join()
        result: dict[str, Any] = {}
        page = ""
        if seen:
            result = json.loads((artifacts / "result.json").read_text())
        with suppress(FileNotFoundError):
            if (artifacts / "report.html").stat().st_mtime >= begun:
                page = (artifacts / "report.html").read_text()
        last_lines = [at for at, text in lines if text.startswith("LANE ")]
        return Played(rc, lines, (seen or last_lines or [time.time()])[0], result, page)

    def up(self, artifacts: Path) -> Played:
        return self.play("lane.yml", artifacts, UP)

    def down(self, artifacts: Path, given: dict[str, Any] | None = None) -> Played:
        return self.play("teardown.yml", artifacts, given=given)


def _await_result(path: Path, begun: float, over: threading.Event, seen: list[float]) -> None:
    """Note the time at which a result.json of this run is there."""
    while True:
        last = over.is_set()
        with suppress(FileNotFoundError):
            if (at := path.stat().st_mtime) >= begun:
                seen.append(at)
                return
        if last:
            return
        time.sleep(0.02)
