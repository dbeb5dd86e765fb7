"""Reads a report.html as a person would: what it says of the verdict, in the places where it says it."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class ReportPage:
    """What the head of the page says; component, code and cause are "" on a green page."""

    verdict: str = ""
    run_id: str = ""
    command_id: str = ""
    component: str = ""
    code: str = ""
    cause: str = ""


class _Reader(HTMLParser):
    """Collects the text of the elements with the ids of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.page = ReportPage()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "header":
            self.page.run_id, self.page.command_id = given.get("data-run") or "", given.get("data-command") or ""
        name = given.get("id") or ("verdict" if tag == "strong" else "")
        if name in ("verdict", "component", "code", "cause") and not getattr(self.page, name):
            self._open = [tag, name]

    def handle_endtag(self, tag: str) -> None:
        if self._open[:1] == [tag]:
            self._open = []

    def handle_data(self, data: str) -> None:
        if self._open:
            setattr(self.page, self._open[1], getattr(self.page, self._open[1]) + data)


def read(path: Path) -> ReportPage:
    """What the page says. Raises FileNotFoundError when there is none."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


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
