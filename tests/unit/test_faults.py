"""The judgement of `./lane faults`: what is missed, misnamed, late or not in the report is bad; and the catalogue is
complete.
"""

import html
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import run

FAULTS = Path(__file__).parents[1] / "faults"

CAUSE = 'qemu was killed by SIGKILL; see "logs/qemu.log"'
EXPECT = {"component": "qemu", "cause": "killed by SIGKILL", "within": 5, "noticed": 2, "code": "program_ended"}
BLAME = {"component": "qemu", "code": "program_ended", "cause": CAUSE}
PAGE = f"<html>run-7 <b>qemu</b> {html.escape(CAUSE)}</html>"
PASSED = {"verdict": "pass", "checks_planned": 1, "checks": [{"name": "hello", "result": "pass"}]}
#: What has to be in the catalogue whatever else is.
ASKED = """kvm-missing kvm-unreadable kvm-is-dev-null kvm-runs-no-firmware qemu-without-spice firmware-missing
firmware-cut image-missing image-not-qcow2 image-changed image-empty guest-without-agent vga-none port-taken
dead-http-proxy work-dir-full work-dir-read-only work-dir-of-somebody-else work-dir-path-too-long
database-ends-at-once database-killed database-stopped database-grant-wrong daemon-killed proxy-exits-at-once
ticket-wrong console-uuid-unknown token-of-another-seed certificate-expired certificate-v1
certificate-of-another-ca certificate-of-another-subject vv-points-at-qemu ryll-missing ryll-exits-at-once
ryll-opens-no-socket ryll-silent ryll-killed-mid-check one-colour-screen guest-frozen firewall-denies-channel
fixture-read-only stale-lane""".split()


def judged(
    expect: dict[str, Any] = EXPECT,
    *,
    line: str = f"LANE FAIL qemu: {CAUSE}",
    rc: int = 2,
    blame: Any = BLAME,
    hello: str = "fail",
    frames: str = "fail",
    failed: float = 101.0,
    verdict_at: float = 102.0,
    since: float | None = 100.0,
    stretch: float = 1.0,
    page: str = PAGE,
    result: Any = None,
) -> Any:
    """The outcome of a run that began at 100, with its first failed task a second later and the verdict after two."""
    if result is None:
        result = {"verdict": "fail", "run_id": "run-7", "blame": blame, "checks": checks(hello, frames)}
    lines = [(100.0, "PLAY [x]"), (failed, "fatal: [localhost]: FAILED! =>"), (102.0, line)]
    played = sys.modules["played"].Played(rc, lines, verdict_at, result, page)
    return run.judge({"name": "x", "what": "x", "expect": expect}, played, since, lambda value: value, stretch)


def checks(hello: str, frames: str) -> list[dict[str, str]]:
    smoke = {"suite": "smoke", "guest": "pocket"}
    return [{**smoke, "name": "hello", "result": hello}, {**smoke, "name": "frames", "result": frames}]


def test_a_run_that_was_refused_before_its_claim_needs_no_report():
    assert judged({key: value for key, value in EXPECT.items() if key != "code"}, result={}, page="").good


def test_a_fault_that_is_caught_is_good():
    outcome = judged()
    assert (outcome.state, outcome.good, outcome.seconds, outcome.noticed) == ("caught", True, 2.0, 1.0)


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"rc": 0, "line": "LANE PASS lane 1: 7 of 7", "result": PASSED}, "MISSED: LANE PASS lane 1: 7 of 7"),
        ({"line": "PLAY RECAP"}, "MISSED: "),
        (
            {"line": f"LANE FAIL ryll: {CAUSE}", "blame": {**BLAME, "component": "ryll"}},
            "MISNAMED: ryll, expected qemu",
        ),
        ({"blame": {**BLAME, "component": "ryll"}}, "the last line and result.json disagree"),
        ({"blame": {**BLAME, "cause": "expected a, but b"}}, "the last line and result.json disagree"),
        ({"line": "LANE FAIL qemu: a", "blame": {**BLAME, "cause": "a"}}, "WRONG CAUSE: expected 'killed by SIGKILL'"),
        ({"blame": {**BLAME, "code": None}}, "WRONG CODE: None, expected program_ended"),
        ({"page": ""}, "NO REPORT: "),
        ({"page": PAGE.replace("run-7", "run-6")}, "WRONG REPORT: report.html does not show 'run-7'"),
        ({"page": PAGE.replace("qemu", "kemu")}, "WRONG REPORT: report.html does not show 'qemu'"),
        ({"page": PAGE.replace("SIGKILL", "SIGTERM")}, "WRONG REPORT: report.html does not show 'qemu was"),
        ({"hello": "not run", "frames": "pass"}, "PASSED WITHOUT A SESSION: frames"),
        ({"result": {}}, "WRONG CODE"),
        ({"verdict_at": 105.5}, "LATE: 5.5 s, at most 5.0 s"),
        ({"verdict_at": 110.5, "stretch": 2.0}, "LATE: 10.5 s, at most 10.0 s"),
        ({"since": None}, "LATE: None s, at most 5.0 s"),
        ({"failed": 102.5, "verdict_at": 103.0, "stretch": 3.0}, "NOTICED LATE: 2.5 s, at most 2 s, however busy"),
    ],
)
def test_everything_else_is_bad(more, state):
    outcome = judged(**more)
    assert outcome.state.startswith(state)
    assert not outcome.good


