"""The keeper takes a lane down when its owner is gone or its lease is over, and leaves everybody else alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import check_report, private_dir
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import verdict
from ansible.module_utils.lane.lifecycle import claim, keeper, keeper_end, proc, run_state, teardown
from ansible.module_utils.lane.programs import stop
from lanes import TestLane, options
from prepared import fails

ID = 97
COMMAND = "20261125T180000Z-0000beef"
ROOT = Path(__file__).parents[2]
RACES = int(os.environ.get("LANE_TEST_RACES", "8"))
#: Claims the lane when told to, says what came of it, and stays until its stdin is closed, as the ansible-playbook of
#: that run.
RACER = f"""
import os, sys
from lane.lifecycle import claim
os.environ["LANE_OWNER"] = f"{{os.getpid()}}-race"
place = sys.argv[1] + "/l", sys.argv[1] + "/artifacts"
options = claim.Options({ID}, *place, {{}}, True, stay=False, keeper=True)
print("there", flush=True)
sys.stdin.readline()
try:
    print("won", claim.claim(options)[1].run_id, flush=True)
except Exception as error:
    print("lost", error, flush=True)
sys.stdin.readline()
"""
#: Stands in for a module with temporary files: records whether it could clean up.
MODULE = """
import sys, time
note = open(sys.argv[1], "w", 1)
note.write("at work\\n")
try: time.sleep(600)
finally: note.write("cleaned\\n")
"""


@dataclass
class Kept:
    """A claimed lane with a keeper that watches `owner`, a stand-in for ansible-playbook."""

    lane: TestLane
    owner: subprocess.Popen[bytes]
    keeper: int

    def start(self) -> None:
        self.lane.start(self.lane.program("database", "exec sleep 600"))

    def gone(self, limit: float = 10) -> bool:
        return run_state.until(lambda: not proc.marked(ID) and not os.path.lexists(self.lane.dir), limit)

    def result(self) -> dict:
        return json.loads(Path(self.lane.artifacts, "result.json").read_text())


Keep = Callable[..., Kept]


@pytest.fixture
def base() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="lt-", dir="/tmp")
    yield folder
    if groups := {p.group for p in proc.marked(ID)}:
        stop.end_groups(groups, signal.SIGKILL, 5)
    shutil.rmtree(folder)


@pytest.fixture
def keep(base: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keep]:
    """Claims the lane, with these options besides."""
    timeline = Path(base, "ansible-local-1x/lane-timeline.json")
    timeline.parent.mkdir()
    timeline.write_text('[{"name": "tls", "seconds": 1.0}, {"name": "kerbside", "seconds": 0.0}]')
    monkeypatch.setenv(check_report.COMMAND_ID, COMMAND)
    owner = subprocess.Popen(["sleep", "600"], env={run_state.OWNER: "not-this"})
    found = proc.read(owner.pid)
    watched = [run_state.Watched(found.pid, found.started, "ansible-playbook")]
    monkeypatch.setattr(keeper, "watched", lambda: (f"{owner.pid}-test", watched))

    def made(**more: object) -> Kept:
        given = {"stay": False, "planned": ("hello",), "timeline": str(timeline), **more}
        _, run = claim.claim(kept_options(base, **given))
        (one,) = run_state.keepers(ID)
        return Kept(TestLane(f"{base}/l", f"{base}/artifacts", run), owner, one.pid)

    yield made
    end(owner)


def kept_options(base: str, **more: object) -> claim.Options:
    return options(base, lane_id=ID, keeper=True, **more)


def order(base: str, *watched: run_state.Watched) -> run_state.Order:
    return run_state.Order(ID, "r", time.time(), f"{base}/l", f"{base}/a", {}, 60, [*watched], "", "", "", [], {})


def end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


def test_the_owners_end_is_the_lanes_end(base, keep):
    kept = keep()
    kept.start()
    kept.lane.start(kept.lane.program("daemon", "sleep 600 & trap '' TERM; wait; sleep 600"))
    stranger = subprocess.Popen(["sleep", "600"], env={private_dir.MARK: f"{ID}/another-run"})
    try:
        time.sleep(0.3)
        assert len(proc.marked(ID)) > 4
        end(kept.owner)
        assert run_state.until(lambda: not os.path.lexists(kept.lane.dir) and len(proc.marked(ID)) == 1, 10)
        assert stranger.poll() is None
    finally:
        end(stranger)
    result = kept.result()
    assert result["verdict"] == "error"
    cause = f"the run was aborted in phase kerbside: ansible-playbook (pid {kept.owner.pid}) was killed or ended"
    blame = {"component": "lane", "phase": "kerbside", "code": "aborted", "check": None, "evidence": None}
    assert result["blame"] == {**blame, "cause": f"{cause}; the lane's keeper took it down"}
    assert [p["name"] for p in result["phases"]] == ["tls", "kerbside", "teardown"]
    assert [(check["name"], check["result"]) for check in result["checks"]] == [("hello", "not run")]
    assert "ended database" in Path(kept.lane.artifacts, "keeper.log").read_text()
    assert not Path(base, "ansible-local-1x").exists()


def test_what_the_owner_had_at_work_ends_too_but_for_the_package_manager(base, keep):
    kept = keep()
    mark = {run_state.OWNER: f"{kept.owner.pid}-test"}
    notes = Path(base, "notes")

    def spawn(*command: str, **env: str) -> subprocess.Popen[bytes]:
        given = {**mark, "PATH": os.environ["PATH"], **env}
        return subprocess.Popen(command, env=given, start_new_session=True, stderr=subprocess.DEVNULL)

    # a shell lets its background jobs ignore SIGINT
    module = spawn("env", "--default-signal=INT", sys.executable, "-I", "-c", MODULE, str(notes))
    stubborn = spawn("sh", "-c", "trap '' INT; sleep 600")
    apt = spawn("sleep", "600", **{keeper_end.PACKAGES: "critical"})
    other = spawn("sleep", "600", **{run_state.OWNER: "1-other"})
    try:
        assert run_state.until(lambda: notes.exists() and bool(notes.read_text()), 10)
        end(kept.owner)
        assert module.wait(10) == -signal.SIGINT
        assert notes.read_text() == "at work\ncleaned\n"
        assert stubborn.wait(10) == -signal.SIGKILL
        assert kept.gone()
        assert (apt.poll(), other.poll()) == (None, None)
    finally:
        for one in (module, stubborn, apt, other):
            end(one)


def test_a_green_run_that_is_killed_in_its_teardown_is_not_green(keep):
    kept = keep()
    report = [{"name": "hello", "result": "pass", "seconds": 0.1, "detail": {}}]
    Path(kept.lane.dir, "logs/outside.json").write_text(json.dumps({"command_id": COMMAND, "checks": report}))
    known: dict[str, Any] = {"planned": ["hello"], "failure": {}, "phases": [], "versions": {}}
    verdict.write(kept.lane.dir, kept.lane.artifacts, kept.lane.run, command=COMMAND, **known)
    assert kept.result()["verdict"] == "pass"
    end(kept.owner)
    assert kept.gone()
    assert (kept.result()["verdict"], kept.result()["blame"]["phase"]) == ("error", "teardown")


def test_teardown_ends_the_keeper_last_and_the_result_stays(keep):
    kept = keep()
    assert teardown.take_down(ID, kept.lane.dir, {}) == {"changed": True, "ended": [], "removed": [kept.lane.dir]}
    assert [p.pid for p in proc.marked(ID)] == [kept.keeper]
    keeper.dismiss(ID)
    assert proc.marked(ID) == []
    assert os.listdir(kept.lane.artifacts) == [".lane"]


def test_sigterm_takes_a_lane_down_that_is_up(keep):
    kept = keep()
    kept.start()
    os.kill(kept.keeper, signal.SIGTERM)
    assert kept.gone()
    assert "its keeper got SIGTERM" in kept.result()["blame"]["cause"]


def test_a_lane_that_stays_stays_until_its_lease_is_over_and_each_use_renews_it(base, keep):
    kept = keep(stay=True, lease=2.0)
    end(kept.owner)
    kept.start()
    for _ in range(3):
        time.sleep(0.8)
        assert claim.claim(kept_options(base, fresh=False, lease=2.0)) == (False, kept.lane.run)
        renewed = time.monotonic()
    assert not kept.gone(1.0)
    assert kept.gone(8)
    assert time.monotonic() - renewed > 1.9
    assert "its lease of 2 s was over" in Path(kept.lane.artifacts, "keeper.log").read_text()
    assert not Path(kept.lane.artifacts, "result.json").exists()  # nothing was to be judged


def test_a_live_lane_is_refused_with_its_owner_and_one_whose_owner_is_gone_is_cleared(base, keep):
    kept = keep()
    kept.start()
    evidence = Path(kept.lane.artifacts, "result.json")
    evidence.write_text("of the run that goes on")
    words = (
        rf"already running .*, run by ansible-playbook \(pid {kept.owner.pid}\), run {kept.lane.run.run_id}: database"
    )
    for more in ({}, {"fresh": False, "existing": True}):  # the run of another command is no lane to check either
        with pytest.raises(LaneError, match=words) as caught:
            claim.claim(options(base, lane_id=ID, **more))
        assert caught.value.code == "lane_running"
        assert evidence.read_text() == "of the run that goes on"
    os.kill(kept.keeper, signal.SIGKILL)
    with pytest.raises(LaneError, match=r"is already running"):
        claim.claim(options(base, lane_id=ID))
    end(kept.owner)
    printed: list[str] = []
    changed, run = claim.claim(options(base, lane_id=ID), printed.append)
    assert changed and run.run_id != kept.lane.run.run_id
    assert printed == [f"lane {ID}: removed what run {kept.lane.run.run_id} had left: database, {kept.lane.dir}"]
    assert proc.marked(ID) == []


@pytest.mark.parametrize("race", range(RACES))
def test_of_runs_that_begin_in_one_moment_one_gets_the_lane_and_the_others_name_it(base, race):
    """LANE_TEST_RACES=N races N times. Without private_dir.alone four of five fail; one in thirty has two winners."""
    command, env = [sys.executable, "-c", RACER, base], {"PYTHONPATH": str(ROOT / "module_utils")}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, env=env, **pipes) for _ in range(3)]
    try:
        assert [racer.stdout.readline() for racer in racers] == ["there\n"] * 3
        for number, racer in enumerate(racers):
            time.sleep(0.01 * (race % 4) * number)
            print(file=racer.stdin, flush=True)
        words = {racer.pid: racer.stdout.readline() for racer in racers}
        ((winner, run_id),) = [(pid, said.split()[1]) for pid, said in words.items() if said.startswith("won ")]
        named = f", run by ansible-playbook (pid {winner}), run {run_id}: no program yet; stop it"
        del words[winner]
        assert [said for said in words.values() if not (said.startswith("lost lane: ") and named in said)] == []
        assert private_dir.read_run(f"{base}/l").run_id == run_id
        assert [keeper.order_of(one).run_id for one in run_state.keepers(ID)] == [run_id]
    finally:
        for racer in racers:
            racer.communicate()
    assert run_state.until(lambda: not proc.marked(ID) and not os.path.lexists(f"{base}/l"), 10)


def test_a_run_that_is_about_to_write_its_run_json_is_waited_for_and_then_refused(base, keep):
    kept = keep()
    written = Path(kept.lane.dir, "run.json")
    written.rename(written.with_name("later"))
    threading.Timer(0.5, lambda: written.with_name("later").rename(written)).start()
    begun = time.monotonic()
    words = rf"since [\d:]+, run by ansible-playbook \(pid {kept.owner.pid}\), run {kept.lane.run.run_id}"
    with pytest.raises(LaneError, match=words):
        claim.claim(options(base, lane_id=ID))
    assert time.monotonic() - begun > 0.4
    assert [p.pid for p in run_state.keepers(ID)] == [kept.keeper]


def test_a_run_that_goes_on_without_run_json_is_left(base, keep, monkeypatch):
    kept = keep()
    kept.start()
    monkeypatch.setattr(keeper, "MAKE_LIMIT", 0.2)
    Path(kept.lane.dir, "run.json").unlink()
    whose = rf"run {kept.lane.run.run_id} of ansible-playbook \(pid {kept.owner.pid}\)"
    with pytest.raises(LaneError, match=f"{whose} that goes on although {kept.lane.dir} has no run.json; end that run"):
        claim.claim(options(base, lane_id=ID))
    assert {p.name for p in proc.marked(ID)} >= {"sleep"}
    end(kept.owner)
    assert run_state.until(lambda: not proc.marked(ID), 10)


def test_of_two_commands_on_a_lane_that_stays_one_works(base, keep):
    kept = keep(stay=True)
    result = Path(kept.lane.artifacts, "result.json")
    result.write_text("of the command at work")
    with fails("lane_running", "lane"):
        claim.claim(kept_options(base, fresh=False))
    assert result.read_text() == "of the command at work"
    assert keeper.end_others(ID, kept.lane.dir, "another") == [f"ansible-playbook (pid {kept.owner.pid})"]
    assert kept.owner.wait(5) == -signal.SIGTERM
    assert claim.claim(kept_options(base, fresh=False)) == (False, kept.lane.run)


def test_a_lane_that_stays_gets_a_new_keeper_when_it_lost_its_own(base, keep):
    kept = keep(stay=True, lease=60.0)
    end(kept.owner)
    kept.start()
    os.kill(kept.keeper, signal.SIGKILL)
    assert run_state.until(lambda: not run_state.keepers(ID), 2)
    assert claim.claim(kept_options(base, fresh=False)) == (False, kept.lane.run)
    (new,) = run_state.keepers(ID)
    assert new.pid != kept.keeper
    os.kill(new.pid, signal.SIGTERM)
    assert kept.gone()


def test_a_claim_that_fails_leaves_neither_keeper_nor_directory(base):
    Path(base, "file").write_text("")
    with fails("not_writable", words=f"cannot write to {base}/file/artifacts: Not a directory"):
        claim.claim(kept_options(base, artifacts_dir=f"{base}/file/artifacts"))
    assert proc.marked(ID) == []
    assert not Path(base, "l").exists()


def test_an_owner_that_is_gone_already_starts_nothing(base, monkeypatch):
    dead = subprocess.Popen(["true"])
    dead.wait()
    monkeypatch.setenv(run_state.OWNER, f"{dead.pid}-x")
    with pytest.raises(LaneError, match=rf"ansible-playbook \(pid {dead.pid}\), which started this run, has ended"):
        claim.claim(kept_options(base, stay=False))
    monkeypatch.setenv(run_state.OWNER, f"{os.getpid()}-x")
    monkeypatch.setenv(run_state.SCRIPTS, f" {os.getppid()} {dead.pid}")
    with pytest.raises(LaneError, match=rf"\./lane \(pid {dead.pid}\), which"):
        claim.claim(kept_options(base, stay=False))
    assert os.listdir(base) == ["artifacts"]
    monkeypatch.setenv(run_state.SCRIPTS, f" {os.getppid()}")
    found = [(w.pid, w.name) for w in keeper.watched()[1]]
    assert found == [(os.getpid(), "ansible-playbook"), (os.getppid(), "./lane")]


def test_an_owner_that_ends_while_the_keeper_starts_is_seen(base):
    # this pid, but another process had it
    keeper.spawn(order(base, run_state.Watched(os.getpid(), 1, "ansible-playbook")))
    assert run_state.until(lambda: not proc.marked(ID), 5)
    assert os.listdir(base) == []


def test_the_next_runs_directory_is_not_this_keepers(keep):
    kept = keep()
    other = replace(kept.lane.run, run_id="another")
    private_dir.write_private(Path(kept.lane.dir, private_dir.RUN_FILE), json.dumps(asdict(other)).encode())
    end(kept.owner)
    assert run_state.until(lambda: not proc.marked(ID), 10)
    assert private_dir.read_run(kept.lane.dir) == other


def test_a_keeper_that_cannot_start_is_named(base, monkeypatch):
    monkeypatch.setattr(keeper, "MAIN", "import no_such_module\n")
    with pytest.raises(LaneError, match=r"cannot start the lane's keeper: it ended at once"):
        keeper.spawn(order(base))


def test_it_is_small_does_not_tick_and_runs_in_this_interpreter(keep):
    place = Path(f"/proc/{keep().keeper}")

    def sum_of(file: str, name: str) -> int:
        return sum(int(line.split()[1]) for line in (place / file).read_text().splitlines() if name in line)

    assert sum_of("smaps_rollup", "Pss:") < 8 * 1024  # KiB
    before = sum_of("status", "ctxt_switches")
    time.sleep(1.0)
    assert sum_of("status", "ctxt_switches") - before <= 1
    words = (place / "cmdline").read_text().split("\0")
    assert words[0] == sys.executable and "-I" in words


def test_without_a_heartbeat_from_afar_the_lane_is_taken_down(base, monkeypatch):
    monkeypatch.setattr(keeper, "watched", lambda: ("remote-1-x-0", []))
    claim.claim(kept_options(base, stay=False, planned=("hello",), heartbeat=3.0))
    held = run_state.holder(f"{base}/l")
    assert held and held.order.bound and held.alive
    with pytest.raises(LaneError, match="already running"):  # no other command may go on with it
        claim.claim(kept_options(base, existing=True))
    end = time.monotonic() + 6
    while time.monotonic() < end:
        Path(base, "l", run_state.HEARTBEAT).touch()
        time.sleep(0.2)
    assert os.path.lexists(f"{base}/l")
    assert run_state.until(lambda: not os.path.lexists(f"{base}/l") and not proc.marked(ID), 30)
    result = json.loads(Path(base, "artifacts/result.json").read_text())
    assert (result["verdict"], result["blame"]["code"], result["blame"]["phase"]) == ("error", "aborted", None)
    assert "no heartbeat for 3 s" in result["blame"]["cause"]
