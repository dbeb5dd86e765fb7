"""What to quote of a program's log: the words that tell a person why it failed, and no more of them than fit into a
sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ..core.errors import one_line

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")  # ECMA-48
#: How the lines of kerbside-proxy, ryll, gunicorn and MariaDB begin (time, thread or process, level), and those of the
#: supervisor shell.
HEAD = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT\S+Z|\[\d{4}-\d\d-\d\d [^]]+\] \[\d+\]|\d{4}-\d\d-\d\d +[\d:]+ \d+)\s+\[?"
    r"(?P<level>ERROR|WARN(?:ING)?|Warning|Note|INFO|CRITICAL)\]?\s+|^\S+/processes/\S+\.status: (?:\d+: )?"
)
#: A line with one of these reports a failure, where no line has the level of an error.
FAILURE = re.compile(
    r"error|exception|fatal|panick|abort|fail|cannot|could not|unable|denied|refus|invalid|mismatch|no such|not found"
    r"|not permitted|no space|disabled|there is no",
    re.IGNORECASE,
)
#: The code that Python shows in a traceback, and its pages about an error; the causes that Rust numbers are indented
#: too, and count.
NOT_WORDS = re.compile(
    r"^(?!\s+\d+: )\s|^Traceback |^\(Background on this error|^During handling of|^The above exception"
)
#: A line that is an error by its level or form: those of Rust and MariaDB, gunicorn and kerbside (as `readable` shows
#: it), uncaught exceptions, panics.
ERROR = re.compile(
    r"^\S+ +(?:\S+ \S+ )?\[?(?:ERROR|CRITICAL)\b|^\[[^]]+\] \[\d+\] \[(?:ERROR|CRITICAL)\]"
    r"|^Error: |^Traceback |panicked at |^\w+(?:\.\w+)*Error: "
)
#: Fields of kerbside's JSON lines that say nothing of what happened.
QUIET = set(
    "logger_name ts level thread_name pid module function message exception_class stack_trace request-id identity url "
    "args kwargs headers program".split()
)
#: kerbside's control service could not answer its proxy.
UNANSWERED = re.compile(r'^{"logger_name": "kerbside\.rpc\.servicer".*"level": "ERROR"')
LAST = 12  #: lines from the end that are considered
LONGEST = 160  #: characters of one quoted line


def readable(text: str) -> str:
    """A line for people: no escape sequences, no control characters; kerbside's JSON lines by their level, logger and
    message, and what else they say, as name=value.
    """
    if text.startswith("{"):
        try:
            found = json.loads(text)
            more = "".join(f" {key}={value}" for key, value in found.items() if key not in QUIET and value is not None)
            return f"{found['ts']} {found['level']} {found['logger_name']}: {found['message']}{more}"
        except (ValueError, KeyError, TypeError):
            pass
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in ESCAPES.sub("", text))


def quoted(text: str) -> str:
    """One line of a log as a part of a sentence: without time and level, cut to LONGEST characters."""
    return one_line(HEAD.sub("", readable(text)), LONGEST)


def telling(lines: Iterable[str]) -> str:
    """The first and the last of a log's last lines that report a failure, or else its last line; "" when it has none.

    The first, because others follow from it; the last, because a program says at the end what it ends of. Lines with
    the level of an error come before lines that only have a word of failure in them.
    """
    known = [readable(line) for line in lines if line.strip()][-LAST:]
    if not known:
        return ""
    levels = [line for line in known if (head := HEAD.match(line)) and head["level"] in ("ERROR", "CRITICAL")]
    failed = [line for line in known if FAILURE.search(said := HEAD.sub("", line)) and not NOT_WORDS.search(said)]
    words = levels or failed or known[-1:]
    if levels:  # what follows the last error without a level of its own belongs to it
        after = known[known.index(levels[-1]) :]
        words = [*levels, *(line for line in after if line in failed and not HEAD.match(line))]
    return " ... ".join(dict.fromkeys(quoted(line) for line in (words[0], words[-1])))
