"""The kinds of values that a key of a suite file takes, each with its words for a message and its test."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...core.codes import CODES
from ...core.errors import COMPONENTS

NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Growth of a counter: a whole number, or one with >, >=, < before it.
GROWTH = re.compile(r"(>=|>|<)?\s*(\d+)")

#: What a `command` may say, once or for each of its `cases`, and of which kind that is.
CASE = {
    "run": "program",
    "claims": "mapping",
    "private": "word",
    "settings": "mapping",
    "sources": "text",
    "add_sources": "text",
    "exits": "whole",
    "says": "patterns",
    "never": "patterns",
}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pattern(value: object) -> bool:
    try:
        re.compile(value if isinstance(value, str) else "(")
    except re.error:
        return False
    return True


def _is_list(value: object, least: int = 0, most: float = float("inf")) -> bool:
    return isinstance(value, list) and least <= len(value) <= most


def _are_texts(value: Any, least: int = 0) -> bool:
    return _is_list(value, least) and all(isinstance(one, str) for one in value)


def _holds_patterns(value: Any) -> bool:
    """Whether every text in the value, but for the keys of mappings, is a regular expression."""
    if isinstance(value, dict | list):
        return all(map(_holds_patterns, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, str) or _is_pattern(value)


def _is_case(value: object) -> bool:
    return isinstance(value, dict) and all(key in CASE and KINDS[CASE[key]][1](one) for key, one in value.items())


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "word": ("a text of one line", lambda value: isinstance(value, str) and value.isprintable() and bool(value)),
    "name": (
        "a name of small letters, digits and _",
        lambda value: isinstance(value, str) and NAME.fullmatch(value) is not None,
    ),
    "component": (f"one of {', '.join(COMPONENTS)}", lambda value: value in COMPONENTS),
    "code": ("a code of docs/errors.md", lambda value: isinstance(value, str) and value in CODES),
    "client": ("shared, fresh or none", lambda value: value in ("shared", "fresh", "none")),
    "texts": ("a list of texts", lambda value: _are_texts(value, least=1)),
    "any_texts": ("a list of texts", _are_texts),
    "pattern": ("a regular expression", _is_pattern),
    "patterns": (
        "a list of regular expressions",
        lambda value: _is_list(value, least=1) and all(map(_is_pattern, value)),
    ),
    "holds": ("a value whose texts are regular expressions", _holds_patterns),
    "program": (
        "a list of texts, the name of a program and its arguments",
        lambda value: _are_texts(value, least=1) and "/" not in value[0],
    ),
    "path": (
        "a path that begins with / and has no blanks",
        lambda value: isinstance(value, str) and re.fullmatch("/[!-~]*", value) is not None,
    ),
    "file": (
        "a name of letters, digits, and _ . -",
        lambda value: isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value, re.ASCII) is not None,
    ),
    "claims": (
        "a mapping of set (a mapping), drop (a list of texts), alg and other_seed",
        lambda value: (
            isinstance(value, dict)
            and not value.keys() - {"set", "drop", "alg", "other_seed"}
            and isinstance(value.get("set", {}), dict)
            and _are_texts(value.get("drop", []))
        ),
    ),
    "whole": ("a whole number of 0 or more", lambda value: type(value) is int and value >= 0),
    "size": ("a whole number up to 104857600", lambda value: type(value) is int and 0 <= value <= 100 << 20),
    "number": ("a number above 0 and up to 1000000", lambda value: _is_number(value) and 0 < value <= 1e6),
    "limit": ("a number of seconds up to 3600", lambda value: _is_number(value) and 0 < value <= 3600),
    "delay": ("a number of milliseconds up to 2000", lambda value: _is_number(value) and 0 <= value <= 2000),
    "rate": ("a number of Mbit/s from 0.1 to 1000", lambda value: _is_number(value) and 0.1 <= value <= 1000),
    "hex": ("bytes as hexadecimal text", lambda value: re.fullmatch("(?:[0-9a-fA-F]{2})+", str(value)) is not None),
    "truth": ("true or false", lambda value: isinstance(value, bool)),
    "mapping": ("a mapping", lambda value: isinstance(value, dict)),
    "list": ("a list", _is_list),
    "checks": ("a list of at least one check", lambda value: _is_list(value, least=1)),
    "steps": ("a list of at least one step", lambda value: _is_list(value, least=1) and [] not in value),
    "machines": ("a list of at most 3", lambda value: _is_list(value, most=3)),
    "consoles": ("a list of at most 20", lambda value: _is_list(value, most=20)),
    "growth": (
        "a mapping of counters to numbers, such as {denied_total: 1, authorized_total: '>0'}",
        lambda value: (
            isinstance(value, dict) and value != {} and all(GROWTH.fullmatch(str(one)) for one in value.values())
        ),
    ),
    "cases": (
        f"a list of mappings of {', '.join(CASE)}",
        lambda value: _is_list(value, least=1) and all(map(_is_case, value)),
    ),
    "any": ("a value", lambda value: True),
}
