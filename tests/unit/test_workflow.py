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
WORKFLOW = ROOT / ".github/workflows/direct-qemu-functional.yml"


def write_vars(folder: Path, **inputs: str) -> tuple[int, str, Path]:
    file = folder / "vars.json"
    ran = subprocess.run([sys.executable, str(ROOT / ".github/lane_vars.py"), str(file)], env={**os.environ, **inputs}, capture_output=True, text=True)
    return ran.returncode, ran.stderr, file


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, {}),
        ({"KERBSIDE_PACKAGE": "", "RYLL_REF": " "}, {}),
        ({"KERBSIDE_PACKAGE": "kerbside @ git+https://host/o/kerbside@v1"}, {"kerbside_package": "kerbside @ git+https://host/o/kerbside@v1"}),
        ({"KERBSIDE_PACKAGE": "kerbside>=0.8; echo $(id) 'x' \"y\""}, {"kerbside_package": "kerbside>=0.8; echo $(id) 'x' \"y\""}),
        ({"RYLL_REF": "v0.4.0-rc1"}, {"ryll_build_method": "git", "ryll_build_ref": "v0.4.0-rc1"}),
    ],
)
def test_inputs_become_extra_vars(tmp_path: Path, inputs: dict[str, str], expected: dict[str, str]) -> None:
    status, words, file = write_vars(tmp_path, **inputs)
    assert status == 0, words
    assert json.loads(file.read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize("value", ["{{ lookup('pipe', 'id') }}", "{% x %}", "--upload-pack=id", "-e .", "a\nb", "a\x1b[2J"])
@pytest.mark.parametrize("name", ["KERBSIDE_PACKAGE", "RYLL_REF"])
def test_what_would_be_interpreted_is_refused(tmp_path: Path, name: str, value: str) -> None:
    status, words, file = write_vars(tmp_path, **{name: value})
    assert status == 1
    assert words == f"::error::expected {name.lower()} to be one line that is no option and no template, got {value!r}\n"
    assert not file.exists()


def test_the_vars_are_ones_that_roles_have() -> None:
    known: dict[str, Any] = {}
    for role in ("kerbside", "ryll_build"):
        known |= yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
    assert {"kerbside_package", "ryll_build_method", "ryll_build_ref"} <= set(known)


def test_what_must_happen_always_does() -> None:
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["lane"]
    steps = {step["name"]: step for step in job["steps"]}
    assert job["runs-on"] == ["self-hosted", "vm"]
    assert job["timeout-minutes"] == 60
    assert "strategy" not in job
    assert next(iter(steps)) == "Show what this machine offers for KVM"
    assert steps["Take down what is left"]["if"] == steps["Keep the evidence"]["if"] == "always()"
    assert steps["Keep the evidence"]["with"]["retention-days"] == 90
    assert steps["Keep the evidence"]["with"]["path"] == "artifacts/"  # nothing else: no lane_dir, which holds the secrets
