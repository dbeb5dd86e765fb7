"""Points 4 to 6 of the smoke check, against real processes, sockets and an HTTP server: each is seen green, and red for each of its reasons."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.checks import outside_checks
from ansible.module_utils.lane.core.errors import LaneError
from http_api import api
from lanes import TestLane, claimed_lane

CONNECT = "import socket,time; s=[socket.create_connection(('127.0.0.1', int(p))) for p in {!r}]; time.sleep(60)"
MOVED = (
    "kerbside_proxy_authorized_total 4\n"
    'kerbside_proxy_bytes_relayed_total{direction="client_to_server"} 312\n'
    'kerbside_proxy_bytes_relayed_total{direction="server_to_client"} 260643\n'
)


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def where(lane: TestLane, **more: object) -> outside_checks.Spine:
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
    return outside_checks.Spine(**values)  # type: ignore[arg-type]


def test_the_banner_is_waited_for(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "sleep 0.3; printf 'noise\\nguest: ready 1\\n' > logs/serial.log; exec sleep 60"))
    assert outside_checks.banner(where(lane)) == {"line": 2, "text": "guest: ready 1"}


def test_a_banner_that_does_not_come(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "printf 'one\\nguest: starting\\n' > logs/serial.log; exec sleep 60"))
    time.sleep(0.1)
    with pytest.raises(LaneError) as caught:
        outside_checks.banner(where(lane, banner_limit=0.4))
    assert str(caught.value).startswith("guest: expected the guest's banner 'guest: ready' on the serial port within 0.4 s of its start, ")
    assert "but the last that came is 'guest: starting'" in str(caught.value)
    assert caught.value.evidence == f"{lane.dir}/logs/serial.log:3"


def test_a_banner_that_is_worded_in_another_way(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "printf '\\r\\none\\r\\nguest: ready!\\r\\nmore\\r\\n' > logs/serial.log; exec sleep 60"))
    time.sleep(0.1)
    with pytest.raises(LaneError) as caught:
        outside_checks.banner(where(lane, banner="guest: ready?", banner_limit=0.4))
    assert "within 0.4 s of its start, but it says 'guest: ready!'; look at " in str(caught.value)
    assert str(caught.value).endswith("/logs/serial.log, or banner in fixtures/guests.yml if this is what the guest is to say")
    assert caught.value.evidence == f"{lane.dir}/logs/serial.log:3"


def test_a_silent_guest_and_a_dead_qemu(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "sleep 0.6; exit 7"))
    with pytest.raises(LaneError, match=r"^guest: .* but nothing came at all"):
        outside_checks.banner(where(lane, banner_limit=0.2))
    begun = time.monotonic()
    with pytest.raises(LaneError, match=r"^qemu: .* but qemu has ended \(status 7\)"):
        outside_checks.banner(where(lane, banner_limit=20))
    assert time.monotonic() - begun < 2


def test_no_guest_at_all(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"^lane: .* but no guest was started"):
        outside_checks.banner(where(lane))


def test_counters_that_moved(lane: TestLane) -> None:
    with api(lambda n, auth: (200, MOVED)) as port:
        detail = outside_checks.counters(where(lane, metrics_port=port))
    assert detail["after"]["kerbside_proxy_authorized_total"] == 4
    assert detail["before"] == {}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, "", "at least one connection authorised in this session, but kerbside_proxy_authorized_total did not move"),
        ({"kerbside_proxy_authorized_total": 4}, MOVED, "at least one connection authorised"),
        ({}, MOVED.replace("client_to_server", "x"), "expected bytes relayed client to server, but"),
        ({"kerbside_proxy_bytes_relayed_total{direction=server_to_client}": 260643}, MOVED, "expected bytes relayed server to client, but"),
        ({}, MOVED + 'kerbside_proxy_firewall_verdicts_total{rule="size_cap"} 1', r"no firewall verdict, but the proxy counted kerb\w+\{rule=size_cap\}"),
    ],
)
def test_counters_that_did_not(lane: TestLane, before: dict[str, float], after: str, words: str) -> None:
    Path(lane.dir, "counters.json").write_text(json.dumps(before))
    with api(lambda n, auth: (200, after)) as port, pytest.raises(LaneError, match=words) as caught:
        outside_checks.counters(where(lane, metrics_port=port))
    assert caught.value.component == "proxy"


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


def test_a_way_round_the_proxy_is_seen(lane: TestLane) -> None:
    with listening() as proxy, listening() as qemu:
        ports = [s.getsockname()[1] for s in (proxy, qemu)]
        lane.start(lane.program("ryll", "", argv=(sys.executable, "-c", CONNECT.format(ports))))
        words = rf"^kerbside: expected no TCP connection from ryll to qemu, but one goes to port {ports[1]}"
        with proxy.accept()[0], qemu.accept()[0], pytest.raises(LaneError, match=words):
            outside_checks.path(where(lane, proxy_port=ports[0], spice_port=ports[1]))


def test_no_connection_and_no_ryll(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"^ryll: expected ryll to be connected while it is checked, but it does not run"):
        outside_checks.path(where(lane))
    lane.start(lane.program("ryll", "exec sleep 60"))
    with pytest.raises(LaneError, match=r"^ryll: expected a TCP connection from ryll to kerbside-proxy on port 2, but it is connected to \[\]"):
        outside_checks.path(where(lane))


def test_every_check_runs_and_the_first_failure_is_told(lane: TestLane) -> None:
    lane.start(lane.program("qemu", "echo guest: ready > logs/serial.log; exec sleep 60"))
    with api(lambda n, auth: (200, "")) as port:
        entries, failure = outside_checks.run_checks(where(lane, metrics_port=port), ["banner", "counters", "path"])
    assert [(e["name"], e["result"]) for e in entries] == [("banner", "pass"), ("counters", "fail"), ("path", "fail")]
    assert failure is not None
    assert failure.check == "counters"
    assert entries[2]["detail"]["component"] == "ryll"