GREEN = {"rc": 0, "line": "LANE PASS lane 1", "result": PASSED}


@pytest.mark.parametrize(
    ("more", "state", "good"),
    [
        (GREEN, "green", True),
        ({**GREEN, "result": {**PASSED, "checks_planned": 2}}, "red, and ought to be green", False),
        ({**GREEN, "verdict_at": 111.0}, "late: 11.0 s", False),
        ({}, "red, and ought to be green: LANE FAIL qemu", False),
    ],
)
def test_what_must_not_matter_has_to_be_green_and_in_time(more, state, good):
    outcome = judged({"within": 10}, **more)
    assert outcome.state.startswith(state)
    assert outcome.good is good


def test_what_this_machine_has_not_is_said():
    outcome = judged({**EXPECT, "not_here": "KVM works"}, rc=0, line="")
    assert (outcome.state, outcome.good) == ("not here", True)
    assert "Not here: x." in run.summary([outcome], 0, 1.0)


def test_the_catalogue_has_what_was_asked_for_and_each_entry_what_it_needs():
    found = {fault["name"]: fault for fault in run.catalogue(FAULTS / "catalogue.yml")}
    assert set(ASKED) <= set(found)
    dying = [name for name in found if name.endswith("-mid-check") and "KILL" in str(found[name]["during"])]
    assert len(dying) >= 5
    assert [name for name in dying if found[name]["expect"].get("noticed") != 2] == []
    assert [f["name"] for f in found.values() if "component" in f["expect"] and f["expect"]["within"] > 30] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expext": {}}, "unknown field expext"),
        ({"lane": "mine"}, "lane is neither own nor standing"),
        ({"expect": {"component": "nobody", "cause": "x", "within": 1}}, "no such component"),
        ({"expect": {"component": "qemu", "within": 1}}, "a component without a cause"),
        ({"expect": {"component": "qemu", "cause": "x"}}, "no limit"),
        ({"repair": "all"}, "unknown repair"),
    ],
)
def test_an_entry_that_would_mean_nothing_is_refused(tmp_path, change, words):
    entry = {"name": "x", "what": "x", "lane": "own", "expect": EXPECT, **change}
    (tmp_path / "c.yml").write_text(str({"faults": [entry]}))
    with pytest.raises(SystemExit, match=words):
        run.catalogue(tmp_path / "c.yml")


def test_the_evidence_of_a_good_lane_that_is_red_is_kept(tmp_path):
    runner = run.Runner(40, {}, tmp_path, str)

    def play(playbook: str, artifacts: Path, tags: str) -> Any:
        artifacts.mkdir()
        (artifacts / "result.json").write_text("{}")
        return sys.modules["played"].Played(1, [(1.0, "LANE FAIL ryll: x")], 1.0, {}, "")

    try:
        lane = SimpleNamespace(id=41, dir=tmp_path, play=play)
        for name in ("not-good-1", "not-good-2"):
            assert runner._good_again(lane, None).endswith(f"see {tmp_path / name}")
        assert all((tmp_path / name / "result.json").exists() for name in ("not-good-1", "not-good-2"))
    finally:
        runner.base.rmdir()
