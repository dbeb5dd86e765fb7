#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_deps
short_description: Report what the lane lacks on this machine, or prove that it has everything
description:
  - Looks for programs, firmware and libraries, not for packages, and reports which package provides what is missing.
  - When nothing is missing, starts qemu for a moment, stopped, with SPICE, the agent's port and OVMF, and asks it by
    QMP whether it has them. The proof is kept in the cache until a program, the firmware or dpkg's list changes.
  - Fails first when a limit of the machine (open files, processes, memory, disk) is too low for a lane.
  - It installs nothing.
extends_documentation_fragment:
  - lane_module
  - lane_dir
  - cache_dir
options:
  packages:
    description: Release (C(debian-12)) to need (C(qemu)) to the packages that provide it.
    type: dict
    required: true
  installed:
    description: The packages have been installed; a required one that is still missing is a failure.
    type: bool
    default: false
  failure:
    description: What installing the packages failed with. The module then fails with apt's reason and what to do by
      hand, or only warns when nothing but optional packages is missing.
    type: str
    default: ""
  folders:
    description: Directories that a lane writes to, where there has to be room.
    type: list
    elements: path
    default: []
  origins:
    description:
      - C(kerbside), C(proxy) and C(ryll), where these come from (docs/origins.md); C(features) of ryll; C(here), which
        relative paths are taken from.
      - Compilers and build tools are needed only when one of them has to be built from source.
    type: dict
    default: {}
  suites:
    description: Suites that are to run, or C(all); some need packages of their own.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Find out what is missing
  lane_deps:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    packages: "{{ __deps_packages }}"
  register: __deps_found
"""

RETURN = r"""
missing:
  description: What is missing, each with its package.
  returned: success
  type: str
packages:
  description: The packages that provide it and have to be installed.
  returned: success
  type: list
  elements: str
optional:
  description: The packages of programs that are missing and that the lane can run without.
  returned: success
  type: list
  elements: str
root:
  description: Whether the module ran as root, so that installing needs no help.
  returned: success
  type: bool
cached:
  description: Whether the result of the qemu test is from an earlier run.
  returned: success
  type: bool
ansible_facts:
  description:
    - RV(ansible_facts.lane_deps) has the absolute paths qemu, firmware_code, firmware_vars, mariadbd,
      mariadb_install_db, mariadb and my_print_defaults, swtpm where it is installed, and qemu_version, spice_version,
      ovmf_version and mariadb_version. Empty while something is missing.
  returned: success
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import cache, kerbside, machine, packages
from ansible.module_utils.lane.prepare.source import Place

#: Seconds for each answer of a program on a machine of usual speed.
ANSWER_LIMIT = 10.0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "packages": {"type": "dict", "required": True},
            "installed": {"type": "bool", "default": False},
            "failure": {"type": "str", "default": ""},
            "folders": {"type": "list", "elements": "path", "default": []},
            "origins": {"type": "dict", "default": {}},
            "suites": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params

    def proof(found: packages.Survey) -> tuple[dict, bool]:
        """What the programs say of themselves, and whether that is known from an earlier run."""
        key = packages.cache_key(found)
        if known := cache.kept(given["cache_dir"], "deps", key):
            return known, True
        if module.check_mode:
            return {}, False
        folder, mark = given["lane_dir"], private_dir.read_run(given["lane_dir"]).mark
        limit = ANSWER_LIMIT * private_dir.handed_over(folder).get("lane_speed", {}).get("time_scale", 1)
        said = packages.prove(found, folder, os.path.join(folder, "logs", "qemu_probe.log"), mark, limit)
        if said:
            cache.keep(given["cache_dir"], "deps", key, said)
        return said, False

    def build_tools() -> list[str]:
        """The build tools that are missing, when something has to be built from source."""
        lacking = packages.missing_tools()
        if not lacking or not given["origins"]:
            return []
        place = Place(given["cache_dir"], None, "", ANSWER_LIMIT)
        return lacking if kerbside.builds(place, given["origins"], git="git" not in lacking) else []

    def missing(found: packages.Survey, release: str, known: dict | None) -> dict:
        """The result while something required is missing, or the failure when nothing more can be done about it."""
        lacking = packages.describe(found, known)
        if not known:
            problem = f"{release} is not in the lane's table of packages, and these are missing: {lacking}"
            raise LaneError("packages_unknown_release", "host", problem, "install them by hand (docs/packages.md)")
        wanted = packages.packages_for(found.required, known)
        if given["failure"]:
            raise packages.apt_failure(given["failure"], wanted)
        if given["installed"]:
            problem = f"apt installed the packages of {release}, but these are still missing: {lacking}"
            raise LaneError("packages_incomplete", "host", problem, f"install by hand: {packages.by_hand(wanted)}")
        facts = {"lane_deps": {}}
        return {"changed": module.check_mode, "missing": lacking, "packages": wanted, "ansible_facts": facts}

    def work() -> dict:
        machine.check_limits(given["folders"])
        release = packages.release()
        known = given["packages"].get(release)
        found = packages.survey(known or (), [*build_tools(), *packages.missing_for(given["suites"])])
        said, cached = ({}, False) if found.required else proof(found)
        optional = packages.packages_for([need for need in found.missing if need in packages.OPTIONAL], known or {})
        result = {
            "changed": module.check_mode and bool(optional),
            "missing": "",
            "packages": [],
            "optional": optional,
            "root": os.geteuid() == 0,
            "cached": cached,
        }
        if found.required:
            return {**result, **missing(found, release, known)}
        if optional and given["failure"]:
            module.warn(f"{packages.apt_failure(given['failure'], optional).cause}. The lane goes on without it.")
        facts = {**found.paths, "firmware_code": found.firmware.code, "firmware_vars": found.firmware.vars, **said}
        if not module.check_mode:
            private_dir.read_run(given["lane_dir"])
            private_dir.hand_over(given["lane_dir"], "deps", facts)
        note = ", ".join(f"{name} {said[f'{name}_version']}" for name in ("qemu", "mariadb") if said)
        return {**result, "lane_note": note or "nothing is missing", "ansible_facts": {"lane_deps": facts}}

    finish(module, work)


if __name__ == "__main__":
    main()
