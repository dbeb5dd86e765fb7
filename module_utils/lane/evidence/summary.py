"""Several lanes in one command: one line for each, one verdict for all, and index.html, junit.xml and summary.json
over all of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.private_dir import read_json, write_private
from . import junit, verdict
from .page import render

#: The worst decides: a product that is wrong on one lane counts more than a lane that could not tell.
WORSE = ("pass", "error", "fail")
#: Verdict and line of a lane that came to neither.
NONE = ("error", "LANE FAIL lane: ansible-playbook ended without a verdict of this lane")
LONGEST = 1500  #: characters of the last line
SCHEMA = 1
PAGE = "index.html"
FILE = "summary.json"


@dataclass(frozen=True)
class Outcome:
    """How one lane ended: its label, its verdict, the last line that it would have had alone, and the directory of
    its evidence, if there is any.
    """

    label: str
    verdict: str
    line: str
    artifacts: Path | None = None

    @property
    def words(self) -> str:
        """The line without its first two words: component and cause of a failure."""
        return self.line.split(" ", 2)[-1]

    @property
    def text(self) -> str:
        """One line about this lane."""
        return f"{self.label}: {self.line.removeprefix('LANE ')}"


def label(name: str, address: object) -> str:
    """How a lane is called: its name in the inventory, and its machine where the name does not say it."""
    plain = isinstance(address, str) and "{" not in address and address not in (name, "localhost")
    return f"{name} ({address})" if plain else name


def of_all(outcomes: list[Outcome]) -> tuple[str, str]:
    """(the worst verdict, the last line)."""
    verdict = max((outcome.verdict for outcome in outcomes), key=WORSE.index)
    bad = [outcome for outcome in outcomes if outcome.verdict != "pass"]
    if not bad:
        return verdict, f"LANE PASS {len(outcomes)} of {len(outcomes)} lanes"
    bad.sort(key=lambda outcome: -WORSE.index(outcome.verdict))
    line = f"LANE FAIL {len(bad)} of {len(outcomes)} lanes: " + "; ".join(
        f"{outcome.label}: {outcome.words}" for outcome in bad
    )
    return verdict, line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def begin(folder: Path) -> None:
    """Remove what an earlier command left: it must not pass for this one's."""
    for name in (PAGE, FILE, junit.FILE):
        (folder / name).unlink(missing_ok=True)


def write(folder: Path, outcomes: list[Outcome]) -> Path:
    """Write the three files and return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, suites = [], []
    for outcome in outcomes:
        result = read_json(outcome.artifacts / verdict.RESULT, None) if outcome.artifacts else None
        rows.append(row(folder, outcome, result))
        if result and outcome.artifacts:
            suites.append(junit.suite(result, outcome.artifacts, f"kerbside lane {outcome.label}"))
    content = {"schema": SCHEMA, "verdict": of_all(outcomes)[0], "lanes": rows}
    write_private(folder / FILE, json.dumps(content, indent=1).encode() + b"\n", 0o644)
    write_private(folder / junit.FILE, junit.document(suites), 0o644)
    passed = sum(one["verdict"] == "pass" for one in rows)
    text = render("summary.html.j2", verdict=content["verdict"], rows=rows, passed=passed)
    write_private(folder / PAGE, text.encode(errors="replace"), 0o644)
    return folder / PAGE


def row(folder: Path, outcome: Outcome, result: dict[str, Any] | None) -> dict[str, Any]:
    """One lane as the table has it. Without a result.json there is only what its last line says."""
    known = result or {}
    blame = known.get("blame") or {}
    component, _, cause = outcome.words.partition(": ") if outcome.verdict != "pass" else ("", "", "")
    return {
        "lane": outcome.label,
        "lane_id": known.get("lane_id"),
        "verdict": outcome.verdict,
        "component": blame.get("component") or component or None,
        "code": blame.get("code"),
        "cause": blame.get("cause") or cause or None,
        "checks": verdict.score(result) if result else None,
        "guests": known.get("guests", []),
        "accel": (known.get("accel") or {}).get("chosen"),
        "versions": {name: version for name, version in (known.get("versions") or {}).items() if version},
        "seconds": known.get("seconds"),
        "artifacts": os.path.relpath(outcome.artifacts, folder) if outcome.artifacts else None,
    }
