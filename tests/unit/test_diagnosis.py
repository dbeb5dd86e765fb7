"""Each rule of the diagnosis on evidence of the kind it was made for: real processes and sockets, logs as the real
programs wrote them; and what it must not take for a cause.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.core.codes import CODES
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import diagnosis, observed, rules, verdict
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import program, records
from ansible.module_utils.lane.programs.readiness import Ready
from lanes import TestLane, claimed_lane

CATALOGUE = Path(__file__).parents[1] / "faults/catalogue.yml"
FOREVER = "exec sleep 60"
NO_FAULT = "; no other part shows a fault"


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        hand_over(found.dir, "guest", {"name": "pocket", "banner": "guest: ready"})
        yield found


def stamp(seconds: float = 0.0) -> str:
    """The proxy's and ryll's time stamp, `seconds` from now."""
    at = time.time() + seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}Z"


def write(lane: TestLane, name: str, *lines: str) -> None:
    """Lines at the end of a program's log."""
    with open(f"{lane.dir}/logs/{name}.log", "a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def explain(lane: TestLane, component: str = "ryll", check: str | None = "status", cause: str = "it failed", **more: Any) -> tuple[dict, str | None]:
    """The blame after the diagnosis, and the rule that decided."""
    blame = {"component": component, "phase": "smoke", "check": check, "cause": cause, "evidence": None, "code": "unclassified", **more}
    found, notes = diagnosis.explain(lane.dir, blame)
    assert found["code"] in CODES
    assert notes["first"]["component"] == component
    return found, notes["rule"]


@contextmanager
def qemu(lane: TestLane, status: str = "running", agent: bool = True, port: int = 17914, connection: int = 0) -> Iterator[None]:
    """A stand-in for qemu that answers on the lane's QMP socket, and a program of that name."""
    lane.start(lane.program("qemu", FOREVER, component="qemu"))
    channels = [{"channel-type": 1, "connection-id": connection}] if connection else []
    answers = {
        "qmp_capabilities": {},
        "query-status": {"status": status, "running": status == "running"},
        "query-chardev": [{"label": "vdagent", "filename": "spicevmc", "frontend-open": agent}],
        "query-spice": {"enabled": True, "port": port, "channels": channels},
    }

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, client.makefile("rwb") as file:
                file.write(b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}\n')
                file.flush()
                for line in file:
                    request = json.loads(line)
                    file.write(json.dumps({"return": answers[request["execute"]], "id": request["id"]}).encode() + b"\n")
                    file.flush()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{lane.dir}/qmp.sock")
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            os.unlink(f"{lane.dir}/qmp.sock")


def daemon(lane: TestLane) -> program.Program:
    """A stand-in for kerbside's daemon, which has a child of the proxy's name."""
    shutil.copy("/bin/sleep", f"{lane.dir}/tmp/kerbside-proxy")
    return lane.program("daemon", f"tmp/kerbside-proxy 60 & echo up; {FOREVER}", ready=Ready(log="up"))


def whole(lane: TestLane, *others: program.Program) -> None:
    """Stand-ins for all programs that a check needs."""
    parts = {"database": "database", "api": "kerbside"}
    lane.start(*(lane.program(name, FOREVER, component=part) for name, part in parts.items()), daemon(lane), *others)


def ryll(lane: TestLane) -> program.Program:
    return lane.program("ryll", FOREVER, component="ryll")


def report(lane: TestLane, **checks: dict) -> None:
    entries = [{"name": name, "result": "fail", "seconds": 0.1, "detail": detail} for name, detail in checks.items()]
    Path(lane.dir, "logs/spine.json").write_text(json.dumps(entries))


def await_end(lane: TestLane, name: str) -> None:
    entry = records.record(lane.dir, name)
    until = time.monotonic() + 10
    while entry and entry.exit_status(lane.dir) is None and time.monotonic() < until:
        time.sleep(0.02)


def test_every_rule_has_a_fault_that_needs_it_and_every_code_is_known() -> None:
    faults = {f["name"]: f for f in yaml.safe_load(CATALOGUE.read_text())["faults"]}
    assert set(rules.RULES) == set(rules.FAULTS)
    for name, needed in rules.FAULTS.items():
        assert needed, name
        assert set(needed) <= set(faults), name
    source = "".join((Path(rules.__file__).parent / f"{name}.py").read_text() for name in ("rules", "session_rules"))
    used = set(re.findall(r'(?:Found\(|else |, )"([a-z]+_[a-z_]+)"', source)) | {f["expect"]["code"] for f in faults.values() if "code" in f["expect"]}
    assert used - {"connection-id"} <= set(CODES) | set(rules.RULES) | {"no_space"}, used - set(CODES)


# --- what is said when no rule finds anything ---


def test_that_no_other_part_shows_a_fault_is_said_only_after_every_log_was_searched(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        write(lane, "serial", "guest: ready")
        write(lane, "ryll", "2026-11-25T18:39:43.509226Z ERROR main: its own words")
        write(lane, "daemon", '{"ts": "2026", "level": "WARNING", "logger_name": "k", "message": "an error that was none"}', "INFO relay ended with error")
        blame, rule = explain(lane)
        assert (blame["component"], blame["cause"], rule) == ("ryll", f"it failed{NO_FAULT}", None)
        assert explain(lane, "guest", "status")[0]["cause"].endswith("no rule explains it, but ryll.log:1 says: main: its own words")
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
            assert f"no rule explains it, but {name}.log:{before.count(chr(10)) + 1} says: " in explain(lane)[0]["cause"], line
            path.write_text(before)


@pytest.mark.parametrize("component", ["host", "environment", "lane", "artifacts"])
def test_a_named_fault_of_machine_or_lane_stays_as_it_is(lane: TestLane, component: str) -> None:
    lane.start(lane.program("daemon", "sleep 0.1; exit 3"))
    await_end(lane, "daemon")
    blame, _ = explain(lane, component, None)
    assert (blame["component"], blame["cause"]) == (component, "it failed")


def test_a_missed_limit_is_told_with_its_variable_and_how_busy_the_machine_is(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane)
        write(lane, "serial", "guest: starting")
        cause = explain(lane, "guest", "banner", "no banner within 30 s")[0]["cause"]
        assert re.search(r"within 30 s; the limit is lane_boot_limit, and the machine's load is [\d.]+ on \d+ processor", cause)
        assert re.search(r"within 30 s; the machine's load is ", explain(lane, check="path", cause="no answer within 30 s")[0]["cause"])


# --- the machine ---


@pytest.mark.parametrize("words", ["No space left on device", 'mkdir failed (Errcode: 28 "x")', "write: os error 28", "OSError: [Errno 28] x, errno: 28"])
def test_a_full_disk_by_any_of_its_names(lane: TestLane, words: str) -> None:
    lane.start(lane.program("database", f"echo '{words}'; {FOREVER}", component="database"))
    time.sleep(0.1)
    blame, rule = explain(lane, "database", None)
    assert (rule, blame["component"], blame["code"]) == ("disk_full", "host", "disk_full")
    assert blame["evidence"].endswith("logs/database.log:1")
    other = {"component": "environment", "phase": "kerbside", "check": None, "cause": "c", "evidence": None}
    assert diagnosis.explain(lane.dir, other, named=False)[1]["rule"] == "disk_full", "a task that named nobody is examined"


FILES = f"the limit of open files was reached (ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory", "memory_refused", "did not give a program the memory"),
        ('[ERROR] mariadbd: Out of resources when opening file (Errcode: 24 "Too many open files")', "too_many_files", FILES),
        ("Got error 24 from storage engine", "too_many_files", FILES),
        ("error number 24", "too_many_files", FILES),
        ("Error: accept: os error 24", "too_many_files", FILES),
        ("RuntimeError: can't start new thread", "too_many_processes", "the limit of processes and threads was reached ("),
        ("[ERROR] Cannot create thread to handle bootstrap (errno: 11)", "too_many_processes", "pids.max is|ulimit -u is"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "too_many_processes", "pids.max is|ulimit -u is"),
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
    lane.start(lane.program("qemu", FOREVER, component="qemu"), lane.program("database", FOREVER), lane.program("api", FOREVER))
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
        write(lane, "api", "[2026-11-25 03:16:13 +0000] [7] [ERROR] Worker (pid:8) was sent SIGKILL! Perhaps out of memory?")
        assert explain(lane, "kerbside", None)[1] is None, "the next may answer"
        write(lane, "api", "[2026-11-25 03:16:14 +0000] [7] [ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?")
        blame, rule = explain(lane, "kerbside", None)
        assert (rule, blame["component"], blame["code"]) == ("workers_die", "kerbside", "api_workers_die")
        assert blame["cause"].startswith("2 workers of kerbside's API were killed one after another, the last with: Worker (pid:9)")
        assert blame["evidence"].endswith("logs/api.log:2")
        assert explain(lane, "ryll", None)[1] is None
        entry = records.record(lane.dir, "api")
        assert entry
        entry.counters = {"/proc/vmstat nr_free_pages": 0, f"{lane.dir}/events oom_kill": 0}
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
    "text", ["(1142, \"INSERT command denied to user 'kerbside'@'localhost'\")", '(1045, \\"Access denied for user\\")', "(1044, 'Access denied')"]
)
def test_a_database_that_denies_access(lane: TestLane, text: str) -> None:
    with qemu(lane):
        whole(lane)
        write(lane, "api", f"pymysql.err.OperationalError: {text}")
        blame, rule = explain(lane, "kerbside", None)
        assert (rule, blame["component"], blame["code"]) == ("database_denies", "database", "database_denies")
        assert explain(lane, "qemu", None)[1] is None


