"""Rules of the diagnosis for a connection: between ryll, the proxy, kerbside and qemu, and what the guest shows through
it (rules.py).
"""

from __future__ import annotations

import os
import re
import stat
import time

from ..core.errors import one_line
from .log_excerpt import UNANSWERED, quoted
from .observed import Evidence
from .rules import Found, rule

#: What rustls calls a certificate's faults (rustls::CertificateError), and what they mean here.
CERTIFICATE = {
    "expired": "it has expired",
    "unknownissuer": "another CA signed it",
    "badsignature": "another CA signed it",
    "notvalidforname": "its subject is not the host subject that console.vv names",
}
SHELL = re.compile(r"UEFI Interactive Shell|Shell>|BdsDxe: (?:failed to load|No bootable option)", re.IGNORECASE)


@rule("channels-table-missing")
def control_service_failed(seen: Evidence) -> Found | None:
    """kerbside's control service could not answer its proxy, which can only refuse the client then."""
    if not seen.in_session or not (said := seen.find("daemon", UNANSWERED)):
        return None
    problem = f"kerbside could not answer its proxy: {quoted(said[0].text)}"
    return Found("control_service_failed", "kerbside", problem, "see logs/daemon.log", said[0].place)


@rule("firewall-denies-channel")
def channel_denied(seen: Evidence) -> Found | None:
    """The proxy denies a channel because kerbside's settings say so."""
    if not seen.in_session or not (
        said := seen.find("daemon", r'channel type not permitted by firewall policy.*?channel="?(\w+)')
    ):
        return None
    problem = f"kerbside's firewall policy denies the channel {said[1][1]}"
    return Found(
        "channel_denied",
        "kerbside",
        problem,
        "see KERBSIDE_FIREWALL_PERMITTED_CHANNELS and logs/daemon.log",
        said[0].place,
    )


@rule("ticket-wrong")
def ticket_refused(seen: Evidence) -> Found | None:
    """ryll and daemon both say PermissionDenied; in the daemon's log it means that qemu refused the ticket."""
    if not seen.in_session or not (said := seen.find("daemon", r"hypervisor connection failed.*PermissionDenied")):
        return None
    own = seen.read("secrets/spice_ticket").strip()
    whose = "qemu's" if own and seen.in_sources("ticket") == own else "another"
    problem = f"qemu refused the ticket that kerbside handed out (PermissionDenied); sources.yaml has {whose}"
    return Found("ticket_refused", "kerbside", problem, "see logs/daemon.log", said[0].place)


@rule("sources-point-elsewhere")
def spice_unreachable(seen: Evidence) -> Found | None:
    """Nothing listens where the proxy connects to: qemu's fault when that is qemu's port, kerbside's when it is
    another.
    """
    if not seen.in_session or not (
        said := seen.find("daemon", r"hypervisor connection failed.*connecting to (\S+?): Connection refused")
    ):
        return None
    port, own = int(said[1][1].rpartition(":")[2]), seen.qmp.get("query-spice", {}).get("port")
    if own and port != own:
        problem = (
            f"kerbside sends its proxy to port {port}, where nothing listens; qemu's SPICE port is {own}, and "
            f"sources.yaml says {seen.in_sources('insecure_port') or 'nothing'}"
        )
        return Found("spice_unreachable", "kerbside", problem, "see logs/daemon.log", said[0].place)
    return Found(
        "spice_unreachable",
        "qemu",
        f"qemu's SPICE server does not listen on port {port}",
        "see logs/daemon.log",
        said[0].place,
    )


@rule("qemu-wants-tls")
def spice_connection_failed(seen: Evidence) -> Found | None:
    """Whatever else the proxy says of its connection to qemu."""
    if not seen.in_session or not (said := seen.find("daemon", r"hypervisor connection failed.*?\berror=(.*)")):
        return None
    problem = f"kerbside-proxy's connection to qemu failed: {one_line(said[1][1], 200)}"
    return Found("spice_connection_failed", "qemu", problem, "see logs/daemon.log and logs/qemu.log", said[0].place)


