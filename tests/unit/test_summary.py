"""Several lanes in one command: a line for each, and the worst decides."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from ansible.module_utils.lane.evidence import summary
from ansible.module_utils.lane.evidence.summary import Outcome
from results import BLAME, CHECK, result

GOOD = Outcome("one", "pass", "LANE PASS lane 1: 7 of 7 checks, guest pocket under tcg, 16.2 s")
BAD = Outcome("two (box)", "fail", "LANE FAIL guest: no banner")
LOST = Outcome("three", "error", "LANE FAIL host: three cannot be reached")


LOST_SAYS = "three: host: three cannot be reached"
NONE_SAYS = "four: lane: ansible-playbook ended without a verdict of this lane"


@pytest.mark.parametrize(
    ("outcomes", "verdict", "line"),
    [
        ([GOOD, GOOD], "pass", "LANE PASS 2 of 2 lanes"),
        ([GOOD, LOST], "error", f"LANE FAIL 1 of 2 lanes: {LOST_SAYS}"),
        ([LOST, GOOD, BAD], "fail", f"LANE FAIL 2 of 3 lanes: two (box): guest: no banner; {LOST_SAYS}"),
        ([GOOD, Outcome("four", *summary.NONE)], "error", f"LANE FAIL 1 of 2 lanes: {NONE_SAYS}"),
    ],
)
def test_the_worst_decides(outcomes, verdict, line):
    assert summary.of_all(outcomes) == (verdict, line)


def test_the_last_line_has_an_end():
    assert len(summary.of_all([BAD] * 99)[1]) == summary.LONGEST
    rest = summary.LONGEST - len(summary.of_all([replace(BAD, line="LANE FAIL ")])[1])
    for length in (rest, rest + 1):
        line = summary.of_all([replace(BAD, line=f"LANE FAIL {'x' * length}")])[1]
        assert len(line) == summary.LONGEST and line.endswith("x" if length == rest else "...")


@pytest.mark.parametrize(
    ("address", "label"),
    [(None, "one"), ("one", "one"), ("localhost", "one"), ("{{ x }}", "one"), ("box.test", "one (box.test)")],
)
def test_a_label_names_the_machine_where_the_name_does_not(address, label):
    assert summary.label("one", address) == label


def test_page_table_and_test_cases_of_all_lanes(tmp_path):
    good, bad = tmp_path / "a b", tmp_path / "bad"
    blame = {**BLAME, "check": "hello", "cause": "<no> banner"}
    failed = result(verdict="fail", checks=[{**CHECK, "result": "fail"}], blame=blame)
    for folder, content in ((good, result()), (bad, failed)):
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(content))
    outcomes = [replace(GOOD, artifacts=good), replace(BAD, artifacts=bad), LOST]
    made = summary.write(tmp_path / "new/summary", outcomes[:1])
    assert "1 of 1" in made.read_text() and 'href="../../a%20b/report.html"' in made.read_text()
    for _ in range(2):
        page = summary.write(tmp_path / "summary", outcomes).read_text()
    assert "1 of 3" in page
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "summary").iterdir()}
    assert modes == dict.fromkeys(("index.html", "summary.json", "junit.xml"), 0o644)
    assert 'href="../a%20b/report.html"' in page and "&lt;no&gt; banner" in page and "kerbside 0.8.0" in page
    written = json.loads((tmp_path / "summary/summary.json").read_text())
    assert (written["schema"], written["verdict"]) == (1, "fail")
    assert [(row["lane"], row["component"], row["code"], row["cause"]) for row in written["lanes"]] == [
        ("one", None, None, None),
        ("two (box)", "guest", "a_code", "<no> banner"),
        ("three", "host", None, "three cannot be reached"),
    ]
    suites = ElementTree.parse(tmp_path / "summary/junit.xml").getroot()
    failures = {one.get("name"): one.get("failures") for one in suites}
    assert failures == {"kerbside lane one": "0", "kerbside lane two (box)": "1"}
    for _ in range(2):
        summary.begin(tmp_path / "summary")
    assert list((tmp_path / "summary").iterdir()) == []
