"""The test runner itself: what it counts, and that it turns red."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("lane_tests_run", ROOT / "tests/run.py")
assert SPEC
assert SPEC.loader
run = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = run
SPEC.loader.exec_module(run)

GOOD = {"verdict": "pass", "checks_planned": 2, "checks": [{"result": "pass"}, {"result": "pass"}]}


def numbers(outcome: object) -> tuple[int, int, int]:
    return outcome.passed, outcome.failed, outcome.skipped  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_a(): pass\ndef test_b(): pass\n", (2, 0, 0)),
        ("def test_a(): pass\ndef test_b(): assert 0\n", (1, 1, 0)),
        ("import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n", (1, 0, 1)),
        ("import pytest\n@pytest.fixture\ndef f(): raise OSError\ndef test_a(f): pass\n", (0, 1, 0)),
        ("", (0, 1, 0)),  # no test ran
        ("import pytest\n@pytest.mark.skip\ndef test_b(): pass\n", (0, 1, 1)),  # no test ran either
        ("syntax error", (0, 1, 0)),
    ],
)
def test_pytest_is_counted(tmp_path: Path, source: str, expected: tuple[int, int, int]) -> None:
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    outcome = run.pytest_job(str(tmp_path), ["-p", "no:cacheprovider"], 60).work()
    assert numbers(outcome) == expected, outcome.text


def test_what_failed_stands_above_pytests_own_words(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_a(): assert 0, 'the guest\\nis cold'\n", encoding="utf-8")
    said = run.pytest_job(str(tmp_path), [], 60).work().text.splitlines()
    assert "test_it.test_a: AssertionError: the guest is cold" in said[0]  # below the folders between pytest and the file
    assert said[1] == ""


def test_what_was_skipped_is_said_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('the moon is down')\n"
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    run.run_stage(run.Stage("unit", [run.pytest_job(str(tmp_path), [], 60)]), verbose=False)
    said = capsys.readouterr().out
    assert "s  1 passed, 0 failed, 1 skipped\n    - skipped " in said
    assert said.endswith("test_it.test_b: the moon is down\n")  # below the folders between pytest and the file


def test_pytest_that_hangs_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import time\ndef test_a(): time.sleep(60)\n", encoding="utf-8")
    outcome = run.pytest_job(str(tmp_path), [], 2).work()
    assert numbers(outcome)[1] == 1
    assert "stopped: not done after 2 s" in outcome.text


def test_a_tool_is_judged_by_its_status() -> None:
    assert numbers(run.tool("good", "sh", "-c", "exit 0").work()) == (1, 0, 0)
    bad = run.tool("bad", "sh", "-c", "echo why; exit 3").work()
    assert numbers(bad) == (0, 1, 0)
    assert bad.text == "why\n"
    missing = run.tool("missing", "no-such-linter", "--all").work()
    assert numbers(missing) == (0, 1, 0)
    assert missing.text.startswith("expected no-such-linter in ")


@pytest.mark.parametrize(("lines", "branches", "failed"), [(100, 95, 0), (95, 95, 0), (100, 94, 1), (94, 100, 1)])
def test_coverage_wants_lines_and_branches(tmp_path: Path, lines: int, branches: int, failed: int) -> None:
    report = tmp_path / "coverage.json"
    totals = {"covered_lines": lines, "num_statements": 100, "covered_branches": branches, "num_branches": 100}
    report.write_text(json.dumps({"totals": totals}), encoding="utf-8")
    outcome = run.Outcome(passed=5)
    run.judge_coverage(report, outcome)
    assert numbers(outcome) == (6 - failed, failed, 0)
    assert ("to be covered, got" in outcome.text) == bool(failed)


@pytest.mark.parametrize(
    ("status", "last", "changes", "words"),
    [
        (0, "LANE PASS", {}, []),
        (1, "LANE PASS", {}, ["expected ./lane to end with status 0, got 1"]),
        (0, "done", {}, ["expected LANE PASS as the last line"]),
        (0, "LANE PASS", {"verdict": "fail"}, ["expected a pass with every planned check passed, got fail with ['pass', 'pass'] of 2 planned"]),
        (0, "LANE PASS", {"checks_planned": 3}, ["expected a pass with every planned check passed, got pass with ['pass', 'pass'] of 3 planned"]),
        (0, "LANE PASS", {"checks": [], "checks_planned": 0}, ["expected a pass with every planned check passed, got pass with [] of 0 planned"]),
        (0, "LANE PASS", {"checks": [{"result": "pass"}, {"result": "skip"}]}, ["with ['pass', 'skip'] of 2 planned"]),
        (0, "LANE PASS", None, ["to tell the verdict, got FileNotFoundError"]),
    ],
)
def test_the_whole_lane_is_judged(tmp_path: Path, status: int, last: str, changes: dict[str, object] | None, words: list[str]) -> None:
    result = tmp_path / "result.json"
    if changes is not None:
        result.write_text(json.dumps({**GOOD, **changes}), encoding="utf-8")
    wrong = run.judge_lane(status, f"PLAY\n{last}\n", result)
    assert len(wrong) == len(words), wrong
    assert all(word in said for word, said in zip(words, wrong, strict=True))


def test_a_failed_job_shows_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    stage = run.Stage("lint", [run.tool("good", "sh", "-c", "echo quiet"), run.tool("bad", "sh", "-c", "echo loud; exit 1")], together=2)
    run.run_stage(stage, verbose=False)
    out = capsys.readouterr().out
    assert "    | loud" in out
    assert "quiet" not in out
    assert [numbers(outcome) for outcome in stage.outcomes] == [(1, 0, 0), (0, 1, 0)]


def test_unknown_stages_are_refused() -> None:
    status, text = run.Runner().run([sys.executable, str(ROOT / "tests/run.py"), "unti"], 30)
    assert status == 2
    assert "expected stages among lint, unit, playbooks, lane, got unti" in text
