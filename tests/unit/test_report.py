"""report.html on small data: green, red, early, hostile and huge. tests/playbooks/test_report.py opens those of real runs in a browser."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import report

BEGAN = "2026-11-24T03:55:58.000Z"
ZERO = 1795492558.0
PIXEL = bytes.fromhex("89504e470d0a1a0a")


def result(**more: Any) -> dict[str, Any]:
    """A result.json as module_utils/lane/evidence/verdict.py writes it."""
    return {
        "schema": 1,
        "lane_id": 3,
        "run_id": "r",
        "verdict": "pass",
        "started": BEGAN,
        "finished": BEGAN,
        "seconds": 10.0,
        "guest": "pocket",
        "accel": {"chosen": "tcg", "reason": "no KVM"},
        "versions": {"kerbside": "0.8.0", "ryll": None},
        "phases": [{"name": "tls", "seconds": 2.5, "started": ZERO + 5}],
        "checks_planned": 1,
        "checks": [{"name": "counters", "result": "pass", "seconds": 0.5, "detail": {"before": {"a": 1.0}, "after": {"a": 3.0, "b": 2000000.0}}}],
        "blame": None,
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_bars_are_drawn_to_scale(folder: Path) -> None:
    (folder / "logs/processes.json").write_text(
        json.dumps([{"name": "qemu", "started": "2026-11-24T03:55:59.000Z", "ready_seconds": 4.0, "running": False, "exit_status": 3}])
    )
    page = report.page(result(), folder)
    assert '<span class="bar phase" style="left:50.000%;width:25.000%">' in page
    assert '<span class="bar program" style="left:10.000%;width:40.000%">' in page
    assert "program, ended with status 3" in page


def test_text_from_logs_stays_text(folder: Path) -> None:
    evil = '</td><script>alert(1)</script><img src="http://example.invalid/x">'
    (folder / "logs/serial.log").write_text(evil + "\n")
    blame = {"component": "guest", "phase": "smoke", "check": "banner", "cause": evil, "evidence": evil}
    page = report.page(result(verdict="fail", blame=blame, guest=evil), folder)
    assert page.count("<script>") == 1
    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") == 4
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_a_run_that_came_to_nothing_says_so(folder: Path) -> None:
    blame = {"component": "environment", "phase": "", "check": None, "cause": "expected a, but b", "evidence": None}
    none = {"chosen": None, "reason": None}
    checks = [{"name": "hello", "result": "not run", "seconds": 0.0, "detail": {}}]
    page = report.page(result(verdict="error", blame=blame, phases=[], checks=checks, accel=none, guest=None), folder)
    for words in (
        "<strong>ERROR</strong> lane 3: environment",
        "There is no picture: the run did not come to one.",
        "The run came to no phase.",
        "Not there, because the run did not come to it: serial, qemu, database, api, daemon, ryll.",
        "There are no logs.",
        "The run did not come to them.",
        '<td class="not-run">not run</td>',
        "No accelerator was chosen",
    ):
        assert words in page


def test_of_a_long_log_the_last_lines_are_shown_and_the_rest_counted(folder: Path) -> None:
    (folder / "logs/api.log").write_text("".join(f"line {number}\n" for number in range(100_000)))
    page = report.page(result(), folder)
    assert "line 99999<" in page and "line 98500<" in page and "line 98499<" not in page
    assert f"Of api the last {report.LINES} lines are here, 98500 before them" in page
    assert page.count('<tr data-part="api">') == report.LINES


def test_it_is_well_formed_and_every_table_and_picture_has_words(folder: Path) -> None:
    (folder / "screenshot.png").write_bytes(PIXEL)
    page = report.page(result(), folder)
    assert f'<img src="data:image/png;base64,{"iVBORw0KGgo="}" alt="The guest' in page
    assert page.count("<caption>") == page.count("<table") - 1  # the log's is named by its region
    body = re.sub(r"<!DOCTYPE html>|<meta[^>]*>|<link[^>]*>|<script>.*</script>|<style>.*</style>", "", page, flags=re.DOTALL)
    body = re.sub(r"<(img|input)([^>]*)>", r"<\1\2/>", body).replace(" checked>", ' checked="">').replace(" checked/>", "/>").replace(" hidden>", ">")
    ElementTree.fromstring(body)
    assert '<tr><th scope="row">b</th><td class="number">0</td><td class="number">2000000</td></tr>' in page


def test_without_a_result_there_is_no_page(folder: Path) -> None:
    with pytest.raises(LaneError, match=r"^artifacts: expected a result\.json in .*, but .*No such file"):
        report.write(folder)
