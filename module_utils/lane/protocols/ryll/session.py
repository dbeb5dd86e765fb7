"""Plays a list of steps over one connection and keeps the transcript, whether they pass or not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core import check_report
from ...core.errors import LaneError
from ..json_lines import LONGEST_PATH
from .client import MAX_LINE_BYTES, Client, Event
from .errors import BadSteps, ControlError, SessionFailed, TimedOut, Unmet, quoted_end
from .kinds import is_path
from .private import Secrets
from .ryll_process import Watch, log_end
from .stage import Stage
from .steps import Step
from .verbs import play

#: What a transcript holds at most: characters of a text, entries of a list, events.
MOST_TEXT = 1 << 16
MOST_ENTRIES = 1000
MOST_EVENTS = 1000
#: Most characters of what one step saw, and of all events, so that no peer can fill the memory with a transcript.
MOST_SEEN = 1 << 20
_LOG_HELPS = ("unreachable", "closed", "process", "timeout")


@dataclass(frozen=True)
class Settings:
    """One session. Times in seconds.

    socket: path of ryll's control socket. limit: for the whole session. connect_within: how long the socket is awaited.
    pid: the ryll process, to be watched. log_file: ryll's log, whose end is quoted when ryll is lost.
    transcript_file: where the transcript goes as JSON, mode 0600. report: what else goes into that file.
    """

    socket: str
    client_name: str = "kerbside-lane"
    limit: float = 300.0
    connect_within: float = 0.0
    max_line_bytes: int = MAX_LINE_BYTES
    pid: int | None = None
    log_file: str | None = None
    transcript_file: str | None = None
    report: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise BadSteps for what cannot work, before anything starts. Looks at the values only, not at the machine."""
        if not is_path(self.socket) or len(os.fsencode(self.socket)) > LONGEST_PATH:
            raise BadSteps(
                f"socket is {self.socket!r}, not the absolute path of a unix socket, of at most {LONGEST_PATH} bytes"
            )
        if self.transcript_file is not None and not is_path(self.transcript_file):
            raise BadSteps(f"transcript_file is {self.transcript_file!r}, not an absolute path")
        if not 0 < self.limit <= 86400:
            raise BadSteps(f"limit is {self.limit:g}; it has to be above 0 and at most 86400 seconds")
        if not 0 <= self.connect_within <= 86400:
            raise BadSteps(f"connect_within is {self.connect_within:g}, not from 0 to 86400 seconds")
        if not 1024 <= self.max_line_bytes <= MAX_LINE_BYTES:
            raise BadSteps(f"max_line_bytes is {self.max_line_bytes}, not from 1024 to {MAX_LINE_BYTES}")
        if self.pid is not None and self.pid < 1:
            raise BadSteps(f"pid is {self.pid}, which no process has")
        if not self.client_name or len(self.client_name) > 200 or not self.client_name.isprintable():
            raise BadSteps("client_name is not a printable text of 1 to 200 characters")


def run(settings: Settings, steps: list[Step], then: Callable[[Stage], None] | None = None) -> dict[str, Any]:
    """Play the steps; returns changed, transcript, events, events_seen, registered, server, seconds, and in `notices`
    such things as lost events.

    then: called after the last step, while the connection is still open.

    Raises SessionFailed, whose `result` holds the same things as far as the steps got, or BadSteps when nothing was
    started.
    """
    settings.check()
    for path in [settings.transcript_file, *(step.options.get("file") for step in steps)]:
        if path and not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
            raise BadSteps(f"the directory of {path} does not exist or is not writable")
    for step in steps:
        with suppress(OSError):  # what cannot be removed cannot be replaced either, and the step says so
            Path(step.options.get("file") or "").unlink()  # a picture of an earlier session is not one of this
    return _Session(settings, steps).run(then)


def rehearse(settings: Settings, steps: list[Step]) -> dict[str, Any]:
    """What `run` would do, without touching anything."""
    settings.check()
    would = [f"{step.number}. {step.name}" + (f" (`{step.verb}`)" if step.name != step.verb else "") for step in steps]
    return {"changed": any(step.acts for step in steps), "would": would, "transcript": []}


