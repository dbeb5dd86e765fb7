"""Suite files: what they may say, and a check of a whole file before anything starts (docs/suites.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import LaneError
from ...core.names import near
from ...protocols.ryll import steps as ryll_steps
from . import spot
from .kinds import KINDS
from .spot import Spot

#: A value that is known only when the suite runs, in a text of a step: {uuid}, or {token.session} of what the step
#: `token` registered.
PLACE = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z]+)?)\}")
#: Values of the lane that every suite knows.
OF_LANE = tuple("source uuid ticket other_ca host_subject proxy_port proxy_plain_port spice_port lane_dir".split())
KNOWN = (*OF_LANE, "other_subject", "expired_certificate", "proxy", "console_name")
#: The client that is meant when a step names none.
CLIENT = "ryll"
STEP_LIMIT = 10.0
LOOK_LIMIT = 5.0  #: of a step that looks for what has happened by then
#: Ports of a lane for the machines of a suite, of which each takes one, or two with TLS.
PORTS = 5
#: ryll's events that each check is subscribed to. surface_drawn is not: ryll drops events when there are many,
#: whatever their kind.
EVENTS = ("agent_connected", "paste_completed", "paste_failed", "clipboard_changed")


@dataclass(frozen=True)
class Option:
    """One option of an actor.

    kind: a name in kinds.KINDS; refers: the actors one of which has to have registered the name that is given.
    """

    kind: str
    default: Any = None
    required: bool = False
    refers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actor:
    """What a step can address besides ryll.

    play: called with the Play, the step, its options and its deadline. It returns what the step registers: a text for
    the report, or a mapping in which `shown` is that text; `picture` and `latency` of the mapping are shown as well.
    blame: the component of a failure, unless the step names another. log: the log to look at after a failure, unless
    the failure names a file. limit: in seconds, unless the step has another.
    """

    options: dict[str, Option]
    play: Callable[..., Any]
    blame: str = "lane"
    log: str = ""
    one_of: tuple[str, ...] = ()
    limit: float = STEP_LIMIT


@dataclass(frozen=True)
class Step:
    """One step.

    number counts from 1 within its check; limit in seconds; ryll: the step as ryll_session plays it, if it is one
    of those.
    """

    number: int
    actor: str
    options: dict[str, Any]
    name: str
    limit: float
    register: str | None = None
    blame: str | None = None
    client: str = CLIENT
    ryll: ryll_steps.Step | None = None


@dataclass(frozen=True)
class Check:
    """One check. client: whether ryll has to be connected (shared), started anew (fresh) or is the steps' own
    business (none).

    kerbside: settings besides the suite's. expected_failure: the code with which it fails because of a known defect,
    and the reason. culprits: (instead of whom, who, steps): who is to blame when these steps pass after a failure that
    blames the former.
    """

    name: str
    steps: list[Step]
    client: str
    slow: bool
    expected_failure: dict[str, str] | None
    events: tuple[str, ...]
    kerbside: dict[str, str]
    culprits: list[tuple[str, str, list[Step]]]


@dataclass(frozen=True)
class Suite:
    """One suite file. ryll: start options; kerbside: settings of API and daemon besides the lane's own; boots: the
    guest is started anew.

    machines: paused qemus beside the guest; consoles: how kerbside is to reach them (machines.py).
    """

    name: str
    file: str
    description: str
    guests: tuple[str, ...]
    checks: list[Check]
    ryll: tuple[str, ...]
    kerbside: dict[str, str]
    machines: list[dict[str, Any]]
    consoles: list[dict[str, Any]]
    boots: bool

    @property
    def changes_kerbside(self) -> bool:
        """Whether kerbside is started anew for it."""
        return bool(self.kerbside or self.consoles or any(check.kerbside for check in self.checks))


_NAME, _TRUTH, _TEXTS = Option("name", required=True), Option("truth", False), Option("any_texts", ())
_COMPONENT, _STEPS = Option("component", required=True), Option("steps", required=True)
_SUITE = {
    "suite": _NAME,
    "description": Option("text", ""),
    "guests": Option("texts", required=True),
    "checks": Option("checks", required=True),
    "ryll": _TEXTS,
    "kerbside": Option("mapping", {}),
    "machines": Option("machines", ()),
    "consoles": Option("consoles", ()),
    "boots": _TRUTH,
}
_MACHINE = {"name": _NAME, "tls": _TRUTH, "devices": _TEXTS}
_CONSOLE = {"name": _NAME, "machine": Option("any"), "ca": Option("any"), "host_subject": Option("text")}
_CHECK = {
    "name": _NAME,
    "steps": _STEPS,
    "client": Option("client", "shared"),
    "slow": _TRUTH,
    "expected_failure": Option("mapping"),
    "events": _TEXTS,
    "kerbside": Option("mapping", {}),
    "if_failed": Option("list", ()),
}
_DEFECT = {"code": Option("code", required=True), "reason": Option("any", required=True)}
_CULPRIT = {"instead_of": _COMPONENT, "blame": _COMPONENT, "steps": _STEPS}
_STEP = {
    "name": Option("any"),
    "within": Option("limit"),
    "register": Option("name"),
    "blame": Option("component"),
    "client": Option("name", CLIENT),
}


def read(file: str, text: str, actors: dict[str, Actor], guests: Iterable[str]) -> Suite:
    """The suite of a file's text. Raises LaneError (suite_file_invalid) that names the place of the first mistake."""
    return _Reader(actors, tuple(guests)).suite(spot.load(file, text))


