"""What became of each planned check, by the reports that this command's checks wrote (core/check_report.py)."""

from __future__ import annotations

from typing import Any

SMOKE = "smoke"
RESULTS = {"ok": "pass", "failed": "fail", "pass": "pass", "fail": "fail"}

#: Codes of what ends a program, the guest or the machine's means: what is checked after that proves nothing.
LOST = set(
    "program_ended program_stopped program_broken proxy_ended qemu_ended guest_ended guest_exception guest_not_running "
    "ryll_process suite_guest_not_up api_workers_die out_of_memory disk_full".split()
)
#: Whose loss takes whom along, as the picture travels.
STAGE = {"host": 0, "firmware": 1, "qemu": 1, "guest": 1, "database": 2, "kerbside": 3, "proxy": 4, "ryll": 5}

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


def consequences(checks: list[dict[str, Any]], blame: dict[str, Any] | None) -> list[str]:
    """For each check of a result.json, which failure it follows from or repeats, in words; "" for one that passed or
    failed by itself.

    On its guest and in its suite, a check that failed with the component and code of an earlier one repeats it, and
    follows from it when a program was lost; so does, in the smoke check, one that blames a part further on. A check
    that did not run follows from the first failure there. Where the smoke check's phase failed and none of its checks
    is to blame, its session never began, and they follow from that.
    """
    blame = blame or {}
    failed = [check for check in checks if check["result"] == "fail"]
    blamed = next((check for check in failed if check["name"] == blame.get("check")), None)
    first: dict[Any, dict[str, Any]] = {}  # by place; by place, component and code
    for check in [*([blamed] if blamed else []), *failed]:
        first.setdefault(_place(check), check)
        first.setdefault(_kind(check), check)
    found = []
    alone = blamed is None and blame.get("phase") == SMOKE  # the phase failed before or apart from its checks
    for check in checks:
        cause = None if alone and check["suite"] == SMOKE else first.get(_place(check))
        if check["result"] == "not run":
            found.append(f"follows from: {_named(cause or blamed, check, blame)}")
            continue
        same = first.get(_kind(check))
        if check["result"] == "pass" or check is blamed:
            found.append("")
        elif cause is blamed and (alone or blame.get("code") in LOST) and _further_on(check, blame):
            found.append(f"follows from: {_named(blamed, check, blame)}")
        elif check is same:
            found.append("")
        else:
            how = "follows from" if _kind(check)[-1] in LOST else "same failure as"
            found.append(f"{how}: {_named(same, check, blame)}")
    return found


def _further_on(check: dict[str, Any], blame: dict[str, Any]) -> bool:
    """Whether a smoke check failed on a part that cannot work without the one that is to blame."""
    blamed, own = STAGE.get(str(blame.get("component"))), STAGE.get(str((check["detail"] or {}).get("component")))
    return check["suite"] == SMOKE and blamed is not None and own is not None and own >= blamed


def _place(check: dict[str, Any]) -> tuple[Any, ...]:
    return (check["suite"], check["guest"])


def _kind(check: dict[str, Any]) -> tuple[Any, ...]:
    detail = check["detail"] or {}
    # without a code, each failure is its own
    return (*_place(check), detail.get("component"), detail.get("code") or check["name"])


def _named(cause: dict[str, Any] | None, check: dict[str, Any], blame: dict[str, Any]) -> str:
    """A failure as the page of a check's own suite and guest calls it."""
    if cause is None:
        return f"phase {blame.get('phase') or 'before the first'}"
    apart = "" if _place(cause) == _place(check) else f" of {cause['suite']} on {cause['guest']}"
    return f"check {cause['name']}{apart}"
