"""The verdict of a run: result.json, put together from what the roles handed over and what the checks reported.

docs/verdict.md explains its shape.
"""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path
from typing import Any

from ..core.errors import PRODUCT, LaneError, clock, one_line
from ..core.private_dir import Run, claimed_at, handed_over, read_json, write_private
from ..core.secrets import masked
from ..programs import records
from . import check_results, collect, diagnosis, junit, logs, secret_scan

SCHEMA = 2
RESULT = "result.json"
ORIGIN = ("kind", "source", "version", "commit", "dirty", "sha256")
#: Who is to blame when a task of a role fails that names nobody itself (apt, template): the machine or the lane.
ROLE_COMPONENT = {"kvm_probe": "host"} | dict.fromkeys(("deps", "ryll_build", "tls", "kerbside"), "environment")


def blame(failure: dict[str, Any]) -> dict[str, Any] | None:
    """The `blame` of result.json from what the playbook caught: {"role", "task", "result"}; None when nothing
    failed.
    """
    if not failure:
        return None
    result = failure.get("result") or {}
    # of a loop, the item that failed
    result = next((item for item in result.get("results") or [] if item.get("failed")), result)
    role = failure.get("role") or ""
    named = result.get("lane_failure")
    if not named:
        words = str(result.get("msg") or result.get("stderr") or "it gave no reason")
        problem = f"the task '{failure.get('task', '?')}' failed: {words}"
        named = LaneError("task_failed", ROLE_COMPONENT.get(role, "lane"), problem).as_dict()
    return {"phase": role, **{key: named.get(key) for key in ("component", "check", "code", "cause", "evidence")}}


def explained(lane_dir: str, fault: dict[str, Any], failure: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the blame, notes) after `diagnosis.explain`; a mistake in a rule must not cost the verdict, so the blame then
    stays and the notes say so.
    """
    try:
        return diagnosis.explain(lane_dir, fault, named=bool((failure.get("result") or {}).get("lane_failure")))
    except Exception as error:
        broken = one_line(f"{type(error).__name__}: {error}")
        return fault, {"rule": None, "broken": broken, "traceback": traceback.format_exc()}


def judge(checks: list[dict[str, Any]], fault: dict[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
    """(verdict, blame). A failure that was caught decides; without one, every planned check must have passed."""
    if fault is None:
        missing = [check["name"] for check in checks if check["result"] != "pass"]
        if failed := next((check for check in checks if check["result"] == "fail"), None):
            problem = str(failed["detail"].get("cause") or f"the check {failed['name']} failed")
            component = failed["detail"].get("component") or "lane"
            error = LaneError("check_failed", component, problem, check=failed["name"], evidence=RESULT)
        elif missing or not checks:
            names = f"no result of this command for the checks {', '.join(missing)}"
            problem, fix = names if missing else "no checks are planned", "run the smoke check in the same command"
            name = missing[0] if missing else None
            error = LaneError("checks_not_run", "lane", problem, fix, check=name, evidence=RESULT)
        else:
            return "pass", None
        fault = {"phase": "evidence", **error.as_dict()}
    return ("fail" if fault["component"] in PRODUCT else "error"), fault


def relative_evidence(fault: dict[str, Any], lane_dir: str) -> dict[str, Any]:
    """A blame, or a check's detail, with paths as they are below the artifacts: the lane's directory is gone when
    somebody reads them.
    """
    if "cause" not in fault:
        return fault
    prefix = lane_dir.rstrip("/") + "/"
    cause = str(fault["cause"]).replace(prefix + "logs/", "logs/")
    evidence = fault["evidence"].removeprefix(prefix) if fault.get("evidence") else None
    return {**fault, "cause": cause, "evidence": evidence}


def write(
    lane_dir: str,
    artifacts_dir: str,
    run: Run,
    *,
    command: str,
    planned: list[Any],
    failure: dict[str, Any],
    phases: list[dict[str, Any]],
    versions: dict[str, str],
    full_plan: list[Any] | None = None,
    ansible: str = "",
) -> dict[str, Any]:
    """Keep the evidence of this command and write result.json; returns its content.

    planned: the checks that have to pass; full_plan: those of a run whose plan nobody changed.
    """
    begun = time.monotonic()
    artifacts = Path(artifacts_dir)
    fault = blame(failure)
    notes: dict[str, Any] = {}
    if fault:
        fault, notes = explained(lane_dir, fault, failure)
    reports = collect.collect(lane_dir, artifacts, command, ansible)
    for name, content in (("diagnosis", notes), ("processes", processes(lane_dir, run))):
        if content:
            write_private(artifacts / f"logs/{name}.json", json.dumps(content, indent=1).encode(), 0o644)
    known = handed_over(lane_dir)
    guest = known.get("lane_guest", {}).get("name")
    keys = check_results.planned_keys(planned, guest)
    full = check_results.planned_keys(planned if full_plan is None else full_plan, guest)
    checks = check_results.entries(reports, keys, guest)
    if leaks := secret_scan.withhold(lane_dir, artifacts):
        fault = {"phase": "evidence", **secret_scan.failure(lane_dir, leaks).as_dict()}
    verdict, fault = judge(checks, fault)
    if phases and phases[-1]["name"] == "evidence":
        phases[-1]["seconds"] = round(time.monotonic() - begun, 3)
    now = time.time()
    guests = list(dict.fromkeys(name for _, name, _ in keys if name)) or ([guest] if guest else [])
    accel = known.get("lane_accel", {})
    result = {
        "schema": SCHEMA,
        "lane_id": run.lane_id,
        "run_id": run.run_id,
        "command_id": command,
        "verdict": verdict,
        "started": clock(run.started),
        "finished": clock(now),
        # of this command; its first phase may have begun before the claim
        "seconds": round(max(now - claimed_at(lane_dir, run), sum(phase["seconds"] for phase in phases)), 2),
        "accel": {"chosen": accel.get("chosen"), "reason": accel.get("reason")},
        "guests": guests,
        "versions": {**_versions(known), **versions},
        "origins": _origins(known, guests),
        "phases": phases,
        "checks_planned": len(full),
        "plan_changed": None if sorted(map(str, keys)) == sorted(map(str, full)) else "lane_checks was changed",
        "checks": [{**check, "detail": relative_evidence(check["detail"], lane_dir)} for check in checks],
        "blame": relative_evidence(fault, lane_dir) if fault else None,
    }
    result = masked(lane_dir, result)
    save(artifacts_dir, result)
    return result


def _versions(known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The versions of what is under test and of what it stands on; null for what the run did not reach."""
    guest, deps = (known.get(f"lane_{name}", {}) for name in ("guest", "deps"))
    parts = known.get("lane_kerbside", {}).get("versions", {})
    return {
        "kerbside": parts.get("kerbside"),
        "kerbside_proxy": parts.get("kerbside-proxy"),
        "ryll": known.get("lane_ryll", {}).get("version"),
        "qemu": deps.get("qemu_version"),
        "ovmf": deps.get("ovmf_version"),
        "mariadb": deps.get("mariadb_version"),
        "image_sha256": guest.get("sha256"),
    }


