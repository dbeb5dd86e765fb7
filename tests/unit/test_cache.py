"""The cache: its lock, whom it trusts, and what it keeps."""

import fcntl
import os
import subprocess

import pytest
from ansible.module_utils.lane.prepare import cache
from prepared import fails


def test_a_lane_waits_for_another_one_only_so_long(tmp_path):
    root = tmp_path / "cache"
    with cache.locked(root, "x", 30), fails("cache_busy"), cache.locked(root, "x", 0.2):
        pass
    with cache.locked(root, "x", 0.2), open(root / ".lock-x", encoding="utf-8") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_cache_that_others_can_write_to_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with fails("cache_not_private"):
        cache.make_private(tmp_path)
    tmp_path.chmod(0o755)
    cache.make_private(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_cache_that_no_program_can_be_run_from_is_the_hosts_fault(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=700", "none", str(tmp_path)], check=True)
    try:
        for look in (cache.make_private, cache.used):
            with fails("cache_noexec", "host"):
                look(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_entries_that_were_used_last_stay(tmp_path):
    for number in range(6):
        (tmp_path / f"a-{number}").mkdir()
        (tmp_path / f"a-{number}/file").write_text("12345")
        os.utime(tmp_path / f"a-{number}", (number, number))
    (tmp_path / "b-0").mkdir()
    cache.used(tmp_path / "a-0")
    assert cache.prune(tmp_path, "a-") == ["a-2", "a-1"]
    assert [path.name for path in cache.entries(tmp_path, "a-")] == ["a-0", "a-5", "a-4", "a-3"]
    assert (tmp_path / "b-0").exists()
    assert cache.size(tmp_path) == 20


def test_a_file_that_is_removed_meanwhile_has_no_size(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.os, "walk", lambda folder: [(str(folder), [], ["gone"])])
    assert cache.size(tmp_path) == 0


def test_values_are_kept_under_one_key_and_a_broken_file_counts_as_none(tmp_path):
    for key in ("first", "second"):
        assert cache.kept(str(tmp_path), "deps", key) == {}
        cache.keep(str(tmp_path), "deps", key, {"key": key})
        assert cache.kept(str(tmp_path), "deps", key) == {"key": key}
    assert [path.name for path in (tmp_path / "deps").iterdir()] == ["second.json"]
    for broken in ('{"key"', "[]", "[1]"):
        (tmp_path / "deps/second.json").write_text(broken)
        assert cache.kept(str(tmp_path), "deps", "second") == {}
