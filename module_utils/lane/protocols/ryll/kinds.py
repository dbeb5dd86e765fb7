"""The kinds of values that a step's options take: each checks a value and converts it.

Numbers may be written as text, as templates give them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from .errors import BadSteps
from .keys import chord, scancode, strokes
from .pictures import Region

#: Most bytes of a clipboard text that ryll 0.3.0 takes.
MOST_CLIPBOARD = 104_857_600
#: Most characters of a text that `type` sends key by key; at 10 ms for each that is a quarter of an hour.
MOST_TYPED = 100_000

Value = TypeVar("Value")


def _a_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _a_word(value: object) -> str:
    text = _a_text(value)
    if not text or not text.isprintable() or len(text) > 200:
        raise ValueError
    return text


def _a_clipboard_text(value: object) -> str:
    text = _a_text(value)
    if (size := len(text.encode())) > MOST_CLIPBOARD:
        raise BadSteps(f"the text has {size} bytes; the most is {MOST_CLIPBOARD}")
    return text


def _a_keyboard_text(value: object) -> str:
    text = _a_text(value)
    if len(text) > MOST_TYPED:
        raise BadSteps(f"the text has {len(text)} characters; the most is {MOST_TYPED}")
    strokes(text)
    return text


def _a_whole(value: object) -> int:
    if not re.fullmatch(r"\s*-?\d{1,18}\s*", str(value), re.ASCII):
        raise ValueError
    return int(str(value))


def _a_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _a_truth(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in ("yes", "true", "on", "no", "false", "off"):
        raise ValueError
    return word in ("yes", "true", "on")


def _a_path(value: object) -> str:
    path = os.path.expanduser(_a_text(value))
    if not is_path(path):
        raise ValueError
    return path


def is_path(path: str) -> bool:
    """Whether it can be the absolute path of a file."""
    return os.path.isabs(path) and path.isprintable()


def bounded(name: str, value: float, least: float | None, most: float | None) -> None:
    """Raise BadSteps unless the value is from least to most; None is no bound."""
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        to = f" to {most:.15g}" if most is not None else " or more"
        raise BadSteps(f"{name} is {value:.15g}, not from {least:g}{to}")


def _a_mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError
    json.dumps(value, allow_nan=False)
    return value


def _list(value: object, kind: Callable[[object], Value], least: int = 1) -> list[Value]:
    if not isinstance(value, list) or len(value) < least:
        raise ValueError
    return [kind(one) for one in value]


def _a_size(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value.strip(), re.ASCII) if isinstance(value, str) else None
    if not found:
        raise ValueError
    return int(found[1]), int(found[2])


def _a_region(value: object) -> Region:
    if not isinstance(value, dict):
        raise ValueError
    region = Region(**{key: _a_whole(number) for key, number in value.items()})
    if region.x < 0 or region.y < 0 or region.width < 1 or region.height < 1:
        raise ValueError
    return region


def _a_scancode(value: object) -> tuple[int, ...]:
    written = isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", value)
    return (scancode(int(written[0], 16) if written else _a_whole(value)),)


def _a_chord(value: object) -> tuple[int, ...]:
    return chord(_a_word(str(value) if type(value) is int else value))


#: name -> (how a message calls it, what checks and converts a value; it raises ValueError, TypeError or BadSteps).
KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("a printable text of 1 to 200 characters", _a_word),
    "text": ("a text", _a_clipboard_text),
    "keyboard_text": ("a text", _a_keyboard_text),
    "int": ("a whole number", _a_whole),
    "number": ("a number", _a_number),
    "bool": ("true or false", _a_truth),
    "path": ("an absolute path", _a_path),
    "dict": ("a mapping", _a_mapping),
    "names": ("a list of names", partial(_list, kind=_a_word)),
    "size": ("a size such as 1280x800", _a_size),
    "region": ("x, y, width and height in pixels, inside the picture", _a_region),
    "regions": (
        "a list of regions, each with x, y, width and height in pixels",
        partial(_list, kind=_a_region, least=0),
    ),
    "key": ("the name of a key", _a_chord),
    "keys": ("a list of names of keys", partial(_list, kind=_a_chord)),
    "scancode": ("a set 1 make code", _a_scancode),
}
