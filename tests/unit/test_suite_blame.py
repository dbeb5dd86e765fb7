"""Whom a failed check of a suite blames: its steps, what they expect to fail, and who turns out to be at fault."""

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import engine
from ansible.module_utils.lane.core import secrets
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll.errors import Refused
from ansible.module_utils.lane.protocols.ryll.errors import Unmet as RyllUnmet
from prepared import allowed, executable, unanswered
from suite_lane import MISSING, NAP, TICKET, check, does, entry_of, fake_lane, played

lane = fake_lane


KNOWN = {"code": "serial_line_missing", "reason": "a known defect"}


LINE = "serial_line_missing"


def asks(instead_of: str, step: dict[str, Any]) -> dict[str, Any]:
    """The proxy is to blame instead when that step passes."""
    return {"if_failed": [{"instead_of": instead_of, "blame": "proxy", "steps": [step]}]}


@pytest.mark.parametrize(
    ("step", "more", "component", "code"),
    [
        (MISSING, {}, "guest", LINE),
        ({**MISSING, "blame": "proxy"}, {}, "proxy", LINE),
        (MISSING, {"expected_failure": {**KNOWN, "code": "api_answer_wrong"}}, "guest", LINE),
        (NAP, {"expected_failure": KNOWN}, "lane", "suite_unexpected_pass"),
        (MISSING, asks("guest", NAP), "proxy", LINE),
        (MISSING, asks("guest", MISSING), "guest", LINE),
        (MISSING, asks("ryll", NAP), "guest", LINE),
    ],
)
def test_a_failure_names_its_component(lane, step, more, component, code):
    (entry,) = played(lane, check(step, **more))
    detail = entry["detail"]
    assert (entry["result"], detail["component"], detail["code"]) == ("fail", component, code)
    failed = engine.failure([entry])
    assert failed and (failed.code, failed.component, failed.check) == (code, component, "one")


def test_an_expected_failure_blames_nobody(lane):
    (entry,) = played(lane, check(MISSING, expected_failure=KNOWN))
    assert entry["result"] == "pass"
    assert not {"component", "code"} & set(entry["detail"])
    assert engine.failure([entry]) is None


#: As kerbside 0.8.0 logs a question of its proxy that it could not answer, and as it logs something else.
UNANSWERED = (
    '{"logger_name": "kerbside.rpc.servicer", "ts": "2026-11-26T13:29:36.995Z", "level": "ERROR", '
    '"message": "AuthorizeConnection failed: no ticket"}\n'
)
DENIED = UNANSWERED.replace("ERROR", "WARNING")


@pytest.mark.parametrize("blamed", ["proxy", "ryll", "qemu", "guest"])
@pytest.mark.parametrize(("before", "during"), [("", UNANSWERED), (None, UNANSWERED), (UNANSWERED, ""), ("", DENIED)])
def test_a_question_of_the_proxy_that_kerbside_cannot_answer_is_its_fault(lane, blamed, before, during):
    log = Path(lane.log("daemon"))
    if before is not None:
        log.write_text(before)

    def speak() -> None:
        with log.open("a") as file:
            file.write(during)

    detail = entry_of(lane, {"speak": {}}, {**MISSING, "blame": blamed}, actors={"speak": does(speak)})["detail"]
    found = (detail["component"], detail["code"])
    if during == UNANSWERED and blamed != "guest":
        assert (*found, detail["evidence"]) == ("kerbside", "control_service_failed", str(log))
        assert "did not say 'no'" in detail["cause"] and "AuthorizeConnection failed: no ticket" in detail["cause"]
    else:
        assert found == (blamed, LINE)


#: A python of kerbside's whose control service does not answer who asks about this token.
SLOW = f'grep -q \'"token": "{{}}"\' "$3" || exec echo null; {unanswered("DEADLINE_EXCEEDED")}'


@pytest.mark.parametrize("blamed", ["proxy", "ryll", "qemu", "guest"])
@pytest.mark.parametrize(
    ("says", "api", "silent"),
    [
        (unanswered("DEADLINE_EXCEEDED"), True, True),
        (unanswered("UNAVAILABLE"), True, True),
        (SLOW.format("new"), True, True),
        (SLOW.format("old"), True, False),
        (SLOW.format("old"), False, True),
        ("echo null", True, False),
        (unanswered("INTERNAL"), True, False),
        ("exit 1", True, False),
    ],
)
def test_a_control_service_that_answers_nobody_is_kerbsides_fault(lane, monkeypatch, blamed, says, api, silent):
    executable(Path(lane.place.database_python), says)
    secrets.register(lane.place.lane_dir, "console_token", "old")

    def console() -> None:
        if not api:
            raise LaneError("suite_no_console", "kerbside", "no")
        secrets.register(lane.place.lane_dir, "console_token", "new")

    monkeypatch.setattr(lane, "console", console)
    detail = entry_of(lane, {**MISSING, "blame": blamed})["detail"]
    kerbsides = silent and blamed != "guest"
    found = ("kerbside", "control_service_silent") if kerbsides else (blamed, LINE)
    assert (detail["component"], detail["code"]) == found


@pytest.mark.parametrize(
    ("elsewhere", "ticket", "sources", "api", "code"),
    [
        (0, TICKET, 5, True, None),
        (5, TICKET, 0, True, "spice_unreachable"),
        (5, TICKET, 5, True, None),  # as its sources say
        (0, "other", 0, True, "ticket_refused"),
        (5, "other", 0, False, None),  # the token may be of another console
    ],
)
def test_a_kerbside_that_sends_its_proxy_elsewhere_is_at_fault(
    lane, monkeypatch, elsewhere, ticket, sources, api, code
):
    Path(lane.place.lane_dir, "sources.yaml").write_text(f"  insecure_port: {lane.place.spice_port + sources}\n")
    executable(Path(lane.place.database_python), allowed(lane.place.spice_port + elsewhere, ticket))

    def console() -> dict[str, str]:
        if not api:
            raise LaneError("suite_no_console", "kerbside", "no")
        return {"type": "spice"}

    monkeypatch.setattr(lane, "console", console)
    detail = entry_of(lane, {**MISSING, "blame": "proxy"})["detail"]
    assert (detail["component"], detail["code"]) == (("kerbside", code) if code else ("proxy", LINE))


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
def test_a_step_of_ryll_blames_another_only_for_what_it_did_not_see(lane, step, error, component, evidence):
    def fail(*_: Any) -> None:
        raise error

    lane.talk.on_play = fail
    detail = entry_of(lane, {"connect": {}}, step, actors={"broken": does(fail)})["detail"]
    assert detail["component"] == component
    assert detail["evidence"] == evidence or detail["evidence"].endswith(f"/{evidence}")
