"""Verdict, component and cause are the same words in result.json, on the page, in junit.xml and on GitHub."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
import report_page
from ansible.module_utils.lane.evidence import github, junit, report, verdict
from results import BLAME, CHECK, result

CAUSE = "the <b>banner</b> & was 'x', not \"y\"; look at logs/serial.log"


@pytest.mark.parametrize(
    ("word", "component", "check"),
    [("fail", "guest", "hello"), ("fail", "kerbside", None), ("error", "host", None), ("error", "host", "hello")],
)
def test_a_red_run_says_the_same_everywhere(word, component, check, tmp_path):
    blame = {**BLAME, "component": component, "check": check, "cause": CAUSE, "evidence": None}
    made = {**CHECK, "result": "fail" if check else "not run", "detail": {"cause": CAUSE} if check else {}}
    values = result(verdict=word, blame=blame, checks=[made])
    (tmp_path / "result.json").write_text(json.dumps(values))
    line = verdict.line(values)
    assert line == f"LANE FAIL {component}: {CAUSE}"
    report.write(tmp_path)
    page = report_page.read(tmp_path / "report.html")
    assert list(page.values()) == ["FAIL", "r", "c", component, BLAME["code"], CAUSE]
    assert report_page.disagreement(tmp_path, line, "c") == ""
    assert report_page.disagreement(tmp_path, line, "x") and report_page.disagreement(tmp_path, f"{line}.", "c")
    assert f"Verdict {word}, code" in (tmp_path / "report.html").read_text()
    cases = ElementTree.fromstring(junit.xml(values, tmp_path)).iter("testcase")
    marks = [mark for case in cases for mark in case if mark.tag in ("failure", "error")]
    assert [(mark.get("message"), mark.get("type")) for mark in marks] == [(CAUSE, f"{component}.{BLAME['code']}")]
    assert marks[0].tag == ("failure" if check or word == "fail" else "error")
    assert github._cell(line) in github.summary(values, line)
    assert github.annotation(component, CAUSE) == f"::error title=lane%3A {component}::{CAUSE}"


def test_a_green_run_says_the_same_everywhere(tmp_path):
    values = result()
    (tmp_path / "result.json").write_text(json.dumps(values))
    line = verdict.line(values)
    report.write(tmp_path)
    assert report_page.read(tmp_path / "report.html")["verdict"] == "PASS"
    text = line.removeprefix("LANE PASS lane 3: ").removesuffix(", 10.0 s")
    assert text in (tmp_path / "report.html").read_text() and text in github.summary(values, line)
    assert not list(ElementTree.fromstring(junit.xml(values, tmp_path)).iter("failure"))
