"""Which failures of checks follow from another one: only those that have to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.lane.evidence import check_results

Check = dict[str, Any]


def check(name: str, result: str, suite: str = "smoke", guest: str = "pocket", **detail: str) -> Check:
    return {"suite": suite, "guest": guest, "name": name, "result": result, "detail": detail}


def bad(name: str, component: str, code: str, suite: str = "smoke", guest: str = "pocket") -> Check:
    return check(name, "fail", suite, guest, component=component, code=code)


def ended(name: str, suite: str = "smoke", guest: str = "pocket") -> Check:
    return bad(name, "qemu", "program_ended", suite, guest)


def not_run(name: str, suite: str = "smoke") -> Check:
    return check(name, "not run", suite)


def blame(name: str | None, component: str, code: str, phase: str = "smoke") -> Check:
    return {"phase": phase, "check": name, "component": component, "code": code}


LOST = blame("s", "qemu", "program_ended")
OF_SUITE = blame("a", "qemu", "program_ended", "suites")
OF_S, OF_PHASE = "follows from: check s", "follows from: phase smoke"
OF_X = "follows from: check a of x on pocket"


@pytest.mark.parametrize(
    ("checks", "blamed", "words"),
    [
        ([check("a", "pass")], None, [""]),
        ([not_run("a")], blame(None, "kerbside", "program_ended", "kerbside"), ["follows from: phase kerbside"]),
        ([not_run("a")], blame(None, "host", "program_ended", ""), ["follows from: phase before the first"]),
        # the smoke check: what lies further on cannot work, what lies before can
        ([ended("s"), not_run("t"), bad("f", "qemu", "c"), bad("r", "ryll", "x")], LOST, ["", OF_S, OF_S, OF_S]),
        ([bad("b", "guest", "guest_no_banner"), bad("s", "proxy", "y")], blame("s", "proxy", "proxy_ended"), ["", ""]),
        ([bad("s", "guest", "agent_late"), bad("f", "ryll", "x")], blame("s", "guest", "agent_late"), ["", ""]),
        ([not_run("h"), ended("f")], blame(None, "qemu", "program_ended"), [OF_PHASE, OF_PHASE]),
        ([bad("b", "guest", "x"), not_run("f")], blame(None, "lane", "task_failed"), ["", OF_PHASE]),
        (
            [not_run("h"), bad("b", "guest", "x"), bad("c", "proxy", "y"), bad("p", "ryll", "z")],
            blame(None, "kerbside", "api_refused"),
            [OF_PHASE, "", OF_PHASE, OF_PHASE],
        ),
        ([check("s", "fail"), check("f", "fail")], LOST, ["", ""]),  # without a component nothing is known
        # a suite
        (
            [bad("a", "guest", "c", "x"), ended("b", "x"), ended("c", "x"), not_run("d", "x")],
            blame("a", "guest", "c", "suites"),
            ["", "", "follows from: check b", "follows from: check a"],
        ),
        (
            [bad("a", "proxy", "c", "x"), bad("b", "proxy", "c", "x"), bad("c", "ryll", "c", "x")],
            blame("a", "proxy", "c", "suites"),
            ["", "same failure as: check a", ""],
        ),
        # another suite or guest begins anew, unless nothing of it ran
        ([ended("a", "x"), ended("a", "y"), ended("a", "x", "two"), not_run("b", "z")], OF_SUITE, ["", "", "", OF_X]),
        ([ended("a", "x"), bad("b", "ryll", "c", "x")], OF_SUITE, ["", ""]),
    ],
)
def test_only_what_has_to_follow_is_said_to_follow(checks: list[Check], blamed: Check | None, words: list[str]) -> None:
    assert check_results.consequences(checks, blamed) == words


#: As the picture travels; those of one place stand beside each other.
WAY = [["host"], ["firmware", "qemu", "guest"], ["database"], ["kerbside"], ["proxy"], ["ryll"]]


def test_the_loss_of_a_part_takes_along_what_is_beside_it_and_further_on() -> None:
    parts = [(place, part) for place, beside in enumerate(WAY) for part in beside]
    for at, lost in parts:
        for place, part in parts:
            checks = [bad("s", lost, "program_ended"), bad("f", part, "x")]
            follows = check_results.consequences(checks, blame("s", lost, "program_ended"))[1]
            assert follows == (OF_S if place >= at else ""), (lost, part)
