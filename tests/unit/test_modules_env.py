"""The Python environment of the modules on another machine: where it lies, and when it counts as made."""

import json
import sys

from ansible.module_utils.lane.prepare import modules_env


def test_an_environment_is_found_by_its_requirements_and_only_when_it_is_whole(tmp_path):
    assert modules_env.find(str(tmp_path), "a") is None
    home = modules_env.home(str(tmp_path), "a")
    home.mkdir(parents=True)
    assert modules_env.find(str(tmp_path), "a") is None
    (home / modules_env.STAMP).write_text(json.dumps({"python": sys.executable}))
    assert modules_env.find(str(tmp_path), "a") == sys.executable
    assert modules_env.find(str(tmp_path), "b") is None
    (home / modules_env.STAMP).write_text(json.dumps({"python": f"{tmp_path}/gone"}))
    assert modules_env.find(str(tmp_path), "a") is None
