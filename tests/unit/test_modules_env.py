"""The Python environment of the modules on another machine: what requirements.txt pins for it, and where it lies."""

import json
import sys
from pathlib import Path

from ansible.module_utils.lane.prepare import modules_env

ROOT = Path(__file__).parents[2]


def test_the_pins_are_those_of_requirements_txt_for_what_modules_import():
    pins = modules_env.pinned((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    names = [line.split("==")[0] for line in pins.splitlines() if not line.startswith(" ")]
    assert tuple(names) == modules_env.PACKAGES
    assert all("--hash=sha256:" in entry for entry in pins.split("\n\n") if entry.strip())


def test_an_environment_is_found_by_its_pins_and_only_when_it_is_whole(tmp_path):
    assert modules_env.find(str(tmp_path), "a") is None
    home = modules_env.home(str(tmp_path), "a")
    home.mkdir(parents=True)
    assert modules_env.find(str(tmp_path), "a") is None
    (home / modules_env.STAMP).write_text(json.dumps({"python": sys.executable}))
    assert modules_env.find(str(tmp_path), "a") == sys.executable
    assert modules_env.find(str(tmp_path), "b") is None
    (home / modules_env.STAMP).write_text(json.dumps({"python": f"{tmp_path}/gone"}))
    assert modules_env.find(str(tmp_path), "a") is None
