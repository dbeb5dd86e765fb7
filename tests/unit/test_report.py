"""report.html on small data: green, red, early, hostile and huge. tests/playbooks/test_report.py opens those of real runs in a browser."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import report_page
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import report, report_figures, verdict

BEGAN = "2026-11-24T03:55:58.000Z"
ZERO = 1795492558.0
PIXEL = bytes.fromhex("89504e470d0a1a0a")
CHECK = {
    "suite": "smoke",
    "guest": "pocket",
    "name": "hello",
    "result": "pass",
    "started": ZERO + 7,
    "seconds": 0.5,
    "detail": {"server": "ryll"},
}
BLAME = {
    "component": "guest",
    "phase": "smoke",
    "check": "hello",
    "code": "a_code",
    "cause": "a was not b",
    "evidence": "logs/ryll.log:200",
}
QEMU = {
    "name": "qemu",
    "started": "2026-11-24T03:55:59.000Z",
    "ready_seconds": 4.0,
    "running": True,
    "exit_status": None,
}


def result(**more: Any) -> dict[str, Any]:
    """A result.json as module_utils/lane/evidence/verdict.py writes it."""
    return {
        "schema": verdict.SCHEMA,
        "lane_id": 3,
        "run_id": "r",
        "command_id": "c",
        "verdict": "pass",
        "started": BEGAN,
        "finished": BEGAN,
        "seconds": 10.0,
        "guests": ["pocket"],
        "accel": {"chosen": "tcg", "reason": "no KVM"},
        "versions": {"kerbside": "0.8.0", "ryll": None},
        "origins": {"ryll": {"kind": "wheel", "source": None}, "image_pocket": {"kind": None}},
        "phases": [
            {"name": "tls", "seconds": 2.5, "started": ZERO + 5},
            {"name": "smoke", "seconds": 1.0, "started": ZERO + 7},
        ],
        "checks_planned": 1,
        "plan_changed": None,
        "checks": [CHECK],
        "blame": None,
        **more,
    }


def red(**more: Any) -> dict[str, Any]:
    return result(verdict="fail", blame={**BLAME, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_the_page_says_what_the_last_line_says(folder: Path) -> None:
    values = red(cause="a <b> & 'c'  \"d\" was not")
    (folder / "result.json").write_text(json.dumps(values))
    page = report_page.read(report.write(folder))
    assert page == report_page.ReportPage("FAIL", "r", "c", "guest", "a_code", values["blame"]["cause"])
    assert report_page.disagreement(folder, verdict.line(values), "c") == ""
    assert (
        report_page.disagreement(folder, verdict.line(values), "another")
        == "report.html is of the command c, not of another"
    )
    assert "the last line 'LANE FAIL ryll: x'" in report_page.disagreement(folder, "LANE FAIL ryll: x", "c")
    (folder / "report.html").unlink()
    assert report_page.disagreement(folder, verdict.line(values), "c") == "there is no report.html"


MISSING = [
    ("phases", [{"name": "tls"}]),
    ("phases", [{"name": "tls", "started": None, "seconds": None}]),
    ("checks", [{**CHECK, "started": None, "seconds": 0.0, "result": "not run", "detail": {}}]),
    ("checks", [{**CHECK, "result": "fail", "detail": {"expected": "a", "got": "b", "kind": "unmet"}}]),
    ("checks", [{**CHECK, "result": "fail", "detail": {}}]),
    ("checks", [{**CHECK, "detail": None, "guest": None}]),
    ("started", ""),
    ("accel", {"chosen": None, "reason": None}),
    ("guests", []),
    ("blame", {**BLAME, "evidence": None, "check": None, "phase": ""}),
    ("blame", {**BLAME, "evidence": "logs/gone.log:x"}),
    ("blame", {**BLAME, "evidence": "/etc/passwd:1"}),
]


@pytest.mark.parametrize(("key", "value"), MISSING)
@pytest.mark.parametrize("blame", [None, BLAME])
def test_a_page_is_made_whatever_the_run_did_not_reach(folder: Path, key: str, value: Any, blame: dict | None) -> None:
    """A step that was skipped, a program that never was ready: nothing of it may cost the page."""
    steps = [{"name": "status", "started": None, "seconds": 0.0, "result": "skipped", "seen": None}, {"name": "x"}]
    (folder / "logs/smoke.json").write_text(json.dumps({"command_id": "c", "transcript": steps}))
    (folder / "logs/processes.json").write_text(
        json.dumps([{"name": "qemu"}, {**QEMU, "started": None, "ready_seconds": None, "running": False}])
    )
    (folder / "result.json").write_text(
        json.dumps(result(**{"verdict": "fail" if blame else "pass", "blame": blame, key: value}))
    )
    report.write(folder)
    assert "/etc/passwd:1</a>" not in (folder / "report.html").read_text()


def test_bars_are_drawn_to_scale_and_what_failed_is_marked(folder: Path) -> None:
    programs = [
        QEMU,
        {**QEMU, "name": "api", "running": False, "exit_status": 3},
        {**QEMU, "name": "daemon", "ready_seconds": None},
    ]
    done = {**QEMU, "name": "schema", "running": False, "exit_status": 0, "oneshot": True}
    (folder / "logs/processes.json").write_text(json.dumps([*programs, done]))
    checks = [CHECK, {**CHECK, "name": "frames", "result": "fail"}]
    page = " ".join(report.page(red() | {"checks": checks}, folder).split())
    assert '<span class="bar phase" style="left:50.000%;width:25.000%">' in page
    assert '<span class="bar program" style="left:10.000%;width:40.000%">' in page
    bars = {bar.name: (bar.state, bar.bad) for bar in report.timeline(red() | {"checks": checks}, folder, ZERO)}
    assert bars == {
        "tls": ("", False),
        "smoke": ("failed", True),
        "qemu": ("ready", False),
        "api": ("ended with status 3", True),
        "daemon": ("never ready", True),
        "schema": ("ready", False),
        "hello": ("pass", False),
        "frames": ("fail", True),
    }
    assert page.count(' bad"') == 4


def test_each_check_shows_its_reason_and_its_detail(folder: Path) -> None:
    checks = [CHECK, {**CHECK, "name": "path", "result": "fail", "detail": {"cause": "it went to <qemu>"}}]
    page = report.page(result(checks=checks), folder)
    assert '<div class="soft">it went to &lt;qemu&gt;</div>' in page
    assert page.count("<details>") == 2
    assert "&#34;server&#34;: &#34;ryll&#34;" in page
    huge = report.page(result(checks=[{**CHECK, "detail": {"x": "y" * 100_000}}]), folder)
    assert "the rest is in result.json" in huge and len(huge) < 40_000


def test_a_check_that_follows_from_another_is_not_red(folder: Path) -> None:
    gone = {"component": "qemu", "code": "program_ended", "cause": "qemu ended"}
    checks = [{**CHECK, "name": name, "suite": "mine", "result": "fail", "detail": gone} for name in ("one", "two")]
    values = red(check="one", component="qemu", code="program_ended") | {
        "checks": [*checks, {**CHECK, "suite": "mine", "name": "three", "result": "not run"}]
    }
    page = report.page(values, folder)
    shown = re.findall(
        r'<tr( class="follows")?><th scope="row">(\w+)\n(?:<span class="soft">([^<]*)</span>)?(<div class="soft">qemu ended</div>)?',
        page,
    )
    assert [(row[0] != "", row[1], row[2], row[3] != "") for row in shown] == [
        (False, "one", "", True),
        (True, "two", "follows from: check one", False),
        (True, "three", "follows from: check one", False),
    ]
    bars = {bar.name: (bar.state, bar.bad) for bar in report.timeline(values, folder, ZERO) if bar.kind == "check"}
    assert bars["one"] == ("fail", True) and bars["two"] == ("fail, follows from: check one", False)


def test_the_cause_is_a_link_to_its_line(folder: Path) -> None:
    (folder / "logs/ryll.log").write_text("".join(f"line {number}\n" for number in range(1, 20_000)))
    page = report.page(red(), folder)
    assert '<p id="cause"><a href="#failure">a was not b</a></p>' in page
    assert '<a href="logs/ryll.log">logs/ryll.log:200</a>' in page
    assert '<tr id="failure" data-mark="0" data-part="ryll"><td></td><td>ryll</td><td>line 200</td></tr>' in page
    assert "line 190<" in page and "line 210<" in page and "line 19999<" in page and "line 300<" not in page
    assert '<p id="cause"><a href="logs/ryll.log">a was not b</a></p>' in report.page(
        red(evidence="logs/ryll.log"), folder
    )
    assert '<p id="cause">a was not b</p>' in report.page(red(evidence=None), folder)


def test_where_no_part_wrote_a_line_the_log_has_a_gap(folder: Path) -> None:
    lines = [0.0, 1.9, 1.0, 5.0, 60.0, 61.9]
    stamps = [f"2026-11-24T03:{55 + int(58 + at) // 60}:{(58 + at) % 60:04.1f}00000Z  INFO at {at:g}" for at in lines]
    (folder / "logs/ryll.log").write_text("\n".join([*stamps[:2], "no time", *stamps[2:]]) + "\n")
    (folder / "logs/serial.log").write_text("ready\n")
    page = report.page(result(), folder)
    shown = re.findall(
        r'<tr class="gap"><td></td><td></td><td>([^<]*)</td></tr>|<td>(?:\S*  INFO )?(at [\d.]+|no time|ready)</td>',
        page,
    )
    assert ["".join(one) for one in shown if one[1] != "ready"] == [
        *("at 0", "at 1", "at 1.9", "no time", "3.1 s without a line", "at 5"),
        *("55.0 s without a line", "at 60", "at 61.9"),
    ]


def test_the_log_opens_where_the_check_ended_when_its_evidence_has_no_time(folder: Path) -> None:
    (folder / "logs/serial.log").write_text("ready\nline: hello\n")
    (folder / "logs/ryll.log").write_text(
        "2026-11-24T03:56:04.000000Z  INFO before\n2026-11-24T03:56:30.000000Z  INFO after\n"
    )
    other, failed = {**CHECK, "started": ZERO + 1}, {**CHECK, "result": "fail", "seconds": 12.0}
    (folder / "logs/suite.json").write_text(json.dumps({"command_id": "c", "checks": [other, failed]}))
    page = report.page(red(evidence="logs/serial.log:2") | {"checks": [other, failed]}, folder)
    assert (
        '<tr id="failure" data-mark="0" data-part="checks"><td>19.000</td><td>checks</td><td>hello: fail after 12.000 s</td></tr>'
        in page
    )
    assert '<tr data-mark="1" data-part="serial"><td></td><td>serial</td><td>line: hello</td></tr>' in page
    page = report.page(red(evidence="logs/ryll.log:1") | {"checks": [other, failed]}, folder)
    assert (
        '<tr id="failure" data-mark="0" data-part="ryll">' in page and '<tr data-mark="1" data-part="checks">' in page
    )


def test_without_a_line_and_a_check_the_log_opens_at_the_task_that_failed(folder: Path) -> None:
    (folder / "logs/ansible.log").write_text(
        "2026-11-24 03:56:00,100 p=1 INFO| TASK [a] ****\n2026-11-24 03:56:01,100 p=1 INFO| fatal: [localhost]: FAILED!\n"
    )
    page = report.page(red(evidence="logs/qemu.log", check=None), folder)
    assert re.search(
        r'<tr id="failure" data-mark="0" data-part="ansible"><td>[\d.]+</td><td>ansible</td><td>[^<]*fatal: ', page
    )
    assert "TASK [a]<" in page
    assert 'id="failure"' not in report.page(result(), folder)


@pytest.mark.parametrize(
    ("rule", "component", "said"), [("a-rule", "proxy", True), ("a-rule", "kerbside", False), (None, "proxy", False)]
)
def test_whom_the_task_had_blamed_is_said_where_a_rule_found_another(
    folder: Path, rule: str | None, component: str, said: bool
) -> None:
    (folder / "result.json").write_text(json.dumps(red(component="kerbside")))
    (folder / "logs/diagnosis.json").write_text(
        json.dumps({"rule": rule, "first": {"component": component, "cause": "no bytes", "evidence": None}})
    )
    report.write(folder)
    assert ('id="overruled">The failed task blamed proxy: no bytes.' in (folder / "report.html").read_text()) == said


def test_all_files_are_linked(folder: Path) -> None:
    for name in ("result.json", "screenshot.png", "logs/a b.log", "report.html", ".lane"):
        (folder / name).write_bytes(PIXEL)
    page = report.page(result(), folder)
    assert re.findall(r'<li><a href="([^"]+)"', page) == ["result.json", "screenshot.png", "logs/a%20b.log"]
    assert (
        f'<a href="screenshot.png"><img src="data:image/png;base64,{"iVBORw0KGgo="}" alt="pocket: as ryll sees it'
        in page
    )
    (folder / "screenshot.png").write_bytes(bytes(report_figures.ROOM + 1))
    assert "<img" not in report.page(result(), folder)


def test_text_from_logs_stays_text(folder: Path) -> None:
    evil = '</td><script>alert(1)</script><img src="http://example.invalid/x">'
    (folder / "logs/serial.log").write_text(evil + "\n")
    page = report.page(red(cause=evil, evidence=evil) | {"guests": [evil]}, folder)
    assert page.count("<script>") == 1
    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") == 5
    assert not re.search(r'src="(?!data:)', page)


def test_a_page_of_huge_logs_stays_small_and_says_what_is_missing(folder: Path) -> None:
    for name in ("api", "serial", "daemon"):
        (folder / f"logs/{name}.log").write_text("".join(f"{name} {number} {'<&' * 300}\n" for number in range(20_000)))
    (folder / "logs/ryll.log").write_text("one\ntwo\n")
    (folder / "screenshot.png").write_bytes(bytes(report_figures.ROOM))
    page = report.page(result(), folder)
    assert len(page.encode()) < 400_000
    assert "ryll" not in page.partition("Not shown here: ")[2].partition("</p>")[0]
    assert "lines of api" in page and "api 19999 " in page
    assert len(page.encode()) > 200_000


def test_it_is_well_formed_and_every_table_and_picture_has_words(folder: Path) -> None:
    (folder / "screenshot.png").write_bytes(PIXEL)
    page = report.page(red(), folder)
    assert page.count("<caption>") == page.count("<table") - 1  # the log's is named by its region
    body = re.sub(
        r"<!DOCTYPE html>|<meta[^>]*>|<link[^>]*>|<script>.*</script>|<style>.*</style>", "", page, flags=re.DOTALL
    )
    body = (
        re.sub(r"<(img|input)([^>]*)>", r"<\1\2/>", body)
        .replace(" checked>", ' checked="">')
        .replace(" checked/>", "/>")
        .replace(" hidden>", ">")
    )
    ElementTree.fromstring(body)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": 1}', '{"schema": null}'])
def test_without_a_result_that_can_be_read_there_is_no_page(folder: Path, text: str | None) -> None:
    if text is not None:
        (folder / "result.json").write_text(text)
    with pytest.raises(LaneError) as caught:
        report.write(folder)
    assert (caught.value.code, caught.value.component) == ("no_result", "artifacts")


def test_a_page_that_cannot_be_made_is_one_sentence_and_no_old_page(folder: Path) -> None:
    (folder / "result.json").write_text(json.dumps({"schema": verdict.SCHEMA}))
    (folder / "report.html").write_text("PASS")
    with pytest.raises(LaneError) as caught:
        report.write(folder)
    assert caught.value.code == "report_failed"
    assert not (folder / "report.html").exists()
