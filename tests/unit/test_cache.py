"""The lock and the safety of the cache."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import cache


def test_a_lane_waits_for_another_one_only_so_long(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    words = r"^environment: expected another lane to finish with x within 0\.2 s, but it still holds the lock"
    with cache.locked(root, "x", 30), pytest.raises(LaneError, match=words), cache.locked(root, "x", 0.2):
        pass
    with cache.locked(root, "x", 0.2), open(root / ".lock-x", encoding="utf-8") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_cache_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(LaneError, match=r"^environment: expected .*/cache to be writable by this user only, but it belongs to uid \d+ with mode 0777"):
        cache.make_private(root)
