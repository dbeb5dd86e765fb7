"""Who is really to blame: from what was seen of a red lane to component and cause.

Called while the lane is still up, so that processes, qemu and logs can be asked. Each rule is a small function that reads evidence and returns what it found,
or None; it names the faults of tests/faults/catalogue.yml that need it. The first that finds something decides. When none does, the component
that the failed task blamed stays, and the sentence says so: nothing here guesses. What the logs say and where is from facts/kerbside.md 8 and 11,
facts/ryll-control-socket.md 9 and 10, and facts/qemu.md 4 (docs/diagnosis.md).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core import bounded, check_report
from ..core.errors import PRODUCT, LaneError, one_line
from ..core.private_dir import handed_over
from ..lifecycle import proc
from ..programs import process
from ..protocols.qmp import Qmp
from .log_excerpt import readable

#: Seconds for each answer of qemu; one that is well takes milliseconds.
PATIENCE = 1.0
#: Less than this much room, in bytes, and mariadbd, qemu or a log cannot go on.
LEAST_ROOM = 1 << 20
LOG_BYTES = 1 << 20
COUNTED = 64 << 20  #: bytes before these in which lines are counted
UNKNOWN = "; no other part shows a fault"
#: A time stamp of the proxy and of ryll at the beginning of a line, or of kerbside's Python within its JSON; UTC.
STAMP = re.compile(r'^(?:\x1b\[[0-9;]*m)*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z|"ts": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z"')
#: MariaDB's server errors for a user who may not do what kerbside does (mariadb.com/kb: error codes), and the client's for no server.
DENIED = re.compile(r'\(\\*"?(1044|1045|1049|1142|1143|1227|1698), \\*["\'](.{0,200}?)\\*["\']\)')
UNREACHABLE = re.compile(r"\((2002|2003|2006|2013), ")
NO_SPACE = re.compile(r"No space left on device|Errcode: 28\b|os error 28\b|OS error(?: code)? 28\b|errno: 28\b|error 28\b", re.IGNORECASE)
#: What rustls calls a certificate's faults (rustls::CertificateError), and what they mean here.
CERTIFICATE = {
    "expired": "it has expired",
    "unknownissuer": "another CA signed it",
    "badsignature": "another CA signed it",
    "notvalidforname": "its subject is not the host subject that console.vv names",
}
NO_MEMORY = re.compile(r"Cannot allocate memory|cannot set up guest memory|Out of memory \(Needed|MemoryError")
#: The line of a cause below "Caused by:" in the errors of kerbside-proxy and ryll (Rust's anyhow).
CAUSE = re.compile(r"^ {4}(?: *\d+: )?(?=\S)")
SHELL = re.compile(r"UEFI Interactive Shell|Shell>|BdsDxe: (?:failed to load|No bootable option)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """What a rule says. evidence: a path below the lane's directory, with ":LINE" where one fits, or None."""

    component: str
    cause: str
    evidence: str | None = None


@dataclass(frozen=True)
class Line:
    """One line of a log: its file, number (0 in the end of a very long file), text and time (unix; that of the last stamp above it, or 0)."""

    file: str
    number: int
    text: str
    at: float

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}" if self.number else self.file


