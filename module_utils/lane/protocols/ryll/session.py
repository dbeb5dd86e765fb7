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
from ...core.errors import LaneError, one_line
from ..json_lines import LONGEST_PATH
from .client import MAX_LINE_BYTES, Client, Event
from .errors import BadSteps, Closed, ControlError, ProcessLost, SessionFailed, TimedOut, Unmet, Unreachable
from .kinds import bounded, is_path
from .private import Secrets
from .ryll_process import Watch, log_end
from .stage import Stage
from .steps import Step
from .verbs import play

#: What a transcript holds at most: characters of a text, events.
MOST_TEXT = 1 << 16
MOST_EVENTS = 1000
#: Most characters of what one step saw, and of all events, so that no peer can fill the memory with a transcript.
MOST_SEEN = 1 << 20
#: Most characters of the end of ryll's log that a message quotes.
MOST_SAID = 300


@dataclass(frozen=True)
class Settings:
    """One session. Times in seconds.

    socket: path of ryll's control socket. client_name: what ryll is told. limit: for the whole session. connect_within:
    how long the socket is awaited. pid: the ryll process, to be watched. log_file: ryll's log, whose end is quoted when
    ryll is lost. transcript_file: where the transcript goes as JSON, mode 0600. report: what else goes into that file.
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
        bounded("limit", self.limit, 0.001, 86400)
        bounded("connect_within", self.connect_within, 0, 86400)
        bounded("max_line_bytes", self.max_line_bytes, 1024, MAX_LINE_BYTES)
        if self.pid is not None:
            bounded("pid", self.pid, 1, None)


def run(settings: Settings, steps: list[Step], then: Callable[[Stage], None] | None = None) -> dict[str, Any]:
    """Play the steps; returns changed, transcript, events, events_seen, registered, server, seconds, and in `notices`
    such things as lost events.

    then: called after the last step, while the connection is still open.

    Raises SessionFailed, whose `result` holds the same things as far as the steps got, or BadSteps when nothing was
    started.
    """
    settings.check()
    files = [step.options["file"] for step in steps if step.options.get("file")]
    for path in [settings.transcript_file, *files]:
        if path and not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
            raise BadSteps(f"the directory of {path} does not exist or is not writable")
    for file in files:
        with suppress(OSError):  # what cannot be removed cannot be replaced either, and the step says so
            Path(file).unlink()  # a picture of an earlier session is not one of this
    return _Session(settings, steps, files).run(then)


def rehearse(settings: Settings, steps: list[Step]) -> dict[str, Any]:
    """What `run` would do, without touching anything."""
    settings.check()
    would = [f"{step.number}. {step.name}" + (f" (`{step.verb}`)" if step.name != step.verb else "") for step in steps]
    return {"changed": any(step.acts for step in steps), "would": would, "transcript": []}


class _Session:
    def __init__(self, settings: Settings, steps: list[Step], files: list[str]) -> None:
        self.settings = settings
        self.steps = steps
        self.files = files
        self.secrets = Secrets(steps)
        self.transcript: list[dict[str, Any]] = []
        self.registered: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.room = MOST_SEEN
        self.began = time.monotonic()
        self.watch: Watch | None = None
        self.stage = self._new_stage()

    def _new_stage(self) -> Stage:
        client = Client(self.settings.socket, max_line_bytes=self.settings.max_line_bytes, watch=self.watch)
        client.events.listener = self._event
        return Stage(client, self.settings.client_name, self.secrets, self.settings.connect_within)

    def run(self, then: Callable[[Stage], None] | None) -> dict[str, Any]:
        try:
            for step in self.steps:
                self._step(step)
            if then:
                then(self.stage)
        finally:
            self.stage.client.close()
            if self.watch:
                self.watch.close()
        result = self._result()
        try:
            self._write(result)
        except OSError as trouble:
            unwritten = _unwritten(self.settings.transcript_file, trouble)
            unwritten.result = result
            raise unwritten from None
        return result

    def _step(self, step: Step) -> None:
        started, at = time.time(), time.monotonic()
        try:
            if self.settings.pid and self.watch is None:
                self.watch = Watch(self.settings.pid)
                self.stage = self._new_stage()
            seen = self._play(step)
        except (LaneError, OSError) as error:
            raise self._failed(step, started, at, error) from None
        shown: dict[str, Any] = self._clean(seen)
        if (size := len(json.dumps(shown, ensure_ascii=False))) > MOST_SEEN:
            shown = {"...": f"({size} characters)"}
        self._note(step, "ok", shown, started, at)
        if step.register:
            self.registered[step.register] = shown

    def _play(self, step: Step) -> dict[str, Any]:
        now = time.monotonic()
        limit = step.limit + (0 if self.stage.client.wire.connected else self.settings.connect_within)
        left = self.began + self.settings.limit - now
        session = f"the session's limit of {self.settings.limit:g} s"
        if left <= step.options.get("seconds", 0):
            raise TimedOut(f"{session} is too short: {max(left, 0):.1f} s are left for this step", component="lane")
        if limit <= left:
            return play(self.stage, step, now + limit)
        try:
            return play(self.stage, replace(step, limit=round(left, 1) or 0.1), now + left)
        except (TimedOut, Unmet) as error:
            if time.monotonic() >= now + left:
                error.problem += f" ({session} ended the step before its own)"
            raise

    def _failed(self, step: Step, started: float, at: float, error: LaneError | OSError) -> SessionFailed:
        if isinstance(error, OSError):
            error = _unwritten(error.filename, error)
        if isinstance(error, ControlError) and self.secrets.any:
            error.sample = ""
        component = step.blame if step.blame and isinstance(error, Unmet) else error.component
        problem, fix, evidence, log = self._clean(error.problem), error.fix, error.evidence, self.settings.log_file
        if log and component == "ryll" and isinstance(error, Unreachable | Closed | ProcessLost | TimedOut):
            said, line = log_end(log)
            if said:
                said = one_line(self._clean(said), 2 * MOST_TEXT)
                problem += f'; its log ends with "{said if len(said) <= MOST_SAID else "..." + said[-MOST_SAID:]}"'
                evidence = f"{log}:{line}" if line else log
            fix = fix or f"look at {log}"
        place = f"step {step.number} of {len(self.steps)} ({step.name})"
        failed = SessionFailed(
            error, f"{place}: {problem}", component=component, fix=fix, evidence=evidence, check=step.name
        )
        detail = {"problem": problem, "kind": failed.kind, "code": failed.code}
        self._note(step, "failed", detail, started, at)
        for later in self.steps[step.number :]:
            self._note(later, "skipped", {})
        which = {"index": step.number, "name": step.name, "step": step.verb, "kind": failed.kind}
        failed.result = self._result() | {"failed_step": which}
        try:
            self._write(failed.result | {"cause": failed.cause, "component": component})
        except OSError as trouble:
            unwritten = f"the transcript could not be written to {self.settings.transcript_file}: {trouble.strerror}"
            failed.result["notices"].append(unwritten)
        return failed

    def _note(self, step: Step, result: str, seen: dict[str, Any], started: float | None = None, at: float = 0) -> None:
        self.transcript.append(
            {
                "index": step.number,
                "name": step.name,
                "step": step.verb,
                "result": result,
                "started": started and round(started, 6),
                "seconds": round(time.monotonic() - at, 6) if started else 0.0,
                "seen": seen,
            }
        )

    def _event(self, event: Event) -> None:
        self.room -= event.size
        if len(self.events) < MOST_EVENTS and self.room >= 0:
            seconds, during = round(event.arrived - self.began, 6), len(self.transcript) + 1
            entry = {"name": event.name, "data": event.data, "seconds": seconds, "during": during}
            self.events.append(self._clean(entry))

    def _result(self) -> dict[str, Any]:
        events, server = self.stage.client.events, self.stage.client.server
        notices: list[str] = []
        if events.dropped_by_server:
            notices.append(f"ryll dropped {events.dropped_by_server} events because they were not read in time")
        if events.lost_here:
            notices.append(f"{events.lost_here} events that no step waited for in time were dropped, the oldest first")
        if events.last > len(self.events):
            notices.append(f"`events` holds the first {len(self.events)} of {events.last} events")
        named = {"name": server.server_name, "protocol_version": server.protocol_version} if server else {}
        return {
            "changed": self.stage.acted,
            "transcript": self.transcript,
            "events": self.events,
            "events_seen": self._clean(dict(events.seen)),
            "registered": self.registered,
            "server": self._clean(named),
            "seconds": round(time.monotonic() - self.began, 6),
            "notices": notices,
        }

    def _write(self, result: dict[str, Any]) -> None:
        if self.settings.transcript_file:
            check_report.write(self.settings.transcript_file, {**self.settings.report, **result, "files": self.files})

    def _clean(self, value: Any) -> Any:
        """The value without private texts, and with no text longer than a transcript may have."""
        if isinstance(value, str):
            value = self.secrets.mask(value)
            return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]}... ({len(value)} characters)"
        if isinstance(value, list | tuple):
            return [self._clean(entry) for entry in value]
        if isinstance(value, dict):
            return {self._clean(str(key)): self._clean(entry) for key, entry in value.items()}
        return value


def _unwritten(path: str | None, error: OSError) -> LaneError:
    problem = f"{path or 'a file of the session'} could not be written: {error.strerror}"
    return LaneError("session_file_unwritten", "environment", problem, "make room")
