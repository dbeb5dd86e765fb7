"""Each rule of the diagnosis on real processes and sockets and real logs, and what it must not take for a cause."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core.codes import CODES
from ansible.module_utils.lane.evidence import diagnosis, observed, rules, verdict
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.programs.readiness import Ready
from failed_lanes import FOREVER, await_end, complete, explain, kill, ryll, write
from lanes import HELD

TESTS = Path(__file__).parents[1]


def test_every_rule_has_a_fault_that_needs_it_and_every_code_is_known():
    faults = yaml.safe_load((TESTS / "faults/catalogue.yml").read_text())["faults"]
    planted = yaml.safe_load((TESTS / "mutation/proxy.yml").read_text())
    known = {f["name"] for f in faults} | {bug["name"] for bug in planted if bug["needs"] == ""}
    for name in rules.RULES:
        assert rules.FAULTS[name] and set(rules.FAULTS[name]) <= known, name
    assert {f["expect"]["code"] for f in faults if "code" in f["expect"]} <= set(CODES)


# --- what is said when no rule finds anything ---


def test_no_other_fault_is_said_after_every_log_was_searched(lane, monkeypatch):
    kerbside = '{"ts": "2026", "level": "LEVEL", "logger_name": "k", "message": "an error"}'
    with complete(lane, ryll(lane)):
        write(lane, "serial", "guest: ready")
        write(lane, "ryll", "2026-11-25T18:39:43.509226Z ERROR main: its own words")
        write(lane, "ansible", "Error: of a task")
        write(lane, "daemon", kerbside.replace("LEVEL", "WARNING"), "INFO relay ended with error")
        found = explain(lane)
        assert (found.rule, found.component, found.code) == (None, "ryll", "check_failed")
        assert found.cause == "it failed; no other part shows a fault"
        words = "it failed; no rule explains it, but ryll.log:1 says: main: its own words"
        assert explain(lane, "guest", "status").cause == words
        with monkeypatch.context() as patch:
            patch.setattr(observed, "SEARCHED_BYTES", 60)
            assert explain(lane).cause == "it failed; daemon.log could not be searched for errors"
        other = Path(lane.dir, "logs/other.log")
        other.symlink_to("/dev/full")
        assert explain(lane).cause == "it failed; other.log could not be searched for errors"
        other.unlink()
        for name, line in (
            ("daemon", kerbside.replace("LEVEL", "ERROR")),
            ("database", "2026-11-25 18:40:49 0 [ERROR] Aborting"),
            ("api", "[2026-11-25 18:40:50 +0000] [7] [CRITICAL] WORKER TIMEOUT"),
            ("daemon", "ModuleNotFoundError: No module named 'grpc'"),
            ("qemu", "qemu-system-x86_64: warning: something"),
        ):
            path = Path(lane.dir, "logs", f"{name}.log")
            before = path.read_text()
            write(lane, name, line)
            place = f"{name}.log:{before.count(chr(10)) + 1}"
            assert f"no rule explains it, but {place} says: " in explain(lane).cause, line
            path.write_text(before)


def test_a_named_fault_of_the_machine_and_one_of_a_suite_stay_as_they_are(lane):
    lane.start(lane.program("daemon", f"{HELD}exit 3"))
    lane.release()
    await_end(lane, "daemon")
    for component, more in (("host", {}), ("ryll", {"phase": "suites"})):
        found = explain(lane, component, None, **more)
        assert (found.rule, found.component, found.code) == (None, component, "check_failed")
        assert found.cause == "it failed"


def test_a_missed_limit_is_told_with_its_variable_and_how_busy_the_machine_is(lane):
    with complete(lane):
        write(lane, "serial", "guest: starting")
        cause = explain(lane, "guest", "banner", "no banner within 30 s").cause
        busy = r"the machine's load is [\d.]+ on \d+ processor"
        assert re.search(rf"within 30 s; the limit is lane_boot_limit, and {busy}", cause)
        cause = explain(lane, check="path", cause="no answer within 30 s").cause
        assert re.search(rf"within 30 s; {busy}", cause)


# --- the machine ---


def test_a_full_disk_also_where_the_failed_task_named_nobody(lane):
    lane.start(lane.program("database", f"echo No space left on device; {FOREVER}", component="database"))
    time.sleep(0.1)
    found = explain(lane, "database", None)
    assert (found.rule, found.component, found.code) == ("disk_full", "host", "disk_full")
    assert found.evidence.endswith("logs/database.log:1")
    other = {"component": "environment", "phase": "kerbside", "check": None, "cause": "c", "evidence": None}
    assert diagnosis.explain(lane.dir, other, named=False)[1]["rule"] == "disk_full"


def test_a_limit_of_the_machine_comes_before_the_program_that_reached_it(lane):
    lane.start(lane.program("database", f"{HELD}echo; echo Cannot fork; exit 1", component="database"))
    lane.release()
    await_end(lane, "database")
    found = explain(lane, "database", None)
    assert (found.rule, found.component, found.code) == ("limit_of_machine", "host", "too_many_processes")
    assert found.evidence.endswith("logs/database.log:2")


# --- programs ---


def test_the_program_that_ended_first_is_blamed_and_not_its_victims(lane):
    with complete(lane, ryll(lane)):
        for name in ("database", "daemon", "ryll"):
            kill(lane, name)
            time.sleep(0.02)  # so that the times of the ends differ
        found = explain(lane)
    assert (found.rule, found.component, found.code) == ("program_lost", "database", "program_ended")
    assert found.cause.startswith("database was killed by SIGKILL; see ")


def test_a_proxy_that_is_gone_or_stopped_is_not_its_daemon(lane):
    with complete(lane):
        assert explain(lane).rule is None
        entry = records.record(lane.dir, "daemon")
        (proxy,) = [m for m in entry.members() if m.name == "kerbside-proxy"]
        os.kill(proxy.pid, signal.SIGSTOP)
        while (state := proc.read(proxy.pid)) and state.state != "T":
            time.sleep(0.01)
        found = explain(lane, "kerbside", None)
        assert (found.rule, found.component, found.code) == ("program_lost", "proxy", "program_stopped")
        assert found.cause.startswith(f"kerbside-proxy (pid {proxy.pid}) is stopped")
        os.kill(proxy.pid, signal.SIGKILL)
        while any(m.name == "kerbside-proxy" for m in entry.members()):
            time.sleep(0.01)
        found = explain(lane)
        assert (found.rule, found.component, found.code) == ("proxy_ended", "proxy", "proxy_ended")


def test_an_api_that_loses_one_worker_after_another(lane):
    line = "[2026-11-25 03:16:13 +0000] [7] [ERROR] Worker (pid:{}) was sent SIGKILL! Perhaps out of memory?"
    with complete(lane):
        write(lane, "api", line.format(8))
        assert explain(lane, "kerbside", None).rule is None, "the next may answer"
        write(lane, "api", line.format(9))
        found = explain(lane, "kerbside", None)
        assert (found.rule, found.component, found.code) == ("workers_die", "kerbside", "api_workers_die")
        words = "2 workers of kerbside's API were killed one after another, the last with: Worker (pid:9)"
        assert found.cause.startswith(words) and found.evidence.endswith("logs/api.log:2")
        assert explain(lane, "ryll", None).rule is None
        entry = records.record(lane.dir, "api")
        entry.counters = {f"{lane.dir}/events": 0}
        entry.save(lane.dir)
        Path(lane.dir, "events").write_text("oom_kill 2\n")
        found = explain(lane, "kerbside", None)
        assert (found.rule, found.component, found.code) == ("workers_die", "host", "out_of_memory")


LOADING, CHILD_DIED = "Error: loading TLS cert /p / key /k for it", "Rust proxy child died with exit code {}!"
WRONG_VERSION = (
    "RuntimeError: The kerbside-proxy binary at /bin/x does not match this kerbside version's gRPC contract."
)
BINDING = ["    0: binding secure SPICE listener on 127.0.0.1:1", "    1: Address already in use (os error 98)"]
REFUSES = ("proxy_refuses_its_certificate", "tls")


@pytest.mark.parametrize(
    ("lines", "decided", "words"),
    [
        (["    0: of an earlier error", LOADING, "    1: KeyMismatch"], REFUSES, "key: KeyMismatch; see"),
        (["Error: opening TLS cert file /no"], REFUSES, "key: Error: opening TLS cert file /no; see"),
        (
            [LOADING, "", "Caused by:", "    0: opening TLS key file /k", "    1: Permission denied (os error 13)"],
            REFUSES,
            "key: opening TLS key file /k: Permission denied (os error 13); see",
        ),
        (
            [LOADING, "", "Caused by:", "    no certificates found in /p", CHILD_DIED.format(1)],
            REFUSES,
            "key: no certificates found in /p; see",
        ),
        ([WRONG_VERSION], ("proxy_does_not_fit", "proxy"), "/bin/x does not know its contract"),
        ([CHILD_DIED.format(1)], ("proxy_ended", "proxy"), "ended with status 1"),
        ([CHILD_DIED.format(-9)], ("proxy_ended", "proxy"), "was killed by SIGKILL"),
        ([*BINDING, CHILD_DIED.format(1)], ("port_was_taken", "environment"), "port 1, which kerbside-proxy needs"),
    ],
)
def test_why_the_daemon_does_not_start(lane, lines, decided, words):
    write(lane, "said", *lines)
    with pytest.raises(Exception, match="ended with status 1"):
        lane.start(lane.program("daemon", "cat logs/said.log; exit 1", ready=Ready(port=1)))
    found = explain(lane, "kerbside", None, phase="kerbside")
    assert (found.rule, found.component) == decided
    assert words in found.cause


# --- the verdict that is made of it ---


def test_a_bug_in_a_rule_does_not_cost_the_verdict(lane, monkeypatch):
    monkeypatch.setitem(rules.RULES, "disk_full", lambda seen: seen.nothing)
    failed = {"component": "ryll", "check": "hello", "code": "check_failed", "cause": "it ended", "evidence": None}
    failure = {"role": "smoke", "task": "t", "result": {"lane_failure": failed}}
    given: dict = {"command": "1", "planned": ["hello"], "phases": [], "versions": {}}
    blame = verdict.write(lane.dir, lane.artifacts, lane.run, failure=failure, **given)["blame"]
    assert blame["cause"] == "it ended"
    assert "AttributeError" in json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())["broken"]
