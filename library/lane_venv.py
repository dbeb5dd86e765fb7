#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_venv
short_description: Keep a virtual environment with one requirement in the lane's cache
description:
  - Builds a virtual environment for a pip requirement, or finds the one that was built from the same requirement with the same Python.
  - A requirement that is a directory is a checkout and is built as it stands; any changed file makes a new environment.
  - Several lanes may ask at once; one builds, the others wait for it.
options:
  lane_dir:
    description: The lane's private directory, where the result is handed over.
    type: path
    required: true
  cache_dir:
    description: The lane's cache.
    type: path
    required: true
  handover:
    description: The name under which the result is handed over; roles read it as C(ansible_facts['lane_NAME']).
    type: str
    required: true
  requirement:
    description: Any pip requirement, C(kerbside==0.8.0), a URL, or the path of a checkout.
    type: str
    required: true
  distribution:
    description: The name of the distribution that the requirement installs.
    type: str
    required: true
  without:
    description: Dependencies of it to leave out, because the lane never uses them.
    type: list
    elements: str
    default: []
  extra:
    description: Requirements to add.
    type: list
    elements: str
    default: []
  limit:
    description: Seconds for each step of pip.
    type: float
    default: 600
attributes:
  check_mode:
    support: full
    description: Says whether it would build.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: The second run finds what the first has built.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: Have kerbside from a checkout
  lane_venv:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    handover: kerbside
    requirement: /home/me/src/kerbside
    distribution: kerbside
    without: [mysqlclient]
"""

RETURN = r"""
lane_note:
  description: What came out of it in a few words, for the terminal.
  returned: success, except in check mode
  type: str
ansible_facts:
  description: C(lane_NAME) with bin (directory), python (path), requirement and versions (of every distribution in it).
  returned: success
  type: dict
lane_failure:
  description: Component, cause and evidence, as the lane's verdict takes them.
  returned: failure
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import python_env


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "handover": {"type": "str", "required": True},
            "requirement": {"type": "str", "required": True},
            "distribution": {"type": "str", "required": True},
            "without": {"type": "list", "elements": "str", "default": []},
            "extra": {"type": "list", "elements": "str", "default": []},
            "limit": {"type": "float", "default": 600},
        },
        supports_check_mode=True,
    )
    given = module.params
    wish = python_env.Venv(given["requirement"], given["distribution"], tuple(given["without"]), tuple(given["extra"]))

    def work() -> dict:
        found = python_env.find(given["cache_dir"], wish)
        if module.check_mode:
            return {"changed": found is None, "ansible_facts": {f"lane_{given['handover']}": found or {"bin": given["cache_dir"], "versions": {}}}}
        log = os.path.join(given["lane_dir"], "logs", f"{given['handover']}-pip.log")
        built = found or python_env.build(given["cache_dir"], wish, given["limit"], log, private_dir.read_run(given["lane_dir"]).mark)
        private_dir.hand_over(given["lane_dir"], given["handover"], built)
        note = f"{wish.distribution} {built['versions'].get(wish.distribution.lower(), '')}, {'from the cache' if found else 'installed'}"
        return {"changed": found is None, "lane_note": note, "ansible_facts": {f"lane_{given['handover']}": built}}

    finish(module, work)


if __name__ == "__main__":
    main()
