"""The logs of a lane on one clock, and `./lane logs`, which prints them: every line with the part that wrote it and, where the line says it, the moment.

Each program writes its time in a form of its own (seen in the logs of kerbside 0.8.0, ryll 0.3.0, gunicorn 26 and MariaDB 10.11); the serial console has none.
A line without a time belongs to the one before it. Where no line before it has a time, none is made up: `at` is then None.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..core.private_dir import read_json
from . import ansible_log, secret_scan
from .log_excerpt import readable

#: Bytes of a log that are read at most, from its end.
LIMIT = 4 * 1024 * 1024
TAIL = 4096  #: bytes; where the last line is looked for
PROXY = re.compile(r"^\S+Z\s+[A-Z]+ (?:kerbside_proxy|shakenfist_)")  # the daemon's log holds its child's lines, too


@dataclass(frozen=True)
class Entry:
    """One line. at: seconds since 1970, or None; part: serial, qemu, database, api, daemon, proxy, ryll, checks, ansible or another log's name."""

    part: str
    at: float | None
    text: str


def _iso(found: re.Match[str]) -> float:
    return datetime.fromisoformat(found.group(1).replace("Z", "+00:00")).timestamp()


def _gunicorn(found: re.Match[str]) -> float:
    return datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S %z").timestamp()


def _local(found: re.Match[str]) -> float:  # MariaDB and Ansible: in the machine's own time zone
    seconds = time.mktime(time.strptime(f"{found.group(1)} {found.group(2).strip()}", "%Y-%m-%d %H:%M:%S"))
    return seconds + int(found.group(3) or 0) / 1000


FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], float]], ...] = (
    (re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"), _iso),
    (re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\]"), _gunicorn),
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
    """The entries of one log, in its order. A log of more than LIMIT bytes begins with an entry that says how much was left out."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size > LIMIT:
            file.seek(size - LIMIT)
            file.readline()
            yield Entry(path.stem, None, f"({size - LIMIT} bytes before this are left out here; they are in {path.name})")
        at: float | None = None
        for raw in file.read().decode(errors="replace").splitlines():
            at = moment(raw) or at
            if text := readable(raw).rstrip():
                yield Entry(part_of(path, raw), at, text)


def of_folder(folder: Path) -> list[Entry]:
    """All entries of a `logs` folder, of the checks' transcript and of Ansible's tasks; those with a time in its order, those without before them.

    The tasks are Ansible's own log or, where it said it on the terminal, the callback plugin's list of them.
    """
    found = [entry for path in sorted(folder.glob("*.log")) for entry in of_file(path)]
    for step in read_json(folder / "smoke.json", {}).get("transcript", []):
        if "started" in step:
            found.append(Entry("checks", step["started"], f"{step.get('name')}: {step.get('result')} after {step.get('seconds', 0):.3f} s"))
    for task in read_json(folder / "tasks.json", []) if not (folder / ansible_log.FILE).exists() else []:
        found.append(Entry("ansible", task["started"], f"{task['name']}: {task['result']} after {task['seconds']:.2f} s"))
    return sorted(found, key=lambda entry: entry.at or 0.0)


def last_line(lane_dir: Path, since: float, others: Iterable[Path] = (), but: Container[str] = ()) -> str:
    """The whole line that was last written to a log of the lane, or to one of the others, without the lane's secrets; "" for none since that time.

    but: names of logs of the lane that do not count.
    """
    own = [path for path in lane_dir.glob("logs/*.log") if path.name not in but]
    at, path = max(((path.stat().st_mtime, path) for path in (*own, *others) if path.exists()), default=(0.0, lane_dir))
    if at < since:
        return ""
    with path.open("rb") as file:
        cut = file.seek(0, os.SEEK_END) - TAIL
        file.seek(max(cut, 0))
        whole = file.read().split(b"\n")[cut > 0 : -1]
    text = next((text for raw in reversed(whole) if (text := readable(raw.decode(errors="ignore")).replace("\ufffd", "").strip())), "")
    for form, _ in FORMS:
        text = form.sub("", text).strip()
    return secret_scan.mask(text, secret_scan.of_lane(str(lane_dir)))
