"""ps, logs and shot of the lanes of an inventory: playbooks/look.yml does there what these verbs do here."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from tools import ROOT


def over(asked: argparse.Namespace, what: str, part: str = "", file: Path | None = None) -> NoReturn:
    """Become the ansible-playbook that looks."""
    given = {"lane_look": what, "lane_look_part": part, "lane_look_file": str(file.absolute()) if file else ""}
    options = ["-i", asked.inventory, *(["--limit", asked.limit] if asked.limit else []), "-e", json.dumps(given)]
    os.environ.pop("PYTHONPATH", None)
    os.environ["ANSIBLE_STDOUT_CALLBACK"] = "phases"
    program = Path(sys.executable).with_name("ansible-playbook")
    os.execv(program, [str(program), str(ROOT / "playbooks/look.yml"), *options])  # noqa: S606 - no shell is wanted
