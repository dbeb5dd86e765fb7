#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: ryll_build
short_description: Provide ryll in the lane's cache
description:
  - Takes ryll from where O(origin) says, the package index, crates.io, a git repository, a checkout or a file, and
    builds it with cargo where that is a source.
  - What was made is kept by the content of its source, so a second run fetches and builds nothing.
  - Several lanes may ask at once; one builds, the others wait for it.
extends_documentation_fragment:
  - lane_module
  - lane_dir
  - cache_dir
options:
  origin:
    description: Where ryll comes from (docs/origins.md).
    type: str
    required: true
  here:
    description: The directory that relative paths are taken from.
    type: str
    default: /
  hashes:
    description: The SHA-256 that a wheel of ryll may have. Empty takes any.
    type: list
    elements: str
    default: []
  features:
    description: Cargo features to build with; the default features are left out.
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
    description: Says whether it would fetch or build. A branch, a tag or a requirement is not looked up then.
"""

EXAMPLES = r"""
- name: Provide a branch of ryll
  ryll_build:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    origin: git+https://github.com/shakenfist/ryll@my-branch
"""

RETURN = r"""
ansible_facts:
  description:
    - RV(ansible_facts.lane_ryll) has path, version, commit and cached.
  returned: success
  type: dict
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import git, origin, program
from ansible.module_utils.lane.prepare.source import Place, record, resolve


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "required": True},
            "here": {"type": "str", "default": "/"},
            "hashes": {"type": "list", "elements": "str", "default": []},
            "features": {"type": "list", "elements": "str", "default": []},
            "limit": {"type": "float", "default": 2400},
        },
        supports_check_mode=True,
    )
    given, lane_dir = module.params, module.params["lane_dir"]
    module.no_log_values |= {text for text in [given["origin"]] if git.has_credentials(text)}
    features, hashes = tuple(sorted(given["features"])), tuple(given["hashes"])

    def wanted(named: origin.Origin, place: Place) -> program.Wanted:
        return program.Wanted(origin.RYLL, resolve(origin.RYLL, named, place), features, hashes)

    def work() -> dict:
        named = origin.parse(origin.RYLL, given["origin"], given["here"])
        for feature in features:
            if not re.fullmatch(r"\w[\w/-]*", feature, re.ASCII):
                problem = f"ryll_build_features has {feature!r}, which cannot be a cargo feature"
                raise LaneError("origin_unusable", "environment", problem, "correct it")
        if module.check_mode:
            found = None
            if named.kind not in (origin.GIT, origin.REQUIREMENT):
                place = Place(given["cache_dir"], None, os.devnull, given["limit"])
                found = program.find(place, wanted(named, place))
            facts = {"path": found.path, "version": found.version} if found else {"path": "", "version": ""}
            return {"changed": found is None, "ansible_facts": {"lane_ryll": facts}}
        place = Place.of_lane(given["cache_dir"], lane_dir, "ryll-build.log", given["limit"])
        asked = wanted(named, place)
        found = program.provide(place, asked)
        facts = {"path": found.path, "version": found.version, "commit": found.origin["commit"], "cached": found.cached}
        private_dir.hand_over(lane_dir, "ryll", facts)
        record(lane_dir, ryll=found.origin)
        note = found.note("ryll", asked.source)
        return {"changed": not found.cached, "lane_note": note, "ansible_facts": {"lane_ryll": facts}}

    finish(module, work)


if __name__ == "__main__":
    main()
