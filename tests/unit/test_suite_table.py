"""The tables that tests/suite_table.py makes of a run, for docs/performance.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_tables_of_a_run() -> None:
    percentiles = [float(number) for number in range(21)]
    one = {"suite": "latency", "guest": "pocket"}
    latency = {"latency": {"direct": percentiles}}
    checks = [
        {**one, "name": "a", "result": "pass", "seconds": 1.25, "detail": latency},
        {**one, "name": "b", "result": "fail", "seconds": 0.5, "detail": {}},
    ]
    argv = [sys.executable, str(Path(__file__).parents[1] / "suite_table.py")]
    done = subprocess.run(argv, input=json.dumps({"checks": checks}), capture_output=True, text=True, check=True)
    assert "| latency | pocket | 1.8 | `a` 1.2, `b` 0.5 (fail) |" in done.stdout
    assert "| `a` of latency | direct | 10 | 19 |" in done.stdout