# --- the connection ---

FAILED = ' WARN kerbside_proxy::backend: hypervisor connection failed connection_ref=a hypervisor=localhost channel_type="main" error='
SESSION = [
    ("ticket_refused", "kerbside", FAILED + "Authentication failed: PermissionDenied"),
    ("spice_unreachable", "kerbside", FAILED + "connecting to 127.0.0.1:17919: Connection refused (os error 111)"),
    ("spice_unreachable", "qemu", FAILED + "connecting to 127.0.0.1:17914: Connection refused (os error 111)"),
    ("spice_connection_failed", "qemu", FAILED + "Server requires TLS connection. Use tls-port in config."),
    ("channel_denied", "kerbside", ' WARN x: channel type not permitted by firewall policy; denying channel="inputs"'),
    ("console_token_denied", "kerbside", " INFO x: connection denied by control service peer=1 reason=client token invalid"),
]


@pytest.mark.parametrize(("rule", "component", "line"), SESSION)
def test_what_the_daemon_says_of_this_session_and_not_of_another(lane: TestLane, rule: str, component: str, line: str) -> None:
    write(lane, "daemon", stamp(-60) + line)
    with qemu(lane):
        whole(lane, ryll(lane))
        assert explain(lane)[1] is None, "it was an earlier session"
        write(lane, "daemon", stamp() + line)
        assert explain(lane, "kerbside", None)[1] is None, "console.vv was not even fetched"
        blame, found = explain(lane)
    assert (found, blame["component"], blame["code"]) == (rule, component, rule)
    assert blame["evidence"].endswith("logs/daemon.log:3")
    if "requires TLS" in line:
        assert "Server requires TLS connection. Use tls-port in config." in blame["cause"]


