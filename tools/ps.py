"""`./lane ps`: the lanes that are running on this machine, or on those of an inventory."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ansible.module_utils.lane.lifecycle.running import lanes, table

from tools import look


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane ps`."""
    if asked.inventory:
        look.over(asked, "ps")
    found = lanes()
    print(json.dumps([asdict(one) for one in found], indent=1) if asked.json else table(found))
