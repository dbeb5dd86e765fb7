"""report.html: a run's evidence on one page, made from what is in its artifacts folder.

`./lane report [FOLDER]` makes it again.

The page needs nothing but itself: style, script and pictures are in it; its links lead to the files beside it. All text
in it comes from files that were searched for the run's secrets before (docs/verdict.md), and is escaped by Jinja2. It
is made where Ansible runs, because Jinja2 is there.
"""

from __future__ import annotations

import html
import json
import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import LaneError
from ..core.private_dir import read_json
from . import check_results, log_excerpt, logs, report_figures, verdict
from .page import render

FILE = "report.html"
LINE = 400  #: characters of a log line that are shown
TEXT = 150_000  #: bytes of all log lines together in the page, which has at most 400 kB
ROW = 80  #: bytes that a line costs besides its text
SAME = 0.01  #: seconds by which two times of one moment may differ
GAP = 2.0  #: seconds without a line of any part that the log shows
DETAIL = 8_000  #: characters of a check's detail
#: The order in which parts are shown, as the picture travels; other logs follow.
PARTS = ("ansible", "checks", "serial", "qemu", "database", "api", "daemon", "proxy", "ryll")
WARNING = re.compile(r"\bwarn(ing)?\b", re.IGNORECASE)
#: A task that failed, as Ansible's log says it, or the list of tasks.
FATAL = re.compile(r"\bfatal: \[|: failed after ")


@dataclass(frozen=True)
class Bar:
    """One row of the timeline. start, seconds: from the beginning of the run; kind: phase, program or check; state:
    in words; bad: it failed.
    """

    kind: str
    name: str
    start: float
    seconds: float
    state: str = ""
    bad: bool = False


