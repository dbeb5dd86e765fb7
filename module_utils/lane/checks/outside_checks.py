"""What has to be seen of the spine from outside ryll: the guest's banner, the proxy's counters, the way that ryll's connections go, and that
the picture which came through the proxy is the one that a running guest draws.

These are points 4 to 7 of the smoke check (docs/smoke.md). Each check is a function that returns its detail or raises LaneError.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import bounded
from ..core.errors import LaneError, legacy_error, one_line
from ..core.private_dir import Run, write_private
from ..lifecycle import proc
from ..programs import loss, records
from ..protocols import proxy_counters
from ..protocols.qmp import Qmp, QmpRefused
from ..protocols.ryll.client import Client
from ..protocols.ryll.replies import Shot
from . import picture_compare

POLL = 0.05
SERIAL = 1 << 20  #: bytes of the serial log that are read from its beginning, and from its end
#: difflib's ratio, from which on a line is taken for another wording of the banner.
ALIKE = 0.9
#: How often the picture is taken again while its size changes or too little of it stands still.
ATTEMPTS = 3
#: Seconds in which ryll's picture may come to be qemu's: what the guest draws travels through qemu's refresh, the proxy and ryll's decoder.
SETTLE = 2.0
#: QMP's words for a processor that does not run because the machine could not go on (qemu: qapi/run-state.json).
MACHINE_FAULTS = ("internal-error", "io-error")
AUTHORIZED = proxy_counters.flat("kerbside_proxy_authorized_total")
RELAYED = {way: proxy_counters.flat("kerbside_proxy_bytes_relayed_total", (("direction", way),)) for way in ("client_to_server", "server_to_client")}
#: SPICE's number of the display channel (spice-protocol, enums.h), as in query-spice.
DISPLAY_CHANNEL = 2
VERDICTS = "kerbside_proxy_firewall_verdicts_total"


@dataclass(frozen=True)
class Spine:
    """Where to look."""

    lane_dir: str
    run: Run
    serial_log: str
    banner: str
    banner_limit: float
    address: str
    metrics_port: int
    proxy_port: int
    spice_port: int
    counters_file: str
    qmp_socket: str = ""
    control_socket: str = ""
    limit: float = 5.0  #: seconds for each answer of qemu, ryll or the proxy
    watch: bool = True  #: wait for the banner, and meanwhile watch all programs of the lane
    files: list[str] = field(default_factory=list)  #: the pictures that were written, below lane_dir


def banner(spine: Spine) -> dict[str, Any]:
    """Wait for the guest's banner in the serial log, watching the lane's programs. Raises LaneError (guest, or the component of a program that is lost)."""
    expected = f"the guest's banner {spine.banner!r} on the serial port within {spine.banner_limit:g} s of its start"
    entry = records.record(spine.lane_dir, "qemu")
    if entry is None:
        raise legacy_error("lane", expected, "no guest was started", "--tags sextant_vm")
    looked = 0.0
    while True:
        text = _read(spine.serial_log)
        position = text.find(spine.banner)
        if position >= 0:
            return {"line": text.count("\n", 0, position) + 1, "text": one_line(text[position:].split("\n", 1)[0], 200)}
        where = f"{spine.serial_log}:{text.count(chr(10)) + 1}"
        if not entry.running(spine.run):
            status = entry.exit_status(spine.lane_dir)
            raise legacy_error("qemu", expected, f"qemu has ended (status {status})", entry.log, evidence=entry.log)
        if spine.watch and time.monotonic() - looked > loss.CHECK_EVERY:
            loss.check_alive(spine.lane_dir)
            looked = time.monotonic()
        if not spine.watch or time.time() - entry.started > spine.banner_limit:
            lines = [one_line(line, 200) for line in text.rstrip().split("\n")]
            if alike := difflib.get_close_matches(spine.banner, lines, 1, ALIKE):
                look = f"{spine.serial_log}, or banner in fixtures/guests.yml if this is what the guest is to say"
                raise legacy_error("guest", expected, f"it says {alike[0]!r}", look, evidence=f"{spine.serial_log}:{lines.index(alike[0]) + 1}")
            came = f"the last that came is {lines[-1]!r}" if lines[-1] else "nothing came at all"
            raise legacy_error("guest", expected, came, spine.serial_log, evidence=where)
        time.sleep(POLL)


def _read(path: str) -> str:
    return (bounded.ends(path, SERIAL, SERIAL) or b"").decode(errors="replace")


def counters(spine: Spine) -> dict[str, Any]:
    """The proxy has authorised a connection since console.vv was fetched, relayed bytes both ways, and given no firewall verdict.

    Raises LaneError (proxy) for what did not move.
    """
    try:
        before = json.loads(Path(spine.counters_file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise legacy_error("lane", "the counters from before this session", f"there is no {spine.counters_file}", "./lane up") from None
    after = proxy_counters.scrape(spine.address, spine.metrics_port, spine.limit)
    moved = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in sorted({*after, *before})}
    detail = {"before": before, "after": after}
    where = f"http://{spine.address}:{spine.metrics_port}/metrics and logs/daemon.log"
    if moved.get(AUTHORIZED, 0) < 1:
        raise legacy_error("proxy", "at least one connection authorised in this session", f"{AUTHORIZED} did not move", where)
    for way, name in RELAYED.items():
        if moved.get(name, 0) <= 0:
            raise legacy_error("proxy", f"bytes relayed {way.replace('_', ' ')}", f"{name} did not move", where)
    verdicts = {name: count for name, count in moved.items() if name.startswith(VERDICTS) and count > 0}
    if verdicts:
        raise legacy_error("proxy", "no firewall verdict", f"the proxy counted {', '.join(verdicts)}", where)
    return detail


def path(spine: Spine) -> dict[str, Any]:
    """ryll is connected to the proxy and to nobody else. Raises LaneError (kerbside when it went to qemu, ryll when to nobody)."""
    entry = records.record(spine.lane_dir, "ryll")
    members = proc.group_members(entry.group) if entry and entry.running(spine.run) else []
    if not members:
        raise legacy_error("ryll", "ryll to be connected while it is checked", "it does not run", "logs/ryll.log")
    inodes = proc.socket_inodes(p.pid for p in members)
    remotes = sorted(c.remote for c in proc.connections() if c.inode in inodes and c.state == proc.ESTABLISHED)
    detail = {"remotes": [f"{address}:{port}" for address, port in remotes]}
    if any(port == spine.spice_port for _, port in remotes):
        raise legacy_error("kerbside", "no TCP connection from ryll to qemu", f"one goes to port {spine.spice_port}", "handover/console.json")
    if (spine.address, spine.proxy_port) not in remotes:
        raise legacy_error(
            "ryll", f"a TCP connection from ryll to kerbside-proxy on port {spine.proxy_port}", f"it is connected to {detail['remotes']}", "logs/ryll.log"
        )
    return detail


def picture(spine: Spine) -> dict[str, Any]:
    """The guest runs, and ryll shows what qemu itself draws, but for what lossy packing explains.

    Raises LaneError: guest when it does not run or has drawn nothing, qemu when it has no picture, proxy when no display channel of SPICE is up, else ryll.
    """
    expected = "ryll to show the picture that qemu itself draws"
    loss.check_alive(spine.lane_dir)
    with Qmp.connect(spine.qmp_socket, spine.limit) as qmp:
        status = qmp.execute("query-status")["status"]
        if status != "running":
            component = "qemu" if status in MACHINE_FAULTS else "guest"
            raise legacy_error(component, "the guest to be running", f"QMP says that it is {status}", f"query-status on {spine.qmp_socket}")
        until = time.monotonic() + (SETTLE if spine.watch else 0)
        while True:
            shown, drawn, difference = _same_moment(spine, qmp, expected)
            if (difference.explained and not shown.one_colour) or time.monotonic() > until:
                break
            time.sleep(SETTLE / 20)
        _keep(spine, shown, None if difference.explained else drawn)
        if not difference.explained:
            raise legacy_error(_whose(qmp, drawn), expected, str(difference), "screenshot.png and screendump.png", evidence="screenshot.png")
        if shown.one_colour:
            got = f"qemu and ryll both show nothing but {shown.one_colour}"
            raise legacy_error("guest", "the guest to draw a picture of more than one colour", got, "screenshot.png", evidence="screenshot.png")
        return {"status": status, "size": shown.size, "compared": difference.compared, "other": difference.other, "mean": round(difference.mean, 3)}


def _same_moment(spine: Spine, qmp: Qmp, expected: str) -> tuple[picture_compare.Picture, picture_compare.Picture, picture_compare.Difference]:
    """(what ryll shows, what qemu draws, how they differ), when enough stands still around the moment to tell. Raises LaneError (ryll) when it never does."""
    for _ in range(ATTEMPTS):
        before, shown, after = dump(spine.lane_dir, qmp), _screenshot(spine), dump(spine.lane_dir, qmp)
        if not shown.size == before.size == after.size:
            continue
        difference = picture_compare.compare(shown, before, after)
        if difference.compared >= picture_compare.LEAST_STILL * difference.of:
            return shown, after, difference
    got = f"their sizes are {before.size}, {shown.size} and {after.size}" if shown.size != after.size else "too little of it stands still to tell"
    raise legacy_error("ryll", f"{expected}, in {ATTEMPTS} attempts", got)


def _keep(spine: Spine, shown: picture_compare.Picture, drawn: picture_compare.Picture | None) -> None:
    """Keep ryll's picture as the evidence, since the one that ryll_session took may be older than the guest's; and qemu's where they differ."""
    for picture, name in ((shown, "screenshot.png"), (drawn, "screendump.png")):
        if picture:
            write_private(Path(spine.lane_dir, name), picture_compare.png(picture))
            spine.files.append(name)


