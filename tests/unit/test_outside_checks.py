"""The checks from outside, against real processes, sockets and an HTTP server: each is seen green, and red for each of its reasons."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.lane.checks import outside_checks, sextant_digest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols import serial_log
from http_api import api
from lanes import HELD, TestLane
from PIL import Image

CONNECT = "import socket,time; s=[socket.create_connection(('127.0.0.1', int(p))) for p in {!r}]; time.sleep(60)"
MOVED = (
    "kerbside_proxy_authorized_total 4\n"
    'kerbside_proxy_bytes_relayed_total{direction="client_to_server"} 312\n'
    'kerbside_proxy_bytes_relayed_total{direction="server_to_client"} 260643\n'
)


def where(lane: TestLane, **more: object) -> outside_checks.Context:
    counters = Path(lane.dir, "counters.json")
    if not counters.exists():
        counters.write_text("{}")
    values = {
        "lane_dir": lane.dir,
        "run": lane.run,
        "serial_log": f"{lane.dir}/logs/serial.log",
        "banner": "guest: ready",
        "banner_limit": 5.0,
        "address": "127.0.0.1",
        "metrics_port": 1,
        "proxy_port": 2,
        "spice_port": 3,
        "counters_file": str(counters),
        **more,
    }
    return outside_checks.Context(**values)  # type: ignore[arg-type]


def test_the_banner_is_waited_for(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "sleep 0.3; printf 'noise\\nguest: ready 1\\n' > logs/serial.log; exec sleep 60"))
    assert outside_checks.banner(where(lane)) == {"line": 2, "text": "guest: ready 1"}


FIRMWARE = '\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001 "UEFI Misc Device"\r\nBdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)\r\n'
BANNERS: dict[str, tuple[str, str, tuple[int, str] | None]] = {
    "in the middle of a line": ("one\nnow guest: ready 1\r\n", "guest: ready", (2, "guest: ready 1")),
    "after the firmware": (f"{FIRMWARE}\x1b[0mHello from it\r\nmore\n", "Hello from", (3, "Hello from it")),
    "on the firmware's last line, after an escape sequence": (
        f"{FIRMWARE[:-2]}\x1b[03;01HHello from it\r\n",
        "Hello from",
        (2, "Hello from it"),
    ),
    "of the firmware": (FIRMWARE, "starting Boot", None),
    "only before the firmware's handover": (f"Hello from it\n{FIRMWARE}", "Hello from", None),
    "only of an earlier boot": (f"{FIRMWARE}Hello from it\n{FIRMWARE}", "Hello from", None),
    "not there": ("guest: starting\n", "guest: ready", None),
    "in a shell": ("Shell> Hello from it\n", "Hello from", None),
}


@pytest.mark.parametrize(("text", "banner", "found"), BANNERS.values(), ids=BANNERS)
def test_a_banner_is_the_guests_own(text: str, banner: str, found: tuple[int, str] | None) -> None:
    line = serial_log.find_banner(text, banner)
    assert (line and (line.line, line.text)) == found


@pytest.mark.parametrize(
    "banner",
    [
        "BdsDxe",
        "BdsDxe: starting Boot",
        "starting boot",
        "UEFI Interactive Shell",
        "X64 Exception",
        "TianoCore",
        "No mapping",
    ],
)
def test_what_the_firmware_says_is_known(banner: str) -> None:
    assert serial_log.firmware_says(banner)
    assert not serial_log.firmware_says("Hello from Uncalibrated Sextant") and not serial_log.firmware_says(
        "pocket-sextant 1.0: ready"
    )


@pytest.mark.parametrize(
    ("serial_text", "banner", "code", "line", "words"),
    [
        ("one\\nguest: starting\\n", "guest: ready", "guest_no_banner", 3, "the last line is 'guest: starting'"),
        (
            "\\r\\none\\r\\nguest: ready!\\r\\nmore\\r\\n",
            "guest: ready?",
            "guest_other_banner",
            3,
            "it says 'guest: ready!'",
        ),
        ("", "guest: ready", "guest_no_banner", 1, "nothing was printed at all"),
    ],
)
def test_a_banner_that_does_not_come(
    lane: TestLane, serial_text: str, banner: str, code: str, line: int, words: str
) -> None:
    lane.start(lane.program("qemu", f"printf '{serial_text}' > logs/serial.log; exec sleep 60"))
    time.sleep(0.1)
    for more in ({"banner_limit": 0.4}, {"banner_limit": 60.0, "wait": False}):
        with pytest.raises(LaneError, match=words) as caught:
            outside_checks.banner(where(lane, banner=banner, **more))
        assert (caught.value.code, caught.value.component) == (code, "guest")
        assert caught.value.evidence == f"{lane.dir}/logs/serial.log:{line}"


def test_a_qemu_that_ends_and_a_program_that_is_lost(lane: TestLane) -> None:
    with pytest.raises(LaneError) as caught:
        outside_checks.banner(where(lane))
    assert (caught.value.code, caught.value.component) == ("guest_not_started", "lane")
    lane.start(lane.program("qemu", f"{HELD}exit 7"))
    lane.release(0.3)
    with pytest.raises(LaneError, match="qemu ended with status 7") as caught:
        outside_checks.banner(where(lane, banner_limit=60))
    assert (caught.value.code, caught.value.component) == ("qemu_ended", "qemu")
    lane.start(lane.program("qemu", "exec sleep 60"), lane.program("api", f"{HELD}exit 3"))
    lane.release(0.3)
    with pytest.raises(LaneError) as caught:
        outside_checks.banner(where(lane, banner_limit=60))
    assert caught.value.component == "kerbside"
    with pytest.raises(LaneError) as caught:
        outside_checks.banner(where(lane, wait=False))
    assert (caught.value.code, caught.value.component) == (
        "guest_no_banner",
        "guest",
    )  # who does not wait does not watch the others


def test_counters_that_moved(lane: TestLane) -> None:
    with api(lambda n, auth: (200, MOVED)) as port:
        detail = outside_checks.counters(where(lane, metrics_port=port))
    assert detail["after"]["kerbside_proxy_authorized_total"] == 4
    assert detail["before"] == {}


def test_a_counter_that_rose_by_one_is_enough_and_an_old_verdict_is_none(lane: TestLane) -> None:
    verdict = "kerbside_proxy_firewall_verdicts_total"
    old = {
        "kerbside_proxy_authorized_total": 3,
        "kerbside_proxy_bytes_relayed_total{direction=client_to_server}": 311,
        verdict: 1,
    }
    Path(lane.dir, "counters.json").write_text(json.dumps(old))
    with api(lambda n, auth: (200, MOVED + f"{verdict} 1")) as port:
        assert outside_checks.counters(where(lane, metrics_port=port))["before"] == old


def test_without_the_counters_of_before_nothing_can_be_said(lane: TestLane) -> None:
    with pytest.raises(LaneError) as caught:
        outside_checks.counters(where(lane, counters_file=f"{lane.dir}/none"))
    assert caught.value.code == "counters_before_missing"


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ({}, "", "proxy_authorized_nothing", "kerbside_proxy_authorized_total did not rise \\(0 before, 0 now\\)"),
        ({"kerbside_proxy_authorized_total": 4}, MOVED, "proxy_authorized_nothing", "did not rise"),
        ({"kerbside_proxy_authorized_total": 0}, "", "proxy_authorized_nothing", "did not rise"),
        ({}, MOVED.replace("client_to_server", "x"), "proxy_relayed_nothing", "client to server"),
        (
            {"kerbside_proxy_bytes_relayed_total{direction=server_to_client}": 260643},
            MOVED,
            "proxy_relayed_nothing",
            "server to client",
        ),
        (
            {},
            MOVED + 'kerbside_proxy_firewall_verdicts_total{rule="size_cap"} 1',
            "proxy_firewall_verdict",
            "rule=size_cap",
        ),
    ],
)
def test_counters_that_did_not(lane: TestLane, before: dict[str, float], after: str, code: str, words: str) -> None:
    Path(lane.dir, "counters.json").write_text(json.dumps(before))
    with api(lambda n, auth: (200, after)) as port, pytest.raises(LaneError, match=words) as caught:
        outside_checks.counters(where(lane, metrics_port=port))
    assert (caught.value.code, caught.value.component) == (code, "proxy")


def listening() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    server.settimeout(10)  # whoever was to connect may have been killed
    return server


def test_the_path_through_the_proxy(lane: TestLane) -> None:
    with listening() as proxy:
        port = proxy.getsockname()[1]
        lane.start(lane.program("ryll", "", argv=(sys.executable, "-c", CONNECT.format([port]))))
        with proxy.accept()[0]:
            assert outside_checks.path(where(lane, proxy_port=port)) == {"remotes": [f"127.0.0.1:{port}"]}


def test_a_connection_past_the_proxy_is_seen(lane: TestLane) -> None:
    with listening() as proxy, listening() as qemu:
        ports = [s.getsockname()[1] for s in (proxy, qemu)]
        lane.start(lane.program("ryll", "", argv=(sys.executable, "-c", CONNECT.format(ports))))
        with proxy.accept()[0], qemu.accept()[0], pytest.raises(LaneError) as caught:
            outside_checks.path(where(lane, proxy_port=ports[0], spice_port=ports[1]))
    assert (caught.value.code, caught.value.component) == ("proxy_bypassed", "kerbside")


def test_no_connection_and_no_ryll(lane: TestLane) -> None:
    for code in ("ryll_not_running", "proxy_not_connected"):
        with pytest.raises(LaneError) as caught:
            outside_checks.path(where(lane))
        assert (caught.value.code, caught.value.component) == (code, "ryll")
        lane.start(lane.program("ryll", "exec sleep 60"))


def test_a_ryll_of_an_earlier_command_does_not_count(lane: TestLane) -> None:
    with listening() as proxy:
        port = proxy.getsockname()[1]
        lane.start(lane.program("ryll", "", argv=(sys.executable, "-c", CONNECT.format([port]))))
        with proxy.accept()[0]:
            before = where(lane, proxy_port=port, session=False)
            for check in (outside_checks.path, outside_checks.screenshot):
                with pytest.raises(LaneError) as caught:
                    check(before)
                assert caught.value.code == "ryll_not_running"


def test_every_check_runs_and_the_first_failure_is_reported(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "echo guest: ready > logs/serial.log; exec sleep 60"))
    with api(lambda n, auth: (200, "")) as port:
        entries, failure = outside_checks.run_checks(where(lane, metrics_port=port), ["banner", "counters", "path"])
    assert [(e["name"], e["result"]) for e in entries] == [("banner", "pass"), ("counters", "fail"), ("path", "fail")]
    assert failure is not None
    assert failure.check == "counters"
    assert (entries[2]["detail"]["component"], entries[2]["detail"]["code"]) == ("ryll", "ryll_not_running")


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (shade, 0, 0))


def told(frame: int, crc: int) -> SimpleNamespace:
    """A digest of the picture whose shade is its frame's number, as far as `crc` is true."""
    return SimpleNamespace(frame=frame, crc=crc, corner=(0, 0))


