"""Completion for bash and zsh, by argcomplete: what can stand where the cursor is.

`source <(./lane completion bash)` switches it on.
"""

from __future__ import annotations

import os
import re
from typing import Any

import argcomplete

from tools import ROOT, arguments


def main() -> None:
    """Answer the shell, and exit."""
    line = os.environ["COMP_LINE"]
    if found := re.match(r"\S+\s+(?=-)", line):  # without a verb
        os.environ["COMP_LINE"] = f"{found[0]}run {line[found.end() :]}"
        os.environ["COMP_POINT"] = str(int(os.environ["COMP_POINT"]) + len("run "))
    argcomplete.autocomplete(arguments.parser()[0], always_complete_options="long")


def suites(**_: Any) -> list[str]:
    """Names of suites."""
    return ["all", *arguments.suites()]


def tags(prefix: str, **_: Any) -> list[str]:
    """Tags, also after others and a comma."""
    before = prefix.rpartition(",")[0]
    return [f"{before},{tag}" if before else tag for tag in arguments.tags()]


def lane_ids(**_: Any) -> list[str]:
    """lane_id=N of the lanes that are running."""
    from ansible.module_utils.lane.lifecycle import running

    import tools  # noqa: F401 - it makes the lane's own code importable

    return [f"lane_id={one.lane_id}" for one in running.lanes()] or ["lane_id=0"]


def variables(prefix: str, **_: Any) -> list[str]:
    """NAME= of a variable, or NAME=VALUE where the values are known."""
    name = prefix.partition("=")[0]
    if "=" not in prefix:
        return [f"{name}=" for name in arguments.variables()]
    if name == "lane_id":
        return lane_ids()
    return [f"{name}={value}" for value in _values(name)]


def _values(name: str) -> list[str]:
    if name == "lane_guest":
        return re.findall(r"(?m)^  (\w+):", (ROOT / "fixtures/guests.yml").read_text(encoding="utf-8"))
    known = {
        "lane_suites": suites(),
        "kvm_probe_policy": ["auto", "require", "never"],
        "lane_keep": ["never", "on_failure"],
    }
    return known.get(name, [])
