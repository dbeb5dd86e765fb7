"""The kinds of values that an option of an actor takes, each with its words for a message and its test."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pattern(value: object) -> bool:
    try:
        re.compile(value if isinstance(value, str) else "(")
    except re.error:
        return False
    return True


#: Growth of a counter: a whole number, or one with >, >=, < before it.
GROWTH = re.compile(r"(>=|>|<)?\s*(\d+)")

#: What a `command` may say, once or for each of its `cases`, and of which kind that is.
CASE = {
    "run": "texts",
    "claims": "mapping",
    "private": "word",
    "settings": "mapping",
    "sources": "text",
    "add_sources": "text",
    "exits": "whole",
    "says": "texts",
    "never": "texts",
}


def _fits(key: object, value: object) -> bool:
    return key in CASE and KINDS[CASE[str(key)]][1](value)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "word": ("a text of one line", lambda value: isinstance(value, str) and value.isprintable() and bool(value)),
    "texts": (
        "a list of texts",
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value),
    ),
    "pattern": ("a regular expression", _is_pattern),
    "whole": ("a whole number of 0 or more", lambda value: type(value) is int and value >= 0),
    "number": ("a number above 0", lambda value: is_number(value) and value > 0),
    "delay": ("a number of milliseconds up to 2000", lambda value: is_number(value) and 0 <= value <= 2000),
    "rate": ("a number of Mbit/s from 0.1 to 1000", lambda value: is_number(value) and 0.1 <= value <= 1000),
    "hex": ("bytes as hexadecimal text", lambda value: re.fullmatch("(?:[0-9a-fA-F]{2})+", str(value)) is not None),
    "truth": ("true or false", lambda value: isinstance(value, bool)),
    "mapping": ("a mapping", lambda value: isinstance(value, dict)),
    "list": ("a list", lambda value: isinstance(value, list)),
    "growth": (
        "a mapping of counters to numbers, such as {denied_total: 1, authorized_total: '>0'}",
        lambda value: (
            isinstance(value, dict) and bool(value) and all(GROWTH.fullmatch(str(one)) for one in value.values())
        ),
    ),
    "cases": (
        f"a list of mappings of {', '.join(CASE)}",
        lambda value: (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(one, dict) and all(_fits(key, inner) for key, inner in one.items()) for one in value)
        ),
    ),
    "any": ("a value", lambda value: True),
}
