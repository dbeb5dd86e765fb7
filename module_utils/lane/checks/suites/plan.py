"""Suite files: what they may say, and a check of a whole file before anything starts (docs/suites.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.codes import CODES
from ...core.errors import COMPONENTS, LaneError
from ...core.names import near
from ...protocols.ryll import steps as ryll_steps
from . import spot
from .kinds import KINDS, is_number
from .spot import Spot

NAME = re.compile(r"[a-z][a-z0-9_]*")
#: A value that is known only when the suite runs, in a text of a step: {uuid}, or {token.session} of what the step
#: `token` registered.
PLACE = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z]+)?)\}")
#: Values that every suite knows: what kerbside was started with, and others of the lane.
OF_KERBSIDE = ("proxy", "console_name")
OF_LANE = ("source", "uuid", "ticket", "other_ca", "host_subject", "proxy_port", "plain_port", "spice_port", "lane_dir")
KNOWN = (*OF_LANE, *OF_KERBSIDE)
#: The client that is meant when a step names none.
CLIENT = "ryll"
STEP_LIMIT = 10.0
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

    blame: the component of a failure unless the step says another. play: see engine.Play.
    """

    options: dict[str, Option]
    play: Callable[..., Any]
    blame: str = "lane"
    one_of: tuple[str, ...] = ()


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
    client: str = "shared"
    slow: bool = False
    expected_failure: dict[str, str] | None = None
    events: tuple[str, ...] = EVENTS
    kerbside: dict[str, str] = field(default_factory=dict)
    culprits: list[tuple[str, str, list[Step]]] = field(default_factory=list)


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
    ryll: tuple[str, ...] = ()
    kerbside: dict[str, str] = field(default_factory=dict)
    machines: tuple[dict[str, Any], ...] = ()
    consoles: tuple[dict[str, Any], ...] = ()
    boots: bool = False

    @property
    def changes_kerbside(self) -> bool:
        """Whether kerbside is started anew for it."""
        return bool(self.kerbside or self.consoles or any(check.kerbside for check in self.checks))


def read(file: str, text: str, actors: dict[str, Actor], guests: Iterable[str]) -> Suite:
    """The suite of a file's text. Raises LaneError (suite_file_invalid) that names the place of the first mistake."""
    return _Reader(file, actors, tuple(guests)).suite(spot.load(file, text))


