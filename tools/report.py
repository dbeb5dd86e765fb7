"""`./lane report`: make report.html again from the artifacts of a run."""

from __future__ import annotations

import argparse
import os

from ansible.module_utils.lane.evidence.report import write


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane report`."""
    os.umask(0o022)
    print(write(asked.folder))
