"""Which failures of checks follow from another one: only those that have to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.lane.evidence import check_results

ENDED = {"component": "qemu", "code": "program_ended"}


def check(
    name: str, result: str = "pass", suite: str = "smoke", guest: str = "pocket", **detail: Any
) -> dict[str, Any]:
    return {"suite": suite, "guest": guest, "name": name, "result": result, "detail": detail}


def blame(name: str | None, component: str, code: str, phase: str = "smoke") -> dict[str, Any]:
    return {"phase": phase, "check": name, "component": component, "code": code}


@pytest.mark.parametrize(
    ("checks", "blamed", "words"),
    [
        ([check("a")], None, [""]),
        (
            [check("a", "not run"), check("b", "not run")],
            blame(None, "kerbside", "program_ended", "kerbside"),
            ["follows from: phase kerbside"] * 2,
        ),
        ([check("a", "not run")], blame(None, "host", "program_ended", ""), ["follows from: phase before the first"]),
        # the smoke check: what lies further on cannot work, what lies before can
        (
            [
                check("s", "fail", **ENDED),
                check("t", "not run"),
                check("f", "fail", component="qemu", code="qmp_closed"),
                check("r", "fail", component="ryll", code="x"),
            ],
            blame("s", "qemu", "program_ended"),
            ["", "follows from: check s", "follows from: check s", "follows from: check s"],
        ),
        (
            [
                check("b", "fail", component="guest", code="guest_no_banner"),
                check("s", "fail", component="proxy", code="y"),
            ],
            blame("s", "proxy", "proxy_ended"),
            ["", ""],
        ),
        (
            [
                check("s", "fail", component="guest", code="agent_late"),
                check("f", "fail", component="ryll", code="picture_differs"),
            ],
            blame("s", "guest", "agent_late"),
            ["", ""],
        ),
        (
            [check("h", "not run"), check("f", "fail", **ENDED)],
            blame(None, "qemu", "program_ended"),
            ["follows from: phase smoke"] * 2,
        ),
        (
            [check("b", "fail", component="guest", code="x"), check("f", "not run")],
            blame(None, "lane", "task_failed"),
            ["", "follows from: phase smoke"],
        ),
        (
            [
                check("hello", "not run"),
                check("banner", "fail", component="guest", code="guest_no_banner"),
                check("counters", "fail", component="proxy", code="proxy_authorized_nothing"),
                check("path", "fail", component="ryll", code="ryll_not_running"),
            ],
            blame(None, "kerbside", "api_refused"),
            ["follows from: phase smoke", "", "follows from: phase smoke", "follows from: phase smoke"],
        ),
        (
            [check("s", "fail"), check("f", "fail")],
            blame("s", "qemu", "program_ended"),
            ["", ""],
        ),  # without a component nothing is known
        # a suite
        (
            [
                check("a", "fail", "x", component="guest", code="c"),
                check("b", "fail", "x", **ENDED),
                check("c", "fail", "x", **ENDED),
                check("d", "not run", "x"),
            ],
            blame("a", "guest", "c", "suites"),
            ["", "", "follows from: check b", "follows from: check a"],
        ),
        (
            [
                check("a", "fail", "x", component="proxy", code="c"),
                check("b", "fail", "x", component="proxy", code="c"),
                check("c", "fail", "x", component="ryll", code="c"),
            ],
            blame("a", "proxy", "c", "suites"),
            ["", "same failure as: check a", ""],
        ),
        # another suite or guest begins anew, unless nothing of it ran
        (
            [
                check("a", "fail", "x", **ENDED),
                check("a", "fail", "y", **ENDED),
                check("a", "fail", "x", "two", **ENDED),
                check("b", "not run", "z"),
            ],
            blame("a", "qemu", "program_ended", "suites"),
            ["", "", "", "follows from: check a of x on pocket"],
        ),
        (
            [check("a", "fail", "x", **ENDED), check("b", "fail", "x", component="ryll", code="c")],
            blame("a", "qemu", "program_ended", "suites"),
            ["", ""],
        ),
    ],
)
def test_only_what_has_to_follow_is_said_to_follow(
    checks: list[dict[str, Any]], blamed: dict[str, Any] | None, words: list[str]
) -> None:
    assert check_results.consequences(checks, blamed) == words


#: As the picture travels; those of one place stand beside each other.
WAY = [["host"], ["firmware", "qemu", "guest"], ["database"], ["kerbside"], ["proxy"], ["ryll"]]


def test_the_loss_of_a_part_takes_along_what_is_beside_it_and_further_on() -> None:
    parts = [(place, part) for place, beside in enumerate(WAY) for part in beside]
    for at, lost in parts:
        for place, part in parts:
            checks = [
                check("s", "fail", component=lost, code="program_ended"),
                check("f", "fail", component=part, code="x"),
            ]
            follows = check_results.consequences(checks, blame("s", lost, "program_ended"))[1]
            assert follows == ("follows from: check s" if place >= at else ""), (lost, part)
