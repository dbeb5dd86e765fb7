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
        (["--skip-tags", "smok"], "no_such_tag", f"no task has the tag smok (did you mean smoke?); tags are {TAGS}"),
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


FILES = {
    "torn.yml": b"guests: [",
    "list.yml": b"[1]",
    "texts.yml": b"guests: [pocket]",
    "maybe.yml": b"guests: {pocket: {image: x, banner: I am up, agent: maybe}}",
    "other.yml": b"guests: {other: {image: x, banner: I am up, agent: false}}",
    "suite.yml": b"suite: \xff",
}
UNUSABLE = "the value of a variable cannot be used"
BAD = ("bad_input", "environment")
#: Hosts of an inventory: what is wrong with each, words of its refusal, its code and component. `folder` has FILES.
VALUES: dict[str, Any] = {
    "misspelled": ({"lane_guset": "x"}, "there is no variable lane_guset", *BAD),
    "internal": ({"lane_plan": "x"}, "there is no variable lane_plan", *BAD),
    "misspelled-role": ({"kvm_prob_policy": "x"}, "there is no variable kvm_prob_policy", *BAD),
    "scale": ({"lane_time_scale": -1}, "lane_time_scale", *BAD),
    "zero": ({"lane_start_limit": 0}, "lane_start_limit", *BAD),
    "negative": ({"lane_heartbeat": -1}, "lane_heartbeat", *BAD),
    "infinite": ({"lane_boot_limit": float("inf")}, "lane_boot_limit", *BAD),
    "memory": ({"sextant_vm_memory": -1}, "sextant_vm_memory", *BAD),
    "vga": ({"sextant_vm_vga": "nosuch"}, "sextant_vm_vga", *BAD),
    "console": ({"lane_console_source": "a/b"}, "lane_console_source", *BAD),
    "uuid": ({"lane_console_uuid": "x"}, "lane_console_uuid", *BAD),
    "address": ({"lane_address": "127.0.0.2"}, "lane_address", *BAD),
    "home": ({"lane_dir": "~/lane"}, "lane_dir", *BAD),
    "null": ({"lane_dir": None}, "lane_dir is None", *BAD),
    "empty": ({"lane_cache_dir": ""}, "lane_cache_dir", *BAD),
    "relative": ({"lane_cache_dir": "cache"}, "lane_cache_dir", *BAD),
    "port": ({"lane_port_base": "x"}, "lane_port_base", *BAD),
    "forks": ({"lane_fork_modules": "x"}, "lane_fork_modules", *BAD),
    "list": ({"lane_guest": ["pocket"]}, UNUSABLE, *BAD),
    "undefined": ({"lane_keep": "{{ nobody }}"}, UNUSABLE, *BAD),
}
NOT_THERE: dict[str, Any] = {
    "checks": ({"lane_checks": []}, "lane_checks", *BAD),
    "guests": ({"lane_guests": []}, "lane_guests", *BAD),
    "file": ({"lane_guests_file": "{{ folder }}/none.yml"}, "none.yml", "guest_entry_invalid", "environment"),
    "yaml": ({"lane_guests_file": "{{ folder }}/torn.yml"}, "torn.yml", "guest_entry_invalid", "environment"),
    "entries": ({"lane_guests_file": "{{ folder }}/list.yml"}, "guests.yml", "guest_entry_invalid", "environment"),
    "texts": ({"lane_guests_file": "{{ folder }}/texts.yml"}, "guests.yml", "guest_entry_invalid", "environment"),
    "maybe": ({"lane_guests_file": "{{ folder }}/maybe.yml"}, "pocket: agent", "guest_entry_invalid", "environment"),
    "pocket": ({"lane_guests_file": "{{ folder }}/other.yml"}, "pocket", "guest_unknown", "environment"),
    "origin": ({"lane_ryll_origin": "../gone"}, "lane_ryll_origin", "origin_not_there", "environment"),
    "requirement": ({"lane_kerbside_origin": "kerbsid>=1"}, "lane_kerbside_origin", "origin_unusable", "environment"),
    "ref": ({"lane_proxy_origin": "git+https://h.test/x@--x=y"}, "lane_proxy_origin", "no_such_ref", "environment"),
    "suite": ({"lane_suites": ["nosuch"]}, "no suite nosuch", "suite_unknown", "lane"),
    "number": ({"lane_suites": [5]}, "no suite 5", "suite_unknown", "lane"),
    "text": ({"lane_suites": "{{ folder }}/suite.yml"}, "suite.yml", "suite_file_invalid", "lane"),
}
HERE = {"ansible_connection": "local", "lane_dir": "{{ folder }}/dir-{{ inventory_hostname }}"}
SAME = {"ansible_host": "same.invalid", "lane_dir": "{{ folder }}/dir-{{ inventory_hostname }}"}
#: Lanes may not share what each needs alone, as templates and defaults say in the end.
SHARED: dict[str, Any] = {
    "a": ({**HERE, "lane_id": "{{ own_id + 0 }}"}, "a and b have the same lane_id, ", "same_number", "lane"),
    "b": ({**HERE, "ansible_host": "::1"}, "b and a have the same lane_id, ", "same_number", "lane"),
    "c": ({**SAME, "lane_id": 1, "lane_dir": "/d"}, "c and d have the same lane_dir, ", "same_directory", "lane"),
    "d": ({**SAME, "lane_id": 2, "lane_dir": "/d/."}, "d and c have the same lane_dir, ", "same_directory", "lane"),
    "e": ({**SAME, "lane_id": 3, "lane_artifacts_dir": "{{ folder }}/both"}, "e and f have", "same_directory", "lane"),
    "f": ({**SAME, "lane_id": 4, "lane_artifacts_dir": "{{ folder }}/both/"}, "f and e have", "same_directory", "lane"),
}


