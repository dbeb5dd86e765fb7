"""The lane that suites are played on: real programs, which are shell scripts and a ryll of the tests."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks import second_look
from ansible.module_utils.lane.checks.suites import control, plan, stage, witnesses
from ansible.module_utils.lane.checks.suites.stage import LaneStage, Place
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import proc, run_state
from ansible.module_utils.lane.programs import records
from http_api import api
from lanes import TestLane, claimed_lane
from suite_lane import MISSING, NAP, PASSED, TICKET, Failure, check, does, outcome, place, played, read, suite_of

QEMU = """echo "$0" >>starts
case "$0" in *silent*) exec sleep 60;; *ended*) exit 3;; *late*) sleep 0.3;; esac
echo "guest: ready" >>logs/serial.log
exec sleep 60"""
#: Serves a control socket as ryll does; the host in its console.vv says what it does wrong.
RYLL = f"""#!{sys.executable}
import os, socket, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from control_peer import Connection, Ryll
words = open(sys.argv[3]).read()
print(words, flush=True)
if "delete-this-file=1" in words and "host=keeper" not in words or "host=deleter" in words:
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
SILENT, WRONG, LOST = ("serial_line_missing", "guest"), ("program_end_wrong", "lane"), ("program_ended", "kerbside")
GUESTS: dict[str, dict[str, Any]] = {
    name: {"name": name, "banner": "guest: ready", "path": f"/images/{name}.qcow2"}
    for name in ("pocket", "uncalibrated", "silent", "ended", "late", "com,ma")
}


