"""report.html on small data: green, red, early, hostile and huge. tests/playbooks/test_report.py has a browser."""

import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.evidence import report, report_figures, verdict
from PIL import Image
from prepared import fails
from results import BLAME, CHECK, ZERO, put, result

PIXEL = bytes.fromhex("89504e470d0a1a0a")
QEMU = {"name": "qemu", "started": "2026-11-24T03:55:59.000Z", "ready_seconds": 4.0}
QEMU |= {"running": True, "exit_status": None, "oneshot": False}


def red(checks: list[dict[str, Any]] | None = None, **blame: Any) -> dict[str, Any]:
    return result(verdict="fail", blame={**BLAME, **blame}, checks=checks or [CHECK])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


MISSING = [
    {"phases": [{"name": "tls", "seconds": 0.0}]},
    {"checks": [{**CHECK, "started": None, "seconds": 0.0, "result": "not run", "detail": {}}]},
    {"checks": [{**CHECK, "result": "fail", "detail": {"expected": "a", "got": "b", "kind": "unmet"}}]},
    {"checks": [{**CHECK, "result": "fail", "guest": None, "detail": {}}]},
    {"started": ""},
    {"accel": {"chosen": None, "reason": None}, "guests": []},
    {"blame": {**BLAME, "evidence": None, "check": None, "phase": ""}},
    {"blame": {**BLAME, "evidence": "logs/gone.log:x"}},
    {"blame": {**BLAME, "evidence": "/etc/passwd:1"}},
    {"blame": {**BLAME, "evidence": "../" * 20 + "etc/passwd:1"}},
]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("blame", [None, BLAME])
def test_a_page_is_made_whatever_the_run_did_not_reach(folder, missing, blame):
    """A step that was skipped, a program that never was ready: nothing of it may cost the page."""
    steps = [{"name": "status", "started": None, "seconds": 0.0, "result": "skipped", "seen": None}, {"name": "x"}]
    put(folder / "logs/smoke.json", {"command_id": "c", "transcript": steps})
    put(folder / "logs/processes.json", [{**QEMU, "ready_seconds": None, "running": False}])
    put(folder / "result.json", result(**{"verdict": "fail" if blame else "pass", "blame": blame, **missing}))
    assert "etc/passwd:1</a>" not in report.write(folder).read_text()


def test_bars_are_drawn_to_scale_and_what_failed_is_marked(folder):
    ended = {**QEMU, "running": False}
    programs = [
        QEMU,
        {**ended, "name": "api", "exit_status": 3},
        {**ended, "name": "ryll"},
        {**ended, "name": "database", "exit_status": 0},
        {**QEMU, "name": "daemon", "ready_seconds": None},
        {**ended, "name": "schema", "exit_status": 0, "oneshot": True},
    ]
    put(folder / "logs/processes.json", programs)
    values = red([CHECK, {**CHECK, "name": "frames", "result": "fail"}])
    page = " ".join(report.page(values, folder).split())
    assert '<span class="bar phase" style="left:50.000%;width:25.000%">' in page
    assert '<span class="bar program" style="left:10.000%;width:40.000%">' in page
    assert {bar.name: (bar.state, bar.bad) for bar in report.timeline(values, folder, ZERO)} == {
        "tls": ("", False),
        "smoke": ("failed", True),
        "qemu": ("ready", False),
        "api": ("ended with status 3", True),
        "ryll": ("gone", True),
        "database": ("ended with status 0", True),
        "daemon": ("never ready", True),
        "schema": ("ready", False),
        "hello": ("pass", False),
        "frames": ("fail", True),
    }
    assert page.count(' bad"') == 6


def test_each_check_shows_its_reason_and_its_detail(folder):
    checks = [
        CHECK,
        {**CHECK, "name": "path", "result": "fail", "detail": {"cause": "it went to <qemu>"}},
        {**CHECK, "name": "step", "result": "fail", "detail": {"expected": "a", "got": "b"}},
        {**CHECK, "name": "mute", "result": "fail", "detail": {}},
    ]
    page = report.page(result(checks=checks), folder)
    reasons = re.findall('<div class="soft">(.*)</div>', page)
    assert reasons == ["it went to &lt;qemu&gt;", "a: b", "it gave no reason"]
    assert page.count("<details>") == 3
    assert "&#34;server&#34;: &#34;ryll&#34;" in page
    huge = report.page(result(checks=[{**CHECK, "detail": {"x": "y" * 100_000}}]), folder)
    assert "the rest is in result.json" in huge and len(huge) < 40_000


