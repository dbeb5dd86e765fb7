#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_probe
short_description: Find out which accelerator can run the lane's firmware, and how fast the machine is
description:
  - Checks the KVM device node, then boots the lane's own firmware under KVM for a moment and asks qemu by QMP for its
    state.
  - A device node that opens proves nothing; the firmware has to execute.
  - What the firmware did is kept in the cache until kernel, processor, qemu, firmware, device node or user change.
  - Measures the machine's speed, so that time limits can grow with it.
extends_documentation_fragment:
  - lane_module
  - lane_dir
  - cache_dir
options:
  policy:
    description:
      - V(auto) takes KVM when it works and TCG otherwise, and says why.
      - V(require) fails unless KVM works.
      - V(never) takes TCG without a probe.
    type: str
    choices: [auto, require, never]
    default: auto
  device:
    description: The KVM device node to check. qemu itself always uses C(/dev/kvm).
    type: path
    default: /dev/kvm
  cpus:
    description: qemu's CPU models, best first. A later one is tried only when qemu itself fails with the one before it.
    type: list
    elements: str
    default: [max, qemu64]
  limit:
    description: Seconds within which the firmware has to show life with one CPU model. A slow or busy machine gets
      more.
    type: float
    default: 4
  start_limit:
    description: Seconds that qemu has to start and to answer on QMP. A slow or busy machine gets more.
    type: float
    default: 10
  may_wait:
    description: When qemu or the firmware is not installed yet, leave the result open (C(pending)) instead of failing.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Checks the device and the cache and starts nothing; a result that would need qemu stays open.
"""

EXAMPLES = r"""
- name: Choose the accelerator
  kvm_probe:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    policy: require
"""

RETURN = r"""
cached:
  description: Whether what the firmware did is known from an earlier run.
  returned: success
  type: bool
state:
  description: The result in one word, for example runs, missing, no_access, firmware_dies; never without a probe.
  returned: success
  type: str
ansible_facts:
  description:
    - RV(ansible_facts.lane_accel) has chosen (kvm or tcg), cpu (for qemu's -cpu), reason (a sentence), policy, and
      pending (true while the result has to wait for qemu or the firmware).
    - RV(ansible_facts.lane_speed) has time_scale (at least 1; what time limits are multiplied by), loop_ms, load and
      processors.
  returned: success
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import command, private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import accelerator, firmware, machine


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "policy": {"type": "str", "choices": ["auto", "require", "never"], "default": "auto"},
            "device": {"type": "path", "default": "/dev/kvm"},
            "cpus": {"type": "list", "elements": "str", "default": ["max", "qemu64"]},
            "limit": {"type": "float", "default": 4},
            "start_limit": {"type": "float", "default": 10},
            "may_wait": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def probe(time_scale: float) -> tuple[accelerator.Finding, bool]:
        """What is known of KVM, and whether it is known from an earlier run."""
        if against := accelerator.check_device(given["device"]):
            return against, False
        qemu, pair = command.find_program("qemu-system-x86_64"), firmware.find_pair()
        if not qemu or not pair:
            lacking = " and ".join(name for name, there in (("qemu", qemu), ("OVMF", pair)) if not there)
            if given["may_wait"]:
                return accelerator.Finding("unknown", f"KVM cannot be probed before {lacking} is installed"), False
            problem = f"cannot probe KVM: {lacking} is not installed"
            raise LaneError("kvm_not_probed", "host", problem, "run the role deps, which installs it")
        key = accelerator.cache_key(given["device"], qemu, pair, given["cpus"])
        if known := accelerator.read_cache(given["cache_dir"], key):
            return known, True
        if module.check_mode:
            return accelerator.Finding("unknown", "KVM is not probed in check mode"), False
        folder, mark = given["lane_dir"], private_dir.read_run(given["lane_dir"]).mark
        log = os.path.join(folder, "logs", "kvm_probe.log")
        limit, start_limit = given["limit"] * time_scale, given["start_limit"] * time_scale
        found = accelerator.Probe(qemu, pair, folder, log, mark, limit, start_limit).first_of(given["cpus"])
        accelerator.write_cache(given["cache_dir"], key, found)
        return found, False

    def work() -> dict:
        if not given["cpus"]:
            fix = "name at least one CPU model of qemu"
            raise LaneError("bad_input", "environment", "kvm_probe_cpus is empty", fix)
        speed = machine.speed()
        found, cached = (None, False) if given["policy"] == "never" else probe(speed["time_scale"])
        chosen = accelerator.choose(given["policy"], found)
        if not module.check_mode:
            private_dir.read_run(given["lane_dir"])
            private_dir.hand_over(given["lane_dir"], "accel", chosen)
            private_dir.hand_over(given["lane_dir"], "speed", speed)
        return {
            "changed": False,
            "cached": cached,
            "state": found.state if found else "never",
            "lane_note": f"{chosen['chosen']}: {chosen['reason']}",
            "ansible_facts": {"lane_accel": chosen, "lane_speed": speed},
        }

    finish(module, work)


if __name__ == "__main__":
    main()