CONNECTED = (
    " INFO kerbside_proxy::backend: hypervisor connection successful; handing off to relay connection_ref=b38b hypervisor=localhost"
    ' hypervisor_ip=127.0.0.1 session_id={} channel_type="{}" channel_id=0 connection_id={}'
)


@pytest.mark.parametrize(
    ("sessions", "connection", "taken"),
    [
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429)], -971369867, False),  # ryll's own, as qemu and the daemon of a good lane showed it
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429)], 0, False),  # nobody is connected any more
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429), ("NSO8", "main", 0)], 0, True),
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429), ("NSO8", "main", 0), ("NSO8", "display", 4047920258)], -247047038, True),
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429), ("41Pp", "main", 0)], 0, True),  # with the same console.vv
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429)], -247047038, True),  # not through kerbside
    ],
)
def test_another_client_that_takes_the_console(lane: TestLane, sessions: list[tuple[str, str, int]], connection: int, taken: bool) -> None:
    with qemu(lane, connection=connection):
        whole(lane, ryll(lane))
        write(lane, "daemon", *(stamp() + CONNECTED.format(*one) for one in sessions))
        blame, rule = explain(lane)
    assert rule == ("console_taken" if taken else None)
    if taken:
        assert (blame["component"], blame["code"]) == ("environment", "console_taken")
        assert blame["cause"].startswith("another client took the console: ")


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("certificate expired: verification time 1", "it has expired"),
        ("BadSignature", "another CA"),
        ("UnknownIssuer", "another CA"),
        ("NotValidForName", "host subject"),
        ("NewFault", "see its words (invalid peer certificate: NewFault)"),
    ],
)
def test_what_ryll_says_of_the_certificate(lane: TestLane, said: str, meaning: str) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        write(lane, "ryll", "Error: headless SPICE connection failed", f"    1: invalid peer certificate: {said}")
        blame, rule = explain(lane)
    assert (rule, blame["component"]) == ("certificate_refused", "tls")
    assert meaning in blame["cause"]


