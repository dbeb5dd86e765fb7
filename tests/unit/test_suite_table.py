"""The tables that tests/suite_table.py makes of a run, for docs/performance.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_tables_of_a_run() -> None:
    percentiles = [float(number) for number in range(21)]
    checks = [
        {
            "suite": "latency",
            "guest": "pocket",
            "name": "a",
            "result": "pass",
            "seconds": 1.25,
            "detail": {"latency": {"direct": percentiles}},
        },
        {"suite": "latency", "guest": "pocket", "name": "b", "result": "fail", "seconds": 0.5, "detail": {}},
    ]
    script = Path(__file__).parents[1] / "suite_table.py"
    done = subprocess.run(
        [sys.executable, str(script)], input=json.dumps({"checks": checks}), capture_output=True, text=True, check=True
    )
    assert (
        "| latency | pocket | 1.8 | `a` 1.2, `b` 0.5 (fail) |" in done.stdout
        and "| `a` of latency | direct | 10 | 19 |" in done.stdout
    )
