"""Claiming a lane: what is made, found again, moved away, and refused before anything starts."""

import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import artifacts, claim, keeper, proc, teardown
from ansible.module_utils.lane.programs import records
from lanes import options
from prepared import fails


@pytest.fixture
def base() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lt-", dir="/tmp") as folder:
        yield folder


def refused(given: claim.Options, code: str, *words: str, component: str = "environment") -> None:
    """The claim is refused with this code and component, and the message has these words."""
    with fails(code, component) as caught:
        claim.claim(given)
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


def blamed(base: str) -> tuple[str, str]:
    """(verdict, code) of the result."""
    result = json.loads(Path(base, "artifacts/result.json").read_text())
    return result["verdict"], result["blame"]["code"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_everything_is_private_whatever_the_umask(base, umask):
    before = os.umask(umask)
    try:
        changed, run = claim.claim(options(base))
    finally:
        os.umask(before)
    assert changed
    for root, _, names in os.walk(f"{base}/l"):
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o700, root
        for name in names:
            assert stat.S_IMODE(os.stat(f"{root}/{name}").st_mode) == 0o600, name
    assert private_dir.read_run(f"{base}/l") == run


def test_a_lane_without_programs_is_found_by_a_role_and_replaced_by_a_full_run_with_new_secrets(base):
    _, run = claim.claim(options(base))
    first = Path(base, "l/secrets/spice_ticket").read_text()
    assert claim.claim(options(base, fresh=False)) == (False, run)
    changed, other = claim.claim(options(base))
    second = Path(base, "l/secrets/spice_ticket").read_text()
    assert changed
    assert other.run_id != run.run_id
    assert first != second
    assert len(first) == 40 and first.isalnum()


def test_a_running_lane_is_found_by_a_role_and_refused_to_a_full_run_and_elsewhere(lane, base):
    lane.start(lane.program("database", "exec sleep 60"))
    home = os.path.dirname(lane.dir)
    for existing in (False, True):
        assert claim.claim(options(home, fresh=False, existing=existing)) == (False, lane.run)
    words = (f"run {lane.run.run_id}: database (pid ", "./lane down -e lane_id=98", f"in {lane.dir} since ")
    refused(options(home), "lane_running", *words, component="lane")
    assert private_dir.read_run(lane.dir) == lane.run
    words = (f"lane 98 runs in {lane.dir}, not in {base}/l", f"-e lane_dir={lane.dir}")
    for more in ({}, {"fresh": False, "existing": True}):
        refused(options(base, **more), "lane_elsewhere", *words, component="lane")
    assert blamed(base) == ("error", "lane_elsewhere")
    assert not os.path.exists(f"{base}/l")


@pytest.mark.parametrize("made", [False, True])
def test_without_a_running_lane_nothing_is_claimed_for_a_check(base, made):
    if made:  # its programs and its keeper have ended
        claim.claim(options(base))
    given = options(base, fresh=False, existing=True, keeper=True)
    refused(given, "lane_not_running", "start it with ./lane up -e lane_id=98", component="lane")
    assert os.path.exists(f"{base}/l") == made
    assert keeper.keepers(98) == []
    assert blamed(base) == ("error", "lane_not_running")


@pytest.mark.parametrize("running", [False, True])
def test_other_ports_than_those_of_the_claim_are_refused(base, running):
    ports = {"lane_proxy_port": 17999, "lane_api_port": 17998}
    _, run = claim.claim(options(base, ports=ports))
    mark = {private_dir.MARK: run.mark, "HOME": f"{base}/l"}
    with subprocess.Popen(["sleep", "60"] if running else ["true"], env=mark, start_new_session=True) as program:
        if not running:
            program.wait()
        assert claim.claim(options(base, fresh=False, ports=ports)) == (False, run)
        other = options(base, fresh=False, ports={**ports, "lane_proxy_port": 17997})
        refused(other, "other_ports", "lane_proxy_port 17999, but this command has 17997", component="lane")
        program.kill()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"lane_id": 100}, "bad_input", "lane_id is 100"),
        ({"lane_id": -1}, "bad_input", "lane_id is -1"),
        ({"ports": {"lane_api_port": 1023}}, "bad_input", "lane_api_port is 1023"),
        ({"ports": {"lane_api_port": 65536}}, "bad_input", "lane_api_port is 65536"),
        ({"ports": {"a": 2000, "b": 2000}}, "bad_input", "a 2000, b 2000"),
        ({"lane_dir": "relative"}, "bad_input", "lane_dir is 'relative'"),
        ({"lane_dir": "/tmp/a,b"}, "bad_input", "lane_dir is '/tmp/a,b'"),
        ({"artifacts_dir": "relative"}, "bad_input", "lane_artifacts_dir is 'relative'"),
        ({"lane_dir": "/tmp/" + "x" * 89}, "socket_path_too_long", "has 108"),
        ({"lease": 0.9}, "bad_input", "lane_lease is 0.9"),
        ({"lease": keeper.LONGEST_LEASE + 1}, "bad_input", "use 1 to 604800 seconds"),
    ],
)
def test_options_that_cannot_work(base, more, code, words):
    refused(options(base, **more), code, words)
    assert not os.path.exists(f"{base}/l")