@rule("console-taken")
def console_taken(seen: Evidence) -> Found | None:
    """qemu serves one client; another one that connects ends ryll's session. qemu's monitor shows whose connection it
    has, the daemon's log who came.
    """
    if not seen.in_session or not seen.sessions:
        return None
    _, session, _, _ = seen.sessions[0]
    own = {number for _, other, _, number in seen.sessions if other == session} - {0}
    held = {int(c.get("connection-id", 0)) & 0xFFFFFFFF for c in seen.qmp.get("query-spice", {}).get("channels") or []}
    mains = [(line, other) for line, other, channel, _ in seen.sessions if channel == "main"]
    if held and held & own and len(mains) < 2:
        return None
    if len(mains) > 1:
        line, other = mains[1]
        shown = " (query-spice shows its connection)" if held - own else ""
        problem = (
            f"another client took the console: kerbside connected session {other} to qemu after ryll's session "
            f"{session}{shown}"
        )
        return Found(
            "console_taken",
            "environment",
            problem,
            "see logs/daemon.log; use no other client while a lane is checked",
            line.place,
        )
    if held and own:
        problem = (
            "another client took the console: qemu's monitor (query-spice) shows a client that did not connect "
            "through kerbside"
        )
        return Found(
            "console_taken", "environment", problem, "use no other client while a lane is checked", "logs/daemon.log"
        )
    return None


@rule("console-token-unknown")
def console_token_denied(seen: Evidence) -> Found | None:
    """The proxy asked kerbside, and kerbside does not know the token of console.vv."""
    if not seen.in_session or not (said := seen.find("daemon", r"connection denied by control service.*reason=(.*)")):
        return None
    problem = f"kerbside denies the token in console.vv ({one_line(said[1][1], 80)})"
    return Found("console_token_denied", "kerbside", problem, "see logs/daemon.log", said[0].place)


@rule("certificate-expired", "certificate-of-another-ca", "certificate-of-another-subject")
def certificate_refused(seen: Evidence) -> Found | None:
    """Only the client reports it: kerbside serves whatever certificate it has."""
    if not seen.in_session or not (
        said := seen.find("ryll", r"invalid peer certificate: [^:]+|certificate does not allow extended key usage.*")
    ):
        return None
    words = one_line(said[1][0], 120)
    meaning = next((meaning for word, meaning in CERTIFICATE.items() if word in words.lower()), "see its words")
    return Found(
        "certificate_refused",
        "tls",
        f"ryll refuses the proxy's certificate: {meaning} ({words})",
        "see logs/ryll.log",
        said[0].place,
    )


@rule("vv-points-at-qemu")
def proxy_bypassed(seen: Evidence) -> Found | None:
    """Everything works except the path: the counters do not move because ryll connected to qemu."""
    check = seen.checks.get("path", {})
    if not seen.in_session or check.get("result") != "fail" or check.get("detail", {}).get("component") != "kerbside":
        return None
    return Found("proxy_bypassed", "kerbside", str(check["detail"]["cause"]), evidence="handover/console.json")


@rule("guest-frozen-without-agent")
def guest_not_running(seen: Evidence) -> Found | None:
    """qemu runs, and its processor does not."""
    status = seen.guest_status
    if status in (None, "running"):
        return None
    component = "qemu" if status in ("internal-error", "io-error") else "guest"
    return Found(
        "guest_not_running",
        component,
        f"the guest does not run: QMP says that it is {status}",
        "see logs/serial.log",
        seen.serial_path,
    )


@rule("serial-not-written")
def serial_not_written(seen: Evidence) -> Found | None:
    """A guest that was seen drawing has firmware, which writes to the serial port first of all: what is missing is the
    file.
    """
    if seen.serial.strip() or seen.blame["check"] != "banner" or not seen.drawn:
        return None
    try:
        status = os.stat(seen.serial_path)
        why = "it is empty" if stat.S_ISREG(status.st_mode) else "it is not a regular file"
    except OSError as error:
        why = str(error.strerror)
    problem = f"qemu did not write the serial log although the guest was seen drawing: {seen.serial_path}: {why}"
    return Found(
        "serial_not_written", "host", problem, "check lane_serial_log and the disk that it is on", seen.serial_path
    )


@rule("firmware-cut")
def firmware_silent(seen: Evidence) -> Found | None:
    """The processor runs, and there is not a byte on the serial port, to which OVMF writes first of all."""
    if seen.guest_status != "running" or seen.serial.strip() or seen.drawn or not _blames_guest(seen):
        return None
    age = time.time() - seen.records["qemu"].started
    problem = f"the firmware wrote not a byte to the serial port in {age:.0f} s, although the processor runs"
    return Found("firmware_silent", "firmware", problem, "check sextant_vm_firmware_code", seen.serial_path)