class _Reader:
    def __init__(self, actors: dict[str, Actor], guests: tuple[str, ...]) -> None:
        self.actors = actors
        self.guests = guests
        self.clients: set[str] = set()  #: that are connected before the steps read so far

    def suite(self, here: Spot) -> Suite:
        given = _read(here, _SUITE)
        if strange := [guest for guest in given["guests"] if guest not in self.guests]:
            problem = f"there is no guest {strange[0]!r}; fixtures/guests.yml has {', '.join(sorted(self.guests))}"
            raise here.invalid(problem, "guests")
        machines, consoles = _entries(here, "machines", _MACHINE), _entries(here, "consoles", _CONSOLE)
        if sum(2 if machine["tls"] else 1 for machine in machines) > PORTS:
            raise here.invalid(f"`machines` need more than {PORTS} ports, one each, or two with tls", "machines")
        names = [machine["name"] for machine in machines]
        for number, console in enumerate(consoles):
            if console["machine"] not in names:
                place = here.at("consoles").at(number, f"console {console['name']}")
                raise place.invalid("`machine` is not the name of one of `machines`", "machine")
        registered = {**{console["name"]: "consoles" for console in consoles}, **dict.fromkeys(names, "machines")}
        checks: list[Check] = []
        for number in range(len(given["checks"])):
            place = here.at("checks").at(number, f"check {number + 1}")
            checks.append(self._check(place, registered))
            if checks[-1].name in [check.name for check in checks[:-1]]:
                raise place.invalid(f"two checks are named {checks[-1].name}", "name")
        parts: dict[str, Any] = {key: tuple(given[key]) for key in ("guests", "ryll")}
        parts |= {"description": given["description"], "boots": given["boots"], "kerbside": _settings(here)}
        return Suite(given["suite"], here.file, checks=checks, machines=machines, consoles=consoles, **parts)

    def _check(self, here: Spot, registered: dict[str, str]) -> Check:
        name = _value(here, "name", _NAME) if isinstance(here.raw, dict) else None
        here = replace(here, words=f"check {name}" if name else here.words)
        given = _read(here, _CHECK)
        if given["expected_failure"] is not None:
            _read(here.at("expected_failure", f"{here.words}: expected_failure"), _DEFECT)
        events = (*EVENTS, *given["events"])
        if given["client"] != "none":
            self.clients.add(CLIENT)
        else:  # one that another check left may end at any moment
            self.clients.discard(CLIENT)
        steps = self._steps(here, registered, events)
        culprits = []
        for number in range(len(given["if_failed"])):
            place = here.at("if_failed").at(number, f"{here.words}: if_failed")
            inner = _read(place, _CULPRIT)
            culprits.append((inner["instead_of"], inner["blame"], self._steps(place, dict(registered), events)))
        as_given = {key: given[key] for key in ("name", "client", "slow", "expected_failure")}
        return Check(steps=steps, events=events, kerbside=_settings(here), culprits=culprits, **as_given)

    def _steps(self, here: Spot, registered: dict[str, str], events: tuple[str, ...]) -> list[Step]:
        steps: list[Step] = []
        played: dict[str, list[Any]] = {}  # the steps of each client so far, as ryll_session takes them
        for number, place in enumerate(_each(here.at("steps")), 1):
            words = f"{here.words}: step {number}"
            step = self._step(replace(place, words=words), number, registered, played, events)
            steps.append(step)
            if step.register:
                registered[step.register] = step.actor
            if step.register and not step.ryll:  # so that `since` of a later step of ryll can name it
                pause = {"pause": {"seconds": 0.001}, "register": step.register}
                played.setdefault(step.client, prelude(events)).append(pause)
        return steps

    def _step(
        self, here: Spot, number: int, registered: dict[str, str], played: dict[str, list[Any]], events: tuple[str, ...]
    ) -> Step:
        raw = here.raw
        if not isinstance(raw, dict):
            raise here.invalid("it is not a mapping such as `serial: {line: hello}`")
        found = [key for key in raw if key in self.actors or key in ryll_steps.VERBS]
        if len(found) != 1:
            what = f"it has {' and '.join(found)}"
            if not found:
                meant = "".join(near(str(key), [*self.actors, *ryll_steps.VERBS]) for key in raw)
                what = f"it has none of {', '.join(self.actors)} and ryll_session's verbs{meant}"
            raise here.invalid(f"{what}; a step has exactly one")
        actor = found[0]
        client = _value(here, "client", _STEP["client"])
        if actor == "connect":
            self.clients.add(client)
        elif client not in self.clients and (client != CLIENT or actor in ryll_steps.VERBS):
            problem = f"no `connect` before it starts the client {client!r}{near(client, self.clients)}"
            raise here.invalid(problem, "client")
        if actor in ryll_steps.VERBS:
            step = _of_ryll(here, played.setdefault(client, prelude(events)), number)
            return Step(number, actor, step.options, step.name, step.limit, step.register, step.blame, client, step)
        here = replace(here, words=f"{here.words} ({actor})")
        around = _read(replace(here, raw={key: value for key, value in raw.items() if key != actor}), _STEP)
        options = self._options(here.at(actor), actor, registered)
        name, limit = str(around["name"] or actor), float(around["within"] or self.actors[actor].limit)
        return Step(number, actor, options, name, limit, around["register"], around["blame"], client)

    def _options(self, here: Spot, actor: str, registered: dict[str, str]) -> dict[str, Any]:
        spec = self.actors[actor]
        here = replace(here, raw={}) if here.raw is None else here
        found = _read(here, spec.options)
        for key in here.raw:
            by = spec.options[key].refers
            kind = registered.get(found[key]) if by else None
            if by and (kind is None if "any" in by else kind not in by):
                what = "no step" if "any" in by else f"no {' or '.join(by)} step"
                raise here.invalid(f"`{key}` is {found[key]!r}, which {what} before it registered", key)
        if spec.one_of and sum(found[key] is not None for key in spec.one_of) != 1:
            raise here.invalid(f"it does not have exactly one of {', '.join(spec.one_of)}")
        _all_known(here, registered)
        return found