@pytest.fixture
def claimed() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def where(claimed: TestLane) -> Place:
    folder = Path(claimed.dir)
    for name, text in (("ryll", RYLL), ("qemu", MACHINE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o700)
    return place(folder, boot_limit=5.0, agent_limit=5.0, start_limit=10.0, stop_limit=2.0)


@pytest.fixture
def lane(claimed: TestLane) -> LaneStage:
    """A lane whose qemu has the guest pocket."""
    made = where(claimed)
    Path(claimed.dir, "secrets/yaml").write_text("- lane\n")
    sources = {"secret_files": {f"{claimed.dir}/sources.yaml": (f"{claimed.dir}/secrets/yaml", "# {}")}}
    argv = ("/bin/sh", "-c", QEMU, "file=/images/pocket.qcow2,x")
    programs = [
        replace(claimed.program("qemu", ""), component="qemu", argv=argv),
        claimed.program("daemon", "cat sources.yaml >daemon; exec sleep 60", after=("qemu",), **sources),
        claimed.program("api", 'echo "$MODE" >>api; exec sleep 60', after=("daemon",), **sources),
    ]
    records.describe(claimed.dir, programs)
    claimed.start(*programs)
    serial = Path(made.serial_log)  # or it would write after a test has begun
    assert run_state.until(lambda: serial.exists() and bool(serial.stat().st_size), 60)
    Path(claimed.dir, "handover").mkdir(exist_ok=True)
    Path(claimed.dir, "handover/guest.json").write_text(json.dumps({"path": "/images/pocket.qcow2"}))
    return LaneStage(made, GUESTS)


def pids(lane: LaneStage) -> dict[str, int | None]:
    return {one.name: one.pid for one in records.records(lane.place.lane_dir) if one.running(lane.run)}


def recorded(lane: LaneStage, name: str) -> Any:
    return records.record(lane.place.lane_dir, name)


def text(lane: LaneStage, name: str) -> str:
    return Path(lane.place.lane_dir, name).read_text()


def starts(lane: LaneStage) -> list[str]:
    """The images of qemu's starts so far."""
    return text(lane, "starts").split()


def failure(call: Callable[..., Any], *given: Any) -> Failure:
    """(code, component) of what it raises."""
    with pytest.raises(LaneError) as caught:
        call(*given)
    return caught.value.code, caught.value.component


SUITE = read(suite_of(check(NAP)))


def with_consoles(machines: list[Any], consoles: list[Any]) -> plan.Suite:
    return read(suite_of(check(NAP), machines=machines, consoles=consoles))


def test_a_lane_of_programs_that_nobody_described_has_no_suites(claimed):
    assert failure(LaneStage, where(claimed), GUESTS) == ("suite_no_lane", "lane")


def test_only_what_a_suite_needs_otherwise_is_started_again(lane):
    before = pids(lane)
    lane.settle(SUITE, "pocket")
    assert pids(lane) == before and lane.guest["name"] == "pocket" and lane.settings == {}
    lane.configure({"MODE": "strict"})
    changed = pids(lane)
    assert {name for name in before if changed[name] != before[name]} == {"api", "daemon"}
    assert text(lane, "api").split() == ["strict"] and lane.settings == {"MODE": "strict"}
    lane.restore()
    assert pids(lane)["qemu"] == before["qemu"] and text(lane, "api").endswith("\n\n")


def test_kerbside_has_a_limit_of_its_own_to_stop(lane, monkeypatch):
    limits: list[Any] = []
    lane.settle(SUITE, "pocket")
    monkeypatch.setattr(stage, "start", lambda *_, stop_limit, **__: limits.append(stop_limit))
    lane.place = replace(lane.place, stop_limit=7, kerbside_stop_limit=0.5)
    lane.configure({"MODE": "strict"})
    lane.restore()
    assert limits == [0.5, 0.5]


def test_another_guest_or_a_failed_check_boots_anew(lane):
    serial = Path(lane.place.serial_log)
    serial.write_text("guest: ready, said by the guest before\n")
    lane.settle(SUITE, "com,ma")
    assert starts(lane) == ["file=/images/pocket.qcow2,x", "file=/images/com,,ma.qcow2,x"]
    assert serial.read_text() == "guest: ready\n"
    lane.settle(SUITE, "com,ma")
    assert len(starts(lane)) == 2
    lane.note_failure()
    lane.settle(SUITE, "com,ma")
    lane.settle(SUITE, "com,ma")
    assert len(starts(lane)) == 3
    lane.settle(replace(SUITE, boots=True), "com,ma")
    assert len(starts(lane)) == 4
    serial.unlink()
    lane.settle(SUITE, "late")
    assert serial.read_text() == "guest: ready\n"
    lane.restore()
    assert starts(lane)[-1] == "file=/images/pocket.qcow2,x"


def test_a_guest_that_does_not_come_up(lane):
    assert failure(lane.settle, SUITE, "ended")[1] == "qemu"
    lane.place = replace(lane.place, boot_limit=0.2)
    assert failure(lane.settle, SUITE, "silent") == ("suite_guest_not_up", "guest")


def test_a_guest_whose_qemu_ends_before_its_banner(lane):
    lane.settle(SUITE, "pocket")
    os.killpg(recorded(lane, "qemu").group, 9)
    Path(lane.place.serial_log).unlink()
    assert failure(lane._banner) == ("suite_guest_not_up", "qemu")


def test_machines_and_their_consoles_are_in_kerbsides_sources(lane, monkeypatch):
    consoles = [
        {"name": "k", "machine": "paused"},
        {"name": "t", "machine": "safe", "ca": "right"},
        {"name": "o", "machine": "safe", "ca": "other", "host_subject": "CN=x"},
    ]
    lane.settle(with_consoles([{"name": "paused"}, {"name": "safe", "tls": True}], consoles), "pocket")
    first, *entries = text(lane, "daemon").splitlines()
    plain, right, other = (json.loads(entry[2:]) for entry in entries)
    paused, safe = plain["consoles"][0], right["consoles"][0]
    assert first == "# - lane" and "secure_port" not in paused
    assert (paused["uuid"], paused["insecure_port"]) == (lane.machines.uuid("k"), 17905)
    assert paused["ticket"] == text(lane, "secrets/suite_ticket_paused")
    assert "ca_cert" not in plain and right["ca_cert"] == text(lane, "tls/suite/ca-cert.pem")
    assert other["ca_cert"] != right["ca_cert"] and "BEGIN CERTIFICATE-----\n" in other["ca_cert"]
    assert (safe["insecure_port"], safe["secure_port"]) == (17906, 17907)
    assert safe["host_subject"] == "C=US,O=Kerbside CI,CN=suite-qemu"
    assert other["consoles"][0]["host_subject"] == "CN=x"
    assert {"machine_paused", "machine_safe"} <= set(pids(lane))
    monkeypatch.setattr(stage.Qmp, "connect", lambda path: path)
    assert (lane.qmp(), lane.qmp("paused")) == (lane.place.qmp_socket, f"{lane.place.lane_dir}/paused.qmp")
    assert os.stat(f"{lane.place.lane_dir}/tls/suite").st_mode & 0o777 == 0o700
    lane.stop_machines()
    assert not {"machine_paused", "machine_safe"} & {entry.name for entry in records.records(lane.place.lane_dir)}


def test_the_sources_are_edited_until_the_daemon_is_started_anew(lane):
    consoles = [{"name": "k", "machine": "a"}, {"name": "m", "machine": "a"}]
    suite = with_consoles([{"name": "a"}, {"name": "b"}], consoles)
    lane.settle(suite, "pocket")
    was, daemon = text(lane, "sources.yaml"), pids(lane)["daemon"]
    play: Any = SimpleNamespace(lane=lane)
    control.remove_console(play, suite.checks[0].steps[0], {"of": "k"}, 0)
    control.move_console(play, suite.checks[0].steps[0], {"of": "m", "to": "b"}, 0)
    first, moved = text(lane, "sources.yaml").splitlines()
    (console,) = json.loads(moved[2:])["consoles"]
    assert first == "# - lane" and (console["name"], console["insecure_port"]) == ("m", 17906)
    assert os.stat(Path(lane.place.lane_dir, "sources.yaml")).st_mode & 0o777 == 0o600
    assert pids(lane)["daemon"] == daemon  # it rereads them by itself
    LaneStage(lane.place, lane.guests).settle(suite, "pocket")  # of a later command: this one may have been killed
    assert text(lane, "sources.yaml") == was and pids(lane)["daemon"] != daemon
    records.remove(lane.place.lane_dir, ["daemon"])  # nobody would reread them
    missing = failure(control.remove_console, play, suite.checks[0].steps[0], {"of": "k"}, 0)
    assert missing == ("program_not_running", "lane")
    lane.stop_machines()


def test_the_api_is_asked_and_its_answer_searched_for_the_ticket(lane):
    ask = ("GET", "/x", {})
    with api(lambda number, authorization: (201, f"{authorization} {TICKET if number > 1 else ''}")) as port:
        lane.place = replace(lane.place, api_port=port)
        assert lane.request("GET", "/x", {"Authorization": "A"})[:2] == (201, "A ")
        assert failure(lane.request, *ask) == ("suite_ticket_shown", "kerbside")
        assert lane.request(*ask, shows_ticket=True)[0] == 201
        Path(lane.place.ticket_file).unlink()
        assert lane.request(*ask)[0] == 201
    assert failure(lane.request, *ask) == ("suite_api_silent", "kerbside")


def test_a_console_is_waited_for_and_its_token_is_a_secret(lane, monkeypatch):
    password, place = "secret-of-the-console", lane.place
    keys = {"type": "spice", "host": place.address, "tls-port": str(place.proxy_port), "ca": "CA", "password": password}
    keys["host-subject"] = place.host_subject
    lines = "".join(f"{name}={value}\n" for name, value in keys.items())
    answers = {1: (404, "no console yet"), 2: (200, f"[virt-viewer]\n{lines}"), 3: (500, "broken")}
    with api(lambda number, authorization: answers.get(number, (404, ""))) as port:
        lane.place = replace(lane.place, api_port=port)
        assert lane.console() == keys
        kept = Path(lane.place.lane_dir, "secrets").glob("console_token*")
        assert [path.read_text() for path in kept] == [password]
        for limit in (60.0, 0.1):
            monkeypatch.setattr(stage, "CONSOLE_LIMIT", limit)  # 500 is not waited for
            assert failure(lane.console) == ("suite_no_console", "kerbside")
    with api(lambda *_: (200, f"[virt-viewer]\n{lines}".replace("ca=CA", "ca=another"))) as port:
        lane.place = replace(lane.place, api_port=port)
        assert failure(lane.console) == ("console_wrong", "kerbside")


def test_a_client_is_started_talked_to_and_stopped(lane):
    lane.guest = {"name": "pocket", "agent": True}
    talk = lane.connect("ryll", {"host": "agent", "password": "p"}, ("--x",))
    like = records.described(lane.place.lane_dir, "ryll")  # what second_look starts once more, without the proxy
    assert like and like.argv[-1] == "--x"
    assert like.argv[like.argv.index("--control-socket") + 1] == lane.place.control_socket
    file = Path(lane.place.lane_dir, "ryll.vv")
    assert file.read_text() == "[virt-viewer]\nhost=agent\npassword=p\n" and file.stat().st_mode & 0o777 == 0o600
    assert lane.clients() == ["ryll"]
    assert talk.stage.client.request("status", {}, time.monotonic() + 5)["agent_connected"]
    talk.close()
    lane.connect("second", {"host": "x"}, ()).close()  # has no agent, and need not
    assert sorted(lane.clients()) == ["ryll", "second"]
    lane.stop("second")
    assert lane.clients() == ["ryll"]
    lane.stop("nobody")
    lane.forget()
    assert lane.clients() == [] and recorded(lane, "second") is None
    assert failure(lane.conversation, "ryll") == ("suite_client_gone", "ryll")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"host": "refused"}, ("client_refused", "kerbside")),
        ({"host": "gone"}, ("client_refused", "proxy")),
        ({"host": "gone", "title": "PermissionDenied"}, ("client_refused", "kerbside")),
        ({"host": "x", "delete-this-file": "1"}, None),
        ({"host": "keeper", "delete-this-file": "0"}, None),
        ({"host": "keeper", "delete-this-file": "1"}, ("console_file_kept", "ryll")),
        ({"host": "deleter"}, ("console_file_deleted", "ryll")),
    ],
)
def test_a_client_is_let_in_and_deletes_the_console_file_that_says_so(lane, keys, wanted):
    if wanted:
        assert failure(lane.connect, "ryll", keys, ()) == wanted
    else:
        lane.connect("ryll", keys, ()).close()


