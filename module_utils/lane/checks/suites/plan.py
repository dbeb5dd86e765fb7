"""Suite files: what they may say, and a check of a whole file before anything starts (docs/suites.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from ...core.codes import CODES
from ...core.errors import COMPONENTS, LaneError
from ...core.names import near
from ...protocols.ryll import steps as ryll_steps
from .kinds import KINDS, is_number

NAME = re.compile(r"[a-z][a-z0-9_]*")
#: A value that is known only when the suite runs, in a text of a step: {uuid}, or {token.session} of what the step
#: `token` registered.
PLACE = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z]+)?)\}")
#: Values that every suite knows.
KNOWN = ("source", "uuid", "ticket", "other_ca", "host_subject", "proxy_port", "plain_port", "spice_port", "lane_dir")
OF_KERBSIDE = ("proxy", "console_name")
#: The client that is meant when a step names none.
CLIENT = "ryll"
STEP_LIMIT = 10.0
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


def read(file: str, text: str, actors: dict[str, Actor], guests: Iterable[str]) -> Suite:
    """The suite of a file's text. Raises LaneError (suite_file_invalid) that names the place of the first mistake."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise _invalid(
            file, f"{line}it is not YAML ({getattr(error, 'problem', None) or type(error).__name__})"
        ) from None
    return _Reader(file, actors, tuple(guests)).suite(raw)


def _invalid(place: str, problem: str) -> LaneError:
    return LaneError("suite_file_invalid", "lane", f"{place}: {problem}", "correct the suite file (docs/suites.md)")


