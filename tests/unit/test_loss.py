"""Programs that ended, stopped, broke or never were ready, and that this is noticed whatever the lane waits for."""

import os
import signal
import socket
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import limits
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import proc, run_state
from ansible.module_utils.lane.programs import loss, records, stop
from ansible.module_utils.lane.programs.program import Fatal
from ansible.module_utils.lane.programs.readiness import Ready
from lanes import HELD, TestLane
from prepared import fails

FOREVER = "exec sleep 60"
#: As kerbside 0.8.0's daemon wrote it when a row of consoletokens had no `expires`; the process and its proxy went on.
DEAD_THREAD = """Traceback (most recent call last):
  File "/v/bin/kerbside", line 8, in <module>
    sys.exit(cli())
             ^^^^^
  File "/v/lib/python3.11/site-packages/kerbside/db.py", line 392, in get_consoles
    if token.expires > now:
       ^^^^^^^^^^^^^^^^^^^
TypeError: '>' not supported between instances of 'NoneType' and 'float'
"""
DEAD = r'^Traceback.*\n +File "[^"]+/bin/kerbside", line \d+, in <module>\n(?: .*\n)*(\S.*)\n'
#: As OVMF_CODE_4M.secboot.fd wrote it on the serial port of a machine without SMM.
EXCEPTION = "\x1b[2J!!!! X64 Exception Type - 06(#UD - Invalid Opcode)  CPU Apic ID - 00000000 !!!!\r\n"
ROLES = Path(__file__).parents[2] / "roles"


def entry(lane: TestLane, name: str = "one") -> records.Record:
    return records.record(lane.dir, name)


def lost(lane: TestLane, count: int = 1) -> list[loss.Lost]:
    """What is lost, as soon as there are so many of them."""
    run_state.until(lambda: len(loss.lost(lane.dir)) >= count, 10)
    return loss.lost(lane.dir)


def test_programs_that_work_are_not_lost_and_a_oneshot_that_ended_well_is_not(lane):
    lane.start(lane.program("one", FOREVER), lane.program("done", "true", oneshot=True))
    done = entry(lane, "done")
    done.ready_seconds, done.started = None, done.started - 60  # its supervisor did not record the end
    done.save(lane.dir)
    assert loss.lost(lane.dir) == []
    loss.check_alive(lane.dir)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("true", "one ended with status 0 and wrote nothing to its log"),
        ("echo an error; exit 7", "one ended with status 7: an error"),
        ("echo an error; kill -TERM $$", "one was killed by SIGTERM"),
        ("kill -KILL 0", "one was killed with its whole process group (no exit status)"),
    ],
)
def test_a_program_that_ended(lane, script, problem):
    lane.start(lane.program("one", HELD + script))
    lane.release()
    [gone] = lost(lane)
    assert (gone.code, gone.component, gone.problem) == ("program_ended", "kerbside", problem)
    with fails("program_ended", "kerbside"):
        loss.check_alive(lane.dir)
    loss.check_alive(lane.dir, {"one"})


def test_a_program_that_ends_meanwhile_ended_with_its_status(lane, monkeypatch):
    lane.start(lane.program("one", HELD + "exit 7"))
    members = records.Record.members

    def ended_meanwhile(of: records.Record, found: object = None) -> list[proc.Process]:
        lane.release()
        assert run_state.until(lambda: not members(of), 10)
        return []

    monkeypatch.setattr(records.Record, "members", ended_meanwhile)
    [gone] = loss.lost(lane.dir)
    assert gone.problem == "one ended with status 7 and wrote nothing to its log"


def test_a_kill_for_memory_is_the_hosts_fault(lane, monkeypatch, tmp_path):
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 1\noom_kill 3\n")
    monkeypatch.setattr(limits, "_cgroup_file", lambda *_: events)
    lane.start(lane.program("one", FOREVER), lane.program("two", FOREVER))
    for name in ("one", "two"):
        os.kill(entry(lane, name).pid or 0, signal.SIGKILL)
    assert {gone.code for gone in lost(lane, 2)} == {"program_ended"}
    events.write_text("low 0\noom 2\noom_kill 4\n")
    assert {(gone.code, gone.component) for gone in lost(lane, 2)} == {("out_of_memory", "host")}
    # when it is ready by its log: by then its shell no longer traps signals
    again = lane.program("one", f"echo up; {FOREVER}", ready=Ready(log="up"))
    os.kill(lane.start(again)["programs"]["one"]["pid"], signal.SIGTERM)
    events.write_text("oom_kill 5\n")
    assert {gone.entry.name: gone.code for gone in lost(lane, 2)} == {"one": "program_ended", "two": "out_of_memory"}


def test_a_stopped_program_is_lost_until_it_goes_on(lane):
    lane.start(lane.program("one", FOREVER))
    pid = entry(lane).pid
    os.kill(pid, signal.SIGSTOP)
    [gone] = lost(lane)
    assert (gone.code, gone.problem) == ("program_stopped", f"one (pid {pid}) is stopped (state T, as after SIGSTOP)")
    os.kill(pid, signal.SIGCONT)
    os.kill(entry(lane).group, signal.SIGSTOP)
    shells = [gone.problem.partition(" (")[0] for gone in lost(lane) if "stopped" in gone.code]
    assert shells == ["the shell that started one"]
    os.kill(entry(lane).group, signal.SIGCONT)
    assert run_state.until(lambda: not loss.lost(lane.dir), 5)


