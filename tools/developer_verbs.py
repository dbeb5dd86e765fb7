"""The options of the verbs for people who change the lane: test, faults, bench and mutants. Standard library only."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import ROOT
from tools.parsing import Parser, UsageError, check_known, existing, number, option

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
    test = verb("test", usage="./lane test [-v] [STAGE ...] [-- PYTEST-OPTION ...]", epilog=STATUSES["test"])
    option(test, "names", "STAGE", f"a stage (default: {', '.join(STAGES)})", nargs="*", complete="stages")
    option(test, "-v --verbose", None, "show the output of what passes as well")
    _add_faults(verb("faults", epilog=STATUSES["faults"]))
    _add_bench(verb("bench"))
    _add_mutants(verb("mutants", usage="./lane mutants [options] [VERB [SUITE ...]]"))


def _add_number(verb: Parser, name: str, usual: int, words: str, least: int, most: int | None = None) -> None:
    option(verb, name, "N", f"{words} (%(default)s)", type=number(least, most), default=usual)


def _add_faults(faults: Parser) -> None:
    option(faults, "names", "NAME", "a fault (default: all)", nargs="*", complete="faults")
    option(faults, "--quick", None, "those that ./lane test runs: every component, without the slow ones")
    option(faults, "--list", None, "name the faults and run none")
    _add_number(faults, "--together", 3, "lanes at once", 1, 3)
    _add_number(faults, "--first-id", 40, "lane ids to use: this one and the next two", 0, 97)
    words = "variables for every run, to plant a gap and see that it is noticed"
    option(faults, "--plant", "JSON", words, type=variables, default={})
    words = "where the evidence of each fault goes (artifacts/faults)"
    option(faults, "--artifacts", "FOLDER", words, type=Path, default=ROOT / "artifacts/faults")
    words = "a catalogue other than tests/faults/catalogue.yml"
    option(faults, "--catalogue", "FILE", words, type=existing, default=FAULTS)


def _add_bench(bench: Parser) -> None:
    _add_number(bench, "--rounds", 5, "of each, in turn", 1)
    option(bench, "--lanes", "N", "numbers of lanes to run at once (8)", type=number(1, 100), nargs="*", default=[8])
    _add_number(bench, "--lane-id", 43, "the first of the ids that are used", 0, 99)
    usual = ROOT.parent / "shared/bench/shell-lane"
    option(bench, "--shell-lane", "FILE", "the bare shell lane (%(default)s)", type=Path, default=usual)
    usual = ROOT / "artifacts/bench.json"
    option(bench, "--json", "FILE", "where the figures go (artifacts/bench.json)", type=Path, default=usual)
    option(bench, "--write", None, "write the table to docs/performance.md, too")


def _add_mutants(mutants: Parser) -> None:
    words = "what judges each mutant: smoke, or suites and their names (default: a whole lane)"
    option(mutants, "names", "VERB", words, nargs="*", complete="judges")
    words = "instead: the bugs of tests/mutation/proxy.yml, in the proxy of this checkout of kerbside"
    option(mutants, "--proxy", "CHECKOUT", words, type=existing)
    words = "instead: the bugs of tests/mutation/ryll.yml, in this checkout of ryll"
    option(mutants, "--ryll", "CHECKOUT", words, type=existing)
    option(mutants, "--smoke-only", None, "with --proxy or --ryll: run no suite, only the smoke check")
    option(mutants, "--sample", "N", "mutants of the Python to try (%(default)s; 0: all)", type=number(0), default=40)
    _add_number(mutants, "--seed", 1, "which sample", 0)
    _add_number(mutants, "--lane-id", 57, "which lane", 0, 99)
    words = "only files whose path contains this; with --proxy or --ryll a file or the name of an edit"
    option(mutants, "--file", "TEXT", words)
    option(mutants, "--json", "FILE", "also write the outcomes to FILE", type=Path)
    words = "set a variable of each lane"
    option(mutants, "-e --extra-vars", "NAME=VALUE", words, action="append", default=[], complete="variables")


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
