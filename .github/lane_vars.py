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

#: Input -> the lane's variable.
TEXTS = {
    "KERBSIDE_ORIGIN": "lane_kerbside_origin",
    "PROXY_ORIGIN": "lane_proxy_origin",
    "RYLL_ORIGIN": "lane_ryll_origin",
    "IMAGE_ORIGIN": "lane_image_origin",
    "GUEST": "lane_guest",
}
LISTS = {"RYLL_FEATURES": "lane_ryll_features", "SUITES": "lane_suites"}
CREDENTIALS = re.compile(r"(?<!ssh)://[^/\s]*@|://[^/\s@:]*:[^/\s]*@")


def lane_vars(inputs: Mapping[str, str]) -> dict[str, Any]:
    """The extra vars for these inputs. An empty or missing input leaves the lane's own choice.

    Raises ValueError (one sentence) for what holds credentials, which it does not quote, or what Ansible would take for
    a template or an option.
    """
    found: dict[str, Any] = {}
    for name, variable in TEXTS.items():
        if value := _checked(name, inputs.get(name, "").strip()):
            found[variable] = value
    for name, variable in LISTS.items():
        if words := [word for word in re.split(r"[,\s]+", _checked(name, inputs.get(name, "").strip())) if word]:
            found[variable] = words
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
