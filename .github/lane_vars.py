"""Writes the workflow's inputs as Ansible extra vars: lane_vars.py FILE, the inputs in KERBSIDE_PACKAGE and RYLL_REF.

A file of JSON, so that no shell and no option parser ever splits or interprets what somebody typed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def lane_vars(inputs: Mapping[str, str]) -> dict[str, str]:
    """The extra vars for these inputs. An empty or missing input leaves the lane's own choice.

    Raises ValueError (one sentence) for what pip and git would never take, or Ansible would take for a template.
    """
    found = {}
    for name in ("KERBSIDE_PACKAGE", "RYLL_REF"):
        value = inputs.get(name, "").strip()
        if not value.isprintable() or "{{" in value or "{%" in value or "{#" in value or value.startswith("-"):
            raise ValueError(f"expected {name.lower()} to be one line that is no option and no template, got {value!r}")
        if value and name == "KERBSIDE_PACKAGE":
            found["kerbside_package"] = value
        elif value:
            found |= {"ryll_build_method": "git", "ryll_build_ref": value}
    return found


if __name__ == "__main__":
    try:
        Path(sys.argv[1]).write_text(json.dumps(lane_vars(os.environ)) + "\n", encoding="utf-8")
    except ValueError as error:
        sys.exit(f"::error::{error}")
