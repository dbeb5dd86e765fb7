"""The lane that suites are played on, with real programs: shell scripts as qemu, API and daemon, and a ryll of the tests."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks import second_look
from ansible.module_utils.lane.checks.suites import control, plan, stage
from ansible.module_utils.lane.checks.suites.stage import LaneStage, Place
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import run_state
from ansible.module_utils.lane.programs import records
from http_api import api
from lanes import TestLane, claimed_lane
from suite_lane import TICKET, check, outcome, place, read, suite_of

QEMU = """echo "$0" >>starts
case "$0" in *silent*) exec sleep 60;; *ended*) exit 3;; *late*) sleep 0.3;; esac
echo "guest: ready" >>logs/serial.log
exec sleep 60"""
#: Serves a control socket as ryll does. The host in its console.vv says what else it does: refuses, stays without a picture, keeps the file.
RYLL = f"""#!{sys.executable}
import os, socket, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from control_peer import Connection, Ryll
words = open(sys.argv[3]).read()
if "delete-this-file=1" in words and "host=keeper" not in words:
    os.unlink(sys.argv[3])
if "host=refused" in words:
    sys.exit("Error: PermissionDenied by the proxy")
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[5])
server.listen()
ryll = Ryll()
ryll.agent = "host=agent" in words
while True:
    connection = Connection(server.accept()[0])
    if "host=gone" in words and connection.file.readline():
        sys.exit("main channel dropped: UnknownWords")
    try:
        ryll(connection)
    except OSError:
        pass
