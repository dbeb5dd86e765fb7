"""The kinds of values that a step's options take: each checks a value and converts it.

Numbers may be written as text, as templates give them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from typing import Any

from .errors import BadSteps
from .keys import chord, scancode, strokes
from .pictures import Region

#: Most bytes of a clipboard text that ryll 0.3.0 takes.
MOST_CLIPBOARD = 104_857_600
#: Most characters of a text that `type` sends key by key; at 10 ms for each that is a quarter of an hour.
MOST_TYPED = 100_000
#: The longest path that the system takes, in bytes (PATH_MAX less its NUL).
LONGEST_PATH = 4095


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
        raise BadSteps(f"the text has {size} bytes; the most is {MOST_CLIPBOARD}")
    return text


def _a_keyboard_text(value: object) -> str:
    text = _a_text(value)
    if len(text) > MOST_TYPED:
        raise BadSteps(f"the text has {len(text)} characters; the most is {MOST_TYPED}")
    strokes(text)
    return text


def _a_whole(value: object) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | str)
        or (isinstance(value, str) and not re.fullmatch(r"-?\d{1,18}", value.strip(), re.ASCII))
    ):
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
    json.dumps(value, allow_nan=False)
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


def _regions(value: object) -> list[Region]:
    if not isinstance(value, list):
        raise ValueError
    return [_a_region(region) for region in value]


def _a_scancode(value: object) -> tuple[int, ...]:
    number = (
        int(value, 16) if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", value) else _a_whole(value)
    )
    return (scancode(number),)


def _a_chord(value: object) -> tuple[int, ...]:
    return chord(_a_word(str(value) if type(value) is int else value))


def _chords(value: object) -> list[tuple[int, ...]]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return [_a_chord(key) for key in value]


#: name -> (how a message calls it, what checks and converts a value; it raises ValueError or BadSteps).
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
    "regions": ("a list of regions, each with x, y, width and height in pixels", _regions),
    "key": ("the name of a key", _a_chord),
    "keys": ("a list of names of keys", _chords),
    "scancode": ("a set 1 make code", _a_scancode),
}