def _each(here: Spot) -> Iterable[Spot]:
    """The steps of a list, in which a list, such as an alias of one, stands for the steps in it."""
    for place in map(here.at, range(len(here.raw))):
        yield from map(place.at, range(len(place.raw))) if isinstance(place.raw, list) else [place]


def _of_ryll(here: Spot, before: list[Any], number: int) -> ryll_steps.Step:
    entry = {key: value for key, value in here.raw.items() if key != "client"}
    try:
        step = ryll_steps.plan([*before, entry], STEP_LIMIT)[-1]
    except LaneError as error:
        raise here.invalid(re.sub(r"\bstep \d+\b", f"step {number}", error.cause)) from None
    before.append(entry)
    return step


def _settings(here: Spot) -> dict[str, str]:
    settings = here.raw.get("kerbside", {})
    if wrong := [key for key in settings if not str(key).startswith("KERBSIDE_")]:
        problem = f"`kerbside` has {wrong[0]!r}; its settings are named KERBSIDE_SOMETHING"
        raise here.at("kerbside").invalid(problem, wrong[0])
    _all_known(replace(here, raw=settings), ())
    return {str(key): str(value) for key, value in settings.items()}


def _entries(here: Spot, key: str, spec: dict[str, Option]) -> list[dict[str, Any]]:
    return [_read(here.at(key, key).at(number), spec) for number in range(len(here.raw.get(key, ())))]


def _read(here: Spot, spec: dict[str, Option]) -> dict[str, Any]:
    """What a mapping says of each key that it may have, or the default."""
    if not isinstance(here.raw, dict):
        raise here.invalid("it is not a mapping")
    if strange := [key for key in here.raw if key not in spec]:
        known = f"{', '.join(sorted(spec))}{near(str(strange[0]), spec)}"
        raise here.invalid(f"{strange[0]!r} is not one of {known}", strange[0])
    if missing := [key for key, option in spec.items() if option.required and key not in here.raw]:
        raise here.invalid(f"`{missing[0]}` is missing")
    return {key: _value(here, key, option) for key, option in spec.items()}


def _value(here: Spot, key: str, option: Option) -> Any:
    if key not in here.raw:
        return option.default
    words, fits = KINDS[option.kind]
    if not fits(here.raw[key]) or (option.choices and here.raw[key] not in option.choices):
        raise here.invalid(f"`{key}` is not {' or '.join(option.choices) or words}", key)
    return here.raw[key]


def prelude(events: Collection[str]) -> list[dict[str, Any]]:
    """The steps that open each conversation with ryll."""
    return [{"hello": {}}, *([{"subscribe": {"events": list(events)}}] if events else [])]


def _all_known(here: Spot, registered: Collection[str]) -> None:
    for name in _places(here.raw):
        if name not in KNOWN and name.partition(".")[0] not in registered:
            raise here.invalid(f"{{{name}}} is not one of {', '.join(KNOWN)} and was not registered before")


def _places(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield from PLACE.findall(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _places([key, inner])
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)


def fill(value: Any, known: Callable[[str], str]) -> Any:
    """The value with each {name} in its texts replaced."""
    if isinstance(value, str):
        return PLACE.sub(lambda found: known(found[1]), value)
    if isinstance(value, dict):
        return {fill(key, known): fill(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, known) for inner in value]
    return value
