"""The verdict of a run: result.json, put together from what the roles handed over and what the checks wrote.

The shape is DESIGN.md's "The verdict"; docs/verdict.md explains it for those who read the file.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from ..core.errors import PRODUCT, clock, one_line
from ..core.private_dir import Run, handed_over, read_json, write_private
from ..programs import process
from . import ansible_log, diagnosis, junit, secret_scan

SCHEMA = 1
RESULT = "result.json"
#: Who is to blame when a task of a role fails that names nobody itself (apt, template, community.crypto): the machine or the lane.
ROLE_COMPONENT = {"kvm_probe": "host", "deps": "environment", "ryll_build": "environment", "tls": "environment", "kerbside": "environment"}


def blame(failure: dict[str, Any]) -> dict[str, Any] | None:
    """The `blame` of result.json from what the playbook caught: {"role", "task", "result"}; None when nothing failed."""
    if not failure:
        return None
    result = failure.get("result") or {}
    result = next((item for item in result.get("results") or [] if item.get("failed")), result)  # of a loop, the item that failed
    named = result.get("lane_failure") or {}
    role = failure.get("role") or ""
    words = str(result.get("msg") or result.get("stderr") or "it failed without a word")
    return {
        "component": named.get("component") or ROLE_COMPONENT.get(role, "lane"),
        "phase": role,
        "check": named.get("check"),
        "cause": named.get("cause") or one_line(f"expected the task '{failure.get('task', '?')}' to succeed, but {words}"),
        "evidence": named.get("evidence"),
    }


def explained(lane_dir: str, fault: dict[str, Any], failure: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the blame, notes) after `diagnose.explain`; a mistake in a rule must not cost the verdict, so the blame then stays and the notes say so."""
    try:
        return diagnosis.explain(lane_dir, fault, named=bool((failure.get("result") or {}).get("lane_failure")))
    except Exception as error:
        return fault, {"rule": None, "broken": one_line(f"{type(error).__name__}: {error}"), "traceback": traceback.format_exc()}


def checks_done(logs: Path, planned: list[str]) -> list[dict[str, Any]]:
    """The entries of all planned checks, from the smoke transcript and the spine report; one that never ran is `not run`."""
    found: dict[str, dict[str, Any]] = {}
    transcript = read_json(logs / "smoke.json", {})
    for step in transcript.get("transcript", []):
        if step.get("name") in planned:
            result = {"ok": "pass", "failed": "fail"}.get(step.get("result"), "not run")
            found[step["name"]] = {"name": step["name"], "result": result, "seconds": step.get("seconds", 0.0), "detail": step.get("seen") or {}}
    for entry in read_json(logs / "spine.json", []):
        found[entry["name"]] = entry
    return [found.get(name, {"name": name, "result": "not run", "seconds": 0.0, "detail": {}}) for name in planned]