class Evidence:
    """What can be seen of a lane. blame: component, phase, check, cause, evidence as the failed task said them. Every look is made once."""

    def __init__(self, lane_dir: str, blame: dict[str, Any]) -> None:
        self.lane_dir = lane_dir
        self.blame = blame
        self.records = {r.name: r for r in process.records(lane_dir)}
        self.known = handed_over(lane_dir)

    @property
    def in_session(self) -> bool:
        """The failure came when ryll was to connect or had connected, so that what the logs say since ryll's start belongs to it."""
        return self.blame["phase"] in ("smoke", "") and "ryll" in self.records and (self.blame["component"] == "ryll" or self.blame["check"] is not None)

    @cached_property
    def lost(self) -> list[process.Lost]:
        return process.lost(self.lane_dir)

    def log(self, name: str) -> list[Line]:
        """What a program wrote since its start; of API and daemon, when ryll has failed, since ryll's start."""
        entry = self.records.get(name)
        if entry is None:
            return []
        lines = self._lines(entry.log, entry.log_start)
        if self.in_session and name in ("api", "daemon"):
            since = self.records["ryll"].started - 0.001
            lines = [line for line in lines if line.at >= since]
        return lines

    def _lines(self, path: str, start: int = 0) -> list[Line]:
        """The lines after `start` bytes, the last LOG_BYTES of them."""
        if (file := bounded.open_regular(path)) is None:
            return []
        with file:
            skipped = max(start, file.seek(0, os.SEEK_END) - LOG_BYTES)
            counted = skipped <= COUNTED
            file.seek(0 if counted else skipped)
            number = file.read(skipped).count(b"\n") if counted else 0
            text = file.read(LOG_BYTES).decode("utf-8", errors="replace")
        at, lines = 0.0, []
        for place, line in enumerate(text.splitlines(), number + 1):
            if stamp := STAMP.search(line):
                at = datetime.fromisoformat((stamp[1] or stamp[2])[:26]).replace(tzinfo=UTC).timestamp()
            lines.append(Line(path, place if counted else 0, line, at))
        return lines

    def find(self, name: str, pattern: str | re.Pattern[str]) -> tuple[Line, re.Match[str]] | None:
        """The first line of a program's log that matches."""
        for line in self.log(name):
            if match := re.search(pattern, line.text):
                return line, match
        return None

    @cached_property
    def qmp(self) -> dict[str, Any]:
        """qemu's answers by command; one that it did not give is missing."""
        entry = self.records.get("qemu")
        socket = os.path.join(self.lane_dir, "qmp.sock")
        if entry is None or not os.path.exists(socket):
            return {}
        answers: dict[str, Any] = {}
        try:
            with Qmp.connect(socket, PATIENCE) as qmp:
                for command in ("query-status", "query-chardev", "query-spice"):
                    answers[command] = qmp.execute(command)
        except LaneError as error:
            answers["silent"] = error.got
        return answers

    @property
    def guest_status(self) -> str | None:
        """QMP's word for the guest's state (running, paused, internal-error ...), or None when qemu does not say."""
        status = self.qmp.get("query-status", {}).get("status")
        return str(status) if status else None

    @property
    def agent_port_open(self) -> bool | None:
        """Whether the guest has the agent's port open, or None when qemu does not say."""
        return next((bool(c.get("frontend-open")) for c in self.qmp.get("query-chardev", []) if c.get("label") == "vdagent"), None)

    @cached_property
    def serial(self) -> str:
        return "\n".join(line.text for line in self._lines(self.serial_path))

    @property
    def serial_path(self) -> str:
        return os.path.join(self.lane_dir, "logs", "serial.log")

    @property
    def banner_came(self) -> bool:
        return str(self.known.get("lane_guest", {}).get("banner", "\0")) in self.serial

    @cached_property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The reports of the checks from outside, by name."""
        return {c["name"]: c for c in check_report.read(Path(self.lane_dir, "logs", "spine.json")).get("checks", [])}


Look = Callable[[Evidence], Found | None]
#: Name -> rule, in the order in which they are asked: what stops everything first, what only one connection shows last.
RULES: dict[str, Look] = {}
#: Name -> the faults of the catalogue that need it.
SEEDS: dict[str, tuple[str, ...]] = {}


def rule(*seeds: str) -> Callable[[Look], Look]:
    """Make a function a rule; seeds: faults that are blamed wrongly without it."""

    def keep(look: Look) -> Look:
        RULES[look.__name__] = look
        SEEDS[look.__name__] = seeds
        return look

    return keep


@rule("work-dir-full")
def no_room(seen: Evidence) -> Found | None:
    """The disk of the lane's directory is full: whoever fails then is not to blame."""
    room = os.statvfs(seen.lane_dir)
    told = next((found for name in seen.records if (found := seen.find(name, NO_SPACE))), None)
    free = room.f_bavail * room.f_frsize
    if told is None and free >= LEAST_ROOM:
        return None
    words = f", and {Path(told[0].file).stem} says: {one_line(readable(told[0].text), 160)}" if told else ""
    cause = f"expected room in {seen.lane_dir}, but {free // 1024} KiB are free{words}; look at df {seen.lane_dir}"
    return Found("environment", cause, told[0].place if told else None)


