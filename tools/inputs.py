"""What is given with -e or as a suite: refused before anything starts when it cannot be meant."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
from typing import Any

from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.names import is_file, near, unknown_variables

from tools import arguments
from tools.parsing import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def extra_variables(given: list[str]) -> dict[str, Any]:
    """The values of -e options, as ansible-playbook reads them.

    Those of files (@FILE) are left to the playbook, which checks them as well.
    """
    found: dict[str, Any] = {}
    for text in given:
        if text.startswith(("{", "[")):
            with contextlib.suppress(ValueError):  # what is no JSON Ansible refuses itself
                values = json.loads(text)
                found.update(values if isinstance(values, dict) else {})
        found.update(dict(word.split("=", 1) for word in _words(text) if "=" in word))
    return found


def _words(text: str) -> list[str]:
    """The words of a -e option that Ansible reads as NAME=VALUE; none of JSON, YAML or a file."""
    with contextlib.suppress(ValueError):  # an open quote, which Ansible refuses itself
        return [] if text.startswith(("{", "[", "@")) else shlex.split(text)
    return []


def check(asked: argparse.Namespace) -> None:
    """Raise LaneError for the first thing that is wrong with a command for ansible-playbook."""
    given = asked.given.get("extra_vars", [])
    known, values = arguments.variables(), extra_variables(given)
    plain = [text for text in given if "{{" not in text and "{%" not in text]  # a template may hold blanks
    if ignored := [word for text in plain for word in _words(text) if "=" not in word]:
        problem = f"-e {ignored[0]} sets no variable, and Ansible would ignore it"
        raise LaneError("bad_input", "environment", problem, "write -e NAME=VALUE, without blanks around the =")
    if wrong := list(unknown_variables(values, known, {*known.values()} - {"lane"})):
        raise LaneError("bad_input", "environment", "; ".join(wrong), "docs/variables.md has all variables")
    if "{" not in str(values.get("lane_id", "{")):  # no template
        try:
            arguments.lane_number(str(values["lane_id"]))
        except UsageError as error:
            raise LaneError("bad_input", "environment", str(error)) from None
    lease = str(values.get("lane_lease", 1))
    if not re.fullmatch(r"\d+(\.\d*)?|.*{.*", lease):
        unit = re.fullmatch(r"(\d+)([smhd])", lease)
        meant = f", here {int(unit[1]) * UNITS[unit[2]]}" if unit else ""
        raise LaneError("bad_input", "environment", f"lane_lease={lease}: a lease is a number of seconds{meant}")
    names = [name for word in getattr(asked, "names", []) for name in word.split(",")]
    ours = ["all", *arguments.suites()]
    # their names are in them
    unknown = [n for n in names if n not in ours and not is_file(n)] if "lane_suite_files" not in values else []
    if unknown and not any(text.startswith("@") for text in asked.given.get("extra_vars", [])):
        problem = f"there is no suite {unknown[0]}{near(unknown[0], ours)}"
        raise LaneError("suite_unknown", "lane", problem, f"choose among {', '.join(ours)}")
