"""Starting, awaiting and stopping real programs: ready, dead, late, restarted, with a clean environment."""

import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import proc, run_state
from ansible.module_utils.lane.programs import records, stop
from ansible.module_utils.lane.programs.program import LIMIT, PROGRAM, SHARED, Program, from_options
from ansible.module_utils.lane.programs.readiness import Ready
from lanes import TestLane
from prepared import fails

IMPORTS = "import ctypes, socket, threading, time; from http.server import *; "
LISTENER = IMPORTS + "s = socket.create_server(('127.0.0.1', {0})); time.sleep(60)"
SERVER = IMPORTS + "HTTPServer(('127.0.0.1', {0}), SimpleHTTPRequestHandler).serve_forever()"
SLOW_SERVER = IMPORTS + "s = socket.create_server(('127.0.0.1', {0})); time.sleep(1.5); s.close(); " + SERVER
UNIX = IMPORTS + "s = socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen(); c = s.accept()[0]; {}; time.sleep(60)"
#: The first thread ends with a raw exit(2); the system call's number is filled in.
HALF = IMPORTS + "threading.Thread(target=time.sleep, args=(60,)).start(); ctypes.CDLL(None).syscall({})"
FOREVER = "exec sleep 60"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(lane: TestLane, name: str, code: str, **more: Any) -> Program:
    return lane.program(name, "", argv=(sys.executable, "-c", code), **more)


def failure(lane: TestLane, *programs: Any, **more: bool) -> LaneError:
    """What a start fails with."""
    with pytest.raises(LaneError) as caught:
        lane.start(*programs, **more)
    return caught.value


def test_a_program_is_started_again_only_when_asked_for_described_anew_or_lost(lane):
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
def test_ready_when_its_own_group_serves(lane, port, kind):
    ready = Ready(port=port) if kind == "port" else Ready(http=f"http://127.0.0.1:{port}/")
    lane.start(python(lane, "server", (LISTENER if kind == "port" else SERVER).format(port), ready=ready))
    assert proc.listener(port)


def test_a_stranger_on_its_port_is_named_and_is_not_readiness(lane, port):
    other = python(lane, "other", f"import time; time.sleep(0.3); exec({LISTENER.format(port)!r})")
    error = failure(lane, other, lane.program("waiter", FOREVER, ready=Ready(port=port), limit=1.5))
    assert (error.code, error.component) == ("program_not_ready", "kerbside")
    error = failure(lane, lane.program("listener", FOREVER, ready=Ready(port=port)))
    assert (error.code, error.component) == ("port_taken", "environment")
    assert f"port {port}, which listener needs, is taken by python" in error.problem


def test_a_missed_limit_names_the_limit_its_variable_and_how_busy_the_machine_was(lane):
    error = failure(lane, lane.program("sleeper", FOREVER, ready=Ready(log="never"), limit=0.3))
    assert error.code == "program_not_ready"
    words = r"sleeper did not write 'never' to its log within 0\.3 s .*; the machine's load is [\d.]+ on \d+ processor"
    assert re.match(words + ".*; see .* lane_start_limit", error.cause)


def test_a_slow_probe_delays_no_other_program_and_no_failure(lane, port):
    slow = python(lane, "slow", SLOW_SERVER.format(port), ready=Ready(http=f"http://127.0.0.1:{port}/"))
    first = lane.program("first", "sleep 0.2; echo up; exec sleep 60", ready=Ready(log="up"))
    lane.start(slow, first, lane.program("second", FOREVER, after=("first",)))
    known = {entry.name: entry for entry in records.records(lane.dir)}
    assert known["second"].started < known["slow"].started + (known["slow"].ready_seconds or 0)
    url = f"http://127.0.0.1:{port + 1}/"
    mute = python(lane, "mute", LISTENER.format(port + 1), ready=Ready(http=url), limit=20)
    failer = lane.program("failer", "sleep 0.3; exit 3", ready=Ready(log="never"))
    begun = time.monotonic()
    assert failure(lane, mute, failer).code == "program_ended"
    assert time.monotonic() - begun < 15


