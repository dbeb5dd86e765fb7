"""What to quote of a program's log: the words that tell a person why it failed, and no more of them than fit into a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ..core.errors import one_line

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")  # ECMA-48
#: How the lines of kerbside-proxy, ryll, gunicorn and MariaDB begin: the time, the thread or process, the level; and those of the `sh` above each program.
HEAD = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT\S+Z|\[\d{4}-\d\d-\d\d [^]]+\] \[\d+\]|\d{4}-\d\d-\d\d +[\d:]+ \d+)\s+\[?"
    r"(?:ERROR|WARN(?:ING)?|Warning|Note|INFO|CRITICAL)\]?\s+|^\S+/processes/\S+\.status: (?:\d+: )?"
)
#: A line with one of these says that something went wrong.
TROUBLE = re.compile(
    r"error|exception|fatal|panick|abort|fail|cannot|could not|unable|denied|refus|invalid|mismatch|no such|not found|not permitted|no space|disabled"
    r"|there is no",
    re.IGNORECASE,
)
#: The code that Python shows in a traceback, and its pages about an error; the causes that Rust numbers are indented too, and count.
NOT_WORDS = re.compile(r"^(?!\s+\d+: )\s|^Traceback |^\(Background on this error|^During handling of|^The above exception")
LAST = 12  #: lines from the end that are looked through
LONGEST = 160  #: characters of one quoted line


def readable(text: str) -> str:
    """A line for people: no escape sequences, no control characters; kerbside's JSON lines by their level, logger and message."""
    if text.startswith("{"):
        try:
            found = json.loads(text)
            return f"{found['ts']} {found['level']} {found['logger_name']}: {found['message']}"
        except (ValueError, KeyError, TypeError):
            pass
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in ESCAPES.sub("", text))


def telling(lines: Iterable[str]) -> str:
    """The first and the last of a log's last lines that tell of trouble, or else its last line; "" when it has none.

    The first, because others follow from it; the last, because a program says at the end what it ends of.
    """
    known = [HEAD.sub("", readable(line)) for line in lines if line.strip()][-LAST:]
    if not known:
        return ""
    words = [line for line in known if TROUBLE.search(line) and not NOT_WORDS.search(line)] or known[-1:]
    chosen = list(dict.fromkeys(one_line(line, LONGEST) for line in (words[0], words[-1])))
    return " ... ".join(chosen)