@rule("image-empty")
def nothing_to_boot(seen: Evidence) -> Found | None:
    """The firmware runs and ends in its own shell, because the disk has nothing that it can start."""
    if seen.banner_shown or not _blames_guest(seen) or not (said := SHELL.search(seen.serial)):
        return None
    place = f"{seen.serial_path}:{seen.serial.count(chr(10), 0, said.start()) + 1}"
    words = one_line(seen.serial[said.start() :].split("\n", 1)[0], 120)
    return Found(
        "nothing_to_boot",
        "guest",
        f"the firmware found nothing to start on the guest's disk: {words}",
        "see logs/serial.log",
        place,
    )


@rule("vga-none")
def no_display(seen: Evidence) -> Found | None:
    """A client is on the main channel and qemu offers it no display."""
    detail = seen.checks.get("frames", {}).get("detail", {})
    if not seen.in_session or detail.get("component") != "qemu" or "screendump" not in str(detail.get("cause")):
        return None
    return Found(
        "no_display", "qemu", f"qemu has no display for the guest: {detail['cause']}", evidence="logs/qemu.log"
    )


@rule("guest-without-agent", "agent-closed")
def agent_port_closed(seen: Evidence) -> Found | None:
    """ryll sees no agent; qemu knows which side is missing."""
    if not _agent_missing(seen) or seen.agent_port_open is not False:
        return None
    problem = f"the guest has not opened the agent's port{_limit(seen)} (query-chardev: frontend-open false)"
    return Found("agent_port_closed", "guest", problem, "see logs/serial.log", seen.serial_path)


@rule("ryll-denies-agent", "agent-late")
def agent_not_seen(seen: Evidence) -> Found | None:
    """The guest has the port open: it was late if ryll sees the agent by now, else ryll does not know."""
    if not _agent_missing(seen) or seen.agent_port_open is not True or seen.blame["component"] == "proxy":
        return None
    if seen.agent_seen_now():
        problem = f"the guest opened the agent's port too late, not{_limit(seen)}; by now ryll sees the agent"
        return Found("agent_late", "guest", problem, evidence=seen.serial_path)
    problem = (
        "ryll does not see the guest's agent, although QMP says that the guest has the port open (query-chardev: "
        "frontend-open true)"
    )
    return Found("agent_not_seen", "ryll", problem, "see logs/ryll.log", "logs/ryll.log")


@rule("one-colour-screen", "ryll-shows-one-colour")
def picture_wrong(seen: Evidence) -> Found | None:
    """ryll's screenshot has one colour: so has qemu's own picture, or it has a picture that was lost between them. The
    check `frames` says which.
    """
    detail = seen.checks.get("frames", {}).get("detail", {})
    cause = str(detail.get("cause"))
    code = next(
        (
            code
            for words, code in (("nothing but", "one_colour_screen"), ("pixels differ", "picture_differs"))
            if words in cause
        ),
        None,
    )
    if seen.blame["check"] != "screenshot" or code is None:
        return None
    return Found(code, str(detail["component"]), cause, evidence="screenshot.png")


@rule("ryll-killed-mid-check")
def ryll_ended(seen: Evidence) -> Found | None:
    """ryll is gone, and nothing before it in the chain is."""
    if gone := next(
        (g for g in seen.lost if g.entry.name == "ryll" and (g.entry.exit_status(seen.lane_dir) or 0) > 128), None
    ):
        return Found(gone.code, gone.component, gone.problem, "see logs/ryll.log", gone.evidence)
    return None


def _blames_guest(seen: Evidence) -> bool:
    """ryll was served and did not get to see what it should of the guest: a guest that has had its time, not one that
    still boots.
    """
    return seen.blame["component"] in ("guest", "firmware")


def _agent_missing(seen: Evidence) -> bool:
    agent = (
        seen.blame["check"] == "status" and seen.blame["component"] == "guest" and "agent" in str(seen.blame["cause"])
    )
    return agent and seen.blame.get("code") != "agent_changed"  # which was there, and did not stay


def _limit(seen: Evidence) -> str:
    """The limit that the failed step names."""
    found = re.search(r"within [\d.]+ s", str(seen.blame["cause"]))
    return f" {found[0]} of ryll's start" if found else " in time"
