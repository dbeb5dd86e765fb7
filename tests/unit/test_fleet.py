"""`./lane fleet` and `./lane matrix`: the inventories that they write. Real lanes: tests/playbooks/test_fleet.py."""

import pytest
from prepared import fails

from tools import arguments, fleet
from tools.parsing import UsageError


def test_lanes_take_numbers_and_machines_in_turn():
    made = fleet.inventory(fleet.fleet(3, 20), 20, fleet.machines(["one", "me@two:2222"]), {"lane_guest": "x"})
    hosts = {
        "lane-20": {"lane_id": 20, "ansible_host": "one"},
        "lane-21": {"lane_id": 21, "ansible_host": "two", "ansible_user": "me", "ansible_port": 2222},
        "lane-22": {"lane_id": 22, "ansible_host": "one"},
    }
    assert made == {"lane": {"hosts": hosts, "vars": {"lane_guest": "x"}}}
    alone = fleet.inventory(fleet.fleet(1, 0), 0, fleet.machines([]), {})
    assert alone == {"lane": {"hosts": {"lane-0": {"lane_id": 0, "ansible_connection": "local"}}}}


def test_a_matrix_has_a_lane_for_each_combination():
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


def test_values_with_one_name_are_two_lanes():
    assert len(fleet.matrix({"axes": {"kerbside": ["a/b", "a-b"]}})) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "a matrix has the keys axes, hosts and vars"),
        ({"axes": {}}, "at least one of the axes kerbside"),
        ({"axes": {"kerbside": "0.8.0"}, "colour": 1}, "a matrix has the keys"),
        ({"axes": {"colour": "blue"}}, "there is no axis colour"),
        ({"axes": {"ryll": "0.3.0"}, "hosts": 3}, "hosts is a list"),
        ({"axes": {"ryll": "0.3.0"}, "vars": ["x"]}, "vars a mapping"),
        ({"axes": {"ryll": "0.3.0"}, "vars": {"lane_id": 3}}, "use -e lane_id=N"),
        ({"axes": {"accel": [["kvm"]]}}, "the axis accel has the value"),
        ({"axes": {"kerbside": None}}, "the axis kerbside has the value None"),
        ({"axes": {"accel": "fast"}}, "accel is fast; use auto, kvm, tcg"),
    ],
)
def test_a_matrix_that_cannot_work_is_refused(content, words):
    with pytest.raises(UsageError, match=words):
        fleet.matrix(content)


@pytest.mark.parametrize("name", ["a b", "@host", "host:ssh"])
def test_what_is_no_machine_is_refused(name):
    with pytest.raises(UsageError, match="is not a machine name"):
        fleet.machines([name])


def test_there_are_a_hundred_numbers():
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
def test_the_first_number_is_taken_out_of_the_options(options, expected):
    assert fleet.without_lane_id(options) == expected


@pytest.mark.parametrize("data", [b"\xff", b"[" * 5000, b"axes: {", b"axes: {kerbside: 2020-13-45}", None])
def test_a_matrix_that_cannot_be_read_is_one_sentence(tmp_path, data):
    file = tmp_path / "matrix.yml"
    if data:
        file.write_bytes(data)
    with fails("bad_usage", "lane", str(file)):
        fleet.main(arguments.parse(["matrix", str(file), "--write", str(tmp_path / "made.yml")]))


@pytest.mark.parametrize("more", [["--hosts", ",,"], ["--write", "/"]])
def test_a_fleet_that_cannot_be_written_down(tmp_path, monkeypatch, more):
    monkeypatch.setattr(fleet, "start", lambda *_: pytest.fail("it was started"))
    with fails("bad_usage", "lane"):
        fleet.main(arguments.parse(["fleet", "2", "--write", str(tmp_path / "made.yml"), *more]))
