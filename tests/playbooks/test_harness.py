"""The fixtures of this folder: what they tell of a run, and that they notice what is left behind."""

import subprocess
from pathlib import Path

import pytest
from lane_numbers import hold, in_use, lane_ids


def test_a_lane_that_a_user_keeps_running_is_left_alone(lane):
    with lane_ids(1) as (number,):
        pass
    with subprocess.Popen(["sleep", "60"], env={"KERBSIDE_LANE": f"{number}/of-a-user"}) as process:
        while not in_use(number):  # in the middle of an exec a process has no environment yet
            assert process.poll() is None
        assert hold(number) is None
        with lane_ids(1) as (other,):
            assert other != number
        process.kill()
    place = Path(f"/tmp/kerbside-lane-{number}")
    place.mkdir()
    assert hold(number) is None
    place.rmdir()


def test_a_run_that_takes_too_long_is_ended(lane):
    wait = {"name": "Wait", "ansible.builtin.command": {"cmd": f"env KERBSIDE_LANE={lane.id}/x sleep 60"}}
    with pytest.raises(subprocess.TimeoutExpired):
        lane.run([wait], env={"TMPDIR": str(lane.scratch)}, limit=3)
    assert lane.marked() == []  # at once: what the run left is killed before its caller hears of it


def test_what_python_itself_leaves_of_a_kill_is_told_from_what_a_lane_leaves(place):
    temporary = place.base / "tmp"
    (temporary / "tp6w3xf7").write_bytes(b"blat")
    assert place.traces() == []
    (temporary / "tp6w3xf8").write_bytes(b"a secret")
    (temporary / "tp6w3xf9").mkdir()
    (temporary / "result").write_bytes(b"blat")
    assert sorted(place.traces()) == sorted(str(temporary / name) for name in ("result", "tp6w3xf8", "tp6w3xf9"))
