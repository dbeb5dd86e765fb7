"""What the rules read of a lane: its logs by session, place and time, and each rule's own conditions, on evidence that
is given.
"""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.core import limits
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import observed, rules
from ansible.module_utils.lane.evidence.observed import Evidence, Line

BOOTED = 'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)\n'
AT = 1795492558.0  # 2026-11-24T03:55:58Z


def at(seconds: float) -> str:
    return datetime.fromtimestamp(AT + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seen(folder: Path, blame: dict[str, Any] | None = None, **logs: str) -> Evidence:
    """Evidence of programs with these logs; ryll was started at AT."""
    (folder / "logs").mkdir(exist_ok=True)
    failed = {"component": "ryll", "phase": "smoke", "check": "hello", "cause": "", **(blame or {})}
    made = Evidence(str(folder), failed)
    for name in {"ryll": "", **logs}:
        path = folder / f"logs/{name}.log"
        path.write_text(logs.get(name, ""))
        entry = {
            "name": name,
            "component": name,
            "log": str(path),
            "log_start": 0,
            "started": AT,
            "ready_seconds": 1.0,
            "pid": None,
            "counters": {},
            "members": list,
            "log_lines": logs.get(name, "").splitlines,
            "evidence": str(path),
        }
        made.records[name] = SimpleNamespace(**entry)
    vars(made).update(lost=[], qmp={}, serial="")
    return made


START = {"component": "kerbside", "check": None}  #: the daemon did not start


def texts(lines: list[Line]) -> list[str]:
    return [line.text.split()[-1] for line in lines]


def test_of_a_session_the_logs_since_rylls_start_count(tmp_path):
    log = f"{at(-1)} before\nits rest\n{at(0)} begin\n{at(0.25)} after\nlast\n"
    of = seen(tmp_path, api=log, daemon=log, database=log)
    assert texts(of.log("api")) == texts(of.log("daemon")) == ["begin", "after", "last"]
    everything = ["before", "rest", "begin", "after", "last"]
    assert texts(of.log("database")) == everything
    assert [line.at for line in of.log("daemon")] == [AT, AT + 0.25, AT + 0.25]
    assert of.find("daemon", "before") is None and of.find("database", "before")
    assert texts(seen(tmp_path, START, daemon=log).log("daemon"))[0] == "before"
    assert of.log("nobody") == []


def test_a_line_just_before_rylls_start_and_one_without_a_time_are_of_before(tmp_path):
    log = f"no time\n{at(-0.0005)} close\n"
    of = seen(tmp_path, daemon=log, database=log)
    assert texts(of.log("daemon")) == ["close"]
    assert [line.at for line in of.log("database")] == [0.0, pytest.approx(AT - 0.0005)]


def test_the_times_of_pythons_lines_and_of_coloured_ones_are_read(tmp_path):
    stamps = f'{{"level": "INFO", "ts": "{at(1)}"}}\n\x1b[2m{at(2)[:-1]}123Z\x1b[0m x\n'  # the proxy writes nanoseconds
    assert [line.at - AT for line in seen(tmp_path, daemon=stamps).log("daemon")] == [1, 2]


@pytest.mark.parametrize(("searched", "numbers"), [(1 << 20, [11, 12]), (90, [11, 12]), (89, [0, 0])])
def test_of_a_long_log_the_end_is_read_and_its_lines_are_numbered_as_far_as_is_cheap(
    tmp_path, monkeypatch, searched, numbers
):
    monkeypatch.setattr(observed, "LOG_BYTES", 18)
    monkeypatch.setattr(observed, "SEARCHED_BYTES", searched)
    of = seen(tmp_path, database="".join(f"line {number:03}\n" for number in range(1, 13)))
    found = of.log("database")
    assert [(line.text, line.number) for line in found] == [("line 011", numbers[0]), ("line 012", numbers[1])]
    assert found[0].place == of.records["database"].log + (":11" if numbers[0] else "")


# --- rules --------------------------------------------------------------------------------------------------------


def test_a_port_that_was_taken_needs_both_lines(tmp_path, monkeypatch):
    binding, taken = "Error: binding TLS listener on 127.0.0.1:7", "0: Address already in use"
    monkeypatch.setattr(rules.proc, "listener", lambda port: f"the owner of {port}")
    for log, found in ((binding, False), (taken, False), (f"{binding}\n{taken}", True)):
        result = rules.port_was_taken(seen(tmp_path, START, daemon=log))
        assert (result is not None and "the owner of 7" in result.problem) is found
    monkeypatch.setattr(rules.proc, "listener", lambda port: None)
    result = rules.port_was_taken(seen(tmp_path, START, daemon=f"{binding}\n{taken}"))
    assert result and "taken by a process that has ended since" in result.problem


@pytest.mark.parametrize(
    ("status", "rise", "code"),
    [
        (-9, "kills", "out_of_memory"),
        (137, "kills", "out_of_memory"),
        (1, "kills", "proxy_ended"),
        (-9, "", "proxy_ended"),
    ],
)
def test_a_proxy_that_the_kernel_killed_for_memory(tmp_path, monkeypatch, status, rise, code):
    monkeypatch.setattr(limits, "rise", lambda before: rise)
    found = rules.proxy_ended(seen(tmp_path, daemon=f"{at(-9)} Rust proxy child died with exit code {status}"))
    assert found and found.code == code


@pytest.mark.parametrize(("phase", "code"), [("smoke", "never_started"), ("kerbside", None)])
def test_a_lane_that_was_not_brought_up_completely(tmp_path, phase, code):
    found = rules.never_started(seen(tmp_path, {"phase": phase}, qemu="", database="", api=""))
    assert (found and found.code) == code and (not found or found.problem.endswith("never started: daemon"))
    assert rules.never_started(seen(tmp_path, {"phase": phase}, qemu="", database="", api="", daemon="")) is None


@pytest.mark.parametrize(
    ("free", "said", "full"),
    [
        (1 << 20, "", False),
        ((1 << 20) - 4096, "", True),
        (1 << 30, "No space left on device", True),
        (1 << 30, 'mkdir failed (Errcode: 28 "x")', True),
        (1 << 30, "write: os error 28", True),
        (1 << 30, "OSError: x, errno: 28", True),
    ],
)
def test_a_disk_is_full_by_its_room_or_by_a_programs_words(tmp_path, monkeypatch, free, said, full):
    monkeypatch.setattr(rules.os, "statvfs", lambda path: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    found = rules.disk_full(seen(tmp_path, database=said))
    assert (found is not None) is full
    assert found is None or (f"database says: {said}" in found.problem) is bool(said)


LIMITS = {
    "memory_refused": ["qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory"],
    "too_many_files": [
        '[ERROR] mariadbd: Out of resources when opening file (Errcode: 24 "Too many open files")',
        "Got error 24 from storage engine",
        "error number 24",
        "Error: accept: os error 24",
        "[ERROR] pipe() failed 24",  # mariadbd 10.11
    ],
    "too_many_processes": [
        "RuntimeError: can't start new thread",
        "sh: 1: Cannot fork",
        "Can't initialize timers",
        "[ERROR] Cannot create thread to handle bootstrap (errno: 11)",
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    ],
}


@pytest.mark.parametrize(("code", "line"), [(code, line) for code, lines in LIMITS.items() for line in lines])
def test_a_limit_of_the_machine_is_its_own_fault(tmp_path, code, line):
    log = f"[Warning] Could not increase number of max_open_files\n{line}\n"
    found = rules.limit_of_machine(seen(tmp_path, database=log))
    assert found and (found.component, found.code) == ("host", code)
    assert (found.evidence or "").endswith("logs/database.log:2")
    assert rules.limit_of_machine(seen(tmp_path, {"component": "environment"}, database=log)) is None


@pytest.mark.parametrize("name", ["schema", "api", "daemon"])
@pytest.mark.parametrize("text", ["(1142, \"denied to 'k'@'l'\")", r"(1045, \"denied\")", "(1044, 'denied')"])
def test_a_database_that_denies_access(tmp_path, name, text):
    log = {name: f"{at(1)} pymysql.err.OperationalError: {text}"}
    found = rules.database_denies(seen(tmp_path, {"component": "kerbside"}, **log))
    assert found and (found.component, found.code) == ("database", "database_denies")
    assert f"error {text[1:5]}: denied" in found.problem and found.fix == f"see logs/{name}.log"
    assert rules.database_denies(seen(tmp_path, {"component": "qemu"}, **log)) is None


BROKEN = {"code": "program_broken", "component": "firmware"}
LOST: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "a program": ({}, {}, "program_ended"),
    "ryll": ({"name": "ryll"}, {}, None),
    "never ready, in the check": ({"ready_seconds": None}, {}, "program_ended"),
    "never ready, as its task has said": ({"ready_seconds": None}, {"phase": "kerbside"}, None),
    "a task that failed": ({"ready_seconds": None, "oneshot": True}, {"phase": "kerbside"}, "program_ended"),
    "qemu": ({"name": "qemu"}, {}, "program_ended"),
    "a guest that switched off": ({"name": "qemu", "exit_status": lambda lane_dir: 0}, {}, "guest_ended"),
    "another program that ended well": ({"exit_status": lambda lane_dir: 0}, {}, "program_ended"),
    "an exception before the guest": (BROKEN, {}, "program_broken"),
    "an exception of the guest": (BROKEN, {"serial": BOOTED}, "guest_exception"),
    "a broken program of a booted guest": ({"code": "program_broken"}, {"serial": BOOTED}, "program_broken"),
    "a lost firmware of a booted guest": ({"component": "firmware"}, {"serial": BOOTED}, "program_ended"),
}


@pytest.mark.parametrize(("entry", "more", "code"), LOST.values(), ids=LOST)
def test_a_program_that_is_lost(tmp_path, entry, more, code):
    of = seen(tmp_path, {"phase": more.get("phase", "smoke")})
    known = {"name": "api", "ready_seconds": 1.0, "oneshot": False, "exit_status": lambda lane_dir: 1, **entry}
    lost = {"component": "kerbside", "code": "program_ended", "problem": "p: q", "evidence": "x"}
    gone = SimpleNamespace(**{**lost, **entry, "entry": SimpleNamespace(**known)})
    vars(gone)["error"] = lambda: LaneError(gone.code, gone.component, "p")
    vars(of).update(lost=[gone], serial=more.get("serial", ""))
    found = rules.program_lost(of)
    assert (found and found.code) == code
