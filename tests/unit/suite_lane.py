"""What the tests of the suites share: a lane in which nothing runs, whose answers are given, and checks that are
played on it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible.module_utils.lane.checks.suites import engine, machines, plan
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.checks.suites.stage import Place
from ansible.module_utils.lane.core.command import Done
from ansible.module_utils.lane.core.local_http import Answer
from ansible.module_utils.lane.protocols.ryll import steps
from ansible.module_utils.lane.protocols.ryll.errors import Refused

GUESTS = ("pocket", "uncalibrated")
GOOD: dict[str, Any] = {
    "suite": "mine",
    "guests": ["pocket"],
    "checks": [{"name": "one", "steps": [{"serial": {"line": "x"}}]}],
}
TICKET = "the-ticket"
#: (code, component) of a check's failure.
Failure = tuple[str | None, str | None]
PASSED: Failure = (None, None)
SOON = {"within": 0.03}
NAP = {"wait": {"seconds": 0.001}}
#: A suite's console `k`, of the machine `m`.
CONSOLE_K = {"machines": [{"name": "m"}], "consoles": [{"name": "k", "machine": "m"}]}
#: A step that fails, and is the guest's fault.
MISSING = {"serial": {"line": "no"}, "within": 0.01}


def read(suite: Any, actors: dict[str, plan.Actor] = ACTORS) -> plan.Suite:
    return plan.read("/my/suite.yml", suite if isinstance(suite, str) else json.dumps(suite), actors, GUESTS)


def place(folder: Path, **more: Any) -> Place:
    """A lane's place below the folder, with a ticket, a token and a seed."""
    for name in ("logs", "secrets", "tls", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    secrets = {"spice_ticket": TICKET, "bearer_token": "x.e30.y\n", "api_seed": "seed"}
    for name, text in secrets.items():
        (folder / "secrets" / name).write_text(text)
    (folder / "tls/ca.pem").write_text("CA")
    texts = {name: f"{folder}/{name}" for name, kind in Place.__annotations__.items() if kind == "str"}
    names = ("proxy_port", "proxy_plain_port", "api_port", "metrics_port", "spice_port")
    ports = {name: 17900 + number for number, name in enumerate(names)}
    return Place(**{**texts, **ports, "lane_dir": str(folder), "uuid": "UUID", **more})


class Talk:
    """A conversation with a client. answers: of its requests, by method, each a value or a function of parameters."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.did: list[Any] = []
        self.on_play: Callable[[Any], Any] = lambda step: {}
        self.stage = SimpleNamespace(client=SimpleNamespace(request=self.request), taken=None)

    def request(self, method: str, params: dict[str, Any], deadline: float) -> Any:
        if method not in self.answers:
            raise Refused(method, "not_here", "no answer")
        answer = self.answers[method]
        return answer(params) if callable(answer) else answer

    def play(self, step: Any) -> Any:
        self.did.append(step)
        return self.on_play(step)

    def do(self, step: dict[str, Any]) -> Any:
        return self.play(steps.plan([{"hello": {}}, step])[-1])

    def subscribe(self, events: Any) -> None:
        self.did.append(("subscribe", tuple(events)))

    def mark(self, name: str) -> None:
        self.did.append(("mark", name))

    def close(self) -> None:
        self.did.append("close")


#: When the run of the lane began.
STARTED = round(time.time())


class Lane:
    """What the engine needs of a lane. did: what it was asked to do, in order."""

    def __init__(self, folder: Path) -> None:
        self.place = place(folder)
        self.machines = machines.Machines(self.place, read(GOOD))
        self.guest = {"name": "pocket"}
        self.settings: dict[str, str] = {}
        self.counted: dict[str, float] = {}
        self.run = SimpleNamespace(mark="1/x", started=STARTED)
        self.did: list[Any] = []
        self.running: list[str] = []
        self.talk = Talk()
        self.keys = {"type": "spice", "password": "good"}
        self.answer: Callable[[str, str, dict[str, str]], tuple[Any, ...]] = lambda method, path, headers: (200, "{}")
        self.monitor: Any = None
        self.end: Done | None = None  # how a client ends, or that it does not

    def clients(self) -> list[str]:
        return self.running

    def counters(self) -> dict[str, float]:
        return dict(self.counted)

    def log(self, name: str) -> str:
        return f"{self.place.logs_dir}/{name}.log"

    def settle(self, suite: plan.Suite, guest: str) -> None:
        self.did.append(("settle", suite.name, guest))
        self.settings = suite.kerbside

    def configure(self, settings: dict[str, str]) -> None:
        self.did.append(("configure", settings))
        self.settings = settings

    def connect(self, client: str, keys: dict[str, str], options: tuple[str, ...]) -> Talk:
        self.did.append(("connect", client, keys, options))
        self.running.append(client)
        return self.talk

    def refused(self, client: str, keys: dict[str, str], options: tuple[str, ...], limit: float) -> Any:
        self.did.append(("refused", client, keys, options, limit))
        return (True, self.end) if self.end else (False, Done(-9, "", "INFO still connected"))

    def console(self, of: str | None = None) -> dict[str, str]:
        return {**self.keys, **({"of": of} if of else {})}

    def request(
        self, method: str, path: str, headers: dict[str, str], said: Any = None, shows_ticket: bool = False
    ) -> Answer:
        self.did.append(("request", method, path, headers, shows_ticket))
        status, body, *kind = self.answer(method, path, headers)
        return Answer(status, body, *(kind or ["application/json"]))

    def token(self) -> str:
        return "x.e30.y"

    def qmp(self, machine: str | None = None) -> Any:
        return self.monitor

    def stop(self, client: str) -> None:
        self.did.append(("stop", client))
        self.running = [name for name in self.running if name != client]

    def forget(self) -> None:
        self.did.append("forget")
        self.running = []

    def stop_machines(self) -> None:
        self.did.append("stop_machines")

    def note_failure(self) -> None:
        self.did.append("note_failure")


@pytest.fixture
def fake_lane(tmp_path: Path) -> Lane:
    """For a module of tests that calls it `lane`."""
    return Lane(tmp_path)


def asked(lane: Lane, what: str) -> list[Any]:
    """The times that the lane was asked for something, with what."""
    return [one for one in lane.did if one[0] == what]


class Monitor:
    """qemu's monitor, with the next answer for each command; the last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, command: str, arguments: Any = None) -> Any:
        self.asked.append((command, arguments))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class FakeLink:
    """A link whose peer behaves as its failure says; kept: every one that was made."""

    kept: ClassVar[list[FakeLink]] = []
    connecting: Exception | None = None
    linking: Exception | None = None
    sending: Exception | None = None
    ends = False

    def __init__(self, port: int, ca: str | None, source: str = "") -> None:
        if self.connecting:
            raise self.connecting
        self.port, self.ca, self.session, self.open, self.source = port, ca, 77, True, source
        self.did: list[Any] = []
        FakeLink.kept.append(self)

    def hello(self, channel: int) -> None:
        self.did.append(("hello", channel))

    def link(self, channel: int, password: str, session: int = 0, capabilities: int = 11) -> None:
        if self.linking:
            raise self.linking
        self.did.append(("link", channel, password, session))
        self.capabilities = capabilities

    def send(self, kind: int, body: bytes = b"", size: int | None = None, *more: Any) -> None:
        if self.sending:
            raise self.sending
        self.did.append(("send", kind, body, size, *more))

    def receive(self, deadline: float) -> tuple[int, bytes]:
        """An acknowledgement at every second look."""
        self.did.append("receive")
        return (111 if self.did.count("receive") % 2 == 0 else 1), b""

    def closed(self, deadline: float) -> bool:
        return self.ends

    def close(self) -> None:
        self.open = False

    def __enter__(self) -> FakeLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def suite_of(*checks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**GOOD, "checks": list(checks), **more}


def check(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "one", "client": "none", "steps": list(steps), **more}


def played(
    lane: Lane, *checks: dict[str, Any], actors: dict[str, plan.Actor] | None = None, **more: Any
) -> list[dict[str, Any]]:
    """The entries of these checks. actors: others than the lane's own, by name."""
    known = {**ACTORS, **(actors or {})}
    return engine.run(lane, read(suite_of(*checks, **more), known), "pocket", known, slow=False)


def gives(actor: str, value: Any) -> dict[str, plan.Actor]:
    """The actor, returning this value."""
    return {actor: replace(ACTORS[actor], play=lambda *_: value)}


def does(what: Callable[[], Any]) -> plan.Actor:
    """An actor without options."""
    return plan.Actor({}, lambda *_: what())


def says(lane: Lane, *lines: str) -> plan.Actor:
    """An actor that has the guest say these lines."""

    def speak() -> None:
        with open(lane.place.serial_log, "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\r\n" for line in lines))

    return does(speak)


def entry_of(
    lane: Lane, *steps: dict[str, Any], actors: dict[str, plan.Actor] | None = None, **more: Any
) -> dict[str, Any]:
    """The entry of a check with these steps. more: of the suite."""
    (entry,) = played(lane, check(*steps), actors=actors, **more)
    return entry


def outcome(lane: Lane, *steps: dict[str, Any], **more: Any) -> Failure:
    """The failure of a check with these steps."""
    detail = entry_of(lane, *steps, **more)["detail"]
    return detail.get("code"), detail.get("component")


def token(**claims: Any) -> str:
    """A JWT with these claims, whose signature is not one."""
    parts = (json.dumps(part).encode() for part in ({"alg": "HS256"}, claims, {"a": 1}))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def changed(**more: Any) -> dict[str, Any]:
    return {**GOOD, **more}
