"""The mutants of a source, each a change of one condition, constant or exit (tools/mutation.py), and how a lane judges them (tools/mutants.py)."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.mutants import Lane, Outcome
from tools.mutation import mutants

ROOT = Path(__file__).parents[2]


def changed(source: str) -> list[str]:
    return [mutant.of(source.encode()).decode() for mutant in mutants(source.encode())]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a == b", ["x = (a != b)"]),
        ("x = a < b", ["x = (a <= b)", "x = (a >= b)"]),
        ("x = a < time.monotonic() - b", ["x = (a >= time.monotonic() - b)"]),
        ("if TYPE_CHECKING:\n    a = 1", []),
        ("x = a not in b", ["x = (a in b)"]),
        ("x = a and b and c", ["x = ((a) or (b) or (c))"]),
        ("x = not a", ["x = bool(a)"]),
        ("while a:\n    b()", ["while (not (a)):\n    b()"]),
        ("x = [a for a in b if c(a)]", ["x = [a for a in b if (not (c(a)))]"]),
        ("if a:\n    raise E", ["if (not (a)):\n    raise E", "if a:\n    pass"]),
        ("x = f(True, 2)", ["x = f(False, 2)", "x = f(True, 5)"]),
        (
            "def f(a: int = 1) -> bool:\n    return g(a, strict=True)",
            ["def f(a: int = 3) -> bool:\n    return g(a, strict=True)"],
        ),
        ("@d(x=True)\nclass A:\n    y: int = 1", ["@d(x=True)\nclass A:\n    y: int = 3"]),
        ('x = f"{1 if a else 2}"', []),
        ("é = 'é' == b", ["é = ('é' != b)"]),
    ],
)
def test_each_change_is_made_once_and_is_python(source: str, expected: list[str]) -> None:
    found = changed(source)
    assert sorted(found) == sorted(expected)
    for text in found:
        ast.parse(text)


def test_a_mutant_that_is_listed_as_equivalent_is_there() -> None:
    listed = yaml.safe_load((ROOT / "tests/mutation/equivalent.yml").read_text(encoding="utf-8"))
    there = set()
    for module in {one["module"] for one in listed}:
        source = (ROOT / module).read_bytes()
        lines = source.decode().splitlines()
        there |= {(module, lines[mutant.line - 1].strip(), mutant.what) for mutant in mutants(source)}
    assert [
        one for one in listed if (one["module"], one["line"], one["change"]) not in there or not one["reason"]
    ] == []


class FakeLane(Lane):
    """Notes what ./lane is given; each verb ends with the status that is set for it, and the last one wrote a result."""

    statuses: dict[str, int]

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        given.append(list(words))
        verb = words[0] if words else "run"
        if verb == "slow":
            raise subprocess.TimeoutExpired("lane", 1)
        self.artifacts.mkdir(exist_ok=True)
        blame = {"component": verb, "check": None, "cause": "x"} if self.statuses.get(verb) else None
        if verb != "down":
            (self.artifacts / "result.json").write_text(json.dumps({"blame": blame}), encoding="utf-8")
        return subprocess.CompletedProcess([], self.statuses.get(verb, 0))


given: list[list[str]] = []


@pytest.mark.parametrize(
    ("words", "statuses", "runs", "verdict", "component"),
    [
        ([], {}, [[]], "pass", ""),
        ([], {"run": 1}, [[]], "fail", "run"),
        (["suites", "input"], {}, [["up"], ["suites", "input"], ["down"]], "pass", ""),
        (["suites", "input"], {"suites": 1}, [["up"], ["suites", "input"], ["down"]], "fail", "suites"),
        (["suites", "input"], {"up": 1}, [["up"], ["down"]], "fail", "up"),
        (["slow"], {}, [["slow"], ["down"]], "timeout", ""),
    ],
)
def test_a_mutant_is_judged_on_a_lane_that_runs(
    tmp_path: Path, words: list[str], statuses: dict[str, int], runs: list[list[str]], verdict: str, component: str
) -> None:
    given.clear()
    lane = FakeLane(tmp_path, 98, words, [])
    lane.statuses = statuses
    outcome = lane.judge(Outcome("a.py", 1, "x", "y", "error"), words)
    assert (given, outcome.verdict, outcome.component) == (runs, verdict, component)
