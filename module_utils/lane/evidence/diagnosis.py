"""Which part is really at fault: component and cause of a failed lane from what can be observed of it
(docs/diagnosis.md).

Called while the lane is still up, so that processes, qemu and logs can be asked. The first rule (rules.py,
session_rules.py) that finds something decides. When none does, the component that the failed task blamed stays, and the
sentence says what the logs of the others show: nothing here guesses.
"""

from __future__ import annotations

import re
from typing import Any

from ..core import limits
from ..core.errors import PRODUCT
from . import session_rules as session_rules
from .observed import Evidence
from .rules import RULES

#: The variable that each check's limit is made from (roles/lane/defaults/main.yml).
LIMITS = {"status": "lane_agent_limit", "banner": "lane_boot_limit"}
LIMIT_MISSED = re.compile(r"\bwithin [\d.]+ s\b")


def explain(lane_dir: str, blame: dict[str, Any], named: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the blame after the evidence was examined, the notes: rule, component and cause as first blamed, what qemu and
    /proc say).

    named: the failed task named the component itself. A blame on the machine or on the lane then stays as it is: it was
    found where it is.
    """
    notes: dict[str, Any] = {"rule": None, "first": {key: blame[key] for key in ("component", "cause", "evidence")}}
    # a suite asks more than a rule can; what it provokes on purpose is in every log
    if (blame["component"] not in PRODUCT and named) or blame["phase"] == "suites":
        return blame, notes
    seen = Evidence(lane_dir, blame)
    for name, rule in RULES.items():
        if found := rule(seen):
            notes["rule"] = name
            cause = f"{found.cause}{busy(found.cause, blame['check'])}"
            evidence = found.evidence or blame["evidence"]
            blame = {**blame, "code": found.code, "component": found.component, "cause": cause, "evidence": evidence}
            break
    else:
        if blame["component"] in PRODUCT:
            cause = str(blame["cause"])
            blame = {**blame, "cause": f"{cause}{busy(cause, blame['check'])}{seen.error_elsewhere()}"}
    notes["qmp"] = seen.__dict__.get("qmp")  # only if a rule has asked: a frozen qemu costs seconds
    lost = [{"name": gone.entry.name, "component": gone.component, "problem": gone.problem} for gone in seen.lost]
    notes["lost"] = lost
    return blame, notes


def busy(cause: str, check: str | None) -> str:
    """Of a missed limit: its variable, and how busy the machine is, as the end of a sentence."""
    if not LIMIT_MISSED.search(cause) or "load is" in cause:
        return ""
    return f"; {f'the limit is {LIMITS[check]}, and ' if check in LIMITS else ''}{limits.load()}"
