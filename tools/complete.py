"""Completion for bash and zsh, by argcomplete: what can stand where the cursor is.

`source <(./lane completion bash)` switches it on.
"""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

import argcomplete

from tools import ROOT, arguments, developer_verbs


def main() -> None:
    """Answer the shell, and exit."""
    line = os.environ["COMP_LINE"]
    if found := re.match(r"\S+\s+(?=-)", line):  # without a verb
        os.environ["COMP_LINE"] = f"{found[0]}run {line[found.end() :]}"
        os.environ["COMP_POINT"] = str(int(os.environ["COMP_POINT"]) + len("run "))
    argcomplete.autocomplete(arguments.parser()[0], always_complete_options="long")


def suites(prefix: str = "", **_: Any) -> list[str]:
    """Names of suites, also after others and a comma."""
    return _after_comma(prefix, ["all", *arguments.suites()])


def tags(prefix: str, **_: Any) -> list[str]:
    """Tags, also after others and a comma."""
    return _after_comma(prefix, arguments.tags())


def stages(**_: Any) -> tuple[str, ...]:
    """Stages of ./lane test."""
    return developer_verbs.STAGES


def faults(**_: Any) -> list[str]:
    """Names of faults."""
    return developer_verbs.fault_names()


def judges(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """What judges a mutant: verbs, and suites after the verb suites."""
    return suites(prefix) if parsed_args.names else list(developer_verbs.JUDGES)


def _after_comma(prefix: str, names: list[str]) -> list[str]:
    before = prefix.rpartition(",")[0]
    return [f"{before},{name}" if before else name for name in names]


def lane_ids(**_: Any) -> list[str]:
    """lane_id=N of the lanes that are running."""
    from ansible.module_utils.lane.lifecycle import running

    return [f"lane_id={one.lane_id}" for one in running.lanes()] or ["lane_id=0"]


def variables(prefix: str, **_: Any) -> list[str]:
    """NAME= of a variable, or NAME=VALUE where the values are known."""
    name = prefix.partition("=")[0]
    if "=" not in prefix:
        return [f"{name}=" for name in arguments.variables()]
    if name == "lane_id":
        return lane_ids()
    guests = (ROOT / "fixtures/guests.yml").read_text(encoding="utf-8")
    known = {
        "lane_guest": re.findall(r"(?m)^  (\w+):", guests),
        "lane_suites": suites(),
        "kvm_probe_policy": ["auto", "require", "never"],
        "lane_keep": ["never", "on_failure"],
    }
    return [f"{name}={value}" for value in known.get(name, [])]
