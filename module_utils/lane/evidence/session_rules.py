"""Rules of the diagnosis for a connection: between ryll, the proxy, kerbside and qemu, and what the guest shows through
it (rules.py).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..core import secrets
from ..core.errors import LaneError, one_line
from ..protocols import control_service
from .log_excerpt import UNANSWERED, quoted
from .observed import Evidence, Line
from .rules import Rule, at, rule

#: What rustls calls a certificate's faults (rustls::CertificateError), and what they mean here.
CERTIFICATE = {
    "expired": "it has expired",
    "unknownissuer": "another CA signed it",
    "badsignature": "another CA signed it",
    "notvalidforname": "its subject is not the host subject that console.vv names",
}
#: The codes of the check `frames` for a wrong picture, and of the check `screenshot` that failed before it.
PICTURE = {"guest_one_colour": "one_colour_screen", "picture_differs": "picture_differs"}
Said = Callable[[Evidence, Line, re.Match[str]], LaneError | None]
SHELL = re.compile(r"(?:UEFI Interactive Shell|Shell>|BdsDxe: (?:failed to load|No bootable option)).*", re.IGNORECASE)


def said(name: str, pattern: str | re.Pattern[str], *faults: str) -> Callable[[Said], Rule]:
    """Make a function a rule about the first line of a program's log that matches, if the failure belongs to a session
    of ryll.
    """

    def register(function: Said) -> Rule:
        @rule(*faults)
        @wraps(function)
        def found(seen: Evidence) -> LaneError | None:
            match = seen.find(name, pattern) if seen.in_session else None
            return function(seen, *match) if match else None

        return found

    return register


@said("daemon", UNANSWERED, "channels-table-missing")
def control_service_failed(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError:
    """kerbside's control service could not answer its proxy, which can only refuse the client then."""
    return at(line, "control_service_failed", "kerbside", f"kerbside could not answer its proxy: {quoted(line.text)}")


