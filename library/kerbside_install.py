#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kerbside_install
short_description: Install kerbside and its proxy into the lane's cache
description:
  - Makes a Python environment for kerbside, or finds the one that was made from the same content with the same Python.
  - Provides kerbside-proxy. A checkout or a repository of kerbside brings its own, which is built with cargo unless
    O(proxy_origin) names another. Otherwise it is the one that kerbside's package depends on.
  - Several lanes may ask at once; one builds, the others wait for it.
extends_documentation_fragment:
  - lane_module
  - lane_dir
  - cache_dir
options:
  origin:
    description: Where kerbside comes from (docs/origins.md).
    type: str
    required: true
  proxy_origin:
    description: Where kerbside-proxy comes from. Empty means with kerbside.
    type: str
    default: ""
  proxy_bin:
    description: A kerbside-proxy that the caller's KERBSIDE_PROXY_BIN names, and that runs instead. Nothing else is
      provided then.
    type: str
    default: ""
  here:
    description: The directory that relative paths are taken from.
    type: str
    default: /
  without:
    description: Dependencies of kerbside to leave out, because the lane never uses them.
    type: list
    elements: str
    default: []
  limit:
    description: Seconds for each step of pip, and for a build.
    type: float
    default: 2400
attributes:
  check_mode:
    support: full
    description: Says whether it would install something. Branches, tags and requirements are not looked up then.
"""

EXAMPLES = r"""
- name: Install kerbside from a checkout
  kerbside_install:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    origin: /home/me/src/kerbside
    without: [mysqlclient]
"""

RETURN = r"""
ansible_facts:
  description: C(lane_kerbside) with bin (directory), python and proxy (paths) and versions (of every distribution in
    it).
  returned: success
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import git, kerbside, origin
from ansible.module_utils.lane.prepare.source import Place, record


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "required": True},
            "proxy_origin": {"type": "str", "default": ""},
            "proxy_bin": {"type": "str", "default": ""},
            "here": {"type": "str", "default": "/"},
            "without": {"type": "list", "elements": "str", "default": []},
            "limit": {"type": "float", "default": 2400},
        },
        supports_check_mode=True,
    )
    given, lane_dir = module.params, module.params["lane_dir"]
    module.no_log_values |= {text for text in (given["origin"], given["proxy_origin"]) if git.has_credentials(text)}

    def work() -> dict:
        product = origin.parse(origin.KERBSIDE, given["origin"], given["here"])
        proxy = origin.parse(origin.PROXY, given["proxy_origin"], given["here"])
        if module.check_mode:
            place = Place(given["cache_dir"], None, os.devnull, given["limit"])
            found = kerbside.planned(place, product, tuple(given["without"]))
            facts = found or {"bin": given["cache_dir"], "versions": {}}
            return {"changed": found is None, "ansible_facts": {"lane_kerbside": facts}}
        place = Place.of_lane(given["cache_dir"], lane_dir, "kerbside-install.log", given["limit"])
        installed = kerbside.install(place, product, proxy, given["proxy_bin"], tuple(given["without"]))
        private_dir.hand_over(lane_dir, "kerbside", installed.facts)
        record(lane_dir, **installed.origins)
        facts = {"lane_kerbside": installed.facts}
        return {"changed": not installed.cached, "lane_note": installed.note, "ansible_facts": facts}

    finish(module, work)


if __name__ == "__main__":
    main()
