"""Of a log, what a person has to read: the words of the real programs, and not the noise around them."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.lane.evidence import log_excerpt

PYTHON = """PID 7 logging configured: {'syslog': False}
Traceback (most recent call last):
  File "/v/lib/kerbside/db.py", line 7, in <module>
    raise ImportError('no error')
ImportError: libsql.so.9: cannot open shared object file
(Background on this error at: https://sqlalche.me/e/20/e3q8)"""
MARIADB = """2026-11-24  5:10:12 0 [Note] InnoDB: Using Linux native AIO
2026-11-24  5:10:12 0 [ERROR] InnoDB: preallocating 12582912 bytes for file ./ibtmp1 failed with error 28
2026-11-24  5:10:12 0 [Note] InnoDB: Starting shutdown...
2026-11-24  5:10:12 0 [ERROR] Unknown/unsupported storage engine: InnoDB
2026-11-24  5:10:12 0 [ERROR] Aborting
"""
FILES = """2026-11-25 18:41:08 0 [Note] InnoDB: File system buffers for log disabled (block size=4096 bytes)
2026-11-25 18:41:08 0 [ERROR] mariadbd: Out of resources (Errcode: 24)
2026-11-25 18:41:08 0 [ERROR] Can't start server: can't create PID file
2026-11-25 18:41:08 0 [Note] Plugin 'FEEDBACK' is disabled.
"""
RUST = """\x1b[2m2026-11-25T03:18:28.981734Z\x1b[0m \x1b[32m INFO\x1b[0m kerbside_proxy: starting
Error: loading TLS cert /p

Caused by:
    0: opening TLS key file /k
    1: Permission denied (os error 13)
"""
FAILED = """it failed: once
it failed: again
  it failed: in code
2026-11-25 18:41:08 0 [Note] it failed: a note
the end
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("\n  \n", ""),
        ("one\ntwo\n", "two"),
        (PYTHON, "ImportError: libsql.so.9: cannot open shared object file"),
        (MARIADB, "InnoDB: preallocating 12582912 bytes for file ./ibtmp1 failed with error 28 ... Aborting"),
        (FILES, "mariadbd: Out of resources (Errcode: 24) ... Can't start server: can't create PID file"),
        (RUST, "Error: loading TLS cert /p ... 1: Permission denied (os error 13)"),
        ('{"ts": "2026-11-25T03:18:28Z", "level": "ERROR", "logger_name": "k", "message": "no"}', "k: no"),
        (f"2026-11-25 18:41:08 0 [ERROR] broken\n{FAILED}", "broken ... it failed: again"),
        (f"it failed: first\n2026-11-25 18:41:08 0 [ERROR] broken\n{FAILED}", "broken ... it failed: again"),
        ("/tmp/l/processes/ryll.status: 1: /r/ryll: Exec format error\n", "/r/ryll: Exec format error"),
    ],
)
def test_the_telling_words(log: str, words: str) -> None:
    assert log_excerpt.telling(log.splitlines()) == words


def test_they_fit_into_a_sentence() -> None:
    assert len(log_excerpt.telling([f"error {'x' * 9000} {n}" for n in range(100)])) <= 2 * log_excerpt.LONGEST + 5
    assert "error 1 " not in log_excerpt.telling([f"error {n} " for n in range(100)])


def test_a_line_of_kerbside_is_shown_with_what_its_fields_say() -> None:
    line = {
        "logger_name": "a.b",
        "ts": "T",
        "level": "INFO",
        "pid": 1,
        "message": "API request parsed",
        "stack_trace": None,
        "method": "POST",
        "path": "/x",
        "uuid": None,
    }
    assert log_excerpt.readable('{"level": "no line of kerbside\x1b[1m"}') == '{"level": "no line of kerbside"}'
    assert log_excerpt.readable(json.dumps(line)) == "T INFO a.b: API request parsed method=POST path=/x"
