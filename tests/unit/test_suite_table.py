"""The tables that tests/suite_table.py makes of a run, for docs/performance.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_the_tables_of_a_run() -> None:
    slow: dict[str, Any] = {"suite": "latency", "guest": "pocket", "name": "a", "result": "pass", "seconds": 1.25}
    slow["detail"] = {"latency": {"direct": [float(number) for number in range(21)]}}
    red = {"suite": "latency", "guest": "pocket", "name": "b", "result": "fail", "seconds": 0.5, "detail": {}}
    script = [sys.executable, str(Path(__file__).parents[1] / "suite_table.py")]
    said = subprocess.check_output(script, input=json.dumps({"checks": [slow, red]}), text=True)
    assert "| latency | pocket | 1.8 | `a` 1.2, `b` 0.5 (fail) |" in said
    assert "| `a` of latency | direct | 10 | 19 |" in said
