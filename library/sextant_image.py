#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: sextant_image
short_description: Check a guest's image and its firmware
description:
  - Picks a guest, checks that its image is there, is a qcow2 and has the promised sha256, that the firmware can be
    read, and copies its variable store.
  - Hands the guest's entry over, so that later roles know what it promises.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
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
  alone:
    description: Whether it is the only guest of this command. The image of O(origin) would then not be booted if it is
      pocket.
    type: bool
    default: true
  origin:
    description: Where the guest's image comes from instead (docs/origins.md). Not for the guest pocket, which is the
      lane's own.
    type: str
    default: ""
  kerbside_origin:
    description: Where kerbside comes from. A checkout or repository of it that has an image of Sextant brings that.
    type: str
    default: ""
  here:
    description: The directory that relative paths of origins are taken from.
    type: str
    default: /
  cache_dir:
    description: The lane's cache, for the image of a git repository.
    type: path
    default: ~/.cache/kerbside-lane
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
ansible_facts:
  description: RV(ansible_facts.lane_guest) is the guest's entry with name, path and sha256 of the image.
  returned: success
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.layout import Layout
from ansible.module_utils.lane.prepare import firmware, guest_image, guests, origin, source
from ansible.module_utils.lane.programs import records

#: The guest whose image comes with the lane.
OWN = "pocket"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "guests": {"type": "dict", "required": True},
            "guest": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "alone": {"type": "bool", "default": True},
            "origin": {"type": "str", "default": ""},
            "kerbside_origin": {"type": "str", "default": ""},
            "here": {"type": "str", "default": "/"},
            "cache_dir": {"type": "path", "default": "~/.cache/kerbside-lane"},
            "firmware_code": {"type": "path", "required": True},
            "firmware_vars": {"type": "path"},
            "vars_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given, lane_dir = module.params, module.params["lane_dir"]

    def brought(guest: dict) -> tuple[Path, dict] | None:
        """The image of another origin than the guest's own, and its entry of origins.json."""
        named = origin.parse(origin.IMAGE, given["origin"], given["here"])
        if guest["name"] == OWN:
            if named and given["alone"]:
                problem = f"lane_image_origin is {named}, but the guest {OWN} is the lane's own"
                raise LaneError("origin_unusable", "environment", problem, "set lane_guest=uncalibrated as well")
            return None
        place = source.Place(given["cache_dir"], None, "", 600)
        return source.image(place, named, origin.parse(origin.KERBSIDE, given["kerbside_origin"], given["here"]))

    def work() -> dict:
        guest = guests.entry(given["guests"], given["guest"])
        came = brought(guest)
        if came:
            path, guest = came[0], {**guest, "image": came[0].name, "sha256": None}
        elif module.check_mode:
            path = guest_image.path(guest, given["folder"], given["cache_dir"])
        else:
            path = guest_image.ensure(guest, given["folder"], given["cache_dir"])
        guest["path"] = str(path)
        if path.exists() or not (module.check_mode and guest.get("fetch")):
            guest["sha256"] = guests.check_image(guest, path)
        if came:
            where = came[1]
        elif fetched := guest.get("fetch"):
            name = f"{fetched['name']} {fetched['version']}: {fetched['member']}"
            where = source.provenance("index", name, fetched["version"], guest["sha256"])
        else:
            where = source.provenance("guest", f"fixtures/{guest['image']}", sha256=guest["sha256"])
        note = f"guest {guest['name']}" + (f", its image of {where['source']}" if came else "")
        result = {"lane_note": note, "ansible_facts": {"lane_guest": guest}}
        known = private_dir.handed_over(lane_dir)
        before = known.get("lane_guest", {})
        if module.check_mode:
            return {**result, "changed": not before}
        run = private_dir.read_run(lane_dir)
        qemu = records.record(lane_dir, "qemu")
        running = qemu is not None and qemu.running(run) and before.get("path") == guest["path"]
        if before and before["name"] != guest["name"]:
            serial = Path(Layout(lane_dir).serial_log)
            if serial.is_file():  # qemu empties it when it starts
                serial.replace(serial.with_name(f"serial-{before['name']}.log"))
        if not running:
            firmware.check_code(given["firmware_code"])
            if given["firmware_vars"]:
                guests.private_vars(given["firmware_vars"], given["vars_file"])
        private_dir.hand_over(lane_dir, "guest", guest)
        images = {**known.get("lane_images", {}), guest["name"]: guest["path"]}
        private_dir.hand_over(lane_dir, "images", images)
        source.record(lane_dir, **{f"image_{guest['name']}": where})
        return {**result, "changed": not running}

    finish(module, work)


if __name__ == "__main__":
    main()
