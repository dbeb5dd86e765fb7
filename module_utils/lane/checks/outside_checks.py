"""Checks from outside ryll: the guest's banner, the proxy's counters, ryll's connections, and whether the picture that
came through the proxy is the one that a running guest draws (docs/smoke.md).

Each check is a function that returns its detail or raises LaneError.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import bounded
from ..core.errors import LaneError, one_line
from ..core.layout import Layout
from ..core.private_dir import Run, write_private
from ..lifecycle import proc
from ..programs import loss, records
from ..protocols import proxy_counters, serial_log
from ..protocols.qmp import Qmp, QmpRefused
from ..protocols.ryll import shots
from ..protocols.ryll.client import Client
from ..protocols.ryll.pictures import Difference, one_colour, to_png
from . import picture_compare

if TYPE_CHECKING:
    from PIL.Image import Image

POLL = 0.05
SERIAL = 1 << 20  #: bytes of the serial log that are read from its beginning, and from its end
#: difflib's ratio, from which on a line counts as another wording of the banner.
SIMILAR = 0.9
#: How often the picture is taken again while its size changes or too little of it stands still.
ATTEMPTS = 3
#: Seconds until ryll's picture has to equal qemu's: what the guest draws travels through qemu's refresh, the proxy and
#: ryll's decoder.
SETTLE = 2.0
#: QMP's words for a machine that cannot go on (qemu: qapi/run-state.json).
MACHINE_FAULTS = ("internal-error", "io-error")
AUTHORIZED = "kerbside_proxy_authorized_total"
RELAYED = "kerbside_proxy_bytes_relayed_total"
VERDICTS = "kerbside_proxy_firewall_verdicts_total"
#: SPICE's number of the display channel (spice-protocol, enums.h), as in query-spice.
DISPLAY_CHANNEL = 2


@dataclass
class Context(Layout):
    """The lane under test, and how patiently it is checked."""

    lane_dir: str
    run: Run
    banner: str
    banner_limit: float
    metrics_port: int
    proxy_port: int
    spice_port: int
    limit: float = 5.0  #: seconds for each answer of qemu, ryll or the proxy
    wait: bool = True  #: wait for what may still come, and watch all programs of the lane meanwhile
    lossy: bool = False  #: a lossy compression was asked for, so the picture may differ by what that explains
    session: bool = True  #: this command started ryll; otherwise one that is there is of an earlier command
    client: Client | None = None  #: an open connection to ryll, which serves one client at a time
    files: list[str] = field(default_factory=list)  #: the pictures that were written, below lane_dir

    def keep(self, name: str, picture: Image | None) -> None:
        """Write a picture to lane_dir as evidence, or remove an earlier one when there is none."""
        file = Path(self.lane_dir, f"{name}.png")
        if picture is None:
            file.unlink(missing_ok=True)
        else:
            write_private(file, to_png(picture))
            self.files.append(file.name)


def banner(context: Context) -> dict[str, Any]:
    """Wait for the guest's banner in the serial log, watching the lane's programs.

    Raises LaneError (guest, or the component of a program that is lost).
    """
    entry = records.record(context.lane_dir, "qemu")
    if entry is None:
        fix = "start one with ./lane up or ./lane --tags sextant_vm"
        raise LaneError("guest_not_started", "lane", "no guest was started in this lane", fix)
    checked = 0.0
    while True:
        text = (bounded.ends(context.serial_log, SERIAL, SERIAL) or b"").decode(errors="replace")
        if found := serial_log.find_banner(text, context.banner):
            return {"line": found[0], "text": one_line(found[1], 200)}
        gone = []
        if context.wait and time.monotonic() - checked > loss.CHECK_EVERY:
            gone, checked = loss.lost(context.lane_dir), time.monotonic()
        if not entry.running(context.run):  # looked at last, so that a qemu that ends meanwhile is named by this
            problem = f"qemu ended with status {entry.exit_status(context.lane_dir)} before the guest's banner"
            raise LaneError("qemu_ended", "qemu", problem, f"look at {entry.log}", evidence=entry.log)
        if gone:
            raise gone[0].error()
        if not context.wait or time.time() - entry.started > context.banner_limit:
            raise _no_banner(context, text)
        time.sleep(POLL)


def _no_banner(context: Context, text: str) -> LaneError:
    missing = (
        f"the guest's banner {context.banner!r} did not appear on the serial port within {context.banner_limit:g} s "
        "of its start"
    )
    look = f"look at {context.serial_log}"
    said = {one_line(line, 200): number for number, line in reversed(serial_log.lines(text))}
    if similar := difflib.get_close_matches(context.banner, said, 1, SIMILAR):
        problem = f"{missing}: it says {similar[0]!r}"
        fix = f"{look}, or correct banner in guests.yml if this is what the guest should say"
        evidence = f"{context.serial_log}:{said[similar[0]]}"
        return LaneError("guest_other_banner", "guest", problem, fix, evidence=evidence)
    last = f"the last line is {next(iter(said))!r}" if said else "nothing was printed at all"
    evidence = f"{context.serial_log}:{text.count(chr(10)) + 1}"
    return LaneError("guest_no_banner", "guest", f"{missing}: {last}", look, evidence=evidence)


def counters(context: Context) -> dict[str, Any]:
    """The proxy has authorised a connection since console.vv was fetched, relayed bytes both ways, and given no
    firewall verdict.

    Raises LaneError (proxy) for what did not move.
    """
    try:
        before = json.loads(Path(context.counters_file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"the proxy's counters from before this session are not in {context.counters_file}"
        raise LaneError("counters_before_missing", "lane", problem, "start the lane with ./lane up") from None
    after = proxy_counters.scrape(context.metrics_port, context.limit)
    moved = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in sorted({*after, *before})}
    fix = f"look at http://{context.address}:{context.metrics_port}/metrics and logs/daemon.log"

    def still(name: str) -> str:
        return f"{name} did not rise ({before.get(name, 0):g} before, {after.get(name, 0):g} now)"

    if moved.get(AUTHORIZED, 0) < 1:
        problem = f"the proxy authorised no connection in this session: {still(AUTHORIZED)}"
        raise LaneError("proxy_authorized_nothing", "proxy", problem, fix)
    for way in ("client_to_server", "server_to_client"):
        if moved.get(name := f"{RELAYED}{{direction={way}}}", 0) <= 0:
            problem = f"the proxy relayed no bytes {way.replace('_', ' ')}: {still(name)}"
            raise LaneError("proxy_relayed_nothing", "proxy", problem, fix)
    if verdicts := [name for name, count in moved.items() if name.startswith(VERDICTS) and count > 0]:
        problem = f"the proxy's firewall gave a verdict: {', '.join(verdicts)} rose"
        raise LaneError("proxy_firewall_verdict", "proxy", problem, fix)
    return {"before": before, "after": after}


def path(context: Context) -> dict[str, Any]:
    """ryll is connected to the proxy and to nothing else.

    Raises LaneError (kerbside for a connection to qemu, ryll for none to the proxy).
    """
    entry = records.record(context.lane_dir, "ryll") if context.session else None
    members = proc.group_members(entry.group) if entry and entry.running(context.run) else []
    if not members:
        raise _not_running()
    inodes = proc.socket_inodes(p.pid for p in members)
    remotes = sorted(c.remote for c in proc.connections() if c.inode in inodes and c.state == proc.ESTABLISHED)
    shown = [f"{address}:{port}" for address, port in remotes]
    if any(port == context.spice_port for _, port in remotes):
        problem = f"ryll is connected to qemu itself, on port {context.spice_port}, past the proxy"
        raise LaneError("proxy_bypassed", "kerbside", problem, "look at handover/console.json")
    if (context.address, context.proxy_port) not in remotes:
        problem = f"ryll has no TCP connection to kerbside-proxy on port {context.proxy_port}"
        problem += f"; it is connected to {', '.join(shown) or 'nothing'}"
        raise LaneError("proxy_not_connected", "ryll", problem, "look at logs/ryll.log")
    return {"remotes": shown}


def _not_running() -> LaneError:
    return LaneError("ryll_not_running", "ryll", "ryll is not running while it is checked", "look at logs/ryll.log")


def frames(context: Context) -> dict[str, Any]:
    """The guest runs, and ryll shows what qemu itself draws, pixel by pixel.

    Raises LaneError: guest when it does not run or has drawn nothing, qemu when it has no picture, proxy when no
    display channel of SPICE is up, else ryll, until there was a second look (smoke.py).
    """
    loss.check_alive(context.lane_dir)
    with Qmp.connect(context.qmp_socket, context.limit) as qmp:
        status = qmp.execute("query-status")["status"]
        if status != "running":
            component = "qemu" if status in MACHINE_FAULTS else "guest"
            problem = f"the guest is not running: QMP says {status}"
            raise LaneError("guest_not_running", component, problem, f"ask query-status on {context.qmp_socket}")
        until = time.monotonic() + (SETTLE if context.wait else 0)
        while True:
            shown, drawn, difference = _same_moment(context, qmp)
            equal = difference.accepted(context.lossy)
            colour = one_colour(shown)
            if (equal and not colour) or time.monotonic() > until:
                break
            time.sleep(SETTLE / 20)
        context.keep("screenshot", shown)
        context.keep("screendump", None if equal else drawn)
        context.keep("difference", None if equal else difference.picture)
        if not equal:
            problem = f"ryll does not show the picture that qemu itself draws: {difference}"
            fix = "compare screenshot.png, screendump.png and difference.png"
            raise LaneError("picture_differs", _responsible(qmp, drawn), problem, fix, evidence="screenshot.png")
        if colour:
            problem = f"the guest has drawn nothing: qemu and ryll both show nothing but {colour}"
            raise LaneError("guest_one_colour", "guest", problem, "look at screenshot.png", evidence="screenshot.png")
        seen = {"compared": difference.compared, "differing": difference.differing, "mean": round(difference.mean, 3)}
        return {"status": status, "size": picture_compare.size(shown), **seen}


def digest(context: Context) -> dict[str, Any]:
    """The pixels that came through the proxy have the CRC32C that the guest itself shows in its QR code.

    The cursor blinks, and each blink is another frame: a picture that shows half of one does not fit its digest, and
    the next one has another frame counter. Raises LaneError: guest for a missing or unknown digest, and for pixels that
    qemu has drawn like that; else ryll or the proxy.
    """
    from . import sextant_digest

    until = time.monotonic() + (SETTLE if context.wait else 0)
    before = None
    while True:
        shown = screenshot(context)
        try:
            found = sextant_digest.read(shown)
            return {"size": picture_compare.size(shown), "frame": found.frame, "crc32c": f"{found.crc:08x}"}
        except sextant_digest.BadDigest as error:
            wrong = error
        now = (wrong.digest.frame, shown.tobytes()) if wrong.digest else None
        if (now and now == before) or time.monotonic() > until:
            break
        before = now
        time.sleep(SETTLE / 20)
    component = "guest"
    if wrong.digest:
        with Qmp.connect(context.qmp_socket, context.limit) as qmp:
            _, drawn, difference = _same_moment(context, qmp)
            component = "guest" if difference.accepted(context.lossy) else _responsible(qmp, drawn)
    context.keep("screenshot", shown)
    raise LaneError(wrong.code, component, str(wrong), "look at screenshot.png", evidence="screenshot.png")


def shows_the_truth(context: Context, client: Client) -> bool:
    """Whether a client shows what qemu draws."""
    with Qmp.connect(context.qmp_socket, context.limit) as qmp:
        return _same_moment(replace(context, client=client), qmp)[2].accepted(context.lossy)


def _same_moment(context: Context, qmp: Qmp) -> tuple[Image, Image, Difference]:
    """(what ryll shows, what qemu draws, how they differ), when enough stands still around the moment.

    Raises LaneError (ryll) when it never does.
    """
    for _ in range(ATTEMPTS):
        before, shown, after = screendump(context.lane_dir, qmp), screenshot(context), screendump(context.lane_dir, qmp)
        if difference := picture_compare.same_moment(shown, before, after):
            return shown, after, difference
    sizes = [picture_compare.size(picture) for picture in (before, shown, after)]
    why = f"their sizes are {', '.join(sizes)}" if len(set(sizes)) > 1 else "too little of the picture stands still"
    problem = f"ryll's picture could not be compared with qemu's in {ATTEMPTS} attempts: {why}"
    raise LaneError("picture_unstable", "ryll", problem, "look at logs/ryll.log")


def _responsible(qmp: Qmp, drawn: Image) -> str:
    """The component to blame for a difference: the guest when qemu's own picture is empty, the proxy when SPICE has no
    display channel up, else ryll.
    """
    if one_colour(drawn):
        return "guest"
    channels = qmp.execute("query-spice").get("channels") or []
    return "ryll" if any(c.get("channel-type") == DISPLAY_CHANNEL for c in channels) else "proxy"


def screendump(lane_dir: str, qmp: Qmp) -> Image:
    """What qemu draws at this moment. Raises LaneError (qemu) when it has no picture."""
    file = Path(lane_dir, "tmp", "screendump.ppm")
    try:
        qmp.execute("screendump", {"filename": str(file)})
        return picture_compare.read_screendump(file.read_bytes())
    except QmpRefused as error:
        problem = f"qemu refused the screendump: {one_line(error.description, 200)}"
    except FileNotFoundError:
        problem = f"qemu wrote no screendump to {file}"
    finally:
        file.unlink(missing_ok=True)
    raise LaneError("qemu_no_picture", "qemu", problem, "look at logs/qemu.log")


def screenshot(context: Context) -> Image:
    """What ryll shows at this moment, as RGBA so that the guest's pixels come as they are."""
    if not context.session:
        raise _not_running()
    deadline = time.monotonic() + context.limit
    if context.client:
        return shots.now(context.client, deadline)
    with Client(context.control_socket) as ryll:
        ryll.open("kerbside-lane", deadline)
        return shots.now(ryll, deadline)


CHECKS: dict[str, Callable[[Context], dict[str, Any]]] = {
    "banner": banner,
    "counters": counters,
    "path": path,
    "frames": frames,
    "digest": digest,
}


def run_checks(context: Context, names: list[str]) -> tuple[list[dict[str, Any]], LaneError | None]:
    """Run every named check, also after one has failed. Returns their entries for result.json and the first failure."""
    entries, first = [], None
    for name in names:
        began = time.monotonic()
        entry: dict[str, Any] = {"name": name, "result": "pass", "started": round(time.time(), 6)}
        try:
            entry["detail"] = CHECKS[name](context)
        except LaneError as error:
            error.check = name
            entry.update(result="fail", detail=failure(error))
            first = first or error
        entry["seconds"] = round(time.monotonic() - began, 3)
        entries.append(entry)
    return entries, first


def failure(error: LaneError) -> dict[str, Any]:
    """The detail of a failed check."""
    return {"cause": error.cause, "component": error.component, "code": error.code}
