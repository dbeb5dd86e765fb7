"""Plays a list of steps over one connection and keeps the transcript, green or red."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core import check_report
from ...core.errors import LaneError, legacy_error
from .client import Client, Event
from .errors import BadSteps, ControlError, SessionFailed, TimedOut, Unmet, quoted_end
from .private import Secrets
from .ryll_process import Watch, log_end
from .steps import Step, is_path
from .verbs import Stage, play
from .wire import MAX_LINE_BYTES, check_path

#: What a transcript holds at most: characters of a text, entries of a list, events.
MOST_TEXT = 1 << 16
MOST_ENTRIES = 1000
MOST_EVENTS = 1000
#: Most characters of what one step saw, and of all events, so that a peer cannot fill the memory with a transcript.
MOST_SEEN = 1 << 20
_LOG_HELPS = ("unreachable", "closed", "process", "timeout")


@dataclass(frozen=True)
class Settings:
    """One session. Times in seconds.

    socket: path of ryll's control socket. limit: for the whole session. connect_within: how long the socket is awaited.
    pid: the ryll process, to be watched. log_file: ryll's log, whose end is quoted when ryll is lost.
    transcript_file: where the transcript goes as JSON, mode 0600.
    """

    socket: str
    client_name: str = "kerbside-lane"
    limit: float = 300.0
    connect_within: float = 0.0
    max_line_bytes: int = MAX_LINE_BYTES
    pid: int | None = None
    log_file: str | None = None
    transcript_file: str | None = None

    def check(self) -> None:
        """Raise BadSteps for what cannot work, before anything starts. Looks at the values only, not at the machine."""
        check_path(self.socket)
        if not self.socket.startswith("/"):
            raise BadSteps("the absolute path of a socket", f"it is {self.socket}")
        if self.transcript_file is not None and not is_path(self.transcript_file):
            raise BadSteps("transcript_file to be an absolute path", "it is not")
        if not 0 < self.limit <= 86400:
            raise BadSteps("a limit of the session above 0 and up to 86400 seconds", f"it is {self.limit:g}")
        if not 0 <= self.connect_within <= 86400:
            raise BadSteps("connect_within from 0 to 86400 seconds", f"it is {self.connect_within:g}")
        if not 1024 <= self.max_line_bytes <= MAX_LINE_BYTES:
            raise BadSteps(f"max_line_bytes from 1024 to {MAX_LINE_BYTES}", f"it is {self.max_line_bytes}")
        if self.pid is not None and self.pid < 1:
            raise BadSteps("the pid of a process", f"it is {self.pid}")
        if not self.client_name or len(self.client_name) > 200 or not self.client_name.isprintable():
            raise BadSteps("a printable client_name of 1 to 200 characters", "it is not")


def run(settings: Settings, steps: list[Step]) -> dict[str, Any]:
    """Play the steps; returns changed, transcript, events, events_seen, registered, server, seconds, and in `notices` what is to be
    known besides, such as lost events.

    Raises SessionFailed, whose `result` holds the same things as far as they came, or BadSteps when nothing was started.
    """
    settings.check()
    for path in [settings.transcript_file, *(step.options.get("file") for step in steps)]:
        if path and not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
            raise BadSteps(f"a directory to write {path} into", "it is not there or not writable")
    for step in steps:
        with suppress(OSError):  # what cannot be removed cannot be replaced either, and the step says so
            Path(step.options.get("file") or "").unlink()  # a picture of an earlier session is none of this
    return _Session(settings, steps).run()


def rehearse(settings: Settings, steps: list[Step]) -> dict[str, Any]:
    """What `run` would do, in words, without touching anything."""
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

    def run(self) -> dict[str, Any]:
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
                        self.stage = Stage(client, self.settings.client_name, self.secrets, self.settings.connect_within)
                    seen = self._play(step)
                except (LaneError, OSError) as error:
                    raise self._failed(step, started, at, error) from None
                shown = self._shown(seen)
                self._note(step, "ok", started, time.monotonic() - at, shown)
                if step.register:
                    self.registered[step.register] = shown
        finally:
            if client:
                client.close()
            if watch:
                watch.close()
        result = self._result()
        try:
            self._write(result)
        except OSError as trouble:
            unwritten = legacy_error("environment", f"the transcript to be written to {self.settings.transcript_file}", f"the system said {trouble.strerror}")
            unwritten.result = result
            raise unwritten from None
        return result

    def _play(self, step: Step) -> dict[str, Any]:
        assert self.stage is not None
        now = time.monotonic()
        limit = step.limit + (self.settings.connect_within if not self.stage.client.wire.connected else 0)
        left = self.began + self.settings.limit - now
        if left <= step.options.get("seconds", 0):
            kept = "the steps before this one used it up" if left <= 0 else f"{left:.1f} s of it are left for {step.options['seconds']:g} s of this step"
            raise TimedOut(f"the session to end within its limit of {self.settings.limit:g} s", kept, component="lane")
        if limit <= left:
            return play(self.stage, step, now + limit)
        try:
            return play(self.stage, replace(step, limit=round(left, 1) or 0.1), now + left)
        except (TimedOut, Unmet) as error:
            if time.monotonic() >= now + left:
                error.got += f"; the session's limit of {self.settings.limit:g} s ended the step before its own"
            raise

    def _failed(self, step: Step, started: float, at: float, error: LaneError | OSError) -> SessionFailed:
        if isinstance(error, OSError):
            named = f" ({error.filename})" if error.filename else ""
            error = legacy_error("environment", "its files to be written", f"the system said {error.strerror}{named}")
        if isinstance(error, ControlError) and self.secrets.any:
            error.sample = ""
        component, where, evidence = error.component, error.where, error.evidence
        if step.blame and isinstance(error, Unmet):
            component = step.blame
        if self.settings.log_file and isinstance(error, ControlError) and error.kind in _LOG_HELPS and component == "ryll":
            said, line = log_end(self.settings.log_file)
            if said:
                error.got += f"; its log ends with {quoted_end(str(self._clean(said)))}"
                evidence = f"{self.settings.log_file}:{line}" if line else self.settings.log_file
            where = where or self.settings.log_file
        error.expected, error.got = str(self._clean(error.expected)), str(self._clean(error.got))
        place = f"step {step.number} of {len(self.steps)} ({step.name})"
        failed = SessionFailed(place, error, component=component, where=where, evidence=evidence, check=step.name, result={})
        self._note(step, "failed", started, time.monotonic() - at, {"expected": error.expected, "got": error.got, "kind": failed.kind})
        for later in self.steps[step.number :]:
            self._note(later, "skipped", None, 0.0, {})
        failed.result = self._result() | {"failed_step": {"index": step.number, "name": step.name, "step": step.verb, "kind": failed.kind}}
        try:
            self._write(failed.result | {"cause": failed.cause, "component": component})
        except OSError as trouble:
            failed.result["notices"].append(f"the transcript could not be written to {self.settings.transcript_file}: {trouble.strerror}")
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
            entry = {"name": event.name, "data": event.data, "seconds": round(event.arrived - self.began, 6), "during": len(self.transcript) + 1}
            self.events.append(self._clean(entry))

    def _result(self) -> dict[str, Any]:
        notices: list[str] = []
        client = self.stage.client if self.stage else None
        if client and client.events.dropped_by_server:
            notices.append(f"ryll dropped {client.events.dropped_by_server} events because they were not read in time")
        if client and client.events.lost_here:
            notices.append(f"{client.events.lost_here} events came that no step asked for in time; they were thrown away, the oldest first")
        if client and client.events.last > len(self.events):
            notices.append(f"`events` holds the first {len(self.events)} of {client.events.last} events")
        server = client.server if client else None
        return {
            "changed": bool(self.stage and self.stage.acted),
            "transcript": self.transcript,
            "events": self.events,
            "events_seen": self._clean(dict(client.events.seen)) if client else {},
            "registered": self.registered,
            "server": {} if server is None else {"name": self._clean(server.server_name), "protocol_version": server.protocol_version},
            "seconds": round(time.monotonic() - self.began, 6),
            "notices": notices,
        }

    def _write(self, result: dict[str, Any]) -> None:
        if self.settings.transcript_file:
            check_report.write(self.settings.transcript_file, {**result, "files": self.files})

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