@rule("memory-too-small")
def no_memory(seen: Evidence) -> Found | None:
    """The machine does not give a program the memory that it asks for."""
    if seen.blame["component"] not in PRODUCT:
        return None
    told = next((found for name in seen.records if (found := seen.find(name, NO_MEMORY))), None)
    if told is None:
        return None
    name = Path(told[0].file).stem
    cause = f"expected the machine to have memory for {name}, but it says: {one_line(readable(told[0].text), 160)}; look at free -m and ulimit -v"
    return Found("host", cause, told[0].place)


@rule("certificate-v1", "key-of-another-certificate", "key-unreadable", "certificate-empty")
def proxy_refuses_its_certificate(seen: Evidence) -> Found | None:
    """The proxy ends at once because of its certificate or key; the daemon ends with it."""
    told = seen.find("daemon", r"^Error: (?:loading|opening) TLS |invalid peer certificate: ")
    if told is None or _running(seen, "daemon"):
        return None
    chain = [line for line in seen.log("daemon") if line.number > told[0].number and CAUSE.match(line.text)] or [told[0]]  # from the outermost to the root
    said = one_line(": ".join(CAUSE.sub("", readable(line.text)) for line in chain), 300)
    return Found("tls", f"expected kerbside-proxy to take its certificate, but it says: {said}; look at logs/daemon.log", chain[-1].place)


@rule("proxy-port-taken-late")
def port_was_taken(seen: Evidence) -> Found | None:
    """The proxy cannot listen because somebody else does."""
    told = seen.find("daemon", r"binding .* listener on (\S+)")
    if told is None or not seen.find("daemon", r"Address already in use"):
        return None
    port = int(told[1][1].rpartition(":")[2])
    owner = proc.listener(port) or "somebody who has gone since"
    return Found("environment", f"expected port {port} to be free for kerbside-proxy, but it was taken by {owner}; look at logs/daemon.log", told[0].place)


@rule("proxy-of-another-version")
def proxy_does_not_fit(seen: Evidence) -> Found | None:
    """The daemon asks the proxy for its contract before it starts it, and refuses one that answers otherwise or not at all."""
    told = seen.find("daemon", r"The kerbside-proxy binary at (\S+) does not match this kerbside version")
    if told is None or _running(seen, "daemon"):
        return None
    cause = f"expected kerbside-proxy to fit kerbside's version, but {told[1][1]} does not know its contract, and the daemon refuses to start it"
    return Found("proxy", f"{cause}; look at logs/daemon.log", told[0].place)


@rule("proxy-exits-at-once", "proxy-killed")
def proxy_died(seen: Evidence) -> Found | None:
    """The daemon ends because its child, the proxy, has; or it has not noticed yet."""
    whole = Evidence(seen.lane_dir, {**seen.blame, "component": "proxy", "check": None})  # the whole log: the proxy may have died before ryll started
    if told := whole.find("daemon", r"Rust proxy child died with exit code (-?\d+)"):
        how = process.returncode_words(int(told[1][1]))
        cause = f"expected kerbside-proxy to go on running, but it ended {how}, and the daemon with it; look at logs/daemon.log"
        return Found("proxy", cause, told[0].place)
    entry = seen.records.get("daemon")
    if entry and entry.ready_seconds is not None and entry.pid and not any(m.name == process.PROXY for m in proc.group_members(entry.group)):
        return Found("proxy", "expected kerbside-proxy to run as the daemon's child, but it is gone; look at logs/daemon.log", entry.log)
    return None


