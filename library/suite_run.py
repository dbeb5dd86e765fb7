#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: suite_run
short_description: Play a suite on a lane that is up
description:
  - Every check is made, also after one has failed; the report has them all, and the task fails with the first failure.
  - qemu, kerbside and ryll are restarted only where the suite needs another guest, other settings or other options
    (docs/suites.md).
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  file:
    description: The path of the suite file, which messages name.
    type: path
    required: true
  text:
    description: Its content.
    type: str
    required: true
  slow:
    description: Also make the checks that are marked as slow.
    type: bool
    default: false
  guest:
    description: The guest to play it on.
    type: str
    required: true
  last:
    description: Bring the lane back to what its roles started, because no other suite follows.
    type: bool
    default: false
  guests:
    description: The guests, as in C(fixtures/guests.yml).
    type: dict
    required: true
  images:
    description: The directory of the images that are not fetched from the package index.
    type: path
    required: true
  cache_dir:
    description: The lane's cache, where fetched images are.
    type: path
    default: ~/.cache/kerbside-lane
  place:
    description: The programs, the console and the limits; the fields of C(Place) in
      C(module_utils/lane/checks/suites/stage.py), but for C(lane_dir) and the ports.
    type: dict
    required: true
attributes:
  idempotent:
    support: none
    description: Every run plays the suite again.
"""

EXAMPLES = r"""
- name: Play a suite
  suite_run:
    lane_dir: /tmp/kerbside-lane-0
    file: /my/suite.yml
    text: "{{ lookup('ansible.builtin.file', '/my/suite.yml') }}"
    guest: pocket
    guests: "{{ (lookup('ansible.builtin.file', 'fixtures/guests.yml') | from_yaml)['guests'] }}"
    images: fixtures
    place: "{{ suites_place }}"
"""

RETURN = r"""
lane_note:
  description: The suite, its guest, and how many checks passed, for the terminal.
  returned: except in check mode
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.checks.suites import engine, plan
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.checks.suites.stage import LaneStage, Place
from ansible.module_utils.lane.core import check_report, private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.layout import claimed_ports
from ansible.module_utils.lane.prepare import guest_image


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "file": {"type": "path", "required": True},
            "text": {"type": "str", "required": True},
            "slow": {"type": "bool", "default": False},
            "guest": {"type": "str", "required": True},
            "last": {"type": "bool", "default": False},
            "guests": {"type": "dict", "required": True},
            "images": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "default": "~/.cache/kerbside-lane"},
            "place": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        suite = plan.read(given["file"], given["text"], ACTORS, given["guests"])
        if module.check_mode:
            return {"changed": False}
        guests = {name: {**guest, "name": name} for name, guest in given["guests"].items()}
        lane_dir = given["lane_dir"]
        booted = private_dir.handed_over(lane_dir).get("lane_images", {})
        for guest in guests.values():
            find = guest_image.ensure if guest["name"] == given["guest"] else guest_image.path
            guest["path"] = booted.get(guest["name"]) or str(find(guest, given["images"], given["cache_dir"]))
        lane = LaneStage(Place.of({"lane_dir": lane_dir, **claimed_ports(lane_dir), **given["place"]}), guests)
        entries = engine.run(lane, suite, given["guest"], ACTORS, given["slow"])
        if given["last"]:
            lane.restore()
        pictures = [entry["detail"]["picture"] for entry in entries if "picture" in entry["detail"]]
        report = {"suite": suite.name, "guest": given["guest"], "checks": entries, "files": pictures}
        check_report.write(f"{lane.place.logs_dir}/suite-{suite.name}-{given['guest']}.json", report)
        passed = sum(entry["result"] == "pass" for entry in entries)
        note = f"{suite.name} on {given['guest']}: {passed} of {len(entries)} checks"
        if failure := engine.failure(entries):
            failure.result = {"lane_note": note}
            raise failure
        return {"changed": True, "lane_note": note}

    finish(module, work)


if __name__ == "__main__":
    main()
