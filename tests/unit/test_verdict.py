"""result.json: green only when every planned check of this command passed, red otherwise."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import check_report
from ansible.module_utils.lane.core.errors import COMPONENTS, PRODUCT
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import verdict
from lanes import TestLane

COMMAND = "20261125T180000Z-0000beef"
PLANNED = ["hello", "status", "screenshot", "banner", "counters", "path"]
KEYS = (
    "schema lane_id run_id command_id verdict started finished seconds accel guests versions origins phases "
    "checks_planned plan_changed checks blame"
)


def report(lane: TestLane, file: str, **content: Any) -> None:
    """A report of checks as a module of this command writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(check_report.COMMAND_ID, COMMAND)
        check_report.write(f"{lane.dir}/logs/{file}", content)


def smoke(lane: TestLane, gone: str = "") -> None:
    """The two reports of a smoke check, without one of its checks."""
    steps = [{"name": name, "result": "ok", "started": 1.0} for name in PLANNED[:3] if name != gone]
    report(lane, "smoke.json", transcript=steps)
    report(lane, "outside.json", checks=[{"name": name, "result": "pass"} for name in PLANNED[3:] if name != gone])


@pytest.fixture
def lane(lane: TestLane) -> TestLane:
    smoke(lane)
    hand_over(lane.dir, "accel", {"chosen": "tcg", "reason": "no KVM"})
    hand_over(lane.dir, "guest", {"name": "pocket", "sha256": "00"})
    return lane


def write(lane: TestLane, planned: list[Any] | None = None, failure: dict | None = None, **more: Any) -> dict:
    values: dict = {"command": COMMAND, "planned": PLANNED if planned is None else planned, "failure": failure or {}}
    values |= {"phases": [], "versions": {"ansible": "2.19"}}
    return verdict.write(lane.dir, lane.artifacts, lane.run, **{**values, **more})


def close(lane: TestLane, command: str = COMMAND, fault: dict | None = None) -> dict | None:
    return verdict.close(lane.artifacts, lane.run, command, {"name": "teardown", "seconds": 0.2}, fault)


def test_green(lane):
    result = write(lane)
    assert (result["verdict"], result["blame"], result["schema"]) == ("pass", None, 2)
    assert {(c["suite"], c["guest"], c["result"]) for c in result["checks"]} == {("smoke", "pocket", "pass")}
    assert result["accel"] == {"chosen": "tcg", "reason": "no KVM"}
    assert (result["guests"], result["command_id"], result["plan_changed"]) == (["pocket"], COMMAND, None)
    assert json.loads(Path(lane.artifacts, "result.json").read_text()) == result
    shown = verdict.shown(result, lane.artifacts)
    assert (shown["verdict"], shown["file"]) == ("pass", f"{lane.artifacts}/result.json")
    assert shown["line"].startswith("LANE PASS lane 98: 6 of 6 checks, guest pocket under tcg, ")
    assert set(result) == set(KEYS.split())


def test_what_is_kept_can_be_read_by_others_and_holds_no_secret(lane):
    Path(lane.dir, "logs/daemon.log").write_text("fine\n")
    lane.start(lane.program("daemon", "exec sleep 60"))
    write(lane, failure={"role": "smoke", "task": "x", "result": {"msg": "it failed"}})
    files = {str(p.relative_to(lane.artifacts)): p for p in Path(lane.artifacts).rglob("*") if p.is_file()}
    made = {"result.json", "junit.xml", "logs/diagnosis.json", "logs/processes.json"}
    assert {"logs/daemon.log", "handover/guest.json", *made} <= set(files)
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o644}
    assert not any("secret" in name or name.endswith((".pem", ".vv", ".yaml")) for name in files)


@pytest.mark.parametrize(
    ("names", "measured"), [(["tls", "evidence"], True), (["evidence", "tls"], False), ([], False)]
)
def test_the_phase_evidence_lasts_until_its_result_is_written(lane, names, measured):
    phases = write(lane, phases=[{"name": name, "seconds": 99.0} for name in names])["phases"]
    assert [0 < phase["seconds"] < 60 for phase in phases] == [False] * (len(names) - measured) + [True] * measured


def test_a_run_without_any_check_is_not_said_to_lack_some(lane):
    blame = write(lane, planned=[])["blame"]
    assert blame["code"] == "checks_not_run" and "no check" in blame["cause"]


@pytest.mark.parametrize("gone", ["hello", "path"])
def test_a_check_that_never_ran_is_red(lane, gone):
    smoke(lane, gone=gone)
    result = write(lane)
    assert (result["verdict"], result["blame"]["code"], result["blame"]["check"]) == ("error", "checks_not_run", gone)