@rule("qemu-killed", "database-killed", "daemon-killed", "api-killed", "qemu-stopped", "database-stopped", "proxy-stopped", "guest-powers-off")
def program_lost(seen: Evidence) -> Found | None:
    """A program that was ready has ended or is stopped. ryll comes last in every chain and is looked at elsewhere."""
    for gone in seen.lost:
        if gone.entry.name == "ryll":
            continue
        error = gone.error()
        if gone.entry.name == "qemu" and gone.entry.exit_status(seen.lane_dir) == 0:
            got = "it ended with status 0: the guest switched itself off or reset the machine, which -no-reboot makes its end"
            return Found("guest", f"expected the guest to go on running, but {got}; look at logs/serial.log", seen.serial_path)
        return Found(gone.component, error.cause, error.evidence)
    return None


@rule("api-workers-die")
def workers_die(seen: Evidence) -> Found | None:
    """gunicorn goes on, and starts one worker after another that does not live long enough to answer."""
    gone = [line for line in seen.log("api") if re.search(r"Worker \(pid:\d+\) was sent SIG(?:KILL|SEGV|ABRT|BUS)", line.text)]
    if len(gone) < 2 or seen.blame["component"] != "kerbside":
        return None
    said = one_line(readable(gone[-1].text).rpartition("] ")[2], 120)
    cause = f"expected the workers of kerbside's API to go on running, but {len(gone)} were lost one after another, the last with: {said}"
    return Found("kerbside", f"{cause}; look at logs/api.log and dmesg", gone[-1].place)


@rule("database-grant-wrong")
def database_refuses(seen: Evidence) -> Found | None:
    """kerbside reaches its database, and the database refuses its user."""
    if seen.blame["component"] not in ("kerbside", "proxy", "ryll"):
        return None
    for name in ("schema", "api", "daemon"):
        if told := seen.find(name, DENIED):
            line, match = told
            got = f"it answers with error {match[1]}: {one_line(match[2], 160)}"
            return Found("database", f"expected the database to let kerbside in, but {got}; look at logs/{name}.log", line.place)
    return None


@rule("firewall-denies-channel")
def policy_denies(seen: Evidence) -> Found | None:
    """The proxy turns a channel away because kerbside's settings say so."""
    if not seen.in_session or not (told := seen.find("daemon", r'channel type not permitted by firewall policy.*?channel="?(\w+)')):
        return None
    cause = f"expected kerbside's firewall policy to permit every channel, but it denies {told[1][1]}; look at KERBSIDE_FIREWALL_PERMITTED_CHANNELS"
    return Found("kerbside", f"{cause} and logs/daemon.log", told[0].place)


@rule("ticket-wrong")
def ticket_refused(seen: Evidence) -> Found | None:
    """ryll and daemon both say PermissionDenied; in the daemon's log it means that qemu refused the ticket of sources.yaml."""
    if not seen.in_session or not (told := seen.find("daemon", r"hypervisor connection failed.*PermissionDenied")):
        return None
    return Found("kerbside", "expected the ticket in sources.yaml to be qemu's, but qemu refused it (PermissionDenied); look at logs/daemon.log", told[0].place)


@rule("sources-point-elsewhere")
def hypervisor_refuses(seen: Evidence) -> Found | None:
    """Nobody listens where the proxy dials: qemu's fault when that is qemu's port, kerbside's when it dials elsewhere."""
    if not seen.in_session or not (told := seen.find("daemon", r"hypervisor connection failed.*connecting to (\S+?): Connection refused")):
        return None
    port, own = int(told[1][1].rpartition(":")[2]), seen.qmp.get("query-spice", {}).get("port")
    if own and port != own:
        cause = f"expected kerbside-proxy to dial qemu's SPICE port {own}, but it dials {port} as sources.yaml tells it, where nobody listens"
        return Found("kerbside", f"{cause}; look at logs/daemon.log", told[0].place)
    return Found("qemu", f"expected qemu's SPICE server to listen on port {port}, but the connection is refused; look at logs/daemon.log", told[0].place)


