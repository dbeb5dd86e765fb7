"""The parser of the command line, and what the options of several verbs share. Standard library only."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as our lines, in two columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=120, max_help_position=30)


class UsageError(Exception):
    """A command line that is wrong; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def near(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the known word that is most alike, or ''."""
    found = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean {found[0]}?)" if found else ""


def check_known(kind: str, word: str, known: Iterable[str], hint: str) -> None:
    """Raise UsageError for a word that is not known. kind: what it should name; hint: where the known ones are."""
    if word not in (names := list(known)):
        raise UsageError(f"there is no {kind} {word!r}{near(word, names)}; {hint}")


def number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text) or int(text) < least or (most is not None and int(text) > most):
            wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text} is not a whole number {wanted}")
        return int(text)

    return read


def existing(text: str) -> Path:
    """An argparse type: the path of something that is there."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return Path(text)


def option(
    parser: argparse.ArgumentParser, names: str, metavar: str | None, words: str, *, complete: str = "", **more: Any
) -> None:
    """Add an option, or an argument. names: separated by spaces; metavar: of its value, None for a switch; complete:
    the function of tools.complete that knows its values; more: as for add_argument.
    """
    kind = {"metavar": metavar} if metavar else {"action": "store_true"}
    action = parser.add_argument(*names.split(), help=words, **{**kind, **more})
    if complete and "_ARGCOMPLETE" in os.environ:
        from tools import complete as completers

        action.completer = getattr(completers, complete)  # type: ignore[attr-defined]