def test_a_socket_that_accepts_but_sends_no_greeting_is_not_ready(lane):
    path = f"{lane.dir}/x.sock"
    ready = Ready(socket=path, greeting=True)
    lane.start(python(lane, "greeter", UNIX.format(path, "c.send(b'hi')"), ready=ready))
    mute = python(lane, "mute", UNIX.format(path, "0"), ready=ready, limit=1.5)
    assert failure(lane, mute).code == "program_not_ready"


def test_ready_by_its_log_counts_only_lines_of_this_start(lane):
    lane.start(lane.program("talker", "echo ready; exec sleep 60", ready=Ready(log="^ready")))
    silent = lane.program("talker", FOREVER, ready=Ready(log="^ready"), limit=0.3)
    assert failure(lane, silent).code == "program_not_ready"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no such disk >&2; exit 3", "failer ended with status 3 after "),
        ("kill -SEGV $$", "failer was killed by SIGSEGV after "),
        ("kill -KILL 0; sleep 5", "failer was killed with its whole process group (no exit status) after "),
    ],
)
def test_an_end_before_it_is_ready_is_reported_at_once(lane, script, words):
    begun = time.monotonic()
    error = failure(lane, lane.program("failer", script, ready=Ready(port=1), limit=60))
    assert time.monotonic() - begun < 20
    assert (error.code, error.component) == ("program_ended", "kerbside")
    assert error.problem.startswith(words)
    if "disk" in script:
        assert error.problem.endswith(" s, before it was ready: no such disk")
        assert error.evidence == f"{lane.dir}/logs/failer.log:1"


def test_an_end_right_after_it_was_ready_is_reported_as_well(lane, monkeypatch):
    # as when the program has ended, and its supervisor has not noted it yet
    monkeypatch.setattr(records.Record, "pid", None)
    error = failure(lane, lane.program("brief", "echo up; sleep 0.3; exit 3", ready=Ready(log="up")))
    assert (error.code, error.problem.partition(":")[0]) == ("program_ended", "brief ended with status 3")


def test_oneshots_run_once_until_described_anew_and_have_to_end_well(lane):
    script = f"echo x >> {lane.dir}/count"
    assert lane.start(lane.program("once", script, oneshot=True))["changed"]
    assert not lane.start(lane.program("once", script, oneshot=True))["changed"]
    assert lane.start(lane.program("once", script + "; true", oneshot=True))["changed"]
    assert Path(lane.dir, "count").read_text() == "x\nx\n"
    assert failure(lane, lane.program("once", "exit 1", oneshot=True)).code == "program_ended"
    assert failure(lane, lane.program("once", "sleep 9", oneshot=True, limit=0.3)).code == "program_not_ready"


def test_after_waits_and_the_others_run_side_by_side(lane):
    note = f">> {lane.dir}/order"
    first = lane.program("first", f"sleep 0.4; echo first {note}", oneshot=True)
    side = lane.program("side", f"echo begun {note}; sleep 0.4", oneshot=True)
    lane.start(first, side, lane.program("then", f"echo then {note}", oneshot=True, after=("first",)))
    assert Path(lane.dir, "order").read_text().split() == ["begun", "first", "then"]


def test_a_program_whose_first_thread_is_gone_has_not_ended(lane):
    """The kernel calls it a zombie while its other threads go on and hold its sockets."""
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
    pid = lane.start(python(lane, "half", HALF.format(number)))["programs"]["half"]["pid"]
    assert run_state.until(lambda: proc.read(pid).state == "Z", 5) and proc.read(pid).alive
    entry = records.record(lane.dir, "half")
    assert entry and entry.running(lane.run) and entry.exit_status(lane.dir) is None
    stop.stop(lane.run, [entry], 1)
    assert not ((gone := proc.read(pid)) and gone.alive)


