"""A result.json as small data, for the tests of what is made of it: report.html, junit.xml, the summary, the logs."""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.evidence import verdict

BEGAN = "2026-11-24T03:55:58.000Z"
#: BEGAN in seconds.
ZERO = 1795492558.0
CHECK: dict[str, Any] = {
    "suite": "smoke",
    "guest": "pocket",
    "name": "hello",
    "result": "pass",
    "started": ZERO + 7,
    "seconds": 0.5,
    "detail": {"server": "ryll"},
}
BLAME = {
    "component": "guest",
    "phase": "smoke",
    "check": "hello",
    "code": "a_code",
    "cause": "a was not b",
    "evidence": "logs/ryll.log:200",
}
GREEN: dict[str, Any] = {
    "schema": verdict.SCHEMA,
    "lane_id": 3,
    "run_id": "r",
    "command_id": "c",
    "verdict": "pass",
    "started": BEGAN,
    "finished": BEGAN,
    "seconds": 10.0,
    "guests": ["pocket"],
    "accel": {"chosen": "tcg", "reason": "no KVM"},
    "versions": {"kerbside": "0.8.0", "ryll": None},
    "origins": {"ryll": {"kind": "wheel", "source": None}, "image_pocket": {"kind": None}},
    "phases": [
        {"name": "tls", "seconds": 2.5, "started": ZERO + 5},
        {"name": "smoke", "seconds": 1.0, "started": ZERO + 7},
    ],
    "checks_planned": 1,
    "plan_changed": None,
    "checks": [CHECK],
    "blame": None,
}


def result(**more: Any) -> dict[str, Any]:
    """A result.json as module_utils/lane/evidence/verdict.py writes it."""
    return {**GREEN, **more}


def put(path: Path, content: Any) -> None:
    """Write text, bytes, or anything else as JSON."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
