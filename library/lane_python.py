#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_python
short_description: Make the Python environment that the lane's modules run in
description:
  - For a machine that Ansible itself does not run on. Installs the requirements with pip, by hash, into the lane's
    cache.
  - The environment is made once for each content of the requirements and each Python. It needs the package
    python3-venv.
extends_documentation_fragment:
  - lane_module
  - lane_dir
  - cache_dir
options:
  requirements:
    description: The content of requirements.txt.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Make the Python environment of the modules
  lane_python:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    requirements: "{{ lookup('ansible.builtin.file', 'requirements.txt', rstrip=false) }}"
"""

RETURN = r"""
ansible_facts:
  description: RV(ansible_facts.lane_python) has C(python), the interpreter to be used from now on; empty in check mode
    while it is not there.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import modules_env
from ansible.module_utils.lane.prepare.source import Place

LIMIT = 600.0  #: seconds that it may take


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "requirements": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        lane_dir, requirements = given["lane_dir"], given["requirements"]
        python = modules_env.find(given["cache_dir"], requirements)
        if module.check_mode:
            return {"changed": python is None, "ansible_facts": {"lane_python": {"python": python} if python else {}}}
        changed = python is None
        if changed:
            place = Place.of_lane(given["cache_dir"], lane_dir, "python.log", LIMIT)
            python = modules_env.build(place, requirements)
        private_dir.hand_over(lane_dir, "python", {"python": python})
        return {"changed": changed, "ansible_facts": {"lane_python": {"python": python}}}

    finish(module, work)


if __name__ == "__main__":
    main()
