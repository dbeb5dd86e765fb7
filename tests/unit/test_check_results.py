"""Which failures of checks follow from another one: only those that have to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.lane.evidence import check_results

ENDED = {"component": "qemu", "code": "program_ended"}


def check(name: str, result: str = "pass", suite: str = "smoke", guest: str = "pocket", **detail: Any) -> dict:
    return {"suite": suite, "guest": guest, "name": name, "result": result, "detail": detail}


def blame(name: str | None, component: str, code: str, phase: str = "smoke") -> dict[str, Any]:
    return {"phase": phase, "check": name, "component": component, "code": code}


def failed(name: str, component: str, code: str, suite: str = "smoke") -> dict:
    return check(name, "fail", suite, component=component, code=code)


QEMU_ENDED = ("qemu", "program_ended")
PROGRAM, PHASE = ("kerbside", "program_ended"), "follows from: phase"


@pytest.mark.parametrize(
    ("checks", "blamed", "words"),
    [
        ([check("a")], None, [""]),
        ([check("a", "not run"), check("b", "not run")], blame(None, *PROGRAM, "kerbside"), [f"{PHASE} kerbside"] * 2),
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
        ([failed("b", "guest", "x"), failed("s", "proxy", "y")], blame("s", "proxy", "proxy_ended"), ["", ""]),
        ([failed("s", "guest", "c"), failed("f", "ryll", "picture_differs")], blame("s", "guest", "c"), ["", ""]),
        ([check("h", "not run"), check("f", "fail", **ENDED)], blame(None, *QEMU_ENDED), [f"{PHASE} smoke"] * 2),
        ([failed("b", "guest", "x"), check("f", "not run")], blame(None, "lane", "failed"), ["", f"{PHASE} smoke"]),
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
        # Without a component nothing is known.
        ([check("s", "fail"), check("f", "fail")], blame("s", "qemu", "program_ended"), ["", ""]),
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
            [check("a", "fail", "x", **ENDED), failed("b", "ryll", "c", "x")],
            blame("a", *QEMU_ENDED, "suites"),
            [""] * 2,
        ),
    ],
)
def test_only_what_has_to_follow_is_said_to_follow(checks: list[dict], blamed: dict | None, words: list[str]) -> None:
    assert check_results.consequences(checks, blamed) == words
