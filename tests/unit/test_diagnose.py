"""Each rule of the diagnosis on evidence of the kind it was made for: real processes and sockets, logs as the real programs wrote them; and what it must
not take for a cause."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import diagnosis, verdict
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import process, readiness
from lanes import TestLane, claimed_lane

CATALOGUE = Path(__file__).parents[1] / "faults/catalogue.yml"
FOREVER = "exec sleep 60"


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        hand_over(found.dir, "guest", {"name": "pocket", "banner": "guest: ready"})
        yield found


def stamp(seconds: float = 0.0) -> str:
    """The proxy's and ryll's time stamp, so many seconds from now."""
    at = time.time() + seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}Z"


def told(lane: TestLane, name: str, *lines: str) -> None:
    """Lines at the end of a program's log."""
    with open(f"{lane.dir}/logs/{name}.log", "a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def explain(lane: TestLane, component: str = "ryll", check: str | None = "status", cause: str = "expected a, but b", **more: str) -> tuple[dict, dict]:
    blame = {"component": component, "phase": "smoke", "check": check, "cause": cause, "evidence": None, **more}
    return diagnosis.explain(lane.dir, blame)


@contextmanager
def qemu(lane: TestLane, status: str = "running", agent: bool = True, port: int = 17914) -> Iterator[None]:
    """A stand-in for qemu that answers on the lane's QMP socket, and a program of that name."""
    lane.start(lane.program("qemu", FOREVER, component="qemu"))
    answers = {
        "qmp_capabilities": {},
        "query-status": {"status": status, "running": status == "running"},
        "query-chardev": [{"label": "vdagent", "filename": "spicevmc", "frontend-open": agent}],
        "query-spice": {"enabled": True, "port": port, "channels": []},
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


def daemon(lane: TestLane) -> process.Program:
    """A stand-in for kerbside's daemon, which has a child of the proxy's name."""
    shutil.copy("/bin/sleep", f"{lane.dir}/tmp/kerbside-proxy")
    return lane.program("daemon", f"tmp/kerbside-proxy 60 & echo up; {FOREVER}", ready=readiness.Ready(log="up"))


def report(lane: TestLane, **checks: dict) -> None:
    entries = [{"name": name, "result": "fail", "seconds": 0.1, "detail": detail} for name, detail in checks.items()]
    Path(lane.dir, "logs/spine.json").write_text(json.dumps({"command_id": "1", "checks": entries}))


def test_every_rule_has_a_fault_that_needs_it() -> None:
    faults = {f["name"]: f for f in yaml.safe_load(CATALOGUE.read_text())["faults"]}
    assert set(diagnosis.RULES) == set(diagnosis.SEEDS)
    for name, seeds in diagnosis.SEEDS.items():
        assert seeds, name
        assert set(seeds) <= set(faults), name
    expected = {f["expect"]["rule"] for f in faults.values() if "rule" in f["expect"]}
    assert expected <= set(diagnosis.RULES)


def test_with_no_evidence_the_blame_stays_and_the_sentence_says_so(lane: TestLane) -> None:
    blame, notes = explain(lane)
    assert (blame["component"], blame["cause"]) == ("ryll", "expected a, but b; no other part shows a fault")
    assert notes["rule"] is None


@pytest.mark.parametrize("component", ["host", "environment", "lane", "artifacts"])
def test_a_named_fault_of_machine_or_lane_stays_as_it_is(lane: TestLane, component: str) -> None:
    lane.start(lane.program("daemon", "sleep 0.2; exit 3"))
    time.sleep(0.3)
    blame, _ = explain(lane, component, None)
    assert (blame["component"], blame["cause"]) == (component, "expected a, but b")


def test_a_task_that_named_nobody_is_looked_into(lane: TestLane) -> None:
    lane.start(lane.program("database_init", "echo 'InnoDB: preallocating 12582912 bytes failed, No space left on device'", component="database", oneshot=True))
    blame = {"component": "environment", "phase": "kerbside", "check": None, "cause": "c", "evidence": None}
    found, notes = diagnosis.explain(lane.dir, blame, named=False)
    assert notes["rule"] == "no_room"
    assert "No space left on device" in found["cause"]


@pytest.mark.parametrize("words", ["No space left on device", 'mkdir failed (Errcode: 28 "x")', "write: os error 28", "OSError: [Errno 28] x, errno: 28"])
def test_a_full_disk_by_any_of_its_names(lane: TestLane, words: str) -> None:
    lane.start(lane.program("database", f"echo '{words}'; {FOREVER}", component="database"))
    time.sleep(0.1)
    blame, notes = explain(lane, "database", None)
    assert (notes["rule"], blame["component"]) == ("no_room", "environment")
    assert blame["evidence"].endswith("logs/database.log:1")


def test_a_machine_without_memory_is_blamed_and_not_who_asked_for_it(lane: TestLane) -> None:
    words = "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory"
    with pytest.raises(Exception, match="ended with status 1"):
        lane.start(lane.program("qemu", f'echo "{words}"; exit 1', component="qemu", ready=readiness.Ready(port=1)))
    blame, notes = explain(lane, "qemu", None)
    assert (notes["rule"], blame["component"]) == ("no_memory", "host")
    assert "expected the machine to have memory for qemu, but it says: qemu: cannot set up" in blame["cause"]
    assert explain(lane, "environment", None)[1]["rule"] is None


def test_an_api_that_loses_one_worker_after_another(lane: TestLane) -> None:
    lane.start(lane.program("api", FOREVER))
    told(lane, "api", "[2026-11-25 03:16:13 +0000] [7] [ERROR] Worker (pid:8) was sent SIGKILL! Perhaps out of memory?")
    assert explain(lane, "kerbside", None)[1]["rule"] is None  # one may go by the machine's need, and the next answers
    told(lane, "api", "[2026-11-25 03:16:14 +0000] [7] [ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?")
    blame, notes = explain(lane, "kerbside", None)
    assert (notes["rule"], blame["component"]) == ("workers_die", "kerbside")
    assert "but 2 were lost one after another, the last with: Worker (pid:9) was sent SIGKILL! Perhaps out of memory?; look at" in blame["cause"]
    assert blame["evidence"].endswith("logs/api.log:2")
    assert explain(lane, "ryll", None)[1]["rule"] is None


def test_the_program_that_died_first_is_blamed_and_not_its_victims(lane: TestLane) -> None:
    programs = [
        lane.program(name, FOREVER, component=part) for name, part in (("qemu", "qemu"), ("database", "database"), ("daemon", "kerbside"), ("ryll", "ryll"))
    ]
    lane.start(*programs)
    for name in ("database", "daemon", "ryll"):
        entry = process.record(lane.dir, name)
        assert entry
        assert entry.pid
        os.kill(entry.pid, signal.SIGKILL)
        while proc.group_members(entry.group):
            time.sleep(0.01)
        time.sleep(0.02)  # so that the times of the two ends differ
    blame, notes = explain(lane)
    assert (notes["rule"], blame["component"]) == ("program_lost", "database")
    assert blame["cause"].startswith("expected database to go on running, but it ended by SIGKILL")
    assert [g["name"] for g in notes["lost"]] == ["database", "daemon", "ryll"]


def test_a_stopped_program_is_seen(lane: TestLane) -> None:
    lane.start(lane.program("database", "", component="database", argv=(sys.executable, "-c", "import time; time.sleep(60)")))
    entry = process.record(lane.dir, "database")
    assert entry
    assert entry.pid
    os.kill(entry.pid, signal.SIGSTOP)
    while proc.read(entry.pid).state != "T":
        time.sleep(0.01)
    blame, _ = explain(lane)
    assert re.search(rf"expected database to go on running, but it \(pid {entry.pid}\) is stopped \(state T", blame["cause"])


def test_a_proxy_that_is_gone_before_its_daemon_has_noticed(lane: TestLane) -> None:
    lane.start(daemon(lane))
    assert explain(lane)[1]["rule"] is None
    entry = process.record(lane.dir, "daemon")
    assert entry
    for member in proc.group_members(entry.group):
        if member.name == "kerbside-proxy":
            os.kill(member.pid, signal.SIGKILL)
    while any(m.name == "kerbside-proxy" for m in proc.group_members(entry.group)):
        time.sleep(0.01)
    blame, notes = explain(lane)
    assert (notes["rule"], blame["component"]) == ("proxy_died", "proxy")


def test_a_stopped_proxy_is_not_its_daemon(lane: TestLane) -> None:
    lane.start(daemon(lane))
    entry = process.record(lane.dir, "daemon")
    assert entry
    (proxy,) = [m for m in proc.group_members(entry.group) if m.name == "kerbside-proxy"]
    os.kill(proxy.pid, signal.SIGSTOP)
    while proc.read(proxy.pid).state != "T":
        time.sleep(0.01)
    blame, notes = explain(lane, "kerbside", None)
    assert (notes["rule"], blame["component"]) == ("program_lost", "proxy")
    assert blame["cause"].startswith(f"expected kerbside-proxy to go on running, but it (pid {proxy.pid}) is stopped")


def test_a_guest_that_ends_qemu_by_itself_is_no_fault_of_qemus(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "sleep 0.2", component="qemu"))
    time.sleep(0.4)
    blame, _ = explain(lane)
    assert blame["component"] == "guest"


@pytest.mark.parametrize(
    ("lines", "component", "rule", "words"),
    [
        (["Error: loading TLS cert", "    1: invalid peer certificate: Other(OtherError(UnsupportedCertVersion))", "Rust proxy child died with exit code 1!"],
         "tls", "proxy_refuses_its_certificate", "UnsupportedCertVersion"),
        (["Error: loading TLS cert /p / key /k for it", "    1: keys may not be consistent: KeyMismatch"],
         "tls", "proxy_refuses_its_certificate", "KeyMismatch"),
        (["Error: opening TLS cert file /nowhere"], "tls", "proxy_refuses_its_certificate", "it says: Error: opening TLS cert file /nowhere; look at"),
        (["Error: loading TLS cert /p / key /k for it", "", "Caused by:", "    0: opening TLS key file /k", "    1: Permission denied (os error 13)"],
         "tls", "proxy_refuses_its_certificate", "it says: opening TLS key file /k: Permission denied (os error 13); look at"),
        (["Error: loading TLS cert /p / key /k for it", "", "Caused by:", "    no certificates found in /p", "Rust proxy child died with exit code 1!"],
         "tls", "proxy_refuses_its_certificate", "it says: no certificates found in /p; look at"),
        (["RuntimeError: The kerbside-proxy binary at /bin/x does not match this kerbside version's gRPC contract."],
         "proxy", "proxy_does_not_fit", "but /bin/x does not know its contract"),
        (['{"message": "Rust proxy child died with exit code 1!"}'], "proxy", "proxy_died", "ended with status 1"),
        (['{"message": "Rust proxy child died with exit code -9!"}'], "proxy", "proxy_died", "ended by SIGKILL"),
        (["    0: binding secure SPICE listener on 127.0.0.1:1", "    1: Address already in use (os error 98)", "Rust proxy child died with exit code 1!"],
         "environment", "port_was_taken", "port 1 to be free"),
    ],
)  # fmt: skip
def test_why_the_daemon_does_not_come_up(lane: TestLane, lines: list[str], component: str, rule: str, words: str) -> None:
    told(lane, "said", *lines)
    with pytest.raises(Exception, match="ended with status 1"):
        lane.start(lane.program("daemon", "cat logs/said.log; exit 1", ready=readiness.Ready(port=1)))
    blame, notes = explain(lane, "kerbside", None, phase="kerbside")
    assert (notes["rule"], blame["component"]) == (rule, component)
    assert words in blame["cause"]


SESSION = [
    (
        "ticket_refused",
        "kerbside",
        '  WARN kerbside_proxy::backend: hypervisor connection failed channel_type="main" error=Authentication failed: PermissionDenied',
    ),
    ("hypervisor_refuses", "kerbside", " WARN x: hypervisor connection failed error=connecting to 127.0.0.1:17919: Connection refused (os error 111)"),
    ("hypervisor_refuses", "qemu", " WARN x: hypervisor connection failed error=connecting to 127.0.0.1:17914: Connection refused (os error 111)"),
    ("policy_denies", "kerbside", ' WARN x: channel type not permitted by firewall policy; denying channel="inputs"'),
    ("token_denied", "kerbside", " INFO x: connection denied by control service peer=1 reason=client token invalid"),
]


@pytest.mark.parametrize(("rule", "component", "line"), SESSION)
def test_what_the_daemon_says_of_this_session(lane: TestLane, rule: str, component: str, line: str) -> None:
    with qemu(lane):
        lane.start(daemon(lane), lane.program("ryll", FOREVER, component="ryll"))
        told(lane, "daemon", stamp() + line)
        blame, notes = explain(lane)
    assert (notes["rule"], blame["component"]) == (rule, component)
    assert blame["evidence"].endswith("logs/daemon.log:2")


@pytest.mark.parametrize(("rule", "component", "line"), SESSION)
def test_what_it_said_of_an_earlier_session_or_to_somebody_else_counts_for_nothing(lane: TestLane, rule: str, component: str, line: str) -> None:
    told(lane, "daemon", stamp(-60) + line)
    with qemu(lane):
        lane.start(daemon(lane), lane.program("ryll", FOREVER, component="ryll"))
        assert explain(lane)[1]["rule"] is None
        told(lane, "daemon", stamp() + line)
        assert explain(lane, "kerbside", None)[1]["rule"] is None  # console.vv was not even fetched


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("certificate expired: verification time 1", "it has expired"),
        ("BadSignature", "another CA"),
        ("UnknownIssuer", "another CA"),
        ("NotValidForName", "host subject"),
        ("NewFault", "it refuses it (invalid peer certificate: NewFault)"),
    ],
)
def test_what_ryll_says_of_the_certificate(lane: TestLane, said: str, meaning: str) -> None:
    lane.start(lane.program("ryll", FOREVER, component="ryll"))
    told(lane, "ryll", "Error: headless SPICE connection failed", f"    1: invalid peer certificate: {said}")
    blame, notes = explain(lane)
    assert (notes["rule"], blame["component"]) == ("ryll_refuses_certificate", "tls")
    assert meaning in blame["cause"]