class _Reader:
    def __init__(self, file: str, actors: dict[str, Actor], guests: tuple[str, ...]) -> None:
        self.file = file
        self.actors = actors
        self.guests = guests
        self.clients = {CLIENT}  #: that are connected before the steps read so far

    def suite(self, here: Spot) -> Suite:
        known = {"suite", "description", "guests", "checks", "ryll", "kerbside", "machines", "consoles", "boots"}
        given = _mapping(here, known, ("suite", "guests", "checks"))
        _name(here, "suite")
        if strange := [guest for guest in _texts(here, "guests", some=True) if guest not in self.guests]:
            problem = f"there is no guest {strange[0]!r}; fixtures/guests.yml has {', '.join(sorted(self.guests))}"
            raise here.invalid(problem, "guests")
        ryll, settings = _texts(here, "ryll"), _settings(here)
        machines = _named(here, "machines", {"name", "tls", "devices"}, 3)
        if sum(2 if machine.get("tls") else 1 for machine in machines) > PORTS:
            raise here.invalid(f"`machines` need more than {PORTS} ports, one each, or two with tls", "machines")
        for number in range(len(machines)):
            _texts(here.at("machines").at(number), "devices")
        consoles = _named(here, "consoles", {"name", "machine", "ca", "host_subject"}, 20)
        for number, console in enumerate(consoles):
            if console.get("machine") not in [machine["name"] for machine in machines]:
                place = here.at("consoles").at(number, f"console {console['name']}")
                raise place.invalid("`machine` is not the name of one of `machines`", "machine")
        if not isinstance(given["checks"], list) or not given["checks"]:
            raise here.invalid("`checks` is not a list of at least one check", "checks")
        _truth(here, "boots")
        checks: list[Check] = []
        registered = {console["name"]: "consoles" for console in consoles} | {
            machine["name"]: "machines" for machine in machines
        }
        for number in range(len(given["checks"])):
            place = here.at("checks").at(number, f"check {number + 1}")
            checks.append(self._check(place, registered))
            if checks[-1].name in [check.name for check in checks[:-1]]:
                raise place.invalid(f"two checks are named {checks[-1].name}", "name")
        return Suite(
            name=given["suite"],
            file=self.file,
            description=str(given.get("description", "")),
            guests=tuple(given["guests"]),
            checks=checks,
            ryll=tuple(ryll),
            kerbside=settings,
            machines=machines,
            consoles=consoles,
            boots=given.get("boots", False),
        )

    def _check(self, here: Spot, registered: dict[str, str]) -> Check:
        known = {"name", "steps", "client", "slow", "expected_failure", "events", "kerbside", "if_failed"}
        given = _mapping(here, known, ("name", "steps"))
        _name(here, "name")
        here = replace(here, words=f"check {given['name']}")
        if given.get("client", "shared") not in ("shared", "fresh", "none"):
            raise here.invalid("`client` is not shared, fresh or none", "client")
        _truth(here, "slow")
        if (known_defect := given.get("expected_failure")) is not None:
            place = here.at("expected_failure", f"{here.words}: expected_failure")
            _mapping(place, {"code", "reason"}, ("code", "reason"))
            if known_defect["code"] not in CODES:
                raise place.invalid(f"{known_defect['code']!r} is not a code of docs/errors.md", "code")
        events = EVENTS + tuple(_texts(here, "events"))
        culprits = []
        steps = self._steps(here, registered, events)
        for number in range(len(given.get("if_failed") or [])):
            place = here.at("if_failed").at(number, f"{here.words}: if_failed")
            inner = _mapping(place, {"instead_of", "blame", "steps"}, ("instead_of", "blame", "steps"))
            for key in ("instead_of", "blame"):
                _component(place, key)
            culprits.append((inner["instead_of"], inner["blame"], self._steps(place, dict(registered), events)))
        return Check(
            name=given["name"],
            steps=steps,
            client=given.get("client", "shared"),
            slow=given.get("slow", False),
            expected_failure=known_defect,
            events=events,
            kerbside=_settings(here),
            culprits=culprits,
        )

    def _steps(self, here: Spot, registered: dict[str, str], events: tuple[str, ...]) -> list[Step]:
        raw = here.raw["steps"]
        if not isinstance(raw, list) or not raw:
            raise here.invalid("`steps` is not a list of at least one step", "steps")
        steps: list[Step] = []
        played: dict[str, list[Any]] = {}  # the steps of each client so far, as ryll_session takes them
        for number in range(1, len(raw) + 1):
            place = here.at("steps").at(number - 1, f"{here.words}: step {number}")
            step = self._step(place, number, registered, played, events)
            steps.append(step)
            if step.register:
                registered[step.register] = step.actor
            if step.register and not step.ryll:  # so that `since` of a later step of ryll can name it
                played.setdefault(step.client, prelude(events)).append(
                    {"pause": {"seconds": 0.001}, "register": step.register}
                )
        return steps

    def _step(
        self,
        here: Spot,
        number: int,
        registered: dict[str, str],
        played: dict[str, list[Any]],
        events: tuple[str, ...],
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
        around = {key: value for key, value in raw.items() if key != actor}
        client = around.pop("client", CLIENT)
        _name(here, "client")
        if actor == "connect":
            self.clients.add(client)
        elif client not in self.clients:
            problem = f"no `connect` before it starts the client {client!r}{near(client, self.clients)}"
            raise here.invalid(problem, "client")
        if actor in ryll_steps.VERBS:
            step = _of_ryll(here, played.setdefault(client, prelude(events)), number)
            return Step(number, actor, step.options, step.name, step.limit, step.register, step.blame, client, step)
        here = replace(here, words=f"{here.words} ({actor})")
        if strange := [key for key in around if key not in ("name", "within", "register", "blame")]:
            raise here.invalid(f"{strange[0]!r} is not one of name, within, register, blame and client", strange[0])
        _component(here, "blame")
        _name(here, "register")
        register = around.get("register")
        within = around.get("within", STEP_LIMIT)
        if not is_number(within) or not 0 < within <= 3600:
            raise here.invalid("`within` is not a number of seconds up to 3600", "within")
        options = self._options(here.at(actor), actor, registered)
        return Step(
            number, actor, options, str(around.get("name", actor)), float(within), register, around.get("blame"), client
        )

    def _options(self, here: Spot, actor: str, registered: dict[str, str]) -> dict[str, Any]:
        spec = self.actors[actor]
        given = _mapping(
            replace(here, raw={}) if here.raw is None else here,
            set(spec.options),
            [key for key, option in spec.options.items() if option.required],
        )
        found: dict[str, Any] = {}
        for key, option in spec.options.items():
            if key not in given:
                found[key] = option.default
                continue
            words, fits = KINDS[option.kind]
            value = given[key]
            if not fits(value) or (option.choices and value not in option.choices):
                raise here.invalid(f"`{key}` is not {' or '.join(option.choices) or words}", key)
            if option.refers and registered.get(value) not in option.refers and "any" not in option.refers:
                what = f"no {' or '.join(option.refers)} step before it registered"
                raise here.invalid(f"`{key}` is {value!r}, which {what}", key)
            if option.refers and value not in registered:
                raise here.invalid(f"`{key}` is {value!r}, which no step before it registered", key)
            found[key] = value
        if spec.one_of and sum(found[key] is not None for key in spec.one_of) != 1:
            raise here.invalid(f"it does not have exactly one of {', '.join(spec.one_of)}")
        for name in _places(given):
            if name not in KNOWN and name.partition(".")[0] not in registered:
                raise here.invalid(f"{{{name}}} is not one of {', '.join(KNOWN)} and was not registered before")
        return found


def _of_ryll(here: Spot, before: list[Any], number: int) -> ryll_steps.Step:
    entry = {key: value for key, value in here.raw.items() if key != "client"}
    try:
        step = ryll_steps.plan([*before, entry], STEP_LIMIT)[-1]
    except LaneError as error:
        raise here.invalid(re.sub(r"\bstep \d+\b", f"step {number}", error.cause)) from None
    before.append(entry)
    return step


def _settings(here: Spot) -> dict[str, str]:
    if not here.raw.get("kerbside"):
        return {}
    settings = _mapping(here.at("kerbside", ": ".join(filter(None, (here.words, "kerbside")))))
    if wrong := [key for key in settings if not str(key).startswith("KERBSIDE_")]:
        problem = f"`kerbside` has {wrong[0]!r}; its settings are named KERBSIDE_SOMETHING"
        raise here.at("kerbside").invalid(problem, wrong[0])
    return {str(key): str(value) for key, value in settings.items()}


def _named(here: Spot, key: str, known: set[str], most: int) -> tuple[dict[str, Any], ...]:
    raw = here.raw.get(key)
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) > most:
        raise here.invalid(f"`{key}` is not a list of at most {most}", key)
    places = [here.at(key, key).at(number) for number in range(len(raw))]
    found = [_mapping(place, known, ("name",)) for place in places]
    for place in places:
        _name(place, "name")
    return tuple(found)