def test_a_client_that_has_just_ended_is_none(lane):
    lane.connect("ryll", {"host": "x"}, ()).close()
    entry = recorded(lane, "ryll")
    os.kill(entry.group, signal.SIGSTOP)  # its supervisor shell, which has yet to write how it ended
    os.kill(entry.pid, signal.SIGKILL)
    assert run_state.until(lambda: entry.pid is None, 5)
    assert (lane.clients(), entry.running(lane.run)) == ([], True)
    Timer(0.3, os.kill, (entry.group, signal.SIGCONT)).start()
    with pytest.raises(LaneError, match="the client ryll was killed by SIGKILL"):
        lane.conversation("ryll")


def test_a_client_without_the_agent_that_its_guest_has(lane):
    lane.guest, lane.place = {"name": "pocket", "agent": True}, replace(lane.place, agent_limit=0.2)
    runs = {"host": "x", "title": "PermissionDenied"}  # only of one that has ended its log says why
    assert failure(lane.connect, "ryll", runs, ()) == ("ryll_unmet", "ryll")
    lane.guest = {"name": "uncalibrated"}
    lane.connect("ryll", {"host": "x"}, ()).close()


def test_a_second_ryll_is_started_like_the_first_but_directly_to_qemu(lane):
    where = (lane.place.lane_dir, lane.run, "ryll", 17904)
    with pytest.raises(LaneError, match="ryll was not started"), second_look.direct(*where):
        pass
    lane.connect("ryll", {"host": "agent"}, ("--suite",)).close()
    keys = {"type": "spice", "host": "127.0.0.1", "port": "17904", "password": text(lane, "secrets/spice_ticket")}
    with second_look.direct(*where):
        first = pids(lane)["ryll_direct"]
        with second_look.direct(*where) as client:  # one that an earlier command left behind is not taken for a new one
            assert pids(lane)["ryll_direct"] != first
            file = text(lane, "ryll_direct.vv").splitlines()
            assert file == ["[virt-viewer]", *(f"{key}={value}" for key, value in keys.items())]
            assert client.request("status", {}, time.monotonic() + 30)["surfaces"]
        assert "ryll_direct" not in pids(lane) and recorded(lane, "ryll_direct") is None


