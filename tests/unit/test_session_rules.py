"""The rules for a connection and for what the guest shows (evidence.session_rules), on evidence as the real programs
left it.
"""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.lane.core import secrets
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import observed
from ansible.module_utils.lane.protocols import spice_link
from ansible.module_utils.lane.protocols.spice_link import LinkClosed, LinkRefused
from failed_lanes import complete, explain, kill, report, ryll, stamp, write
from prepared import allowed, executable, unanswered
from suite_lane import FakeLink

# --- the connection ---

FAILED = " WARN kerbside_proxy::backend: hypervisor connection failed connection_ref=a hypervisor=localhost error="
SERVICER = (
    '{"logger_name": "kerbside.rpc.servicer", "ts": "STAMP", "level": "ERROR", "message": "AuthorizeConnection failed"}'
)
TICKET = FAILED + "Authentication failed: PermissionDenied"
ELSEWHERE = FAILED + "connecting to 127.0.0.1:17919: Connection refused (os error 111)"
UNKNOWN = FAILED + "connecting to hypervisor.invalid:17914: failed to lookup address information: Name or service"
SESSION = [
    ("ticket_refused", "kerbside", TICKET),
    ("spice_unreachable", "kerbside", ELSEWHERE),
    ("spice_unreachable", "qemu", ELSEWHERE.replace("17919", "17914")),
    ("spice_connection_failed", "qemu", UNKNOWN),
    ("spice_connection_failed", "qemu", FAILED + "Server requires TLS connection. Use tls-port in config."),
    ("channel_denied", "kerbside", ' WARN x: channel type not permitted by firewall policy; denying channel="inputs"'),
    ("control_service_failed", "kerbside", SERVICER),
    ("console_token_denied", "kerbside", " INFO x: connection denied by control service peer=1 reason=token invalid"),
]


@pytest.mark.parametrize(("rule", "component", "line"), SESSION)
def test_what_the_daemon_says_of_this_session_and_not_of_another(lane, rule, component, line):
    def at(seconds: float) -> str:
        return line.replace("STAMP", stamp(seconds)) if "STAMP" in line else stamp(seconds) + line

    write(lane, "daemon", at(-60))
    with complete(lane, ryll(lane)):
        assert explain(lane).rule is None, "it was an earlier session"
        write(lane, "daemon", at(0))
        assert explain(lane, "kerbside", None).rule is None, "console.vv was not even fetched"
        found = explain(lane)
    assert found[:3] == (rule, component, rule) and found.evidence.endswith("logs/daemon.log:3")


WAITED = "ERROR Connection task failed: main: SPICE link handshake with 127.0.0.1:17900 did not complete within 15s"


@pytest.mark.parametrize(
    ("says", "line", "rule"),
    [
        (unanswered("DEADLINE_EXCEEDED"), WAITED, "control_service_silent"),
        (unanswered("DEADLINE_EXCEEDED"), "ERROR it failed", None),  # it was let in
        ("echo null", WAITED, None),  # it answers
        ("exit 1", WAITED, None),  # another kerbside, which cannot be asked like this
    ],
)
def test_a_control_service_that_answers_nobody(lane, says, line, rule):
    hand_over(lane.dir, "kerbside", {"python": executable(Path(lane.dir, "python"), says)})
    with complete(lane, ryll(lane)):
        write(lane, "ryll", line)
        found = explain(lane)
    assert (found.rule, found.component) == (rule, "kerbside" if rule else "ryll")


REFUSED, OTHERWISE, CLOSED = LinkRefused(7), LinkRefused(1), LinkClosed("no TLS")


