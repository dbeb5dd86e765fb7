"""The checks from outside, against real processes, sockets and an HTTP server."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.lane.checks import outside_checks, sextant_digest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import run_state
from ansible.module_utils.lane.programs import loss, records
from ansible.module_utils.lane.protocols import serial_log
from http_api import api
from lanes import HELD, TestLane
from PIL import Image
from prepared import fails

CONNECT = "import socket,time; s=[socket.create_connection(('127.0.0.1', int(p))) for p in {!r}]; time.sleep(60)"
MOVED = (
    "kerbside_proxy_authorized_total 4\n"
    'kerbside_proxy_bytes_relayed_total{direction="client_to_server"} 312\n'
    'kerbside_proxy_bytes_relayed_total{direction="server_to_client"} 260643\n'
)


AUTHORIZED, RELAYED = "kerbside_proxy_authorized_total", "kerbside_proxy_bytes_relayed_total{direction=%s}"


def where(lane: TestLane, **more: object) -> outside_checks.Context:
    counters = Path(lane.dir, "counters-before.json")
    if not counters.exists():
        counters.write_text("{}")
    guest = {"lane_dir": lane.dir, "run": lane.run, "banner": "guest: ready", "banner_limit": 5.0}
    ports = {"metrics_port": 1, "proxy_port": 2, "spice_port": 3}
    return outside_checks.Context(**{**guest, **ports, **more})


def test_the_banner_is_waited_for(lane):
    lane.start(lane.program("qemu", "sleep 0.3; printf 'noise\\nguest: ready 1\\n' > logs/serial.log; exec sleep 60"))
    assert outside_checks.banner(where(lane)) == {"line": 2, "text": "guest: ready 1"}


FIRMWARE = '\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001 "UEFI"\r\nBdsDxe: starting Boot0001 "UEFI" from PciRoot(0x0)\r\n'
CURSOR_MOVED = f"{FIRMWARE[:-2]}\x1b[03;01HHello from it\r\n"
BANNERS: dict[str, tuple[str, str, tuple[int, str] | None]] = {
    "in the middle of a line": ("one\nnow guest: ready 1\r\n", "guest: ready", (2, "guest: ready 1")),
    "after the firmware": (f"{FIRMWARE}\x1b[0mHello from it\r\nmore\n", "Hello from", (3, "Hello from it")),
    "on the firmware's last line, after an escape sequence": (CURSOR_MOVED, "Hello from", (2, "Hello from it")),
    "twice": ("Hello from it\nHello from me\n", "Hello from", (1, "Hello from it")),
    "of the firmware": (FIRMWARE, "starting Boot", None),
    "only before the firmware's handover": (f"Hello from it\n{FIRMWARE}", "Hello from", None),
    "only of an earlier boot": (f"{FIRMWARE}Hello from it\n{FIRMWARE}", "Hello from", None),
    "not there": ("guest: starting\n", "guest: ready", None),
    "in a shell": ("Shell> Hello from it\n", "Hello from", None),
}


@pytest.mark.parametrize(("text", "banner", "found"), BANNERS.values(), ids=BANNERS)
def test_a_banner_is_the_guests_own(text, banner, found):
    assert serial_log.find_banner(text, banner) == found


def test_what_the_firmware_says_is_known():
    its_own = ["BdsDxe", "starting boot", "Interactive Shell", "X64 Exception", "TianoCore", "No mapping"]
    assert [text for text in its_own if not serial_log.firmware_says(text)] == []
    guests = ["Hello from Uncalibrated Sextant", "pocket-sextant 1.0: ready"]
    assert [text for text in guests if serial_log.firmware_says(text)] == []


@pytest.mark.parametrize(
    ("serial_text", "banner", "code", "line", "words"),
    [
        ("one\nguest: starting\n", "guest: ready", "guest_no_banner", 3, "the last line is 'guest: starting'"),
        ("\r\none\r\nguest: ready!\r\nmore\r\n", "guest: ready?", "guest_other_banner", 3, "it says 'guest: ready!'"),
        ("", "guest: ready", "guest_no_banner", 1, "nothing was printed at all"),
    ],
    ids=["none", "another", "silence"],
)
def test_a_banner_that_does_not_come(lane, serial_text, banner, code, line, words):
    Path(lane.dir, "logs/serial.log").write_text(serial_text, newline="")
    lane.start(lane.program("qemu", "exec sleep 60"))
    for more in ({"banner_limit": 0.4}, {"banner_limit": 60.0, "wait": False}):
        with fails(code, "guest", words) as caught:
            outside_checks.banner(where(lane, banner=banner, **more))
        assert caught.value.evidence == f"{lane.dir}/logs/serial.log:{line}"


def test_a_qemu_that_ends_and_a_program_that_is_lost(lane):
    with fails("guest_not_started", "lane"):
        outside_checks.banner(where(lane))
    lane.start(lane.program("qemu", f"{HELD}exit 7"))
    lane.release(0.3)
    with fails("qemu_ended", "qemu", "qemu ended with status 7"):
        outside_checks.banner(where(lane, banner_limit=60))
    lane.start(lane.program("qemu", "exec sleep 60"), lane.program("api", f"{HELD}exit 3"))
    lane.release(0.3)
    with fails("program_ended", "kerbside"):
        outside_checks.banner(where(lane, banner_limit=60))
    with fails("guest_no_banner", "guest"):  # who does not wait does not watch the others
        outside_checks.banner(where(lane, wait=False))


def test_a_qemu_that_ends_while_all_programs_are_looked_at(lane, monkeypatch):
    lane.start(lane.program("qemu", f"{HELD}exit 7"))
    look, entry = loss.lost, records.record(lane.dir, "qemu")

    def late(lane_dir: str, apart: tuple[str, ...] = ()) -> list[loss.Lost]:
        lane.release()
        assert run_state.until(lambda: not entry.running(lane.run), 30)
        return look(lane_dir, apart)

    monkeypatch.setattr(loss, "lost", late)
    with fails("qemu_ended", "qemu", "qemu ended with status 7"):
        outside_checks.banner(where(lane, banner_limit=60))


def test_a_counter_that_rose_by_one_is_enough_and_an_old_verdict_is_none(lane):
    verdict = "kerbside_proxy_firewall_verdicts_total"
    old = {AUTHORIZED: 3, RELAYED % "client_to_server": 311, verdict: 1}
    Path(lane.dir, "counters-before.json").write_text(json.dumps(old))
    with api(lambda n, auth: (200, MOVED + f"{verdict} 1")) as port:
        detail = outside_checks.counters(where(lane, metrics_port=port))
    assert (detail["before"], detail["after"][AUTHORIZED]) == (old, 4)


def test_without_the_counters_of_before_nothing_can_be_said(lane):
    context = where(lane)
    Path(context.counters_file).unlink()
    with fails("counters_before_missing", "lane"):
        outside_checks.counters(context)


CAPPED = 'kerbside_proxy_firewall_verdicts_total{rule="size_cap"} 1'


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ({}, "", "proxy_authorized_nothing", "_authorized_total did not rise (0 before, 0 now)"),
        ({AUTHORIZED: 4}, MOVED, "proxy_authorized_nothing", "did not rise"),
        ({}, MOVED.replace("client_to_server", "x"), "proxy_relayed_nothing", "client to server"),
        ({RELAYED % "server_to_client": 260643}, MOVED, "proxy_relayed_nothing", "server to client"),
        ({}, MOVED + CAPPED, "proxy_firewall_verdict", "rule=size_cap"),
    ],
)
def test_counters_that_did_not(lane, before, after, code, words):
    Path(lane.dir, "counters-before.json").write_text(json.dumps(before))
    with api(lambda n, auth: (200, after)) as port, fails(code, "proxy", words):
        outside_checks.counters(where(lane, metrics_port=port))


@contextmanager
def connected(lane: TestLane, servers: int) -> Iterator[list[int]]:
    """A ryll that is connected to so many servers: their ports."""
    with ExitStack() as stack:
        listening = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(servers)]
        ports = [one.getsockname()[1] for one in listening]
        lane.start(lane.program("ryll", "", argv=(sys.executable, "-c", CONNECT.format(ports))))
        for one in listening:
            one.settimeout(10)  # whoever was to connect may have been killed
            stack.enter_context(one.accept()[0])
        yield ports


def test_the_path_through_the_proxy(lane):
    with connected(lane, 1) as (port,):
        assert outside_checks.path(where(lane, proxy_port=port)) == {"remotes": [f"127.0.0.1:{port}"]}
        before = where(lane, proxy_port=port, session=False)  # a ryll of an earlier command does not count
        for check in (outside_checks.path, outside_checks.screenshot):
            with fails("ryll_not_running", "ryll"):
                check(before)


def test_a_connection_past_the_proxy_is_seen(lane):
    with connected(lane, 2) as (proxy, qemu), fails("proxy_bypassed", "kerbside"):
        outside_checks.path(where(lane, proxy_port=proxy, spice_port=qemu))


def test_no_connection_and_no_ryll(lane):
    for code in ("ryll_not_running", "proxy_not_connected"):
        with fails(code, "ryll"):
            outside_checks.path(where(lane))
        lane.start(lane.program("ryll", "exec sleep 60"))


def test_every_check_runs_and_the_first_failure_is_reported(lane):
    lane.start(lane.program("qemu", "echo guest: ready > logs/serial.log; exec sleep 60"))
    with api(lambda n, auth: (200, "")) as port:
        entries, failure = outside_checks.run_checks(where(lane, metrics_port=port), ["banner", "counters", "path"])
    assert [(e["name"], e["result"]) for e in entries] == [("banner", "pass"), ("counters", "fail"), ("path", "fail")]
    assert failure and failure.check == "counters"
    assert (entries[2]["detail"]["component"], entries[2]["detail"]["code"]) == ("ryll", "ryll_not_running")


SEVEN = SimpleNamespace(frame=7, crc=7, corner=(0, 0))
BAD = sextant_digest.BadDigest("it is cut off")
DIGESTS: dict[str, tuple[list[tuple[int, object]], bool, tuple[str, str] | None]] = {
    # (CRC, digest) of one picture after the other; whether qemu has drawn the last one as well; code and component
    "right": ([(7, SEVEN)], True, None),
    "right after half a refresh": ([(6, SEVEN), (7, SEVEN)], True, None),
    "right after a picture without one": ([(6, None), (7, SEVEN)], True, None),
    "wrong in ryll's picture": ([(6, SEVEN)], False, ("digest_crc_wrong", "ryll")),
    "wrong in qemu's picture as well": ([(6, SEVEN)], True, ("digest_crc_wrong", "guest")),
    "not there": ([(6, None)], True, ("digest_missing", "guest")),
    "cut off": ([(6, BAD)], True, ("digest_missing", "guest")),
}


@pytest.mark.parametrize(("seen", "drawn", "expected"), DIGESTS.values(), ids=DIGESTS)
def test_the_digest_has_to_be_that_of_the_pixels(lane, monkeypatch, seen, drawn, expected):
    taken: list[int] = []

    def decode(shown: Image.Image) -> object:
        found = seen[min(len(taken), len(seen)) - 1][1]
        if isinstance(found, Exception):
            raise found
        return found

    def shoot(_: object) -> Image.Image:
        taken.append(seen[min(len(taken), len(seen) - 1)][0])
        return Image.new("RGB", (4, 4), (taken[-1], 0, 0))

    difference = SimpleNamespace(accepted=lambda _: drawn)
    monkeypatch.setattr(outside_checks, "SETTLE", 0.3)
    monkeypatch.setattr(outside_checks, "screenshot", shoot)
    monkeypatch.setattr(outside_checks, "_same_moment", lambda *_: (None, None, difference))
    monkeypatch.setattr(outside_checks, "_responsible", lambda *_: "ryll")
    monkeypatch.setattr(outside_checks.Qmp, "connect", lambda *_: nullcontext())
    monkeypatch.setattr(sextant_digest, "decode", decode)
    monkeypatch.setattr(sextant_digest, "crc", lambda shown, _: shown.getpixel((0, 0))[0])
    if expected is None:
        assert outside_checks.digest(where(lane)) == {"size": "4x4", "frame": 7, "crc32c": "00000007"}
        assert len(taken) == len(seen)
        if len(seen) > 1:  # nobody waits for the second picture
            taken.clear()
            with pytest.raises(LaneError):
                outside_checks.digest(where(lane, wait=False))
        return
    with fails(*expected):
        outside_checks.digest(where(lane))
    assert len(taken) >= 2
