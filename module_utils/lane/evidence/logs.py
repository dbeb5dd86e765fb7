"""The logs of a lane on one clock, and `./lane logs`, which prints them: every line with the part that wrote it and,
where the line says it, the moment.

Each program writes its time in a form of its own (seen in the logs of kerbside 0.8.0, ryll 0.3.0, gunicorn 26 and
MariaDB 10.11); the serial console has none. A line without a time belongs to the one before it. Where no line before it
has a time, none is made up: `at` is then None.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core import bounded, check_report, local_http, secrets
from ..core.errors import LaneError
from ..core.names import near
from ..core.private_dir import read_json
from . import ansible_log
from .log_excerpt import readable

#: Bytes of a log that are read at most, from its end.
LIMIT = 8 << 20
TAIL = 4096  #: bytes; where the last line is looked for
PROXY = re.compile(r"^\S+Z\s+[A-Z]+ (?:kerbside_proxy|shakenfist_)")  # the daemon's log holds its child's lines, too
#: A line of a request that the lane made: a probe of readiness, or a check.
REQUEST = f'"request-id": "{local_http.REQUEST_ID}'
OWN = ("ryll_direct",)  #: logs of programs that are the lane's own and not under test
LONG = 0.5  #: seconds of a check or a task that has a line for its beginning, too


@dataclass(frozen=True)
class Entry:
    """One line. at: seconds since 1970, or None; part: serial, qemu, database, api, daemon, proxy, ryll, checks,
    ansible or another log's name.

    place: its file and line number ("ryll.log:12"), where they are known. by_lane: the lane itself caused the line.
    """

    part: str
    at: float | None
    text: str
    place: str = ""
    by_lane: bool = False

    @property
    def group(self) -> str:
        """What the report filters by: the part, apart from what the lane caused in it."""
        return f"{self.part} (lane)" if self.by_lane else self.part


def _iso(found: re.Match[str]) -> float:
    return datetime.fromisoformat("".join(found.groups())).timestamp()


def _local(found: re.Match[str]) -> float:  # MariaDB and Ansible: in the machine's own time zone
    seconds = time.mktime(time.strptime(f"{found.group(1)} {found.group(2).strip()}", "%Y-%m-%d %H:%M:%S"))
    return seconds + int(found.group(3) or 0) / 1000


FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], float]], ...] = (
    (re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"), _iso),
    (re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ([+-]\d{4})\]"), _iso),
    (re.compile(r"^(\d{4}-\d\d-\d\d) ([ \d]\d:\d\d:\d\d)(?:,(\d{3}))? "), _local),
    (re.compile(r'^\{.*"ts": "([^"]+Z)"'), _iso),
)


def moment(text: str) -> float | None:
    """The time that a line begins with, in seconds since 1970."""
    for form, read in FORMS:
        if found := form.match(text):
            try:
                return read(found)
            except ValueError:
                return None
    return None


def part_of(path: Path, line: str) -> str:
    """Who wrote a line of this file."""
    return "proxy" if path.stem == "daemon" and PROXY.match(line) else path.stem


def of_file(path: Path) -> Iterator[Entry]:
    """The entries of one log, in its order.

    A log of more than LIMIT bytes begins with an entry that says how much was left out.
    """
    skipped, data = bounded.tail(path, LIMIT)
    if skipped:
        yield Entry(path.stem, None, f"({skipped} bytes before this are left out here; they are in {path.name})")
    at: float | None = None
    for number, raw in enumerate(data.decode(errors="replace").split("\n"), 1):
        at = moment(raw) or at
        if text := readable(raw.rstrip("\r")).rstrip(" *" if path.name == ansible_log.FILE else None):
            own = REQUEST in raw or path.stem in OWN
            yield Entry(part_of(path, raw), at, text, "" if skipped else f"{path.name}:{number}", own)


def of_folder(folder: Path) -> list[Entry]:
    """All entries of a `logs` folder, of the checks' transcript and of Ansible's tasks; those with a time in its order.

    Those without stand before the first line of their file that has one; a file of which no line has one comes last.
    The tasks are Ansible's own log or, where it said it on the terminal, the callback plugin's list of them.
    """
    found: list[Entry] = []
    due: list[float] = []  # when each entry was written, or the one after it in its file, or in the end
    for path in sorted(folder.glob("*.log")):
        entries = list(of_file(path))
        first = next((entry.at for entry in entries if entry.at is not None), math.inf)
        found += entries
        due += [first if entry.at is None else entry.at for entry in entries]
    for report in map(check_report.read, sorted(folder.glob("*.json"))):
        for step in [*report.get("transcript", []), *report.get("checks", [])]:
            if step.get("started"):
                found += _spell("checks", step)
    for task in read_json(folder / "tasks.json", []) if not (folder / ansible_log.FILE).exists() else []:
        found += _spell("ansible", task)
    due += [entry.at for entry in found[len(due) :] if entry.at is not None]
    return [found[index] for index in sorted(range(len(found)), key=due.__getitem__)]


def _spell(part: str, what: dict[str, Any]) -> list[Entry]:
    """The end of a check or a task, and the beginning of one that took a while."""
    name, seconds = what.get("name"), what.get("seconds") or 0.0
    end = Entry(part, what["started"] + seconds, f"{name}: {what.get('result')} after {seconds:.3f} s")
    return [Entry(part, what["started"], f"{name}: begins"), end] if seconds >= LONG else [end]


def last_line(lane_dir: Path, since: float, others: Iterable[Path] = (), but: Container[str] = ()) -> str:
    """The whole line that was last written to a log of the lane, or to one of the others, without the lane's secrets;
    "" for none since that time.

    but: names of logs of the lane that do not count.
    """
    own = [path for path in lane_dir.glob("logs/*.log") if path.name not in but]
    newest = max(((path.stat().st_mtime, path) for path in (*own, *others) if path.exists()), default=None)
    if newest is None or newest[0] < since:
        return ""
    whole = bounded.tail(newest[1], TAIL)[1].split(b"\n")[:-1]
    texts = (readable(raw.decode(errors="ignore")).replace("\ufffd", "").strip() for raw in reversed(whole))
    text = next(filter(None, texts), "")
    for form, _ in FORMS:
        text = form.sub("", text).strip()
    return secrets.mask(text, secrets.of_lane(str(lane_dir)))


def lines(folder: Path, part: str) -> list[str]:
    """The lines of one part, or of all with the part before each.

    Raises LaneError (lane) when there is no such part.
    """
    entries = of_folder(folder)
    parts = sorted({entry.part for entry in entries} | {path.stem for path in folder.glob("*.log")})
    if not parts:
        raise LaneError("no_logs", "lane", f"there are no logs in {folder}")
    if part and part not in parts:
        problem = f"there is no part {part}{near(part, parts)}"
        raise LaneError("no_logs", "lane", problem, f"use one of {', '.join(parts)}")
    return [line_of(entry, part) for entry in entries if part in ("", entry.part)]


def line_of(entry: Entry, part: str) -> str:
    """A line as ./lane logs shows it."""
    return entry.text if part else f"{entry.part:9} {entry.text}"
