"""The options of the verbs for people who change the lane: test, faults, bench and mutants. Standard library only."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import ROOT
from tools.parsing import Parser, UsageError, check_known, complete_by, existing, number

STAGES = ("lint", "unit", "playbooks", "lane")
WITH_PYTEST = ("unit", "playbooks")
FAULTS = ROOT / "tests/faults/catalogue.yml"
#: Verbs that can judge a mutant, instead of a whole lane.
JUDGES = ("smoke", "suites")
STATUSES = {
    "test": "Exit status: 0 everything passed, 1 something failed, 2 wrong use.",
    "faults": "Exit status: 0 every fault was found as expected, 1 one was not, 2 wrong use.",
}


def fault_names() -> list[str]:
    """The names of the faults in the catalogue."""
    return re.findall(r"(?m)^  - name: (\S+)$", FAULTS.read_text(encoding="utf-8"))


def variables(text: str) -> dict[str, Any]:
    """An argparse type: variables as a JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text} is not a JSON object")
    return found


def add(verb: Callable[..., Parser]) -> None:
    """Add the four verbs. verb: makes the parser of one."""
    _add_test(verb("test", usage="./lane test [-v] [STAGE ...] [-- PYTEST-OPTION ...]", epilog=STATUSES["test"]))
    _add_faults(verb("faults", epilog=STATUSES["faults"]))
    _add_bench(verb("bench"))
    _add_mutants(verb("mutants", usage="./lane mutants [options] [VERB [SUITE ...]]"))


def _add_lane_id(verb: Parser, usual: int, words: str, name: str = "--lane-id", most: int = 99) -> None:
    verb.add_argument(name, type=number(0, most), default=usual, metavar="N", help=f"{words} (%(default)s)")


def _add_test(test: Parser) -> None:
    names = test.add_argument("names", nargs="*", metavar="STAGE", help=f"a stage (default: {', '.join(STAGES)})")
    complete_by(names, "stages")
    test.add_argument("-v", "--verbose", action="store_true", help="show the output of what passes as well")


def _add_faults(faults: Parser) -> None:
    complete_by(faults.add_argument("names", nargs="*", metavar="NAME", help="a fault (default: all)"), "faults")
    faults.add_argument(
        "--quick", action="store_true", help="those that ./lane test runs: every component, without the slow ones"
    )
    faults.add_argument("--list", action="store_true", help="name the faults and run none")
    faults.add_argument("--together", type=number(1, 3), default=3, metavar="N", help="lanes at once (%(default)s)")
    _add_lane_id(faults, 40, "lane ids to use: this one and the next two", "--first-id", 97)
    faults.add_argument(
        "--plant",
        type=variables,
        default={},
        metavar="JSON",
        help="variables for every run, to plant a gap and see that it is noticed",
    )
    faults.add_argument(
        "--artifacts",
        type=Path,
        default=ROOT / "artifacts/faults",
        metavar="FOLDER",
        help="where the evidence of each fault goes (artifacts/faults)",
    )
    faults.add_argument(
        "--catalogue", type=existing, default=FAULTS, metavar="FILE", help="another one than tests/faults/catalogue.yml"
    )


def _add_bench(bench: Parser) -> None:
    bench.add_argument("--rounds", type=number(1), default=5, metavar="N", help="of each, in turn (%(default)s)")
    bench.add_argument(
        "--lanes", type=number(1, 100), nargs="*", default=[8], metavar="N", help="numbers of lanes to run at once (8)"
    )
    bench.add_argument(
        "--cold", action="store_true", help="the first run of a fresh clone, too (fetches everything twice)"
    )
    _add_lane_id(bench, 43, "the first of the ids that are used")
    bench.add_argument(
        "--shell-lane",
        type=Path,
        default=ROOT.parent / "shared/bench/shell-lane",
        metavar="FILE",
        help="the bare shell lane (%(default)s)",
    )
    bench.add_argument(
        "--json",
        type=Path,
        default=ROOT / "artifacts/bench.json",
        metavar="FILE",
        help="where the figures go (artifacts/bench.json)",
    )
    bench.add_argument("--write", action="store_true", help="write the table to docs/performance.md, too")


def _add_mutants(mutants: Parser) -> None:
    names = mutants.add_argument(
        "names",
        nargs="*",
        metavar="VERB",
        help="what judges each mutant: smoke, or suites and their names (default: a whole lane)",
    )
    complete_by(names, "judges")
    mutants.add_argument(
        "--proxy",
        type=existing,
        metavar="CHECKOUT",
        help="instead: the bugs of tests/mutation/proxy.yml, in the proxy of this checkout of kerbside",
    )
    mutants.add_argument(
        "--ryll",
        type=existing,
        metavar="CHECKOUT",
        help="instead: the bugs of tests/mutation/ryll.yml, in this checkout of ryll",
    )
    mutants.add_argument(
        "--smoke-only", action="store_true", help="with --proxy or --ryll: run no suite, only the smoke check"
    )
    mutants.add_argument(
        "--sample", type=number(0), default=40, metavar="N", help="mutants of the Python to try (%(default)s; 0: all)"
    )
    mutants.add_argument("--seed", type=number(0), default=1, metavar="N", help="which sample (%(default)s)")
    _add_lane_id(mutants, 57, "which lane")
    mutants.add_argument(
        "--file",
        metavar="TEXT",
        help="only files whose path contains this; with --proxy or --ryll a file or the name of an edit",
    )
    mutants.add_argument("--json", type=Path, metavar="FILE", help="also write the outcomes to FILE")
    more = mutants.add_argument(
        "-e", "--extra-vars", action="append", default=[], metavar="NAME=VALUE", help="set a variable of each lane"
    )
    complete_by(more, "variables")


def check(asked: argparse.Namespace) -> None:
    """Raise UsageError for names and numbers that do not go together, or that nothing has."""
    if asked.verb == "test":
        for name in asked.names:
            check_known("stage", name, STAGES, f"stages are {', '.join(STAGES)}")
        if asked.pytest and asked.names and not set(WITH_PYTEST) & set(asked.names):
            raise UsageError(f"what follows -- goes to pytest, which only {' and '.join(WITH_PYTEST)} run")
    elif asked.verb == "faults" and asked.catalogue == FAULTS:
        for name in asked.names:
            check_known("fault", name, fault_names(), "./lane faults --list shows all")
    elif asked.verb == "bench" and asked.lane_id + max(asked.lanes, default=1) > 100:
        raise UsageError(
            f"./lane bench: {max(asked.lanes)} lanes from --lane-id {asked.lane_id} on: lane ids end at 99"
        )
    elif asked.verb == "mutants" and asked.proxy and asked.ryll:
        raise UsageError("./lane mutants: --proxy and --ryll exclude each other")
    elif asked.verb == "mutants" and asked.names:
        check_known("verb", asked.names[0], JUDGES, f"a mutant is judged by {' or '.join(JUDGES)}, or by a whole lane")
