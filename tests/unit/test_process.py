"""lane_process on real programs: ready, dead, late, restarted, stopped, and nothing of the caller's environment in them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import process, readiness
from lanes import TestLane, claimed_lane

LISTENER = (
    "import socket,time; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', {})); s.listen(); time.sleep(60)"
)
SERVER = "import http.server; http.server.HTTPServer(('127.0.0.1', {}), http.server.SimpleHTTPRequestHandler).serve_forever()"
SLOW_SERVER = "import socket,time; s=socket.create_server(('127.0.0.1', {0})); time.sleep(1.5); s.close(); " + SERVER.replace("{}", "{0}")
UNIX = "import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen(); c=s.accept()[0]; {}; time.sleep(60)"


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_a_second_start_changes_nothing(lane: TestLane) -> None:
    program = lane.program("sleeper", "exec sleep 60")
    first = lane.start(program)
    second = lane.start(program)
    assert first["changed"] and not second["changed"]
    assert first["programs"]["sleeper"]["pid"] == second["programs"]["sleeper"]["pid"] is not None


def test_another_description_restarts_it(lane: TestLane) -> None:
    first = lane.start(lane.program("sleeper", "exec sleep 60"))
    second = lane.start(lane.program("sleeper", "exec sleep 61"))
    assert second["changed"]
    assert proc.read(first["programs"]["sleeper"]["pid"]) is None or not proc.read(first["programs"]["sleeper"]["pid"]).alive


def test_restart_starts_it_again(lane: TestLane) -> None:
    program = lane.program("sleeper", "exec sleep 60")
    first = lane.start(program)
    assert lane.start(program, restart=True)["programs"]["sleeper"]["pid"] != first["programs"]["sleeper"]["pid"]


def test_ready_when_its_own_group_listens(lane: TestLane) -> None:
    port = free_port()
    lane.start(lane.program("listener", "", argv=python(LISTENER.format(port)), ready=readiness.Ready(port=port)))
    assert proc.listener(port)


def test_a_port_that_a_stranger_has_is_named(lane: TestLane) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(LaneError, match=rf"^environment: expected port {port} to be free for listener, but it is taken by \S+, pid {os.getpid()}"):
            lane.start(lane.program("listener", "exec sleep 60", ready=readiness.Ready(port=port)))


def test_a_listener_outside_the_group_is_not_readiness(lane: TestLane) -> None:
    port = free_port()
    stranger = f"import socket,time; time.sleep(0.3); exec({LISTENER.format(port)!r})"
    other = lane.program("other", "", argv=python(stranger))
    waiter = lane.program("waiter", "exec sleep 60", ready=readiness.Ready(port=port), limit=1.5)
    with pytest.raises(LaneError, match=rf"waiter to listen on port {port} within 1\.5 s, but it is still running without that"):
        lane.start(other, waiter)


def test_ready_when_http_answers(lane: TestLane) -> None:
    port = free_port()
    ready = readiness.Ready(http=f"http://127.0.0.1:{port}/")
    lane.start(lane.program("server", "", argv=python(SERVER.format(port)), ready=ready))


def test_a_program_that_accepts_and_does_not_answer_yet_holds_no_other_back(lane: TestLane) -> None:
    port = free_port()
    slow = lane.program("slow", "", argv=python(SLOW_SERVER.format(port)), ready=readiness.Ready(http=f"http://127.0.0.1:{port}/"))
    first = lane.program("first", "sleep 0.2; echo up; exec sleep 60", ready=readiness.Ready(log="up"))
    second = lane.program("second", "exec sleep 60", after=("first",))
    lane.start(slow, first, second)
    started = {entry.name: entry.started for entry in process.records(lane.dir)}
    assert started["second"] - started["first"] < 0.6, "it was held back until the look at slow was over, which takes a second"


def test_a_look_that_nobody_answers_outlives_no_failure(lane: TestLane) -> None:
    port = free_port()
    mute = lane.program("mute", "", argv=python(LISTENER.format(port)), ready=readiness.Ready(http=f"http://127.0.0.1:{port}/"), limit=20)
    begun = time.monotonic()
    with pytest.raises(LaneError, match=r"failer to write .never. to its log, but it ended with status 3"):
        lane.start(mute, lane.program("failer", "sleep 0.3; exit 3", ready=readiness.Ready(log="never")))
    assert time.monotonic() - begun < 0.9


def test_a_socket_that_accepts_but_sends_no_greeting_is_not_ready(lane: TestLane) -> None:
    path = f"{lane.dir}/x.sock"
    ready = readiness.Ready(socket=path, greeting=True)
    lane.start(lane.program("greeter", "", argv=python(UNIX.format(path, "c.send(b'hi')")), ready=ready))
    with pytest.raises(LaneError, match=r"mute to accept on .* within 1\.5 s"):
        lane.start(lane.program("mute", "", argv=python(UNIX.format(path, "0")), ready=ready, limit=1.5))


def test_ready_by_its_log_counts_only_lines_of_this_start(lane: TestLane) -> None:
    ready = readiness.Ready(log="^ready")
    lane.start(lane.program("talker", "echo ready; exec sleep 60", ready=ready))
    with pytest.raises(LaneError, match=r"talker to write '\^ready' to its log within 0\.3 s"):
        lane.start(lane.program("talker", "exec sleep 60", ready=ready, limit=0.3))


def test_death_while_waiting_is_told_at_once(lane: TestLane) -> None:
    begun = time.monotonic()
    with pytest.raises(LaneError) as caught:
        lane.start(lane.program("failer", "echo no such disk >&2; exit 3", ready=readiness.Ready(port=1), limit=20))
    assert time.monotonic() - begun < 2
    assert "kerbside: expected failer to listen on port 1, but it ended with status 3 after 0." in str(caught.value)
    assert "no such disk" in str(caught.value)
    assert caught.value.evidence == f"{lane.dir}/logs/failer.log:1"


def test_a_signal_is_named(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"it ended by SIGSEGV after"):
        lane.start(lane.program("failer", "kill -SEGV $$", ready=readiness.Ready(port=1)))


def test_a_group_that_is_killed_whole_is_noticed(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"it ended by a signal to its whole process group \(no exit status\)"):
        lane.start(lane.program("victim", "kill -KILL 0; sleep 5", ready=readiness.Ready(port=1)))


def test_oneshot_runs_once_and_again_when_described_anew(lane: TestLane) -> None:
    script = f"echo x >> {lane.dir}/count"
    assert lane.start(lane.program("once", script, oneshot=True))["changed"]
    assert not lane.start(lane.program("once", script, oneshot=True))["changed"]
    assert lane.start(lane.program("once", script + "; true", oneshot=True))["changed"]
    with open(f"{lane.dir}/count") as file:
        assert len(file.readlines()) == 2


def test_oneshot_that_fails_and_one_that_hangs(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"expected once to end well, but it ended with status 1"):
        lane.start(lane.program("once", "exit 1", oneshot=True))
    with pytest.raises(LaneError, match=r"expected once to end within 0\.3 s, but it is still running"):
        lane.start(lane.program("once", "sleep 9", oneshot=True, limit=0.3))


def test_after_waits_and_the_others_run_side_by_side(lane: TestLane) -> None:
    note = f"echo $0 $(date +%s%N) >> {lane.dir}/order; "
    first = lane.program("first", "sleep 0.4; echo done >> " + f"{lane.dir}/order", oneshot=True)
    side = lane.program("side", f"sleep 0.4; echo side >> {lane.dir}/order", oneshot=True)
    then = lane.program("then", note + f"echo then >> {lane.dir}/order", oneshot=True, after=("first",))
    begun = time.monotonic()
    lane.start(first, side, then)
    assert time.monotonic() - begun < 0.75
    with open(f"{lane.dir}/order") as file:
        lines = [line.strip() for line in file]
    assert lines.index("done") < lines.index("then")


def test_a_program_whose_first_thread_is_gone_has_not_ended(lane: TestLane) -> None:
    """The kernel calls it a zombie while its other threads go on and hold its sockets."""
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # exit(2) of this thread alone
    code = f"import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); ctypes.CDLL(None).syscall({number}, 0)"
    pid = lane.start(lane.program("half", "", argv=python(code)))["programs"]["half"]["pid"]
    until = time.monotonic() + 5
    while (found := proc.read(pid)) and found.state != "Z" and time.monotonic() < until:
        time.sleep(0.01)
    assert found and found.state == "Z" and found.alive
    entry = process.record(lane.dir, "half")
    assert entry and entry.running(lane.run) and entry.exit_status(lane.dir) is None
    process.stop(lane.dir, lane.run, [entry], 1)
    assert not ((gone := proc.read(pid)) and gone.alive)


def test_after_has_to_name_an_earlier_program(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"then to come after programs listed before it, but nobody is not among them"):
        lane.start(lane.program("then", "true", after=("nobody",)))


def test_environment_is_clean_and_secrets_come_from_files(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERBSIDE_SQL_URL", "somebody else's")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ticket = f"{lane.dir}/secrets/spice_ticket"
    made = f"{lane.dir}/made"
    program = lane.program(
        "printer",
        f"env > {lane.dir}/env",
        oneshot=True,
        env={"GIVEN": "1"},
        secret_env={"URL": (ticket, "db://{}@x")},
        secret_files={made: (ticket, "<{}>")},
    )
    lane.start(program)
    with open(ticket) as file:
        secret = file.read()
    with open(f"{lane.dir}/env") as file:
        seen = dict(line.rstrip("\n").split("=", 1) for line in file)
    assert seen["URL"] == f"db://{secret}@x"
    assert seen["KERBSIDE_LANE"] == lane.run.mark
    assert set(seen) <= {"PATH", "HOME", "TMPDIR", "LANG", "SPT_NOENV", "KERBSIDE_LANE", "GIVEN", "URL", "PWD", "OLDPWD", "SHLVL", "_"}
    with open(made) as file:
        assert file.read() == f"<{secret}>"
    assert os.stat(made).st_mode & 0o777 == 0o600
    with open(f"{lane.dir}/processes/printer.json") as file:
        assert secret not in file.read()


def test_no_program_at_that_path(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"expected ghost to start, but /no/such is not an executable file"):
        lane.start(lane.program("ghost", "", argv=("/no/such",)))


def test_stop_takes_the_whole_group_and_kills_who_does_not_listen(lane: TestLane) -> None:
    stubborn = lane.program("stubborn", "trap '' TERM; sleep 60 & sleep 60", ready=readiness.Ready())
    polite = lane.program("polite", f"trap 'echo bye >> {lane.dir}/bye; exit' TERM; while :; do sleep 0.05; done")
    lane.start(stubborn, polite)
    time.sleep(0.2)
    assert process.stop(lane.dir, lane.run, process.records(lane.dir), 0.5) == ["polite", "stubborn"]
    assert not proc.marked(98)
    assert os.path.exists(f"{lane.dir}/bye")


def test_stop_wakes_a_stopped_program(lane: TestLane) -> None:
    pid = lane.start(lane.program("sleeper", "exec sleep 60"))["programs"]["sleeper"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    process.stop(lane.dir, lane.run, process.records(lane.dir), 5)
    assert time.monotonic() - begun < 2


def test_a_record_of_a_pid_that_is_somebody_elses_is_not_trusted(lane: TestLane) -> None:
    lane.start(lane.program("sleeper", "exec sleep 60"))
    entry = process.record(lane.dir, "sleeper")
    assert entry is not None
    process.end_groups({entry.group}, signal.SIGKILL, 5)
    entry.group = os.getpgid(0)
    entry.save(lane.dir)
    assert not entry.running(lane.run)
    assert process.stop(lane.dir, lane.run, process.records(lane.dir), 1) == []
