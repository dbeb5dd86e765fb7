"""Compare a run with what the catalogue expects of it, and write down what became of all."""

import html
import re
import statistics
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from played import Played

PLAY_BEGINS = r"^PLAY \["
OF_A_SESSION = ("path", "frames", "digest")  #: checks that cannot pass in a command whose ryll was never asked
TASK_FAILS = r"^\[ERROR\]: |^fatal: "


@dataclass
class Outcome:
    """What became of one fault. state: caught, green (for those that must not matter), not here, or what is wrong.

    seconds: from the moment that the fault could be seen to the verdict; None without a verdict. noticed: from there to
    the first failing task's word. stretch: how many times slower than usual the lane was just before.
    """

    fault: dict[str, Any]
    state: str
    component: str | None = None
    cause: str = ""
    code: str | None = None
    seconds: float | None = None
    noticed: float | None = None
    stretch: float = 1.0

    @property
    def good(self) -> bool:
        return self.state in ("caught", "green", "not here")


def judge(
    fault: dict[str, Any], played: Played, since: float | None, fill: Callable[[Any], Any], stretch: float
) -> Outcome:
    """Compare the verdict with what the catalogue expects."""
    expect = fault["expect"]
    seconds = None if since is None else played.verdict_at - since
    failed = played.when(TASK_FAILS)
    noticed = None if since is None or failed is None else failed - since
    outcome = Outcome(fault, "", played.component, played.cause, played.code, seconds, noticed, stretch)
    outcome.state = _state(expect, played, outcome, fill)
    return outcome


def _state(expect: dict[str, Any], played: Played, outcome: Outcome, fill: Callable[[Any], Any]) -> str:
    seconds, within = outcome.seconds, expect["within"] * outcome.stretch
    if "component" not in expect:
        if not played.green:
            return f"red, and ought to be green: {played.line or played.tail()}"
        return "green" if seconds is not None and seconds <= within else f"late: {seconds} s"
    if played.rc == 0 or not played.line.startswith("LANE FAIL"):
        if "not_here" in expect and played.rc == 0:
            return "not here"
        return f"MISSED: {played.line or played.tail()}"
    blame = played.result.get("blame")
    if blame and (blame["component"] != played.component or blame["cause"] != played.cause):
        return f"the last line and result.json disagree: {blame}"
    if played.component != expect["component"]:
        return f"MISNAMED: {played.component}, expected {expect['component']}"
    if not re.search(fill(expect["cause"]), played.cause):
        return f"WRONG CAUSE: expected {fill(expect['cause'])!r}"
    if "code" in expect and played.code != expect["code"]:
        return f"WRONG CODE: {played.code}, expected {expect['code']}"
    if wrong := _report(played):
        return wrong
    if seconds is None or seconds > within:
        return f"LATE: {seconds if seconds is None else round(seconds, 1)} s, at most {within:.1f} s"
    if "noticed" in expect and (outcome.noticed is None or outcome.noticed > expect["noticed"]):
        return f"NOTICED LATE: {outcome.noticed} s, at most {expect['noticed']} s, however busy the machine is"
    return "caught"


def _report(played: Played) -> str:
    """What is wrong with the report of a red run; one that was refused before its claim has neither it nor a result."""
    if not played.result:
        return "" if not played.page else "a report without a result.json"
    if not played.page:
        return "NO REPORT: report.html was not made by this run"
    text = " ".join(html.unescape(played.page).split())
    smoke = [check for check in played.result["checks"] if check["suite"] == "smoke"]
    silent = {check["guest"] for check in smoke if (check["name"], check["result"]) == ("hello", "not run")}
    passed = [check["name"] for check in smoke if check["result"] == "pass" and check["guest"] in silent]
    if stale := [name for name in passed if name in OF_A_SESSION]:
        return f"PASSED WITHOUT A SESSION: {', '.join(stale)}"
    for said in (played.result["run_id"], played.component, played.cause):
        if " ".join(str(said).split()) not in text:
            return f"WRONG REPORT: report.html does not show {said!r}"
    return ""


HEAD = """\
# Faults

Which faults does the lane notice, and whom does it blame? `./lane faults` wrote this page in its last complete run,
with every fault really injected. [diagnosis.md](diagnosis.md) describes faults and rules. Seconds count from the moment
when the fault can be seen to the verdict. `./lane test` runs the faults that are marked as quick.

{summary}

| fault | what is broken | blamed | seconds | code | quick | cause |
|---|---|---|---|---|---|---|
"""


def page(outcomes: list[Outcome], good_runs: int, seconds: float) -> str:
    """docs/faults.md."""
    words = textwrap.fill(summary(outcomes, good_runs, seconds), 120, break_on_hyphens=False)
    return HEAD.format(summary=words) + "".join(map(_row, outcomes))


def _row(outcome: Outcome) -> str:
    fault, said = outcome.fault, outcome.cause if outcome.component else outcome.state
    columns = (
        f"`{fault['name']}`",
        fault["what"],
        outcome.component or "none: green",
        f"{outcome.seconds or 0:.1f} of {fault['expect']['within'] * outcome.stretch:.0f}",
        f"`{outcome.code}`" if outcome.code else "",
        "yes" if fault.get("quick") else "",
        said.replace("|", "/")[:240],
    )
    return f"| {' | '.join(columns)} |\n"


def summary(outcomes: list[Outcome], good_runs: int, seconds: float) -> str:
    """The run in a paragraph."""
    red = [o for o in outcomes if o.state == "caught" and o.seconds is not None]
    red.sort(key=lambda o: -(o.seconds or 0))
    words = f"{sum(o.good for o in outcomes)} of {len(outcomes)} as expected in {seconds:.0f} s; "
    words += f"{good_runs} green checks of the good lane between them."
    if here := [o.fault["name"] for o in outcomes if o.state == "not here"]:
        words += f" Not here: {', '.join(here)}."
    if red:
        slowest = ", ".join(f"{o.fault['name']} {o.seconds:.1f} s" for o in red[:3])
        median = statistics.median(o.seconds or 0 for o in red)
        words += f" Median time to the verdict {median:.1f} s; slowest: {slowest}."
    if mid := [o.noticed for o in outcomes if o.noticed is not None and "noticed" in o.fault["expect"]]:
        words += f" A program that dies during the check is noticed within {max(mid):.1f} s."
    if (stretch := max((o.stretch for o in outcomes), default=1.0)) > 1.05:
        words += f" The machine was busy: limits stretched by up to {stretch:.1f}."
    return words