# --- the guest ---


@pytest.mark.parametrize(("status", "component"), [("paused", "guest"), ("guest-panicked", "guest"), ("internal-error", "qemu"), ("io-error", "qemu")])
def test_a_processor_that_does_not_run(lane: TestLane, status: str, component: str) -> None:
    with qemu(lane, status):
        whole(lane)
        blame, rule = explain(lane, "guest")
    assert (rule, blame["component"]) == ("guest_not_running", component)
    assert f"QMP says that it is {status}" in blame["cause"]


@pytest.mark.parametrize(
    ("serial", "rule", "component"),
    [
        ("", "firmware_silent", "firmware"),
        ("\x1b[2J\nUEFI Interactive Shell v2.2\n", "nothing_to_boot", "guest"),
        ("BdsDxe: failed to load Boot0001 from PciRoot: Not Found\n", "nothing_to_boot", "guest"),
        ("BdsDxe: failed to load Boot0001\nguest: ready\n", None, "guest"),
        ("BdsDxe: starting Boot0001\nguest: starting\n", None, "guest"),
    ],
)
def test_how_far_the_guest_came(lane: TestLane, serial: str, rule: str | None, component: str) -> None:
    Path(lane.dir, "logs/serial.log").write_text(serial)
    with qemu(lane):
        whole(lane)
        blame, found = explain(lane, "guest", "status", "no mark")
    assert (found, blame["component"]) == (rule, component)


@pytest.mark.parametrize(("kind", "why"), [("empty", "it is empty"), ("missing", "No such file"), ("device", "it is not a regular file")])
def test_a_guest_that_was_seen_drawing_has_firmware(lane: TestLane, kind: str, why: str) -> None:
    serial = Path(lane.dir, "logs/serial.log")
    {"empty": lambda: serial.write_text(""), "missing": lambda: None, "device": lambda: serial.symlink_to("/dev/full")}[kind]()
    with qemu(lane):
        whole(lane)
        assert explain(lane, "guest", "banner")[0]["code"] == "firmware_silent"
        Path(lane.dir, "logs/smoke.json").write_text(json.dumps({"transcript": [{"name": "screenshot", "result": "ok"}]}))
        blame, rule = explain(lane, "guest", "banner")
        assert (rule, blame["component"], blame["code"]) == ("serial_not_written", "host", "serial_not_written")
        assert why in blame["cause"]


@pytest.mark.parametrize(
    ("is_open", "now", "code", "component"),
    [(False, False, "agent_port_closed", "guest"), (True, False, "agent_not_seen", "ryll"), (True, True, "agent_late", "guest")],
)
def test_which_side_of_the_agents_port_is_missing(lane: TestLane, monkeypatch: pytest.MonkeyPatch, is_open: bool, now: bool, code: str, component: str) -> None:
    Path(lane.dir, "logs/serial.log").write_text("guest: ready\n")
    monkeypatch.setattr(observed.Evidence, "agent_seen_now", lambda _: now)
    with qemu(lane, agent=is_open):
        whole(lane)
        blame, _ = explain(lane, "guest", "status", "agent_connected stayed false within 2 s")
        assert explain(lane, "guest", "status", "no surface")[1] is None
    assert (blame["component"], blame["code"]) == (component, code)
    if component == "guest":
        assert re.search(r"within 2 s of ryll's start.*the limit is lane_agent_limit, and the machine's load is", blame["cause"])


