#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: sextant_refresh
short_description: Build a guest's image from a source that is not in this repository
description:
  - Clones the source, or takes a checkout, runs C(make release) there, looks at the qcow2 that this made and copies it to where
    C(guests.yml) wants it. C(guests.yml) itself is not written; what to put there is returned.
  - Needs git (for a clone), make, qemu-img and docker with an engine that answers; all are asked for before anything is cloned.
options:
  guest:
    description: The guest's name in C(guests.yml); its entry has C(image) and C(sha256).
    type: str
    required: true
  guests_file:
    description: C(guests.yml). The image's name is relative to its folder.
    type: path
    required: true
  repo:
    description: The repository to clone, without O(checkout).
    type: str
    default: ""
  ref:
    description: A branch, a tag or a whole commit of O(repo).
    type: str
    default: main
  checkout:
    description: A folder with the source, an absolute path. It is built in as it stands; nothing in it is cleaned.
    type: path
    default: ""
  pattern:
    description: Where below the source the image is, a pattern in which C(**) stands for any folders.
    type: str
    default: release/**/*.qcow2
  work_dir:
    description: Where the clone and C(refresh.log) are kept.
    type: path
    required: true
  limit:
    description: Seconds for C(make release).
    type: float
    default: 3600
attributes:
  check_mode:
    support: full
    description: Nothing is cloned or built, and a change is always announced; says whether the machine has what the build needs.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: Builds each time, copies only an image whose bytes differ.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: Build Uncalibrated Sextant from a checkout
  sextant_refresh:
    guest: uncalibrated
    guests_file: fixtures/guests.yml
    checkout: ~/src/uncalibrated-sextant
    work_dir: ~/.cache/kerbside-lane/sextant
"""

RETURN = r"""
image:
  description: Where the image goes.
  returned: success
  type: str
advice:
  description: What to commit; in check mode what would be done, and what the machine lacks for it.
  returned: success
  type: list
  elements: str
line:
  description: The line for the guest's entry in C(guests.yml). Empty when it stands there.
  returned: success, not in check mode
  type: str
built:
  description: The image that C(make release) made.
  returned: success, not in check mode
  type: str
fresh:
  description: Whether this run of make wrote it; a false says that make found nothing to do.
  returned: success, not in check mode
  type: bool
sha256:
  description: The image's sha256.
  returned: success, not in check mode
  type: str
commit:
  description: The commit that was built. Empty for a checkout.
  returned: success, not in check mode
  type: str
info:
  description: What C(qemu-img info) says of the image, sizes in bytes.
  returned: success, not in check mode
  type: dict
log:
  description: What git and make said.
  returned: success, not in check mode
  type: str
lane_failure:
  description: Component, cause and evidence, as the lane's verdict takes them.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import refresh


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "guest": {"type": "str", "required": True},
            "guests_file": {"type": "path", "required": True},
            "repo": {"type": "str", "default": ""},
            "ref": {"type": "str", "default": "main"},
            "checkout": {"type": "path", "default": ""},
            "pattern": {"type": "str", "default": "release/**/*.qcow2"},
            "work_dir": {"type": "path", "required": True},
            "limit": {"type": "float", "default": 3600},
        },
        supports_check_mode=True,
    )
    wish = refresh.Wish(**module.params)
    finish(module, lambda: refresh.plan(wish) if module.check_mode else refresh.refresh(wish))


if __name__ == "__main__":
    main()
