"""Reads a report.html as a person would: what it says of the verdict, in the places where it says it."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import NamedTuple


class ReportPage(NamedTuple):
    """What the head of the page says; component, code and cause are "" on a green page."""

    verdict: str
    run_id: str
    command_id: str
    component: str
    code: str
    cause: str


#: Where it says what.
PLACES = {
    "verdict": "<strong>(.*?)</strong>",
    "run_id": '<header[^>]* data-run="(.*?)"',
    "command_id": '<header[^>]* data-command="(.*?)"',
    "component": '<span id="component">(.*?)</span>',
    "code": '<code id="code">(.*?)</code>',
    "cause": '<p id="cause">(.*?)</p>',
}


def read(path: Path) -> ReportPage:
    """What the page says. Raises FileNotFoundError when there is none."""
    text = path.read_text(encoding="utf-8")
    found = {name: re.search(pattern, text, re.DOTALL) for name, pattern in PLACES.items()}
    inside = {name: re.sub("<.*?>", "", one[1], flags=re.DOTALL).strip() if one else "" for name, one in found.items()}
    return ReportPage(**{name: html.unescape(words) for name, words in inside.items()})


def disagreement(artifacts: Path, line: str, command_id: str) -> str:
    """What is wrong with the report of a red run whose last line and command are given; "" when it says the same."""
    try:
        page = read(artifacts / "report.html")
    except FileNotFoundError:
        return "there is no report.html"
    said = f"LANE FAIL {page.component}: {page.cause}"
    if said != line:
        return f"report.html says {said!r}, the last line {line!r}"
    if page.command_id != command_id:
        return f"report.html is of the command {page.command_id}, not of {command_id}"
    return "" if page.code else "report.html names no code"