@rule("console-token-unknown")
def token_denied(seen: Evidence) -> Found | None:
    """The proxy asked kerbside, and kerbside does not know the token of console.vv."""
    if not seen.in_session or not (told := seen.find("daemon", r"connection denied by control service.*reason=(.*)")):
        return None
    cause = f"expected kerbside to know the token in console.vv, but it denies it ({one_line(told[1][1], 80)}); look at logs/daemon.log"
    return Found("kerbside", cause, told[0].place)


@rule("certificate-expired", "certificate-of-another-ca", "certificate-of-another-subject")
def ryll_refuses_certificate(seen: Evidence) -> Found | None:
    """Only the client tells: kerbside serves whatever certificate it has."""
    if not seen.in_session or not (told := seen.find("ryll", r"invalid peer certificate: [^:]+|certificate does not allow extended key usage.*")):
        return None
    words = one_line(told[1][0], 120)
    meaning = next((meaning for word, meaning in CERTIFICATE.items() if word in words.lower()), "it refuses it")
    cause = f"expected the proxy's certificate to be good for ryll, but {meaning} ({words}); look at logs/ryll.log"
    return Found("tls", cause, told[0].place)


@rule("vv-points-at-qemu")
def proxy_bypassed(seen: Evidence) -> Found | None:
    """All is well but for the way: the counters stand still because ryll went to qemu."""
    check = seen.checks.get("path", {})
    if not seen.in_session or check.get("result") != "fail" or check.get("detail", {}).get("component") != "kerbside":
        return None
    return Found("kerbside", str(check["detail"]["cause"]), "handover/console.json")


@rule("guest-frozen-without-agent")
def guest_not_running(seen: Evidence) -> Found | None:
    """qemu is there, and its processor stands still."""
    status = seen.guest_status
    if status in (None, "running"):
        return None
    component = "qemu" if status in ("internal-error", "io-error") else "guest"
    return Found(component, f"expected the guest to be running, but QMP says that it is {status}; look at logs/serial.log", seen.serial_path)


@rule("firmware-cut")
def firmware_silent(seen: Evidence) -> Found | None:
    """The processor runs, and not a byte came on the serial port, on which OVMF's console writes first of all."""
    if seen.guest_status != "running" or seen.serial.strip() or not _blames_guest(seen):
        return None
    age = time.time() - seen.records["qemu"].started
    cause = f"expected the firmware's first words on the serial port, but in {age:.0f} s not a byte came while the processor runs"
    return Found("firmware", f"{cause}; look at sextant_vm_firmware_code and logs/serial.log", seen.serial_path)


@rule("image-empty")
def firmware_found_no_program(seen: Evidence) -> Found | None:
    """The firmware runs and ends in its own shell, because the disk has nothing that it can start."""
    if seen.banner_came or not _blames_guest(seen) or not (said := SHELL.search(seen.serial)):
        return None
    place = f"{seen.serial_path}:{seen.serial.count(chr(10), 0, said.start()) + 1}"
    words = one_line(seen.serial[said.start() :].split("\n", 1)[0], 120)
    return Found("guest", f"expected the firmware to start the guest from its disk, but it found nothing to start: {words}; look at logs/serial.log", place)


@rule("vga-none")
def no_display(seen: Evidence) -> Found | None:
    """A client is on the main channel and qemu offers it no display."""
    check = seen.checks.get("frames", {})
    if not seen.in_session or check.get("detail", {}).get("component") != "qemu" or "screendump" not in str(check.get("detail", {}).get("cause")):
        return None
    return Found("qemu", f"expected qemu to have a display for the guest, but it has none: {check['detail']['cause']}", "logs/qemu.log")