def test_options_at_their_limits(base):
    ports = {"a": 1024, "b": 65535}
    claim.check(options(base, lane_id=0, lease=1, lane_dir="/tmp/" + "x" * 88, ports=ports))
    claim.check(options(base, lane_id=99, lease=keeper.LONGEST_LEASE))


def test_a_directory_that_is_not_this_lanes_alone_is_refused_and_left(base):
    place = Path(base, "l")
    place.symlink_to("/tmp")
    refused(options(base), "lane_dir_foreign", "symbolic link")
    place.unlink()
    place.write_text("")
    refused(options(base), "lane_dir_foreign", "not a directory")
    place.unlink()
    place.mkdir()
    for mode in (0o710, 0o701):
        place.chmod(mode)
        refused(options(base), "lane_dir_foreign", f"mode {mode:04o}")
    place.chmod(0o700)
    (place / "thesis.txt").write_text("mine")
    refused(options(base), "lane_dir_foreign", "holds thesis.txt and no run.json")
    assert (place / "thesis.txt").read_text() == "mine"
    if os.getuid() == 0:  # only root can give a directory away
        os.chown(place, 12345, 12345)
        refused(options(base), "lane_dir_foreign", "uid 12345")


def test_another_lanes_directory_is_left_alone(lane):
    other = options(os.path.dirname(lane.dir), lane_id=96)
    refused(other, "lane_dir_foreign", "belongs to lane 98, not to lane 96", "-e lane_id=98")
    assert private_dir.read_run(lane.dir) == lane.run


def test_empty_directories_and_half_written_ones_are_taken(base):
    os.mkdir(f"{base}/l", 0o700)
    Path(base, "l/.new-abc").write_text("")
    assert claim.claim(options(base))[0]
    assert sorted(os.listdir(f"{base}/l")) == sorted([*private_dir.FOLDERS, "run.json"])


@pytest.mark.parametrize(
    ("mark", "ipv6"), [("", False), ("7/run", False), ("", True)], ids=["stranger", "lane", "over-ipv6"]
)
def test_a_taken_port_is_refused_at_once_and_names_the_lane_that_has_it(base, mark, ipv6):
    where = {"family": socket.AF_INET6, "dualstack_ipv6": True} if ipv6 else {}
    with socket.create_server(("" if ipv6 else "127.0.0.1", 0), **where) as server:
        port = server.getsockname()[1]
        env = {private_dir.MARK: mark} if mark else {}
        stranger = subprocess.Popen(["sleep", "60"], env=env, pass_fds=[server.fileno()])
    try:
        words = f"port {port} (lane_api_port) is taken by sleep{' of lane 7' if mark else ''}, pid {stranger.pid}"
        refused(options(base, ports={"lane_api_port": port}), "port_taken", words)
    finally:
        stranger.kill()
        stranger.wait()
    assert not os.path.exists(f"{base}/l")