def write(artifacts: Path) -> Path:
    """Make the page of a folder with a result.json and return its path.

    Raises LaneError (artifacts) when there is none that can be read.
    """
    path = artifacts / FILE
    try:
        result = json.loads((artifacts / "result.json").read_text(encoding="utf-8"))
        schema = result["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"there is no result.json in {artifacts} that can be read: {error}"
        raise LaneError("no_result", "artifacts", problem, "run the lane, or name another folder") from None
    if schema != verdict.SCHEMA:
        problem = f"{artifacts}/result.json has schema {schema}, not {verdict.SCHEMA}"
        raise LaneError("no_result", "artifacts", problem, "run the lane again")
    try:
        path.write_text(page(result, artifacts), encoding="utf-8", errors="replace")
    # a result.json of somebody else's making, a full disk, or a bug: in any case no bare traceback
    except Exception as error:
        path.unlink(missing_ok=True)
        problem = f"{path} could not be made: {type(error).__name__}: {error}"
        raise LaneError("report_failed", "artifacts", problem, "read result.json instead") from error
    return path


def page(result: dict[str, Any], artifacts: Path) -> str:
    """The page as text."""
    began = logs.moment(str(result["started"])) or 0.0
    entries = logs.of_folder(artifacts / "logs")
    counts = Counter(entry.group for entry in entries)
    marked = failure(result, entries)
    shown = fitting(entries, marked)
    bars = timeline(result, artifacts, began)
    room = report_figures.Room(artifacts)
    return render(
        "report.html.j2",
        result=result,
        word="PASS" if result["verdict"] == "pass" else "FAIL",  # as in the last line
        score=verdict.score(result),
        stage=verdict.stage(result),
        bars=bars,
        whole=max([bar.start + bar.seconds for bar in bars] + [result["seconds"], 0.001]),
        rows=rows(entries, shown, marked),
        marked=marked,
        line=LINE,
        began=began,
        parts=sorted(counts, key=_rank),
        counts=counts,
        left_out=counts - Counter(entry.group for entry in shown),
        files=files(artifacts),
        evidence=_file(result, artifacts),
        overruled=overruled(result, artifacts),
        screens=report_figures.screens(room, result["guests"]),
        strips=report_figures.strips(room, result["checks"]),
        plots=report_figures.plots(result["checks"]),
        groups=groups(result),
        severity=severity,
    )


def _rank(group: str) -> tuple[int, str]:
    """Where a group of lines stands among the others."""
    part = group.partition(" ")[0]
    return (PARTS.index(part) if part in PARTS else len(PARTS), group)


def groups(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """suite on guest -> its checks, each with its reason, the failure that it follows from, and its detail in words."""
    found: dict[str, list[dict[str, Any]]] = {}
    follows = check_results.consequences(result["checks"], result["blame"])
    for check, why in zip(result["checks"], follows, strict=True):
        shown = {**check, "reason": reason(check), "follows": why, "text": _detail(check)}
        found.setdefault(f"{check['suite']} on {check['guest'] or 'no guest'}", []).append(shown)
    return found


def severity(text: str) -> str:
    """error, warning or "" for a line of a log."""
    if log_excerpt.ERROR.search(text):
        return "error"
    return "warning" if WARNING.search(text) else ""


def reason(check: dict[str, Any]) -> str:
    """Why a check failed, in a sentence; "" for one that did not."""
    detail = check["detail"]
    words = f"{detail['expected']}: {detail['got']}" if "got" in detail else "it gave no reason"
    return str(detail.get("cause") or words) if check["result"] == "fail" else ""


def _detail(check: dict[str, Any]) -> str:
    text = json.dumps(check["detail"], indent=1, ensure_ascii=False) if check["detail"] else ""
    return text if len(text) <= DETAIL else f"{text[:DETAIL]}\n... ({len(text)} characters; the rest is in result.json)"


def files(artifacts: Path) -> list[str]:
    """The files of the run below the artifacts, but for the page itself."""
    found = (path for path in artifacts.rglob("*") if path.is_file() and not path.is_symlink())
    names = {str(path.relative_to(artifacts)) for path in found} - {FILE}
    return sorted((name for name in names if name[0] != "."), key=lambda name: ("/" in name, name))[:300]


def _file(result: dict[str, Any], artifacts: Path) -> str:
    """The file with the evidence of the failure, where it is there to be linked."""
    name = str((result["blame"] or {}).get("evidence") or "").partition(":")[0]
    inside = name and not os.path.isabs(name) and ".." not in Path(name).parts
    return name if inside and (artifacts / name).is_file() else ""


def overruled(result: dict[str, Any], artifacts: Path) -> dict[str, Any] | None:
    """Whom the failed task blamed, where the evidence showed that another part is at fault (diagnosis.json)."""
    notes = read_json(artifacts / "logs/diagnosis.json", {})
    if not result["blame"] or not notes.get("rule") or notes["first"]["component"] == result["blame"]["component"]:
        return None
    return {**notes["first"], "rule": notes["rule"]}


def failure(result: dict[str, Any], entries: list[logs.Entry]) -> list[logs.Entry]:
    """Where the failure is in the log, at most two lines: the first is where the log opens.

    They are the line that the blame names as its evidence, and the end of the check or else of the task that failed. A
    line of the serial port has no time and stands far from what happened meanwhile, so the end then comes first.
    """
    blame = result["blame"]
    if not blame:
        return []
    place = str(blame["evidence"]).removeprefix("logs/")
    evidence = [entry for entry in entries if entry.place == place][:1]
    ends = [
        check["started"] + check["seconds"]
        for check in result["checks"]
        if check["result"] == "fail" and check["name"] == blame["check"] and check["started"]
    ]
    ended = [
        entry
        for entry in entries
        if entry.part == "checks"
        and entry.text.startswith(f"{blame['check']}: ")
        and any(entry.at is not None and abs(entry.at - end) < SAME for end in ends)
    ] or [entry for entry in entries if entry.part == "ansible" and FATAL.search(entry.text)]
    lines = [*evidence, *ended[:1]]
    return lines[::-1] if evidence and evidence[0].at is None else lines


def rows(
    entries: list[logs.Entry], shown: list[logs.Entry], marked: list[logs.Entry]
) -> list[tuple[logs.Entry, float, int | None]]:
    """The lines that are shown, each with the seconds before it in which no part wrote a line (0 for less than GAP),
    and its place among those that are marked.
    """
    silence: dict[int, float] = {}
    last = math.inf
    for entry in entries:
        if entry.at is not None:
            silence[id(entry)] = entry.at - last if entry.at - last >= GAP else 0.0
            last = entry.at if last == math.inf else max(last, entry.at)
    marks = {id(entry): number for number, entry in enumerate(marked)}
    return [(entry, silence.get(id(entry), 0.0), marks.get(id(entry))) for entry in shown]


def timeline(result: dict[str, Any], artifacts: Path, began: float) -> list[Bar]:
    """Phases, programs from their start to their being ready, and checks, by their start.

    What did not start is left out.
    """
    blame = result["blame"] or {}
    bars = []
    for phase in result["phases"]:
        start, bad = phase.get("started", began) - began, phase["name"] == blame.get("phase")
        bars.append(Bar("phase", phase["name"], start, phase["seconds"], "failed" if bad else "", bad))
    for program in read_json(artifacts / "logs/processes.json", []):
        start = (logs.moment(program["started"]) or began) - began
        ready, status = program["ready_seconds"], program["exit_status"]
        lost = not program["running"] and not (program["oneshot"] and status == 0)
        state = "never ready" if ready is None else "ready"
        if lost:
            state = "gone" if status is None else f"ended with status {status}"
        bars.append(Bar("program", program["name"], start, ready or 0.0, state, lost or ready is None))
    for check, why in zip(result["checks"], check_results.consequences(result["checks"], blame), strict=True):
        if check["started"] is not None:
            state = f"{check['result']}, {why}" if why else check["result"]
            bad = check["result"] != "pass" and not why
            bars.append(Bar("check", check["name"], check["started"] - began, check["seconds"], state, bad))
    return sorted((bar for bar in bars if bar.start > -1), key=lambda bar: bar.start)


def fitting(entries: list[logs.Entry], marked: list[logs.Entry]) -> list[logs.Entry]:
    """The entries that fit into the page: of each part the last ones, an equal share of the room, and the lines around
    those that are marked.

    What a short part does not need is left to the longer ones.
    """
    parts: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        parts.setdefault(entry.part, []).append(index)
    cost = [len(html.escape(entry.text[:LINE]).encode(errors="replace")) + ROW for entry in entries]
    chosen: set[int] = set()
    room = TEXT
    for line in marked:
        same = parts[line.part]
        at = next(number for number, index in enumerate(same) if entries[index] is line)
        chosen.update(same[max(at - 20, 0) : at + 20])
    room -= sum(cost[index] for index in chosen)
    for left, indexes in enumerate(sorted(parts.values(), key=lambda found: sum(cost[index] for index in found))):
        share = room // (len(parts) - left)
        for index in reversed(indexes):
            if (share := share - cost[index]) < 0:
                break
            room -= cost[index]
            chosen.add(index)
    return [entry for index, entry in enumerate(entries) if index in chosen]
