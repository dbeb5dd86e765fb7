"""`./lane report`: make report.html again from the artifacts of a run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence.report import write

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Entry point of `./lane report`."""
    parser = argparse.ArgumentParser(prog="./lane report", description="Make the report of a run again, from its artifacts.")
    parser.add_argument("folder", nargs="?", type=Path, help="the artifacts (default: artifacts/lane-0)")
    asked = parser.parse_args()
    try:
        print(write(asked.folder or ROOT / "artifacts" / "lane-0"))
    except LaneError as error:
        sys.exit(f"lane: {error}")


if __name__ == "__main__":
    os.umask(0o022)
    main()
