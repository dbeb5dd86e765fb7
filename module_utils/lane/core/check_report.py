"""The reports of the checks (logs/*.json of a lane): each carries the id of the ansible-playbook command that made it.

Only the reports of the command that judges count (`of_command`), so that a check of an earlier command can never pass
for one of this command. A report is a JSON object with `command_id` and either `checks`, a list of entries as
result.json has them, or `transcript`, the steps of ryll_session. It may name the `suite` (default: smoke), the `guest`
(default: the one that is booted), and `files`, the pictures that it wrote (screenshot.png, screendump.png or
pictures/NAME.png in the lane's directory).
"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from .private_dir import read_json, write_private

#: In the environment of every module: the id of the ansible-playbook command, set by plugins/callback/lane.py.
COMMAND_ID = "LANE_COMMAND_ID"
LARGEST = 16 << 20  #: bytes of a report; ryll_session writes 3 MiB at most


def new_id(random: int = 4) -> str:
    """An id for a command or a run, which begins with the time. random: how many bytes of it are random."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(random)}"


def command_id() -> str:
    """The id of this module's ansible-playbook command; "" when the callback plugin is not enabled."""
    return os.environ.get(COMMAND_ID, "")


def write(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write a check's report, mode 0600, with the id of this command."""
    report = {"command_id": command_id(), **content}
    write_private(path, json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")


def read(path: Path) -> dict[str, Any]:
    """A report, whichever command made it; {} for a file that is missing, too large or no report."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return {}
    found = read_json(path, {})
    return found if isinstance(found, dict) and "command_id" in found else {}


def of_command(logs: Path, command: str) -> list[dict[str, Any]]:
    """The reports that this command made, by file name. None count for a command without an id."""
    found = [read(path) for path in sorted(logs.glob("*.json"))]
    return [report for report in found if command and report.get("command_id") == command]


def last_guest(folder: Path, guests: list[str]) -> str:
    """The guest that was checked last, of these. folder: the artifacts."""
    return str(read_json(folder / "logs/outside.json", {}).get("guest") or (guests[-1] if guests else "the guest"))


def picture(kind: str, guest: str = "") -> str:
    """The file of the smoke check's picture of a kind (`screenshot`). guest: one that was not checked last."""
    return f"pictures/{kind}-{guest}.png" if guest else f"{kind}.png"
