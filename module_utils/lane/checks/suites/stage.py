"""What a suite needs of its lane: its guest, kerbside with its settings, clients that connect through the proxy."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core import command, local_http, secrets
from ...core.errors import LaneError, one_line
from ...core.layout import Layout
from ...core.private_dir import handed_over, read_run, write_private
from ...programs import records
from ...programs.program import Program
from ...programs.readiness import Ready
from ...programs.start import start
from ...programs.stop import stop
from ...protocols import kerbside_api, proxy_counters
from ...protocols.qmp import Qmp
from .conversation import Conversation
from .machines import Machines
from .plan import CLIENT, Suite

POLL = 0.02
#: Seconds for an answer of kerbside's API.
ANSWER = 15.0
#: Seconds that kerbside may take to know a console; it reads its sources before the proxy listens.
CONSOLE_LIMIT = 5.0
#: ryll's words when it cannot connect, and whose refusal that is (docs/diagnosis.md).
NOT_CONNECTED = {
    "PermissionDenied": "kerbside",
    "main channel dropped": "proxy",
    "UnknownIssuer": "tls",
    "NotValidForName": "tls",
    "Connection refused": "proxy",
}


@dataclass(frozen=True)
class Place(Layout):
    """Where the parts of the lane are: its files, the ports that it was claimed with, and O(place) of suite_run."""

    lane_dir: str
    proxy_port: int
    proxy_plain_port: int
    api_port: int
    metrics_port: int
    spice_port: int
    source: str
    uuid: str
    host_subject: str
    database_python: str
    ryll: str
    qemu: str
    boot_limit: float = 60
    agent_limit: float = 30
    start_limit: float = 40
    stop_limit: float = 5
    kerbside_stop_limit: float = 5  #: for API and daemon, when they are started anew
    slowness: float = 1  #: what the limits of steps are multiplied by

    @classmethod
    def of(cls, given: dict[str, Any]) -> Place:
        """From the module's options, whose numbers may be texts."""
        kinds = {"int": int, "float": float}
        return cls(**{name: kinds.get(str(cls.__annotations__[name]), str)(value) for name, value in given.items()})


