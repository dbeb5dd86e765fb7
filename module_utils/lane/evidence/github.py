"""What a run says to GitHub Actions: the job's summary, and an annotation for the failure.

Sources: GitHub's documentation on workflow commands (escaping of `::error`) and on job summaries (GITHUB_STEP_SUMMARY).
"""

from __future__ import annotations

from typing import Any

ICONS = {"pass": "✅", "fail": "❌", "not run": "⚪"}


def summary(result: dict[str, Any] | None, line: str) -> str:
    """The run as Markdown: the verdict, the checks, the phases. line: the last line of the terminal; result: None when
    the run did not come to one.
    """
    head = f"## {ICONS['pass'] if line.startswith('LANE PASS') else ICONS['fail']} {_cell(line)}\n\n"
    if result is None:
        return head
    rows = ["| check | result | seconds |", "|---|---|---|"]
    rows += [
        f"| {_named(check, result['guests'])} | {ICONS.get(check['result'], '')} {check['result']} | "
        f"{check['seconds']:.3f} |"
        for check in result["checks"]
    ]
    phases = ", ".join(f"{phase['name']} {phase['seconds']:.1f} s" for phase in result["phases"])
    accel = result["accel"]
    rows += ["", f"Phases: {phases or 'none'}. Accelerator: {accel['chosen'] or 'not known'}.", ""]
    rows += ["The evidence is in the job's artifacts: `report.html` first, then `result.json` and `logs/`.", ""]
    return head + "\n".join(rows)


def _named(check: dict[str, Any], guests: list[str]) -> str:
    """The check's name, with its suite and guest where that is not plain."""
    plain = len(guests) < 2 and check["suite"] == "smoke"
    return check["name"] if plain else f"{check['name']} ({check['suite']}, {check['guest']})"


def _cell(text: str) -> str:
    """Text as Markdown shows it, whatever it holds: a cause can quote a log."""
    for sign in "\\`*_{}[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def annotation(component: str, cause: str) -> str:
    """The workflow command that shows the cause beside the job."""
    escaped = cause.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::error title=lane%3A {component}::{escaped}"
