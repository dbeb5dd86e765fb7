"""The reports of a green and of a red run of the real products, opened in a browser as a person would.

`LANE_PICTURES=docs ./lane test playbooks -- -k browser` makes the pictures of docs/report.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_page
from ansible.module_utils.lane.evidence import report
from ansible.module_utils.lane.evidence import summary as summaries
from ansible.module_utils.lane.protocols.ryll import pictures
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """Debian's Chromium by Debian's driver, without a screen and without a network to reach."""
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--window-size=1280,1000",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService(str(shutil.which("chromedriver"))))
    driver.set_script_timeout(300)
    try:
        yield driver
    finally:
        driver.quit()


#: Without most rows of the log, which are all alike and many.
AXE = """
const done = arguments[0], context = {exclude: [["#lines tr:nth-child(n+30)"]]};
axe.run(context, {preload: false}).then(done, error => done({failed: String(error)}));
"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, fetched by its hash from the package index that pip is configured for."""
    folder = tmp_path_factory.mktemp("axe")
    pinned = ["--no-deps", "--require-hashes", "-r", str(ROOT / "tests/requirements/axe.txt")]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, *pinned], check=True, timeout=120
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return wheel.read("axe_playwright_python/axe.min.js").decode()


def accessible(browser: Chrome, axe: str) -> None:
    """axe-core has no findings, in light and dark."""
    for scheme in ("dark", "light"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.execute_script(axe)
        found = browser.execute_async_script(AXE)
        assert "failed" not in found, found
        wrong = [
            f"{one['id']} ({scheme}): {node['html'][:200]}: {node.get('failureSummary')}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert wrong == [] and len(found["passes"]) > 10
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def opened(browser: Chrome, page: Path) -> None:
    """Open the page, and see that it asks for nothing but itself and has nothing to complain of."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        message["params"]["request"]["url"] for message in asked if message["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in urls if not url.startswith("data:")] == [page.as_uri()]
    assert browser.get_log("browser") == []


def shown(browser: Chrome) -> int:
    """How many lines are to be seen."""
    return int(
        browser.execute_script(
            "return [...document.querySelectorAll('#lines tr[data-part]')].filter(row => row.offsetParent !== null).length"
        )
    )


def picture(browser: Chrome, name: str) -> None:
    """Keep a picture of the window, when somebody wants it."""
    if folder := os.environ.get("LANE_PICTURES"):
        browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        browser.save_screenshot(str(Path(folder) / name))


@pytest.mark.slow
def test_the_reports_of_a_green_and_of_a_red_run_in_a_browser(
    browser: Chrome, axe: str, lane: Any, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    green = lane.run(
        "playbooks/lane.yml",
        env={"GITHUB_STEP_SUMMARY": str(summary)},
        lane_keep="on_failure",
        lane_guest="",
        lane_suites=["story"],
    )
    assert green.rc == 0, green
    assert not lane.dir.exists()
    drawn, shown = (
        pictures.read("png", path.read_bytes(), 1280, 800)
        for path in (ROOT / "docs/pocket.png", lane.artifacts / "screenshot.png")
    )
    clock_and_prompt = [pictures.Region(1000, 0, 280, 690), pictures.Region(0, 690, 1280, 110)]
    assert pictures.compare(drawn, shown, clock_and_prompt).accepted(False), "the screenshot is not the guest's picture"
    page = lane.artifacts / "report.html"
    assert green.text.splitlines()[-2:] == [f"report: {page}", green.text.splitlines()[-1]]
    assert summary.read_text().startswith("## ✅ LANE PASS lane ")
    opened(browser, page)
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("PASS lane")
    see_timeline(browser, json.loads((lane.artifacts / "result.json").read_text()))
    see_filter(browser)
    see_keyboard(browser)
    see_light_and_dark(browser)
    see_without_script(browser, page)
    see_phone_and_paper(browser)
    see_links(browser, page)
    see_guests(browser, json.loads((lane.artifacts / "result.json").read_text()))
    accessible(browser, axe)
    picture(browser, "report-green.png")
    dark(browser)
    kept = summaries.Outcome(
        "lane-1 (box1)", "pass", green.text.splitlines()[-1], Path(shutil.copytree(lane.artifacts, tmp_path / "lane-1"))
    )
    see_difference(browser, axe, lane.artifacts)

    red = lane.run(
        "playbooks/lane.yml",
        env={"GITHUB_STEP_SUMMARY": str(summary)},
        smoke_console_uuid="00000000-0000-0000-0000-000000000000",
        smoke_console_max_age=0,
    )
    assert red.rc == 2, red
    cause = json.loads((lane.artifacts / "result.json").read_text())["blame"]["cause"]
    assert "## ❌ LANE FAIL kerbside" in summary.read_text()
    assert "::error title=lane%3A kerbside::" in red.text
    opened(browser, page)
    assert browser.find_element(By.TAG_NAME, "h1").text == f"FAIL lane {lane.id}: kerbside"
    assert browser.find_element(By.ID, "cause").text == " ".join(cause.split())
    assert "There is no picture: this command took none." in browser.find_element(By.TAG_NAME, "main").text
    assert (
        report_page.disagreement(
            lane.artifacts,
            red.text.splitlines()[-1],
            json.loads((lane.artifacts / "result.json").read_text())["command_id"],
        )
        == ""
    )
    see_failure(browser)
    see_filter(browser)
    see_phone_and_paper(browser)
    see_links(browser, page)
    accessible(browser, axe)
    picture(browser, "report-red.png")
    see_index(
        browser,
        axe,
        tmp_path,
        [kept, summaries.Outcome("lane-2 (box2)", "fail", red.text.splitlines()[-1], lane.artifacts)],
    )


def see_index(browser: Chrome, axe: str, folder: Path, outcomes: list[summaries.Outcome]) -> None:
    """The page of several lanes leads to the report of each, and shows the words of the red one."""
    page = summaries.write(folder, outcomes)
    opened(browser, page)
    assert [row.text.split()[0] for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")] == ["lane-1", "lane-2"]
    assert outcomes[1].words.partition(": ")[2][:60] in browser.find_element(By.TAG_NAME, "main").text
    links = [str(link.get_dom_attribute("href")) for link in browser.find_elements(By.TAG_NAME, "a")]
    assert links and all((page.parent / link).is_file() for link in links)
    accessible(browser, axe)
    picture(browser, "report-lanes.png")


def see_guests(browser: Chrome, result: dict[str, Any]) -> None:
    """Each guest's screen is shown with its name, and each suite on a guest has its checks together."""
    words = [
        str(image.get_attribute("alt"))
        for image in browser.find_elements(By.CSS_SELECTOR, "section:has(#h-picture) img")
    ]
    assert [one.partition(":")[0] for one in words] == result["guests"]
    groups = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#checks th[scope=rowgroup]")]
    assert [one.partition(":")[0] for one in groups] == [
        *(f"smoke on {guest}" for guest in result["guests"]),
        "story on uncalibrated",
    ]
    beats = browser.find_elements(By.CSS_SELECTOR, ".strip li")
    assert [beat.text for beat in beats] == [check["name"] for check in result["checks"] if check["suite"] == "story"]
    if folder := os.environ.get("LANE_PICTURES"):
        browser.execute_script("document.getElementById('h-strips').scrollIntoView()")
        browser.save_screenshot(str(Path(folder) / "report-story.png"))


def see_difference(browser: Chrome, axe: str, artifacts: Path) -> None:
    """Pictures that differ lie over each other; the divider and the difference work by keyboard."""
    from PIL import Image

    ours = Image.open(artifacts / "screenshot.png").convert("RGB")
    theirs = ours.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    theirs.save(artifacts / "screendump.png")
    Image.new("RGB", ours.size, "white").save(artifacts / "difference.png")
    opened(browser, report.write(artifacts))
    divider, only = browser.find_elements(By.CSS_SELECTOR, ".slide input")
    shown = browser.find_elements(By.CSS_SELECTOR, ".slide .over img")
    assert len(shown) == 3 and shown[0].is_displayed() and not shown[2].is_displayed()
    assert not browser.find_element(By.CSS_SELECTOR, ".flat").is_displayed()
    before = shown[1].value_of_css_property("clip-path")
    divider.send_keys(Keys.ARROW_RIGHT)
    assert shown[1].value_of_css_property("clip-path") != before
    only.send_keys(Keys.SPACE)
    assert shown[2].is_displayed()
    accessible(browser, axe)


def see_timeline(browser: Chrome, result: dict[str, Any]) -> None:
    """Every phase, program and check has a bar, as wide as its share of the whole."""
    whole = float(browser.find_element(By.ID, "timeline").get_attribute("data-whole") or 0)
    found = {}
    for row in browser.find_elements(By.CSS_SELECTOR, "#timeline tbody tr"):
        name, kind = (
            row.find_element(By.TAG_NAME, "th").text,
            row.find_elements(By.TAG_NAME, "td")[0].text.partition(",")[0],
        )
        seconds = float(row.find_elements(By.TAG_NAME, "td")[2].text)
        bar, track = row.find_element(By.CSS_SELECTOR, ".bar"), row.find_element(By.CSS_SELECTOR, ".track div")
        assert bar.rect["width"] == pytest.approx(
            max(track.rect["width"] * seconds / whole, 2), abs=track.rect["width"] * 0.01 / whole + 1
        )
        assert bar.rect["x"] + bar.rect["width"] <= track.rect["x"] + track.rect["width"] + 2
        found[kind, name] = seconds
    for phase in result["phases"]:
        assert ("phase", phase["name"]) in found
    assert {("program", name) for name in ("qemu", "database", "api", "daemon")} <= set(found)
    assert {("check", check["name"]) for check in result["checks"]} <= set(found)


def see_filter(browser: Chrome) -> None:
    """Parts and text narrow the lines down, and the page says to how many."""
    rows, gaps = (browser.find_elements(By.CSS_SELECTOR, f"#lines tr{kind}") for kind in ("[data-part]", ".gap"))
    assert all(gap.is_displayed() and gap.text.endswith(" s without a line") for gap in gaps)
    told, text = browser.find_element(By.ID, "shown"), browser.find_element(By.ID, "text")
    assert told.text == f"{len(rows)} of {len(rows)} lines"
    boxes = browser.find_elements(By.CSS_SELECTOR, "input[name=part]")
    parts = {str(box.get_attribute("value")): box for box in boxes}
    assert {"ansible", "database", "api", "api (lane)", "daemon", "proxy"} <= set(parts)
    of_api = len(browser.find_elements(By.CSS_SELECTOR, "#lines tr[data-part=api]"))
    parts["api"].click()
    assert shown(browser) == len(rows) - of_api and not any(gap.is_displayed() for gap in gaps)
    parts["api"].click()
    text.send_keys("GUNICORN")
    assert 0 < shown(browser) <= of_api + 1
    assert told.text == f"{shown(browser)} of {len(rows)} lines"
    text.send_keys("no such text")
    assert shown(browser) == 0
    text.clear()
    text.send_keys(" ", Keys.BACKSPACE)
    assert shown(browser) == len(rows)
    browser.find_element(By.CSS_SELECTOR, "#filter button[value=api]").click()
    assert shown(browser) == of_api
    browser.find_element(By.CSS_SELECTOR, "#filter button[value='']").click()
    assert shown(browser) == len(rows)
    severity = browser.find_element(By.ID, "severity")
    severity.send_keys(Keys.END)
    assert shown(browser) == len(browser.find_elements(By.CSS_SELECTOR, "#lines tr.error"))
    severity.send_keys(Keys.HOME)
    assert shown(browser) == len(rows)


def see_keyboard(browser: Chrome) -> None:
    """The filters and the log can be reached by Tab, and each tells its name."""
    browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(200):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(browser.switch_to.active_element)
    names = [element.accessible_name for element in reached]
    assert any(name.startswith("api") for name in names)
    assert "with the text" in names
    assert "Lines of the logs" in names


def see_failure(browser: Chrome) -> None:
    """The phase that failed is marked, and the log opens at the failure."""
    failed = [
        row.find_element(By.TAG_NAME, "th").text for row in browser.find_elements(By.CSS_SELECTOR, "#timeline tr.bad")
    ]
    assert failed[0] == "smoke"
    log, line = browser.find_element(By.CSS_SELECTOR, ".log").rect, browser.find_element(By.ID, "failure").rect
    assert log["y"] <= line["y"] <= log["y"] + log["height"]


def see_phone_and_paper(browser: Chrome) -> None:
    """A window of 400 pixels needs no scrolling sideways; a printer gets the whole log and the details of the checks."""
    size = {"height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 400, **size})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    picture(browser, "report-phone.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    log = browser.find_element(By.CSS_SELECTOR, ".log")
    assert browser.execute_script("return arguments[0].scrollHeight - arguments[0].clientHeight", log) <= 2
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(detail.get_attribute("open") for detail in browser.find_elements(By.TAG_NAME, "details"))
    paper = {"width": 794, "height": 1123, "deviceScaleFactor": 1, "mobile": False}  # A4 at 96 dots an inch
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    picture(browser, "report-print.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def see_links(browser: Chrome, page: Path) -> None:
    """Every link leads to a file beside the page, or to a place in it; each file of the run is linked."""
    links = [str(link.get_dom_attribute("href")) for link in browser.find_elements(By.TAG_NAME, "a")]
    assert all((page.parent / link).is_file() or browser.find_elements(By.ID, link.lstrip("#")) for link in links), (
        links
    )
    assert {"result.json", "junit.xml", "logs/daemon.log", "logs/serial.log"} <= set(links)
    assert page.stat().st_size <= 400_000


def see_light_and_dark(browser: Chrome) -> None:
    """The colours follow the reader's."""
    grounds = set()
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        grounds.add(browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    assert len(grounds) == 2
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def dark(browser: Chrome) -> None:
    """Keep a picture in dark colours."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    picture(browser, "report-dark.png")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def see_without_script(browser: Chrome, page: Path) -> None:
    """Everything is there to read; only the filters are not."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page.as_uri())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert not browser.find_element(By.ID, "filter").is_displayed()
    assert shown(browser) == len(browser.find_elements(By.CSS_SELECTOR, "#lines tr[data-part]"))
    browser.get(page.as_uri())
