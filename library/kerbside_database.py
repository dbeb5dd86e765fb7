#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kerbside_database
short_description: Put an empty database with kerbside's schema into a lane
description:
  - Copies a data directory from the lane's cache. Its key there changes with O(inputs).
  - With O(programs), makes it first when the cache has none, by running these, ending the server among them, and keeping what that closed in order.
    Without them it only says that the cache has none.
  - A directory that is there already is left alone, so that a second run changes nothing.
options:
  lane_dir:
    description: The lane's private directory, made by M(lane_run).
    type: path
    required: true
  cache_dir:
    description: The lane's cache, where databases are kept.
    type: path
    required: true
  datadir:
    description: The data directory, which O(programs) name as theirs.
    type: path
    required: true
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
    description: What makes it, each as in M(lane_process). The one named C(database_made) is the server.
    type: list
    elements: dict
    default: []
  inputs:
    description: Paths (of which size and time of change count) and texts on which its content depends.
    type: list
    elements: str
    required: true
  limit:
    description: Seconds to wait for another lane that is making the same database.
    type: float
    default: 120
attributes:
  check_mode:
    support: full
    description: Says whether a database would be put there; makes nothing.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: A data directory that is there is left alone.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: Have a database
  kerbside_database:
    lane_dir: /tmp/kerbside-lane-0
    cache_dir: ~/.cache/kerbside-lane
    datadir: /tmp/kerbside-lane-0/db
    inputs: [/usr/bin/mariadb-install-db, /usr/sbin/mariadbd]
    programs:
      - name: database_install
        component: database
        oneshot: true
        argv: [/usr/bin/mariadb-install-db, --no-defaults, --datadir=/tmp/kerbside-lane-0/db]
        log: /tmp/kerbside-lane-0/logs/database_install.log
      - name: database_made
        component: database
        after: [database_install]
        argv: [/usr/sbin/mariadbd, --no-defaults, --datadir=/tmp/kerbside-lane-0/db, --socket=/tmp/kerbside-lane-0/db.sock]
        log: /tmp/kerbside-lane-0/logs/database_made.log
        ready:
          socket: /tmp/kerbside-lane-0/db.sock
          greeting: true
"""

RETURN = r"""
lane_note:
  description: What came out of it in a few words, for the terminal.
  returned: when a database was made or copied
  type: str
missing:
  description: Whether the cache has none, and this call could not make it.
  returned: success
  type: bool
made:
  description: Whether the database was made by this call, rather than copied from the cache.
  returned: success
  type: bool
lane_failure:
  description: Component, cause and evidence, as the lane's verdict takes them.
  returned: failure
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import database
from ansible.module_utils.lane.programs.options import PROGRAM, SHARED, program


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "datadir": {"type": "path", "required": True},
            **SHARED,
            "programs": {"type": "list", "elements": "dict", "default": [], "options": PROGRAM},
            "inputs": {"type": "list", "elements": "str", "required": True},
            "limit": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        wish = database.Wish(tuple(program(one, given) for one in given["programs"]), given["datadir"], tuple(given["inputs"]))
        if os.path.exists(given["datadir"]):
            return {"changed": False, "made": False, "missing": False}
        if module.check_mode:
            return {"changed": True, "made": False, "missing": False}
        if database.copied(given["cache_dir"], wish):
            return {"changed": True, "made": False, "missing": False, "lane_note": "database from the cache"}
        if not wish.programs:
            return {"changed": False, "made": False, "missing": True}
        run = private_dir.read_run(given["lane_dir"])
        made = database.make(given["cache_dir"], given["lane_dir"], run, wish, given["limit"])
        return {"changed": True, "made": made, "missing": False, "lane_note": f"database {'made' if made else 'from the cache'}"}

    finish(module, work)


if __name__ == "__main__":
    main()