class LaneStage:
    """The lane that the suites are played on.

    guests: the entries of fixtures/guests.yml, each with the path of its image.
    """

    def __init__(self, place: Place, guests: dict[str, dict[str, Any]]) -> None:
        self.place = place
        self.guests = guests
        self.run = read_run(place.lane_dir)
        self.guest: dict[str, Any] = {}
        self.settings: dict[str, str] = {}
        self.machines: Machines
        self.described: dict[str, Program] = {}
        for name in ("qemu", "api", "daemon"):
            program = records.described(place.lane_dir, name)
            if program is None:
                problem = f"{name} of lane {self.run.lane_id} was not started by this version of the lane"
                fix = f"bring the lane up: ./lane up -e lane_id={self.run.lane_id}"
                raise LaneError("suite_no_lane", "lane", problem, fix)
            self.described[name] = program

    @property
    def _failed(self) -> Path:
        return Path(self.place.lane_dir, "suite_failed")

    def note_failure(self) -> None:
        """Have the next suite start the guest anew: a failed check may have left it in any state."""
        self._failed.touch(mode=0o600)

    # --- the programs ---------------------------------------------------------------------------

    def settle(self, suite: Suite, guest: str) -> None:
        """Start API and daemon with the suite's settings, qemu with its guest, its machines, unless they run."""
        self.forget()
        self.guest = self.guests[guest]
        entry = records.record(self.place.lane_dir, "qemu")
        boots = suite.boots or self._failed.exists()
        self._failed.unlink(missing_ok=True)
        if boots and entry:
            stop(self.run, [entry], self.place.stop_limit)
        self.machines = Machines(self.place, suite)
        qemu = self._qemu(guest)
        self._new_serial(qemu)
        self.configure(suite.kerbside, [qemu, *self.machines.programs()])
        self._banner()

    def configure(self, settings: dict[str, str], others: Iterable[Program] = ()) -> None:
        """Have API and daemon run with these settings; what runs like that already is left alone."""
        self.settings = settings
        # the daemon last: both write the sources when they are started, and it reads them
        programs = [self.kerbside(name, settings) for name in ("api", "daemon")]
        start(self.place.lane_dir, self.run, [*others, *programs], stop_limit=self.place.kerbside_stop_limit)

    def restore(self) -> None:
        """Start everything again as the roles described it, and leave no client."""
        self.forget()
        self.stop_machines()
        self._new_serial(self.described["qemu"])
        programs = [replace(self.described[name], after=()) for name in ("qemu", "api", "daemon")]
        start(self.place.lane_dir, self.run, programs, stop_limit=self.place.kerbside_stop_limit)

    def kerbside(self, name: str, settings: dict[str, str]) -> Program:
        program = self.described[name]
        if name == "api" and not settings:
            return replace(program, after=())  # it does not read the sources
        files = dict(program.secret_files)
        if more := self.machines.sources():
            file = os.path.join(self.place.lane_dir, "secrets", "suite_sources")
            for path, (source, form) in program.secret_files.items():
                write_private(file, (form.replace("{}", read_text(source)) + more).encode())
                files[path] = (file, "{}")
        return replace(program, env={**program.env, **settings}, secret_files=files, after=())

    def _qemu(self, guest: str) -> Program:
        """qemu as the role described it, with this guest's image in the place of the one that the role booted."""
        program = self.described["qemu"]
        booted = handed_over(self.place.lane_dir)["lane_guest"]["path"]
        known, image = (f"file={path}".replace(",", ",,") for path in (booted, self.guests[guest]["path"]))
        return replace(program, argv=tuple(word.replace(known, image) for word in program.argv), after=())

    def _new_serial(self, qemu: Program) -> None:
        """Remove what another guest said on the serial port, if this one has to be started."""
        entry = records.record(self.place.lane_dir, "qemu")
        if not entry or not entry.running(self.run) or entry.digest != qemu.digest(self.run, self.place.lane_dir):
            Path(self.place.serial_log).unlink(missing_ok=True)

    def _banner(self) -> None:
        banner, entry = self.guest["banner"], records.record(self.place.lane_dir, "qemu")
        limit = self.place.boot_limit
        until = time.monotonic() + limit
        while banner not in (said := read_text(self.place.serial_log)):
            if entry is None or not entry.running(self.run):
                problem = f"qemu ended before the guest {self.guest['name']} was up"
                raise LaneError("suite_guest_not_up", "qemu", problem, evidence=self.log("qemu"))
            if time.monotonic() > until:
                last = one_line((["nothing", *said.splitlines()])[-1], 120)
                problem = f"the guest did not print its banner {banner!r} within {limit:g} s, but {last!r}"
                raise LaneError("suite_guest_not_up", "guest", problem, evidence=self.place.serial_log)
            time.sleep(POLL)

    # --- kerbside -------------------------------------------------------------------------------

    def token(self) -> str:
        return read_text(self.place.token_file).strip()

    def request(
        self, method: str, path: str, headers: dict[str, str], said: Any = None, shows_ticket: bool = False
    ) -> local_http.Answer:
        """The answer to a request to kerbside's API. said: its body, sent as JSON.

        Raises LaneError when the ticket is in the answer and may not be, or there is none.
        """
        sent = None if said is None else json.dumps(said)
        try:
            answer = local_http.request(method, self.place.api_port, path, ANSWER, sent, **headers)
        except local_http.NoAnswer as error:
            problem = f"{method} {path} of kerbside's API: {error}"
            raise LaneError("suite_api_silent", "kerbside", problem, evidence=self.log("api")) from None
        if not shows_ticket:
            refuse_ticket(self.place, answer.body, "kerbside", f"the answer to {method} {path}", self.log("api"))
        return answer

    def console(self, of: str | None = None) -> dict[str, str]:
        """The keys of a new console.vv, of the guest or of a console of the suite.

        Its token is a secret of the lane from now on.
        """
        where = f"suite-{of}/{self.machines.uuid(of)}" if of else f"{self.place.source}/{self.place.uuid}"
        path = f"/console/proxy/{where}/console.vv"
        until = time.monotonic() + CONSOLE_LIMIT
        headers = kerbside_api.headers(self.token(), kerbside_api.CONSOLE_TYPES)
        while True:
            status, body, _ = self.request("GET", path, headers)
            if status == 200:
                keys, place = kerbside_api.parse(body), self.place
                secrets.register(place.lane_dir, "console_token", keys.get("password", ""))
                ports = {"tls_port": place.proxy_port, "spice_port": place.spice_port}
                kerbside_api.check(keys, **ports, host_subject=place.host_subject, ca_file=place.ca_file)
                return keys
            if status != 404 or time.monotonic() > until:
                problem = f"kerbside's API refused to hand out console.vv: {status}: {one_line(body, 200)}"
                raise LaneError("suite_no_console", "kerbside", problem, evidence=self.log("daemon"))
            time.sleep(POLL)

    def counters(self) -> dict[str, float]:
        return proxy_counters.scrape(self.place.metrics_port)

    def log(self, name: str) -> str:
        return os.path.join(self.place.logs_dir, f"{name}.log")

    def qmp(self, machine: str | None = None) -> Qmp:
        """The monitor of the guest's qemu, or of a machine of the suite."""
        return Qmp.connect(self.machines.by_name[machine].qmp_socket if machine else self.place.qmp_socket)

    # --- clients --------------------------------------------------------------------------------

    def clients(self) -> list[str]:
        """The names of the ryll processes that run."""
        found = records.records(self.place.lane_dir)
        mine = [entry for entry in found if entry.component == "ryll" and entry.mark == self.run.mark]
        return [entry.name for entry in mine if entry.pid]

    def socket(self, client: str) -> str:
        return self.place.control_socket if client == CLIENT else os.path.join(self.place.lane_dir, f"{client}.sock")

    def _file(self, client: str) -> str:
        return os.path.join(self.place.lane_dir, f"{client}.vv")

    def _argv(self, client: str, keys: dict[str, str], options: tuple[str, ...]) -> tuple[str, ...]:
        file = self._file(client)
        kerbside_api.write(file, keys)
        return (self.place.ryll, "--headless", "--file", file, "--control-socket", self.socket(client), *options)

    def connect(self, client: str, keys: dict[str, str], options: tuple[str, ...]) -> Conversation:
        """Start ryll with these keys, wait until it shows the guest's picture, and go on talking to it."""
        self.stop(client)
        program = Program(
            name=client,
            component="ryll",
            argv=self._argv(client, keys, options),
            log=self.log(client),
            env={"NO_COLOR": "1"},
            ready=Ready(socket=self.socket(client)),
            limit=self.place.start_limit,
            stop_signal="INT",
        )
        records.describe(self.place.lane_dir, [program])  # second_look starts the same one without the proxy
        try:
            start(self.place.lane_dir, self.run, [program], restart=True, stop_limit=self.place.stop_limit)
            ryll = self._greeted(client)
        except LaneError as error:
            raise self._not_connected(client) or error from None
        kept, wanted = os.path.exists(self._file(client)), keys.get("delete-this-file", "0")
        if kept == (wanted == "1"):
            ryll.close()
            code, does = ("console_file_kept", "leaves") if kept else ("console_file_deleted", "deletes")
            problem = f"the client {client} {does} {self._file(client)}, in which delete-this-file is {wanted}"
            raise LaneError(code, "ryll", problem, evidence=program.log)
        return ryll

    def conversation(self, client: str) -> Conversation:
        """A connection to a client that runs. Raises LaneError (suite_client_gone) when it does not."""
        place = self.place
        return Conversation(place.lane_dir, client, self.socket(client), self.log(client), place.slowness)

    def _greeted(self, client: str) -> Conversation:
        agent = {"agent": True} if self.guest.get("agent") and client == CLIENT else {}
        ryll = self.conversation(client)
        try:
            ryll.open()
            ryll.do({"await": {"surfaces": 1, "marks": 1, **agent}, "within": self.place.agent_limit})
        except BaseException:
            ryll.close()
            raise
        return ryll

    def _not_connected(self, client: str) -> LaneError | None:
        """Why a client that has ended was not let in, by its own log; None when that does not say."""
        entry = records.record(self.place.lane_dir, client)
        if entry is None or entry.last_status(self.place.lane_dir) is None:
            return None
        said = "\n".join(entry.log_lines())
        for words, component in NOT_CONNECTED.items():
            if words in said:
                problem = f"the client {client} was not let in: {words}"
                return LaneError("client_refused", component, problem, evidence=entry.log)
        return None

    def refused(
        self, client: str, keys: dict[str, str], options: tuple[str, ...], limit: float
    ) -> tuple[bool, command.Done]:
        """Run ryll with these keys; whether it ended by itself within limit seconds, and what it said."""
        env = {**command.environment(self.run.mark), "NO_COLOR": "1", "HOME": self.place.lane_dir}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with command.spawn(list(self._argv(client, keys, options)), env, cwd=self.place.lane_dir, **pipes) as running:
            try:
                out, err = running.communicate(timeout=limit)
                ended = True
            except subprocess.TimeoutExpired:
                command.end_group(running)
                out, err = running.communicate(timeout=ANSWER)
                ended = False
        return ended, command.Done(running.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def stop_machines(self) -> None:
        self._forget(lambda entry: entry.name.startswith("machine_"))

    def forget(self) -> None:
        """Stop all clients and forget them, so that nobody takes them for programs of the lane that are lost."""
        self._forget(lambda entry: entry.component == "ryll")

    def _forget(self, which: Callable[[records.Record], bool]) -> None:
        entries = [entry for entry in records.records(self.place.lane_dir) if which(entry)]
        stop(self.run, entries, self.place.stop_limit)
        records.remove(self.place.lane_dir, [entry.name for entry in entries])

    def stop(self, client: str) -> None:
        entry = records.record(self.place.lane_dir, client)
        stop(self.run, [entry] if entry else [], self.place.stop_limit)


def refuse_ticket(place: Place, text: str, component: str, what: str, evidence: str | None = None) -> None:
    """Raise LaneError when qemu's SPICE ticket, which only kerbside may know, is in a text. what: whose text it is."""
    if (ticket := read_text(place.ticket_file)) and ticket in text:
        problem = f"{what} holds qemu's SPICE ticket"
        raise LaneError("suite_ticket_shown", component, problem, evidence=evidence)


def read_text(path: str) -> str:
    """What a file holds, or "" when it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