def _whose(qmp: Qmp, dump: picture_compare.Picture) -> str:
    """The component that a difference is to be blamed on: qemu's picture is empty, SPICE has no display channel up, or what comes is shown wrong."""
    if dump.one_colour:
        return "guest"
    channels = qmp.execute("query-spice").get("channels") or []
    return "ryll" if any(c.get("channel-type") == DISPLAY_CHANNEL for c in channels) else "proxy"


def dump(lane_dir: str, qmp: Qmp) -> picture_compare.Picture:
    """What qemu draws at this moment. Raises LaneError (qemu) when it has no picture."""
    file = Path(lane_dir, "tmp", "screendump.ppm")
    try:
        qmp.execute("screendump", {"filename": str(file)})
        return picture_compare.from_ppm(file.read_bytes())
    except QmpRefused as error:
        said = one_line(error.description, 200)
        raise legacy_error("qemu", "qemu to have a picture of its own", f"it refused the screendump: {said}", "logs/qemu.log") from None
    except FileNotFoundError:
        raise legacy_error("qemu", f"qemu to write its screendump to {file}", "there is none") from None
    finally:
        file.unlink(missing_ok=True)


def _screenshot(spine: Spine) -> picture_compare.Picture:
    deadline = time.monotonic() + spine.limit
    with Client(spine.control_socket) as ryll:
        ryll.open("kerbside-lane", deadline)
        shot = Shot.read(ryll.request("screenshot", {"surface_id": 0, "format": "rgba"}, deadline))
    return picture_compare.from_rgba(shot.width, shot.height, shot.data)


CHECKS: dict[str, Callable[[Spine], dict[str, Any]]] = {"banner": banner, "counters": counters, "path": path, "frames": picture}


def run_checks(spine: Spine, names: list[str]) -> tuple[list[dict[str, Any]], LaneError | None]:
    """Run every named check, also after one has failed. Returns their entries for result.json and the first failure."""
    entries, first = [], None
    for name in names:
        begun = time.monotonic()
        entry: dict[str, Any] = {"name": name, "result": "pass", "started": round(time.time(), 6)}
        try:
            entry["detail"] = CHECKS[name](spine)
        except LaneError as error:
            error.check = name
            entry.update(result="fail", detail={"cause": error.cause, "component": error.component})
            first = first or error
        entry["seconds"] = round(time.monotonic() - begun, 3)
        entries.append(entry)
    return entries, first
