"""What kerbside was started with, for the texts of a step."""

from __future__ import annotations

import yaml

from ...programs.program import Program
from .stage import read_text


def of_kerbside(daemon: Program, name: str) -> str:
    """The path of its proxy (proxy), or the name of the guest's console (console_name)."""
    if name == "proxy":
        return daemon.env["KERBSIDE_PROXY_BIN"]
    return str(yaml.safe_load(read_text(daemon.env["KERBSIDE_SOURCES_PATH"]))[0]["consoles"][0]["name"])