def test_a_check_that_follows_from_another_is_not_red(folder):
    gone = {"component": "qemu", "code": "program_ended", "cause": "qemu ended"}
    checks = [{**CHECK, "name": name, "suite": "mine", "result": "fail", "detail": gone} for name in ("one", "two")]
    checks.append({**CHECK, "suite": "mine", "name": "three", "result": "not run"})
    values = red(checks, check="one", component="qemu", code="program_ended")
    row = r'<tr( class="follows")?><th scope="row">(\w+)\n(?:<span class="soft">([^<]*)</span>)?(<div class="soft">)?'
    shown = re.findall(row, report.page(values, folder).partition('<table id="checks">')[2].partition("</table>")[0])
    follows = "follows from: check one"
    assert [(bool(grey), name, why, bool(cause)) for grey, name, why, cause in shown] == [
        (False, "one", "", True),
        (True, "two", follows, False),
        (True, "three", follows, False),
    ]
    bars = {bar.name: (bar.state, bar.bad) for bar in report.timeline(values, folder, ZERO) if bar.kind == "check"}
    assert bars["one"] == ("fail", True) and bars["two"] == (f"fail, {follows}", False)


def test_the_cause_is_a_link_to_its_line(folder):
    put(folder / "logs/ryll.log", "".join(f"line {number}\n" for number in range(1, 20_000)))
    page = report.page(red(), folder)
    assert '<p id="cause"><a href="#failure">a was not b</a></p>' in page
    assert '<a href="logs/ryll.log">logs/ryll.log:200</a>' in page
    assert '<tr id="failure" data-mark="0" data-part="ryll"><td></td><td>ryll</td><td>line 200</td></tr>' in page
    assert [f"line {n}<" in page for n in (190, 210, 19999, 300)] == [True, True, True, False]
    link = '<p id="cause"><a href="logs/ryll.log">a was not b</a></p>'
    assert link in report.page(red(evidence="logs/ryll.log"), folder)
    assert '<p id="cause">a was not b</p>' in report.page(red(evidence=None), folder)


def test_where_no_part_wrote_a_line_the_log_has_a_gap(folder):
    lines = [0.0, 1.9, 1.0, 5.0, 60.0, 61.9]
    stamps = [f"2026-11-24T03:{55 + int(58 + at) // 60}:{(58 + at) % 60:04.1f}00000Z  INFO at {at:g}" for at in lines]
    put(folder / "logs/ryll.log", "\n".join([*stamps[:2], "no time", *stamps[2:]]) + "\n")
    put(folder / "logs/serial.log", "ready\n")
    row = r'<tr class="gap"><td></td><td></td><td>([^<]*)</td></tr>|<td>(?:\S*  INFO )?(at [\d.]+|no time)</td>'
    shown = re.findall(row, report.page(result(), folder))
    near, far = ["at 0", "at 1", "at 1.9", "no time"], ["at 60", "at 61.9"]
    found = ["".join(one) for one in shown]
    assert found == [*near, "3.1 s without a line", "at 5", "55.0 s without a line", *far]


def marked(page: str) -> list[tuple[str, ...]]:
    """(whether the log opens there, number, part, second, text) of the lines that are marked."""
    row = r'<tr( id="failure")? data-mark="(\d)"[^>]* data-part="(\w+)"><td>([^<]*)</td><td>\w+</td><td>([^<]*)</td>'
    return re.findall(row, page)


def test_the_log_opens_where_the_check_ended_when_its_evidence_has_no_time(folder):
    before = "2026-11-24T03:56:04.000000Z  INFO before"
    put(folder / "logs/serial.log", "ready\nline: hello\n")
    put(folder / "logs/ryll.log", f"{before}\n2026-11-24T03:56:30.000000Z  INFO after\n")
    checks = [{**CHECK, "started": ZERO + 1}, {**CHECK, "result": "fail", "seconds": 12.0}]
    put(folder / "logs/suite.json", {"command_id": "c", "checks": checks})
    check, opens = ("checks", "19.000", "hello: fail after 12.000 s"), ' id="failure"'
    page = report.page(red(checks, evidence="logs/serial.log:2"), folder)
    assert marked(page) == [(opens, "0", *check), ("", "1", "serial", "", "line: hello")]
    page = report.page(red(checks, evidence="logs/ryll.log:1"), folder)
    assert marked(page) == [(opens, "0", "ryll", "6.000", before), ("", "1", *check)]