class _Reader:
    def __init__(self, file: str, actors: dict[str, Actor], guests: tuple[str, ...]) -> None:
        self.file = file
        self.actors = actors
        self.guests = guests
        self.clients = {CLIENT}  #: that are connected before the steps read so far

    def suite(self, raw: object) -> Suite:
        known = {"suite", "description", "guests", "checks", "ryll", "kerbside", "machines", "consoles", "boots"}
        given = self._mapping(self.file, raw, known, ("suite", "guests", "checks"))
        name = given["suite"]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise _invalid(self.file, "`suite` is not a name of small letters, digits and _")
        if strange := [
            guest for guest in self._texts("guests", given["guests"], some=True) if guest not in self.guests
        ]:
            raise _invalid(
                self.file, f"there is no guest {strange[0]!r}; fixtures/guests.yml has {', '.join(sorted(self.guests))}"
            )
        settings = self._settings(self.file, given.get("kerbside"))
        machines = self._named("machines", given.get("machines"), {"name", "tls", "devices"}, 2)
        for machine in machines:
            self._texts("devices", machine.get("devices") or [])
        consoles = self._named("consoles", given.get("consoles"), {"name", "machine", "ca", "host_subject"}, 20)
        for console in consoles:
            if console.get("machine") not in [machine["name"] for machine in machines]:
                raise _invalid(
                    f"{self.file}: console {console['name']}", "`machine` is not the name of one of `machines`"
                )
        if not isinstance(given["checks"], list) or not given["checks"]:
            raise _invalid(self.file, "`checks` is not a list of at least one check")
        if not isinstance(given.get("boots", False), bool):
            raise _invalid(self.file, "`boots` is not true or false")
        checks: list[Check] = []
        registered = {console["name"]: "consoles" for console in consoles} | {
            machine["name"]: "machines" for machine in machines
        }
        for number, entry in enumerate(given["checks"], 1):
            checks.append(self._check(number, entry, registered))
            if checks[-1].name in [check.name for check in checks[:-1]]:
                raise _invalid(self.file, f"two checks are named {checks[-1].name}")
        return Suite(
            name=name,
            file=self.file,
            description=str(given.get("description", "")),
            guests=tuple(given["guests"]),
            checks=checks,
            ryll=tuple(self._texts("ryll", given.get("ryll") or [])),
            kerbside=settings,
            machines=machines,
            consoles=consoles,
            boots=given.get("boots", False),
        )

    def _settings(self, place: str, raw: object) -> dict[str, str]:
        settings = self._mapping(f"{place}: kerbside", raw or {}, None)
        if wrong := [key for key in settings if not str(key).startswith("KERBSIDE_")]:
            raise _invalid(place, f"`kerbside` has {wrong[0]!r}; its settings are named KERBSIDE_SOMETHING")
        return {str(key): str(value) for key, value in settings.items()}

    def _named(self, key: str, raw: object, known: set[str], most: int) -> tuple[dict[str, Any], ...]:
        if raw is None:
            return ()
        if not isinstance(raw, list) or len(raw) > most:
            raise _invalid(self.file, f"`{key}` is not a list of at most {most}")
        found = [self._mapping(f"{self.file}: {key}", one, known, ("name",)) for one in raw]
        if wrong := [
            one["name"] for one in found if not isinstance(one["name"], str) or not NAME.fullmatch(one["name"])
        ]:
            raise _invalid(f"{self.file}: {key}", f"{wrong[0]!r} is not a name of small letters, digits and _")
        return tuple(found)

    def _check(self, number: int, raw: object, registered: dict[str, str]) -> Check:
        place = f"{self.file}: check {number}"
        known = {"name", "steps", "client", "slow", "expected_failure", "events", "kerbside", "if_failed"}
        given = self._mapping(place, raw, known, ("name", "steps"))
        if not isinstance(given["name"], str) or not NAME.fullmatch(given["name"]):
            raise _invalid(place, "`name` is not a name of small letters, digits and _")
        place = f"{self.file}: check {given['name']}"
        if given.get("client", "shared") not in ("shared", "fresh", "none"):
            raise _invalid(place, "`client` is not shared, fresh or none")
        if not isinstance(given.get("slow", False), bool):
            raise _invalid(place, "`slow` is not true or false")
        if (known_defect := given.get("expected_failure")) is not None:
            self._mapping(f"{place}: expected_failure", known_defect, {"code", "reason"}, ("code", "reason"))
            if known_defect["code"] not in CODES:
                raise _invalid(
                    f"{place}: expected_failure", f"{known_defect['code']!r} is not a code of docs/errors.md"
                )
        events = EVENTS + tuple(self._texts("events", given.get("events") or []))
        culprits = []
        steps = self._steps(place, given["steps"], registered, events)
        for entry in given.get("if_failed") or []:
            inner = self._mapping(
                f"{place}: if_failed", entry, {"instead_of", "blame", "steps"}, ("instead_of", "blame", "steps")
            )
            for key in ("instead_of", "blame"):
                self._component(f"{place}: if_failed", inner[key])
            culprits.append(
                (
                    inner["instead_of"],
                    inner["blame"],
                    self._steps(f"{place}: if_failed", inner["steps"], dict(registered), events),
                )
            )
        return Check(
            name=given["name"],
            steps=steps,
            client=given.get("client", "shared"),
            slow=given.get("slow", False),
            expected_failure=known_defect,
            events=events,
            kerbside=self._settings(place, given.get("kerbside")),
            culprits=culprits,
        )

    def _steps(self, place: str, raw: object, registered: dict[str, str], events: tuple[str, ...]) -> list[Step]:
        if not isinstance(raw, list) or not raw:
            raise _invalid(place, "`steps` is not a list of at least one step")
        steps: list[Step] = []
        played: dict[str, list[Any]] = {}  # the steps of each client so far, as ryll_session takes them
        for number, entry in enumerate(raw, 1):
            step = self._step(f"{place}: step {number}", number, entry, registered, played, events)
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
        place: str,
        number: int,
        raw: object,
        registered: dict[str, str],
        played: dict[str, list[Any]],
        events: tuple[str, ...],
    ) -> Step:
        if not isinstance(raw, dict):
            raise _invalid(place, "it is not a mapping such as `serial: {line: hello}`")
        found = [key for key in raw if key in self.actors or key in ryll_steps.VERBS]
        if len(found) != 1:
            what = f"it has {' and '.join(found)}"
            if not found:
                meant = "".join(near(str(key), [*self.actors, *ryll_steps.VERBS]) for key in raw)
                what = f"it has none of {', '.join(self.actors)} and ryll_session's verbs{meant}"
            raise _invalid(place, f"{what}; a step has exactly one")
        actor = found[0]
        around = {key: value for key, value in raw.items() if key != actor}
        client = around.pop("client", CLIENT)
        if not isinstance(client, str) or not NAME.fullmatch(client):
            raise _invalid(place, "`client` is not a name of small letters, digits and _")
        if actor == "connect":
            self.clients.add(client)
        elif client not in self.clients:
            raise _invalid(place, f"no `connect` before it starts the client {client!r}{near(client, self.clients)}")
        if actor in ryll_steps.VERBS:
            step = self._of_ryll(place, raw, played.setdefault(client, prelude(events)), number)
            return Step(number, actor, step.options, step.name, step.limit, step.register, step.blame, client, step)
        place = f"{place} ({actor})"
        if strange := [key for key in around if key not in ("name", "within", "register", "blame")]:
            raise _invalid(place, f"{strange[0]!r} is not one of name, within, register, blame and client")
        self._component(place, around.get("blame"))
        register = around.get("register")
        if register is not None and (not isinstance(register, str) or not NAME.fullmatch(register)):
            raise _invalid(place, "`register` is not a name of small letters, digits and _")
        within = around.get("within", STEP_LIMIT)
        if not is_number(within) or not 0 < within <= 3600:
            raise _invalid(place, "`within` is not a number of seconds up to 3600")
        options = self._options(place, actor, raw[actor], registered)
        return Step(
            number, actor, options, str(around.get("name", actor)), float(within), register, around.get("blame"), client
        )

    def _of_ryll(self, place: str, raw: dict[Any, Any], before: list[Any], number: int) -> ryll_steps.Step:
        entry = {key: value for key, value in raw.items() if key != "client"}
        try:
            step = ryll_steps.plan([*before, entry], STEP_LIMIT)[-1]
        except LaneError as error:
            raise _invalid(place, re.sub(r"\bstep \d+\b", f"step {number}", error.cause)) from None
        before.append(entry)
        return step

    def _options(self, place: str, actor: str, raw: object, registered: dict[str, str]) -> dict[str, Any]:
        spec = self.actors[actor]
        given = self._mapping(
            place,
            {} if raw is None else raw,
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
                raise _invalid(place, f"`{key}` is not {' or '.join(option.choices) or words}")
            if option.refers and registered.get(value) not in option.refers and "any" not in option.refers:
                raise _invalid(
                    place, f"`{key}` is {value!r}, which no {' or '.join(option.refers)} step before it registered"
                )
            if option.refers and value not in registered:
                raise _invalid(place, f"`{key}` is {value!r}, which no step before it registered")
            found[key] = value
        if spec.one_of and sum(found[key] is not None for key in spec.one_of) != 1:
            raise _invalid(place, f"it does not have exactly one of {', '.join(spec.one_of)}")
        for name in _places(given):
            if name not in (*KNOWN, *OF_KERBSIDE) and name.partition(".")[0] not in registered:
                raise _invalid(
                    place, f"{{{name}}} is not one of {', '.join((*KNOWN, *OF_KERBSIDE))} and was not registered before"
                )
        return found

    def _mapping(self, place: str, raw: object, known: set[str] | None, required: Iterable[str] = ()) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise _invalid(place, "it is not a mapping")
        if known is not None and (strange := [key for key in raw if key not in known]):
            meant = near(str(strange[0]), known)
            raise _invalid(place, f"{strange[0]!r} is not one of {', '.join(sorted(known))}{meant}")
        if missing := [key for key in required if key not in raw]:
            raise _invalid(place, f"`{missing[0]}` is missing")
        return raw

    def _texts(self, key: str, raw: object, some: bool = False) -> list[str]:
        if not isinstance(raw, list) or not all(isinstance(value, str) for value in raw) or (some and not raw):
            raise _invalid(self.file, f"`{key}` is not a list of texts")
        return raw

    def _component(self, place: str, value: object) -> None:
        if value is not None and value not in COMPONENTS:
            raise _invalid(place, f"`blame` is not one of {', '.join(COMPONENTS)}")


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
