#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_evidence
short_description: Keep a run's evidence and write its verdict
description:
  - Copies the logs of every part to the artifacts, withholds any file with a secret in it, and writes C(result.json).
  - Only checks that this ansible-playbook command made count; a report of an earlier command is not evidence of this
    one.
  - Fails when the verdict is not C(pass), unless O(failure) is what the playbook fails with.
  - Does nothing if there is no run.
  - With O(archive), packs the artifacts for the action C(lane_fetch), which brings them to the machine that Ansible
    runs on.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  artifacts_dir:
    description: Where the evidence goes.
    type: path
    required: true
  archive:
    description: A tar file to be made of the artifacts.
    type: path
  planned:
    description: The checks that have to pass. A name is a smoke check; a check of a suite has the keys C(suite),
      C(guest) and C(name).
    type: list
    elements: raw
    required: true
  full_plan:
    description: The checks of a run whose plan was not changed. Where O(planned) differs from it, the verdict says so.
    type: list
    elements: raw
  failure:
    description: What the playbook caught, with the keys role, task and result; empty when nothing failed.
    type: dict
    default: {}
  phases:
    description: The phases of the run, each with name and seconds.
    type: list
    elements: dict
    default: []
  ansible:
    description: Ansible's log of this command, to be kept as C(logs/ansible.log).
    type: str
    default: ""
attributes:
  idempotent:
    support: none
    description: Every run of it writes a new verdict.
"""

EXAMPLES = r"""
- name: Keep the evidence
  lane_evidence:
    lane_dir: /tmp/kerbside-lane-0
    artifacts_dir: /home/me/lane/artifacts/lane-0
    planned: [hello, status, screenshot, banner, counters, path]
"""

RETURN = r"""
lane_archive:
  description: O(archive), which has been made.
  returned: with O(archive), when a run is there
  type: str
lane_ansible_kept:
  description: How many bytes of O(ansible) were kept.
  returned: when a run is there
  type: int
lane_verdict:
  description: verdict (pass, fail or error), line (the last line for the terminal) and file (the path of result.json).
  returned: when a run is there, or its keeper took it down during this command
  type: dict
lane_result:
  description: The content of C(result.json) that the lane's keeper wrote.
  returned: when the keeper took the lane down during this command
  type: dict
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import check_report, private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.evidence import transport, verdict


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "artifacts_dir": {"type": "path", "required": True},
            "archive": {"type": "path"},
            "planned": {"type": "list", "elements": "raw", "required": True},
            "full_plan": {"type": "list", "elements": "raw"},
            "failure": {"type": "dict", "default": {}},
            "phases": {"type": "list", "elements": "dict", "default": []},
            "ansible": {"type": "str", "default": "", "no_log": True},  # too long for the machine's log
        },
        supports_check_mode=True,
    )
    given = {**module.params, "versions": {"ansible": module.ansible_version}}
    lane_dir, artifacts_dir, archive = (given.pop(name) for name in ("lane_dir", "artifacts_dir", "archive"))

    def work() -> dict:
        if module.check_mode:
            return {"changed": False}
        there = private_dir.check_ours(lane_dir)
        if not os.path.exists(os.path.join(lane_dir, private_dir.RUN_FILE)) and (result := of_keeper()):
            return {"changed": False, **judged(result), "lane_result": result}
        if not there:
            return {"changed": False}
        with private_dir.alone(private_dir.read_run(lane_dir).lane_id):  # nobody takes the lane down meanwhile
            run = private_dir.read_run(lane_dir)
            result = verdict.write(lane_dir, artifacts_dir, run, command=check_report.command_id(), **given)
        packed = {"lane_archive": transport.pack(artifacts_dir, archive)} if archive else {}
        return {
            "changed": True,
            **judged(result),
            "lane_ansible_kept": len(given["ansible"].encode()),
            **packed,
        }

    def judged(result: dict) -> dict:
        """The verdict; a red one that no failed task has told fails this one."""
        shown = verdict.shown(result, artifacts_dir)
        red = shown["verdict"] != "pass" and not given["failure"]
        return {"lane_verdict": shown, **({"failed": True, "msg": shown["line"]} if red else {})}

    def of_keeper() -> dict | None:
        """The result that the lane's keeper wrote, if it took the lane down during this command."""
        result, command = private_dir.read_json(Path(artifacts_dir, verdict.RESULT), {}), check_report.command_id()
        return result if command and result.get("command_id") == command else None

    finish(module, work)


if __name__ == "__main__":
    main()
