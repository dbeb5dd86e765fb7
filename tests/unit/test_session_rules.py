"""The rules for a connection and for what the guest shows (evidence.session_rules), on evidence as the real programs left it."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import observed
from ansible.module_utils.lane.programs import records
from failed_lanes import await_end, explain, qemu, report, ryll, stamp, whole, write
from lanes import TestLane


@pytest.fixture
def lane(lane: TestLane) -> TestLane:
    hand_over(lane.dir, "guest", {"name": "pocket", "banner": "guest: ready"})
    return lane


# --- the connection ---

FAILED = ' WARN kerbside_proxy::backend: hypervisor connection failed connection_ref=a hypervisor=localhost channel_type="main" error='
SERVICER = (
    '{"logger_name": "kerbside.rpc.servicer", "ts": "STAMP", "level": "ERROR", "message": "AuthorizeConnection failed"}'
)
SESSION = [
    ("ticket_refused", "kerbside", FAILED + "Authentication failed: PermissionDenied"),
    ("spice_unreachable", "kerbside", FAILED + "connecting to 127.0.0.1:17919: Connection refused (os error 111)"),
    ("spice_unreachable", "qemu", FAILED + "connecting to 127.0.0.1:17914: Connection refused (os error 111)"),
    ("spice_connection_failed", "qemu", FAILED + "Server requires TLS connection. Use tls-port in config."),
    ("channel_denied", "kerbside", ' WARN x: channel type not permitted by firewall policy; denying channel="inputs"'),
    ("control_service_failed", "kerbside", SERVICER),
    (
        "console_token_denied",
        "kerbside",
        " INFO x: connection denied by control service peer=1 reason=client token invalid",
    ),
]


@pytest.mark.parametrize(("rule", "component", "line"), SESSION)
def test_what_the_daemon_says_of_this_session_and_not_of_another(
    lane: TestLane, rule: str, component: str, line: str
) -> None:
    def at(seconds: float) -> str:
        return line.replace("STAMP", stamp(seconds)) if "STAMP" in line else stamp(seconds) + line

    write(lane, "daemon", at(-60))
    with qemu(lane):
        whole(lane, ryll(lane))
        assert explain(lane)[1] is None, "it was an earlier session"
        write(lane, "daemon", at(0))
        assert explain(lane, "kerbside", None)[1] is None, "console.vv was not even fetched"
        blame, found = explain(lane)
    assert (found, blame["component"], blame["code"]) == (rule, component, rule)
    assert blame["evidence"].endswith("logs/daemon.log:3")
    if "requires TLS" in line:
        assert "Server requires TLS connection. Use tls-port in config." in blame["cause"]


@pytest.mark.parametrize(
    ("line", "sources", "words"),
    [
        (SESSION[0][2], '      ticket: "mine"', "sources.yaml has qemu's"),
        (SESSION[0][2], '      ticket: "other"', "sources.yaml has another"),
        (SESSION[0][2], "", "sources.yaml has another"),
        (
            SESSION[1][2],
            "      insecure_port: 17914\n",
            "port 17919, where nothing listens; qemu's SPICE port is 17914, and sources.yaml says 17914",
        ),
        (SESSION[1][2], "      insecure_port: 17919\n", "and sources.yaml says 17919"),
        (SESSION[1][2], "", "and sources.yaml says nothing"),
    ],
)
def test_a_kerbside_that_has_the_right_sources_is_told_from_one_that_has_wrong_ones(
    lane: TestLane, line: str, sources: str, words: str
) -> None:
    Path(lane.dir, "secrets/spice_ticket").write_text("mine\n")
    Path(lane.dir, "sources.yaml").write_text(sources)
    with qemu(lane):
        whole(lane, ryll(lane))
        write(lane, "daemon", stamp() + line)
        assert words in explain(lane)[0]["cause"]


CONNECTED = (
    " INFO kerbside_proxy::backend: hypervisor connection successful; handing off to relay connection_ref=b38b hypervisor=localhost"
    ' hypervisor_ip=127.0.0.1 session_id={} channel_type="{}" channel_id=0 connection_id={}'
)


@pytest.mark.parametrize(
    ("sessions", "connection", "taken"),
    [
        (
            [("41Pp", "main", 0), ("41Pp", "display", 3323597429)],
            -971369867,
            False,
        ),  # ryll's own, as qemu and the daemon of a good lane showed it
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429)], 0, False),  # nobody is connected any more
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429), ("NSO8", "main", 0)], 0, True),
        (
            [
                ("41Pp", "main", 0),
                ("41Pp", "display", 3323597429),
                ("NSO8", "main", 0),
                ("NSO8", "display", 4047920258),
            ],
            -247047038,
            True,
        ),
        (
            [("41Pp", "main", 0), ("41Pp", "display", 3323597429), ("41Pp", "main", 0)],
            0,
            True,
        ),  # with the same console.vv
        ([("41Pp", "main", 0), ("41Pp", "display", 3323597429)], -247047038, True),  # not through kerbside
    ],
)
def test_another_client_that_takes_the_console(
    lane: TestLane, sessions: list[tuple[str, str, int]], connection: int, taken: bool
) -> None:
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


@pytest.mark.parametrize(
    ("status", "component"),
    [("paused", "guest"), ("guest-panicked", "guest"), ("internal-error", "qemu"), ("io-error", "qemu")],
)
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


@pytest.mark.parametrize(
    ("kind", "why"), [("empty", "it is empty"), ("missing", "No such file"), ("device", "it is not a regular file")]
)
def test_a_guest_that_was_seen_drawing_has_firmware(lane: TestLane, kind: str, why: str) -> None:
    serial = Path(lane.dir, "logs/serial.log")
    {"empty": lambda: serial.write_text(""), "missing": lambda: None, "device": lambda: serial.symlink_to("/dev/full")}[
        kind
    ]()
    with qemu(lane):
        whole(lane)
        assert explain(lane, "guest", "banner")[0]["code"] == "firmware_silent"
        Path(lane.dir, "logs/smoke.json").write_text(
            json.dumps({"command_id": "1", "transcript": [{"name": "screenshot", "result": "ok"}]})
        )
        blame, rule = explain(lane, "guest", "banner")
        assert (rule, blame["component"], blame["code"]) == ("serial_not_written", "host", "serial_not_written")
        assert why in blame["cause"]


@pytest.mark.parametrize(
    ("is_open", "now", "code", "component"),
    [
        (False, False, "agent_port_closed", "guest"),
        (True, False, "agent_not_seen", "ryll"),
        (True, True, "agent_late", "guest"),
    ],
)
def test_which_side_of_the_agents_port_is_missing(
    lane: TestLane, monkeypatch: pytest.MonkeyPatch, is_open: bool, now: bool, code: str, component: str
) -> None:
    Path(lane.dir, "logs/serial.log").write_text("guest: ready\n")
    monkeypatch.setattr(observed.Evidence, "agent_seen_now", lambda _: now)
    with qemu(lane, agent=is_open):
        whole(lane)
        blame, _ = explain(lane, "guest", "status", "agent_connected stayed false within 2 s")
        assert explain(lane, "guest", "status", "no surface")[1] is None
    assert (blame["component"], blame["code"]) == (component, code)
    if component == "guest":
        assert re.search(
            r"within 2 s of ryll's start.*the limit is lane_agent_limit, and the machine's load is", blame["cause"]
        )


@pytest.mark.parametrize(("connected", "seen"), [([False, False, True], True), ([False], False)])
def test_ryll_is_asked_whether_it_sees_the_agent_by_now(
    lane: TestLane, monkeypatch: pytest.MonkeyPatch, connected: list[bool], seen: bool
) -> None:
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
        assert [explain(lane, "guest", "screenshot")[0][key] for key in ("component", "code")] == [
            "ryll",
            "picture_differs",
        ]
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
