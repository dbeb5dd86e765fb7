"""Plays a suite on a lane that is up, check by check; a check that fails does not keep the others from being made."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ...core import bounded
from ...core.errors import LaneError, one_line
from ...core.private_dir import write_private
from ...evidence.log_excerpt import UNANSWERED, quoted
from ...programs.loss import CLIENTS, lost, watched
from ...protocols import control_service, program_end
from ...protocols.ryll import shots
from ...protocols.ryll.errors import Unmet as RyllUnmet
from ...protocols.ryll.pictures import to_png
from .conversation import Conversation
from .plan import CLIENT, Actor, Check, Step, Suite, fill
from .selection import chosen
from .stage import LaneStage, read_text
from .tokens import expired_certificate, other_ca

#: Longest text of one witness in a check's detail.
LONGEST = 160
LOOK_LIMIT = 2.0  #: seconds for the picture at a failure
LOG_BYTES = 1 << 20  #: of the daemon's log that are searched for what explains a failure


class Unmet(Exception):
    """What a step expects did not come true.

    code: one of core.codes; the text is a clause that says what was seen instead.
    """

    def __init__(self, code: str, problem: str, evidence: str | None = None) -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.evidence = evidence


@dataclass
class Mark:
    """A moment (of time.monotonic()): how long each file was, and what the proxy's counters showed."""

    sizes: dict[str, int]
    counters: dict[str, float] | None
    at: float = 0.0