@pytest.mark.parametrize("wrong", [VALUES, NOT_THERE, SHARED], ids=["values", "not there", "shared"])
def test_each_lane_of_an_inventory_is_refused_for_its_own_reason(place, wrong):
    """None of the machines is asked, for nobody can reach them. Group variables of the inventory count, too."""
    common = {
        "folder": str(place.base),
        "own_id": place.id,
        "tls_of_another_playbook": 1,
        "ansible_host": "{{ inventory_hostname }}.invalid",
        "lane_id": "{{ own_id }}",
        "lane_dir": str(place.dir),
        "lane_guests": ["pocket"],
        "lane_artifacts_dir": f"{place.artifacts}/{{{{ inventory_hostname }}}}",
        "lane_summary_dir": str(place.base),
    }
    hosts = {name: given for name, (given, *_) in wrong.items()}
    inventory = place.base / "hosts.yml"
    inventory.write_text(json.dumps({"lane": {"vars": common, "hosts": hosts}}), encoding="utf-8")
    for name, data in FILES.items():
        (place.base / name).write_bytes(data)
    command = [str(ROOT / "lane"), "-i", str(inventory)]
    ran = Started(command, place.environment())
    assert ran.wait(120) == 2, ran.text
    assert "tls_of_another_playbook" not in ran.text
    said = {line.split()[0].rstrip(":"): line for line in ran.lines if ": FAIL " in line}
    for name, (_, words, code, component) in wrong.items():
        folder = place.base / "both" if name in ("e", "f") else place.artifacts / name
        blame = json.loads((folder / "result.json").read_text())["blame"]
        assert (blame["code"], blame["component"]) == (code, component), f"{name}: {blame}"
        assert f": FAIL {component}: " in said[name] and words in said[name], said[name]
    if wrong is SHARED:
        alone = Started([*command, "--limit", "b", "--check"], place.environment())
        assert alone.wait(60) == 0, alone.text
    assert place.traces() == []


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


def test_a_wrong_variable_of_the_command_refuses_each_lane_of_an_inventory(place):
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