def judge(checks: list[dict[str, Any]], fault: dict[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
    """(verdict, blame). A failure that was caught decides; without one, every planned check has to have passed."""
    if fault is None:
        missing = [c["name"] for c in checks if c["result"] != "pass"]
        if missing or not checks:
            what = f"{', '.join(missing)} did not" if missing else "none was planned"
            cause = f"expected every planned check to pass, but {what}; look at {RESULT}"
            fault = {"component": "lane", "phase": "evidence", "check": missing[0] if missing else None, "cause": cause, "evidence": RESULT}
    if fault is None:
        return "pass", None
    return ("fail" if fault["component"] in PRODUCT else "error"), fault


def collect(lane_dir: str, artifacts: Path, ansible: str = "") -> None:
    """Copy the logs of every part, and what may be shown of the hand-over, to the artifacts, readable by whoever may enter there.

    ansible: what Ansible has said in this command; what it said in earlier ones is a log of the lane like the others.
    """
    artifacts.mkdir(parents=True, exist_ok=True)
    for folder in ("logs", "handover"):
        if (artifacts / folder).exists():
            shutil.rmtree(artifacts / folder)  # what an earlier check of this run reported is no receipt for this one
        shutil.copytree(Path(lane_dir, folder), artifacts / folder)
    for name in ("screenshot.png", "screendump.png", "counters-before.json"):
        if Path(lane_dir, name).exists():
            shutil.copy(Path(lane_dir, name), artifacts / name)
    if ansible:
        ansible_log.append(artifacts / "logs" / ansible_log.FILE, ansible.encode(), 0o644)
    for root, _, names in os.walk(artifacts):
        os.chmod(root, 0o755)
        for name in names:
            os.chmod(os.path.join(root, name), 0o644)


def relative_evidence(fault: dict[str, Any], lane_dir: str) -> dict[str, Any]:
    """The blame with paths as they are below the artifacts: the lane's directory is gone when somebody reads them."""
    prefix = lane_dir.rstrip("/") + "/"
    cause = str(fault["cause"]).replace(prefix + "logs/", "logs/")
    evidence = fault["evidence"].removeprefix(prefix) if fault["evidence"] else None
    return {**fault, "cause": cause, "evidence": evidence}


def write(
    lane_dir: str,
    artifacts_dir: str,
    run: Run,
    *,
    planned: list[str],
    failure: dict[str, Any],
    phases: list[dict[str, Any]],
    versions: dict[str, str],
    ansible: str = "",
) -> dict[str, Any]:
    """Keep the evidence of this run and write result.json; returns its content."""
    begun = time.monotonic()
    artifacts = Path(artifacts_dir)
    fault = blame(failure)
    notes: dict[str, Any] = {}
    if fault:
        fault, notes = explained(lane_dir, fault, failure)
    collect(lane_dir, artifacts, ansible)
    if notes:
        write_private(artifacts / "logs" / "diagnosis.json", json.dumps(notes, indent=1).encode(), 0o644)
    write_private(artifacts / "logs" / "processes.json", json.dumps(processes(lane_dir, run), indent=1).encode(), 0o644)
    known = handed_over(lane_dir)
    checks = checks_done(artifacts / "logs", planned)
    if leaks := secret_scan.hold_back(lane_dir, artifacts):
        cause = one_line(f"expected no secret in the artifacts, but there was one in {', '.join(str(leak) for leak in leaks)}; the files were held back")
        fault = {"component": "artifacts", "phase": "evidence", "check": None, "cause": cause, "evidence": f"{leaks[0].path}.held-back"}
    verdict, fault = judge(checks, fault)
    accel, guest, deps = (known.get(f"lane_{name}", {}) for name in ("accel", "guest", "deps"))
    parts = known.get("lane_kerbside", {}).get("versions", {})
    if phases and phases[-1]["name"] == "evidence":
        phases[-1]["seconds"] = round(time.monotonic() - begun, 3)
    now = time.time()
    result = {
        "schema": SCHEMA,
        "lane_id": run.lane_id,
        "run_id": run.run_id,
        "verdict": verdict,
        "started": clock(run.started),
        "finished": clock(now),
        "seconds": round(now - run.started, 2),
        "accel": {"chosen": accel.get("chosen"), "reason": accel.get("reason")},
        "guest": guest.get("name"),
        "versions": {
            "kerbside": parts.get("kerbside"),
            "kerbside_proxy": parts.get("kerbside-proxy"),
            "ryll": known.get("lane_ryll", {}).get("version"),
            "qemu": deps.get("qemu_version"),
            "ovmf": deps.get("ovmf_version"),
            "mariadb": deps.get("mariadb_version"),
            "image_sha256": guest.get("sha256"),
            **versions,
        },
        "phases": phases,
        "checks_planned": len(planned),
        "checks": checks,
        "blame": relative_evidence(fault, lane_dir) if fault else None,
    }
    result = secret_scan.masked(lane_dir, result)
    save(artifacts_dir, result)
    return result


def save(artifacts_dir: str, result: dict[str, Any]) -> None:
    """Write result.json, and junit.xml, which says the same."""
    write_private(Path(artifacts_dir, RESULT), json.dumps(result, indent=1).encode() + b"\n", 0o644)
    write_private(Path(artifacts_dir, junit.FILE), junit.xml(result), 0o644)


def of_run(artifacts_dir: str, run: Run) -> dict[str, Any] | None:
    """result.json as it stands, if this run wrote it."""
    result: dict[str, Any] = read_json(Path(artifacts_dir, RESULT), {})
    return result if result.get("run_id") == run.run_id else None


def close(artifacts_dir: str, run: Run, phase: dict[str, Any], fault: dict[str, Any] | None) -> dict[str, Any] | None:
    """Add what happened after the evidence was taken: teardown's phase, the end, and its failure if nothing else failed before.

    Returns the result, or None when this run wrote none.
    """
    result = of_run(artifacts_dir, run)
    if result is None:
        return None
    now = time.time()
    result["phases"].append(phase)
    result.update(finished=clock(now), seconds=round(now - run.started, 2))
    if fault and result["verdict"] == "pass":
        result.update(verdict="error", blame={"phase": "teardown", **fault})
    save(artifacts_dir, result)
    return result


def shown(result: dict[str, Any], artifacts_dir: str) -> dict[str, str]:
    """What a module returns as `lane_verdict`: the verdict, the last line for the terminal, and the path of result.json."""
    return {"verdict": result["verdict"], "line": line(result), "file": str(Path(artifacts_dir, RESULT))}


def line(result: dict[str, Any]) -> str:
    """The last line on the terminal."""
    if result["verdict"] == "pass":
        passed = sum(c["result"] == "pass" for c in result["checks"])
        guest, accel = result["guest"], result["accel"]["chosen"]
        return f"LANE PASS lane {result['lane_id']}: {passed} of {result['checks_planned']} checks, guest {guest} under {accel}, {result['seconds']:.1f} s"
    fault = result["blame"]
    return f"LANE FAIL {fault['component']}: {fault['cause']}"


def processes(lane_dir: str, run: Run) -> list[dict[str, Any]]:
    """Every program of the lane as the evidence keeps it: whether it still ran, and how it ended if not."""
    return [
        {
            "name": entry.name,
            "component": entry.component,
            "started": clock(entry.started),
            "ready_seconds": entry.ready_seconds,
            "running": entry.running(run),
            "exit_status": entry.exit_status(lane_dir),
        }
        for entry in process.records(lane_dir)
    ]
