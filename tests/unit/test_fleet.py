"""`./lane fleet` and `./lane matrix`: the inventories that they write. Real lanes: tests/playbooks/test_fleet.py."""

from __future__ import annotations

from typing import Any

import pytest

from tools import fleet
from tools.parsing import UsageError


def test_lanes_take_numbers_and_machines_in_turn() -> None:
    made = fleet.inventory(fleet.fleet(3, 20), 20, fleet.machines(["one", "me@two:2222"]), {"lane_guest": "x"})
    hosts = {
        "lane-20": {"lane_id": 20, "ansible_host": "one"},
        "lane-21": {"lane_id": 21, "ansible_host": "two", "ansible_user": "me", "ansible_port": 2222},
        "lane-22": {"lane_id": 22, "ansible_host": "one"},
    }
    assert made == {"lane": {"hosts": hosts, "vars": {"lane_guest": "x"}}}
    alone = fleet.inventory(fleet.fleet(1, 0), 0, fleet.machines([]), {})
    assert alone == {"lane": {"hosts": {"lane-0": {"lane_id": 0, "ansible_connection": "local"}}}}


def test_a_matrix_has_a_lane_for_each_combination() -> None:
    ryll = "git+https://h.test/o/ryll@main"
    axes = {"kerbside": ["0.8.0", "0.7.0"], "ryll": ["0.3.0", ryll], "accel": "tcg", "suites": [["input", "agent"]]}
    lanes = fleet.matrix({"axes": axes})
    assert len(lanes) == 4
    assert lanes["kerbside-0.7.0_ryll-git-https-h.test-o-ryll-main_accel-tcg_suites-input-agent"] == {
        "lane_kerbside_origin": "0.7.0",
        "lane_ryll_origin": ryll,
        "kvm_probe_policy": "never",
        "lane_suites": ["input", "agent"],
    }


def test_values_with_one_name_are_two_lanes() -> None:
    assert len(fleet.matrix({"axes": {"kerbside": ["a/b", "a-b"]}})) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "a matrix has the keys axes, hosts and vars"),
        ({"axes": {}}, "at least one of the axes kerbside"),
        ({"axes": {"kerbside": "0.8.0"}, "colour": 1}, "a matrix has the keys"),
        ({"axes": {"colour": "blue"}}, "there is no axis colour"),
        ({"axes": {"accel": "fast"}}, "accel is fast; use auto, kvm, tcg"),
    ],
)
def test_a_matrix_that_cannot_work_is_refused(content: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fleet.matrix(content)


@pytest.mark.parametrize("name", ["a b", "@host", "host:ssh"])
def test_what_is_no_machine_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no machine"):
        fleet.machines([name])


def test_there_are_a_hundred_numbers() -> None:
    with pytest.raises(UsageError, match="lane ids go from 90 to 99"):
        fleet.inventory(fleet.fleet(11, 90), 90, [fleet.HERE], {})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-e", "lane_id=7", "-v"], (7, ["-v"])),
        (["--extra-vars", "lane_id=7", "-e", "lane_guest=pocket"], (7, ["-e", "lane_guest=pocket"])),
        (["-e", "lane_guest=pocket lane_id=7"], (7, ["-e", "lane_guest=pocket"])),
        (["-e", "other_lane_id=12 lane_id=1"], (1, ["-e", "other_lane_id=12"])),
        (["-e", "lane_id=2 lane_id=3"], (3, [])),
        (["--check"], (0, ["--check"])),
    ],
)
def test_the_first_number_is_taken_out_of_the_options(options: list[str], expected: tuple[int, list[str]]) -> None:
    assert fleet.without_lane_id(options) == expected
