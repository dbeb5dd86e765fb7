"""The figures of report.html: whose picture it is, what lies over what, a suite's pictures, latencies."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from ansible.module_utils.lane.evidence import report, report_figures
from PIL import Image
from results import CHECK, result


def png(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 90).convert("RGB").save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/outside.json").write_text(json.dumps({"guest": "pocket"}))
    return tmp_path


def test_each_picture_has_its_guest(folder: Path) -> None:
    kinds = ("screenshot", "screendump", "difference")
    for name in ("screenshot.png", *(f"pictures/{kind}-uncalibrated.png" for kind in kinds)):
        png(folder / name)
    found = report_figures.screens(report_figures.Room(folder), ["uncalibrated", "pocket"])
    assert [(screen.guest, list(screen.pictures), screen.compared) for screen in found] == [
        ("uncalibrated", list(kinds), True),
        ("pocket", ["screenshot"], False),
    ]
    page = report.page(result(guests=["uncalibrated", "pocket"]), folder)
    assert page.count('class="compare"') == 1 and 'data-guest="uncalibrated"' in page
    assert 'alt="pocket: as ryll sees it through kerbside"' in page


def test_a_large_picture_is_scaled_down_and_a_full_page_only_links(folder: Path) -> None:
    png(folder / "screenshot.png", (1920, 1080))
    room = report_figures.Room(folder)
    taken = room.take("screenshot.png", "x", 300)
    assert taken and taken.url.startswith("data:image/webp;base64,") and len(taken.url) < report_figures.ROOM
    room.left = 10
    linked = room.take("screenshot.png", "x", 300)
    assert linked and linked.url == ""
    assert room.take("nothing.png", "x", 300) is None
    assert report_figures.small(b"no picture", 300) is None
    image = Image.open(io.BytesIO(report_figures.small((folder / "screenshot.png").read_bytes(), 300) or b""))
    assert image.width == 300


def test_the_pictures_of_a_suite_are_a_strip_in_order(folder: Path) -> None:
    checks = []
    for name in ("awaiting", "enter"):
        picture = f"pictures/story-uncalibrated-{name}.png"
        png(folder / picture)
        story = {"suite": "story", "guest": "uncalibrated", "name": name, "detail": {"picture": picture}}
        checks.append({**CHECK, **story})
    page = report.page(result(checks=[CHECK, *checks, {**CHECK, "detail": {"picture": "/etc/passwd"}}]), folder)
    strip = page.partition('<ol class="strip">')[2].partition("</ol>")[0]
    assert re.findall(r">(\w+)</a>", strip) == ["awaiting", "enter"]
    assert "story on uncalibrated: 2 of 2" in " ".join(page.split())


def test_latencies_are_drawn_on_one_scale(folder: Path) -> None:
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
    page = report.page(result(checks=checks), folder)
    assert page.count("<polyline") == 2 and "directly to qemu (dashed), half within 0.2 ms" in page


def test_one_value_that_never_changes_has_a_scale_too() -> None:
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
def test_how_severe_a_line_is(text: str, expected: str) -> None:
    assert report.severity(text) == expected