@pytest.mark.parametrize(
    "text", ["(1142, \"INSERT command denied to user 'kerbside'@'localhost'\")", '(1045, \\"Access denied for user\\")', "(1044, 'Access denied')"]
)
def test_a_database_that_refuses(lane: TestLane, text: str) -> None:
    lane.start(daemon(lane), lane.program("api", FOREVER))
    told(lane, "api", f"pymysql.err.OperationalError: {text}")
    blame, notes = explain(lane, "kerbside", None)
    assert (notes["rule"], blame["component"]) == ("database_refuses", "database")
    assert explain(lane, "qemu", None)[1]["rule"] is None


@pytest.mark.parametrize(("status", "component"), [("paused", "guest"), ("guest-panicked", "guest"), ("internal-error", "qemu"), ("io-error", "qemu")])
def test_a_processor_that_stands_still(lane: TestLane, status: str, component: str) -> None:
    with qemu(lane, status):
        blame, notes = explain(lane, "guest")
    assert (notes["rule"], blame["component"]) == ("guest_not_running", component)
    assert f"QMP says that it is {status}" in blame["cause"]


@pytest.mark.parametrize(
    ("serial", "rule", "component"),
    [
        ("", "firmware_silent", "firmware"),
        ("\x1b[2J\nUEFI Interactive Shell v2.2\n", "firmware_found_no_program", "guest"),
        ("BdsDxe: failed to load Boot0001 from PciRoot: Not Found\n", "firmware_found_no_program", "guest"),
        ("BdsDxe: failed to load Boot0001\nguest: ready\n", None, "guest"),
        ("BdsDxe: starting Boot0001\nguest: starting\n", None, "guest"),
    ],
)
def test_how_far_the_guest_came(lane: TestLane, serial: str, rule: str | None, component: str) -> None:
    Path(lane.dir, "logs/serial.log").write_text(serial)
    with qemu(lane):
        blame, notes = explain(lane, "guest", "status", "expected marks")
    assert (notes["rule"], blame["component"]) == (rule, component)