"""
MACHINE = f"""#!{sys.executable}
import socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(next(word for word in sys.argv if word.startswith("unix:"))[5:].split(",")[0])
server.listen()
time.sleep(60)
"""
GUESTS: dict[str, dict[str, Any]] = {
    name: {"name": name, "banner": "guest: ready", "path": f"/images/{name}.qcow2"} for name in ("pocket", "uncalibrated", "silent", "ended", "late", "com,ma")
}


@pytest.fixture
def claimed() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def where(claimed: TestLane, **more: Any) -> Place:
    folder = Path(claimed.dir)
    for name, text in (("ryll", RYLL), ("qemu", MACHINE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o700)
    limits = {"boot_limit": 5.0, "agent_limit": 5.0, "start_limit": 10.0, "stop_limit": 2.0}
    return place(folder, serial_log=f"{folder}/logs/serial.log", **{**limits, **more})


@pytest.fixture
def lane(claimed: TestLane) -> LaneStage:
    """A lane whose qemu has the guest pocket."""
    made = where(claimed)
    Path(claimed.dir, "secrets/yaml").write_text("- lane\n")
    sources = {"secret_files": {f"{claimed.dir}/sources.yaml": (f"{claimed.dir}/secrets/yaml", "# {}")}}
    programs = [
        replace(claimed.program("qemu", ""), component="qemu", argv=("/bin/sh", "-c", QEMU, "file=/images/pocket.qcow2,x")),
        claimed.program("daemon", "cat sources.yaml >daemon; exec sleep 60", after=("qemu",), **sources),
        claimed.program("api", 'echo "$MODE" >>api; exec sleep 60', after=("daemon",), **sources),
    ]
    records.describe(claimed.dir, programs)
    claimed.start(*programs)
    end = time.monotonic() + 60
    while not (serial := Path(made.serial_log)).exists() or not serial.stat().st_size:  # or it would write after a test has begun
        assert time.monotonic() < end
        time.sleep(0.01)
    Path(claimed.dir, "handover").mkdir(exist_ok=True)
    Path(claimed.dir, "handover/guest.json").write_text(json.dumps({"path": "/images/pocket.qcow2"}))
    return LaneStage(made, GUESTS)


def pids(lane: LaneStage) -> dict[str, int | None]:
    return {entry.name: entry.pid for entry in records.records(lane.place.lane_dir) if entry.running(lane.run)}


def text(lane: LaneStage, name: str) -> str:
    return Path(lane.place.lane_dir, name).read_text()


SUITE = read(suite_of(check({"wait": {"seconds": 1}})))


def test_numbers_of_a_place_may_be_texts() -> None:
    given = dict.fromkeys(Place.__annotations__, "7")
    made = Place.of(given)
    assert (made.proxy_port, made.boot_limit, made.uuid) == (7, 7.0, "7") and isinstance(made.boot_limit, float)


def test_a_lane_of_programs_that_nobody_described_has_no_suites(claimed: TestLane) -> None:
    with pytest.raises(LaneError) as caught:
        LaneStage(where(claimed), GUESTS)
    assert caught.value.code == "suite_no_lane"


def test_only_what_a_suite_needs_otherwise_is_started_again(lane: LaneStage) -> None:
    before = pids(lane)
    lane.settle(SUITE, "pocket")
    assert pids(lane) == before and lane.guest["name"] == "pocket" and lane.settings == {}
    lane.configure({"MODE": "strict"})
    changed = pids(lane)
    assert {name for name in before if changed[name] != before[name]} == {"api", "daemon"}
    assert text(lane, "api").split() == ["strict"] and lane.settings == {"MODE": "strict"}
    lane.restore()
    assert pids(lane)["qemu"] == before["qemu"] and text(lane, "api").endswith("\n\n")


def test_kerbside_has_a_limit_of_its_own_to_stop(lane: LaneStage, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[Any] = []
    lane.settle(SUITE, "pocket")
    monkeypatch.setattr(stage, "start", lambda *_, stop_limit, **__: limits.append(stop_limit))
    lane.place = replace(lane.place, stop_limit=7, kerbside_stop_limit=0.5)
    lane.configure({"MODE": "strict"})
    lane.restore()
    assert limits == [0.5, 0.5]


def test_another_guest_or_a_failed_check_boots_anew(lane: LaneStage) -> None:
    serial = Path(lane.place.serial_log)
    serial.write_text("guest: ready, said by the guest before\n")
    lane.settle(SUITE, "com,ma")
    assert text(lane, "starts").split() == ["file=/images/pocket.qcow2,x", "file=/images/com,,ma.qcow2,x"]
    assert serial.read_text() == "guest: ready\n"
    lane.settle(SUITE, "com,ma")
    assert len(text(lane, "starts").split()) == 2
    lane.note_failure()
    lane.settle(SUITE, "com,ma")
    lane.settle(SUITE, "com,ma")
    assert len(text(lane, "starts").split()) == 3
    lane.settle(replace(SUITE, boots=True), "com,ma")
    assert len(text(lane, "starts").split()) == 4
    serial.unlink()
    lane.settle(SUITE, "late")
    assert serial.read_text() == "guest: ready\n"
    lane.restore()
    assert text(lane, "starts").split()[-1] == "file=/images/pocket.qcow2,x"


@pytest.mark.parametrize(("guest", "component"), [("silent", "guest"), ("ended", "qemu")])
def test_a_guest_that_does_not_come_up(lane: LaneStage, guest: str, component: str) -> None:
    lane.place = replace(lane.place, boot_limit=0.2 if guest == "silent" else 60)
    with pytest.raises(LaneError) as caught:
        lane.settle(SUITE, guest)
    assert caught.value.component == component
    assert guest == "ended" or caught.value.code == "suite_guest_not_up"


def test_a_guest_whose_qemu_ends_before_its_banner(lane: LaneStage) -> None:
    lane.settle(SUITE, "pocket")
    records.record(lane.place.lane_dir, "qemu")
    entry = records.record(lane.place.lane_dir, "qemu")
    assert entry
    os.killpg(entry.group, 9)
    Path(lane.place.serial_log).unlink()
    with pytest.raises(LaneError) as caught:
        lane._banner()
    assert (caught.value.code, caught.value.component) == ("suite_guest_not_up", "qemu")


def test_machines_and_their_consoles_are_in_kerbsides_sources(lane: LaneStage, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = [{"name": "paused"}, {"name": "safe", "tls": True}]
    consoles = [{"name": "k", "machine": "paused"}, {"name": "t", "machine": "safe", "ca": "right"}, {"name": "o", "machine": "safe", "ca": "other"}]
    suite = read(suite_of(check({"wait": {"seconds": 1}}), machines=machine, consoles=consoles))
    lane.settle(suite, "pocket")
    told = text(lane, "daemon")
    first, *entries = told.splitlines()
    assert first == "# - lane" and len(entries) == 3
    plain, right, other = (json.loads(entry[2:]) for entry in entries)
    ticket = Path(lane.place.lane_dir, "secrets/suite_ticket_paused").read_text()
    wanted = {"uuid": lane.machines.uuid("k"), "insecure_port": 17905, "ticket": ticket}
    assert wanted.items() <= plain["consoles"][0].items() and "secure_port" not in plain["consoles"][0]
    assert "ca_cert" not in plain and right["ca_cert"] == Path(lane.place.lane_dir, "tls/suite/ca-cert.pem").read_text()
    assert other["ca_cert"] != right["ca_cert"] and "BEGIN CERTIFICATE-----\n" in other["ca_cert"]
    assert {"insecure_port": 17906, "secure_port": 17907, "host_subject": "C=US,O=Kerbside CI,CN=suite-qemu"}.items() <= right["consoles"][0].items()
    assert {"machine_paused", "machine_safe"} <= set(pids(lane))
    monkeypatch.setattr(stage.Qmp, "connect", lambda path: path)
    assert (lane.qmp(), lane.qmp("paused")) == (lane.place.qmp_socket, f"{lane.place.lane_dir}/paused.qmp")
    assert os.stat(f"{lane.place.lane_dir}/tls/suite").st_mode & 0o777 == 0o700
    lane.stop_machines()
    assert not {"machine_paused", "machine_safe"} & {entry.name for entry in records.records(lane.place.lane_dir)}


def test_the_sources_are_edited_until_the_daemon_is_started_anew(lane: LaneStage) -> None:
    consoles = [{"name": "k", "machine": "a"}, {"name": "m", "machine": "a"}]
    suite = read(suite_of(check({"wait": {"seconds": 1}}), machines=[{"name": "a"}, {"name": "b"}], consoles=consoles))
    lane.settle(suite, "pocket")
    was, daemon, play, step = text(lane, "sources.yaml"), pids(lane)["daemon"], SimpleNamespace(lane=lane), suite.checks[0].steps[0]
    control.remove_console(play, step, {"of": "k"}, 0)  # type: ignore[arg-type]
    control.move_console(play, step, {"of": "m", "to": "b"}, 0)  # type: ignore[arg-type]
    first, moved = text(lane, "sources.yaml").splitlines()
    (console,) = json.loads(moved[2:])["consoles"]
    assert first == "# - lane" and (console["name"], console["insecure_port"]) == ("m", 17906)
    assert os.stat(Path(lane.place.lane_dir, "sources.yaml")).st_mode & 0o777 == 0o600
    assert pids(lane)["daemon"] == daemon  # it rereads them by itself
    LaneStage(lane.place, lane.guests).settle(suite, "pocket")  # of a later command: this one may have been killed
    assert text(lane, "sources.yaml") == was and pids(lane)["daemon"] != daemon
    lane.stop_machines()


def test_without_a_daemon_nobody_would_reread_the_sources(lane: LaneStage) -> None:
    suite = read(suite_of(check({"wait": {"seconds": 1}}), machines=[{"name": "a"}], consoles=[{"name": "k", "machine": "a"}]))
    lane.settle(suite, "pocket")
    records.remove(lane.place.lane_dir, ["daemon"])
    with pytest.raises(LaneError) as caught:
        control.remove_console(SimpleNamespace(lane=lane), suite.checks[0].steps[0], {"of": "k"}, 0)  # type: ignore[arg-type]
    assert caught.value.code == "program_not_running"
    lane.stop_machines()


def test_the_api_is_asked_and_its_answer_searched_for_the_ticket(lane: LaneStage) -> None:
    with api(lambda number, authorization: (201, f"{authorization} {TICKET if number > 1 else ''}")) as port:
        lane.place = replace(lane.place, api_port=port)
        assert lane.request("GET", "/x", {"Authorization": "A"}) == (201, "A ")
        with pytest.raises(LaneError) as caught:
            lane.request("GET", "/x", {})
        assert caught.value.code == "suite_ticket_shown"
        Path(lane.place.ticket_file).unlink()
        assert lane.request("GET", "/x", {})[0] == 201
    with pytest.raises(LaneError) as caught:
        lane.request("GET", "/x", {})
    assert caught.value.code == "suite_api_silent"


def test_a_console_is_waited_for_and_its_token_is_a_secret(lane: LaneStage, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {1: (404, "no console yet"), 2: (200, "[virt-viewer]\npassword=secret-of-the-console\n"), 3: (500, "broken")}
    with api(lambda number, authorization: answers.get(number, (404, ""))) as port:
        lane.place = replace(lane.place, api_port=port)
        assert lane.console() == {"password": "secret-of-the-console"}
        kept = [path.read_text() for path in Path(lane.place.lane_dir, "secrets").iterdir() if path.name.startswith("console_token")]
        assert kept == ["secret-of-the-console"]
        for limit in (60.0, 0.1):
            monkeypatch.setattr(stage, "CONSOLE_LIMIT", limit)  # 500 is not waited for
            with pytest.raises(LaneError) as caught:
                lane.console()
            assert caught.value.code == "suite_no_console"


def test_a_client_is_started_talked_to_and_stopped(lane: LaneStage) -> None:
    lane.guest = {"name": "pocket", "agent": True}
    talk = lane.connect("ryll", {"host": "agent", "password": "p"}, ("--x",))
    like = records.described(lane.place.lane_dir, "ryll")  # what second_look starts once more, without the proxy
    assert like is not None and like.argv[-1] == "--x" and like.argv[like.argv.index("--control-socket") + 1] == lane.place.control_socket
    file = Path(lane.place.lane_dir, "ryll.vv")
    assert file.read_text() == "[virt-viewer]\nhost=agent\npassword=p\n" and file.stat().st_mode & 0o777 == 0o600
    assert lane.clients() == ["ryll"]
    assert talk.stage.client.request("status", {}, time.monotonic() + 5)["agent_connected"]
    talk.close()
    other = lane.connect("second", {"host": "x"}, ())  # has no agent, and need not
    other.close()
    assert sorted(lane.clients()) == ["ryll", "second"]
    lane.stop("second")
    assert lane.clients() == ["ryll"]
    lane.stop("nobody")
    lane.forget()
    assert lane.clients() == [] and records.record(lane.place.lane_dir, "second") is None
    with pytest.raises(LaneError) as caught:
        lane.conversation("ryll")
    assert caught.value.code == "suite_client_gone"


@pytest.mark.parametrize(("host", "code", "component"), [("refused", "program_ended", "ryll"), ("gone", "client_refused", "proxy")])
def test_a_client_that_is_not_let_in(lane: LaneStage, host: str, code: str, component: str) -> None:
    with pytest.raises(LaneError) as caught:
        lane.connect("ryll", {"host": host}, ())
    assert (caught.value.code, caught.value.component) == (code, component)


def test_a_client_has_to_delete_the_console_file_that_says_so(lane: LaneStage) -> None:
    lane.connect("ryll", {"host": "x", "delete-this-file": "1"}, ()).close()
    lane.connect("ryll", {"host": "keeper", "delete-this-file": "0"}, ()).close()
    with pytest.raises(LaneError) as caught:
        lane.connect("ryll", {"host": "keeper", "delete-this-file": "1"}, ())
    assert (caught.value.code, caught.value.component) == ("console_file_kept", "ryll")


def test_a_client_that_has_just_ended_is_none(lane: LaneStage) -> None:
    lane.connect("ryll", {"host": "x"}, ()).close()
    entry = records.record(lane.place.lane_dir, "ryll")
    assert entry and entry.pid
    os.kill(entry.group, signal.SIGSTOP)  # its supervisor shell, which has yet to write how it ended
    os.kill(entry.pid, signal.SIGKILL)
    assert run_state.until(lambda: entry.pid is None, 5)
    assert (lane.clients(), entry.running(lane.run)) == ([], True)
    Timer(0.3, os.kill, (entry.group, signal.SIGCONT)).start()
    with pytest.raises(LaneError, match="the client ryll was killed by SIGKILL"):
        lane.conversation("ryll")


def test_a_client_without_the_agent_that_its_guest_has(lane: LaneStage) -> None:
    lane.guest, lane.place = {"name": "pocket", "agent": True}, replace(lane.place, agent_limit=0.2)
    with pytest.raises(LaneError):
        lane.connect("ryll", {"host": "x"}, ())
    lane.guest = {"name": "uncalibrated"}
    lane.connect("ryll", {"host": "x"}, ()).close()


def test_a_second_ryll_is_started_like_the_first_but_directly_to_qemu(lane: LaneStage) -> None:
    where = (lane.place.lane_dir, lane.run, "ryll", "127.0.0.1", 17904)
    with pytest.raises(LaneError, match="ryll was not started"), second_look.direct(*where):
        pass
    lane.connect("ryll", {"host": "agent"}, ("--suite",)).close()
    ticket = Path(lane.place.lane_dir, "secrets/spice_ticket").read_text()
    with second_look.direct(*where):
        first = pids(lane)["ryll_direct"]
        with second_look.direct(*where) as client:  # one that an earlier command left behind is not taken for a new one
            assert pids(lane)["ryll_direct"] != first
            assert text(lane, "ryll_direct.vv") == f"[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport=17904\npassword={ticket}\n"
            assert client.request("status", {}, time.monotonic() + 30)["surfaces"]
        assert "ryll_direct" not in pids(lane) and records.record(lane.place.lane_dir, "ryll_direct") is None


@pytest.mark.parametrize(("ends", "failure"), [("daemon", ("program_ended", "kerbside")), ("ryll", ("serial_line_missing", "guest"))])
def test_a_check_fails_by_the_program_that_is_lost_meanwhile(lane: LaneStage, ends: str, failure: tuple[str, str]) -> None:
    def kill(*_: Any) -> None:
        os.kill(records.record(lane.place.lane_dir, ends).pid, signal.SIGKILL)
        while ends in pids(lane):
            time.sleep(0.01)

    steps = ({"connect": {"direct": True}}, {"kill": {}}, {"serial": {"line": "no"}, "within": 0.01})
    assert outcome(lane, *steps, actors={"kill": plan.Actor({}, kill)}) == failure  # type: ignore[arg-type]


WRONG, LOST = ("program_end_wrong", "lane"), ("program_ended", "kerbside")


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        ({"name": "daemon", "runs": True}, (None, None)),
        ({"name": "daemon", "exits": 0}, WRONG),
        ({"name": "done", "exits": 0}, (None, None)),
        ({"name": "done", "exits": 1}, WRONG),
        ({"name": "done", "runs": True}, WRONG),
        ({"name": "nobody", "runs": True}, WRONG),
        ({"name": "api", "runs": True, "seconds": 2}, LOST),
    ],
)
def test_a_program_runs_or_has_ended_as_asked(lane: LaneStage, claimed: TestLane, options: dict[str, Any], failure: tuple[str | None, str | None]) -> None:
    claimed.start(claimed.program("done", "exit 0", oneshot=True))
    kill = plan.Actor({}, lambda *_: os.killpg(records.record(claimed.dir, "api").group, signal.SIGKILL))  # leaves no status
    steps = ({"kill": {}}, {"process": options, "within": 20}) if failure == LOST else ({"process": options, "within": 0.3},)
    assert outcome(lane, *steps, actors={"kill": kill}) == failure  # type: ignore[arg-type]


def test_the_end_of_a_program_that_a_step_awaited_is_no_loss(lane: LaneStage) -> None:
    kill = plan.Actor({}, lambda *_: Timer(0.1, os.kill, (pids(lane)["daemon"], signal.SIGTERM)).start())
    steps = ({"kill": {}}, {"process": {"name": "daemon", "exits": 143}, "within": 30}, {"serial": {"line": "no"}, "within": 0.01})
    assert outcome(lane, *steps, actors={"kill": kill}) == ("serial_line_missing", "guest")  # type: ignore[arg-type]


def test_a_client_is_run_to_its_end_or_killed(lane: LaneStage) -> None:
    ended, done = lane.refused("ryll", {"host": "refused"}, (), 10)
    assert ended and done.status == 1 and "PermissionDenied" in done.err
    begun = time.monotonic()
    assert lane.refused("ryll", {"host": "x"}, (), 0.3)[0] is False
    assert time.monotonic() - begun < 30
    assert not [name for name in os.listdir("/proc") if name.isdigit() and b"--headless" in cmdline(name)]


def cmdline(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "cmdline").read_bytes() if b"KERBSIDE_LANE=98/" in Path("/proc", pid, "environ").read_bytes() else b""
    except OSError:
        return b""
