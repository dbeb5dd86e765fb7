#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_build
short_description: Build a guest's image from the source in this repository
description:
  - Installs the compiler that the source pins (by pip, checked by hash, into the cache), compiles the guest and writes
    it into a qcow2 image. The same source gives the same bytes on every machine.
  - Puts the image's and the source's sha256 into C(guests.yml), whose comments stay as they are.
extends_documentation_fragment:
  - lane_module
options:
  guest:
    description: The guest's name in C(guests.yml); its entry has C(image), C(sha256) and C(source_sha256).
    type: str
    required: true
  source:
    description: The folder of the guest's source.
    type: path
    required: true
  guests_file:
    description: C(guests.yml). The image's name is relative to its folder.
    type: path
    required: true
  cache_dir:
    description: Where the compiler (440 MB) and what it has compiled are kept.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Nothing is installed or built; whether something would change follows from the recorded digests.
  diff_mode:
    support: full
    description: Shows the change of C(guests.yml).
  idempotent:
    support: full
    description: Builds each time, writes only what differs.
"""

EXAMPLES = r"""
- name: Build the guest pocket
  guest_build:
    guest: pocket
    source: fixtures/pocket-sextant
    guests_file: fixtures/guests.yml
    cache_dir: ~/.cache/kerbside-lane
"""

RETURN = r"""
files:
  description: The files that were written and are to be committed.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import guest_build


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "guest": {"type": "str", "required": True},
            "source": {"type": "path", "required": True},
            "guests_file": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        guest = guest_build.Guest.read(given["guest"], given["source"], given["guests_file"])
        return guest_build.rebuild(guest, Path(given["cache_dir"]), module.check_mode)

    finish(module, work)


if __name__ == "__main__":
    main()
