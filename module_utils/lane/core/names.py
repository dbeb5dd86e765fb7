"""Names that a person typed: which of them nothing knows, and which known one was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

ALIKE = 0.85  #: difflib's ratio from which on a variable of any name counts as a misspelled one


def near(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """' (did you mean X?)' for the known word that is most alike, or ''."""
    found = difflib.get_close_matches(word, list(known), 1, least)
    return f" (did you mean {found[0]}?)" if found else ""


def is_file(suite: str) -> bool:
    """Whether a suite is asked for by its file and not by its name."""
    return "/" in suite or suite.endswith((".yml", ".yaml"))


def unknown_variables(given: Iterable[str], known: Iterable[str], roles: Iterable[str]) -> Iterator[str]:
    """A clause for each unknown variable whose name begins as a role's variables do, or is nearly a known one."""
    known = set(known)
    ours = ("lane_", *(f"{role}_" for role in roles))
    for name in given:
        meant = near(name, known, ALIKE)
        if name not in known and (meant or name.startswith(ours)) and not name.startswith("ansible_"):
            yield f"there is no variable {name}{meant}"
