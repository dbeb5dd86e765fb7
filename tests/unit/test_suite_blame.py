"""Whom a failed check of a suite blames: its steps, what they expect to fail, and who turns out to be at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import engine, plan
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll.errors import Refused
from ansible.module_utils.lane.protocols.ryll.errors import Unmet as RyllUnmet
from suite_lane import MISSING, Lane, check, played


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


KNOWN = {"code": "serial_line_missing", "reason": "a known defect"}


@pytest.mark.parametrize(
    ("steps", "more", "result", "component", "code"),
    [
        ([MISSING], {}, "fail", "guest", "serial_line_missing"),
        ([{**MISSING, "blame": "proxy"}], {}, "fail", "proxy", "serial_line_missing"),
        ([MISSING], {"expected_failure": KNOWN}, "pass", None, None),
        (
            [MISSING],
            {"expected_failure": {**KNOWN, "code": "api_answer_wrong"}},
            "fail",
            "guest",
            "serial_line_missing",
        ),
        ([{"wait": {"seconds": 0.01}}], {"expected_failure": KNOWN}, "fail", "lane", "suite_unexpected_pass"),
        (
            [MISSING],
            {"if_failed": [{"instead_of": "guest", "blame": "proxy", "steps": [{"wait": {"seconds": 0.01}}]}]},
            "fail",
            "proxy",
            "serial_line_missing",
        ),
        (
            [MISSING],
            {"if_failed": [{"instead_of": "guest", "blame": "proxy", "steps": [MISSING]}]},
            "fail",
            "guest",
            "serial_line_missing",
        ),
        (
            [MISSING],
            {"if_failed": [{"instead_of": "ryll", "blame": "proxy", "steps": [{"wait": {"seconds": 0.01}}]}]},
            "fail",
            "guest",
            "serial_line_missing",
        ),
    ],
)
def test_a_failure_names_its_component(
    lane: Lane, steps: list[Any], more: dict[str, Any], result: str, component: str | None, code: str | None
) -> None:
    (entry,) = played(lane, check(*steps, **more))
    assert (entry["result"], entry["detail"].get("component"), entry["detail"].get("code")) == (result, component, code)
    failed = engine.failure([entry])
    assert (
        failed is None
        if result == "pass"
        else failed is not None and (failed.code, failed.component, failed.check) == (code, component, "one")
    )


#: As kerbside 0.8.0 logs a question of its proxy that it could not answer, and as it logs something else.
UNANSWERED = '{"logger_name": "kerbside.rpc.servicer", "ts": "2026-11-26T13:29:36.995Z", "level": "ERROR", "message": "AuthorizeConnection failed: no ticket"}\n'
DENIED = UNANSWERED.replace("ERROR", "WARNING")


@pytest.mark.parametrize("blamed", ["proxy", "ryll", "guest"])
@pytest.mark.parametrize(("before", "during"), [("", UNANSWERED), (None, UNANSWERED), (UNANSWERED, ""), ("", DENIED)])
def test_a_question_of_the_proxy_that_kerbside_cannot_answer_is_its_fault(
    lane: Lane, blamed: str, before: str | None, during: str
) -> None:
    log = Path(lane.log("daemon"))
    if before is not None:
        log.write_text(before)

    def speak(*_: Any) -> None:
        with log.open("a") as file:
            file.write(during)

    (entry,) = played(lane, check({"speak": {}}, {**MISSING, "blame": blamed}), actors={"speak": plan.Actor({}, speak)})
    detail = entry["detail"]
    if during == UNANSWERED and blamed != "guest":
        assert (detail["component"], detail["code"], detail["evidence"]) == (
            "kerbside",
            "control_service_failed",
            str(log),
        )
        assert "did not say 'no'" in detail["cause"] and "AuthorizeConnection failed: no ticket" in detail["cause"]
    else:
        assert (detail["component"], detail["code"]) == (blamed, "serial_line_missing")


SEEN = LaneError("ryll_refused", "ryll", "it refused", evidence="/its/own")


@pytest.mark.parametrize(
    ("step", "error", "component", "evidence"),
    [
        ({"hello": {}, "blame": "guest"}, RyllUnmet("no"), "guest", "logs/ryll.log"),
        ({"hello": {}}, RyllUnmet("no"), "ryll", "logs/ryll.log"),
        ({"hello": {}, "blame": "guest"}, Refused("hello", "busy", "no"), "ryll", "logs/ryll.log"),
        ({"hello": {}}, SEEN, "ryll", "/its/own"),
        ({"broken": {}}, LaneError("ryll_refused", "database", "x"), "database", None),
    ],
)
def test_a_step_of_ryll_blames_another_only_for_what_it_did_not_see(
    lane: Lane, step: Any, error: LaneError, component: str, evidence: str | None
) -> None:
    def fail(*_: Any) -> None:
        raise error

    lane.talk.on_play = fail
    (entry,) = played(lane, check({"connect": {}}, step), actors={"broken": plan.Actor({}, fail)})
    found = entry["detail"]["evidence"]
    assert entry["detail"]["component"] == component and (found == evidence or found.endswith(f"/{evidence}"))
