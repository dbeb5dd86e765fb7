"""Writes the workflow's inputs as Ansible extra vars: lane_vars.py FILE, each input in an environment variable of its
name.

A file of JSON, so that no shell and no option parser ever splits or interprets what somebody typed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Inputs of which each becomes the variable lane_NAME.
TEXTS = ("KERBSIDE_ORIGIN", "PROXY_ORIGIN", "RYLL_ORIGIN", "IMAGE_ORIGIN", "GUEST")
LISTS = ("RYLL_FEATURES", "SUITES")
CREDENTIALS = re.compile(r"(?<!ssh)://[^/\s]*@|://[^/\s@:]*:[^/\s]*@")


def lane_vars(inputs: Mapping[str, str]) -> dict[str, Any]:
    """The extra vars for these inputs. An empty or missing input leaves the lane's own choice.

    Raises ValueError (one sentence) for what holds credentials, which it does not quote, or what Ansible would take for
    a template or an option.
    """
    found: dict[str, Any] = {}
    for name in (*TEXTS, *LISTS):
        if value := _checked(name, inputs.get(name, "").strip()):
            found[f"lane_{name.lower()}"] = re.findall(r"[^,\s]+", value) if name in LISTS else value
    text = inputs.get("VARIABLES", "").strip()
    try:
        more = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"variables is not JSON: {error}") from None
    if not isinstance(more, dict):
        raise ValueError('variables is not a JSON object such as {"lane_keep": "never"}')
    _checked("VARIABLES", json.dumps(more, ensure_ascii=False))
    return {**found, **more}


def _checked(name: str, value: str) -> str:
    if CREDENTIALS.search(value):
        raise ValueError(f"{name.lower()} has a user name or a password in a URL")
    if not value.isprintable() or re.search(r"\{[{%#]", value) or value.startswith("-"):
        raise ValueError(f"{name.lower()} must be plain text on one line, not an option or a template: {value!r}")
    return value


if __name__ == "__main__":
    try:
        Path(*sys.argv[1:]).write_text(json.dumps(lane_vars(os.environ)) + "\n", encoding="utf-8")
    except (ValueError, OSError) as error:
        sys.exit(f"::error::{error}")