@pytest.mark.parametrize(("ends", "within", "wanted"), [("daemon", 60, LOST), ("ryll", 0.6, SILENT)])
def test_a_wait_ends_with_the_program_that_is_lost_meanwhile(lane, ends, within, wanted):
    begun = time.monotonic()
    kill = does(lambda: Timer(0.1, os.kill, (recorded(lane, ends).pid, signal.SIGKILL)).start())
    steps = ({"connect": {"direct": True}}, {"kill": {}}, {**MISSING, "within": within})
    assert outcome(lane, *steps, actors={"kill": kill}) == wanted
    assert time.monotonic() - begun < 40


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"name": "daemon", "runs": True}, PASSED),
        ({"name": "daemon", "exits": 0}, WRONG),
        ({"name": "done", "exits": 0}, PASSED),
        ({"name": "done", "exits": 1}, WRONG),
        ({"name": "done", "runs": True}, WRONG),
        ({"name": "nobody", "runs": True}, WRONG),
    ],
)
def test_a_program_runs_or_has_ended_as_asked(lane, claimed, options, wanted):
    claimed.start(claimed.program("done", "exit 0", oneshot=True))
    assert outcome(lane, {"process": options, "within": 0.3}) == wanted


def test_a_program_that_leaves_no_status_does_not_run(lane, monkeypatch):
    monkeypatch.setattr(witnesses, "RUNS", 2.0)
    kill = does(lambda: os.killpg(recorded(lane, "api").group, signal.SIGKILL))
    steps = ({"kill": {}}, {"process": {"name": "api", "runs": True}, "within": 20})
    assert outcome(lane, *steps, actors={"kill": kill}) == LOST


