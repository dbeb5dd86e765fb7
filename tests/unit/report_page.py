"""Reads a report.html as a person would: what it says of the verdict, in the places where it says it."""

import html
import re
from pathlib import Path

#: Where the head of the page says what.
PLACES = {
    "verdict": "<strong>(.*?)</strong>",
    "run_id": '<header[^>]* data-run="(.*?)"',
    "command_id": '<header[^>]* data-command="(.*?)"',
    "component": '<span id="component">(.*?)</span>',
    "code": '<code id="code">(.*?)</code>',
    "cause": '<p id="cause">(.*?)</p>',
}


def read(path: Path) -> dict[str, str]:
    """What the page says in these places, "" where it has none. Raises FileNotFoundError when there is no page."""
    text = path.read_text(encoding="utf-8")
    found = {name: re.search(pattern, text, re.DOTALL) for name, pattern in PLACES.items()}
    inside = {name: re.sub("<.*?>", "", one[1], flags=re.DOTALL).strip() if one else "" for name, one in found.items()}
    return {name: html.unescape(words) for name, words in inside.items()}


def disagreement(artifacts: Path, line: str, command_id: str) -> str:
    """What is wrong with the report of a red run whose last line and command are given; "" when it says the same."""
    page = read(artifacts / "report.html")
    said = f"LANE FAIL {page['component']}: {page['cause']}"
    if said != line:
        return f"report.html says {said!r}, the last line {line!r}"
    if page["command_id"] != command_id:
        return f"report.html is of the command {page['command_id']}, not of {command_id}"
    return "" if page["code"] else "report.html names no code"
