"""The logs on one clock, and what of a log a person has to read: times, lines without one, and hostile text."""

import json
import os
import time

import pytest
from ansible.module_utils.lane.core import local_http
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import log_excerpt, logs
from http_api import api
from results import ZERO, put

SKIPPED = {"name": "status", "started": None, "seconds": 0.0, "result": "skipped"}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-24T03:55:58.250000Z  INFO ryll v0.3.0", ZERO + 0.25),
        ("[2026-11-24 03:55:58 +0000] [6153] [INFO] Listening", ZERO),
        ("[2026-11-24 04:55:58 +0100] [6153] [INFO] Listening", ZERO),
        ('{"logger_name": "kerbside.main", "ts": "2026-11-24T03:55:58.500Z", "level": "INFO"}', ZERO + 0.5),
        ("pocket-sextant 1.0: ready", None),
        ("2026-99-24T03:55:58Z nonsense", None),
        ("", None),
    ],
)
def test_the_time_of_a_line(text, at):
    assert logs.moment(text) == at


def test_mariadb_and_ansible_write_the_machines_own_time(monkeypatch):
    monkeypatch.setenv("TZ", "Etc/GMT-5")
    time.tzset()
    try:
        assert logs.moment("2026-11-24  8:55:58 0 [Note] InnoDB: ready") == ZERO
        assert logs.moment("2026-11-24 08:55:58,250 p=7 u=root n=ansible INFO| PLAY") == ZERO + 0.25
    finally:
        monkeypatch.undo()
        time.tzset()


def test_all_that_a_folder_holds_in_one_order(tmp_path):
    (tmp_path / "serial.log").write_text("\x1b[2J\x1b[01;01Hhello\0\r\n\nready\n")
    up = '{"logger_name": "kerbside.main", "ts": "2026-11-24T03:55:58.100Z", "level": "INFO", "message": "<b>up</b>"}'
    proxy = "2026-11-24T03:55:58.300000Z  INFO kerbside_proxy: starting"
    put(tmp_path / "daemon.log", f"PID 1 logging configured\n{up}\nTraceback (most recent call last):\n{proxy}\n")
    (tmp_path / "ryll.log").write_bytes(b"2026-11-24T03:55:58.200000Z  INFO \xff\n")
    steps = [{"name": "hello", "started": ZERO + 0.4, "seconds": 0.25, "result": "ok"}, SKIPPED]
    put(tmp_path / "smoke.json", {"command_id": "1", "transcript": steps})
    put(tmp_path / "tasks.json", [{"name": "tls : Make", "started": ZERO, "seconds": 1, "result": "changed"}])
    entries = logs.of_folder(tmp_path)
    assert [entry.place for entry in entries[-3:]] == ["", "serial.log:1", "serial.log:3"]
    found = [(entry.part, entry.at and round(entry.at - ZERO, 3), entry.text) for entry in entries]
    assert found == [
        ("ansible", 0.0, "tls : Make: begins"),
        ("daemon", None, "PID 1 logging configured"),
        ("daemon", 0.1, "2026-11-24T03:55:58.100Z INFO kerbside.main: <b>up</b>"),
        ("daemon", 0.1, "Traceback (most recent call last):"),
        ("ryll", 0.2, "2026-11-24T03:55:58.200000Z  INFO \ufffd"),
        ("proxy", 0.3, proxy),
        ("checks", 0.65, "hello: ok after 0.250 s"),
        ("ansible", 1.0, "tls : Make: changed after 1.000 s"),
        ("serial", None, "hello\ufffd"),
        ("serial", None, "ready"),
    ]