def test_programs_that_cannot_reach_each_other_are_the_hosts_fault(base, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    refused(options(base), "no_loopback", "Network is unreachable")


def test_of_two_claims_in_the_same_moment_one_is_refused(base, monkeypatch):
    monkeypatch.setattr(claim, "start_keeper", lambda *_: os.mkdir(f"{base}/l", 0o700))
    refused(options(base, keeper=True), "lane_running", "has just been taken", component="lane")
    assert os.path.isdir(f"{base}/l")


def test_what_was_handed_over_is_found_again(lane):
    private_dir.hand_over(lane.dir, "accel", {"chosen": "tcg"})
    facts = claim.facts(lane.dir, lane.run)
    assert facts["lane_accel"] == {"chosen": "tcg"}
    assert (facts["lane_run"]["run_id"], facts["lane_run"]["dir"]) == (lane.run.run_id, lane.dir)


@pytest.mark.parametrize(
    ("text", "code"), [(None, "lane_not_running"), ('{"lane_id": 98}', "run_file_broken"), ("{", "run_file_broken")]
)
def test_no_run_and_a_broken_run_are_named(lane, text, code):
    file = Path(lane.dir, "run.json")
    file.unlink() if text is None else file.write_text(text)
    with fails(code, "lane"):
        private_dir.read_run(lane.dir)


def test_a_run_without_a_keeper_cannot_be_kept_running(lane):
    before = Path(lane.dir, "run.json").read_bytes()
    with fails("lane_not_running", "lane"):
        claim.keep_running(lane.dir)
    assert Path(lane.dir, "run.json").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["run.json", "handover/accel.json", "processes/database.json", "processes/database.status"]
)
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, None], ids=["empty", "cut", "list", "deep", "fifo"])
def test_a_broken_file_is_named_and_the_lane_can_be_taken_down(lane, name, text):
    lane.start(lane.program("database", "exec sleep 60"))
    file = Path(lane.dir, name)
    file.unlink(missing_ok=True)
    os.mkfifo(file) if text is None else file.write_text(text)

    def read() -> None:
        claim.facts(lane.dir, private_dir.read_run(lane.dir))
        for entry in records.records(lane.dir):
            entry.exit_status(lane.dir)

    if text or not name.endswith("status"):  # without size: the program still runs
        with fails("run_file_broken", "lane"):
            read()
    done = teardown.take_down(98, lane.dir, {})
    assert (done["removed"], proc.marked(98)) == ([lane.dir], [])


# --- the results of earlier commands ------------------------------------------------------------


