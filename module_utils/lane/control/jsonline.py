"""One line of the control socket to one JSON object and back, safe for lines that were made to hurt."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from .errors import BadSteps, Malformed

#: More values, or deeper nesting, than any answer of ryll 0.3.0 comes near (its `stats` has about 30 values, depth 4).
MOST_VALUES = 100_000
DEEPEST = 32
#: Characters of a number: a 64 bit integer has 20, a double printed in full about 25.
LONGEST_NUMBER = 40
# A string literal, or what there is of an unfinished one; possessive, so that no input makes it look at a byte twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


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
    structure = line
    if line.count(b"[") + line.count(b"{") > DEEPEST or line.count(b",") > MOST_VALUES:
        structure = _STRING.sub(b"", line)
        brackets = structure.count(b"[") + structure.count(b"{")
        if brackets + structure.count(b",") > MOST_VALUES:
            refuse(f"it holds more than {MOST_VALUES} values")
        depth = 0
        for found in _BRACKET.finditer(structure):
            depth += 1 if found[0] in (b"[", b"{") else -1
            if depth > DEEPEST:
                refuse(f"it is nested deeper than {DEEPEST} levels")
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
    if b"\\ud" in line.lower() and not _is_unicode(value):
        refuse("a text in it has half of a surrogate pair")
    return value


def _is_unicode(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
