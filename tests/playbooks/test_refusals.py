"""Commands that cannot work are refused before anything starts: a code and one sentence, in result.json as well."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import private_dir
from whole_lanes import ROOT, Started

from tools.measure import descendants

FIRST = "Check the command and the inputs of all roles"
CLAIM = "Claim the lane"
TAGS = "kvm_probe, deps, sextant_vm, ryll_build, tls, kerbside, smoke, "


def kept(lane: Any) -> None:
    """Artifacts as a green run leaves them."""
    lane.artifacts.mkdir(exist_ok=True)
    for name in ("result.json", "junit.xml", "report.html", "screenshot.png"):
        (lane.artifacts / name).write_text("green")


def refused(lane: Any, played: Any, code: str, component: str, *words: str) -> None:
    """Nothing was started; last line and result.json say why, and nothing of an earlier run could pass for this one."""
    blame = lane.result["blame"]
    assert played.rc == 2, played
    assert (lane.result["verdict"], blame["code"], blame["component"]) == ("error", code, component), blame
    assert [word for word in words if word not in blame["cause"]] == [], blame
    assert played.last == f"LANE FAIL {component}: {blame['cause']}"
    assert "green" not in [path.read_text(errors="replace") for path in lane.artifacts.glob("*.*")]
    assert not lane.dir.exists()
    assert lane.marked() == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--tags", "smok"], "no_such_tag", f"no task has the tag smok (did you mean smoke?); tags are {TAGS}"),
        (["--tags", "smoke,untagged"], "no_such_tag", f"no task has the tag untagged; tags are {TAGS}"),
        (["--skip-tags", "smok"], "no_such_tag", "tag smok "),
        (["--skip-tags", "smoke"], "skips_needed", "--skip-tags smoke skips what the other roles need"),
        (["--skip-tags", "always"], "skips_needed", "--skip-tags always"),
        (["--tags", "teardown", "--skip-tags", "teardown"], "nothing_to_do", "leaves nothing to do"),
        (["--start-at-task", "Start kerbside"], "skips_needed", "--start-at-task 'Start kerbside' skips"),
        (["--step"], "no_terminal", "stdin is not a terminal"),
        (["-i", "/dev/null"], "nothing_to_do", "no host of the inventory"),
        (["--tags", "smoke,evidence"], "lane_not_running", "is not running; start it with ./lane up -e lane_id="),
        (["--tags", "smoke", "-e", "lane_suites=input"], "suites_not_played", "lane_suites asks for suites, and"),
        (["--tags", "smoke", "-e", "lane_suite_files=x"], "suites_not_played", "lane_suite_files asks for suites"),
        (["--tags", "suites", "-e", "lane_suites=input"], "lane_not_running", "is not running"),
        # the value of a variable cannot be found, so that role_inputs never runs
        (["-e", '{"lane_summary_dir": "{{ nothing }}"}'], "task_failed", "nothing"),
    ],
)
def test_options_that_skip_what_is_needed(lane, options, code, words):
    kept(lane)
    refused(lane, lane.run("playbooks/lane.yml", *options), code, "lane", words)
    assert (Path(f"{lane.artifacts}.previous") / "result.json").read_text() == "green"


def test_a_suite_file_that_is_no_text(lane, tmp_path):
    file = tmp_path / "mine.yml"
    file.write_bytes(b"suite: \xff")
    refused(lane, lane.run("playbooks/lane.yml", lane_suites=str(file)), "suite_file_invalid", "lane", str(file))


def test_deps_may_be_told_which_suites_to_install_for(lane):
    lane.good("playbooks/lane.yml", "--tags", "deps", "--check", "-e", "lane_suites=clients")


def test_a_lane_that_is_not_running_is_taken_down_without_a_verdict(lane):
    kept(lane)
    lane.good("playbooks/lane.yml", "--tags", "teardown")
    assert (lane.artifacts / "result.json").read_text() == "green"


@pytest.mark.parametrize("playbook", ["teardown", "look"])
def test_a_command_that_judges_nothing_leaves_the_results_alone(lane, playbook):
    kept(lane)
    played = lane.run(f"playbooks/{playbook}.yml", "-i", "/dev/null")
    assert (played.rc, played.last.split(":")[0]) == (2, "LANE FAIL lane"), played
    assert (lane.artifacts / "result.json").read_text() == "green"


def test_a_teardown_with_nothing_to_do_is_no_success(lane):
    for options in (["--tags", "smok"], ["--start-at-task", "TYPO"], ["--skip-tags", "teardown"]):
        played = lane.run("playbooks/teardown.yml", *options)
        assert (played.rc, played.last.split(":")[0]) == (2, "LANE FAIL lane"), played


@pytest.mark.parametrize(
    ("shared", "code"),
    [
        ({"lane_id": "{{ ID + 0 }}"}, "same_number"),
        ({"lane_dir": "DIR"}, "same_directory"),
        ({"lane_artifacts_dir": "DIR-a/{{ '' if inventory_hostname == 'one' else '.' }}"}, "same_directory"),
    ],
)
def test_lanes_that_share_what_each_needs_alone(lane, tmp_path, shared, code):
    """As templates and defaults say in the end, not as the inventory spells it."""
    inventory = tmp_path / "hosts.yml"
    hosts = {name: {"ansible_connection": "local"} for name in ("one", "two")}
    inventory.write_text(json.dumps({"lane": {"hosts": hosts}}), encoding="utf-8")
    own = {"lane_id": "{{ ID - (inventory_hostname == 'one') }}", "lane_dir": "DIR-{{ lane_id }}"}
    own |= {"lane_artifacts_dir": f"{lane.artifacts}/{{{{ inventory_hostname }}}}", **shared}
    own = {name: value.replace("ID", str(lane.id)).replace("DIR", str(lane.dir)) for name, value in own.items()}
    both = lane.run("playbooks/lane.yml", "-i", str(inventory), **own)
    assert both.rc == 2, both
    assert [result["lane_failure"]["code"] for result in both.results(FIRST)] == [code, code]
    assert both.last.startswith("LANE FAIL 2 of 2 lanes: one: lane: one and two have the same ")
    lane.good("playbooks/lane.yml", "-i", str(inventory), "--limit", "two", "--check", **own)


def test_names_work_with_any_inventory_and_every_inventory_wins(lane, tmp_path):
    """Also its group variables in the file itself, which lose against everything but the defaults of roles."""
    inventory = tmp_path / "hosts.yml"
    group = {"hosts": {"box": {"ansible_connection": "local"}}, "vars": {"lane_guest": "nobody", "lane_lease": 0}}
    group["vars"]["tls_of_another_playbook"] = 1
    inventory.write_text(json.dumps({"lane": group}), encoding="utf-8")
    refused(lane, lane.run("playbooks/lane.yml", "-i", str(inventory)), "bad_input", "environment", "lane_lease is 0")


@pytest.mark.parametrize("name", ["lane_guset", "lane_plan", "kvm_prob_policy"])
def test_a_variable_of_an_inventory_that_nothing_knows(lane, tmp_path, name):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"lane": {"hosts": {"box": {"ansible_connection": "local", name: "x"}}}}))
    played = lane.run("playbooks/lane.yml", "-i", str(inventory))
    refused(lane, played, "bad_input", "environment", f"there is no variable {name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lane_time_scale", -1),
        ("lane_start_limit", 0),
        ("lane_boot_limit", float("inf")),
        ("sextant_vm_memory", -1),
        ("sextant_vm_vga", "nosuch"),
        ("lane_console_source", "a/b"),
        ("lane_console_uuid", "x"),
        ("lane_address", "127.0.0.2"),
        ("lane_dir", "~/lane"),
        ("lane_dir", None),
        ("lane_cache_dir", ""),
        ("lane_cache_dir", "cache"),
        ("lane_port_base", "x"),
        ("lane_fork_modules", "x"),
        ("lane_guest", ["pocket"]),
        ("lane_keep", "{{ nobody }}"),
    ],
)
def test_a_value_that_no_lane_can_work_with(lane, name, value):
    words = "the value of a variable cannot be used" if name in ("lane_guest", "lane_keep") else name
    refused(lane, lane.run("playbooks/lane.yml", **{name: value}), "bad_input", "environment", words)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, "guest_entry_invalid", "guests.yml"),
        ("guests: [", "guest_entry_invalid", "guests.yml"),
        ("[1]", "guest_entry_invalid", "guests.yml"),
        ("guests: [pocket]", "guest_entry_invalid", "guests.yml"),
        ("guests: {pocket: {image: x, banner: I am up, agent: maybe}}", "guest_entry_invalid", "guest pocket: agent"),
        ("guests: {other: {image: x, banner: I am up, agent: false}}", "guest_unknown", "pocket"),
    ],
)
def test_a_file_of_guests_that_is_unusable(lane, tmp_path, text, code, words):
    file = tmp_path / "guests.yml"
    if text:
        file.write_text(text)
    played = lane.run("playbooks/lane.yml", lane_guests_file=str(file))
    assert played.results()[-1]["task"] == FIRST
    refused(lane, played, code, "environment", words)


@pytest.mark.parametrize(
    ("given", "code", "component", "words"),
    [
        ({"lane_suites": ["nosuch"]}, "suite_unknown", "lane", "no suite nosuch"),
        ({"lane_suites": [5]}, "suite_unknown", "lane", "no suite 5"),
        ({"lane_checks": []}, "bad_input", "environment", "lane_guests"),
        ({"lane_guest": "", "lane_guests": []}, "bad_input", "environment", "lane_guests"),
        ({"lane_ryll_origin": "../gone"}, "origin_not_there", "environment", "lane_ryll_origin"),
        ({"lane_kerbside_origin": "kerbsid>=1"}, "origin_unusable", "environment", "lane_kerbside_origin"),
        ({"lane_proxy_origin": "git+https://h.test/x@--x=y"}, "no_such_ref", "environment", "lane_proxy_origin"),
    ],
)
def test_what_is_not_there_is_told(lane, given, code, component, words):
    kept(lane)
    refused(lane, lane.run("playbooks/lane.yml", **given), code, component, words)


def test_whatever_is_wrong_with_the_inputs_is_told_at_once(lane):
    kept(lane)
    wrong = {"kvm_probe_policy": "sometimes", "kerbside_start_limit": "soon", "kerbside_environment": 3}
    wrong |= {"kerbsid_origin": "0.8.0", "tls_colour": "blue"}
    played = lane.run("playbooks/lane.yml", **wrong)
    assert [result["task"] for result in played.results()][-1] == FIRST, "something ran after it"
    words = (
        "there is no variable kerbsid_origin (did you mean kerbside_origin?)",
        "there is no variable tls_colour;",
        "value of kvm_probe_policy must be one of: auto, require, never, got: sometimes",
        "argument 'kerbside_start_limit' is of type str, not float",
        "argument 'kerbside_environment' is of type int, not dict",
    )
    refused(lane, played, "bad_input", "environment", *words)


def test_artifacts_that_cannot_be_written(lane):
    played = lane.run("playbooks/lane.yml", lane_artifacts_dir="/proc/nothing")
    assert played.result(CLAIM)["lane_failure"]["code"] == "not_writable"
    assert "cannot write to /proc/nothing" in played.last


def test_a_running_lane_is_checked_with_its_own_ports_and_stopped_in_its_own_place(lane):
    lane.good("playbooks/lane.yml", "--tags", "tls")
    (lane.artifacts / "result.json").write_text("green")
    run_id = private_dir.read_run(str(lane.dir)).run_id
    other = lane.run("playbooks/lane.yml", "--tags", "tls", lane_proxy_port=17890)
    assert other.result(CLAIM)["lane_failure"]["code"] == "other_ports"
    assert f"started with lane_proxy_port {17900 + 10 * lane.id}, but this command has 17890" in other.last
    elsewhere = lane.run("playbooks/teardown.yml", lane_dir=f"{lane.dir}-other")
    assert elsewhere.rc == 2
    assert elsewhere.last.startswith(f"LANE FAIL lane: lane {lane.id} runs in {lane.dir}, not in {lane.dir}-other; ")
    assert private_dir.read_run(str(lane.dir)).run_id == run_id
    assert lane.marked()


def test_ctrl_c_at_any_moment_is_one_sentence(place):
    for delay in (0.1, 0.4, 0.8, 1.5, 2.5):
        run = Started(place.script("--check"), place.environment())
        with suppress(subprocess.TimeoutExpired):
            run.process.wait(delay)
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGINT)
        status = run.wait(60)
        assert "Traceback" not in run.text, f"after {delay} s: {run.text}"
        assert status in (0, 128 + signal.SIGINT, -signal.SIGINT), run.text  # done before, stopped, or still sh
        last_line = run.lines[-1] if run.lines else "lane: stopped by a signal"  # sh had not read the script yet
        stopped = ("LANE FAIL lane: stopped by a signal", "lane: stopped by a signal")
        assert status == 0 or last_line.startswith(stopped), run.text


def test_a_run_that_is_stopped_before_its_first_task_leaves_no_earlier_result(place):
    kept(place)
    run = Started(place.script(), place.environment())
    run.until(lambda: [p for p in descendants(run.process.pid) if p.name.startswith("python")])
    run.process.terminate()
    assert run.wait(60) == 128 + signal.SIGTERM, run.text
    assert (place.result["verdict"], place.result["blame"]["code"]) == ("error", "aborted")
    assert "stopped by a signal (SIGTERM)" in (place.artifacts / "report.html").read_text()
    assert (place.artifacts.with_name(f"{place.artifacts.name}.previous") / "result.json").read_text() == "green"


def test_each_lane_of_an_inventory_is_refused(place):
    inventory, other = place.base / "two.yml", place.base / "other"
    one = {"ansible_connection": "local", "lane_id": place.id}
    two = {**one, "lane_id": (place.id + 1) % 100, "lane_artifacts_dir": str(other)}
    inventory.write_text(
        json.dumps({"lane": {"hosts": {"a": {**one, "lane_artifacts_dir": str(place.artifacts)}, "b": two}}})
    )
    ran = Started([str(ROOT / "lane"), "-i", str(inventory), "-e", "lane_gest=x"], place.environment())
    assert ran.wait(60) == 2, ran.text
    results = [json.loads((folder / "result.json").read_text()) for folder in (place.artifacts, other)]
    assert [result["lane_id"] for result in results] == [one["lane_id"], two["lane_id"]]
    assert {result["blame"]["code"] for result in results} == {"bad_input"}