def test_environment_is_clean_and_secrets_come_from_files(lane, monkeypatch):
    monkeypatch.setenv("KERBSIDE_SQL_URL", "somebody else's")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ticket, made = f"{lane.dir}/secrets/spice_ticket", f"{lane.dir}/made"
    given = {"secret_env": {"URL": (ticket, "db://{}@x")}, "secret_files": {made: (ticket, "<{}>")}}
    lane.start(lane.program("printer", f"env > {lane.dir}/env", oneshot=True, env={"GIVEN": "1"}, **given))
    secret = Path(ticket).read_text()
    seen = dict(line.split("=", 1) for line in Path(lane.dir, "env").read_text().splitlines())
    assert seen["URL"] == f"db://{secret}@x"
    assert seen["KERBSIDE_LANE"] == lane.run.mark
    assert set(seen) <= {*"PATH HOME TMPDIR LANG SPT_NOENV KERBSIDE_LANE GIVEN URL PWD OLDPWD SHLVL _".split()}
    assert Path(made).read_text() == f"<{secret}>"
    assert os.stat(made).st_mode & 0o777 == 0o600
    assert secret not in Path(lane.dir, "processes/printer.json").read_text()
    missing = lane.program("printer", FOREVER, secret_files={made: ("/no/such", "{}")})
    assert failure(lane, missing).code == "secret_missing"


def test_what_cannot_be_started_is_refused(lane):
    error = failure(lane, lane.program("ghost", "", argv=("/no/such",)))
    assert (error.code, error.component) == ("program_missing", "kerbside")
    for program in (lane.program("ghost", "", after=("nobody",)), lane.program("../ghost", "")):
        error = failure(lane, program)
        assert (error.code, error.component) == ("invalid_program", "lane")


def test_stop_takes_the_whole_group_and_kills_what_ignores_the_signal(lane):
    stubborn = lane.program("stubborn", "trap '' TERM; sleep 60 & sleep 60")
    polite = lane.program("polite", f"trap 'echo bye >> {lane.dir}/bye; exit' TERM; while :; do sleep 0.05; done")
    frozen = lane.program("frozen", FOREVER)
    started = lane.start(stubborn, polite, frozen)
    os.kill(started["programs"]["frozen"]["pid"], signal.SIGSTOP)
    time.sleep(0.2)
    names, log = ["frozen", "polite", "stubborn"], Path(lane.dir, "logs/lane.log")
    stop.stop(lane.run, records.records(lane.dir), 2)
    reported = [line.partition("Z  INFO lane: ")[2] for line in log.read_text().splitlines()]
    assert reported == [f"sends SIGTERM to {name}" for name in names]
    assert log.stat().st_mode & 0o077 == 0
    assert not proc.marked(98)
    assert os.path.exists(f"{lane.dir}/bye")
    entry = records.record(lane.dir, "frozen")
    assert entry and entry.exit_status(lane.dir) == 128 + signal.SIGTERM, "SIGTERM reached it because it was continued"


TICKET = {"file": "/secret", "format": "x:{}"}


def described(shared: dict[str, Any] | None = None, **options: Any) -> Any:
    """A program from options that have passed the argument spec, as in a module."""
    found = ArgumentSpecValidator(PROGRAM).validate({"name": "server", "argv": ["/bin/true"], **options})
    assert not found.error_messages
    common = ArgumentSpecValidator({**LIMIT, **SHARED}).validate(shared or {})
    return from_options(found.validated_parameters, {"lane_dir": "/lane", **common.validated_parameters})


def test_shared_options_go_to_those_that_ask_and_give_way_to_their_own():
    secret = {"secret_env": {"T": {"file": "/other"}, "U": TICKET}, "secret_files": {"/f": TICKET}}
    shared = {"env": {"A": 1, "B": 2}, "limit": 7, **secret}
    asking = described(shared, shared_env=True, env={"B": 3}, secret_env={"T": TICKET})
    assert asking.env == {"A": "1", "B": "3"}
    assert asking.secret_env == {"T": ("/secret", "x:{}"), "U": ("/secret", "x:{}")}
    assert asking.secret_files == {"/f": ("/secret", "x:{}")}
    assert (asking.limit, asking.log) == (7, "/lane/logs/server.log")
    fatal = {"pattern": "p", "component": "firmware", "problem": "x: {}"}
    other = described(shared, env={"B": 3}, fatal=fatal)
    assert (other.env, other.secret_env, other.secret_files) == ({"B": "3"}, {}, {})
    assert (other.fatal.component, other.fatal.file) == ("firmware", other.log)
    assert described(fatal={**fatal, "file": "/serial"}).fatal.file == "/serial"


def test_incomplete_secrets_are_refused():
    sources = ("/secret", {"format": "{}"}, {"file": "/secret", "mode": "0600"})
    for source in sources:
        with fails("invalid_program", "lane"):
            described(secret_env={"T": source})
