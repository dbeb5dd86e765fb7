"""The language of steps: what each verb takes, and a check of a whole list before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...core.errors import COMPONENTS
from .errors import BadSteps
from .kinds import KINDS, bounded


@dataclass(frozen=True)
class Option:
    """One option of a verb. kind: a name in KINDS. least, most: bounds of a number."""

    kind: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Verb:
    """One verb. needs: methods that the server has to list; acts: the guest gets something; texts: options that
    `private` hides.

    one_of: exactly one of these is given; some_of: at least one.
    """

    options: dict[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    acts: bool = False
    texts: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    some_of: tuple[str, ...] = ()


_EVENT = {"event": Option("str", required=True), "fields": Option("dict"), "since": Option("str")}
_SURFACE = Option("int", default=0, least=0, most=(1 << 32) - 1)
_WAIT = Option("number", default=0, least=0, most=86400)
_SECONDS = Option("number", required=True, least=0.001, most=86400)
_DELAY = Option("int", default=10, least=0, most=10_000)
_SIDE = Option("int", required=True, least=1, most=16384)
VERBS: dict[str, Verb] = {
    "hello": Verb({"protocol_version": Option("str", default="1.0")}),
    "status": Verb(needs=("status",)),
    "await": Verb(
        {
            "agent": Option("bool"),
            "surfaces": Option("int", least=1, most=1000),
            "size": Option("size"),
            "size_as": Option("str"),
            "surface_id": _SURFACE,
            "marks": Option("int", least=1),
            "interval": Option("number", default=0.05, least=0.01, most=60),
        },
        needs=("status",),
        some_of=("agent", "surfaces", "size", "size_as", "marks"),
    ),
    "screenshot": Verb(
        {
            "file": Option("path"),
            "format": Option("str", default="png", choices=("png", "rgba")),
            "surface_id": _SURFACE,
            "not_one_colour": Option("bool", default=False),
            "size": Option("size"),
            "same_as": Option("str"),
            "differs_from": Option("str"),
            "region": Option("region"),
            "equals": Option("path"),
            "masks": Option("regions", default=[]),
            "lossy": Option("bool", default=False),
            "difference": Option("path"),
            "until_still": _WAIT,
            "settle": _WAIT,
        },
        needs=("status", "screenshot"),
    ),
    "send_key": Verb(
        {
            "key": Option("key"),
            "keys": Option("keys"),
            "scancode": Option("scancode"),
            "state": Option("str", default="press", choices=("press", "down", "up")),
            "delay_ms": _DELAY,
        },
        needs=("send_key",),
        acts=True,
        one_of=("key", "keys", "scancode"),
    ),
    "type": Verb(
        {"text": Option("keyboard_text", required=True), "delay_ms": _DELAY},
        needs=("send_key",),
        acts=True,
        texts=("text",),
    ),
    "paste": Verb(
        {
            "text": Option("text", required=True),
            "char_delay_ms": Option("int", default=10, least=0, most=(1 << 32) - 1),
            "wait": Option("bool", default=True),
        },
        needs=("paste",),
        acts=True,
        texts=("text",),
    ),
    "clipboard_set": Verb(
        {"text": Option("text", required=True)}, needs=("clipboard_set",), acts=True, texts=("text",)
    ),
    "clipboard_get": Verb({"equals": Option("text")}, needs=("clipboard_get",), texts=("equals",)),
    "resize": Verb({"width": _SIDE, "height": _SIDE}, needs=("resize",), acts=True),
    "stats": Verb({"marks": Option("int", least=1)}, needs=("stats",)),
    "subscribe": Verb({"events": Option("names", required=True)}, needs=("subscribe",)),
    "unsubscribe": Verb({"events": Option("names", required=True)}, needs=("unsubscribe",)),
    "expect_event": Verb({**_EVENT, "count": Option("int", default=1, least=1, most=10_000)}),
    "quiet": Verb({**_EVENT, "seconds": _SECONDS}),
    "pause": Verb({"seconds": _SECONDS}),
    "reconnect": Verb({"resubscribe": Option("bool", default=True)}),
    "call": Verb(
        {
            "method": Option("str", required=True),
            "params": Option("dict"),
            "result": Option("dict"),
            "acts": Option("bool", default=False),
        },
        texts=("params", "result"),
    ),
}
#: What stands beside the verb in a step.
AROUND: dict[str, Option] = {
    "name": Option("str"),
    "within": Option("number", least=0.001, most=86400),
    "register": Option("str"),
    "blame": Option("str", choices=COMPONENTS),
    "refused": Option("str"),
    "private": Option("bool", default=False),
}
#: The events that tell how a paste ended; the step subscribes to them by itself.
PASTE_ENDS = ("paste_completed", "paste_failed")
#: Options that name a registered step, and the verbs that it may have.
_REFERENCES = {
    "since": tuple(VERBS),
    "same_as": ("screenshot",),
    "differs_from": ("screenshot",),
    "size_as": ("resize", "screenshot"),
}
#: Verbs that may come before hello.
_BEFORE_HELLO = ("hello", "pause", "call")


@dataclass(frozen=True)
class Step:
    """A step that can be played. number counts from 1; limit in seconds; options are complete and converted."""

    number: int
    verb: str
    options: dict[str, Any]
    name: str
    limit: float
    register: str | None = None
    blame: str | None = None
    refused: str | None = None
    private: bool = False

    @property
    def acts(self) -> bool:
        return VERBS[self.verb].acts or bool(self.options.get("acts"))


def plan(raw: object, step_limit: float = 10.0) -> list[Step]:
    """Check the whole list and make steps of it.

    Raises BadSteps naming the first bad step and what is wrong with it.
    """
    bounded("step_limit", step_limit, 0.001, 86400)
    if not isinstance(raw, list) or not raw:
        raise BadSteps(f"the steps are {'empty' if raw == [] else _sort(raw)}, not a list of at least one step")
    order = _Order()
    steps: list[Step] = []
    for number, entry in enumerate(raw, 1):
        steps.append(_step(number, entry, step_limit))
        order.check(steps[-1])
    return steps


def _step(number: int, entry: object, step_limit: float) -> Step:
    place = f"step {number}"
    if not isinstance(entry, dict):
        raise BadSteps(f"{place} is {_shown(entry)}, not a mapping with a verb such as `hello: {{}}`")
    verbs = [key for key in entry if key in VERBS]
    for key in entry:
        if key not in VERBS and key not in AROUND:
            known = f"the verbs {', '.join(VERBS)}, and {', '.join(AROUND)}"
            raise BadSteps(f"{place} has the unknown key {key!r}; known are {known}")
    if len(verbs) != 1:
        has = " and ".join(verbs) or "no verb"
        raise BadSteps(f"{place} has {has}; it needs exactly one verb ({', '.join(VERBS)})")
    around = _options(place, {key: value for key, value in entry.items() if key in AROUND}, AROUND)
    name = verbs[0]
    verb, private = VERBS[name], around["private"]
    around["name"] = around["name"] or name
    place = f"step {number} ({around['name']})"
    if private and not verb.texts:
        raise BadSteps(f"{place} is private, but `{name}` has no text to hide")
    given = {} if entry[name] is None else entry[name]
    if not isinstance(given, dict):
        raise BadSteps(f"{place} gives `{name}` {_shown(given, private)}, not a mapping of options")
    options = _options(f"{place}, `{name}`,", given, verb.options, private)
    if options.get("difference") and not options["equals"]:
        raise BadSteps(f"{place} has a `difference` without `equals`")
    chosen = [key for key in verb.one_of + verb.some_of if options[key] is not None]
    if (verb.one_of and len(chosen) != 1) or (verb.some_of and not chosen):
        wanted = f"{'exactly' if verb.one_of else 'at least'} one of {', '.join(verb.one_of + verb.some_of)}"
        raise BadSteps(f"{place} gives `{name}` {' and '.join(chosen) or 'none'}; it needs {wanted}")
    seconds = options.get("seconds", 0)
    limit = around.pop("within") or step_limit + seconds
    if limit <= seconds:
        raise BadSteps(f"{place} has a `within` of {limit:g}, which is not above its {seconds:g} seconds")
    return Step(number, name, options, limit=limit, **around)


def _options(place: str, given: dict[Any, Any], known: dict[str, Option], private: bool = False) -> dict[str, Any]:
    for key in given:
        if key not in known:
            beside = " (it belongs beside the verb, not below it)" if key in AROUND else ""
            raise BadSteps(f"{place} has the unknown option {key!r}{beside}; known: {', '.join(known) or 'none'}")
    found: dict[str, Any] = {}
    for key, option in known.items():
        value = given.get(key)
        if value is None:
            if option.required:
                raise BadSteps(f"{place} lacks `{key}`")
            found[key] = option.default
            continue
        words, convert = KINDS[option.kind]
        try:
            found[key] = convert(value)
            bounded("it", found[key], option.least, option.most)
        except BadSteps as error:
            raise BadSteps(f"{place} has a wrong `{key}`: {error.problem}") from None
        except (ValueError, TypeError):
            raise BadSteps(f"{place} has a wrong `{key}`: {_shown(value, private)} is not {words}") from None
        if option.choices and found[key] not in option.choices:
            raise BadSteps(f"{place} has a wrong `{key}`: {_shown(value)} is none of {', '.join(option.choices)}")
    return found


class _Order:
    """What a step needs of those before it: hello, a subscription, a registered name of the right kind.

    A refused step left nothing.
    """

    def __init__(self) -> None:
        self.greeted = False
        self.registered: dict[str, Step] = {}
        self.subscribed: set[str] = set()

    def check(self, step: Step) -> None:
        place = f"step {step.number} ({step.name})"
        if step.verb not in _BEFORE_HELLO and not self.greeted:
            raise BadSteps(f"{place} has no `hello` step before it")
        if step.register in self.registered:
            raise BadSteps(f"{place} registers {step.register!r}, which an earlier step registered")
        for key, verbs in _REFERENCES.items():
            name = step.options.get(key)
            found = None if name is None else self.registered.get(name)
            if name is not None and (found is None or found.verb not in verbs or found.refused):
                kind = "a step" if key == "since" else f"a {' or '.join(verbs)} step"
                raise BadSteps(f"{place} has a wrong `{key}`: {name!r} is not the registered name of {kind} before it")
        wanted = [step.options["event"]] if "event" in step.options else []
        for name in step.options["events"] if step.verb == "unsubscribe" else wanted:
            if name not in self.subscribed:
                raise BadSteps(f"{place} has no `subscribe` to {name} before it")
        if step.register:
            self.registered[step.register] = step
        if step.refused:
            return
        if step.verb == "hello":
            self.greeted = True
        elif step.verb == "subscribe":
            self.subscribed.update(step.options["events"])
        elif step.verb == "unsubscribe":
            self.subscribed.difference_update(step.options["events"])
        elif step.verb == "paste" and step.options["wait"]:
            self.subscribed.update(PASTE_ENDS)
        elif step.verb == "reconnect" and not step.options["resubscribe"]:
            self.subscribed.clear()


def _shown(value: object, private: bool = False) -> str:
    """A value of the list in a message; of a private or long one only what sort of thing it is."""
    return _sort(value) if private or isinstance(value, list | dict | None) else repr(value)[:60]


def _sort(value: object) -> str:
    sorts = {str: "a text", list: "a list", dict: "a mapping", type(None): "nothing"}
    return sorts.get(type(value), "a value")