@pytest.mark.parametrize(
    ("line", "told", "linking", "component"),
    [
        (TICKET, (17914, "mine"), None, "proxy"),
        (TICKET, (17914, "mine"), CLOSED, "proxy"),
        (TICKET, (17914, "mine"), OTHERWISE, "proxy"),
        (TICKET, (17914, "mine"), REFUSED, "qemu"),
        (TICKET, (17914, "other"), None, "kerbside"),
        (ELSEWHERE, (17919, "mine"), None, "kerbside"),
        (ELSEWHERE, (17914, "mine"), None, "proxy"),
        (UNKNOWN, (17914, "mine"), None, "proxy"),
        (ELSEWHERE.replace("17919", "17914"), (17919, "mine"), None, "qemu"),
    ],
)
def test_a_proxy_that_does_not_do_what_kerbside_says(lane, monkeypatch, line, told, linking, component):
    monkeypatch.setattr(spice_link, "Link", type("Other", (FakeLink,), {"linking": linking}))
    FakeLink.kept.clear()
    hand_over(lane.dir, "kerbside", {"python": executable(Path(lane.dir, "python"), allowed(*told))})
    Path(lane.dir, "secrets/spice_ticket").write_text("mine\n")
    with complete(lane, ryll(lane)):
        write(lane, "daemon", stamp() + line)
        found = explain(lane)
    assert (found.rule, found.component) == ("ticket_refused" if line == TICKET else "spice_unreachable", component)
    tried = line == TICKET and component != "kerbside"
    assert [one.port for one in FakeLink.kept] == [17914] * tried
    assert [one.did for one in FakeLink.kept if one.did] == [[("link", 1, "mine", 0)]] * (tried and not linking)


@pytest.mark.parametrize(
    ("line", "sources", "words"),
    [
        (TICKET, '      ticket: "mine"', "sources.yaml has qemu's"),
        (TICKET, '      ticket: "other"', "sources.yaml has another"),
        (TICKET, "", "sources.yaml has another"),
        (ELSEWHERE, "      insecure_port: 17914\n", "and sources.yaml says 17914"),
        (ELSEWHERE, "      insecure_port: 17919\n", "and sources.yaml says 17919"),
        (ELSEWHERE, "", "port 17919, where nothing listens; qemu's SPICE port is 17914, and sources.yaml says nothing"),
    ],
)
def test_a_kerbside_that_has_the_right_sources_is_told_from_one_that_has_wrong_ones(lane, line, sources, words):
    Path(lane.dir, "secrets/spice_ticket").write_text("mine\n")
    Path(lane.dir, "sources.yaml").write_text(sources)
    with complete(lane, ryll(lane)):
        write(lane, "daemon", stamp() + line)
        assert words in explain(lane).cause


DENIED = " INFO kerbside_proxy::session: connection denied by control service peer=1 reason=client token invalid"
#: A python of kerbside's that has its control service allow the second token.
ALLOWS = f'grep -q \'"token": "second"\' "$3" && {allowed(17914, "mine")}'


@pytest.mark.parametrize(
    ("link", "says", "more", "component"),
    [
        ({"linking": REFUSED}, ALLOWS, {}, "proxy"),
        ({"linking": REFUSED}, "echo null", {}, "kerbside"),  # it does not know the token either
        ({"linking": REFUSED}, unanswered("DEADLINE_EXCEEDED"), {}, "kerbside"),
        ({"linking": REFUSED}, f"{ALLOWS}; exit 1", {}, "kerbside"),  # another kerbside
        ({"linking": REFUSED}, ALLOWS, {"vv": "password=third"}, "kerbside"),  # not what kerbside handed out
        ({"linking": REFUSED}, ALLOWS, {"console": {"host": "127.0.0.1"}}, "kerbside"),
        ({"linking": OTHERWISE}, ALLOWS, {}, "kerbside"),
        ({"linking": CLOSED}, ALLOWS, {}, "kerbside"),
        ({"connecting": CLOSED}, ALLOWS, {}, "kerbside"),
        ({}, ALLOWS, {}, "ryll"),
        ({}, ALLOWS, {"vv": "password=third"}, "kerbside"),
    ],
)
def test_who_asks_about_another_token_than_kerbside_handed_out(lane, monkeypatch, link, says, more, component):
    monkeypatch.setattr(spice_link, "Link", type("Wrong", (FakeLink,), link))
    FakeLink.kept.clear()
    hand_over(lane.dir, "kerbside", {"python": executable(Path(lane.dir, "python"), says)})
    hand_over(lane.dir, "console", more.get("console", {"host": "127.0.0.1", "tls-port": "17910"}))
    for token in ("first", "second"):
        secrets.register(lane.dir, "console_token", token)
    if "vv" in more:
        Path(lane.dir, "console.vv").write_text(more["vv"])
    with complete(lane, ryll(lane)):
        write(lane, "daemon", stamp() + DENIED)
        found = explain(lane)
    assert found[:3] == ("console_token_denied", component, "console_token_denied")
    words = {"proxy": "but allows the one in console.vv", "ryll": "but the proxy lets in a bare link", "kerbside": ""}
    assert words[component] in found.cause
    assert (" but " in found.cause) == (component != "kerbside")
    assert [one.did for one in FakeLink.kept if one.did] in ([], [[("link", 1, "second", 0)]])