def test_the_lines_of_one_part_or_of_all(tmp_path):
    with pytest.raises(LaneError, match="there are no logs in"):
        logs.lines(tmp_path, "")
    (tmp_path / "api.log").write_text("one\n")
    (tmp_path / "serial.log").write_text("two\n")
    (tmp_path / "token.log").touch()
    assert logs.lines(tmp_path, "") == ["api       one", "serial    two"]
    assert [logs.lines(tmp_path, part) for part in ("api", "serial", "token")] == [["one"], ["two"], []]
    for part in ("apis", "checks"):
        with pytest.raises(LaneError, match=f"there is no part {part}.*use one of api, serial, token") as caught:
            logs.lines(tmp_path, part)
        assert caught.value.code == "no_logs"


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [(0.5, ["a: begins", "a: ok after 0.500 s"]), (0.4, ["a: ok after 0.400 s"]), (None, ["a: ok after 0.000 s"])],
)
def test_what_takes_long_has_a_line_for_its_beginning(tmp_path, seconds, texts):
    put(tmp_path / "tasks.json", [{"name": "a", "started": ZERO, "seconds": seconds, "result": "ok"}])
    found = list(logs.of_folder(tmp_path))
    assert [entry.text for entry in found] == texts and found[-1].at == ZERO + (seconds or 0.0)


def test_of_a_huge_log_the_end_is_read_and_the_rest_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "LIMIT", 100)
    (tmp_path / "api.log").write_text("".join(f"line {number:04}\n" for number in range(100)))
    left_out = "(910 bytes before this are left out here; they are in api.log)"
    found = [entry.text for entry in logs.of_file(tmp_path / "api.log")]
    assert found == [left_out, *(f"line {number:04}" for number in range(91, 100))]


def test_the_last_line_is_of_the_newest_log_since_a_moment(tmp_path):
    (tmp_path / "logs").mkdir()
    assert logs.last_line(tmp_path, 0.0) == ""
    for name, at in (("api", 100), ("daemon", 200)):
        (tmp_path / f"logs/{name}.log").write_text(f"{name}\n")
        os.utime(tmp_path / f"logs/{name}.log", (at, at))
    assert [logs.last_line(tmp_path, since) for since in (0.0, 200.0, 200.1)] == ["daemon", "daemon", ""]


def test_what_the_lane_caused_is_told_by_the_id_of_its_request(tmp_path):
    ids: list[str | None] = []
    with api(lambda number, _: (200, ""), ids) as port:
        for _ in range(2):
            local_http.get(port, "/", 5)
    assert len(set(ids)) == 2
    form = '{"logger_name": "k", "ts": "2026-11-24T03:55:58.100Z", "level": "INFO", "message": "m", "request-id": "%s"}'
    put(tmp_path / "api.log", f"{form % ids[0]}\n{form % 'another'}\n")
    (tmp_path / "ryll_direct.log").write_text("2026-11-24T03:55:58.200000Z  INFO ryll\n")
    groups = [entry.group for entry in logs.of_folder(tmp_path)]
    assert groups == ["api (lane)", "api", "ryll_direct (lane)"]


def test_of_a_long_answer_the_first_mib_is_read():
    with api(lambda number, _: (200, "x" * (3 << 19))) as port:
        assert local_http.get(port, "/", 30) == (200, "x" * (1 << 20))


@pytest.mark.parametrize("make", [lambda path: os.symlink("/dev/zero", path), os.mkfifo, lambda path: path.mkdir()])
def test_what_is_no_regular_file_is_not_read(tmp_path, make):
    make(tmp_path / "serial.log")
    assert logs.of_folder(tmp_path) == []
    (tmp_path / "logs").mkdir()
    make(tmp_path / "logs/serial.log")
    assert logs.last_line(tmp_path, 0.0) == ""


# --- of a log, what a person has to read: the words of the real programs, and not the noise -------

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
AGAIN = """it failed: once
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
        (f"2026-11-25 18:41:08 0 [ERROR] broken\n{AGAIN}", "broken ... it failed: again"),
        (f"it failed: first\n2026-11-25 18:41:08 0 [ERROR] broken\n{AGAIN}", "broken ... it failed: again"),
        ("/tmp/l/processes/ryll.status: 1: /r/ryll: Exec format error\n", "/r/ryll: Exec format error"),
    ],
)
def test_the_telling_words(log, words):
    assert log_excerpt.telling(log.splitlines()) == words


def test_they_fit_into_a_sentence():
    assert len(log_excerpt.telling([f"error {'x' * 9000} {n}" for n in range(100)])) <= 2 * log_excerpt.LONGEST + 5
    assert "error 1 " not in log_excerpt.telling([f"error {n} " for n in range(100)])


def test_a_line_of_kerbside_is_shown_with_what_its_fields_say():
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
