"""What a person types: the verbs of ./lane. They use the lane's own code under the name that Ansible gives it."""

from __future__ import annotations

import signal
from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).parents[1]

ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


def end_quietly() -> None:
    """Let Ctrl-C, and a reader of stdout that goes away, end this program without a traceback."""
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