#: As the proxy with the bug notices-forbidden logged and counted it.
CUT = ' WARN kerbside_proxy::relay: policy verdict Terminate; ending relay channel="main" message_type=7'
COUNTED = (
    "the proxy's firewall gave a verdict: kerbside_proxy_firewall_verdicts_total{action=enforced,channel=main,"
    "direction=server_to_client,rule=disallowed_type} rose"
)


@pytest.mark.parametrize(
    ("seconds", "cause", "found"),
    [
        (0, COUNTED, True),
        (-60, COUNTED, False),  # an earlier session
        (0, COUNTED.replace("server_to_client", "client_to_server"), False),  # ryll may have sent what it must not
        (0, COUNTED.replace("channel=main", "channel=display"), False),
        (0, None, False),
    ],
)
def test_a_proxy_that_ends_a_channel_because_of_what_qemu_sends(lane, seconds, cause, found):
    with complete(lane, ryll(lane)):
        write(lane, "daemon", stamp(seconds) + CUT)
        if cause:
            report(lane, counters={"component": "proxy", "code": "proxy_firewall_verdict", "cause": cause})
        said = explain(lane)
    assert said[:2] == (("message_forbidden", "proxy") if found else (None, "ryll"))
    assert not found or "the channel main because of a message of type 7 from qemu" in said.cause


CONNECTED = (
    " INFO kerbside_proxy::backend: hypervisor connection successful; handing off to relay connection_ref=b38b "
    'hypervisor=localhost hypervisor_ip=127.0.0.1 session_id={} channel_type="{}" channel_id=0 connection_id={}'
)
#: As qemu and the daemon of a good lane showed it; qemu's ids are signed.
OWN, OWN_ID = [("41Pp", "main", 0), ("41Pp", "display", 3323597429)], -971369867
OTHER, OTHER_ID = [("NSO8", "main", 0), ("NSO8", "display", 4047920258)], -247047038


@pytest.mark.parametrize(
    ("sessions", "connection", "words"),
    [
        (OWN, OWN_ID, ""),
        (OWN, 0, ""),  # nobody is connected any more
        (OWN + OTHER[:1], 0, "kerbside connected session NSO8 to qemu after ryll's session 41Pp; see"),
        (OWN + OTHER, OTHER_ID, "NSO8 to qemu after ryll's session 41Pp (query-spice shows its connection); see"),
        (OWN + OTHER, OWN_ID, "kerbside connected session NSO8 to qemu after ryll's session 41Pp; see"),
        (OWN + OWN[:1], 0, "kerbside connected session 41Pp to qemu after"),  # with the same console.vv
        (OWN, OTHER_ID, "qemu's monitor (query-spice) shows a client that did not connect through kerbside; use"),
    ],
)
def test_another_client_that_takes_the_console(lane, sessions, connection, words):
    with complete(lane, ryll(lane), connection=connection):
        write(lane, "daemon", *(stamp() + CONNECTED.format(*one) for one in sessions))
        found = explain(lane)
    if not words:
        assert found.rule is None
        return
    assert found[:3] == ("console_taken", "environment", "console_taken")
    assert found.cause.startswith("another client took the console: ") and words in found.cause


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
def test_what_ryll_says_of_the_certificate(lane, said, meaning):
    with complete(lane, ryll(lane)):
        write(lane, "ryll", "Error: headless SPICE connection failed", f"    1: invalid peer certificate: {said}")
        found = explain(lane)
    assert found[:3] == ("certificate_refused", "tls", "certificate_refused") and meaning in found.cause


# --- the guest ---


SHELL = "\x1b[2J\nUEFI Interactive Shell v2.2\nx"


@pytest.mark.parametrize(
    ("status", "serial", "rule", "component", "words"),
    [
        ("internal-error", "", "guest_not_running", "qemu", "QMP says that it is internal-error; see logs/serial.log"),
        ("io-error", "", "guest_not_running", "qemu", "QMP says that it is io-error; see logs/serial.log"),
        ("paused", "", "guest_not_running", "guest", "QMP says that it is paused; see logs/serial.log"),
        ("running", "", "firmware_silent", "firmware", "not a byte"),
        ("running", SHELL, "nothing_to_boot", "guest", "UEFI Interactive Shell v2.2; see"),
        ("running", "BdsDxe: failed to load Boot0001 x\n", "nothing_to_boot", "guest", "to load Boot0001 x; see"),
        ("running", "BdsDxe: failed to load Boot0001\nguest: ready\n", None, "guest", ""),
        ("running", "BdsDxe: starting Boot0001\nguest: starting\n", None, "guest", ""),
    ],
)
def test_how_far_the_guest_came(lane, status, serial, rule, component, words):
    Path(lane.dir, "logs/serial.log").write_text(serial)
    with complete(lane, status=status):
        found = explain(lane, "guest", "status", "no mark")
    assert found[:3] == (rule, component, rule or "check_failed") and words in found.cause


