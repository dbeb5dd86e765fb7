"""Copy what a run leaves as evidence from the lane's directory to the artifacts: regular files only, each and all of
them bounded in size.

A program under test can flood its log or put a pipe or a link in its place; the evidence must come to an end all the
same, in memory, time and disk.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..core import bounded, check_report
from ..core.private_dir import write_private

HEAD, TAIL = 1 << 20, 3 << 20  #: bytes of a long file that are kept, from its beginning and its end
MOST = 64 << 20  #: bytes of all files together
MOST_FILES = 500
#: Of an earlier command: none of it may pass for evidence of this one.
OUTDATED = (
    "report.html",
    "result.json",
    "junit.xml",
    "logs",
    "handover",
    "pictures",
    "screenshot.png",
    "screendump.png",
    "difference.png",
    "counters-before.json",
)
NOTES = "logs/not-collected.txt"
#: Where a check may leave a picture, and what the smoke check counts from, below the lane's directory.
KEPT = re.compile(r"(?:screenshot|screendump|difference)\.png|pictures/[\w.-]+\.png|counters-before\.json")


def begin(artifacts: Path) -> None:
    """Remove what an earlier command left in the artifacts: result, report, logs, pictures."""
    artifacts.mkdir(parents=True, exist_ok=True)
    for path in (artifacts / name for name in OUTDATED):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class Copies:
    """Files on their way to the artifacts, and what had to be left out."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self.bytes = self.files = 0
        self.notes: list[str] = []

    def take(self, source: Path, name: str, whole: bool = False) -> None:
        """Copy a file, readable by whoever may enter the artifacts. whole: it is of no use when it is cut."""
        if self.files >= MOST_FILES or self.bytes >= MOST:
            self.notes.append(f"{name}: the artifacts hold {self.files} files and {self.bytes} bytes already")
            return
        data = bounded.ends(source, HEAD, TAIL)
        if data is None:
            self.notes.append(f"{name}: it is not a regular file")
            return
        if whole and source.stat().st_size > HEAD + TAIL:
            self.notes.append(f"{name}: it has more than {HEAD + TAIL} bytes")
            return
        self.bytes += len(data)
        self.files += 1
        self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        path = self.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, data, 0o644)


def collect(lane_dir: str, artifacts: Path, command: str, ansible: str = "") -> list[dict[str, Any]]:
    """Copy logs, hand-over and this command's pictures; returns the reports of this command's checks.

    ansible: what Ansible has said in this command; what it said in earlier ones is a log of the lane like the others.
    """
    begin(artifacts)
    (artifacts / "logs").mkdir()
    copies = Copies(artifacts)
    reports = check_report.of_command(Path(lane_dir, "logs"), command)
    for folder in ("handover", "logs"):
        for path in sorted(Path(lane_dir, folder).rglob("*")):
            if not path.is_dir():
                copies.take(path, str(path.relative_to(lane_dir)))
    for path in (artifacts / "logs").glob("*.json"):
        if check_report.read(path).get("command_id", command) != command:
            path.unlink()
            copies.notes.append(f"logs/{path.name}: an earlier command made it")
    files = [os.path.join(lane_dir, file) for report in reports for file in report.get("files", [])]
    for file in dict.fromkeys([*(os.path.relpath(file, lane_dir) for file in files), "counters-before.json"]):
        if KEPT.fullmatch(file) and Path(lane_dir, file).exists():
            copies.take(Path(lane_dir, file), file, whole=True)
    if ansible:
        log = artifacts / "logs/ansible.log"
        copies.put("logs/ansible.log", (log.read_bytes() if log.exists() else b"") + ansible.encode()[-HEAD - TAIL :])
    if copies.notes:
        copies.put(NOTES, "".join(f"{note}\n" for note in copies.notes).encode())
    for root, _, _ in os.walk(artifacts):
        os.chmod(root, 0o755)
    return reports