def test_the_end_of_a_program_that_a_step_awaited_is_no_loss(lane):
    kill = does(lambda: Timer(0.1, os.kill, (pids(lane)["daemon"], signal.SIGTERM)).start())
    seen = {"wait": {"seconds": 1}}  # in which the engine looks
    ends = check({"kill": {}}, seen, {"process": {"name": "daemon", "exits": 143}, "within": 30})
    entries = played(lane, ends, {**check(MISSING), "name": "later"}, actors={"kill": kill})
    assert [entry["detail"].get("code") for entry in entries] == [None, SILENT[0]]


def test_a_program_is_asked_to_end(lane):
    seen = {"process": {"name": "daemon", "exits": 143}, "within": 30}
    assert outcome(lane, {"end_program": {"name": "daemon"}}, seen) == PASSED


def test_a_client_is_run_to_its_end_or_killed(lane):
    ended, done = lane.refused("ryll", {"host": "refused"}, (), 10)
    assert ended and done.status == 1 and "PermissionDenied" in done.err
    begun, before = time.monotonic(), proc.marked(lane.run.lane_id)
    assert lane.refused("ryll", {"host": "x"}, (), 0.3)[0] is False
    assert time.monotonic() - begun < 30
    assert {one.pid for one in proc.marked(lane.run.lane_id)} == {one.pid for one in before}