@pytest.mark.parametrize(("connected", "seen"), [([False, False, True], True), ([False], False)])
def test_ryll_is_asked_whether_it_sees_the_agent_by_now(lane: TestLane, monkeypatch: pytest.MonkeyPatch, connected: list[bool], seen: bool) -> None:
    class Client:
        def __init__(self, _: str) -> None: ...
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...
        def open(self, *_: object) -> None: ...
        def request(self, *_: object) -> dict[str, bool]:
            return {"agent_connected": connected.pop(0) if len(connected) > 1 else connected[0]}

    evidence = observed.Evidence(lane.dir, {})
    assert evidence.agent_seen_now() is False, "there is no ryll"
    monkeypatch.setattr(observed, "Client", Client)
    assert evidence.agent_seen_now() is seen


def test_what_the_checks_from_outside_show(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        report(lane, path={"component": "kerbside", "cause": "one goes to port 3"})
        assert explain(lane, "proxy", "counters")[0]["component"] == "kerbside"
        report(lane, path={"component": "ryll", "cause": "it does not run"})
        assert explain(lane, "proxy", "counters")[1] is None
        report(lane, frames={"component": "qemu", "cause": "it refused the screendump: no console"})
        Path(lane.dir, "logs/serial.log").write_text("guest: ready\n")
        assert explain(lane, "guest", "status")[1] == "no_display"
        report(lane, frames={"component": "ryll", "cause": "9 of 10 pixels differ"})
        assert [explain(lane, "guest", "screenshot")[0][key] for key in ("component", "code")] == ["ryll", "picture_differs"]
        assert explain(lane, "guest", "status")[1] is None
        report(lane, frames={"component": "guest", "cause": "qemu and ryll both show nothing but #000000"})
        assert explain(lane, "guest", "screenshot")[0]["code"] == "one_colour_screen"


def test_ryll_itself(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        entry = records.record(lane.dir, "ryll")
        assert entry and entry.pid
        os.kill(entry.pid, signal.SIGKILL)
        await_end(lane, "ryll")
        blame, rule = explain(lane)
    assert (rule, blame["component"], blame["code"]) == ("ryll_ended", "ryll", "program_ended")
    assert "ryll was killed by SIGKILL" in blame["cause"]


# --- the verdict that is made of it ---


def test_a_bug_in_a_rule_does_not_cost_the_verdict(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: observed.Evidence) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setitem(rules.RULES, "disk_full", broken)
    failure = {"role": "smoke", "task": "t", "result": {"lane_failure": {"component": "ryll", "check": None, "cause": "c", "evidence": None}}}
    result = verdict.write(lane.dir, lane.artifacts, lane.run, planned=["hello"], failure=failure, phases=[], versions={})
    assert result["blame"]["cause"] == "c"
    assert "OSError" in json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())["broken"]


def test_the_diagnosis_is_kept_with_the_verdict(lane: TestLane) -> None:
    with qemu(lane):
        whole(lane, ryll(lane))
        write(lane, "ryll", "    1: invalid peer certificate: Expired")
        failed = {"component": "ryll", "check": "hello", "code": "unclassified", "cause": "it ended", "evidence": None}
        failure = {"role": "smoke", "task": "t", "result": {"lane_failure": failed}}
        result = verdict.write(lane.dir, lane.artifacts, lane.run, planned=["hello"], failure=failure, phases=[], versions={})
    assert [result["blame"][key] for key in ("component", "code", "evidence")] == ["tls", "certificate_refused", "logs/ryll.log:1"]
    notes = json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())
    assert notes["rule"] == "certificate_refused"
    assert notes["first"] == {"component": "ryll", "cause": "it ended", "evidence": None}
