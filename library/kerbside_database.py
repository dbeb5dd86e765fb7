#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kerbside_database
short_description: Give a lane an empty database with kerbside's schema
description:
  - Copies a data directory from the lane's cache, where O(programs) make it first when there is none. Its key there
    changes with O(inputs) and with kerbside's newest migration.
  - An existing data directory is left alone, so that a second run changes nothing. The task fails if the installed
    kerbside has another schema.
extends_documentation_fragment:
  - lane_module
  - lane_dir
  - cache_dir
options:
  datadir:
    description: The data directory, which O(programs) use as well.
    type: path
    required: true
  kerbside:
    description: The bin folder of the environment that kerbside is installed in.
    type: path
    required: true
  client:
    description: The program C(mariadb), which asks for the schema that was made.
    type: path
    required: true
  limit:
    description: As in M(lane_process).
    type: float
    default: 30
  env:
    description: As in M(lane_process).
    type: dict
    default: {}
  secret_env:
    description: As in M(lane_process).
    type: dict
    default: {}
  secret_files:
    description: As in M(lane_process).
    type: dict
    default: {}
  programs:
    description: The programs that make it, each as in M(lane_process). The one named C(database_made) is the server.
    type: list
    elements: dict
    required: true
  inputs:
    description: Paths (of which size and time of change count) and texts that the content depends on.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Copy an empty database from the cache, where it is made when there is none
  kerbside_database:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    datadir: /tmp/kerbside-lane-0/db
    kerbside: /home/me/.cache/kerbside-lane/venvs/kerbside-0/bin
    client: /usr/bin/mariadb
    programs: "{{ __kerbside_database_makers }}"
    inputs: [/usr/bin/mariadb-install-db, /usr/sbin/mariadbd]
"""

RETURN = r"""
changed:
  description: Whether the lane had no database before.
  returned: success
  type: bool
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import database
from ansible.module_utils.lane.programs.program import LIMIT, PROGRAM, SHARED, from_options


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "datadir": {"type": "path", "required": True},
            "kerbside": {"type": "path", "required": True},
            "client": {"type": "path", "required": True},
            **LIMIT,
            **SHARED,
            "programs": {"type": "list", "elements": "dict", "required": True, "options": PROGRAM},
            "inputs": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        programs = tuple(from_options(one, given) for one in given["programs"])
        where = (given["datadir"], tuple(given["inputs"]), given["kerbside"], given["client"])
        options = database.Options(programs, *where)
        if os.path.exists(given["datadir"]):
            database.check_existing(options)
            return {"changed": False}
        if module.check_mode:
            return {"changed": True}
        run = private_dir.read_run(given["lane_dir"])
        made = database.provide(given["cache_dir"], given["lane_dir"], run, options)
        return {"changed": True, "lane_note": f"database {'made' if made else 'from the cache'}"}

    finish(module, work)


if __name__ == "__main__":
    main()