@dataclass
class Play:
    """One suite on one guest.

    values: what steps registered, by name; marks: the moment before each registered step; held: to be closed at the
    end.
    """

    lane: LaneStage
    suite: Suite
    actors: dict[str, Actor]
    values: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    talks: dict[str, Conversation] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    start: Mark = field(default_factory=lambda: Mark({}, None))
    ended: set[str] = field(default_factory=set)  #: programs whose end a check expected and saw
    held: list[Any] = field(default_factory=list)
    direct: set[str] = field(default_factory=set)  #: clients that are connected to qemu without the proxy
    #: of the check that is played: milliseconds at percentiles, for the report
    measured: dict[str, list[float]] = field(default_factory=dict)
    picture: Any = None  #: and the last picture that one of its steps judged
    events: tuple[str, ...] = ()

    # --- what actors use ------------------------------------------------------------------------

    def file_since(self, path: str, since: str | None) -> int:
        """Where a file ended when the step `since` began, or else where the last look at it in this check ended."""
        if since:
            return self.marks[since].sizes.get(path, 0)
        return self.cursors.get(path, self.start.sizes.get(path, 0))

    def counters_since(self, since: str | None) -> dict[str, float]:
        mark = self.marks[since] if since else self.start
        return mark.counters or {}

    def known(self, name: str) -> str:
        """The text that stands for {name} in a step."""
        place = self.lane.place
        if name == "ticket":
            return read_text(place.ticket_file)
        if name == "other_ca":
            return other_ca()
        if name == "other_subject":  # another in its organisation alone
            mine = place.host_subject
            return mine.replace("O=", "O=Other ", 1) if "O=" in mine else f"{mine},O=Other"
        if name == "expired_certificate":
            return expired_certificate(place.lane_dir)
        if name == "proxy":
            return self.lane.described["daemon"].env["KERBSIDE_PROXY_BIN"]
        if name == "console_name":
            sources = yaml.safe_load(read_text(self.lane.described["daemon"].env["KERBSIDE_SOURCES_PATH"]))
            return str(sources[0]["consoles"][0]["name"])
        if hasattr(place, name):
            return str(getattr(place, name))
        base, _, key = name.partition(".")
        if base in self.lane.machines.consoles and key == "uuid":
            return self.lane.machines.uuid(base)
        value = self.value(base)
        return str(value.get(key, "") if isinstance(value, dict) else value)

    def value(self, name: str) -> Any:
        """What the step that registered this name returned."""
        if name not in self.values:
            raise Unmet("suite_step_missing", f"{name} is not known, because the check that registers it failed")
        return self.values[name]

    def talk(self, client: str) -> Conversation:
        """The connection to a client's control socket, made when it is first used in a check."""
        if client not in self.talks:
            self.talks[client] = talk = self.lane.conversation(client)
            talk.open(self.events)
        return self.talks[client]

    def hang_up(self, client: str | None = None) -> None:
        for name in [client] if client else list(self.talks):
            if talk := self.talks.pop(name, None):
                talk.close()

    def let_go(self) -> None:
        """End all clients and bare connections."""
        for thing in self.held:
            thing.close()
        self.held.clear()
        self.hang_up()
        self.lane.forget()

    def connect(self, client: str, keys: dict[str, str], options: tuple[str, ...], direct: bool = False) -> None:
        """Start a client with these keys of a console.vv. The conversation with it lasts until it ends."""
        self.hang_up(client)
        self.talks[client] = talk = self.lane.connect(client, keys, options)
        self.direct = self.direct | {client} if direct else self.direct - {client}
        talk.subscribe(self.events)

    # --- the course of a suite --------------------------------------------------------------------

    def check(self, check: Check) -> dict[str, Any]:
        """Make one check. Returns its entry for result.json."""
        begun, started = time.monotonic(), round(time.time(), 3)
        seen: list[str] = []
        reached = 0
        self.events = check.events
        self.measured, self.picture = {}, None
        error: LaneError | None = None
        try:
            settings = {**self.suite.kerbside, **fill(check.kerbside, self.known)}
            if settings != self.lane.settings:
                self.let_go()  # the daemon would wait for connections to end
                self.lane.configure(settings)
            ends = {s.options["name"] for s in check.steps if s.actor == "process" and s.options["exits"] is not None}
            with watched(self.lane.place.lane_dir, {CLIENTS, *self.ended, *ends}):
                if check.client != "none" and (check.client == "fresh" or CLIENT not in self.lane.clients()):
                    self.connect(CLIENT, self.lane.console(), self.suite.ryll)
                self._begin(check)
                for step in check.steps:
                    reached = step.number
                    self._step(check, step, seen)
            if gone := self._gone():  # none of the steps need have noticed
                raise gone
        except LaneError as failure:
            self._look()
            error = self._culprit(check, failure)
        result, picture = "pass", self._kept(check)
        detail = {"witnesses": seen, **({"latency": self.measured} if self.measured else {}), **picture}
        if check.expected_failure:
            detail["expected_failure"] = check.expected_failure["reason"]
            if not error:
                problem = f"it passed, although this is known to fail: {check.expected_failure['reason']}"
                error = LaneError("suite_unexpected_pass", "lane", problem, "remove expected_failure from the check")
            elif error.code == check.expected_failure["code"]:
                error = None
        if error:
            result = "not run" if error.code == "suite_step_missing" else "fail"
            if later := [f"{step.number} {step.name}" for step in check.steps if step.number > reached]:
                detail["not_reached"] = later
            detail |= _why(error)
        entry = _entry(self.suite, self.lane.guest["name"], check, result, detail)
        return {**entry, "started": started, "seconds": round(time.monotonic() - begun, 3)}

    def _look(self) -> None:
        """Keep what the client shows at a failure, if no step of the check has judged a picture."""
        if self.picture is None and CLIENT in self.lane.clients():
            with contextlib.suppress(LaneError):
                self.picture = shots.now(self.talk(CLIENT).stage.client, time.monotonic() + LOOK_LIMIT)

    def _kept(self, check: Check) -> dict[str, str]:
        """Write the last picture of a check to the lane's directory; its name for the detail."""
        if self.picture is None:
            return {}
        folder = Path(self.lane.place.lane_dir, "pictures")
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self.suite.name}-{self.lane.guest['name']}-{check.name}.png"
        write_private(folder / name, to_png(self.picture))
        return {"picture": f"pictures/{name}"}

    def _begin(self, check: Check) -> None:
        self.cursors.clear()
        running = self.lane.clients()
        for name in list(self.talks):
            if name in running:
                self.talks[name].subscribe(check.events)
            else:
                self.hang_up(name)
        counted = any(step.actor == "counters" for step in check.steps)
        self.start = self._mark(counted)

    def _mark(self, counted: bool) -> Mark:
        place = self.lane.place
        files = [place.serial_log, *(entry.path for entry in os.scandir(place.logs_dir) if entry.name.endswith(".log"))]
        sizes = {path: os.stat(path).st_size for path in files if os.path.exists(path)}
        return Mark(sizes, self.lane.counters() if counted else None, time.monotonic())

    def _step(self, check: Check, step: Step, seen: list[str]) -> None:
        if step.register:
            counted = any(
                one.actor in ("counters", "paced") and one.options["since"] == step.register for one in check.steps
            )
            self.marks[step.register] = self._mark(counted)
            # a check without a client talks to none that another left: that one may end at any moment
            mine = check.client != "none" or step.client in self.talks
            if not step.ryll and mine and step.client in self.lane.clients():
                self.talk(step.client).mark(step.register)
        try:
            result = self._ryll(step) if step.ryll else self._act(step)
        except (Unmet, LaneError) as error:
            raise self._failed(step, error) from None
        if step.register:
            self.values[step.register] = result
        if isinstance(result, dict) and not step.ryll:
            self.measured |= result.get("latency", {})
            self.picture = result.get("picture", self.picture)
            result = result.get("shown")
        if isinstance(result, str):
            seen.append(one_line(f"{step.name}: {result}" if result else step.name, LONGEST))
        elif step.ryll:
            seen.append(step.name)

    def _ryll(self, step: Step) -> dict[str, Any]:
        assert step.ryll is not None
        talk = self.talk(step.client)
        try:
            return talk.play(step.ryll)
        finally:
            self.picture, talk.stage.taken = talk.stage.taken or self.picture, None

    def _act(self, step: Step) -> Any:
        options = {key: fill(value, self.known) for key, value in step.options.items()}
        step = replace(step, limit=step.limit * self.lane.place.slowness)
        return self.actors[step.actor].play(self, step, options, time.monotonic() + step.limit)

    def _failed(self, step: Step, error: Unmet | LaneError) -> LaneError:
        place = f"step {step.number} ({step.name})"
        if isinstance(error, Unmet):
            actor = self.actors[step.actor]
            evidence = error.evidence or (self.lane.log(actor.log) if actor.log else None)
            return LaneError(error.code, step.blame or actor.blame, f"{place}: {error.problem}", evidence=evidence)
        component = step.blame if step.blame and isinstance(error, RyllUnmet) else error.component
        evidence = error.evidence or (self.lane.log(step.client) if step.ryll else None)
        return LaneError(error.code, component, f"{place}: {error.cause}", evidence=evidence)

    def _culprit(self, check: Check, error: LaneError) -> LaneError:
        """The failure, blamed on a program that is lost, or on the component that the check's own questions lead to."""
        if gone := self._gone():
            return gone
        if error.component in ("proxy", "ryll", "qemu"):  # each waits for kerbside's answers to its proxy
            if said := self._unanswered():
                problem = f"{error.cause}; kerbside could not answer its proxy: {said}"
                return LaneError("control_service_failed", "kerbside", problem, evidence=self.lane.log("daemon"))
            if wrong := self._answer():
                code, why = wrong
                problem = f"{error.cause}; {why}"
                return LaneError(code, "kerbside", problem, evidence=self.lane.log("daemon"))
        self.hang_up()
        if error.code == "suite_step_missing":
            return error  # it says nothing of this check's own parts
        for blamed, component, steps in check.culprits:
            if blamed != error.component:
                continue
            try:
                self._begin(check)
                for step in steps:
                    self._step(check, step, [])
            except LaneError:
                self.hang_up()
                continue
            finally:
                for client in self.direct:  # the next check is about kerbside's
                    self.hang_up(client)
                    self.lane.stop(client)
            return LaneError(error.code, component, error.cause, evidence=error.evidence)
        return error

    def _unanswered(self) -> str:
        """What kerbside's control service said since the check's beginning of a question that it could not answer."""
        log = self.lane.log("daemon")
        lines = bounded.since(log, self.start.sizes.get(log, 0), LOG_BYTES).splitlines()
        return next((quoted(line) for line in lines if UNANSWERED.match(line)), "")

    def _answer(self) -> tuple[str, str] | None:
        """What is wrong with the answer of kerbside's control service about a new token: code and words."""
        place, known = self.lane.place, False
        with contextlib.suppress(LaneError):  # then about an older one, which may be of another console
            known = bool(self.lane.console())
        told = control_service.ask(place.database_python, place.lane_dir, self.lane.run.mark)
        if isinstance(told, str):
            silent = f"kerbside's control service does not answer its proxy: {told}"
            return ("control_service_silent", silent) if told else None
        sources = read_text(os.path.join(place.lane_dir, "sources.yaml"))  # which may lead elsewhere, on purpose
        port = told["insecure_port"]
        if known and port != place.spice_port and f"insecure_port: {port}\n" not in sources:
            return "spice_unreachable", f"kerbside sends its proxy to port {port} and not to {place.spice_port}"
        if known and told["ticket"] != read_text(place.ticket_file).strip():
            return "ticket_refused", "kerbside gives its proxy a ticket other than qemu's"
        return None

    def _gone(self) -> LaneError | None:
        """The loss of a program that is to run all the time; clients come and go."""
        place = self.lane.place.lane_dir
        if gone := lost(place, {CLIENTS, *self.ended}):
            return program_end.failure(gone[0], place, bounded.since(self.lane.place.serial_log, 0, LOG_BYTES))
        return None


