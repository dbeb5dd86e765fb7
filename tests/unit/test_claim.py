"""Claiming a lane: what is made, what is found again, and everything that is refused before anything starts."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import claim
from lanes import TestLane, claimed_lane, wish


@pytest.fixture
def base() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lt-", dir="/tmp") as folder:
        yield folder


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_everything_is_private_whatever_the_umask(base: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        changed, run = claim.claim(wish(base))
    finally:
        os.umask(before)
    assert changed
    for root, _, names in os.walk(f"{base}/l"):
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o700, root
        for name in names:
            assert stat.S_IMODE(os.stat(f"{root}/{name}").st_mode) == 0o600, name
    assert private_dir.read_run(f"{base}/l") == run


def test_secrets_are_new_for_each_run_and_have_no_newline(base: str) -> None:
    claim.claim(wish(base))
    first = Path(base, "l/secrets/spice_ticket").read_text()
    claim.claim(wish(base))
    second = Path(base, "l/secrets/spice_ticket").read_text()
    assert first != second
    assert len(first) == 40
    assert first.isalnum()


def test_a_lane_that_is_down_is_found_by_a_single_role_and_replaced_by_a_full_run(base: str) -> None:
    _, run = claim.claim(wish(base))
    assert claim.claim(wish(base, fresh=False)) == (False, run)
    changed, other = claim.claim(wish(base))
    assert changed
    assert other.run_id != run.run_id


def test_a_lane_that_is_up_is_kept_for_a_role_and_refused_to_a_full_run(lane: TestLane) -> None:
    lane.start(lane.program("database", "exec sleep 60"))
    base = os.path.dirname(lane.dir)
    assert claim.claim(wish(base, fresh=False)) == (False, lane.run)
    with pytest.raises(LaneError) as caught:
        claim.claim(wish(base))
    assert caught.value.component == "environment"
    assert f"expected lane 98 to be free, but it is up since {''}" in str(caught.value)
    assert f"run {lane.run.run_id}: database (pid " in str(caught.value)
    assert "./lane down -e lane_id=98" in str(caught.value)
    assert private_dir.read_run(lane.dir) == lane.run


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lane_id": 100}, r"expected lane_id from 0 to 99, but it is 100"),
        ({"lane_id": -1}, r"but it is -1"),
        ({"ports": {"lane_api_port": 80}}, r"expected lane_api_port from 1024 to 65535, but it is 80"),
        ({"ports": {"a": 2000, "b": 2000}}, r"expected different ports, but they are \[2000, 2000\]"),
        ({"lane_dir": "relative"}, r"expected lane_dir to be an absolute path, but it is 'relative'"),
        ({"sockets": ("/tmp/" + "x" * 103,)}, r"expected unix socket paths of at most 107 bytes, but /tmp/x+ has 108"),
        ({"sockets": ("/tmp/" + "é" * 52,)}, r"has 109"),
        ({"lane_dir": "/tmp/l", "artifacts_dir": "/tmp/l/artifacts"}, r"expected lane_artifacts_dir outside lane_dir, but teardown would delete it"),
        ({"lane_dir": "/tmp/a,b"}, r"expected lane_dir of letters, digits and _ \. / -, but it is '/tmp/a,b'"),
    ],
)
def test_bad_wishes(base: str, more: dict[str, object], words: str) -> None:
    with pytest.raises(LaneError, match=words) as caught:
        claim.claim(wish(base, **more))
    assert caught.value.component == "environment"
    assert os.listdir(base) == []


def test_107_bytes_are_not_too_long(base: str) -> None:
    claim.check(wish(base, sockets=("/tmp/" + "x" * 102,)))


def test_a_link_a_file_and_an_open_directory_are_refused(base: str) -> None:
    os.symlink("/tmp", f"{base}/l")
    with pytest.raises(LaneError, match=r"but it is a symbolic link"):
        claim.claim(wish(base))
    os.unlink(f"{base}/l")
    Path(base, "l").write_text("")
    with pytest.raises(LaneError, match=r"but it is not a directory"):
        claim.claim(wish(base))
    os.unlink(f"{base}/l")
    os.mkdir(f"{base}/l")
    os.chmod(f"{base}/l", 0o755)
    with pytest.raises(LaneError, match=r"but its mode is 0755"):
        claim.claim(wish(base))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away; CI and the development machine run as root")
def test_somebody_elses_directory_is_refused(base: str) -> None:
    os.mkdir(f"{base}/l", 0o700)
    os.chown(f"{base}/l", 12345, 12345)
    with pytest.raises(LaneError, match=r"but it belongs to uid 12345; take another lane_id"):
        claim.claim(wish(base))


def test_a_taken_port_is_refused_before_anything_is_made(base: str) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(LaneError, match=rf"expected port {port} \(lane_api_port\) to be free, but it is taken by \S+, pid {os.getpid()}"):
            claim.claim(wish(base, ports={"lane_api_port": port}))
    assert os.listdir(base) == []


def test_artifacts_of_the_run_before_are_put_aside_and_those_of_strangers_are_left_alone(base: str) -> None:
    claim.claim(wish(base))
    Path(base, "artifacts/result.json").write_text("old")
    claim.claim(wish(base))
    assert Path(base, "artifacts.previous/result.json").read_text() == "old"
    assert not Path(base, "artifacts/result.json").exists()
    Path(base, "artifacts/.lane").unlink()
    Path(base, "artifacts/thesis.txt").write_text("mine")
    with pytest.raises(LaneError, match=r"expected lane_artifacts_dir empty or left by a lane, but it holds something else"):
        claim.claim(wish(base))
    assert Path(base, "artifacts/thesis.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(base: str) -> None:
    Path(base, "file").write_text("")
    with pytest.raises(LaneError, match=r"a place for the lane that can be written, but \S+/file/artifacts: Not a directory"):
        claim.claim(wish(base, artifacts_dir=f"{base}/file/artifacts"))
    assert not Path(base, "l").exists()


def test_facts_give_back_what_was_handed_over(lane: TestLane) -> None:
    assert private_dir.hand_over(lane.dir, "accel", {"chosen": "tcg"})
    assert not private_dir.hand_over(lane.dir, "accel", {"chosen": "tcg"})
    facts = claim.facts(lane.dir, lane.run)
    assert facts["lane_accel"] == {"chosen": "tcg"}
    assert facts["lane_run"]["run_id"] == lane.run.run_id
    assert facts["lane_run"]["uid"] == os.getuid()


def test_no_run_and_a_broken_run_are_named(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"lane: expected a lane in /no/such, but none is up there; look at ./lane up"):
        private_dir.read_run("/no/such")
    Path(lane.dir, "run.json").write_text(json.dumps({"lane_id": 98}))
    with pytest.raises(LaneError, match=r"run\.json to describe the run, but it cannot be read"):
        private_dir.read_run(lane.dir)


def test_a_directory_that_holds_something_else_is_left_alone(base: str) -> None:
    os.mkdir(f"{base}/l", 0o700)
    Path(base, "l/thesis.txt").write_text("mine")
    with pytest.raises(LaneError, match=r"environment: expected \S+/l to be a lane's or empty, but it holds thesis.txt and no run.json"):
        claim.claim(wish(base))
    assert Path(base, "l/thesis.txt").read_text() == "mine"
    assert os.listdir(base) == ["l"]


def test_another_lanes_directory_is_left_alone(lane: TestLane) -> None:
    with pytest.raises(LaneError, match=r"expected \S+ to be of lane 96, but it is of lane 98"):
        claim.claim(wish(os.path.dirname(lane.dir), lane_id=96))
    assert private_dir.read_run(lane.dir) == lane.run


def test_a_lane_of_the_same_id_that_is_up_elsewhere_is_refused(lane: TestLane, base: str) -> None:
    lane.start(lane.program("database", "exec sleep 60"))
    with pytest.raises(LaneError, match=rf"expected lane 98 to be free, but one is up in {lane.dir}; look at take another lane_id"):
        claim.claim(wish(base))
    assert os.listdir(base) == []


def test_of_two_claims_in_the_same_moment_one_is_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_first(*_: object) -> None:
        os.mkdir(f"{base}/l", 0o700)

    monkeypatch.setattr(claim, "order_for", other_first)
    monkeypatch.setattr(claim.keeper, "spawn", lambda _: None)
    with pytest.raises(LaneError, match=r"expected lane 98 to be free, but another run took it at this moment"):
        claim.claim(wish(base, kept=True))
    assert os.path.isdir(f"{base}/l")


def test_empty_directories_and_half_written_ones_are_taken(base: str) -> None:
    os.mkdir(f"{base}/l", 0o700)
    Path(base, "l/.new-abc").write_text("")
    assert claim.claim(wish(base))[0]
    assert sorted(os.listdir(f"{base}/l")) == ["handover", "logs", "processes", "run.json", "secrets", "tls", "tmp", "tpm"]