@pytest.mark.parametrize(
    ("link", "why"), [("", "No such file"), ("/dev/full", "it is not a regular file"), ("empty", "it is empty")]
)
def test_a_guest_that_was_seen_drawing_has_firmware(lane, link, why):
    Path(lane.dir, "logs/empty").touch()
    if link:
        Path(lane.dir, "logs/serial.log").symlink_to(link)
    with complete(lane):
        assert explain(lane, "guest", "banner").code == "firmware_silent"
        steps = {"command_id": "1", "transcript": [{"name": "screenshot", "result": "ok"}]}
        Path(lane.dir, "logs/smoke.json").write_text(json.dumps(steps))
        found = explain(lane, "guest", "banner")
    assert found[:3] == ("serial_not_written", "host", "serial_not_written") and why in found.cause


@pytest.mark.parametrize(
    ("is_open", "now", "code", "component"),
    [
        (False, False, "agent_port_closed", "guest"),
        (True, False, "agent_not_seen", "ryll"),
        (True, True, "agent_late", "guest"),
    ],
)
def test_which_side_of_the_agents_port_is_missing(lane, monkeypatch, is_open, now, code, component):
    Path(lane.dir, "logs/serial.log").write_text("guest: ready\n")
    monkeypatch.setattr(observed.Evidence, "agent_seen_now", lambda _: now)
    with complete(lane, agent=is_open):
        found = explain(lane, "guest", "status", "agent_connected stayed false within 2 s")
        assert explain(lane, "guest", "status", "no surface").rule is None
        assert explain(lane, "guest", "status", "agent gone", code="agent_changed").rule is None
    assert (found.component, found.code) == (component, code)
    limit = r"within 2 s of ryll's start.*the limit is lane_agent_limit, and the machine's load is"
    assert component == "ryll" or re.search(limit, found.cause)


@pytest.mark.parametrize(("connected", "seen"), [([False, False, True], True), ([False], False)])
def test_ryll_is_asked_whether_it_sees_the_agent_by_now(lane, monkeypatch, connected, seen):
    def request(*_: object) -> dict[str, bool]:
        return {"agent_connected": connected.pop(0) if len(connected) > 1 else connected[0]}

    client = SimpleNamespace(open=lambda *_: None, request=request)
    evidence = observed.Evidence(lane.dir, {})
    assert evidence.agent_seen_now() is False, "there is no ryll"
    monkeypatch.setattr(observed, "Client", lambda _: nullcontext(client))
    assert evidence.agent_seen_now() is seen


def test_what_the_checks_from_outside_show(lane):
    def outside(component: str, code: str, check: str = "frames") -> None:
        report(lane, **{check: {"component": component, "code": code, "cause": "it is wrong"}})

    with complete(lane, ryll(lane)):
        outside("kerbside", "proxy_bypassed", "path")
        assert explain(lane, "proxy", "counters")[:3] == ("proxy_bypassed", "kerbside", "proxy_bypassed")
        outside("ryll", "proxy_not_connected", "path")
        assert explain(lane, "proxy", "counters").rule is None
        outside("qemu", "qemu_no_picture")
        Path(lane.dir, "logs/serial.log").write_text("guest: ready\n")
        assert explain(lane, "guest", "status").rule == "no_display"
        outside("ryll", "picture_differs")
        assert explain(lane, "guest", "screenshot")[1:3] == ("ryll", "picture_differs")
        assert explain(lane, "guest", "status").rule is None
        outside("guest", "guest_one_colour")
        assert explain(lane, "guest", "screenshot")[1:3] == ("guest", "one_colour_screen")


def test_ryll_itself(lane):
    with complete(lane, ryll(lane)):
        kill(lane, "ryll")
        found = explain(lane)
    assert found[:3] == ("ryll_ended", "ryll", "program_ended") and "ryll was killed by SIGKILL" in found.cause
