#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: sextant_image
short_description: Check a guest's image and its firmware
description:
  - Picks a guest, checks that its image is there, is a qcow2 and has the promised sha256, that the firmware can be read, and copies its variable store.
  - Hands the guest's entry over, so that later roles know what it promises.
options:
  lane_dir:
    description: The lane's private directory.
    type: path
    required: true
  guests:
    description: The guests, as in C(fixtures/guests.yml).
    type: dict
    required: true
  guest:
    description: The name of the wanted guest.
    type: str
    required: true
  folder:
    description: The folder that the images' file names are relative to.
    type: path
    required: true
  firmware_code:
    description: The firmware's code.
    type: path
    required: true
  firmware_vars:
    description: The firmware's pristine variable store, where the guest is to have one.
    type: path
  vars_file:
    description: Where the guest's private copy of O(firmware_vars) goes. It is left alone while qemu runs.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Checks guest and image, copies nothing.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: Nothing is copied while the guest runs.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: Check the guest's image
  sextant_image:
    lane_dir: /tmp/kerbside-lane-0
    guests: "{{ (lookup('ansible.builtin.file', 'fixtures/guests.yml') | from_yaml)['guests'] }}"
    guest: pocket
    folder: fixtures
    firmware_code: /usr/share/OVMF/OVMF_CODE_4M.fd
    vars_file: /tmp/kerbside-lane-0/vars.fd
"""

RETURN = r"""
lane_note:
  description: What came out of it in a few words, for the terminal.
  returned: success
  type: str
ansible_facts:
  description: RV(ansible_facts.lane_guest) is the guest's entry with name, path and sha256 of the image.
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
from ansible.module_utils.lane.prepare import firmware, guests
from ansible.module_utils.lane.programs import records


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "guests": {"type": "dict", "required": True},
            "guest": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "firmware_code": {"type": "path", "required": True},
            "firmware_vars": {"type": "path"},
            "vars_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        guest = guests.entry(given["guests"], given["guest"])
        guest["sha256"] = guests.check_image(guest, given["folder"])
        guest["path"] = os.path.join(given["folder"], guest["image"])
        result = {"lane_note": f"guest {guest['name']}", "ansible_facts": {"lane_guest": guest}}
        if module.check_mode:
            return {**result, "changed": "lane_guest" not in private_dir.handed_over(given["lane_dir"])}
        run = private_dir.read_run(given["lane_dir"])
        qemu = records.record(given["lane_dir"], "qemu")
        running = qemu is not None and qemu.running(run)
        if not running:
            firmware.check_code(given["firmware_code"])
            if given["firmware_vars"]:
                guests.private_vars(given["firmware_vars"], given["vars_file"])
        private_dir.hand_over(given["lane_dir"], "guest", guest)
        return {**result, "changed": not running}

    finish(module, work)


if __name__ == "__main__":
    main()