@pytest.mark.parametrize(
    ("name", "text", "pattern", "words", "line"),
    [
        ("kerbside", "up\n" + DEAD_THREAD, DEAD, "TypeError: '>' not", 9),
        ("sextant_vm", EXCEPTION, r"!!!! (\w+ Exception Type.*)\n", "X64 Exception Type - 06(#UD", 1),
    ],
)
def test_a_program_that_is_broken(lane, name, text, pattern, words, line):
    """The pattern is the one of the role."""
    assert any(pattern in file.read_text() for file in (ROLES / name / "vars").rglob("*.yml"))
    file = f"{lane.dir}/logs/one.log"
    Path(file).write_text(text)
    one = lane.program("one", FOREVER, fatal=Fatal(file, pattern, "firmware", "it is broken: {}"))
    lane.start(one)
    assert loss.lost(lane.dir) == [], "what an earlier start wrote does not count"
    for part in (text[:20], text[20:-1], text[-1:]):
        assert loss.lost(lane.dir) == []
        with open(file, "a") as log:
            log.write(part)
    [gone] = loss.lost(lane.dir)
    assert (gone.code, gone.component) == ("program_broken", "firmware")
    assert gone.problem.startswith(f"it is broken: {words}")
    assert gone.evidence == f"{file}:{text.count(chr(10)) + line}"
    assert lane.start(one)["changed"], "its role repairs it"
    assert loss.lost(lane.dir) == []


def test_a_text_that_was_truncated_away_counts_no_more(lane):
    """qemu empties the serial log when it starts."""
    serial = Path(lane.dir, "logs/serial.log")
    serial.write_text("the guest is dead\n")
    lane.start(lane.program("one", FOREVER, fatal=Fatal(str(serial), "dead", "guest", "it is dead")))
    assert [gone.code for gone in loss.lost(lane.dir)] == ["program_broken"]
    serial.write_text("")
    assert loss.lost(lane.dir) == []


def test_a_program_that_was_never_ready_is_lost_after_its_limit(lane):
    ended = lane.program("ended", "exit 3", ready=Ready(log="never"))
    late = lane.program("late", FOREVER, ready=Ready(log="never"), limit=0.3)
    for program in (ended, late, lane.program("once", "exit 4", oneshot=True)):
        with pytest.raises(LaneError):
            lane.start(program)
    silent = "and wrote nothing to its log"
    assert {gone.entry.name: (gone.code, gone.problem) for gone in loss.lost(lane.dir)} == {
        "ended": ("program_ended", f"ended ended with status 3 before it was ready {silent}"),
        "late": ("program_not_ready", f"late did not become ready within 0.3 s {silent}"),
        "once": ("program_ended", f"once ended with status 4 {silent}"),
    }
    known = entry(lane, "late")
    known.limit = 60
    known.save(lane.dir)
    assert "late" not in {gone.entry.name for gone in loss.lost(lane.dir)}, "it may still become ready"


def test_a_record_of_a_group_that_is_a_strangers_counts_as_ended(lane):
    lane.start(lane.program("one", FOREVER))
    one = entry(lane)
    stop.end_groups({one.group}, signal.SIGKILL, 5)
    one.group = os.getpgid(0)
    one.save(lane.dir)
    assert not one.running(lane.run)
    assert one.pid is None
    assert [gone.code for gone in loss.lost(lane.dir)] == ["program_ended"]
    stop.stop(lane.run, records.records(lane.dir), 1)  # this process goes on


def test_a_wait_on_a_silent_socket_ends_when_a_program_is_lost(lane):
    lane.start(lane.program("one", f"{HELD}exit 3"))
    lane.release(0.3)
    mine, silent = socket.socketpair()
    mine.settimeout(60)
    with mine, silent, pytest.raises(LaneError, match="one ended with status 3"), loss.watched(lane.dir):
        mine.recv(1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    with pytest.raises(LaneError), loss.watched(lane.dir):
        pytest.fail("the wait began although the program was lost already")


def test_a_start_that_watches_ends_when_another_program_is_lost(lane):
    lane.start(lane.program("one", f"{HELD}exit 3"))
    two = lane.program("two", f"touch released; {FOREVER}", ready=Ready(log="never"), limit=60.0)
    with pytest.raises(LaneError, match="kerbside: one ended with status 3"):
        lane.start(two, watch=True)
    with pytest.raises(LaneError, match="kerbside: three did not write 'never'"):
        lane.start(lane.program("three", FOREVER, ready=Ready(log="never"), limit=0.6))


def test_a_program_that_dies_after_it_was_ready_ends_the_start_of_those_after_it(lane):
    first = lane.program("one", "echo up; sleep 0.4; exit 3", ready=Ready(log="up"))
    with pytest.raises(LaneError, match="one ended with status 3"):
        lane.start(first, lane.program("two", FOREVER, ready=Ready(log="never"), limit=60.0, after=("one",)))
