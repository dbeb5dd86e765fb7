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


@pytest.mark.parametrize(
    ("error", "component", "code", "words"),
    [
        (
            LaneError("socket_path_too_long", "environment", "x is long"),
            "environment",
            "socket_path_too_long",
            "x is long",
        ),
        (OSError(errno.EACCES, "words", "/x"), "environment", "system_refused", "lane_check failed: words (/x)"),
        (OSError(errno.EMFILE, "Too many open files"), "host", "too_many_files", "lane_check"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "host", "too_many_processes", "lane_check"),
        (RuntimeError("can't start new thread"), "host", "too_many_processes", "lane_check"),
        (MemoryError(), "host", "memory_refused", "lane_check"),
        (ValueError("what\nelse"), "lane", "internal_error", "ValueError: what else"),  # no bare traceback
    ],
)
def test_what_else_may_go_wrong_is_told_in_its_words(error, component, code, words):
    failure = failure_of(error, lane_dir=f"/{'x' * 300}")  # which no file system can hold, and hides no failure
    assert (failure["component"], failure["code"]) == (component, code)
    assert words in failure["cause"]
