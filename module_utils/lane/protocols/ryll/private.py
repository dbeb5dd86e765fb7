"""Private texts: what is shown in their place, and where they are searched for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .steps import AROUND, VERBS, Step

#: Shorter private texts are hidden in their step, but not searched for elsewhere: they would match ordinary words.
SHORTEST_SOUGHT = 3


def hidden(text: str) -> str:
    """What is shown in place of a private text."""
    return f"(private, {len(text)} characters)"


def hide(raw: object) -> object:
    """The list as it was given, with the texts of private steps replaced, for logs; what is not a list is hidden."""
    if not isinstance(raw, list):
        return _hide_value(raw)
    return [_hide_step(entry) if isinstance(entry, dict) and _is_private(entry) else entry for entry in raw]


def _is_private(entry: dict[Any, Any]) -> bool:
    """`private` also counts in the wrong place, since a mistake in the list must not show a text."""
    return any(one.get("private") not in (None, False) for one in (entry, *entry.values()) if isinstance(one, dict))


def _hide_step(entry: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value if key in AROUND else _hide_value(value) for key, value in entry.items()}


def _hide_value(value: object) -> object:
    if isinstance(value, dict):
        return {key: _hide_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hide_value(inner) for inner in value]
    if isinstance(value, str):
        return hidden(value)
    return value if value is None or isinstance(value, bool) else "(private)"  # a number may be a PIN


def texts(value: object) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


class Secrets:
    """The private texts of a session: those of its steps from the beginning, others as they become known."""

    def __init__(self, steps: list[Step]) -> None:
        private = [step for step in steps if step.private]
        self.any = bool(private)
        self._sought: dict[str, str] = {}
        for step in private:
            for text in texts([step.options[key] for key in VERBS[step.verb].texts]):
                self.add(text)

    def add(self, text: str) -> None:
        """Hide this text from now on: whole, each of its lines (a peer may repeat them without their ends), and as
        programs quote them.
        """
        for part in [text, *text.split("\n")]:
            for form in (part, part.strip(), json.dumps(part, ensure_ascii=False)[1:-1], repr(part)[1:-1]):
                if len(form) >= SHORTEST_SOUGHT:
                    self._sought[form] = hidden(part)

    def mask(self, text: str) -> str:
        """The text without the private ones."""
        for form in sorted((form for form in self._sought if form in text), key=len, reverse=True):
            text = text.replace(form, self._sought[form])
        return text
