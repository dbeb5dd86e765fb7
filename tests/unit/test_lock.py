"""Locks: one holder at a time, given back by the kernel, in a directory that nobody else can enter."""

import os
import pwd
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.lane.core import lock, private_dir
from ansible.module_utils.lane.core.errors import LaneError
from prepared import fails

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from lane.core import lock
with lock.held(sys.argv[1], 5, RuntimeError("busy")):
    print("held", flush=True)
    sys.stdin.readline()
"""


BUSY = LaneError("lane_busy", "lane", "busy")


def test_another_process_has_to_wait_until_the_holder_ends_however_that_is(tmp_path):
    path = tmp_path / "lock"
    command, env = [sys.executable, "-c", HOLDER, str(path)], {"PYTHONPATH": str(ROOT / "module_utils")}
    with subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(LaneError, match="busy"), lock.held(path, 0.1, BUSY):
            pytest.fail("held twice")
        holder.kill()
        holder.wait()
        with lock.held(path, 5, BUSY):
            pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), lock.held(tmp_path / "lock", 1, BUSY):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_each_lane_has_a_lock_of_its_own_and_a_second_command_is_refused(monkeypatch):
    monkeypatch.setattr(private_dir, "ALONE_LIMIT", 0.1)
    with private_dir.alone(97), private_dir.alone(96):
        with fails("lane_busy", "lane"), private_dir.alone(97):
            pass
    with private_dir.alone(97):
        pass


def places(monkeypatch: pytest.MonkeyPatch, home: Path, runtime: Path | None) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_dir=str(home)))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime or ""))
    monkeypatch.setenv("HOME", "/nowhere")


def test_the_directory_is_private_whatever_the_environment(tmp_path, monkeypatch):
    places(monkeypatch, tmp_path, tmp_path / "runtime")
    found = lock.folder()
    assert found == tmp_path / ".cache/kerbside-lane-locks"
    assert found.stat().st_mode & 0o777 == 0o700
    found.chmod(0o777)
    assert lock.folder().stat().st_mode & 0o777 == 0o700


def test_without_a_home_the_next_place_is_taken(tmp_path, monkeypatch):
    places(monkeypatch, tmp_path / "none", tmp_path)
    assert lock.folder() == tmp_path / "kerbside-lane-locks"
    places(monkeypatch, tmp_path / "none", None)
    assert lock.folder() == Path(f"/tmp/kerbside-lane-locks-{os.getuid()}")
    assert not (tmp_path / "none").exists()
    with suppress(OSError):  # somebody else's, if it is not empty
        lock.folder().rmdir()


def test_a_directory_of_another_user_and_a_link_are_not_used(tmp_path, monkeypatch):
    foreign, mine = tmp_path / "foreign", tmp_path / "mine"
    foreign.mkdir()
    mine.mkdir()
    (tmp_path / "link").symlink_to(mine)
    candidates = [(tmp_path, "foreign"), (tmp_path, "link"), (tmp_path, "mine")]
    if os.getuid() == 0:  # only root can give a directory away
        os.chown(foreign, 12345, 12345)
    else:
        del candidates[0]
    monkeypatch.setattr(lock, "_candidates", lambda: candidates)
    assert lock.folder() == mine
    candidates.pop()
    with fails("no_lock_directory", words="uid 12345" if len(candidates) > 1 else "link belongs to"):
        lock.folder()