class _Session:
    def __init__(self, settings: Settings, steps: list[Step]) -> None:
        self.settings = settings
        self.steps = steps
        self.secrets = Secrets(steps)
        self.files = [step.options["file"] for step in steps if step.options.get("file")]
        self.transcript: list[dict[str, Any]] = []
        self.registered: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.room = MOST_SEEN
        self.began = time.monotonic()
        self.stage: Stage | None = None

    def run(self, then: Callable[[Stage], None] | None) -> dict[str, Any]:
        watch: Watch | None = None
        client: Client | None = None
        try:
            for step in self.steps:
                started, at = time.time(), time.monotonic()
                try:
                    if client is None:
                        watch = Watch(self.settings.pid) if self.settings.pid else None
                        client = Client(self.settings.socket, max_line_bytes=self.settings.max_line_bytes, watch=watch)
                        client.events.listener = self._event
                        self.stage = Stage(
                            client, self.settings.client_name, self.secrets, self.settings.connect_within
                        )
                    seen = self._play(step)
                except (LaneError, OSError) as error:
                    raise self._failed(step, started, at, error) from None
                shown = self._shown(seen)
                self._note(step, "ok", started, time.monotonic() - at, shown)
                if step.register:
                    self.registered[step.register] = shown
            if then and self.stage:
                then(self.stage)
        finally:
            if client:
                client.close()
            if watch:
                watch.close()
        result = self._result()
        try:
            self._write(result)
        except OSError as trouble:
            unwritten = _unwritten(self.settings.transcript_file, trouble)
            unwritten.result = result
            raise unwritten from None
        return result

    def _play(self, step: Step) -> dict[str, Any]:
        assert self.stage is not None
        now = time.monotonic()
        limit = step.limit + (self.settings.connect_within if not self.stage.client.wire.connected else 0)
        left = self.began + self.settings.limit - now
        if left <= step.options.get("seconds", 0):
            why = (
                "earlier steps used it up"
                if left <= 0
                else f"{left:.1f} s of it are left for {step.options['seconds']:g} s of this step"
            )
            raise TimedOut(f"the session's limit of {self.settings.limit:g} s is too short: {why}", component="lane")
        if limit <= left:
            return play(self.stage, step, now + limit)
        try:
            return play(self.stage, replace(step, limit=round(left, 1) or 0.1), now + left)
        except (TimedOut, Unmet) as error:
            if time.monotonic() >= now + left:
                error.problem += f" (the session's limit of {self.settings.limit:g} s ended the step before its own)"
            raise

    def _failed(self, step: Step, started: float, at: float, error: LaneError | OSError) -> SessionFailed:
        if isinstance(error, OSError):
            error = _unwritten(error.filename, error)
        if isinstance(error, ControlError) and self.secrets.any:
            error.sample = ""
        component, problem, fix, evidence = error.component, str(self._clean(error.problem)), error.fix, error.evidence
        if step.blame and isinstance(error, Unmet):
            component = step.blame
        if (
            self.settings.log_file
            and isinstance(error, ControlError)
            and error.kind in _LOG_HELPS
            and component == "ryll"
        ):
            said, line = log_end(self.settings.log_file)
            if said:
                problem += f"; its log ends with {quoted_end(str(self._clean(said)))}"
                evidence = f"{self.settings.log_file}:{line}" if line else self.settings.log_file
            fix = fix or f"look at {self.settings.log_file}"
        place = f"step {step.number} of {len(self.steps)} ({step.name})"
        failed = SessionFailed(
            place, error, problem=problem, component=component, fix=fix, evidence=evidence, check=step.name
        )
        self._note(
            step,
            "failed",
            started,
            time.monotonic() - at,
            {"problem": problem, "kind": failed.kind, "code": failed.code},
        )
        for later in self.steps[step.number :]:
            self._note(later, "skipped", None, 0.0, {})
        failed.result = self._result() | {
            "failed_step": {"index": step.number, "name": step.name, "step": step.verb, "kind": failed.kind}
        }
        try:
            self._write(failed.result | {"cause": failed.cause, "component": component})
        except OSError as trouble:
            failed.result["notices"].append(
                f"the transcript could not be written to {self.settings.transcript_file}: {trouble.strerror}"
            )
        return failed

    def _note(self, step: Step, result: str, started: float | None, seconds: float, seen: dict[str, Any]) -> None:
        self.transcript.append(
            {
                "index": step.number,
                "name": step.name,
                "step": step.verb,
                "result": result,
                "started": None if started is None else round(started, 6),
                "seconds": round(seconds, 6),
                "seen": seen,
            }
        )

    def _event(self, event: Event) -> None:
        self.room -= event.size
        if len(self.events) < MOST_EVENTS and self.room >= 0:
            entry = {
                "name": event.name,
                "data": event.data,
                "seconds": round(event.arrived - self.began, 6),
                "during": len(self.transcript) + 1,
            }
            self.events.append(self._clean(entry))

    def _result(self) -> dict[str, Any]:
        notices: list[str] = []
        client = self.stage.client if self.stage else None
        if client and client.events.dropped_by_server:
            notices.append(f"ryll dropped {client.events.dropped_by_server} events because they were not read in time")
        if client and client.events.lost_here:
            notices.append(
                f"{client.events.lost_here} events that no step waited for in time were dropped, the oldest first"
            )
        if client and client.events.last > len(self.events):
            notices.append(f"`events` holds the first {len(self.events)} of {client.events.last} events")
        server = client.server if client else None
        return {
            "changed": bool(self.stage and self.stage.acted),
            "transcript": self.transcript,
            "events": self.events,
            "events_seen": self._clean(dict(client.events.seen)) if client else {},
            "registered": self.registered,
            "server": {}
            if server is None
            else {"name": self._clean(server.server_name), "protocol_version": server.protocol_version},
            "seconds": round(time.monotonic() - self.began, 6),
            "notices": notices,
        }

    def _write(self, result: dict[str, Any]) -> None:
        if self.settings.transcript_file:
            check_report.write(self.settings.transcript_file, {**self.settings.report, **result, "files": self.files})

    def _shown(self, seen: dict[str, Any]) -> dict[str, Any]:
        """What a step saw as the transcript has it."""
        shown: dict[str, Any] = self._clean(seen)
        size = len(json.dumps(shown, ensure_ascii=False))
        return shown if size <= MOST_SEEN else {"...": f"({size} characters)"}

    def _clean(self, value: Any) -> Any:
        """The value without private texts, and not larger than a transcript may be."""
        if isinstance(value, str):
            value = self.secrets.mask(value)
            return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]}... ({len(value)} characters)"
        if isinstance(value, list | tuple):
            cut = [self._clean(entry) for entry in value[:MOST_ENTRIES]]
            return cut if len(value) <= MOST_ENTRIES else [*cut, f"... ({len(value)} entries)"]
        if isinstance(value, dict):
            cleaned = {self._clean(str(key)): self._clean(entry) for key, entry in list(value.items())[:MOST_ENTRIES]}
            return cleaned if len(value) <= MOST_ENTRIES else cleaned | {"...": f"({len(value)} entries)"}
        return value


def _unwritten(path: str | None, error: OSError) -> LaneError:
    return LaneError(
        "session_file_unwritten",
        "environment",
        f"{path or 'a file of the session'} could not be written: {error.strerror}",
        "make room",
    )