@rule("guest-without-agent", "agent-closed")
def agent_port_closed(seen: Evidence) -> Found | None:
    """ryll sees no agent; qemu knows which side is missing."""
    if not _agent_missing(seen) or seen.agent_port_open is not False:
        return None
    cause = "expected the guest to open the agent's port, but QMP says that it is closed on the guest's side (query-chardev: frontend-open false)"
    return Found("guest", f"{cause}; look at logs/serial.log", seen.serial_path)


@rule("ryll-denies-agent")
def agent_lost_on_the_way(seen: Evidence) -> Found | None:
    """The guest has the port open, and ryll does not know."""
    if not _agent_missing(seen) or seen.agent_port_open is not True:
        return None
    cause = "expected ryll to see the guest's agent, but it does not, while QMP says that the guest has the port open (query-chardev: frontend-open true)"
    return Found("ryll", f"{cause}; look at logs/ryll.log", "logs/ryll.log")


@rule("one-colour-screen")
def guest_draws_one_colour(seen: Evidence) -> Found | None:
    """What ryll shows is what qemu itself draws, so nothing on the way is to blame."""
    detail = seen.checks.get("frames", {}).get("detail", {})
    if seen.blame["check"] != "screenshot" or "both show nothing but" not in str(detail.get("cause")):
        return None
    return Found(str(detail["component"]), str(detail["cause"]), "screenshot.png")


@rule("ryll-shows-one-colour")
def picture_lost_on_the_way(seen: Evidence) -> Found | None:
    """The screenshot has one colour, and qemu's own screendump is a picture."""
    detail = seen.checks.get("frames", {}).get("detail", {})
    if seen.blame["check"] != "screenshot" or "pixels differ" not in str(detail.get("cause")):
        return None
    return Found(str(detail["component"]), str(detail["cause"]), "screenshot.png")


@rule("ryll-killed-mid-check")
def ryll_ended(seen: Evidence) -> Found | None:
    """ryll is gone, and nothing before it in the chain is."""
    if gone := next((g for g in seen.lost if g.entry.name == "ryll" and (g.entry.exit_status(seen.lane_dir) or 0) > 128), None):
        error = gone.error()
        return Found("ryll", error.cause, error.evidence)
    return None


def _running(seen: Evidence, name: str) -> bool:
    entry = seen.records.get(name)
    return entry is not None and entry.pid is not None


def _blames_guest(seen: Evidence) -> bool:
    """ryll was served and what it was to see of the guest did not come: a guest that has had its time, not one that still boots."""
    return seen.blame["component"] in ("guest", "firmware")


def _agent_missing(seen: Evidence) -> bool:
    return seen.blame["check"] == "status" and seen.blame["component"] == "guest" and "agent" in str(seen.blame["cause"])


def explain(lane_dir: str, blame: dict[str, Any], named: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the blame after looking at the evidence, what the diagnosis was made of: rule, component and cause as first blamed, what qemu and /proc say).

    named: the failed task named the component itself. A blame on the machine or on the lane then stays as it is: it was found where it is.
    """
    notes: dict[str, Any] = {"rule": None, "first": {key: blame[key] for key in ("component", "cause", "evidence")}}
    seen = Evidence(lane_dir, blame)
    if blame["component"] not in PRODUCT and named:
        return blame, notes
    for name, look in RULES.items():
        if found := look(seen):
            notes["rule"] = name
            blame = {**blame, "component": found.component, "cause": one_line(found.cause, 800), "evidence": found.evidence or blame["evidence"]}
            break
    else:
        if blame["component"] in PRODUCT:
            blame = {**blame, "cause": f"{blame['cause']}{UNKNOWN}"}
    notes["qmp"] = seen.__dict__.get("qmp")  # only if a rule has asked: a frozen qemu costs seconds
    notes["lost"] = [{"name": g.entry.name, "component": g.component, "what": g.what} for g in seen.lost]
    return blame, notes
