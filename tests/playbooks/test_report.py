"""The reports of a green and of a red run of the real products, opened in a browser as a person would.

`LANE_PICTURES=docs ./lane test playbooks -- -k browser` makes the pictures of docs/report.md.
"""

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
from whole_lanes import ROOT


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """Debian's Chromium by Debian's driver, without a screen and without a network to reach."""
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--window-size=1280,1000", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
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
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, *pinned]
    subprocess.run(command, check=True, timeout=120)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return wheel.read("axe_playwright_python/axe.min.js").decode()


def accessible(browser: Chrome, axe: str) -> None:
    """axe-core has no findings, in light and dark."""
    for scheme in ("dark", "light"):
        emulate(browser, scheme)
        browser.execute_script(axe)
        found = browser.execute_async_script(AXE)
        assert "failed" not in found, found
        wrong = [(one["id"], scheme, [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]
        assert wrong == [] and len(found["passes"]) > 10
    emulate(browser)


def emulate(browser: Chrome, scheme: str = "", media: str = "") -> None:
    """Emulate a colour scheme (default: the browser's own) and a medium."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def opened(browser: Chrome, page: Path) -> None:
    """Open the page, and see that it asks for nothing but itself and has nothing to complain of."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in asked if message["method"] == "Network.requestWillBeSent"]
    urls = [params["request"]["url"] for params in sent]
    assert [url for url in urls if not url.startswith("data:")] == [page.as_uri()]
    assert browser.get_log("browser") == []


def shown(browser: Chrome) -> int:
    """How many lines are to be seen."""
    rows = "[...document.querySelectorAll('#lines tr[data-part]')]"
    return int(browser.execute_script(f"return {rows}.filter(row => row.offsetParent !== null).length"))


def picture(browser: Chrome, name: str) -> None:
    """Keep a picture of the window, when somebody wants it."""
    if folder := os.environ.get("LANE_PICTURES"):
        browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        browser.save_screenshot(str(Path(folder) / name))


@pytest.mark.slow
def test_the_reports_of_a_green_and_of_a_red_run_in_a_browser(browser, axe, lane, tmp_path):
    summary = tmp_path / "summary.md"
    env = {"GITHUB_STEP_SUMMARY": str(summary)}
    story = {"lane_guest": "", "lane_suites": ["story"]}
    green = lane.good("playbooks/lane.yml", env=env, lane_keep="on_failure", **story)
    assert not lane.dir.exists()
    files = (ROOT / "docs/pocket.png", lane.artifacts / "screenshot.png")
    drawn, shown = (pictures.read("png", path.read_bytes(), 1280, 800) for path in files)
    clock_and_prompt = [pictures.Region(1000, 0, 280, 690), pictures.Region(0, 690, 1280, 110)]
    assert pictures.compare(drawn, shown, clock_and_prompt).accepted(False), "the screenshot is not the guest's picture"
    page = lane.artifacts / "report.html"
    assert green.text.splitlines()[-2] == f"report: {page}"
    assert summary.read_text().startswith("## ✅ LANE PASS lane ")
    opened(browser, page)
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("PASS lane")
    see_timeline(browser, lane.result)
    see_filter(browser)
    see_keyboard(browser)
    see_light_and_dark(browser)
    see_without_script(browser, page)
    see_phone_and_paper(browser)
    see_links(browser, page)
    see_guests(browser, lane.result)
    accessible(browser, axe)
    picture(browser, "report-green.png")
    emulate(browser, "dark")
    picture(browser, "report-dark.png")
    kept = Path(shutil.copytree(lane.artifacts, tmp_path / "lane-1"))
    see_difference(browser, axe, lane.artifacts)

    unknown = {"smoke_console_uuid": "00000000-0000-0000-0000-000000000000", "smoke_console_fetched": False}
    red = lane.run("playbooks/lane.yml", env=env, **unknown)
    assert red.rc == 2, red
    assert not lane.dir.exists() and lane.marked() == []
    assert (lane.artifacts / "logs/daemon.log").exists()
    cause = lane.result["blame"]["cause"]
    assert "## ❌ LANE FAIL kerbside" in summary.read_text()
    assert "::error title=lane%3A kerbside::" in red.text
    opened(browser, page)
    assert browser.find_element(By.TAG_NAME, "h1").text == f"FAIL lane {lane.id}: kerbside"
    assert browser.find_element(By.ID, "cause").text == " ".join(cause.split())
    assert "There is no picture: this command took none." in browser.find_element(By.TAG_NAME, "main").text
    assert report_page.disagreement(lane.artifacts, red.last, lane.result["command_id"]) == ""
    see_failure(browser)
    see_filter(browser)
    see_phone_and_paper(browser)
    see_links(browser, page)
    accessible(browser, axe)
    picture(browser, "report-red.png")
    outcomes = [("lane-1 (box1)", "pass", green.last, kept), ("lane-2 (box2)", "fail", red.last, lane.artifacts)]
    see_index(browser, axe, tmp_path, [summaries.Outcome(*outcome) for outcome in outcomes])


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
    images = browser.find_elements(By.CSS_SELECTOR, "section:has(#h-picture) img")
    assert [str(image.get_attribute("alt")).partition(":")[0] for image in images] == result["guests"]
    groups = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#checks th[scope=rowgroup]")]
    expected = [*(f"smoke on {guest}" for guest in result["guests"]), "story on uncalibrated"]
    assert [one.partition(":")[0] for one in groups] == expected
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
        cells = row.find_elements(By.TAG_NAME, "td")
        kind, seconds = cells[0].text.partition(",")[0], float(cells[2].text)
        bar, track = (row.find_element(By.CSS_SELECTOR, part).rect for part in (".bar", ".track div"))
        wide = max(track["width"] * seconds / whole, 2)
        assert bar["width"] == pytest.approx(wide, abs=track["width"] * 0.01 / whole + 1)
        assert bar["x"] + bar["width"] <= track["x"] + track["width"] + 2
        found[kind, row.find_element(By.TAG_NAME, "th").text] = seconds
    for phase in result["phases"]:
        assert ("phase", phase["name"]) in found
    assert {("program", name) for name in ("qemu", "database", "api", "daemon")} <= set(found)
    assert {("check", check["name"]) for check in result["checks"]} <= set(found)


def see_filter(browser: Chrome) -> None:
    """Parts and text narrow the lines down, and the page says to how many."""
    rows, gaps = (browser.find_elements(By.CSS_SELECTOR, f"#lines tr{kind}") for kind in ("[data-part]", ".gap"))
    assert all(gap.is_displayed() and gap.text.endswith(" s without a line") for gap in gaps)
    counted, text = browser.find_element(By.ID, "shown"), browser.find_element(By.ID, "text")
    assert counted.text == f"{len(rows)} of {len(rows)} lines"
    boxes = browser.find_elements(By.CSS_SELECTOR, "input[name=part]")
    parts = {str(box.get_attribute("value")): box for box in boxes}
    assert {"ansible", "database", "api", "api (lane)", "daemon", "proxy"} <= set(parts)
    of_api = len(browser.find_elements(By.CSS_SELECTOR, "#lines tr[data-part=api]"))
    parts["api"].click()
    assert shown(browser) == len(rows) - of_api and not any(gap.is_displayed() for gap in gaps)
    parts["api"].click()
    text.send_keys("GUNICORN")
    assert 0 < shown(browser) <= of_api + 1
    assert counted.text == f"{shown(browser)} of {len(rows)} lines"
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
    wanted = {"api", "with the text", "Lines of the logs"}
    for _ in range(200):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        name = browser.switch_to.active_element.accessible_name
        wanted -= {"api" if name.startswith("api") else name}
        if not wanted:
            return
    pytest.fail(f"Tab never reached {wanted}")


def see_failure(browser: Chrome) -> None:
    """The phase that failed is marked, and the log opens at the failure."""
    assert browser.find_element(By.CSS_SELECTOR, "#timeline tr.bad th").text == "smoke"
    log, line = browser.find_element(By.CSS_SELECTOR, ".log").rect, browser.find_element(By.ID, "failure").rect
    assert log["y"] <= line["y"] <= log["y"] + log["height"]


def see_phone_and_paper(browser: Chrome) -> None:
    """400 pixels need no scrolling sideways; a printer gets the whole log and the details of the checks."""
    size = {"height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 400, **size})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    picture(browser, "report-phone.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    emulate(browser, media="print")
    log = browser.find_element(By.CSS_SELECTOR, ".log")
    assert browser.execute_script("return arguments[0].scrollHeight - arguments[0].clientHeight", log) <= 2
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(detail.get_attribute("open") for detail in browser.find_elements(By.TAG_NAME, "details"))
    paper = {"width": 794, "height": 1123, "deviceScaleFactor": 1, "mobile": False}  # A4 at 96 dots an inch
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    picture(browser, "report-print.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    emulate(browser)


def see_links(browser: Chrome, page: Path) -> None:
    """Every link leads to a file beside the page, or to a place in it; each file of the run is linked."""
    links = [str(link.get_dom_attribute("href")) for link in browser.find_elements(By.TAG_NAME, "a")]
    places = [link for link in links if not (page.parent / link).is_file()]
    assert all(browser.find_elements(By.ID, link.lstrip("#")) for link in places), places
    assert {"result.json", "junit.xml", "logs/daemon.log", "logs/serial.log"} <= set(links)
    assert page.stat().st_size <= 400_000


def see_light_and_dark(browser: Chrome) -> None:
    """The colours follow the reader's."""
    grounds = set()
    for scheme in ("light", "dark"):
        emulate(browser, scheme)
        grounds.add(browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    assert len(grounds) == 2
    emulate(browser)


def see_without_script(browser: Chrome, page: Path) -> None:
    """Everything is there to read; only the filters are not."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page.as_uri())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert not browser.find_element(By.ID, "filter").is_displayed()
    assert shown(browser) == len(browser.find_elements(By.CSS_SELECTOR, "#lines tr[data-part]"))
    browser.get(page.as_uri())