@pytest.mark.parametrize(("is_open", "rule", "component"), [(False, "agent_port_closed", "guest"), (True, "agent_lost_on_the_way", "ryll")])
def test_which_side_of_the_agents_port_is_missing(lane: TestLane, is_open: bool, rule: str, component: str) -> None:
    Path(lane.dir, "logs/serial.log").write_text("guest: ready\n")
    with qemu(lane, agent=is_open):
        blame, notes = explain(lane, "guest", "status", "step 2 of 3 (status) expected agent_connected true, but it stayed false")
        assert explain(lane, "guest", "status", "expected 1 surface, but none came")[1]["rule"] is None
    assert (notes["rule"], blame["component"]) == (rule, component)


def test_what_the_checks_from_outside_tell(lane: TestLane) -> None:
    lane.start(lane.program("ryll", FOREVER, component="ryll"))
    report(lane, path={"component": "kerbside", "cause": "one goes to port 3"})
    assert explain(lane, "proxy", "counters")[0]["component"] == "kerbside"
    report(lane, path={"component": "ryll", "cause": "it does not run"})
    assert explain(lane, "proxy", "counters")[1]["rule"] is None
    report(lane, frames={"component": "qemu", "cause": "it refused the screendump: no console"})
    assert explain(lane, "guest", "status")[1]["rule"] == "no_display"
    report(lane, frames={"component": "ryll", "cause": "9 of 10 pixels differ"})
    assert explain(lane, "guest", "screenshot")[0]["component"] == "ryll"
    report(lane, frames={"component": "guest", "cause": "qemu and ryll both show nothing but #000000"})
    assert explain(lane, "guest", "screenshot")[1]["rule"] == "guest_draws_one_colour"


