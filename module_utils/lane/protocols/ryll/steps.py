"""The language of steps: what each verb takes, and a check of a whole list before anything starts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import COMPONENTS
from .errors import BadSteps
from .jsonline import encode
from .keys import chord, scancode, strokes
from .png import Region

#: Most bytes of a clipboard text that ryll 0.3.0 takes.
MOST_CLIPBOARD = 104_857_600
#: Most characters of a text that `type` sends key by key; at 10 ms for each that is a quarter of an hour.
MOST_TYPED = 100_000
#: The longest path that the system takes, in bytes (PATH_MAX less its NUL).
LONGEST_PATH = 4095


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
    """One verb. needs: methods that the server has to list; acts: the guest gets something; texts: options that `private` hides.

    one_of: exactly one of these is given; some_of: at least one.
    """

    options: dict[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    acts: bool = False
    texts: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    some_of: tuple[str, ...] = ()


_EVENT = {
    "event": Option("str", required=True),
    "fields": Option("dict"),
    "since": Option("str"),
}
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
            "surface_id": Option("int", default=0, least=0, most=(1 << 32) - 1),
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
            "surface_id": Option("int", default=0, least=0, most=(1 << 32) - 1),
            "not_one_colour": Option("bool", default=False),
            "size": Option("size"),
            "same_as": Option("str"),
            "differs_from": Option("str"),
            "region": Option("region"),
            "settle": Option("number", default=0, least=0, most=86400),
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
    "type": Verb({"text": Option("keyboard_text", required=True), "delay_ms": _DELAY}, needs=("send_key",), acts=True, texts=("text",)),
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
    "clipboard_set": Verb({"text": Option("text", required=True)}, needs=("clipboard_set",), acts=True, texts=("text",)),
    "clipboard_get": Verb({"equals": Option("text")}, needs=("clipboard_get",), texts=("equals",)),
    "resize": Verb({"width": _SIDE, "height": _SIDE}, needs=("resize",), acts=True),
    "stats": Verb({"marks": Option("int", least=1)}, needs=("stats",)),
    "subscribe": Verb({"events": Option("names", required=True)}, needs=("subscribe",)),
    "unsubscribe": Verb({"events": Option("names", required=True)}, needs=("unsubscribe",)),
    "expect_event": Verb({**_EVENT, "count": Option("int", default=1, least=1, most=10_000)}),
    "quiet": Verb({**_EVENT, "seconds": Option("number", required=True, least=0.001, most=86400)}),
    "pause": Verb({"seconds": Option("number", required=True, least=0.001, most=86400)}),
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
_REFERENCES = {"since": tuple(VERBS), "same_as": ("screenshot",), "differs_from": ("screenshot",), "size_as": ("resize", "screenshot")}
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
    """Check the whole list and make steps of it. Raises BadSteps naming the first bad step and what is wrong with it."""
    if not 0 < step_limit <= 86400:
        raise BadSteps("step_limit above 0 and up to 86400 seconds", f"it is {step_limit:g}")
    if not isinstance(raw, list) or not raw:
        raise BadSteps("a list of at least one step", "it is empty" if raw == [] else f"it is {_shown(raw, private=True)}")
    order = _Order()
    steps: list[Step] = []
    for number, entry in enumerate(raw, 1):
        steps.append(_step(number, entry, step_limit))
        order.check(steps[-1])
    return steps


def _step(number: int, entry: object, step_limit: float) -> Step:
    place = f"step {number}"
    if not isinstance(entry, dict):
        raise BadSteps(f"{place} to be a mapping with a verb, such as `hello: {{}}`", f"it is {_shown(entry)}")
    verbs = [key for key in entry if key in VERBS]
    strange = [key for key in entry if key not in VERBS and key not in AROUND]
    if strange:
        raise BadSteps(f"{place} to hold a verb ({', '.join(VERBS)}) and {', '.join(AROUND)}", f"it holds {strange[0]!r}")
    if len(verbs) != 1:
        raise BadSteps(f"{place} to hold exactly one verb ({', '.join(VERBS)})", f"it holds {' and '.join(verbs) or 'none'}")
    around = _options(place, {key: value for key, value in entry.items() if key in AROUND}, AROUND, private=False)
    name = verbs[0]
    verb = VERBS[name]
    place = f"step {number} ({around['name'] or name})"
    if around["private"] and not verb.texts:
        raise BadSteps(f"{place} without `private`", f"`{name}` has no text to hide")
    given = {} if entry[name] is None else entry[name]
    if not isinstance(given, dict):
        raise BadSteps(f"{place} to give `{name}` a mapping of options", f"it gives {_shown(given, around['private'])}")
    options = _options(f"{place}, `{name}`,", given, verb.options, private=around["private"])
    chosen = [key for key in verb.one_of + verb.some_of if options[key] is not None]
    if (verb.one_of and len(chosen) != 1) or (verb.some_of and not chosen):
        wanted = f"exactly one of {', '.join(verb.one_of)}" if verb.one_of else f"at least one of {', '.join(verb.some_of)}"
        raise BadSteps(f"{place} to give `{name}` {wanted}", f"it gives {' and '.join(chosen) or 'none'}")
    limit = around["within"] or step_limit + options.get("seconds", 0)
    if limit <= options.get("seconds", 0):
        raise BadSteps(f"{place} to have a limit above its {options['seconds']:g} seconds", f"`within` is {limit:g}")
    return Step(number, name, options, around["name"] or name, limit, around["register"], around["blame"], around["refused"], around["private"])


def _options(place: str, given: dict[Any, Any], known: dict[str, Option], private: bool) -> dict[str, Any]:
    for key in given:
        if key not in known:
            beside = "; it belongs beside the verb, not below it" if key in AROUND else ""
            raise BadSteps(f"{place} to use {', '.join(known) or 'no options'}", f"it uses {key!r}{beside}")
    found: dict[str, Any] = {}
    for key, option in known.items():
        value = given.get(key)
        if value is None:
            if option.required:
                raise BadSteps(f"{place} to give `{key}`", "it does not")
            found[key] = option.default
            continue
        try:
            found[key] = KINDS[option.kind][1](value)
        except BadSteps as error:
            raise BadSteps(f"{place} to give `{key}` {error.expected}", error.got) from None
        except (ValueError, OverflowError):
            raise BadSteps(f"{place} to give `{key}` {KINDS[option.kind][0]}", f"it is {_shown(value, private)}") from None
        if option.choices and found[key] not in option.choices:
            raise BadSteps(f"{place} to give `{key}` one of {', '.join(option.choices)}", f"it is {_shown(value)}")
        if (option.least is not None and found[key] < option.least) or (option.most is not None and found[key] > option.most):
            to = f" to {option.most:.15g}" if option.most is not None else " or more"
            raise BadSteps(f"{place} to give `{key}` from {option.least:g}{to}", f"it is {_shown(value)}")
    return found


class _Order:
    """What a step needs of those before it: hello, a subscription, a registered name of the right kind. A refused step left nothing."""

    def __init__(self) -> None:
        self.greeted = False
        self.registered: dict[str, Step] = {}
        self.subscribed: set[str] = set()

    def check(self, step: Step) -> None:
        place = f"step {step.number} ({step.name})"
        if step.verb not in _BEFORE_HELLO and not self.greeted:
            raise BadSteps(f"{place} to come after a `hello` step", "there is none before it")
        if step.register in self.registered:
            raise BadSteps(f"{place} to register a name of its own", f"{step.register!r} was registered before")
        for key, verbs in _REFERENCES.items():
            name = step.options.get(key)
            found = None if name is None else self.registered.get(name)
            if name is not None and (found is None or found.verb not in verbs or found.refused):
                kind = "a step" if key == "since" else f"a {' or '.join(verbs)} step"
                raise BadSteps(f"{place} to give `{key}` the registered name of {kind} before it", f"{name!r} is none")
        wanted = step.options["events"] if step.verb == "unsubscribe" else [step.options["event"]] if "event" in step.options else []
        if missing := [name for name in wanted if name not in self.subscribed]:
            raise BadSteps(f"{place} to come after a `subscribe` to {missing[0]}", "there is none before it")
        if step.register:
            self.registered[step.register] = step
        if not step.refused:
            self._note(step)

    def _note(self, step: Step) -> None:
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
    if value is None:
        return "nothing"
    kinds = {str: "a text", list: "a list", dict: "a mapping", bool: "a truth value", int: "a whole number", float: "a number"}
    if private or isinstance(value, list | dict):
        return kinds.get(type(value), f"a {type(value).__name__}")
    if isinstance(value, int) and value.bit_length() > 200:  # Python does not print the largest
        return "a whole number of many digits"
    return repr(value[:100] if isinstance(value, str) else value)[:60]


def _a_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    value.encode()
    return value


def _a_word(value: object) -> str:
    text = _a_text(value)
    if not text or not text.isprintable() or len(text) > 200:
        raise ValueError
    return text


def _a_clipboard_text(value: object) -> str:
    text = _a_text(value)
    if (size := len(text.encode())) > MOST_CLIPBOARD:
        raise BadSteps(f"a text of at most {MOST_CLIPBOARD} bytes", f"it has {size}")
    return text


def _a_keyboard_text(value: object) -> str:
    text = _a_text(value)
    if len(text) > MOST_TYPED:
        raise BadSteps(f"a text of at most {MOST_TYPED} characters", f"it has {len(text)}")
    strokes(text)
    return text


def _a_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, str) and not re.fullmatch(r"-?\d{1,18}", value.strip(), re.ASCII)):
        raise ValueError
    return int(value)


def _a_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _a_truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("yes", "true", "on", "no", "false", "off"):
        return value.strip().lower() in ("yes", "true", "on")
    raise ValueError


def _a_path(value: object) -> str:
    path = os.path.expanduser(_a_text(value))
    if not is_path(path):
        raise ValueError
    return path


def is_path(path: str) -> bool:
    """Whether it can be the absolute path of a file."""
    return os.path.isabs(path) and path.isprintable() and len(path.encode()) <= LONGEST_PATH


def _a_mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError
    encode(value)
    return value


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return [_a_word(name) for name in value]


def _a_size(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value.strip(), re.ASCII) if isinstance(value, str) else None
    if not found:
        raise ValueError
    return int(found[1]), int(found[2])


def _a_region(value: object) -> Region:
    if not isinstance(value, dict) or set(value) != {"x", "y", "width", "height"}:
        raise ValueError
    region = Region(**{key: _a_whole(number) for key, number in value.items()})
    if region.x < 0 or region.y < 0 or region.width < 1 or region.height < 1:
        raise ValueError
    return region


def _a_scancode(value: object) -> tuple[int, ...]:
    number = int(value, 16) if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", value) else _a_whole(value)
    return (scancode(number),)


def _a_chord(value: object) -> tuple[int, ...]:
    return chord(_a_word(str(value) if type(value) is int else value))


def _chords(value: object) -> list[tuple[int, ...]]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return [_a_chord(key) for key in value]


#: Kinds of options: how a sentence calls them, and what checks and converts. Numbers may be written as text, as templates give them.
KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("a printable text of 1 to 200 characters", _a_word),
    "text": ("a text", _a_clipboard_text),
    "keyboard_text": ("a text", _a_keyboard_text),
    "int": ("a whole number", _a_whole),
    "number": ("a number", _a_number),
    "bool": ("true or false", _a_truth),
    "path": ("an absolute path", _a_path),
    "dict": ("a mapping", _a_mapping),
    "names": ("a list of names", _names),
    "size": ("a size such as 1280x800", _a_size),
    "region": ("x, y, width and height in pixels, inside the picture", _a_region),
    "key": ("the name of a key", _a_chord),
    "keys": ("a list of names of keys", _chords),
    "scancode": ("a set 1 make code", _a_scancode),
}