def _origins(known: dict[str, dict[str, Any]], guests: list[str]) -> dict[str, Any]:
    """Where each product came from, as the role that provides it said (prepare/source.py); null for what the run did
    not reach.
    """
    products = ("kerbside", "proxy", "ryll", *(f"image_{name}" for name in guests))
    return {product: known.get("lane_origins", {}).get(product, dict.fromkeys(ORIGIN)) for product in products}


def save(artifacts_dir: str, result: dict[str, Any]) -> None:
    """Write result.json, and junit.xml, which says the same."""
    write_private(Path(artifacts_dir, RESULT), json.dumps(result, indent=1).encode() + b"\n", 0o644)
    write_private(Path(artifacts_dir, junit.FILE), junit.xml(result, Path(artifacts_dir)), 0o644)


def of_run(artifacts_dir: str, run: Run) -> dict[str, Any] | None:
    """result.json as it stands, if this run wrote it."""
    result: dict[str, Any] = read_json(Path(artifacts_dir, RESULT), {})
    return result if result.get("run_id") == run.run_id else None


def close(
    artifacts_dir: str, run: Run, command: str, phase: dict[str, Any], fault: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Add what happened after the evidence was taken: teardown's phase, the end, and its failure if nothing else failed
    before.

    Returns the result, or None when this command wrote none: the result of an earlier command stays as it is.
    """
    result = of_run(artifacts_dir, run)
    if result is None or result["command_id"] != command:
        return None
    now = time.time()
    seconds = result["seconds"] + now - (logs.moment(result["finished"]) or now)  # run.json is gone by now
    result["phases"].append(phase)
    result.update(finished=clock(now), seconds=round(seconds, 2))
    if fault and result["verdict"] == "pass":
        result.update(verdict="error", blame={"phase": "teardown", **fault})
    save(artifacts_dir, result)
    return result


def shown(result: dict[str, Any], artifacts_dir: str) -> dict[str, str]:
    """What a module returns as `lane_verdict`: the verdict, the last line for the terminal, and the path of
    result.json.
    """
    return {"verdict": result["verdict"], "line": line(result), "file": str(Path(artifacts_dir, RESULT))}


def line(result: dict[str, Any]) -> str:
    """The last line on the terminal."""
    if result["verdict"] == "pass":
        return f"LANE PASS lane {result['lane_id']}: {score(result)}, {stage(result)}, {result['seconds']:.1f} s"
    fault = result["blame"]
    return f"LANE FAIL {fault['component']}: {fault['cause']}"


def score(result: dict[str, Any]) -> str:
    """How many checks passed, and whether the plan was changed by hand."""
    passed = sum(check["result"] == "pass" for check in result["checks"])
    changed = f", {result['plan_changed']}" if result["plan_changed"] else ""
    return f"{passed} of {result['checks_planned']} checks{changed}"


def stage(result: dict[str, Any]) -> str:
    """The guests and the accelerator in words."""
    guests, accel = result["guests"], result["accel"]["chosen"]
    booted = f"guest{'s' * (len(guests) > 1)} {' and '.join(guests)}" if guests else "no guest booted"
    return f"{booted} under {accel}" if accel else f"{booted}, accelerator not chosen"


def processes(lane_dir: str, run: Run) -> list[dict[str, Any]]:
    """Every program of the lane as the evidence keeps it: whether it still ran, and how it ended if not."""
    return [
        {
            "name": entry.name,
            "component": entry.component,
            "started": clock(entry.started),
            "ready_seconds": entry.ready_seconds,
            "running": entry.running(run),
            "oneshot": entry.oneshot,
            "exit_status": entry.exit_status(lane_dir),
        }
        for entry in records.records(lane_dir)
    ]
