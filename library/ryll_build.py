#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: ryll_build
short_description: Have ryll in the lane's cache
description:
  - Takes a release from the package index, or builds a commit of ryll's repository with cargo.
  - Each result lies in a folder named after the version or the commit, so a second run fetches and builds nothing.
  - Several lanes may ask at once; one builds, the others wait for it.
options:
  lane_dir:
    description: The lane's private directory, where the result is handed over and a build writes C(logs/ryll-build.log).
    type: path
    required: true
  cache_dir:
    description: The lane's cache.
    type: path
    required: true
  method:
    description: V(wheel) takes a release, V(git) builds.
    type: str
    choices: [wheel, git]
    default: wheel
  version:
    description: With V(wheel), the release.
    type: str
    default: ""
  hashes:
    description: With V(wheel), the SHA-256 that the release's wheels may have. Empty takes any.
    type: list
    elements: str
    default: []
  repo:
    description: With V(git), the repository.
    type: str
    default: ""
  ref:
    description: With V(git), a branch, a tag or a whole commit.
    type: str
    default: ""
  features:
    description: With V(git), cargo features to build with; the default features are left out.
    type: list
    elements: str
    default: []
  limit:
    description: Seconds for the build.
    type: float
    default: 2400
attributes:
  check_mode:
    support: full
    description: Says whether it would fetch or build; a branch or tag is not looked up then.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: What is in the cache is found.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: Have ryll's main branch
  ryll_build:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    method: git
    repo: https://github.com/shakenfist/ryll
    ref: main
"""

RETURN = r"""
lane_note:
  description: What came out of it in a few words, for the terminal.
  returned: success, except in check mode
  type: str
ansible_facts:
  description:
    - RV(ansible_facts.lane_ryll) has path, version, method, ref, commit and cached.
  returned: success
  type: dict
lane_failure:
  description: Component, cause and evidence, as the lane's verdict takes them.
  returned: failure
  type: dict
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import legacy_error
from ansible.module_utils.lane.prepare import git, ryll


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "method": {"type": "str", "choices": ["wheel", "git"], "default": "wheel"},
            "version": {"type": "str", "default": ""},
            "hashes": {"type": "list", "elements": "str", "default": []},
            "repo": {"type": "str", "default": ""},
            "ref": {"type": "str", "default": ""},
            "features": {"type": "list", "elements": "str", "default": []},
            "limit": {"type": "float", "default": 2400},
        },
        required_if=[("method", "wheel", ["version"]), ("method", "git", ["repo", "ref"])],
        supports_check_mode=True,
    )
    given = module.params
    wheel = given["method"] == "wheel"
    ref = given["version"] if wheel else given["ref"]
    features = tuple(sorted(given["features"]))

    def check() -> None:
        """Refuse what could not be a version, a ref or a feature before it gets into a path or onto a command line."""
        defaults = "roles/ryll_build/defaults/main.yml"
        rules = [("ryll_build_version", given["version"], r"\d[\w.!+]*")] if wheel else []
        rules += [("ryll_build_features", feature, r"\w[\w-]*") for feature in features]
        for name, value, pattern in rules:
            if not re.fullmatch(pattern, value, re.ASCII) or ".." in value:
                raise legacy_error("environment", f"{name} to be one that can exist", f"it is {value!r}", defaults)
        if not wheel:
            git.check_ref("ryll_build_ref", ref, defaults)
        git.check_url("ryll_build_repo", given["repo"])

    def work() -> dict:
        check()
        if module.check_mode:
            place = ryll.Place(given["cache_dir"], None, os.devnull, given["limit"])
            known = wheel or git.COMMIT.fullmatch(ref)
            home = ryll.wheel_home(place, ref) if wheel else ryll.git_home(place, ref, features)
            there = bool(known and (home / "ryll").exists())
            planned = ryll.Ryll(str(home / "ryll") if known else "", given["version"], given["method"], ref, "", there)
            return {"changed": not there, "ansible_facts": {"lane_ryll": planned.as_dict()}}
        run = private_dir.read_run(given["lane_dir"])
        logs = os.path.join(given["lane_dir"], "logs")
        os.makedirs(logs, mode=0o700, exist_ok=True)
        place = ryll.Place(given["cache_dir"], run.mark, os.path.join(logs, "ryll-build.log"), given["limit"])
        found = ryll.from_wheel(place, ref, tuple(given["hashes"])) if wheel else ryll.from_git(place, given["repo"], ref, features)
        private_dir.hand_over(given["lane_dir"], "ryll", found.as_dict())
        note = f"ryll {found.version}, {'from the cache' if found.cached else 'fetched' if wheel else 'built'}"
        return {"changed": not found.cached, "lane_note": note, "ansible_facts": {"lane_ryll": found.as_dict()}}

    finish(module, work)


if __name__ == "__main__":
    main()
