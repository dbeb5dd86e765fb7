"""Two tables for docs/performance.md, from the result of a run: what each check of the suites took, and its latencies.

./lane suites --json | .venv/bin/python tests/suite_table.py
"""

import json
import sys
from typing import Any


def tables(result: dict[str, Any]) -> str:
    suites: dict[str, list[dict[str, Any]]] = {}
    for check in result["checks"]:
        suites.setdefault(f"{check['suite']} | {check['guest']}", []).append(check)
    lines = ["| suite | guest | seconds | of them |", "|---|---|---|---|"]
    for suite, checks in suites.items():
        each = ", ".join(
            f"`{one['name']}` {one['seconds']:.1f}{'' if one['result'] == 'pass' else ' (' + one['result'] + ')'}"
            for one in checks
        )
        lines.append(f"| {suite} | {sum(one['seconds'] for one in checks):.1f} | {each} |")
    lines += ["", "| check | way | p50 (ms) | p95 (ms) |", "|---|---|---|---|"]
    for check in result["checks"]:
        for way, at in check["detail"].get("latency", {}).items():  # milliseconds at every fifth percentile
            lines.append(f"| `{check['name']}` of {check['suite']} | {way} | {at[10]:.3g} | {at[19]:.3g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables(json.load(sys.stdin)))
