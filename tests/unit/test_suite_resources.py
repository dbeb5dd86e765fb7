"""What the suites measure of kerbside's programs, and the sessions that they make meanwhile."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import latency, resources
from ansible.module_utils.lane.core import proc_stat
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.protocols.spice_link import LinkRefused
from suite_lane import PASSED, SOON, FakeLink, entry_of, fake_lane, outcome

lane = fake_lane

WATCHED = [{"resources": {}, "register": "b"}, {"resources": {"since": "b", "files": 4}, **SOON}]


def uses(monkeypatch: pytest.MonkeyPatch, *figures: dict[str, Any]) -> None:
    """Have API, daemon and proxy use these at one look after the other, the last one at every further look."""
    left = list(figures)

    def look(play: Any) -> Any:
        now = left.pop(0) if len(left) > 1 else left[0]
        return [(name, "/logs/api.log" if name == "api" else "", now.get(name, {})) for name in resources.OWNERS]

    monkeypatch.setattr(resources, "_programs", look)
    monkeypatch.setattr(resources, "_use", lambda log, found: {**dict.fromkeys(resources.FIGURES, 0.0), **found})


@pytest.mark.parametrize(
    ("program", "figure", "grown", "component", "log"),
    [
        ("api", "files", 4, None, ""),
        ("api", "files", 5, "kerbside", "/logs/api.log"),
        ("daemon", "files", 5, "kerbside", "daemon.log"),
        ("proxy", "files", 5, "proxy", "daemon.log"),
        ("api", "threads", 50, None, ""),  # not asked for
    ],
)
def test_what_grows_by_more_than_is_allowed(lane, monkeypatch, program, figure, grown, component, log):
    uses(monkeypatch, {program: {figure: 10}}, {program: {figure: 10 + grown}})
    detail = entry_of(lane, *WATCHED)["detail"]
    assert (detail.get("code"), detail.get("component")) == ("resources_grew" if component else None, component)
    assert detail.get("evidence", "").endswith(log)


def test_what_is_given_back_in_time_has_not_grown(lane, monkeypatch):
    uses(monkeypatch, {}, {"api": {"files": 9}}, {"api": {"files": 9}}, {"api": {"files": 1}})
    later = {**WATCHED[1], "within": 5}
    entry = entry_of(lane, WATCHED[0], later)
    assert entry["result"] == "pass"
    assert "at most 1.0 more open files" in entry["detail"]["witnesses"][1]


def test_what_a_process_uses(tmp_path, monkeypatch):
    monkeypatch.setattr(proc_stat, "processor_seconds", lambda pid: 2.5 if pid == os.getpid() else 0)
    log, me = tmp_path / "log", proc.read(os.getpid())
    log.write_text("12345")
    before = resources._use(str(log), [me])
    assert before["log"] == 5
    assert before["processor"] == 2500
    rested = threading.Event()
    thread = threading.Thread(target=rested.wait)
    thread.start()
    kept = b"x" * (64 << 20)  # so large that it comes from the kernel
    with log.open():
        after = resources._use(str(log), [proc.read(os.getpid())])
    rested.set()
    thread.join()
    assert [after[name] - before[name] for name in ("files", "threads")] == [1, 1]
    assert after["memory"] - before["memory"] == pytest.approx(len(kept) / (1 << 20), abs=8)


def test_the_processor_time_of_a_process():
    assert proc_stat.processor_seconds(os.getpid()) == pytest.approx(sum(os.times()[:2]), abs=0.1)


def test_a_process_that_has_ended_uses_nothing():
    gone = SimpleNamespace(pid=2**30, threads=0)
    assert resources._use("", [gone]) == dict.fromkeys(resources.FIGURES, 0.0)
    assert proc_stat.processor_seconds(2**30) == 0


@pytest.mark.parametrize("running", [True, False])
def test_the_proxy_is_the_daemons_child_and_ryll_need_not_run(lane, monkeypatch, running):
    def process(pid: int, parent: int) -> proc.Process:
        return proc.Process(pid, parent, 1, "S", 0, "x")

    clients = [process(6, 1)] if running else []

    def record(lane_dir: str, name: str) -> Any:
        found = {"api": [process(2, 1), process(3, 2)], "daemon": [process(4, 1), process(5, 4)], "ryll": clients}[name]
        return SimpleNamespace(members=lambda: found, pid=4 if name == "daemon" else None, log=f"{name}.log")

    monkeypatch.setattr(resources.records, "record", record)
    play: Any = SimpleNamespace(lane=lane)
    found = {name: (log, [one.pid for one in members]) for name, log, members in resources._programs(play)}
    expected = {"api": ("api.log", [2, 3]), "daemon": ("daemon.log", [4]), "proxy": ("", [5])}
    assert found == {**expected, **({"ryll": ("ryll.log", [6])} if clients else {})}


def test_a_program_that_was_never_started(lane):
    assert outcome(lane, *WATCHED) == ("program_not_running", "lane")


@pytest.mark.parametrize(
    ("address", "told", "expected"),
    [
        ("127.0.0.1", 2, PASSED),
        ("0.0.0.0", 2, ("listens_elsewhere", "proxy")),
        ("0.0.0.0", 1, ("listens_elsewhere", "kerbside")),
    ],
)
def test_who_listens_elsewhere(lane, monkeypatch, address, told, expected):
    program = "import socket, sys, time; s = socket.create_server((sys.argv[1], 0)); print(flush=True); time.sleep(60)"
    argv = [sys.executable, "-c", program, address, *["127.0.0.1"] * (told - (address == "127.0.0.1"))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        monkeypatch.setattr(resources, "_programs", lambda play: [("proxy", "", [proc.read(process.pid)])])
        assert outcome(lane, {"listeners": {}}) == expected
        process.kill()


@pytest.mark.parametrize(
    ("proxys", "clients", "wrong"),
    [
        ([True, True], [True, True], None),
        ([True, False], [True, True], "proxy"),
        ([True, True], [False, True], "ryll"),
        ([], [], "proxy"),
    ],
)
def test_who_does_not_ask_whether_the_other_end_is_there(lane, proxys, clients, wrong):
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:
        lane.place = replace(lane.place, proxy_port=server.getsockname()[1])
        for both in zip(proxys, clients, strict=True):
            client = stack.enter_context(socket.create_connection(server.getsockname()))
            for end, asks in zip((stack.enter_context(server.accept()[0]), client), both, strict=True):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, asks)
        expected = ("keepalive_missing", wrong) if wrong else PASSED
        assert outcome(lane, {"keepalive": {}, "within": 0.1}) == expected


@pytest.mark.parametrize(("options", "count"), [({"count": 2}, 2), ({}, 10)])
def test_each_session_has_two_channels(lane, monkeypatch, options, count):
    monkeypatch.setattr(FakeLink, "kept", [])
    monkeypatch.setattr(latency, "Link", FakeLink)
    assert outcome(lane, {"sessions": options}) == PASSED
    assert [one.did for one in FakeLink.kept] == [[("link", 1, "good", 0)], [("link", 3, "good", 77)]] * count
    assert not any(one.open for one in FakeLink.kept)
    assert [path for what, _, path, *_ in lane.did if what == "request"] == ["/session"] * count
    monkeypatch.setattr(FakeLink, "linking", LinkRefused(7))
    assert outcome(lane, {"sessions": options}) == ("link_wrong", "proxy")
