"""Several lanes in one command: a line for each, and the worst decides."""

from __future__ import annotations

import pytest
from ansible.module_utils.lane.evidence import summary
from ansible.module_utils.lane.evidence.summary import Outcome

GOOD = Outcome("one", "pass", "LANE PASS lane 1: 7 of 7 checks, guest pocket under tcg, 16.2 s")
BAD = Outcome("two (box)", "fail", "LANE FAIL guest: no banner")
LOST = Outcome("three", "error", "LANE FAIL host: three cannot be reached")


def test_each_lane_has_a_line() -> None:
    assert [one.text for one in (GOOD, BAD)] == ["one: PASS lane 1: 7 of 7 checks, guest pocket under tcg, 16.2 s", "two (box): FAIL guest: no banner"]


@pytest.mark.parametrize(
    ("outcomes", "verdict", "line"),
    [
        ([GOOD, GOOD], "pass", "LANE PASS 2 of 2 lanes"),
        ([GOOD, LOST], "error", "LANE FAIL 1 of 2 lanes: three: host: three cannot be reached"),
        ([LOST, GOOD, BAD], "fail", "LANE FAIL 2 of 3 lanes: two (box): guest: no banner; three: host: three cannot be reached"),
        ([GOOD, Outcome("four", *summary.NONE)], "error", "LANE FAIL 1 of 2 lanes: four: lane: ansible-playbook ended without a verdict of this lane"),
    ],
)
def test_the_worst_decides(outcomes: list[Outcome], verdict: str, line: str) -> None:
    assert summary.of_all(outcomes) == (verdict, line)


def test_the_last_line_has_an_end() -> None:
    assert len(summary.of_all([BAD] * 99)[1]) == summary.LONGEST


@pytest.mark.parametrize(("address", "label"), [(None, "one"), ("one", "one"), ("localhost", "one"), ("{{ x }}", "one"), ("box.test", "one (box.test)")])
def test_a_label_names_the_machine_where_the_name_does_not(address: str | None, label: str) -> None:
    assert summary.label("one", address) == label
