"""What became of each planned check, by the reports that this command's checks wrote (core/check_report.py)."""

from __future__ import annotations

from typing import Any

SMOKE = "smoke"
RESULTS = {"ok": "pass", "failed": "fail", "pass": "pass", "fail": "fail"}

Key = tuple[str, str | None, str]


def planned_keys(planned: list[Any], guest: str | None) -> list[Key]:
    """(suite, guest, name) of each planned check: a mapping with these keys; a pair of guest and name, which is a smoke
    check; or the name only of a smoke check of the guest that is booted.
    """
    found: list[Key] = []
    for one in planned:
        if isinstance(one, dict):
            found.append((one.get("suite", SMOKE), one.get("guest", guest), one["name"]))
        elif isinstance(one, str):
            found.append((SMOKE, guest, one))
        else:
            found.append((SMOKE, one[0], one[1]))
    return found


def entries(reports: list[dict[str, Any]], planned: list[Key], guest: str | None) -> list[dict[str, Any]]:
    """An entry for each planned check, in that order; `not run` for one that no report tells of."""
    found: dict[Key, dict[str, Any]] = {}
    for report in reports:
        suite, of = report.get("suite", SMOKE), report.get("guest", guest)
        for each in [*report.get("checks", []), *report.get("transcript", [])]:
            result = RESULTS.get(each.get("result"), "not run")
            detail = each.get("detail") or each.get("seen") or {}
            if result == "fail" and "cause" in report:
                detail = {"cause": report["cause"], "component": report.get("component"), **detail}
            found[suite, of, each.get("name")] = {
                "result": result,
                "started": each.get("started"),
                "seconds": each.get("seconds") or 0.0,
                "detail": detail,
            }
    none: dict[str, Any] = {"result": "not run", "started": None, "seconds": 0.0, "detail": {}}
    return [{"suite": key[0], "guest": key[1], "name": key[2], **found.get(key, none)} for key in planned]
