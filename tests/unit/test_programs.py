"""Starting, awaiting and stopping real programs: ready, dead, late, restarted, with a clean environment."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import records, stop
from ansible.module_utils.lane.programs.program import PROGRAM, SHARED, from_options
from ansible.module_utils.lane.programs.readiness import Ready
from lanes import TestLane

LISTENER = "import socket,time; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', {})); s.listen(); time.sleep(60)"
SERVER = "import http.server; http.server.HTTPServer(('127.0.0.1', {}), http.server.SimpleHTTPRequestHandler).serve_forever()"
SLOW_SERVER = (
    "import socket,time; s=socket.create_server(('127.0.0.1', {0})); time.sleep(1.5); s.close(); "
    + SERVER.replace("{}", "{0}")
)
UNIX = (
    "import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen(); c=s.accept()[0]; {}; time.sleep(60)"
)
FOREVER = "exec sleep 60"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def failure(lane: TestLane, *programs: Any, **more: bool) -> LaneError:
    """What a start fails with."""
    with pytest.raises(LaneError) as caught:
        lane.start(*programs, **more)
    return caught.value


def test_a_program_is_started_again_only_when_asked_for_described_anew_or_lost(lane: TestLane) -> None:
    program = lane.program("sleeper", FOREVER)

    def pid(**more: bool) -> tuple[bool, int]:
        done = lane.start(program, **more)
        return done["changed"], done["programs"]["sleeper"]["pid"]

    changed, first = pid()
    assert changed and first
    assert pid() == (False, first)
    assert pid(restart=True)[1] != first
    program = lane.program("sleeper", "exec sleep 61")
    changed, third = pid()
    assert changed and (found := proc.read(third)) and found.alive
    os.kill(third, signal.SIGSTOP)
    time.sleep(0.1)
    changed, fourth = pid()
    assert changed and fourth != third


@pytest.mark.parametrize("kind", ["port", "http"])
def test_ready_when_its_own_group_serves(lane: TestLane, port: int, kind: str) -> None:
    ready = Ready(port=port) if kind == "port" else Ready(http=f"http://127.0.0.1:{port}/")
    lane.start(
        lane.program("server", "", argv=python((LISTENER if kind == "port" else SERVER).format(port)), ready=ready)
    )
    assert proc.listener(port)


def test_a_stranger_on_its_port_is_named_and_is_not_readiness(lane: TestLane, port: int) -> None:
    other = lane.program(
        "other", "", argv=python(f"import socket,time; time.sleep(0.3); exec({LISTENER.format(port)!r})")
    )
    error = failure(lane, other, lane.program("waiter", FOREVER, ready=Ready(port=port), limit=1.5))
    assert (error.code, error.component) == ("program_not_ready", "kerbside")
    error = failure(lane, lane.program("listener", FOREVER, ready=Ready(port=port)))
    assert (error.code, error.component) == ("port_taken", "environment")
    assert f"port {port}, which listener needs, is taken by python" in error.problem


def test_a_missed_limit_names_the_limit_its_variable_and_how_busy_the_machine_was(lane: TestLane) -> None:
    error = failure(lane, lane.program("sleeper", FOREVER, ready=Ready(log="never"), limit=0.3))
    words = r"sleeper did not write 'never' to its log within 0\.3 s .*; the machine's load is [\d.]+ on \d+ processor.*; see .* lane_start_limit"
    assert error.code == "program_not_ready"
    with pytest.raises(LaneError, match=words):
        raise error


def test_a_slow_probe_delays_no_other_program_and_no_failure(lane: TestLane, port: int) -> None:
    slow = lane.program(
        "slow", "", argv=python(SLOW_SERVER.format(port)), ready=Ready(http=f"http://127.0.0.1:{port}/")
    )
    first = lane.program("first", "sleep 0.2; echo up; exec sleep 60", ready=Ready(log="up"))
    lane.start(slow, first, lane.program("second", FOREVER, after=("first",)))
    started = {entry.name: entry.started for entry in records.records(lane.dir)}
    ready = {entry.name: entry.started + (entry.ready_seconds or 0) for entry in records.records(lane.dir)}
    assert started["second"] < ready["slow"]
    mute = lane.program(
        "mute", "", argv=python(LISTENER.format(port + 1)), ready=Ready(http=f"http://127.0.0.1:{port + 1}/"), limit=20
    )
    begun = time.monotonic()
    assert (
        failure(lane, mute, lane.program("failer", "sleep 0.3; exit 3", ready=Ready(log="never"))).code
        == "program_ended"
    )
    assert time.monotonic() - begun < 15


def test_a_socket_that_accepts_but_sends_no_greeting_is_not_ready(lane: TestLane) -> None:
    path = f"{lane.dir}/x.sock"
    ready = Ready(socket=path, greeting=True)
    lane.start(lane.program("greeter", "", argv=python(UNIX.format(path, "c.send(b'hi')")), ready=ready))
    assert (
        failure(lane, lane.program("mute", "", argv=python(UNIX.format(path, "0")), ready=ready, limit=1.5)).code
        == "program_not_ready"
    )


def test_ready_by_its_log_counts_only_lines_of_this_start(lane: TestLane) -> None:
    lane.start(lane.program("talker", "echo ready; exec sleep 60", ready=Ready(log="^ready")))
    assert (
        failure(lane, lane.program("talker", FOREVER, ready=Ready(log="^ready"), limit=0.3)).code == "program_not_ready"
    )


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no such disk >&2; exit 3", "failer ended with status 3 after "),
        ("kill -SEGV $$", "failer was killed by SIGSEGV after "),
        ("kill -KILL 0; sleep 5", "failer was killed with its whole process group (no exit status) after "),
    ],
)
def test_an_end_before_it_is_ready_is_reported_at_once(lane: TestLane, script: str, words: str) -> None:
    begun = time.monotonic()
    error = failure(lane, lane.program("failer", script, ready=Ready(port=1), limit=60))
    assert time.monotonic() - begun < 20
    assert (error.code, error.component) == ("program_ended", "kerbside")
    assert error.problem.startswith(words)
    if "disk" in script:
        assert error.problem.endswith(" s, before it was ready: no such disk")
        assert error.evidence == f"{lane.dir}/logs/failer.log:1"


def test_an_end_right_after_it_was_ready_is_reported_as_well(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        records.Record, "pid", None
    )  # as when the program has ended, and its supervisor has not noted it yet
    error = failure(lane, lane.program("brief", "echo up; sleep 0.3; exit 3", ready=Ready(log="up")))
    assert (error.code, error.problem.partition(":")[0]) == ("program_ended", "brief ended with status 3")


def test_oneshots_run_once_until_described_anew_and_have_to_end_well(lane: TestLane) -> None:
    script = f"echo x >> {lane.dir}/count"
    assert lane.start(lane.program("once", script, oneshot=True))["changed"]
    assert not lane.start(lane.program("once", script, oneshot=True))["changed"]
    assert lane.start(lane.program("once", script + "; true", oneshot=True))["changed"]
    with open(f"{lane.dir}/count") as file:
        assert len(file.readlines()) == 2
    assert failure(lane, lane.program("once", "exit 1", oneshot=True)).code == "program_ended"
    assert failure(lane, lane.program("once", "sleep 9", oneshot=True, limit=0.3)).code == "program_not_ready"


def test_after_waits_and_the_others_run_side_by_side(lane: TestLane) -> None:
    note = f">> {lane.dir}/order"
    first = lane.program("first", f"sleep 0.4; echo first {note}", oneshot=True)
    side = lane.program("side", f"echo begun {note}; sleep 0.4", oneshot=True)
    lane.start(first, side, lane.program("then", f"echo then {note}", oneshot=True, after=("first",)))
    with open(f"{lane.dir}/order") as file:
        assert file.read().split() == ["begun", "first", "then"]


def test_a_program_whose_first_thread_is_gone_has_not_ended(lane: TestLane) -> None:
    """The kernel calls it a zombie while its other threads go on and hold its sockets."""
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # exit(2) of this thread alone
    code = f"import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); ctypes.CDLL(None).syscall({number}, 0)"
    pid = lane.start(lane.program("half", "", argv=python(code)))["programs"]["half"]["pid"]
    until = time.monotonic() + 5
    while (found := proc.read(pid)) and found.state != "Z" and time.monotonic() < until:
        time.sleep(0.01)
    assert found and found.state == "Z" and found.alive
    entry = records.record(lane.dir, "half")
    assert entry and entry.running(lane.run) and entry.exit_status(lane.dir) is None
    stop.stop(lane.run, [entry], 1)
    assert not ((gone := proc.read(pid)) and gone.alive)


def test_environment_is_clean_and_secrets_come_from_files(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERBSIDE_SQL_URL", "somebody else's")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ticket, made = f"{lane.dir}/secrets/spice_ticket", f"{lane.dir}/made"
    given: dict[str, Any] = {
        "env": {"GIVEN": "1"},
        "secret_env": {"URL": (ticket, "db://{}@x")},
        "secret_files": {made: (ticket, "<{}>")},
    }
    lane.start(lane.program("printer", f"env > {lane.dir}/env", oneshot=True, **given))
    with open(ticket) as file:
        secret = file.read()
    with open(f"{lane.dir}/env") as file:
        seen = dict(line.rstrip("\n").split("=", 1) for line in file)
    assert seen["URL"] == f"db://{secret}@x"
    assert seen["KERBSIDE_LANE"] == lane.run.mark
    assert set(seen) <= {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "SPT_NOENV",
        "KERBSIDE_LANE",
        "GIVEN",
        "URL",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }
    with open(made) as file:
        assert file.read() == f"<{secret}>"
    assert os.stat(made).st_mode & 0o777 == 0o600
    with open(f"{lane.dir}/processes/printer.json") as file:
        assert secret not in file.read()
    missing = lane.program("printer", FOREVER, secret_files={made: ("/no/such", "{}")})
    assert failure(lane, missing).code == "secret_missing"


@pytest.mark.parametrize(
    ("more", "code", "component"),
    [
        ({"argv": ("/no/such",)}, "program_missing", "kerbside"),
        ({"after": ("nobody",)}, "invalid_program", "lane"),
    ],
)
def test_what_cannot_be_started_is_refused(lane: TestLane, more: dict[str, Any], code: str, component: str) -> None:
    error = failure(lane, lane.program("ghost", "", **more))
    assert (error.code, error.component) == (code, component)
    assert failure(lane, lane.program("../ghost", "")).code == "invalid_program"


def test_stop_takes_the_whole_group_and_kills_what_ignores_the_signal(lane: TestLane) -> None:
    stubborn = lane.program("stubborn", "trap '' TERM; sleep 60 & sleep 60")
    polite = lane.program("polite", f"trap 'echo bye >> {lane.dir}/bye; exit' TERM; while :; do sleep 0.05; done")
    frozen = lane.program("frozen", FOREVER)
    started = lane.start(stubborn, polite, frozen)
    os.kill(started["programs"]["frozen"]["pid"], signal.SIGSTOP)
    time.sleep(0.2)
    assert stop.stop(lane.run, records.records(lane.dir), 2) == ["frozen", "polite", "stubborn"]
    with open(f"{lane.dir}/logs/lane.log", encoding="utf-8") as log:
        assert [line.partition("Z  INFO lane: ")[2] for line in log] == [
            f"sends SIGTERM to {name}\n" for name in ("frozen", "polite", "stubborn")
        ]
    assert os.stat(f"{lane.dir}/logs/lane.log").st_mode & 0o077 == 0
    assert not proc.marked(98)
    assert os.path.exists(f"{lane.dir}/bye")
    entry = records.record(lane.dir, "frozen")
    assert entry and entry.exit_status(lane.dir) == 128 + signal.SIGTERM, "SIGTERM reached it because it was continued"


TICKET = {"file": "/secret", "format": "x:{}"}


def described(shared: dict[str, Any] | None = None, **options: Any) -> Any:
    """A program from options that have passed the argument spec, as in a module."""
    found = ArgumentSpecValidator(PROGRAM).validate({"name": "server", "argv": ["/bin/true"], "log": "/log", **options})
    assert not found.error_messages
    common = ArgumentSpecValidator(SHARED).validate(shared or {})
    return from_options(found.validated_parameters, common.validated_parameters)


def test_shared_options_go_to_those_that_ask_and_give_way_to_their_own() -> None:
    shared = {
        "env": {"A": 1, "B": 2},
        "secret_env": {"T": {"file": "/other"}, "U": TICKET},
        "secret_files": {"/f": TICKET},
    }
    asking = described(shared, shared_env=True, env={"B": 3}, secret_env={"T": TICKET})
    assert asking.env == {"A": "1", "B": "3"}
    assert asking.secret_env == {"T": ("/secret", "x:{}"), "U": ("/secret", "x:{}")}
    assert asking.secret_files == {"/f": ("/secret", "x:{}")}
    other = described(
        shared, env={"B": 3}, fatal={"file": "/s", "pattern": "p", "component": "firmware", "problem": "x: {}"}
    )
    assert (other.env, other.secret_env, other.secret_files, other.fatal.component) == ({"B": "3"}, {}, {}, "firmware")


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": []},
        {"log": None},
        *(
            {"secret_env": {"T": source}}
            for source in ("/secret", {}, {"format": "{}"}, {"file": "/secret", "mode": "0600"})
        ),
    ],
)
def test_incomplete_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LaneError) as caught:
        described(**wrong)
    assert caught.value.code == "invalid_program"
