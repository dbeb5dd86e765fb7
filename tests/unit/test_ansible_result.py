"""What a module says when the system refuses something: which disk is full, where it is the lane's."""

import errno
import os
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from ansible.module_utils.lane.core import ansible_result
from ansible.module_utils.lane.core.errors import LaneError


class Failed(Exception):
    """What fail_json was given."""


def failure_of(error: Exception, **params: str) -> dict[str, Any]:
    """lane_failure of a module whose work ends with this error."""

    def fail_json(**values: object) -> NoReturn:
        raise Failed(values)

    def work() -> dict[str, Any]:
        raise error

    module = SimpleNamespace(_name="lane_check", params=params, fail_json=fail_json)
    with pytest.raises(Failed) as caught:
        ansible_result.finish(module, work)
    return caught.value.args[0]["lane_failure"]


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free KiB by folder, instead of what this machine has."""
    free: dict[str, int] = defaultdict(lambda: 1 << 20)
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=free[str(folder)], f_frsize=1024))
    return free


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("named", [True, False])
def test_of_a_full_disk_the_folder_is_named(tmp_path, disks, number, named):
    """Whatever says that there is no room: an error that names its file, or a write(2) that does not."""
    (tmp_path / "lane").mkdir()
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    disks[str(artifacts)] = 12
    error = OSError(number, "full", str(artifacts / "logs/api.log")) if named else OSError(number, "full")
    failure = failure_of(error, lane_dir=str(tmp_path / "lane"), artifacts_dir=str(artifacts))
    assert (failure["component"], failure["code"]) == ("host", "disk_full")
    assert f"full; 12 KiB are free in {artifacts}" in failure["cause"]


def test_a_lane_dir_that_no_file_system_can_hold_hides_no_failure():
    failure = failure_of(LaneError("socket_path_too_long", "environment", "too long"), lane_dir=f"/{'x' * 300}")
    assert failure["code"] == "socket_path_too_long"


def test_what_else_the_system_refuses_is_told_in_its_words():
    failure = failure_of(OSError(errno.EACCES, "words", "/x"), lane_dir="/tmp")
    assert (failure["component"], failure["code"]) == ("environment", "system_refused")
    assert failure["cause"] == "lane_check failed: words (/x)"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too_many_files"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "too_many_processes"),
        (RuntimeError("can't start new thread"), "too_many_processes"),
        (MemoryError(), "memory_refused"),
    ],
)
def test_a_limit_of_the_machine_that_the_module_runs_into_is_the_hosts(error, code):
    failure = failure_of(error, lane_dir="/tmp")
    assert (failure["component"], failure["code"]) == ("host", code)


def test_a_bug_is_no_bare_traceback():
    failure = failure_of(ValueError("what\nelse"), lane_dir="/tmp")
    assert (failure["component"], failure["code"]) == ("lane", "internal_error")
    assert "ValueError: what else" in failure["cause"]
