"""Teardown ends and removes what is the lane's, and nothing else."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.private_dir import MARK
from ansible.module_utils.lane.lifecycle import proc, run_state, teardown
from ansible.module_utils.lane.programs import records
from lanes import TestLane, claimed_lane


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found
        os.makedirs(found.dir, exist_ok=True)


def refused(lane_dir: str, code: str, *words: str, lane_id: int = 98, look_only: bool = False, **ports: int) -> None:
    """Taking it down fails with this code, and the message has these words."""
    with pytest.raises(LaneError) as caught:
        teardown.take_down(lane_id, lane_dir, ports, look_only=look_only)
    component = "environment" if code == "lane_dir_foreign" else "lane"
    assert (caught.value.code, caught.value.component) == (code, component), caught.value
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


@contextmanager
def sleeping(mark: str, **more: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that no test lane started."""
    process = subprocess.Popen(["sleep", "60"], env={MARK: mark}, start_new_session=True, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def sleeper(lane: TestLane) -> int:
    """Start a program, and return its pid."""
    started = lane.start(lane.program("sleeper", "exec sleep 60"))
    assert run_state.until(lambda: [p.name for p in run_state.programs(98)] == ["sh", "sleep"], 10)
    return int(started["programs"]["sleeper"]["pid"])


def beside(lane: TestLane, name: str, *files: str) -> str:
    """A private directory beside the lane's, with these files."""
    home = Path(lane.dir).with_name(name)
    for file in files:
        (home / file).parent.mkdir(mode=0o700, parents=True)
        (home / file).write_text("mine")
    home.chmod(0o700)
    return str(home)


def test_all_is_killed_at_once_and_nothing_stays(lane):
    stubborn = "trap '' TERM INT; while :; do sleep 0.02; done"
    lane.start(*[lane.program(name, stubborn) for name in ("first", "second", "third")])
    done = teardown.take_down(98, lane.dir, {})
    assert done == {"changed": True, "ended": ["third", "second", "first"], "removed": [lane.dir]}
    assert not proc.marked(98)
    assert not os.path.exists(lane.dir)


def test_a_clean_machine_is_left_as_it_is():
    assert teardown.take_down(97, "/tmp/no-such-lane", {}) == {"changed": False, "ended": [], "removed": []}


def test_a_marked_process_without_a_record_is_ended_and_one_of_another_lane_is_not(lane):
    with sleeping("98/other") as stray, sleeping("9/other") as other:
        assert teardown.take_down(98, lane.dir, {})["ended"] == ["sleep"]
        assert stray.wait(5) == -9
        assert other.poll() is None


def test_look_only_touches_nothing(lane):
    sleeper(lane)
    done = teardown.take_down(98, lane.dir, {}, look_only=True)
    assert done == {"changed": True, "ended": ["sh", "sleep"], "removed": [lane.dir]}
    assert proc.marked(98)
    assert os.path.exists(lane.dir)


def test_a_listener_that_stays_is_an_error(lane):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        words = (f"a listener on port {port} (", f"pid {os.getpid()}")
        refused(lane.dir, "not_clean", *words, lane_api_port=port)
    assert not os.path.exists(lane.dir)


def test_the_directory_of_another_lane_is_never_removed(lane):
    words = ("belongs to lane 98, not to lane 97", "-e lane_id=98")
    refused(lane.dir, "lane_dir_foreign", *words, lane_id=97)
    assert os.path.exists(f"{lane.dir}/run.json")


def test_a_lane_that_runs_elsewhere_is_not_ended(lane):
    sleeper(lane)
    other = f"{os.path.dirname(lane.dir)}/other"
    for look_only in (False, True):
        refused(other, "lane_elsewhere", f"runs in {lane.dir}, not in {other}", look_only=look_only)
    assert [p.name for p in run_state.programs(98)] == ["sh", "sleep"]
    link = f"{os.path.dirname(lane.dir)}/../{os.path.basename(os.path.dirname(lane.dir))}/l"
    assert teardown.take_down(98, link, {})["ended"] == ["sleeper"]


def test_a_link_is_not_followed(lane):
    """Neither where the directory should be, nor inside of it."""
    home = beside(lane, "thesis", "thesis.txt")
    link = f"{os.path.dirname(lane.dir)}/link"
    os.symlink(lane.dir, link)
    refused(link, "lane_dir_foreign", "symbolic link")
    assert os.path.exists(f"{lane.dir}/run.json")
    os.symlink(home, f"{lane.dir}/logs/elsewhere")
    os.symlink(home, f"{lane.dir}/elsewhere")
    assert teardown.take_down(98, lane.dir, {})["removed"] == [lane.dir]
    assert os.listdir(home) == ["thesis.txt"]


def test_a_directory_that_stays_is_an_error(lane, monkeypatch):
    monkeypatch.setattr(teardown.shutil, "rmtree", lambda *_, **__: None)
    refused(lane.dir, "not_clean", f"still there: {lane.dir}")
    assert run_state.owned(98, lane.dir) == lane.run  # and it can be told whose it is


def test_a_program_that_stays_is_an_error(lane, monkeypatch):
    sleeper(lane)
    with monkeypatch.context() as patch:
        patch.setattr(teardown.stop, "kill_groups", lambda groups: None)
        refused(lane.dir, "not_clean", "sh (pid ", "sleep (pid ")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_the_same_mark_on_another_users_process_is_not_ours(lane):
    with sleeping(lane.run.mark, user=12345) as other:
        assert proc.environ(other.pid, MARK) == lane.run.mark
        assert teardown.take_down(98, lane.dir, {})["ended"] == []
        assert other.poll() is None


@pytest.mark.parametrize("name", [".new-x1", "tmp/ansible-tmp-1.2-3/x"])
def test_what_a_killed_claim_or_ansible_left_is_removed(lane, name):
    home = beside(lane, "late", name)
    assert teardown.take_down(98, home, {})["removed"] == [home]
    assert not os.path.exists(home)


def test_a_folder_tmp_with_something_else_in_it_stays(lane):
    home = beside(lane, "late", "tmp/thesis.txt")
    refused(home, "lane_dir_foreign", "holds tmp and no run.json")
    assert os.path.exists(f"{home}/tmp/thesis.txt")


def test_a_record_that_names_somebody_elses_process_kills_nobody(lane):
    """A pid file proves nothing: the group in a record counts only while it carries the mark of the run."""
    sleeper(lane)
    path = Path(lane.dir, "processes/sleeper.json")
    record = json.loads(path.read_text())
    with sleeping("") as stranger:
        path.write_text(json.dumps({**record, "group": stranger.pid}))
        assert teardown.take_down(98, lane.dir, {})["ended"] == ["sh", "sleep"]
        assert stranger.poll() is None
        assert not proc.group_members(record["group"])


def test_what_a_killed_program_leaves_in_its_group_ends_with_it(lane):
    """As kerbside-proxy does, which keeps its ports when the daemon above it is killed."""
    notes = Path(lane.dir).with_name("child")
    done = lane.start(lane.program("daemon", f"sleep 60 & echo $! >{notes}; wait"))
    assert run_state.until(lambda: notes.exists() and notes.read_text().endswith("\n"), 10)
    os.kill(done["programs"]["daemon"]["pid"], signal.SIGKILL)
    child = int(notes.read_text())
    assert run_state.until(lambda: not ((found := proc.read(child)) and found.alive), 3)
    assert records.record(lane.dir, "daemon").exit_status(lane.dir) == 128 + signal.SIGKILL


def test_a_program_whose_supervisor_shell_was_killed_is_still_found(lane):
    pid = sleeper(lane)
    os.kill(records.record(lane.dir, "sleeper").group, signal.SIGKILL)
    time.sleep(0.1)
    assert proc.read(pid)
    assert teardown.take_down(98, lane.dir, {})["ended"] == ["sleeper"]
    assert not (found := proc.read(pid)) or not found.alive
