"""Each rule of the diagnosis on evidence of the kind it was made for: real processes and sockets, logs as the real
programs wrote them; and what it must not take for a cause.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import time
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core.codes import CODES
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import diagnosis, observed, rules, verdict
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.programs.readiness import Ready
from failed_lanes import FOREVER, await_end, explain, qemu, ryll, whole, write
from lanes import HELD, TestLane

CATALOGUE = Path(__file__).parents[1] / "faults/catalogue.yml"
NO_FAULT = "; no other part shows a fault"


@pytest.fixture
def lane(lane: TestLane) -> TestLane:
    hand_over(lane.dir, "guest", {"name": "pocket", "banner": "guest: ready"})
    return lane


def test_every_rule_has_a_fault_that_needs_it_and_every_code_is_known() -> None:
    faults = {f["name"]: f for f in yaml.safe_load(CATALOGUE.read_text())["faults"]}
    assert set(rules.RULES) == set(rules.FAULTS)
    for name, needed in rules.FAULTS.items():
        assert needed, name
        assert set(needed) <= set(faults), name
    assert {f["expect"]["code"] for f in faults.values() if "code" in f["expect"]} <= set(CODES)


# --- what is said when no rule finds anything ---


def test_that_no_other_part_shows_a_fault_is_said_only_after_every_log_was_searched(
    lane: TestLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        write(lane, "serial", "guest: ready")
        write(lane, "ryll", "2026-11-25T18:39:43.509226Z ERROR main: its own words")
        write(
            lane,
            "daemon",
            '{"ts": "2026", "level": "WARNING", "logger_name": "k", "message": "an error that was none"}',
            "INFO relay ended with error",
        )
        blame, rule = explain(lane)
        assert (blame["component"], blame["cause"], rule) == ("ryll", f"it failed{NO_FAULT}", None)
        assert explain(lane, "guest", "status")[0]["cause"].endswith(
            "no rule explains it, but ryll.log:1 says: main: its own words"
        )
        with monkeypatch.context() as patch:
            patch.setattr(observed, "SEARCHED_BYTES", 60)
            assert explain(lane)[0]["cause"] == "it failed; daemon.log could not be searched for errors"
        os.symlink("/dev/full", f"{lane.dir}/logs/other.log")
        assert explain(lane)[0]["cause"] == "it failed; other.log could not be searched for errors"
        os.unlink(f"{lane.dir}/logs/other.log")
        for name, line in (
            ("daemon", '{"ts": "2026", "level": "ERROR", "logger_name": "k", "message": "of an hour ago"}'),
            ("database", "2026-11-25 18:40:49 0 [ERROR] Aborting"),
            ("api", "[2026-11-25 18:40:50 +0000] [7] [CRITICAL] WORKER TIMEOUT"),
            ("daemon", "ModuleNotFoundError: No module named 'grpc'"),
            ("qemu", "qemu-system-x86_64: warning: something"),
        ):
            path = Path(lane.dir, "logs", f"{name}.log")
            before = path.read_text() if path.exists() else ""
            write(lane, name, line)
            assert (
                f"no rule explains it, but {name}.log:{before.count(chr(10)) + 1} says: " in explain(lane)[0]["cause"]
            ), line
            path.write_text(before)


@pytest.mark.parametrize("component", ["host", "environment", "lane", "artifacts"])
def test_a_named_fault_of_machine_or_lane_stays_as_it_is(lane: TestLane, component: str) -> None:
    lane.start(lane.program("daemon", f"{HELD}exit 3"))
    lane.release()
    await_end(lane, "daemon")
    blame, _ = explain(lane, component, None)
    assert (blame["component"], blame["cause"]) == (component, "it failed")


def test_a_missed_limit_is_told_with_its_variable_and_how_busy_the_machine_is(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane)
        write(lane, "serial", "guest: starting")
        cause = explain(lane, "guest", "banner", "no banner within 30 s")[0]["cause"]
        assert re.search(
            r"within 30 s; the limit is lane_boot_limit, and the machine's load is [\d.]+ on \d+ processor", cause
        )
        assert re.search(
            r"within 30 s; the machine's load is ",
            explain(lane, check="path", cause="no answer within 30 s")[0]["cause"],
        )


# --- the machine ---


@pytest.mark.parametrize(
    "words",
    [
        "No space left on device",
        'mkdir failed (Errcode: 28 "x")',
        "write: os error 28",
        "OSError: [Errno 28] x, errno: 28",
    ],
)
def test_a_full_disk_by_any_of_its_names(lane: TestLane, words: str) -> None:
    lane.start(lane.program("database", f"echo '{words}'; {FOREVER}", component="database"))
    time.sleep(0.1)
    blame, rule = explain(lane, "database", None)
    assert (rule, blame["component"], blame["code"]) == ("disk_full", "host", "disk_full")
    assert blame["evidence"].endswith("logs/database.log:1")
    other = {"component": "environment", "phase": "kerbside", "check": None, "cause": "c", "evidence": None}
    assert diagnosis.explain(lane.dir, other, named=False)[1]["rule"] == "disk_full", (
        "a task that named nobody is examined"
    )


FILES = f"the limit of open files was reached (ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (
            "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory",
            "memory_refused",
            "did not give a program the memory",
        ),
        (
            '[ERROR] mariadbd: Out of resources when opening file (Errcode: 24 "Too many open files")',
            "too_many_files",
            FILES,
        ),
        ("Got error 24 from storage engine", "too_many_files", FILES),
        ("error number 24", "too_many_files", FILES),
        ("[ERROR] pipe() failed 24", "too_many_files", FILES),  # mariadbd 10.11
        ("Error: accept: os error 24", "too_many_files", FILES),
        (
            "RuntimeError: can't start new thread",
            "too_many_processes",
            "the limit of processes and threads was reached (",
        ),
        (
            "[ERROR] Cannot create thread to handle bootstrap (errno: 11)",
            "too_many_processes",
            "pids.max is|ulimit -u is",
        ),
        (
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
            "too_many_processes",
            "pids.max is|ulimit -u is",
        ),
        ("sh: 1: Cannot fork", "too_many_processes", "pids.max is|ulimit -u is"),
        ("Can't initialize timers", "too_many_processes", "pids.max is|ulimit -u is"),
    ],
)
def test_a_limit_of_the_machine_is_its_own_fault(lane: TestLane, line: str, code: str, words: str) -> None:
    lane.start(lane.program("database", FOREVER, component="database"))
    write(lane, "database", "[Warning] Could not increase number of max_open_files", line)
    blame, rule = explain(lane, "database", None)
    assert (rule, blame["component"], blame["code"]) == ("limit_of_machine", "host", code)
    assert words in blame["cause"] or re.search(words, blame["cause"])
    assert "; database says: " in blame["cause"]
    assert blame["evidence"].endswith("logs/database.log:2")


# --- programs ---


def test_the_program_that_ended_first_is_blamed_and_not_its_victims(lane: TestLane) -> None:
    whole(lane, ryll(lane))
    for name in ("database", "daemon", "ryll"):
        entry = records.record(lane.dir, name)
        assert entry and entry.pid
        os.kill(entry.pid, signal.SIGKILL)
        await_end(lane, name)
        time.sleep(0.02)  # so that the times of the ends differ
    blame, rule = explain(lane)
    assert (rule, blame["component"], blame["code"]) == ("program_lost", "database", "program_ended")
    assert blame["cause"].startswith("database was killed by SIGKILL; see ")


def test_a_proxy_that_is_gone_or_stopped_is_not_its_daemon(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane)
        assert explain(lane)[1] is None
        entry = records.record(lane.dir, "daemon")
        assert entry
        (proxy,) = [m for m in entry.members() if m.name == "kerbside-proxy"]
        os.kill(proxy.pid, signal.SIGSTOP)
        while (found := proc.read(proxy.pid)) and found.state != "T":
            time.sleep(0.01)
        blame, rule = explain(lane, "kerbside", None)
        assert (rule, blame["component"], blame["code"]) == ("program_lost", "proxy", "program_stopped")
        assert blame["cause"].startswith(f"kerbside-proxy (pid {proxy.pid}) is stopped")
        os.kill(proxy.pid, signal.SIGKILL)
        while any(m.name == "kerbside-proxy" for m in entry.members()):
            time.sleep(0.01)
        blame, rule = explain(lane)
        assert (rule, blame["component"], blame["code"]) == ("proxy_ended", "proxy", "proxy_ended")


def test_a_guest_that_ends_qemu_by_itself_is_not_qemus_fault(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "sleep 0.2", component="qemu"))
    await_end(lane, "qemu")
    assert explain(lane)[0]["code"] == "guest_ended"


def test_a_program_that_was_never_ready_is_blamed_in_the_check_that_follows(lane: TestLane) -> None:
    lane.start(
        lane.program("qemu", FOREVER, component="qemu"), lane.program("database", FOREVER), lane.program("api", FOREVER)
    )
    blame, rule = explain(lane, "proxy", None)
    assert (rule, blame["component"], blame["code"]) == ("never_started", "lane", "never_started")
    assert blame["cause"].startswith("the lane is not complete: never started: daemon; run ./lane up")
    with pytest.raises(Exception, match="did not write 'never'"):
        lane.start(lane.program("daemon", FOREVER, ready=Ready(log="never"), limit=0.3))
    blame, rule = explain(lane, "proxy", None)
    assert (rule, blame["component"], blame["code"]) == ("program_lost", "kerbside", "program_not_ready")
    assert explain(lane, "kerbside", None, phase="kerbside")[1] is None, "its own task has reported it"


def test_an_api_that_loses_one_worker_after_another(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane)
        write(
            lane,
            "api",
            "[2026-11-25 03:16:13 +0000] [7] [ERROR] Worker (pid:8) was sent SIGKILL! Perhaps out of memory?",
        )
        assert explain(lane, "kerbside", None)[1] is None, "the next may answer"
        write(
            lane,
            "api",
            "[2026-11-25 03:16:14 +0000] [7] [ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?",
        )
        blame, rule = explain(lane, "kerbside", None)
        assert (rule, blame["component"], blame["code"]) == ("workers_die", "kerbside", "api_workers_die")
        assert blame["cause"].startswith(
            "2 workers of kerbside's API were killed one after another, the last with: Worker (pid:9)"
        )
        assert blame["evidence"].endswith("logs/api.log:2")
        assert explain(lane, "ryll", None)[1] is None
        entry = records.record(lane.dir, "api")
        assert entry
        entry.counters = {f"{lane.dir}/events": 0}
        entry.save(lane.dir)
        Path(lane.dir, "events").write_text("oom_kill 2\n")
        assert explain(lane, "kerbside", None)[0]["code"] == "out_of_memory"


@pytest.mark.parametrize(
    ("lines", "component", "rule", "words"),
    [
        (["Error: loading TLS cert", "    1: invalid peer certificate: Other(OtherError(UnsupportedCertVersion))", "Rust proxy child died with exit code 1!"],
         "tls", "proxy_refuses_its_certificate", "UnsupportedCertVersion"),
        (["Error: loading TLS cert /p / key /k for it", "    1: keys may not be consistent: KeyMismatch"],
         "tls", "proxy_refuses_its_certificate", "KeyMismatch"),
        (["Error: opening TLS cert file /nowhere"], "tls", "proxy_refuses_its_certificate", "key: Error: opening TLS cert file /nowhere; see"),
        (["Error: loading TLS cert /p / key /k for it", "", "Caused by:", "    0: opening TLS key file /k", "    1: Permission denied (os error 13)"],
         "tls", "proxy_refuses_its_certificate", "key: opening TLS key file /k: Permission denied (os error 13); see"),
        (["Error: loading TLS cert /p / key /k for it", "", "Caused by:", "    no certificates found in /p", "Rust proxy child died with exit code 1!"],
         "tls", "proxy_refuses_its_certificate", "key: no certificates found in /p; see"),
        (["RuntimeError: The kerbside-proxy binary at /bin/x does not match this kerbside version's gRPC contract."],
         "proxy", "proxy_does_not_fit", "/bin/x does not know its contract"),
        (['{"message": "Rust proxy child died with exit code 1!"}'], "proxy", "proxy_ended", "ended with status 1"),
        (['{"message": "Rust proxy child died with exit code -9!"}'], "proxy", "proxy_ended", "was killed by SIGKILL"),
        (["    0: binding secure SPICE listener on 127.0.0.1:1", "    1: Address already in use (os error 98)", "Rust proxy child died with exit code 1!"],
         "environment", "port_was_taken", "port 1, which kerbside-proxy needs, was taken by"),
    ],
)  # fmt: skip
def test_why_the_daemon_does_not_start(lane: TestLane, lines: list[str], component: str, rule: str, words: str) -> None:
    write(lane, "said", *lines)
    with pytest.raises(Exception, match="ended with status 1"):
        lane.start(lane.program("daemon", "cat logs/said.log; exit 1", ready=Ready(port=1)))
    blame, found = explain(lane, "kerbside", None, phase="kerbside")
    assert (found, blame["component"]) == (rule, component)
    assert words in blame["cause"]


@pytest.mark.parametrize(
    "text",
    [
        "(1142, \"INSERT command denied to user 'kerbside'@'localhost'\")",
        '(1045, \\"Access denied for user\\")',
        "(1044, 'Access denied')",
    ],
)
def test_a_database_that_denies_access(lane: TestLane, text: str) -> None:
    with qemu(lane):
        whole(lane)
        write(lane, "api", f"pymysql.err.OperationalError: {text}")
        blame, rule = explain(lane, "kerbside", None)
        assert (rule, blame["component"], blame["code"]) == ("database_denies", "database", "database_denies")
        assert explain(lane, "qemu", None)[1] is None


# --- the verdict that is made of it ---


def test_a_bug_in_a_rule_does_not_cost_the_verdict(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: observed.Evidence) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setitem(rules.RULES, "disk_full", broken)
    failure = {
        "role": "smoke",
        "task": "t",
        "result": {"lane_failure": {"component": "ryll", "check": None, "cause": "c", "evidence": None}},
    }
    result = verdict.write(
        lane.dir, lane.artifacts, lane.run, command="1", planned=["hello"], failure=failure, phases=[], versions={}
    )
    assert result["blame"]["cause"] == "c"
    assert "OSError" in json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())["broken"]


def test_the_diagnosis_is_kept_with_the_verdict(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        write(lane, "ryll", "    1: invalid peer certificate: Expired")
        failed = {"component": "ryll", "check": "hello", "code": "check_failed", "cause": "it ended", "evidence": None}
        failure = {"role": "smoke", "task": "t", "result": {"lane_failure": failed}}
        result = verdict.write(
            lane.dir, lane.artifacts, lane.run, command="1", planned=["hello"], failure=failure, phases=[], versions={}
        )
    assert [result["blame"][key] for key in ("component", "code", "evidence")] == [
        "tls",
        "certificate_refused",
        "logs/ryll.log:1",
    ]
    notes = json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())
    assert notes["rule"] == "certificate_refused"
    assert notes["first"] == {"component": "ryll", "cause": "it ended", "evidence": None}
