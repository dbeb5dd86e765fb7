"""What a person types: the verbs of ./lane. They use the lane's own code under the name that Ansible gives it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

ROOT = Path(__file__).parents[1]

with contextlib.suppress(ImportError):  # before .venv is made, only cli, arguments and venv are used
    import ansible.module_utils

    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


def cache_dir() -> Path:
    """The usual lane_cache_dir. A relative XDG_CACHE_HOME does not count (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given if os.path.isabs(given) else "~/.cache", "kerbside-lane").expanduser()


def end_quietly(*numbers: signal.Signals) -> None:
    """Let Ctrl-C, and a reader of stdout that goes away, end this program without a traceback. numbers: only these
    signals do.
    """
    for number in numbers or (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
