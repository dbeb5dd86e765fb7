"""junit.xml and GitHub's summary of a run: each verdict read back as its consumers read it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from ansible.module_utils.lane.evidence import github, junit


def result(*checks: tuple[str, str], blame: dict[str, Any] | None = None, verdict: str = "pass") -> dict[str, Any]:
    """A result.json with these checks."""
    return {
        "lane_id": 3,
        "verdict": verdict,
        "started": "2026-11-24T03:55:51.806Z",
        "seconds": 9.75,
        "checks": [{"name": name, "result": word, "seconds": 0.25, "detail": {"seen": "\x1b[1m<&>\0"}} for name, word in checks],
        "phases": [{"name": "tls", "seconds": 1.25}],
        "accel": {"chosen": "tcg"},
        "blame": blame,
    }


def blamed(check: str | None, cause: str = "expected a, but b", component: str = "proxy") -> dict[str, Any]:
    return {"component": component, "phase": "smoke", "check": check, "cause": cause, "evidence": None}


def read(found: dict[str, Any]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """(the suite's attributes, {test case: (its mark, the mark's message)})."""
    suite = ElementTree.fromstring(junit.xml(found))[0]
    cases = {}
    for case in suite:
        marks = [child for child in case if child.tag in ("failure", "error", "skipped")]
        cases[case.get("name", "")] = (marks[0].tag, marks[0].get("message", "")) if marks else ("pass", "")
        assert (case.get("classname") or "").startswith("lane.")
    counted = {tag: sum(mark == tag for mark, _ in cases.values()) for tag in ("failure", "error", "skipped")}
    assert [int(suite.get(name, -1)) for name in ("failures", "errors", "skipped")] == list(counted.values())
    assert int(suite.get("tests", -1)) == len(cases)
    return dict(suite.attrib), cases


def test_a_green_run() -> None:
    suite, cases = read(result(("hello", "pass"), ("banner", "pass")))
    assert cases == {"hello": ("pass", ""), "banner": ("pass", "")}
    assert (suite["time"], suite["timestamp"]) == ("9.75", "2026-11-24T03:55:51.806")


def test_the_check_that_is_blamed_fails_with_the_cause_and_the_rest_is_skipped() -> None:
    _, cases = read(result(("hello", "pass"), ("status", "fail"), ("banner", "not run"), blame=blamed("status", "expected <a> & b, but \x00"), verdict="fail"))
    assert cases == {"hello": ("pass", ""), "status": ("failure", "expected <a> & b, but \ufffd"), "banner": ("skipped", "it did not come to this check")}


@pytest.mark.parametrize(("verdict", "mark"), [("fail", "failure"), ("error", "error")])
def test_a_run_that_came_to_no_check_is_red_all_the_same(verdict: str, mark: str) -> None:
    _, cases = read(result(("hello", "not run"), blame=blamed(None), verdict=verdict))
    assert cases["smoke"] == (mark, "expected a, but b")
    assert read(result(blame=blamed(None), verdict=verdict))[1] == {"smoke": (mark, "expected a, but b")}


def test_a_run_that_is_red_for_another_reason_than_its_failed_check_tells_both() -> None:
    _, cases = read(result(("frames", "fail"), blame=blamed(None, "a process died"), verdict="fail"))
    assert cases == {"frames": ("failure", "the check failed; look at result.json"), "smoke": ("failure", "a process died")}


def test_the_summary_shows_text_as_text() -> None:
    told = github.summary(result(("hello", "pass"), ("status", "fail")), "LANE FAIL proxy: <script>alert(1)</script> `x` | y")
    assert told.startswith("## ❌ LANE FAIL proxy: \\<script\\>alert(1)\\</script\\> \\`x\\` \\| y\n")
    assert "| status | ❌ fail | 0.250 |" in told
    assert "tls 1.2 s" in told
    assert github.summary(None, "LANE FAIL lane: a") == "## ❌ LANE FAIL lane: a\n\n"
    assert github.summary(result(), "LANE PASS lane 3").startswith("## ✅ LANE PASS lane 3\n\n| check")


def test_the_annotation_is_escaped_as_github_wants_it() -> None:
    told = github.annotation(blamed(None, "50% of a,b:\r\nc", component="proxy"))
    assert told == "::error title=lane%3A proxy::50%25 of a,b:%0D%0Ac"