def test_without_a_line_and_a_check_the_log_opens_at_the_task_that_failed(folder):
    lines = [f"2026-11-24 03:56:0{n},100 p=1 INFO| {text}" for n, text in enumerate(("TASK [a] **", "fatal: [l]: no"))]
    put(folder / "logs/ansible.log", "\n".join(lines))
    page = report.page(red(evidence="logs/qemu.log", check=None), folder)
    assert [(line[2], line[4]) for line in marked(page)] == [("ansible", lines[1])] and "TASK [a]<" in page
    assert marked(report.page(result(), folder)) == []


@pytest.mark.parametrize(
    ("rule", "component", "said"),
    [("a-rule", "proxy", True), ("a-rule", "kerbside", False), (None, "proxy", False)],
)
def test_whom_the_task_had_blamed_before_a_rule_did(folder, rule, component, said):
    first = {"component": component, "cause": "no bytes", "evidence": None}
    put(folder / "logs/diagnosis.json", {"rule": rule, "first": first})
    page = report.page(red(component="kerbside"), folder)
    assert ("overruled" in page) == said
    assert ('id="overruled">The failed task blamed proxy: no bytes.' in page) == said


def test_all_files_are_linked(folder):
    for name in ("result.json", "screenshot.png", "logs/a b.log", "report.html", ".lane"):
        put(folder / name, PIXEL)
    page = report.page(result(), folder)
    assert re.findall(r'<li><a href="([^"]+)"', page) == ["result.json", "screenshot.png", "logs/a%20b.log"]
    picture = '<a href="screenshot.png"><img src="data:image/png;base64,iVBORw0KGgo=" alt="pocket: as ryll sees it'
    assert picture in page
    put(folder / "screenshot.png", bytes(report_figures.ROOM + 1))
    assert "<img" not in report.page(result(), folder)


def test_text_from_logs_stays_text(folder):
    evil = '</td><script>alert(1)</script><img src="http://example.invalid/x">'
    put(folder / "logs/serial.log", evil + "\n")
    page = report.page({**red(cause=evil, evidence=evil), "guests": [evil]}, folder)
    assert page.count("<script>") == 1
    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") == 5
    assert not re.search(r'src="(?!data:)', page)


def test_a_page_of_huge_logs_stays_small_and_says_what_is_missing(folder):
    for name in ("api", "serial", "daemon"):
        put(folder / f"logs/{name}.log", "".join(f"{name} {number} {'<&' * 300}\n" for number in range(500)))
    put(folder / "logs/ryll.log", "one\ntwo\n")
    put(folder / "screenshot.png", bytes(report_figures.ROOM))
    page = report.page(result(), folder)
    assert 200_000 < len(page.encode()) < 400_000
    left_out = page.partition("Not shown here:")[2].partition("</p>")[0]
    assert "lines of api" in left_out and "ryll" not in left_out and "api 499 " in page


def test_it_is_well_formed_and_every_table_and_picture_has_words(folder):
    put(folder / "screenshot.png", PIXEL)
    page = report.page(red(), folder)
    assert page.count("<caption>") == page.count("<table") - 1  # the log's is named by its region
    no_xml = r"<!DOCTYPE html>|<meta[^>]*>|<link[^>]*>|<script>.*</script>|<style>.*</style>| hidden(?=>)"
    body = re.sub(no_xml, "", page, flags=re.DOTALL).replace(" checked>", ' checked="">')
    ElementTree.fromstring(re.sub(r"<(img|input)([^>]*)>", r"<\1\2/>", body))


@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": 1}', '{"schema": null}'])
def test_without_a_result_that_can_be_read_there_is_no_page(folder, text):
    if text is not None:
        put(folder / "result.json", text)
    with fails("no_result", "artifacts"):
        report.write(folder)


def test_a_page_that_cannot_be_made_is_one_sentence_and_no_old_page(folder):
    put(folder / "result.json", {"schema": verdict.SCHEMA})
    put(folder / "report.html", "PASS")
    with fails("report_failed", "artifacts"):
        report.write(folder)
    assert not (folder / "report.html").exists()


