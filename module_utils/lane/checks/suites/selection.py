"""Which suites and checks a command plays, and in which order."""

from __future__ import annotations

from typing import Any

from ...core.errors import LaneError
from ...core.names import near
from .plan import Check, Suite


def named(suites: list[Suite], only: list[str]) -> dict[str, Suite]:
    """The suites of these names or files, in this order ("all": every one, those for which kerbside is started anew
    last).

    Raises LaneError for a name that is given twice or that there is not.
    """
    known: dict[str, Suite] = {}
    for suite in suites:
        if suite.name in known:
            problem = f"{suite.file} and {known[suite.name].file} both hold a suite {suite.name}"
            raise LaneError("suite_file_invalid", "lane", problem, "rename one of them")
        known[suite.name] = suite
    asked = {**{suite.file: suite for suite in suites}, **known}
    if unknown := [name for name in only if name not in asked and name != "all"]:
        problem = f"there is no suite {unknown[0]}{near(unknown[0], known)}"
        raise LaneError("suite_unknown", "lane", problem, f"choose among {', '.join(known)}")
    every = sorted(known, key=lambda name: known[name].changes_kerbside)
    return {asked[name].name: asked[name] for name in (every if "all" in only else only)}


def plays(suites: dict[str, Suite], slow: bool) -> list[dict[str, Any]]:
    """What is to be played, guest by guest, so that qemu is started anew as seldom as can be.

    Raises LaneError for a suite without a check to make.
    """
    if idle := [name for name, suite in suites.items() if not chosen(suite, slow)]:
        problem = f"all checks of the suite {idle[0]} are slow, so none would be made"
        raise LaneError("suites_not_played", "lane", problem, "add -e suites_slow=true")
    pairs = [(suite, guest) for suite in suites.values() for guest in suite.guests]
    order = list(dict.fromkeys(guest for _, guest in pairs))
    pairs.sort(key=lambda pair: order.index(pair[1]))
    return [
        {
            "suite": suite.name,
            "file": suite.file,
            "guest": guest,
            "checks": [check.name for check in chosen(suite, slow)],
            "last": number == len(pairs),
        }
        for number, (suite, guest) in enumerate(pairs, 1)
    ]


def chosen(suite: Suite, slow: bool) -> list[Check]:
    return [check for check in suite.checks if slow or not check.slow]