def run(lane: LaneStage, suite: Suite, guest: str, actors: dict[str, Actor], slow: bool) -> list[dict[str, Any]]:
    """Play a suite on a guest.

    Returns the entries of all its checks, for result.json; slow: also those that take long.
    """
    return list(entries(lane, suite, guest, actors, slow))


def entries(lane: LaneStage, suite: Suite, guest: str, actors: dict[str, Actor], slow: bool) -> Iterator[Any]:
    """The entries, each as soon as its check was made; whoever has seen enough can leave."""
    checks = chosen(suite, slow)
    play = Play(lane, suite, actors)
    play.suite = suite = replace(suite, kerbside=fill(suite.kerbside, play.known))
    kept = lane.log(f"serial-{suite.name}-{guest}")
    try:
        lane.settle(suite, guest)
    except LaneError as error:
        for number, check in enumerate(checks):
            result, detail = ("not run", {}) if number else ("fail", _why(error))  # the first one names the reason
            entry = {**_entry(suite, guest, check, result, detail), "seconds": 0.0}
            _keep_serial(lane.place.serial_log, kept, entry)
            yield entry
        return
    try:
        for check in checks:
            entry = play.check(check)
            if failure([entry]):
                lane.note_failure()
                _keep_serial(lane.place.serial_log, kept, entry)
            yield entry
    finally:
        play.let_go()
        lane.stop_machines()


def _keep_serial(serial: str, kept: str, entry: dict[str, Any]) -> None:
    """Keep the guest's serial log if it is the evidence of a failure: it begins anew when the guest is started."""
    file, colon, line = str(entry["detail"].get("evidence") or "").partition(":")
    if file == serial and os.path.exists(serial):
        entry["detail"]["evidence"] = f"{kept}{colon}{line}"
        write_private(kept, Path(serial).read_bytes())


def _entry(suite: Suite, guest: str, check: Check, result: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {"suite": suite.name, "guest": guest, "name": check.name, "result": result, "detail": detail}


def _why(error: LaneError) -> dict[str, Any]:
    return {"component": error.component, "code": error.code, "cause": error.cause, "evidence": error.evidence}


def failure(entries: list[dict[str, Any]]) -> LaneError | None:
    """The first failure among the entries of a suite, as the verdict takes it."""
    for entry in entries:
        if entry["result"] == "fail":
            why, name = entry["detail"], entry["name"]
            problem = f"suite {entry['suite']} on {entry['guest']}: check {name}: {why['cause']}"
            return LaneError(why["code"], why["component"], problem, check=name, evidence=why["evidence"])
    return None
