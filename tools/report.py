"""`./lane report`: make report.html again from the artifacts of a run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence.report import write

from tools import ROOT, end_quietly


def main() -> None:
    """Entry point of `./lane report`."""
    end_quietly()
    parser = argparse.ArgumentParser(prog="./lane report", description="Make report.html of a run again from its artifacts.")
    parser.add_argument("folder", nargs="?", type=Path, help="the artifacts (default: artifacts/lane-0)")
    asked = parser.parse_args()
    try:
        print(write(asked.folder or ROOT / "artifacts" / "lane-0"))
    except LaneError as error:
        print(f"lane: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    os.umask(0o022)
    main()
