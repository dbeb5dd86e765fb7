"""One line of the control socket to one JSON object and back, safe for lines that were made to hurt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from .errors import BadSteps, Malformed

#: More values, or deeper nesting, than any answer of ryll 0.3.0 comes near (its `stats` has about 30 values, depth 4).
MOST_VALUES = 100_000
DEEPEST = 32
#: Characters of a number: a 64 bit integer has 20, a double printed in full about 25.
LONGEST_NUMBER = 40
# What leads up to the next bracket or comma, string literals in it (also an unfinished one) as a whole, and that character; possessive, so
# that no input makes it look at a byte twice.
_NEXT = re.compile(rb'(?:[^"\[\]{},]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?+)*+([\[\]{},]?)', re.DOTALL)
#: A value has a name and a text at most, each between two quotes.
_MOST_QUOTES = 4 * MOST_VALUES
_ESCAPED_HALF = re.compile(rb"\\u[dD]")
_HALF = re.compile("[\ud800-\udfff]")


def encode(message: dict[str, Any]) -> bytes:
    """The message as one line with its newline, UTF-8. Raises BadSteps when a text in it is not Unicode or a number is not finite."""
    try:
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:
        raise BadSteps("text that can be written as UTF-8", "it has half of a surrogate pair") from None
    except (ValueError, TypeError, RecursionError):
        raise BadSteps("values that JSON can express", "one cannot be written as JSON") from None


def decode(line: bytes) -> dict[str, Any]:
    """The object that the line (without its newline) holds. Raises Malformed, with the line's beginning as the sample."""

    def refuse(got: str) -> NoReturn:
        raise Malformed("a line with one JSON object", got, sample=line[:200].decode("utf-8", "replace"))

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in found:
            if name in made:
                refuse("a key stands in it twice")
            made[name] = value
        return made

    def whole(text: str) -> int:
        if len(text) > LONGEST_NUMBER:
            refuse(f"a number in it has {len(text)} digits")
        return int(text)

    def real(text: str) -> float:
        if len(text) > LONGEST_NUMBER:
            refuse(f"a number in it has {len(text)} characters")
        value = float(text)
        if not math.isfinite(value):
            refuse(f"the number {text} in it is too large")
        return value

    if b"\0" in line:
        refuse("it holds a NUL byte")
    if line.count(b'"') - line.count(b'\\"') > _MOST_QUOTES:
        refuse(f"it holds more than {MOST_VALUES} values")
    if line.count(b"[") + line.count(b"{") > DEEPEST or line.count(b",") > MOST_VALUES:
        _measure(line, refuse)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        refuse(f"byte {error.start + 1} of it is not UTF-8")
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=whole, parse_float=real, parse_constant=lambda name: refuse(f"it holds {name}"))
    except json.JSONDecodeError as error:
        refuse(f"it is not JSON at character {error.pos + 1}")
    if not isinstance(value, dict):
        refuse("it holds JSON that is not an object")
    if _ESCAPED_HALF.search(line) and _has_half(value):
        refuse("a text in it has half of a surrogate pair")
    return value


def _measure(line: bytes, refuse: Callable[[str], NoReturn]) -> None:
    """Refuse too many values and too deep nesting before anything is made of them, looking at no more of the line than that takes."""
    depth = values = 0
    for found in _NEXT.finditer(line):
        mark = found[1]
        if mark in (b"]", b"}"):
            depth -= 1
        elif mark:
            values += 1
            depth += mark != b","
        if depth < 0:
            return  # not JSON, as the parser will say
        if depth > DEEPEST:
            refuse(f"it is nested deeper than {DEEPEST} levels")
        if values > MOST_VALUES:
            refuse(f"it holds more than {MOST_VALUES} values")


def _has_half(value: object) -> bool:
    """Whether a text somewhere in the value has half of a surrogate pair, which no file and no log can hold."""
    if isinstance(value, str):
        return _HALF.search(value) is not None
    if isinstance(value, dict):
        return any(_has_half(name) or _has_half(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(_has_half, value))