BAD = sextant_digest.BadDigest("it is cut off")
DIGESTS: dict[str, tuple[list[tuple[int, object]], bool, tuple[str, str] | None]] = {
    # (shade, digest) of one picture after the other; whether qemu has drawn the last one as well; component and code
    "right": ([(7, told(7, 7))], True, None),
    "right after half a refresh": ([(6, told(7, 7)), (7, told(7, 7))], True, None),
    "right after a picture without one": ([(6, None), (7, told(7, 7))], True, None),
    "wrong in ryll's picture": ([(6, told(7, 7)), (6, told(7, 7))], False, ("ryll", "digest_crc_wrong")),
    "wrong in qemu's picture as well": ([(6, told(7, 7)), (6, told(7, 7))], True, ("guest", "digest_crc_wrong")),
    "not there": ([(6, None)], True, ("guest", "digest_missing")),
    "cut off": ([(6, BAD)], True, ("guest", "digest_missing")),
}


@pytest.mark.parametrize(("seen", "drawn", "expected"), DIGESTS.values(), ids=DIGESTS)
def test_the_digest_has_to_be_that_of_the_pixels(
    lane: TestLane, monkeypatch: pytest.MonkeyPatch, seen: list, drawn: bool, expected: tuple | None
) -> None:
    taken: list[int] = []

    def decode(shown: Image.Image) -> object:
        found = seen[min(len(taken), len(seen)) - 1][1]
        if isinstance(found, Exception):
            raise found
        return found

    def shoot(_: object) -> Image.Image:
        taken.append(seen[min(len(taken), len(seen) - 1)][0])
        return picture(taken[-1])

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
    with pytest.raises(LaneError) as caught:
        outside_checks.digest(where(lane))
    assert (caught.value.component, caught.value.code) == expected
    assert len(taken) >= 2