def test_ryll_itself(lane: TestLane) -> None:
    lane.start(daemon(lane), lane.program("ryll", FOREVER, component="ryll"))
    entry = process.record(lane.dir, "ryll")
    assert entry
    assert entry.pid
    os.kill(entry.pid, signal.SIGKILL)
    while proc.group_members(entry.group):
        time.sleep(0.01)
    blame, notes = explain(lane)
    assert (notes["rule"], blame["component"]) == ("ryll_ended", "ryll")
    assert "but it ended by SIGKILL" in blame["cause"]


def test_a_mistake_in_a_rule_does_not_cost_the_verdict(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: diagnosis.Evidence) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setitem(diagnosis.RULES, "no_room", broken)
    failure = {"role": "smoke", "task": "t", "result": {"lane_failure": {"component": "ryll", "check": None, "cause": "c", "evidence": None}}}
    result = verdict.write(lane.dir, lane.artifacts, lane.run, command="1", planned=["hello"], failure=failure, phases=[], versions={})
    assert result["blame"]["cause"] == "c"
    assert "OSError" in json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())["broken"]


def test_the_diagnosis_is_kept_with_the_verdict(lane: TestLane) -> None:
    lane.start(lane.program("ryll", FOREVER, component="ryll"))
    told(lane, "ryll", "    1: invalid peer certificate: Expired")
    failure = {"role": "smoke", "task": "t", "result": {"lane_failure": {"component": "ryll", "check": "hello", "cause": "it ended", "evidence": None}}}
    result = verdict.write(lane.dir, lane.artifacts, lane.run, command="1", planned=["hello"], failure=failure, phases=[], versions={})
    assert result["blame"]["component"] == "tls"
    assert result["blame"]["evidence"] == "logs/ryll.log:1"
    notes = json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text())
    assert notes["rule"] == "ryll_refuses_certificate"
    assert notes["first"] == {"component": "ryll", "cause": "it ended", "evidence": None}
