#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_deps
short_description: Say what the lane lacks on this machine, or prove that all is there
description:
  - Looks for programs, firmware and libraries, not for packages, and says which package gives what is missing.
  - When all is there it starts qemu for a moment, stopped, with SPICE, the agent's port and OVMF, and asks it by QMP whether it has them.
    The proof is kept in the cache until a program, the firmware or dpkg's list changes.
  - It installs nothing.
options:
  lane_dir:
    description: The lane's private directory, where the result is handed over.
    type: path
    required: true
  cache_dir:
    description: The lane's cache.
    type: path
    required: true
  packages:
    description: Release (C(debian-12)) to need (C(qemu)) to the packages that give it.
    type: dict
    required: true
  installed:
    description: The packages have been installed; what is missing now is a failure.
    type: bool
    default: false
  failure:
    description: What installing the packages ended with. The module then fails with one sentence that says so and what to do by hand.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says what would be installed and starts nothing; C(changed) tells whether something would.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: It only looks.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: See what is missing
  lane_deps:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    packages: "{{ __deps_packages }}"
  register: __deps_found
"""

RETURN = r"""
lane_note:
  description: What came out of it in a few words, for the terminal.
  returned: when nothing is missing
  type: str
missing:
  description: What is missing, each with its package.
  returned: success
  type: str
packages:
  description: The packages that give it.
  returned: success
  type: list
  elements: str
root:
  description: Whether the module ran as root, so that installing needs no help.
  returned: success
  type: bool
cached:
  description: Whether the proof is one of an earlier run.
  returned: success
  type: bool
ansible_facts:
  description:
    - RV(ansible_facts.lane_deps) has the absolute paths qemu, qemu_img, firmware_code, firmware_vars, mariadbd, mariadb_install_db, mariadb and
      my_print_defaults, swtpm where it is there, and qemu_version, spice_version, ovmf_version and mariadb_version. Empty while something is missing.
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
from ansible.module_utils.lane.core.errors import legacy_error
from ansible.module_utils.lane.prepare import packages

EXPECTED = "the programs and files that the lane needs"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "packages": {"type": "dict", "required": True},
            "installed": {"type": "bool", "default": False},
            "failure": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params

    def proof(found: packages.Survey) -> tuple[dict, bool]:
        """What the programs say of themselves, and whether that is known from an earlier run."""
        key = packages.cache_key(found)
        if known := packages.read_cache(given["cache_dir"], key):
            return known, True
        if module.check_mode:
            return {}, False
        run = private_dir.read_run(given["lane_dir"])
        said = packages.prove(found, given["lane_dir"], run.mark)
        if said:
            packages.write_cache(given["cache_dir"], key, said)
        return said, False

    def work() -> dict:
        packages.check_table(given["packages"])
        release = packages.release()
        known = given["packages"].get(release)
        found = packages.survey(known or ())
        said, cached = ({}, False) if found.missing else proof(found)
        result = {"changed": False, "missing": "", "packages": [], "root": os.geteuid() == 0, "cached": cached}
        if found.missing:
            lacking = packages.describe(found, known)
            if not known:
                got = f"on {release}, whose packages the lane does not know, these are missing: {lacking}"
                raise legacy_error("host", EXPECTED, got, "docs/packages.md")
            wanted = packages.wanted(found, known)
            line = packages.by_hand(wanted)
            if given["failure"]:
                why = packages.why_not_installed(given["failure"])
                raise legacy_error(
                    "host", f"apt to install what the lane lacks ({len(wanted)} package{'s'[: len(wanted) > 1]})", why, f"docs/packages.md; or by hand: {line}"
                )
            if given["installed"]:
                got = f"after apt has installed the packages of {release} these are still missing: {lacking}"
                raise legacy_error("host", EXPECTED, got, f"docs/packages.md; or by hand: {line}")
            return {**result, "changed": module.check_mode, "missing": lacking, "packages": wanted, "ansible_facts": {"lane_deps": {}}}
        facts = {**found.paths, "firmware_code": found.firmware.code, "firmware_vars": found.firmware.vars, **said}
        if not module.check_mode:
            private_dir.read_run(given["lane_dir"])
            private_dir.hand_over(given["lane_dir"], "deps", facts)
        note = ", ".join(f"{name} {said[f'{name}_version']}" for name in ("qemu", "mariadb") if said)
        return {**result, "lane_note": note or "nothing is missing", "ansible_facts": {"lane_deps": facts}}

    finish(module, work)


if __name__ == "__main__":
    main()
