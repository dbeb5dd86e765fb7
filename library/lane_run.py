#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_run
short_description: Claim a lane, or find its current run
description:
  - Makes the lane's private directory, a new run id and new secrets, and an empty directory for the artifacts.
  - On a lane that is running it changes nothing and returns what its roles handed over, so that a later command can go
    on.
  - Refuses, before anything starts, what cannot work, such as a port that is in use, a directory of another user, a
    path that is too long for a unix socket, or a lane of the same number that is running when a new run is wanted.
  - Removes what an earlier run of this user left behind, and warns about it.
  - Starts the lane's keeper first, which takes the lane down when ansible-playbook or C(./lane) is killed, or when the
    lease is over (docs/no-trace.md).
extends_documentation_fragment:
  - lane_module
options:
  lane_id:
    description: Number of the lane, 0 to 99.
    type: int
    required: true
  lane_dir:
    description: The lane's directory, absolute and short.
    type: path
    required: true
  artifacts_dir:
    description: Directory for the evidence. What an earlier command left there is moved to the same name with
      C(.previous).
    type: path
    required: true
  ports:
    description: The lane's TCP ports by name. All must be free for a new run, and the same as those of the
      current run.
    type: dict
    default: {}
  fresh:
    description: Start a new run; a lane that is already running is refused.
    type: bool
    default: false
  existing:
    description: Find the lane's current run; without one, fail and claim nothing.
    type: bool
    default: false
  stay:
    description: The lane keeps running when this command ends. If false, it is taken down when ansible-playbook ends.
    type: bool
    default: true
  heartbeat:
    description: For a lane on another machine, without O(stay), the seconds without a heartbeat after which it is taken
      down (docs/no-trace.md). If 0, this machine's processes are watched instead.
    type: float
    default: 0
  lease:
    description: Seconds since its last use after which a lane that keeps running is taken down.
    type: float
    default: 7200
  timeline:
    description: Where the callback plugin writes the phases, for the C(result.json) of a run that is killed. It and its
      folder are removed then.
    type: path
    default: ""
  planned:
    description: The planned checks, as pairs of guest and name, for the C(result.json) of a run that is killed.
    type: list
    elements: raw
    default: []
"""

EXAMPLES = r"""
- name: Claim lane 3
  lane_run:
    lane_id: 3
    lane_dir: /tmp/kerbside-lane-3
    artifacts_dir: /home/me/lane/artifacts/lane-3
    ports:
      lane_proxy_port: 17930
    fresh: true
"""

RETURN = r"""
ansible_facts:
  description:
    - RV(ansible_facts.lane_run) has run_id, user and dir.
    - Besides it, C(lane_NAME) for everything that roles handed over.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import claim, proc, run_state

#: What claim.Options takes as it is.
AS_GIVEN = "lane_id lane_dir artifacts_dir fresh existing stay heartbeat lease timeline planned".split()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_id": {"type": "int", "required": True},
            "lane_dir": {"type": "path", "required": True},
            "artifacts_dir": {"type": "path", "required": True},
            "ports": {"type": "dict", "default": {}},
            "fresh": {"type": "bool", "default": False},
            "existing": {"type": "bool", "default": False},
            "stay": {"type": "bool", "default": True},
            "heartbeat": {"type": "float", "default": 0},
            "lease": {"type": "float", "default": 7200},
            "timeline": {"type": "path", "default": ""},
            "planned": {"type": "list", "elements": "raw", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        try:
            ports = {name: int(port) for name, port in given["ports"].items()}
        except (TypeError, ValueError):
            problem = f"the lane's ports are not numbers: {given['ports']}"
            raise LaneError("bad_input", "environment", problem, "check lane_port_base") from None
        versions = {"ansible": module.ansible_version}
        options = claim.Options(ports=ports, keeper=True, versions=versions, **{name: given[name] for name in AS_GIVEN})
        lane_dir, lane_id = options.lane_dir, options.lane_id
        if module.check_mode:
            claim.check(options)
            run = run_state.owned(lane_id, lane_dir) if not options.fresh and proc.marked(lane_id) else None
            return {"changed": run is None, "ansible_facts": claim.facts(lane_dir, run)}
        changed, run = claim.claim(options, module.warn)
        return {"changed": changed, "ansible_facts": claim.facts(lane_dir, run)}

    finish(module, work)


if __name__ == "__main__":
    main()
