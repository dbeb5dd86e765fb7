"""The test runner itself: what it counts, and that it turns red."""

import json

import pytest

from tools import run_tests as run

GOOD = {"verdict": "pass", "checks_planned": 2, "checks": [{"result": "pass"}, {"result": "pass"}]}


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pytest that is run counts without them, and starts in a third of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def numbers(outcome: run.Outcome) -> tuple[int, int, int]:
    return outcome.passed, outcome.failed, outcome.skipped


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_a(): pass\ndef test_b(): assert 0\n", (1, 1, 0)),
        ("import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n", (1, 0, 1)),
        ("import pytest\n@pytest.fixture\ndef f(): raise OSError\ndef test_a(f): pass\n", (0, 1, 0)),
        ("import pytest\n@pytest.mark.skip\ndef test_b(): pass\n", (0, 1, 1)),  # no test ran
        ("syntax error", (0, 1, 0)),
        ("import atexit, os\natexit.register(os._exit, 3)\ndef test_a(): pass\n", (1, 1, 0)),  # as with little coverage
    ],
)
def test_pytest_is_counted(tmp_path, source, expected):
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    outcome = run.pytest_job(str(tmp_path), ["-p", "no:cacheprovider"], 60).work()
    assert numbers(outcome) == expected, outcome.text


def test_a_report_without_a_test_is_a_failure(tmp_path):
    (tmp_path / "report.xml").write_text("<testsuites/>")
    assert numbers(run.read_report(tmp_path / "report.xml")) == (0, 1, 0)


def test_failures_are_named_first_and_skips_always(tmp_path, capsys):
    source = "import pytest\ndef test_a(): assert 0, 'the guest\\nis cold'\ndef test_b(): pytest.skip('no guest')\n"
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    run.run_stage(run.Stage("unit", [run.pytest_job(str(tmp_path), [], 60)]), verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAIL unit") and lines[0].endswith(" s  0 passed, 1 failed, 1 skipped")
    assert lines[1].startswith("    - skipped ") and lines[1].endswith("test_it.test_b: no guest")
    assert lines[2].startswith("    | ") and "test_it.test_a: AssertionError: the guest is cold" in lines[2]


def test_pytest_that_hangs_is_a_failure(tmp_path):
    (tmp_path / "test_it.py").write_text("import time\ndef test_a(): time.sleep(600)\n", encoding="utf-8")
    outcome = run.pytest_job(str(tmp_path), [], 2).work()
    assert numbers(outcome)[1] == 1
    assert "stopped after 2 s" in outcome.text


def test_a_program_that_is_missing_is_a_failure():
    missing = run.tool("missing", "no-such-linter", "--all").work()
    assert numbers(missing) == (0, 1, 0)
    assert missing.text.startswith("no-such-linter is neither ")


@pytest.mark.parametrize(
    ("status", "last", "changes", "words"),
    [
        (0, "LANE PASS", {}, []),
        (1, "LANE PASS", {}, ["./lane ended with status 1"]),
        (0, "done", {}, ["the last line is not LANE PASS"]),
        (0, "LANE PASS\nmore", {}, ["the last line is not LANE PASS"]),
        (0, "LANE PASS", {"verdict": "fail"}, ["verdict fail with ['pass', 'pass'] of 2 planned checks"]),
        (0, "LANE PASS", {"checks_planned": 3}, ["of 3 planned checks"]),
        (0, "LANE PASS", {"checks": [], "checks_planned": 0}, ["verdict pass with [] of 0 planned checks"]),
        (0, "LANE PASS", {"checks": [GOOD["checks"][0], {"result": "skip"}]}, ["with ['pass', 'skip'] of 2 planned"]),
        (0, "LANE PASS", None, ["FileNotFoundError"]),
    ],
)
def test_the_full_lane_is_judged(tmp_path, status, last, changes, words):
    result = tmp_path / "result.json"
    if changes is not None:
        result.write_text(json.dumps({**GOOD, **changes}), encoding="utf-8")
    wrong = run.judge_lane(status, f"PLAY\n{last}\n", result)
    assert len(wrong) == len(words), wrong
    assert all(word in found for word, found in zip(words, wrong, strict=True))


def test_a_failed_job_shows_its_output(capsys):
    jobs = [run.tool("good", "sh", "-c", "echo quiet"), run.tool("bad", "sh", "-c", "echo loud; exit 1")]
    stage = run.Stage("lint", jobs, together=2)
    run.run_stage(stage, verbose=False)
    out = capsys.readouterr().out
    assert "    | loud\n" in out and "quiet" not in out
    assert [numbers(outcome) for outcome in stage.outcomes] == [(1, 0, 0), (0, 1, 0)]
