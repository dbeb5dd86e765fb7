"""The workflow's inputs on their way to Ansible, and what the linters cannot see in the workflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/direct-qemu-functional.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in WORKFLOW["jobs"]["lane"]["steps"]}
INPUTS = STEPS["Write the inputs as extra vars"]["env"]
ON = WORKFLOW[True]  # what YAML 1.1 makes of the word on


def write_vars(folder: Path, **inputs: str) -> tuple[int, str, Path]:
    file = folder / "vars.json"
    ran = subprocess.run(
        [sys.executable, str(ROOT / ".github/lane_vars.py"), str(file)],
        env={**os.environ, **inputs},
        capture_output=True,
        text=True,
    )
    return ran.returncode, ran.stderr, file


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, {}),
        ({"KERBSIDE_ORIGIN": "", "RYLL_ORIGIN": " ", "VARIABLES": ""}, {}),
        (
            {"KERBSIDE_ORIGIN": "git+https://host/o/kerbside@v1"},
            {"lane_kerbside_origin": "git+https://host/o/kerbside@v1"},
        ),
        (
            {"KERBSIDE_ORIGIN": "kerbside>=0.8; echo $(id) 'x' \"y\""},
            {"lane_kerbside_origin": "kerbside>=0.8; echo $(id) 'x' \"y\""},
        ),
        (
            {"RYLL_ORIGIN": "git+ssh://git@host/ryll", "PROXY_ORIGIN": "0.7.0"},
            {"lane_ryll_origin": "git+ssh://git@host/ryll", "lane_proxy_origin": "0.7.0"},
        ),
        (
            {"RYLL_FEATURES": "digest-decode, x", "SUITES": "a"},
            {"lane_ryll_features": ["digest-decode", "x"], "lane_suites": ["a"]},
        ),
        ({"GUEST": "pocket", "VARIABLES": '{"lane_id": 3, "lane_guest": "u"}'}, {"lane_guest": "u", "lane_id": 3}),
    ],
)
def test_inputs_become_extra_vars(tmp_path: Path, inputs: dict[str, str], expected: dict[str, Any]) -> None:
    status, words, file = write_vars(tmp_path, **inputs)
    assert status == 0, words
    assert json.loads(file.read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(
    "value",
    [
        "{{ lookup('pipe', 'id') }}",
        "{% x %}",
        "--upload-pack=id",
        "-e .",
        "a\nb",
        "a\x1b[2J",
        "git+https://hush@h/x",
        "x://u:hush@h",
    ],
)
@pytest.mark.parametrize("name", sorted(INPUTS))
def test_what_would_be_interpreted_or_shown_is_refused(tmp_path: Path, name: str, value: str) -> None:
    status, words, file = write_vars(
        tmp_path,
        **{
            name: json.dumps({"x": value}) if name == "VARIABLES" and value[0] != "-" and value.isprintable() else value
        },
    )
    assert status == 1
    assert words.startswith(f"::error::{name.lower()} ")
    assert "hush" not in words
    assert not file.exists()


def test_variables_are_an_object(tmp_path: Path) -> None:
    assert write_vars(tmp_path, VARIABLES="[1]")[0] == 1


def test_every_input_is_passed_on_and_is_a_variable_of_the_lane(tmp_path: Path) -> None:
    shared = set(ON["workflow_dispatch"]["inputs"])
    assert shared - {"runner"} == {name.lower() for name in INPUTS}
    assert shared < set(ON["workflow_call"]["inputs"])
    known = yaml.safe_load((ROOT / "roles/lane/defaults/main.yml").read_text(encoding="utf-8"))
    _, _, file = write_vars(tmp_path, **{name: "x" for name in INPUTS if name not in ("VARIABLES", "SUITES")})
    assert set(json.loads(file.read_text(encoding="utf-8"))) <= set(known)


def test_the_limits_fit_each_other() -> None:
    """Two builds, each to its limit, and the lane fit into its step, and all steps into the job."""
    builds = [
        yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
        for role in ("ryll_build", "kerbside")
    ]
    seconds = builds[0]["ryll_build_limit"] + builds[1]["kerbside_install_limit"]
    assert STEPS["Run the lane"]["timeout-minutes"] >= seconds / 60 + 15
    assert (
        WORKFLOW["jobs"]["lane"]["timeout-minutes"]
        >= sum(step.get("timeout-minutes", 0) for step in STEPS.values()) + 10
    )


def test_what_must_happen_always_does() -> None:
    assert {"push", "pull_request", "merge_group", "schedule", "workflow_dispatch", "workflow_call"} == set(ON)
    assert STEPS["Keep the evidence"]["if"] == "always()"
    assert STEPS["Take down what is left"]["if"] == "always() && hashFiles('lane') != ''"
    assert STEPS["Take down what is left"]["run"].endswith(
        STEPS["Run the lane"]["run"].replace("./lane", "./lane down")
    )  # of the same lane_id
    assert STEPS["Keep the evidence"]["with"]["retention-days"] == 90
    assert (
        STEPS["Keep the evidence"]["with"]["path"] == "artifacts/"
    )  # nothing else: no lane_dir, which holds the secrets
