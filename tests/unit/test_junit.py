"""junit.xml and GitHub's summary of a run: each verdict read back as its consumers read it."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.evidence import github, junit
from results import BLAME, CHECK, put, result


def run(*checks: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A result.json with these checks."""
    check = {**CHECK, "seconds": 0.25, "detail": {"seen": "\x1b[1m<&>\0"}}
    made = [{**check, "name": name, "result": word} for name, word in checks]
    return result(started="2026-11-24T03:55:51.806Z", seconds=9.75, checks=made, **more)


def blamed(check: str | None, cause: str = "a was not b") -> dict[str, Any]:
    return {**BLAME, "component": "proxy", "check": check, "cause": cause, "evidence": "logs/ryll.log:3"}


def read(found: dict[str, Any], folder: Path = Path("/none")) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """(the suite's attributes, {class.name of a test case: (its mark, the mark's message)})."""
    document = junit.xml(found, folder)
    assert document.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites>")
    suite = ElementTree.fromstring(document)[0]
    cases = {}
    for case in suite:
        marks = [child for child in case if child.tag in ("failure", "error", "skipped")]
        name = f"{case.get('classname')}.{case.get('name')}".removeprefix("kerbside_lane.")
        cases[name] = (marks[0].tag, marks[0].get("message", "")) if marks else ("pass", "")
        blame = found["blame"] or {}
        blamed_here = bool(marks) and marks[0].get("message") == junit._clean(blame.get("cause", ""))
        assert not marks or marks[0].text == (None if marks[0].tag == "skipped" else marks[0].get("message"))
        assert (case.findtext("system-out") or "").startswith('{"seen": ') is (name != "run")
        assert not marks or marks[0].get("type") == ("proxy.a_code" if blamed_here else None)
        assert case.get("time") == ("9.750" if name == "run" else "0.250")
    counted = {tag: sum(mark == tag for mark, _ in cases.values()) for tag in ("failure", "error", "skipped")}
    assert [int(suite.get(name, -1)) for name in ("failures", "errors", "skipped")] == list(counted.values())
    assert int(suite.get("tests", -1)) == len(cases)
    return dict(suite.attrib), cases


OK, NOT_RUN = ("pass", ""), ("skipped", "the check did not run")


@pytest.mark.parametrize(
    ("words", "blame", "verdict", "marks"),
    [
        (("pass", "pass"), None, "pass", [OK, OK, OK]),
        (("fail", "not run"), blamed("hello", "<a> & \0"), "fail", [("failure", "<a> & \ufffd"), NOT_RUN, OK]),
        (("not run", "not run"), blamed(None), "fail", [NOT_RUN, NOT_RUN, ("failure", "a was not b")]),
        (("not run", "not run"), blamed(None), "error", [NOT_RUN, NOT_RUN, ("error", "a was not b")]),
        (("pass", "fail"), blamed(None), "fail", [OK, ("failure", "the check failed"), ("failure", "a was not b")]),
    ],
)
def test_the_names_of_the_cases_are_the_same_whatever_failed(words, blame, verdict, marks):
    suite, cases = read(run(("hello", words[0]), ("banner", words[1]), blame=blame, verdict=verdict))
    assert cases == dict(zip(("smoke.pocket.hello", "smoke.pocket.banner", "run"), marks, strict=True))
    assert (suite["time"], suite["timestamp"]) == ("9.75", "2026-11-24T03:55:51.806")


@pytest.mark.parametrize("text", ["\t\n !~", "\ud7ff\ue000\ufffd", "\U00010000\U0001f600"])
def test_what_xml_can_hold_stays(text):
    assert junit._clean(text) == text


@pytest.mark.parametrize("character", ["\0", "\x1f", "\r", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_replaced(character):
    assert junit._clean(f"a{character}b") == "a\ufffdb"


SHOT, DUMP, OF_SEXTANT = "screenshot.png", "screendump.png", "pictures/screenshot-uncalibrated.png"
LOG, SHOWN = "logs/ryll.log", "pictures/mine-pocket-hello.png"


@pytest.mark.parametrize(
    ("suite", "guest", "name", "last", "attached"),
    [
        ("smoke", "pocket", "screenshot", "pocket", [SHOT, LOG]),
        ("smoke", "pocket", "frames", "pocket", [SHOT, DUMP, LOG]),
        ("smoke", "pocket", "hello", "pocket", [LOG]),
        ("smoke", "uncalibrated", "frames", "pocket", [OF_SEXTANT, LOG]),  # there is no other picture of it
        ("smoke", "uncalibrated", "screenshot", "uncalibrated", [SHOT, LOG]),
        ("smoke", "pocket", "screenshot", "uncalibrated", [LOG]),
        ("mine", "pocket", "screenshot", "pocket", [SHOWN, LOG]),
    ],
)
def test_the_files_of_a_check_that_are_there_are_attached(tmp_path, suite, guest, name, last, attached):
    for file in (SHOT, DUMP, OF_SEXTANT, LOG, SHOWN, "result.json"):
        put(tmp_path / file, "")
    put(tmp_path / "logs/outside.json", {"guest": last})
    found = run((name, "fail"), ("other", "pass"), blame=blamed(name), verdict="fail")
    more = {"suite": suite, "guest": guest, "detail": {"picture": SHOWN}}
    found["checks"][0] |= more
    found["checks"][1] |= {**more, "detail": {"picture": "pictures/gone.png"}, "suite": "mine"}
    texts = [case.findtext("system-out") or "" for case in ElementTree.fromstring(junit.xml(found, tmp_path))[0]]
    files = [re.findall(rf"\[\[ATTACHMENT\|{re.escape(str(tmp_path))}/(.*?)\]\]", text) for text in texts]
    assert files == [attached, [], ["result.json", LOG]]


def test_the_summary_shows_text_as_text():
    line = "LANE FAIL proxy: <script>alert(1)</script> `x` | y"
    summary = github.summary(run(("hello", "pass"), ("status", "fail")), line)
    assert summary.startswith("## ❌ LANE FAIL proxy: \\<script\\>alert(1)\\</script\\> \\`x\\` \\| y\n")
    assert "| status | ❌ fail | 0.250 |" in summary
    assert "tls 2.5 s" in summary
    summary = github.summary(run(("hello", "pass"), guests=["pocket", "uncalibrated"]), "LANE PASS lane 3")
    assert summary.startswith("## ✅ LANE PASS lane 3\n\n| check")
    assert "| hello (smoke, pocket) | ✅ pass | 0.250 |" in summary
    assert github.summary(None, "LANE FAIL lane: a") == "## ❌ LANE FAIL lane: a\n\n"


def test_the_annotation_is_escaped_as_github_wants_it():
    annotation = github.annotation("proxy", "50% of a,b:\r\nc")
    assert annotation == "::error title=lane%3A proxy::50%25 of a,b:%0D%0Ac"
