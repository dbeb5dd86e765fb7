"""What can be seen of a lane when a task has failed: its programs, their logs, qemu's monitor, the reports of the
checks. Everything is read once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core import bounded, check_report
from ..core.errors import LaneError
from ..core.layout import Layout
from ..core.private_dir import handed_over
from ..programs import loss, records
from ..protocols.qmp import Qmp
from ..protocols.ryll.client import Client
from .log_excerpt import ERROR, quoted, readable

#: Seconds for each answer of qemu or ryll; a healthy one takes milliseconds.
QUERY_TIMEOUT = 1.0
#: How much of a log is read for the rules (its end), and how much is searched for errors.
LOG_BYTES = 1 << 20
SEARCHED_BYTES = 32 << 20
#: A time stamp of the proxy and of ryll at the beginning of a line, or of kerbside's Python within its JSON; UTC.
STAMP = re.compile(
    r'^(?:\x1b\[[0-9;]*m)*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z|"ts": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z"'
)
#: The daemon's line for each channel that it connected to qemu. qemu's monitor shows the same connection_id, as a
#: signed number.
CONNECTED = re.compile(
    r'hypervisor connection successful.* session_id=(\S+) channel_type="(\w+)".* connection_id=(\d+)'
)


@dataclass(frozen=True)
class Line:
    """One line of a log: its file, number (0 in the end of a very long file), text and time (unix; that of the last
    stamp above it, or 0).
    """

    file: str
    number: int
    text: str
    at: float

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}" if self.number else self.file


class Evidence(Layout):
    """What can be seen of a lane. blame: component, phase, check, cause, evidence as the failed task reported them."""

    def __init__(self, lane_dir: str, blame: dict[str, Any]) -> None:
        super().__init__(lane_dir)
        self.blame = blame
        self.records = {r.name: r for r in records.records(lane_dir)}
        self.known = handed_over(lane_dir)

    @property
    def in_session(self) -> bool:
        """The failure came when ryll was to connect or had connected, so that what the logs say since ryll's start
        belongs to it.
        """
        return (
            self.blame["phase"] in ("smoke", "")
            and "ryll" in self.records
            and (self.blame["component"] == "ryll" or self.blame["check"] is not None)
        )

    @cached_property
    def lost(self) -> list[loss.Lost]:
        return loss.lost(self.lane_dir)

    def log(self, name: str) -> list[Line]:
        """What a program wrote since its start; of API and daemon, when ryll has failed, since ryll's start."""
        entry = self.records.get(name)
        if entry is None:
            return []
        lines = list(self._lines(entry.log, entry.log_start))
        if self.in_session and name in ("api", "daemon"):
            since = self.records["ryll"].started - 0.001
            lines = [line for line in lines if line.at >= since]
        return lines

    def _lines(self, path: str, start: int = 0) -> Iterator[Line]:
        """The lines after `start` bytes of a regular file, of the last LOG_BYTES of it."""
        if (file := bounded.open_regular(path)) is None:
            return
        with file:
            skipped = max(start, os.fstat(file.fileno()).st_size - LOG_BYTES)
            counted = skipped <= SEARCHED_BYTES
            file.seek(0 if counted else skipped)
            before = skipped if counted else 0
            number = sum(file.read(min(LOG_BYTES, before - at)).count(b"\n") for at in range(0, before, LOG_BYTES))
            text = file.read(LOG_BYTES).decode("utf-8", errors="replace")
        at = 0.0
        for place, line in enumerate(text.splitlines(), number + 1):
            if stamp := STAMP.search(line):
                at = datetime.fromisoformat(stamp[1] or stamp[2]).replace(tzinfo=UTC).timestamp()
            yield Line(path, place if counted else 0, line, at)

    def find(self, name: str, pattern: str | re.Pattern[str]) -> tuple[Line, re.Match[str]] | None:
        """The first line of a program's log that matches."""
        for line in self.log(name):
            if match := re.search(pattern, line.text):
                return line, match
        return None

    def read(self, name: str) -> str:
        """The beginning of a file of the lane; "" when it is not there."""
        return bounded.since(Path(self.lane_dir, name), 0, LOG_BYTES)

    def in_sources(self, key: str) -> str:
        """What kerbside's sources.yaml says of the console; "" for nothing."""
        found = re.search(rf'^ +{key}: "?([^"\n]*)', self.read("sources.yaml"), re.MULTILINE)
        return found[1] if found else ""

    def error_elsewhere(self) -> str:
        """What the logs of the other parts say since the start of the lane, as the end of a sentence: the first error,
        or that there is none.

        That no part shows a fault is only said when every log could be read from its beginning to its end.
        """
        unread = []
        component = self.blame["component"]
        own = {name for name, entry in self.records.items() if entry.component == component}
        for path in sorted(Path(self.lane_dir, "logs").glob("*.log")):
            if path.stem in {"ansible", *own} or path.stem.startswith(f"{component}_"):
                continue
            with bounded.open_regular(path) or nullcontext() as file:
                if file is None or os.fstat(file.fileno()).st_size > SEARCHED_BYTES:
                    unread.append(path.name)
                    continue
                for number, line in enumerate(file, 1):
                    text = readable(line.decode("utf-8", errors="replace").rstrip("\n"))
                    if ERROR.search(text) or (path.stem == "qemu" and text.strip()):
                        return f"; no rule explains it, but {path.name}:{number} says: {quoted(text)}"
        return f"; {', '.join(unread)} could not be searched for errors" if unread else "; no other part shows a fault"

    @cached_property
    def qmp(self) -> dict[str, Any]:
        """qemu's answers by command; one that it did not give is missing."""
        if "qemu" not in self.records or not os.path.exists(self.qmp_socket):
            return {}
        answers: dict[str, Any] = {}
        try:
            with Qmp.connect(self.qmp_socket, QUERY_TIMEOUT) as qmp:
                for command in ("query-status", "query-chardev", "query-spice"):
                    answers[command] = qmp.execute(command)
        except LaneError as error:
            answers["silent"] = error.problem
        return answers

    @property
    def guest_status(self) -> str | None:
        """QMP's word for the guest's state (running, paused, internal-error ...), or None when qemu does not answer."""
        status = self.qmp.get("query-status", {}).get("status")
        return str(status) if status else None

    @property
    def agent_port_open(self) -> bool | None:
        """Whether the guest has the agent's port open, or None when qemu does not answer."""
        ports = {device["label"]: device["frontend-open"] for device in self.qmp.get("query-chardev", [])}
        found: bool | None = ports.get("vdagent")
        return found

    def agent_seen_now(self) -> bool:
        """Whether ryll sees the guest's agent now, or within QUERY_TIMEOUT seconds."""
        deadline = time.monotonic() + QUERY_TIMEOUT
        try:
            with Client(self.control_socket) as ryll:
                ryll.open("kerbside-lane", deadline)
                while time.monotonic() < deadline:
                    if ryll.request("status", {}, deadline).get("agent_connected") is True:
                        return True
                    time.sleep(0.05)
        except (LaneError, OSError):
            pass
        return False

    @cached_property
    def sessions(self) -> list[tuple[Line, str, str, int]]:
        """(line, session, channel, connection) of each channel that the daemon connected to qemu since ryll's start."""
        found = ((line, CONNECTED.search(line.text)) for line in self.log("daemon"))
        return [(line, match[1], match[2], int(match[3])) for line, match in found if match]

    @cached_property
    def serial(self) -> str:
        return "\n".join(line.text for line in self._lines(self.serial_log))

    @cached_property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The reports of the checks, by name: those that ryll answers (result ok or failed), and those from outside
        (pass or fail).
        """
        logs = Path(self.lane_dir, "logs")
        steps, outside = (check_report.read(logs / name) for name in ("smoke.json", "outside.json"))
        return {c["name"]: c for c in [*steps.get("transcript", []), *outside.get("checks", [])]}

    def detail(self, check: str) -> dict[str, Any]:
        """What a check reported besides its result; {} for one that did not run."""
        found: dict[str, Any] = self.checks.get(check, {}).get("detail", {})
        return found

    @property
    def drawn(self) -> bool:
        """Whether ryll took a picture of a guest that had its agent and its marks.

        `frames` alone proves nothing: qemu has a picture of its own before the firmware sets a video mode.
        """
        return self.checks.get("screenshot", {}).get("result") == "ok"
