"""report.html: a run's evidence on one page, made from what lies in its artifacts folder. `./lane report [-e lane_id=N]` makes it again.

The page needs nothing but itself: style, script and pictures are in it. All text in it comes from files that were searched for the run's secrets before
(docs/verdict.md), and is escaped by Jinja2. It is made where Ansible runs, because Jinja2 is there.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from ..core.errors import legacy_error
from ..core.private_dir import read_json
from . import logs

FILE = "report.html"
#: Lines of one part that the page holds at most; the last ones, since a failure is at the end.
LINES = 1500
#: The order in which parts are shown, as the picture travels; other logs follow.
PARTS = ("ansible", "checks", "serial", "qemu", "database", "api", "daemon", "proxy", "ryll")
PICTURES = {"screenshot.png": "The guest's screen, as ryll sees it through kerbside", "screendump.png": "The same moment, as qemu itself drew it"}


@dataclass(frozen=True)
class Bar:
    """One row of the timeline. start, seconds: from the beginning of the run; kind: phase, program or check; state: a word for people."""

    kind: str
    name: str
    start: float
    seconds: float
    state: str


def write(artifacts: Path) -> Path:
    """Make the page of a folder with a result.json and return its path. Raises LaneError (artifacts) when there is none that can be read."""
    try:
        result = json.loads((artifacts / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise legacy_error("artifacts", f"a result.json in {artifacts}", f"{error}") from None
    path = artifacts / FILE
    path.write_text(page(result, artifacts), encoding="utf-8")
    return path


def page(result: dict[str, Any], artifacts: Path) -> str:
    """The page as text."""
    began = logs.moment(result["started"]) or 0.0
    entries = logs.of_folder(artifacts / "logs")
    counts = Counter(entry.part for entry in entries)
    bars = timeline(result, artifacts, began)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        result=result,
        passed=sum(check["result"] == "pass" for check in result["checks"]),
        bars=bars,
        whole=max([bar.start + bar.seconds for bar in bars] + [result["seconds"], 0.001]),
        entries=kept(entries),
        began=began,
        parts=sorted(counts, key=lambda part: (PARTS.index(part) if part in PARTS else len(PARTS), part)),
        counts=counts,
        left_out={part: count - LINES for part, count in counts.items() if count > LINES},
        limit=LINES,
        missing=[part for part in ("serial", "qemu", "database", "api", "daemon", "ryll") if not (artifacts / f"logs/{part}.log").exists()],
        pictures=[(words, _data_url(artifacts / name)) for name, words in PICTURES.items() if (artifacts / name).exists()],
        counters=counters(result),
    )


def timeline(result: dict[str, Any], artifacts: Path, began: float) -> list[Bar]:
    """Phases, programs from their start to their being ready, and checks, by their start. What has no start time is left out."""
    bars = [Bar("phase", p["name"], p["started"] - began, p["seconds"], "") for p in result["phases"] if "started" in p]
    for program in read_json(artifacts / "logs/processes.json", []):
        start = (logs.moment(program["started"]) or began) - began
        ready = program["ready_seconds"]
        ended = "" if program["running"] else f"ended with status {program['exit_status']}" if program["exit_status"] is not None else "gone"
        bars.append(Bar("program", program["name"], start, ready or 0.0, ended or ("ready" if ready is not None else "never ready")))
    for step in read_json(artifacts / "logs/smoke.json", {}).get("transcript", []):
        if "started" in step:
            bars.append(Bar("check", str(step.get("name")), step["started"] - began, step.get("seconds", 0.0), str(step.get("result"))))
    return sorted((bar for bar in bars if bar.start > -1), key=lambda bar: bar.start)


def kept(entries: list[logs.Entry]) -> list[logs.Entry]:
    """The entries without those that are too many: of each part the last LINES."""
    left: Counter[str] = Counter()
    found = []
    for entry in reversed(entries):
        left[entry.part] += 1
        if left[entry.part] <= LINES:
            found.append(entry)
    return found[::-1]


def counters(result: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, before, after) of the proxy's counters, as the check `counters` saw them; empty when it did not run."""
    detail = next((check["detail"] or {} for check in result["checks"] if check["name"] == "counters"), {})
    before, after = detail.get("before") or {}, detail.get("after") or {}
    return [(name, before.get(name, 0), after.get(name, 0)) for name in sorted({*before, *after})]


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
