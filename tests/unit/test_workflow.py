"""The workflow's inputs on their way to Ansible, and what the linters cannot see in the workflow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/direct-qemu-functional.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in WORKFLOW["jobs"]["lane"]["steps"]}
INPUTS = STEPS["Write the inputs as extra vars"]["env"]
ON = WORKFLOW[True]  # what YAML 1.1 makes of the word on
SHELL, SSH = "kerbside>=0.8; echo $(id) 'x' \"y\"", "git+ssh://git@host/ryll"


def write_vars(folder: Path, **inputs: str) -> tuple[int, str, Path]:
    file = folder / "vars.json"
    command = [sys.executable, str(ROOT / ".github/lane_vars.py"), str(file)]
    ran = subprocess.run(command, env={**os.environ, **inputs}, capture_output=True, text=True)
    return ran.returncode, ran.stderr, file


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, {}),
        ({"KERBSIDE_ORIGIN": "", "RYLL_ORIGIN": " ", "VARIABLES": ""}, {}),
        ({"KERBSIDE_ORIGIN": SHELL}, {"lane_kerbside_origin": SHELL}),
        ({"RYLL_ORIGIN": SSH, "PROXY_ORIGIN": "0.7"}, {"lane_ryll_origin": SSH, "lane_proxy_origin": "0.7"}),
        ({"RYLL_FEATURES": "dig, x", "SUITES": "a"}, {"lane_ryll_features": ["dig", "x"], "lane_suites": ["a"]}),
        ({"GUEST": "pocket", "VARIABLES": '{"lane_id": 3, "lane_guest": "u"}'}, {"lane_guest": "u", "lane_id": 3}),
    ],
)
def test_inputs_become_extra_vars(tmp_path, inputs, expected):
    status, words, file = write_vars(tmp_path, **inputs)
    assert status == 0, words
    assert json.loads(file.read_text(encoding="utf-8")) == expected


UNSAFE = ["{{ lookup('pipe', 'id') }}", "{% x %}", "-e .", "a\nb", "a\x1b[2J", "git+https://hush@h/x", "x://u:hush@h"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("KERBSIDE_ORIGIN", value) for value in UNSAFE]
    + [(name, "{{ x }}") for name in sorted(INPUTS) if name != "VARIABLES"]
    + [("VARIABLES", value) for value in ("[" * 90000, '{"x": "{{ y }}"}', '{"x": "https://u:hush@h"}', "[1]", "-e .")],
)
def test_what_would_be_interpreted_or_shown_is_refused(tmp_path, name, value):
    status, words, file = write_vars(tmp_path, **{name: value})
    assert status == 1
    assert words.startswith(f"::error::{name.lower()} ")
    assert "hush" not in words
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "vars.json").mkdir()
    status, words, _ = write_vars(tmp_path)
    assert status == 1 and words.startswith("::error::") and "Traceback" not in words


def test_every_input_is_passed_on_and_is_a_variable_of_the_lane(tmp_path):
    shared = set(ON["workflow_dispatch"]["inputs"])
    assert shared - {"runner"} == {name.lower() for name in INPUTS}
    assert shared < set(ON["workflow_call"]["inputs"])
    known = yaml.safe_load((ROOT / "roles/lane/defaults/main.yml").read_text(encoding="utf-8"))
    _, _, file = write_vars(tmp_path, **{name: "x" for name in INPUTS if name not in ("VARIABLES", "SUITES")})
    assert set(json.loads(file.read_text(encoding="utf-8"))) <= set(known)


def test_the_limits_fit_each_other():
    """Two builds, each to its limit, and the lane fit into its step, and all steps into the job."""
    seconds = sum(
        yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))[name]
        for role, name in (("ryll_build", "ryll_build_limit"), ("kerbside", "kerbside_install_limit"))
    )
    assert STEPS["Run the lane"]["timeout-minutes"] >= seconds / 60 + 15
    steps = sum(step.get("timeout-minutes", 0) for step in STEPS.values())
    assert WORKFLOW["jobs"]["lane"]["timeout-minutes"] >= steps + 10


def test_what_must_happen_always_does():
    assert {"push", "pull_request", "merge_group", "schedule", "workflow_dispatch", "workflow_call"} == set(ON)
    down, kept = STEPS["Take down what is left"], STEPS["Keep the evidence"]
    assert down["if"] == "always() && hashFiles('lane') != ''"
    assert down["run"].endswith(STEPS["Run the lane"]["run"].replace("./lane", "./lane down"))  # of the same lane_id
    assert (kept["if"], kept["with"]["retention-days"]) == ("always()", 90)
    assert kept["with"]["path"] == "artifacts/"  # nothing else: no lane_dir, which holds the secrets