def _mapping(here: Spot, known: set[str] | None = None, required: Iterable[str] = ()) -> dict[str, Any]:
    raw = here.raw
    if not isinstance(raw, dict):
        raise here.invalid("it is not a mapping")
    if known is not None and (strange := [key for key in raw if key not in known]):
        meant = near(str(strange[0]), known)
        raise here.invalid(f"{strange[0]!r} is not one of {', '.join(sorted(known))}{meant}", strange[0])
    if missing := [key for key in required if key not in raw]:
        raise here.invalid(f"`{missing[0]}` is missing")
    return raw


def _texts(here: Spot, key: str, some: bool = False) -> list[str]:
    raw = here.raw.get(key) if some else here.raw.get(key) or []
    if not isinstance(raw, list) or not all(isinstance(value, str) for value in raw) or (some and not raw):
        raise here.invalid(f"`{key}` is not a list of texts", key)
    return raw


def _name(here: Spot, key: str) -> None:
    value = here.raw.get(key)
    if key in here.raw and (not isinstance(value, str) or not NAME.fullmatch(value)):
        raise here.invalid(f"`{key}` is not a name of small letters, digits and _", key)


def _truth(here: Spot, key: str) -> None:
    if not isinstance(here.raw.get(key, False), bool):
        raise here.invalid(f"`{key}` is not true or false", key)


def _component(here: Spot, key: str) -> None:
    if (value := here.raw.get(key)) is not None and value not in COMPONENTS:
        raise here.invalid(f"`{key}` is not one of {', '.join(COMPONENTS)}", key)


def prelude(events: Collection[str]) -> list[dict[str, Any]]:
    """The steps that open each conversation with ryll."""
    return [{"hello": {}}, *([{"subscribe": {"events": list(events)}}] if events else [])]


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
