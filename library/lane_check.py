#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_check
short_description: Run the smoke check of one guest
description:
  - Plays O(steps) over ryll's control socket, as M(ryll_session) does, and checks the lane from outside ryll while that
    connection is open.
  - docs/smoke.md says what each check requires. The agent has to be as the guest promises until the last check, by
    ryll's events and by a last look; if not, the check C(status) fails.
  - Every check runs, also after one has failed, then without waiting. The task fails with the first failure. The
    transcript of O(steps) and the entries of all checks go to C(smoke.json) and C(outside.json) in C(lane_dir/logs).
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  steps:
    description: The list of steps, played in order (docs/steps.md). The whole list is checked before anything starts.
    type: raw
    required: true
  guest:
    description: The guest's entry, with C(name), C(banner) and C(agent).
    type: dict
    required: true
  checks:
    description: Which checks from outside to run, in this order.
    type: list
    elements: str
    choices: [banner, counters, path, frames, digest]
    default: [banner, counters, path, frames]
  pid:
    description:
      - The ryll process, whose end is noticed at once.
      - Without it something failed before, and ryll was not started. The checks from outside then run once, without
        waiting, and the task does not fail.
    type: int
  banner_limit:
    description: Seconds from qemu's start to the banner.
    type: float
    default: 60
  lossy:
    description: A lossy compression was asked for. Ryll's picture may then differ from qemu's by what that explains
      (docs/smoke.md).
    type: bool
    default: false
attributes:
  idempotent:
    support: full
    description: It only observes, as long as its steps do.
"""

EXAMPLES = r"""
- name: Run the smoke check of the guest pocket
  lane_check:
    lane_dir: /tmp/kerbside-lane-0
    guest: {name: pocket, banner: "pocket-sextant 1.0: ready", agent: true}
    steps:
      - hello: {}
      - subscribe: {events: [agent_connected, dropped]}
      - name: status
        await: {surfaces: 1, marks: 1, agent: true}
        within: 30
        blame: guest
    pid: 4711
"""

RETURN = r"""
lane_note:
  description: The names of the checks that passed, for the terminal.
  returned: success, except in check mode
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.checks import outside_checks, smoke
from ansible.module_utils.lane.core import check_report, private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.layout import claimed_ports
from ansible.module_utils.lane.protocols.ryll.session import Settings
from ansible.module_utils.lane.protocols.ryll.steps import plan


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "guest": {"type": "dict", "required": True},
            "steps": {"type": "raw", "required": True},
            "checks": {
                "type": "list",
                "elements": "str",
                "choices": list(outside_checks.CHECKS),
                "default": ["banner", "counters", "path", "frames"],
            },
            "pid": {"type": "int"},
            "banner_limit": {"type": "float", "default": 60},
            "lossy": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict[str, Any]:
        steps = plan(given["steps"]) if given["steps"] else []
        if module.check_mode:
            return {"changed": False}
        run = private_dir.read_run(given["lane_dir"])
        guest = given["guest"]
        missing = [key for key in ("name", "banner", "agent") if guest.get(key) in (None, "")]
        if missing and not given["pid"]:
            return {"changed": False}
        if missing:
            lacks = " and no ".join(missing)
            problem = f"the entry of the guest has no {lacks}, so that there is nothing to compare with"
            fix = "start the guest again: ./lane --tags sextant_vm"
            raise LaneError("guest_entry_invalid", "environment", problem, fix)
        whose = {"suite": smoke.SUITE, "guest": guest["name"]}
        logs = Path(given["lane_dir"], "logs")
        transcript, report = logs / "smoke.json", logs / "outside.json"
        smoke.set_aside(given["lane_dir"], guest["name"], [transcript, report])
        ports = claimed_ports(given["lane_dir"])
        context = outside_checks.Context(
            run=run,
            banner=guest["banner"],
            session=given["pid"] is not None,
            **{name: given[name] for name in ("lane_dir", "banner_limit", "lossy")},
            **{name: ports[name] for name in ("metrics_port", "proxy_port", "spice_port")},
        )
        settings = Settings(
            context.control_socket,
            pid=given["pid"],
            log_file=str(logs / "ryll.log"),
            transcript_file=str(transcript),
            report=whose,
        )
        planned = smoke.Plan(bool(guest["agent"]), steps, given["checks"], settings if steps and given["pid"] else None)
        if planned.session is None:
            transcript.unlink(missing_ok=True)  # it is of an earlier check
        entries, failure, notices = smoke.run(planned, context)
        check_report.write(report, {**whose, "checks": entries, "files": context.files})
        for notice in notices:
            module.warn(notice)
        if failure and given["pid"]:
            raise failure
        done = [step.name for step in steps if step.verb != "subscribe"] + [entry["name"] for entry in entries]
        return {"changed": False, "lane_note": ", ".join(done)}

    finish(module, work)


if __name__ == "__main__":
    main()