@said("ryll", control_service.WAITED, "control-service-silent")
def control_service_silent(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError | None:
    """The client waited in vain, and kerbside's control service, which the proxy asks first, does not answer either."""
    why = _answer(seen)
    if not why or not isinstance(why, str):
        return None
    problem = f"kerbside's control service does not answer its proxy ({why}), so the client was not let in"
    return LaneError("control_service_silent", "kerbside", problem, evidence="logs/daemon.log")


@said("daemon", r'channel type not permitted by firewall policy.*?channel="?(\w+)', "firewall-denies-channel")
def channel_denied(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError:
    """The proxy denies a channel because kerbside's settings say so."""
    problem = f"kerbside's firewall policy denies the channel {match[1]}"
    fix = "see KERBSIDE_FIREWALL_PERMITTED_CHANNELS and logs/daemon.log"
    return LaneError("channel_denied", "kerbside", problem, fix, evidence=line.place)


@said("daemon", r'policy verdict Terminate.* channel="?(\w+)"? message_type=(\d+)', "notices-forbidden")
def message_forbidden(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError | None:
    """The proxy ends a channel because of what qemu sends. The check `counters` has the direction, which the log line
    lacks: a message of ryll's may be ryll's fault.
    """
    channel, kind = match.groups()
    if f"action=enforced,channel={channel},direction=server_to_client" not in str(seen.detail("counters").get("cause")):
        return None
    problem = f"kerbside-proxy ended the channel {channel} because of a message of type {kind} from qemu"
    return at(line, "proxy_firewall_verdict", "proxy", f"{problem} (policy verdict Terminate)")


@said("daemon", r"hypervisor connection failed.*PermissionDenied", "ticket-wrong", "ticket-cut")
def ticket_refused(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError:
    """ryll and daemon both say PermissionDenied; in the daemon's log it means that qemu refused the ticket."""
    own, told = seen.read("secrets/spice_ticket").strip(), _told(seen)
    problem = "qemu refused the proxy's ticket (PermissionDenied), although kerbside hands out the right one"
    if own and told and told["ticket"] == own:
        if _lets_in(seen.qmp.get("query-spice", {}).get("port", 0), None, own) is False:
            return at(line, "ticket_refused", "qemu", f"{problem}; it refuses that of a bare link, too")
        return at(line, "ticket_refused", "proxy", problem)
    whose = "qemu's" if own and seen.in_sources("ticket") == own else "another"
    problem = f"qemu refused the ticket that kerbside handed out (PermissionDenied); sources.yaml has {whose}"
    return at(line, "ticket_refused", "kerbside", problem)


@said(
    "daemon",
    r"hypervisor connection failed.*connecting to (\S+):(\d+): (Connection refused|failed to lookup)",
    "sources-point-elsewhere",
    "another-port",
    "hypervisor-by-its-name",
)
def spice_unreachable(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError | None:
    """Nothing listens where the proxy connects to: qemu's fault when that is qemu's port, else of who named it."""
    host, port, own = match[1], int(match[2]), seen.qmp.get("query-spice", {}).get("port")
    refused = match[3] == "Connection refused"
    if refused and (not own or port == own):
        return at(line, "spice_unreachable", "qemu", f"qemu's SPICE server does not listen on port {port}")
    if told := _told(seen):
        sent_to, ports = told["hypervisor_ip"] or told["hypervisor"], (told["insecure_port"], told["secure_port"])
        if host != sent_to or port not in ports:
            problem = (
                f"kerbside-proxy connects to {host}:{port} ({match[3]}); kerbside sends it to {sent_to}:{ports[0]}"
            )
            return at(line, "spice_unreachable", "proxy", problem)
    if not refused:
        return None
    problem = (
        f"kerbside sends its proxy to port {port}, where nothing listens; qemu's SPICE port is {own}, and "
        f"sources.yaml says {seen.in_sources('insecure_port') or 'nothing'}"
    )
    return at(line, "spice_unreachable", "kerbside", problem)


def _answer(seen: Evidence) -> dict[str, Any] | str:
    python = seen.known.get("lane_kerbside", {}).get("python")
    return control_service.ask(python, seen.lane_dir) if python else ""


def _told(seen: Evidence) -> dict[str, Any] | None:
    """What kerbside's control service, asked directly, tells its proxy about the console."""
    answer = _answer(seen)
    return None if isinstance(answer, str) else answer


def _lets_in(port: int, ca: str | None, secret: str) -> bool | None:
    """Whether a bare link with a ticket or token is let in; None if it was neither let in nor denied."""
    from ..protocols import spice_link  # loads cryptography, which the evidence of a good lane does not need

    try:
        with spice_link.Link(port, ca) as link:
            link.link(spice_link.CHANNELS["main"], secret)
        return True
    except spice_link.LinkRefused as refused:
        return False if refused.result == spice_link.PERMISSION_DENIED else None
    except (spice_link.LinkClosed, OSError, ValueError):
        return None


@said("daemon", r"hypervisor connection failed.*?\berror=(.*)", "qemu-wants-tls")
def spice_connection_failed(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError:
    """Whatever else the proxy says of its connection to qemu."""
    problem = f"kerbside-proxy's connection to qemu failed: {one_line(match[1], 200)}"
    fix = "see logs/daemon.log and logs/qemu.log"
    return LaneError("spice_connection_failed", "qemu", problem, fix, evidence=line.place)


@rule("console-taken")
def console_taken(seen: Evidence) -> LaneError | None:
    """qemu serves one client; another one that connects ends ryll's session. qemu's monitor shows whose connection it
    has, the daemon's log who came.
    """
    if not seen.in_session or not seen.sessions:
        return None
    session = seen.sessions[0][1]
    own = {number for _, other, _, number in seen.sessions if other == session} - {0}
    held = {int(c.get("connection-id", 0)) & 0xFFFFFFFF for c in seen.qmp.get("query-spice", {}).get("channels") or []}
    mains = [(line, other) for line, other, channel, _ in seen.sessions if channel == "main"]
    fix, evidence = "use no other client while a lane is checked", "logs/daemon.log"
    if len(mains) > 1:
        line, other = mains[1]
        shown = " (query-spice shows its connection)" if held - own else ""
        problem = f"kerbside connected session {other} to qemu after ryll's session {session}{shown}"
        fix, evidence = f"see logs/daemon.log; {fix}", line.place
    elif held and own and not held & own:
        problem = "qemu's monitor (query-spice) shows a client that did not connect through kerbside"
    else:
        return None
    problem = f"another client took the console: {problem}"
    return LaneError("console_taken", "environment", problem, fix, evidence=evidence)


@said(
    "daemon",
    r"connection denied by control service.*reason=(.*)",
    "console-token-unknown",
    "token-cut",
    "ryll-cuts-token",
)
def console_token_denied(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError:
    """The proxy asked kerbside, and kerbside does not know the token: that of console.vv, or another."""
    denied = one_line(match[1], 80)
    component, more = _token_changed(seen)
    problem = f"kerbside denies the token that its proxy asks about ({denied}), but {more}"
    if not more:
        problem = f"kerbside denies the token in console.vv ({denied})"
    return at(line, "console_token_denied", component, problem)


def _token_changed(seen: Evidence) -> tuple[str, str]:
    """Who turned the token that kerbside handed out into another, and how a bare link through the proxy showed it."""
    token, console = secrets.newest(seen.lane_dir, "console_token"), seen.known.get("lane_console", {})
    port = int(console.get("tls-port", 0))
    if not (token and port) or seen.read("console.vv"):  # ryll removes the one that it was handed
        return "kerbside", ""
    let_in = _lets_in(port, seen.read("tls/ca.pem"), token.read_text())
    if let_in:
        return "ryll", "the proxy lets in a bare link with the one in console.vv"
    if let_in is False and _told(seen):
        return "proxy", "allows the one in console.vv, with which the proxy denies a bare link, too"
    return "kerbside", ""


@said(
    "ryll",
    r"invalid peer certificate: [^:]+|certificate does not allow extended key usage.*",
    "certificate-expired",
    "certificate-of-another-ca",
    "certificate-of-another-subject",
)
def certificate_refused(seen: Evidence, line: Line, match: re.Match[str]) -> LaneError:
    """Only the client reports it: kerbside serves whatever certificate it has."""
    words = one_line(match[0], 120)
    meaning = next((meaning for word, meaning in CERTIFICATE.items() if word in words.lower()), "see its words")
    return at(line, "certificate_refused", "tls", f"ryll refuses the proxy's certificate: {meaning} ({words})")


@rule("vv-points-at-qemu")
def proxy_bypassed(seen: Evidence) -> LaneError | None:
    """Everything works except the path: the counters do not move because ryll connected to qemu."""
    detail = seen.detail("path")
    if not seen.in_session or detail.get("code") != "proxy_bypassed":
        return None
    return LaneError("proxy_bypassed", "kerbside", detail["cause"], evidence="handover/console.json")


@rule("guest-frozen-without-agent")
def guest_not_running(seen: Evidence) -> LaneError | None:
    """qemu runs, and its processor does not."""
    status = seen.guest_status
    if status in (None, "running"):
        return None
    component = "qemu" if status in ("internal-error", "io-error") else "guest"
    problem = f"the guest does not run: QMP says that it is {status}"
    return LaneError("guest_not_running", component, problem, "see logs/serial.log", evidence=seen.serial_log)


@rule("serial-not-written")
def serial_not_written(seen: Evidence) -> LaneError | None:
    """A guest that was seen drawing has firmware, which writes to the serial port first of all: what is missing is the
    file.
    """
    if seen.serial.strip() or seen.blame["check"] != "banner" or not seen.drawn:
        return None
    try:
        status = os.stat(seen.serial_log)
        why = "it is empty" if stat.S_ISREG(status.st_mode) else "it is not a regular file"
    except OSError as error:
        why = str(error.strerror)
    problem = f"qemu did not write the serial log although the guest was seen drawing: {seen.serial_log}: {why}"
    fix = "check the disk that lane_dir is on"
    return LaneError("serial_not_written", "host", problem, fix, evidence=seen.serial_log)


@rule("firmware-cut")
def firmware_silent(seen: Evidence) -> LaneError | None:
    """The processor runs, and there is not a byte on the serial port, to which OVMF writes first of all."""
    if seen.guest_status != "running" or seen.serial.strip() or seen.drawn or not _blames_guest(seen):
        return None
    age = time.time() - seen.records["qemu"].started
    problem = f"the firmware wrote not a byte to the serial port in {age:.0f} s, although the processor runs"
    return LaneError("firmware_silent", "firmware", problem, "check sextant_vm_firmware_code", evidence=seen.serial_log)


@rule("image-empty")
def nothing_to_boot(seen: Evidence) -> LaneError | None:
    """The firmware runs and ends in its own shell, because the disk has nothing that it can start."""
    banner = str(seen.known.get("lane_guest", {}).get("banner", "\0"))
    if banner in seen.serial or not _blames_guest(seen) or not (match := SHELL.search(seen.serial)):
        return None
    place = f"{seen.serial_log}:{seen.serial.count(chr(10), 0, match.start()) + 1}"
    problem = f"the firmware found nothing to start on the guest's disk: {one_line(match[0], 120)}"
    return LaneError("nothing_to_boot", "guest", problem, "see logs/serial.log", evidence=place)


@rule("vga-none")
def no_display(seen: Evidence) -> LaneError | None:
    """A client is on the main channel and qemu offers it no display."""
    detail = seen.detail("frames")
    if not seen.in_session or detail.get("code") != "qemu_no_picture":
        return None
    problem = f"qemu has no display for the guest: {detail['cause']}"
    return LaneError("no_display", "qemu", problem, evidence="logs/qemu.log")


@rule("guest-without-agent", "agent-closed")
def agent_port_closed(seen: Evidence) -> LaneError | None:
    """ryll sees no agent; qemu knows which side is missing."""
    if not _agent_missing(seen) or seen.agent_port_open is not False:
        return None
    problem = f"the guest has not opened the agent's port{_limit(seen)} (query-chardev: frontend-open false)"
    return LaneError("agent_port_closed", "guest", problem, "see logs/serial.log", evidence=seen.serial_log)


@rule("ryll-denies-agent", "agent-late")
def agent_not_seen(seen: Evidence) -> LaneError | None:
    """The guest has the port open: it was late if ryll sees the agent by now, else ryll does not know."""
    if not _agent_missing(seen) or seen.agent_port_open is not True:
        return None
    if seen.agent_seen_now():
        problem = f"the guest opened the agent's port too late, not{_limit(seen)}; by now ryll sees the agent"
        return LaneError("agent_late", "guest", problem, evidence=seen.serial_log)
    problem = (
        "ryll does not see the guest's agent, although QMP says that the guest has the port open (query-chardev: "
        "frontend-open true)"
    )
    return LaneError("agent_not_seen", "ryll", problem, "see logs/ryll.log", evidence="logs/ryll.log")


@rule("one-colour-screen", "ryll-shows-one-colour")
def picture_wrong(seen: Evidence) -> LaneError | None:
    """ryll's screenshot has one colour: so has qemu's own picture, or it has a picture that was lost between them. The
    check `frames` says which.
    """
    detail = seen.detail("frames")
    code = PICTURE.get(detail.get("code", ""))
    if seen.blame["check"] != "screenshot" or code is None:
        return None
    return LaneError(code, detail["component"], detail["cause"], evidence="screenshot.png")


@rule("ryll-killed-mid-check")
def ryll_ended(seen: Evidence) -> LaneError | None:
    """ryll is gone, and nothing before it in the chain is."""
    gone = [g for g in seen.lost if g.entry.name == "ryll" and (g.entry.exit_status(seen.lane_dir) or 0) > 128]
    return gone[0].error() if gone else None


def _blames_guest(seen: Evidence) -> bool:
    """ryll was served and did not get to see what it should of the guest: a guest that has had its time, not one that
    still boots.
    """
    return seen.blame["component"] in ("guest", "firmware")


def _agent_missing(seen: Evidence) -> bool:
    blame = seen.blame  # agent_changed: it was there, and did not stay
    agent = blame["check"] == "status" and blame["component"] == "guest" and "agent" in str(blame["cause"])
    return agent and blame.get("code") != "agent_changed"


def _limit(seen: Evidence) -> str:
    """The limit that the failed step names."""
    found = re.search(r"within [\d.]+ s", str(seen.blame["cause"]))
    return f" {found[0]} of ryll's start" if found else " in time"