def kept(base: str, *names: str, live: bool = False) -> None:
    """Artifacts as a run left them, or as the run that is live has them."""
    for name in ("result.json", "report.html", "logs/serial.log", *names):
        path = Path(base, "artifacts", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    if not live:
        Path(base, "artifacts/.lane").write_text("Made by the kerbside lane, run ended-long-ago; replaced ...\n")


def left(base: str, folder: str) -> list[str]:
    return sorted(name for name in os.listdir(f"{base}/{folder}") if name[0] != "." and name != "junit.xml")


def test_results_of_an_earlier_run_are_moved_away_once_and_kept(base):
    kept(base)
    not_running = {"fresh": False, "existing": True}
    for more, code, part in (({"lane_id": 100}, "bad_input", "environment"), (not_running, "lane_not_running", "lane")):
        refused(options(base, **more), code, component=part)
        assert blamed(base) == ("error", code)
        assert left(base, "artifacts") == ["logs", "result.json"]
    claim.claim(options(base))
    assert left(base, "artifacts") == []
    assert left(base, "artifacts.previous") == ["logs", "report.html", "result.json"]
    assert Path(base, "artifacts.previous/result.json").read_text() == "old"


def test_a_lane_that_keeps_running_keeps_its_logs_and_a_refused_full_run_touches_nothing(lane):
    base = os.path.dirname(lane.dir)
    lane.start(lane.program("database", "exec sleep 60"))
    kept(base, "screenshot.png", "keeper.log", live=True)
    everything = left(base, "artifacts")
    refused(options(base), "lane_running", component="lane")
    for fresh in (True, False):  # another lane with the same artifacts
        refused(options(base, lane_id=97, lane_dir=f"{base}/m", ports={"a": 1}, fresh=fresh), "bad_input")
    assert left(base, "artifacts") == everything
    assert Path(base, "artifacts/result.json").read_text() == "old"
    assert claim.claim(options(base, fresh=False, existing=True)) == (False, lane.run)
    assert left(base, "artifacts") == ["keeper.log", "logs"]
    assert left(base, "artifacts.previous") == ["report.html", "result.json", "screenshot.png"]
    kept(base, live=True)
    claim.claim(options(base, fresh=False))
    assert left(base, "artifacts.previous") == ["report.html", "result.json"]


@pytest.mark.parametrize("spelled", ["", "/", "/."])
def test_the_result_of_a_refused_command_goes_at_once(tmp_path, monkeypatch, spelled):
    """Another lane that was told the same directory may be writing there, and is refused as well."""
    folder, usual, there = tmp_path / "artifacts", shutil.rmtree, []
    artifacts.refuse(str(folder), 1, LaneError("bad_input", "lane", "it is wrong").as_dict(), [])
    monkeypatch.setattr(artifacts.shutil, "rmtree", lambda path: (there.append(folder.exists()), usual(path)))
    artifacts.put_away(f"{folder}{spelled}")
    assert (there, left(tmp_path, "")) == ([False], [])


def test_two_runs_do_not_share_their_artifacts(lane):
    lane.start(lane.program("database", "exec sleep 60"))
    base = os.path.dirname(lane.dir)
    everything = left(base, "artifacts")
    other = options(base, lane_id=97, lane_dir=f"{base}/m")
    refused(other, "artifacts_in_use", lane.run.run_id, component="lane")
    assert left(base, "artifacts") == everything
    assert not os.path.exists(f"{base}/m")


def test_files_that_no_lane_made_are_left_alone(base):
    for folder in ("artifacts", "artifacts.previous"):
        os.mkdir(f"{base}/{folder}")
        Path(base, folder, "thesis.txt").write_text("mine")
        refused(options(base), "artifacts_dir_foreign", "thesis.txt")
        assert os.listdir(f"{base}/{folder}") == ["thesis.txt"]
        kept(base)
        Path(base, "artifacts/thesis.txt").unlink(missing_ok=True)


def test_a_refusal_for_no_lane_writes_nothing(base):
    with pytest.raises(ValueError, match="abc"):
        artifacts.refuse(f"{base}/artifacts", "abc", LaneError("bad_input", "environment", "x").as_dict(), [])
    assert not os.path.exists(f"{base}/artifacts")


@pytest.mark.parametrize("made", [False, True])
def test_the_result_of_a_refused_command(base, made):
    folder, begun = f"{base}/artifacts", time.time() - 100
    if made:
        os.mkdir(folder)
    assert artifacts.begin(f"{base}/l", folder, fresh=True)
    phases = [{"name": "deps", "started": begun}] if made else []
    artifacts.refuse(folder, 7, LaneError("bad_input", "environment", "x").as_dict(), [], phases)
    result = json.loads(Path(folder, "result.json").read_text())
    assert result["seconds"] == (pytest.approx(100, abs=60) if made else 0.0)
    assert (result["started"] == result["finished"]) is not made
    assert result["phases"] == phases
    assert result["seconds"] == round(result["seconds"], 2)


@pytest.mark.parametrize("below", ["l", "l/", "l/art", "x/../l/art"])
def test_artifacts_in_the_lanes_directory_are_refused_and_make_none(base, below):
    given = options(base, artifacts_dir=f"{base}/{below}")
    refused(given, "bad_input", "which teardown removes")
    assert not os.path.exists(given.lane_dir)
