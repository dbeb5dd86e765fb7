#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_run
short_description: Claim a lane, or find the run that is up
description:
  - Makes the lane's private directory, a new run id and new secrets, and an empty place for the artifacts.
  - On a lane that is up it changes nothing and returns what its roles handed over, so that a later command can go on.
  - Refuses, before anything starts, whatever cannot work. Taken ports, a directory of somebody else, a path that is too long for
    a unix socket, a lane of the same id that is up when a fresh run is wanted.
  - Clears what an earlier run of this user left behind, and warns that it did.
  - Starts the lane's keeper first, which takes the lane down when ansible-playbook or C(./lane) is killed, or when the lease is over (docs/no-trace.md).
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
    description: Where the evidence goes. What an earlier run left there moves to the same name with C(.previous).
    type: path
    required: true
  ports:
    description: The lane's TCP ports by name; all have to be free for a new run.
    type: dict
    default: {}
  sockets:
    description: The paths of the lane's unix sockets, for the check of their length.
    type: list
    elements: path
    default: []
  secrets:
    description: Names of the secrets to make; each becomes a file of 40 hex digits, mode 0600, below C(secrets).
    type: list
    elements: str
    default: []
  fresh:
    description: A whole new run is wanted; a lane that is up is then refused.
    type: bool
    default: false
  stay:
    description: The lane is left up when this command ends. Without it, and with a local connection, it is taken down when ansible-playbook ends.
    type: bool
    default: true
  leave_up:
    description: Let the run that is there stay after this command, whatever it was begun with. C(lane_word) says what can be done then.
    type: bool
    default: false
  lease:
    description: Seconds since its last use after which a lane that was left up is taken down.
    type: float
    default: 7200
  planned:
    description: The names of the planned checks, for the C(result.json) of a run that is killed.
    type: list
    elements: str
    default: []
  versions:
    description: More versions for that file.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Checks everything, makes nothing.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: A lane that is up is found, not made again.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: Claim lane 3
  lane_run:
    lane_id: 3
    lane_dir: /tmp/kerbside-lane-3
    artifacts_dir: /home/me/lane/artifacts/lane-3
    ports:
      lane_proxy_port: 17930
    secrets: [spice_ticket]
    fresh: true
"""

RETURN = r"""
lane_word:
  description: What can be done with a lane that was left up, as a line for the terminal.
  returned: with O(leave_up)
  type: str
ansible_facts:
  description:
    - RV(ansible_facts.lane_run) has run_id, started (unix time), uid, user and dir.
    - Besides it, C(lane_NAME) for everything that roles handed over.
  returned: success
  type: dict
lane_failure:
  description: Component, cause and evidence, as the lane's verdict takes them.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import legacy_error
from ansible.module_utils.lane.lifecycle import claim, proc, teardown


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_id": {"type": "int", "required": True},
            "lane_dir": {"type": "path", "required": True},
            "artifacts_dir": {"type": "path", "required": True},
            "ports": {"type": "dict", "default": {}},
            "sockets": {"type": "list", "elements": "path", "default": []},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "fresh": {"type": "bool", "default": False},
            "stay": {"type": "bool", "default": True},
            "leave_up": {"type": "bool", "default": False},
            "lease": {"type": "float", "default": 7200},
            "planned": {"type": "list", "elements": "str", "default": []},
            "versions": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        try:
            ports = {name: int(port) for name, port in given["ports"].items()}
        except (TypeError, ValueError):
            raise legacy_error("environment", "ports to be numbers", f"they are {given['ports']}", "lane_port_base") from None
        wish = claim.Wish(
            given["lane_id"],
            given["lane_dir"],
            given["artifacts_dir"],
            ports,
            tuple(given["sockets"]),
            tuple(given["secrets"]),
            given["fresh"],
            stay=given["stay"],
            lease=given["lease"],
            kept=True,
            planned=tuple(given["planned"]),
            versions=tuple(given["versions"].items()),
        )
        if given["leave_up"]:
            run = claim.leave_up(wish)
            mine = f" -e lane_id={wish.lane_id}" if wish.lane_id else ""
            word = f"lane {wish.lane_id} is left up: ./lane logs{mine}; ./lane shot{mine}; ./lane smoke{mine}; ./lane --tags kerbside{mine}; ./lane down{mine}"
            return {"changed": True, "ansible_facts": claim.facts(wish.lane_dir, run), "lane_word": word}
        if module.check_mode:
            claim.check(wish)
            run = teardown.owned(wish.lane_id, wish.lane_dir) if not wish.fresh and proc.marked(wish.lane_id) else None
            return {"changed": run is None, "ansible_facts": claim.facts(wish.lane_dir, run)}
        changed, run = claim.claim(wish, module.warn)
        return {"changed": changed, "ansible_facts": claim.facts(wish.lane_dir, run)}

    finish(module, work)


if __name__ == "__main__":
    main()
