"""result.json: green only when every planned check passed, red otherwise, and no secret in what is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import COMPONENTS, PRODUCT
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import verdict
from lanes import TestLane, claimed_lane

PLANNED = ["hello", "status", "screenshot", "banner", "counters", "path"]


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        steps = [{"name": name, "result": "ok", "seconds": 0.1, "seen": {}} for name in PLANNED[:3]]
        Path(found.dir, "logs/smoke.json").write_text(json.dumps({"transcript": steps}))
        Path(found.dir, "logs/spine.json").write_text(json.dumps([{"name": name, "result": "pass", "seconds": 0.1, "detail": {}} for name in PLANNED[3:]]))
        hand_over(found.dir, "accel", {"chosen": "tcg", "reason": "no KVM"})
        hand_over(found.dir, "guest", {"name": "pocket", "sha256": "00"})
        yield found


def write(lane: TestLane, failure: dict | None = None, planned: list[str] | None = None) -> dict:
    planned = PLANNED if planned is None else planned
    return verdict.write(lane.dir, lane.artifacts, lane.run, planned=planned, failure=failure or {}, phases=[], versions={"ansible": "2.19"})


def test_green(lane: TestLane) -> None:
    result = write(lane)
    assert result["verdict"] == "pass"
    assert result["blame"] is None
    assert [c["result"] for c in result["checks"]] == ["pass"] * 6
    assert result["accel"] == {"chosen": "tcg", "reason": "no KVM"}
    assert json.loads(Path(lane.artifacts, "result.json").read_text()) == result
    assert verdict.line(result).startswith("LANE PASS lane 98: 6 of 6 checks, guest pocket under tcg, ")
    assert set(result) == {
        *("schema", "lane_id", "run_id", "verdict", "started", "finished", "seconds", "accel", "guest", "versions"),
        *("phases", "checks_planned", "checks", "blame"),
    }


@pytest.mark.parametrize("gone", PLANNED)
def test_a_check_that_never_ran_is_red(lane: TestLane, gone: str) -> None:
    for name in ("logs/smoke.json", "logs/spine.json"):
        path = Path(lane.dir, name)
        data = json.loads(path.read_text())
        entries = data["transcript"] if isinstance(data, dict) else data
        entries[:] = [e for e in entries if e["name"] != gone]
        path.write_text(json.dumps(data))
    result = write(lane)
    assert result["verdict"] == "error"
    assert verdict.line(result) == f"LANE FAIL lane: expected every planned check to pass, but {gone} did not; look at result.json"


@pytest.mark.parametrize("state", ["failed", "skipped", None, "pass", ""])
def test_only_a_step_that_says_ok_has_passed(lane: TestLane, state: str | None) -> None:
    Path(lane.dir, "logs/smoke.json").write_text(json.dumps({"transcript": [{"name": n, "result": state} for n in PLANNED[:3]]}))
    assert write(lane)["verdict"] == "error"


def test_no_planned_check_is_red(lane: TestLane) -> None:
    assert verdict.line(write(lane, planned=[])) == "LANE FAIL lane: expected every planned check to pass, but none was planned; look at result.json"


def test_broken_transcripts_are_red(lane: TestLane) -> None:
    Path(lane.dir, "logs/smoke.json").write_text("{")
    assert write(lane)["verdict"] == "error"


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_component_decides_between_fail_and_error(lane: TestLane, component: str) -> None:
    named = {"component": component, "check": "status", "cause": "expected a, but b", "evidence": f"{lane.dir}/logs/ryll.log:3"}
    result = write(lane, {"role": "smoke", "task": "t", "result": {"lane_failure": named}})
    assert result["verdict"] == ("fail" if component in PRODUCT else "error")
    cause = "expected a, but b" + ("; no other part shows a fault" if component in PRODUCT else "")
    assert result["blame"] == {"component": component, "phase": "smoke", "check": "status", "cause": cause, "evidence": "logs/ryll.log:3"}
    assert verdict.line(result) == f"LANE FAIL {component}: {cause}"


def test_a_failed_task_that_names_nobody_is_blamed_by_its_role(lane: TestLane) -> None:
    result = write(lane, {"role": "deps", "task": "deps : Install", "result": {"msg": "No package\nmatching"}})
    assert result["blame"]["component"] == "environment"
    assert result["blame"]["cause"] == "expected the task 'deps : Install' to succeed, but No package matching"


def test_of_a_loop_the_item_that_failed_is_told(lane: TestLane) -> None:
    items = [{"msg": "fine"}, {"failed": True, "msg": "no space left"}]
    result = write(lane, {"role": "tls", "task": "keys", "result": {"msg": "One or more items failed", "results": items}})
    assert result["blame"]["cause"] == "expected the task 'keys' to succeed, but no space left"


def test_logs_are_kept_and_readable_and_secrets_are_not(lane: TestLane) -> None:
    Path(lane.dir, "logs/daemon.log").write_text("fine\n")
    write(lane)
    kept = {str(p.relative_to(lane.artifacts)) for p in Path(lane.artifacts).rglob("*") if p.is_file()}
    assert {"logs/daemon.log", "logs/processes.json", "handover/guest.json", "result.json"} <= kept
    assert not any("secret" in name or name.endswith((".pem", ".vv", ".yaml")) for name in kept)
    assert os.stat(f"{lane.artifacts}/logs/daemon.log").st_mode & 0o777 == 0o644


def test_a_leaked_secret_is_held_back_and_makes_the_run_red(lane: TestLane) -> None:
    secret = Path(lane.dir, "secrets/spice_ticket").read_text()
    Path(lane.dir, "logs/qemu.log").write_text(f"one\ntwo {secret}\n")
    result = write(lane)
    assert result["verdict"] == "error"
    there = f"logs/qemu.log:2 (plain: spice_ticket, {secret[:2]}...)"
    assert verdict.line(result) == f"LANE FAIL artifacts: expected no secret in the artifacts, but there was one in {there}; the files were held back"
    assert Path(lane.artifacts, result["blame"]["evidence"]).exists()
    assert not Path(lane.artifacts, "logs/qemu.log").exists()
    assert secret not in Path(lane.artifacts, "result.json").read_text()


def test_teardown_closes_the_result_and_its_failure_turns_green_red(lane: TestLane) -> None:
    write(lane)
    result = verdict.close(lane.artifacts, lane.run, {"name": "teardown", "seconds": 1.0}, None)
    assert result is not None
    assert result["verdict"] == "pass"
    assert result["phases"][-1]["name"] == "teardown"
    fault = {"component": "lane", "check": None, "cause": "expected nothing to stay, but x did", "evidence": None}
    result = verdict.close(lane.artifacts, lane.run, {"name": "teardown", "seconds": 1.0}, fault)
    assert result is not None
    assert verdict.line(result) == "LANE FAIL lane: expected nothing to stay, but x did"
    assert json.loads(Path(lane.artifacts, "result.json").read_text())["verdict"] == "error"


def test_the_result_of_another_run_is_not_closed(lane: TestLane) -> None:
    assert verdict.close(lane.artifacts, lane.run, {"name": "teardown", "seconds": 1.0}, None) is None