# --- the figures ----------------------------------------------------------------------------------


def png(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 90).convert("RGB").save(path)


@pytest.fixture
def pocket(folder: Path) -> Path:
    """A folder whose screenshot is that of the guest pocket."""
    put(folder / "logs/outside.json", {"guest": "pocket"})
    return folder


def test_each_picture_has_its_guest(pocket):
    kinds = ("screenshot", "screendump", "difference")
    for name in ("screenshot.png", *(f"pictures/{kind}-uncalibrated.png" for kind in kinds)):
        png(pocket / name)
    found = report_figures.screens(report_figures.Room(pocket), ["uncalibrated", "pocket"])
    assert [(screen.guest, list(screen.pictures), screen.compared) for screen in found] == [
        ("uncalibrated", list(kinds), True),
        ("pocket", ["screenshot"], False),
    ]
    page = report.page(result(guests=["uncalibrated", "pocket"]), pocket)
    assert page.count('class="compare"') == 1 and 'data-guest="uncalibrated"' in page
    assert 'alt="pocket: as ryll sees it through kerbside"' in page


def test_a_large_picture_is_scaled_down_and_a_full_page_only_links(pocket):
    png(pocket / "screenshot.png", (1920, 1080))
    room = report_figures.Room(pocket)
    taken = room.take("screenshot.png", "x", 300)
    assert taken and taken.url.startswith("data:image/webp;base64,") and len(taken.url) < report_figures.ROOM
    room.left = 10
    linked = room.take("screenshot.png", "x", 300)
    assert linked and linked.url == ""
    assert room.take("nothing.png", "x", 300) is None
    assert report_figures.small(b"no picture", 300) is None
    image = Image.open(io.BytesIO(report_figures.small((pocket / "screenshot.png").read_bytes(), 300) or b""))
    assert image.width == 300


def test_the_pictures_of_a_suite_are_a_strip_in_order(pocket):
    checks = []
    for name in ("awaiting", "enter"):
        picture = f"pictures/story-uncalibrated-{name}.png"
        png(pocket / picture)
        story = {"suite": "story", "guest": "uncalibrated", "name": name, "detail": {"picture": picture}}
        checks.append({**CHECK, **story})
    page = report.page(result(checks=[CHECK, *checks, {**CHECK, "detail": {"picture": "/etc/passwd"}}]), pocket)
    strip = page.partition('<ol class="strip">')[2].partition("</ol>")[0]
    assert re.findall(r">(\w+)</a>", strip) == ["awaiting", "enter"]
    assert "story on uncalibrated: 2 of 2" in " ".join(page.split())


def test_latencies_are_drawn_on_one_scale(pocket):
    latency = {"through kerbside": [1.0, 2.0, 10.0], "directly to qemu": [0.1, 0.2, 1.0]}
    checks = [CHECK, {**CHECK, "name": "acknowledgement", "detail": {"latency": latency}}]
    (plot,) = report_figures.plots(checks)
    assert [words for _, words in plot.ticks] == ["0.1 ms", "1 ms", "10 ms"]
    assert [(name, words) for name, _, _, words in plot.lines] == [
        ("through kerbside", "half within 2 ms and 95 % within 10 ms"),
        ("directly to qemu", "half within 0.2 ms and 95 % within 1 ms"),
    ]
    first, last = (line[1].split() for line in plot.lines)
    assert first[0] == "324.0,162.0" and first[-1] == "604.0,12.0" and last[0] == "44.0,162.0"
    page = report.page(result(checks=checks), pocket)
    assert page.count("<polyline") == 2 and "directly to qemu (dashed), half within 0.2 ms" in page


def test_one_value_that_never_changes_has_a_scale_too():
    (plot,) = report_figures.plots([{**CHECK, "detail": {"latency": {"a": [1.0, 1.0]}}}])
    assert len(plot.ticks) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T03:55:58.000Z ERROR kerbside: no", "error"),
        ("Traceback (most recent call last):", "error"),
        ("2026-11-24T03:55:58Z WARN ryll: slow", "warning"),
        ("[Warning] Aborted connection", "warning"),
        ("2026-11-24T03:55:58Z INFO forewarned", ""),
    ],
)
def test_how_severe_a_line_is(text, expected):
    assert report.severity(text) == expected
