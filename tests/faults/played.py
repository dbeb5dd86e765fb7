"""Runs the lane's own playbook for the fault catalogue, and notes the time of each line of its output."""

import json
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

from whole_lanes import Started, environment

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
        command = [sys.executable, "-m", "ansible", "playbook", f"playbooks/{playbook}", "-e", extra]
        command += ["--tags", tags] if tags else []
        result = artifacts / "result.json"
        begun, verdict_at = time.time(), 0.0
        run = Started([*(before or []), *command], environment(PYTHONUNBUFFERED="1", **(env or {})))
        beside = threading.Thread(target=meanwhile or (lambda: None))
        beside.start()
        ended = False
        while not (ended or verdict_at):
            ended = run.process.poll() is not None or time.time() > begun + LIMIT
            with suppress(FileNotFoundError):
                verdict_at = at if (at := result.stat().st_mtime) >= begun else 0.0
            time.sleep(0.02)
        try:
            rc = run.wait(max(1.0, begun + LIMIT - time.time()))
        except subprocess.TimeoutExpired:
            run.process.terminate()
            rc = run.wait(60)
        beside.join()
        lines = [(begun + at, text) for at, text in zip(run.times, run.lines, strict=True)]
        page = artifacts / "report.html"
        fresh = page.exists() and page.stat().st_mtime >= begun
        last_lines = [at for at, text in lines if text.startswith("LANE ")]
        return Played(
            rc,
            lines,
            verdict_at or (last_lines or [time.time()])[0],
            json.loads(result.read_text()) if verdict_at else {},
            page.read_text() if fresh else "",
        )

    def down(self, artifacts: Path, given: dict[str, Any] | None = None) -> Played:
        return self.play("teardown.yml", artifacts, given=given)