def test_a_check_that_failed_without_a_failed_task_is_red_for_its_own_reason(lane):
    detail = {"cause": f"see {lane.dir}/logs/ryll.log", "component": "ryll", "evidence": f"{lane.dir}/logs/ryll.log:3"}
    report(lane, "outside.json", checks=[{"name": "path", "result": "fail", "detail": detail}])
    result = write(lane, planned=["hello", "path"])
    assert (result["verdict"], verdict.line(result)) == ("fail", "LANE FAIL ryll: see logs/ryll.log")
    found = result["checks"][1]["detail"]
    assert (found["cause"], found["evidence"]) == ("see logs/ryll.log", "logs/ryll.log:3")


def test_a_secret_in_a_log_is_red_whatever_else_failed(lane):
    Path(lane.dir, "logs/serial.log").write_text(Path(lane.dir, "secrets/spice_ticket").read_text())
    result = write(lane, failure={"role": "smoke", "task": "t", "result": {"msg": "x"}})
    blame = result["blame"]
    assert [blame[key] for key in ("component", "code", "phase")] == ["guest", "secret_in_log", "evidence"]
    assert result["verdict"] == "fail" and blame["evidence"] == "logs/serial.log.withheld"


def test_every_guest_of_the_plan_is_named(lane):
    report(lane, "suite.json", suite="x", guest="uncalibrated", checks=[{"name": "hello", "result": "pass"}])
    result = write(lane, planned=["hello", {"suite": "x", "guest": "uncalibrated", "name": "hello"}])
    assert result["guests"] == ["pocket", "uncalibrated"]
    assert "2 of 2 checks, guests pocket and uncalibrated under tcg" in verdict.line(result)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_component_decides_between_fail_and_error(lane, component):
    named = {"component": component, "check": "status", "code": "check_failed", "cause": "a was not b"}
    named["evidence"] = f"{lane.dir}/logs/ryll.log:3"
    result = write(lane, failure={"role": "kerbside", "task": "t", "result": {"lane_failure": named}})
    cause = result["blame"]["cause"]
    assert result["verdict"] == ("fail" if component in PRODUCT else "error") and cause.startswith("a was not b")
    assert result["blame"] == {**named, "phase": "kerbside", "cause": cause, "evidence": "logs/ryll.log:3"}
    assert verdict.line(result) == f"LANE FAIL {component}: {cause}"


@pytest.mark.parametrize(
    ("role", "result", "component", "reason"),
    [
        ("deps", {"msg": "No package\nmatching"}, "environment", "No package matching"),
        ("tls", {"msg": "some", "results": [{"msg": "fine"}, {"failed": True, "msg": "x"}]}, "environment", "x"),
        ("teardown", {}, "lane", "it gave no reason"),
    ],
)
def test_a_task_is_blamed_by_its_role(lane, role, result, component, reason):
    found = write(lane, failure={"role": role, "task": "a task", "result": result})["blame"]
    assert (found["component"], found["code"]) == (component, "task_failed")
    assert found["cause"].startswith(f"the task 'a task' failed: {reason}")


def test_origins_are_what_the_roles_said_and_null_for_the_others(lane):
    origin = {"kind": "path", "source": "/src/k", "version": "0.9", "commit": "abc", "dirty": True, "sha256": "00"}
    hand_over(lane.dir, "origins", {"kerbside": origin})
    found = write(lane)["origins"]
    assert found["kerbside"] == origin
    assert found["ryll"] == dict.fromkeys(origin)
    assert set(found) == {"kerbside", "proxy", "ryll", "image_pocket"}


def test_teardown_closes_the_result_of_its_own_command_and_its_failure_turns_green_red(lane):
    assert close(lane) is None, "there is none"
    written = write(lane)
    path = Path(lane.artifacts, "result.json")
    assert close(lane, command="another") is None and json.loads(path.read_text()) == written
    result = close(lane)
    assert result and (result["verdict"], result["phases"][-1]["name"]) == ("pass", "teardown")
    fault = {"component": "lane", "check": None, "code": "check_failed", "cause": "x stayed", "evidence": None}
    result = close(lane, fault=fault)
    assert result and verdict.line(result) == "LANE FAIL lane: x stayed"
    assert json.loads(path.read_text())["verdict"] == "error"


def test_seconds_are_those_of_the_command_and_not_of_the_lane(lane):
    """A lane that was started an hour ago, and claimed again by a command five seconds ago (claim.keep_on)."""
    lane.run = replace(lane.run, started=time.time() - 3600)
    os.utime(Path(lane.dir, "run.json"), times=(time.time() - 5,) * 2)
    result = write(lane)
    assert 5 <= result["seconds"] < 60
    assert verdict.line(result).endswith(f", {result['seconds']:.1f} s")
    # a phase that begins before the claim counts as well
    result = write(lane, phases=[{"name": "suites", "seconds": 70.0}, {"name": "evidence", "seconds": 0.0}])
    assert 70 <= result["seconds"] < 130
    shutil.rmtree(lane.dir)
    time.sleep(0.2)
    closed = close(lane)
    assert closed and result["seconds"] + 0.15 < closed["seconds"] < result["seconds"] + 60
