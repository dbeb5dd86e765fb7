#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_process
short_description: Start the programs of a lane
description:
  - Starts programs detached, each in a session of its own, with a clean environment, a log file
    (C(lane_dir/logs/NAME.log)) and the lane's mark (C(KERBSIDE_LANE=<lane_id>/<run_id>)), and returns when every one of
    them is ready.
  - A program that ends before it is ready fails the task at once, with its exit status and the end of its log.
  - Programs that already run as described are left alone, so that a second run changes nothing.
  - Secrets are read from files by this module (O(programs[].secret_env)) and never pass through Ansible.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  state:
    description:
      - V(started) brings the programs to ready.
      - V(restarted) stops those that run first.
    type: str
    choices: [started, restarted]
    default: started
  limit:
    description: Seconds until each program has to be ready.
    type: float
    default: 30
  stop_limit:
    description: Seconds between the stop signal and SIGKILL.
    type: float
    default: 5
  watch:
    description: The other programs of the lane must go on working meanwhile; one that ends or is stopped fails the task
      within a second.
    type: bool
    default: false
  env:
    description: Environment variables of every program that has O(programs[].shared_env).
    type: dict
    default: {}
  secret_env:
    description: The same with secrets, as in O(programs[].secret_env).
    type: dict
    default: {}
  secret_files:
    description: The files of every program that has O(programs[].shared_env), as in O(programs[].secret_files).
    type: dict
    default: {}
  programs:
    description: The programs. Each is started as soon as those that it comes after are ready; the others at once, side
      by side.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: A name of small letters, digits, C(-) and C(_), unique in the lane.
        type: str
        required: true
      component:
        description: Which component is at fault when the program does not become ready.
        type: str
        choices: [guest, qemu, firmware, kerbside, proxy, database, tls, ryll, host, environment, lane, artifacts]
        default: lane
      argv:
        description: Absolute path and arguments. No secrets.
        type: list
        elements: str
        required: true
      env:
        description: Environment variables besides PATH, HOME, TMPDIR, LANG, SPT_NOENV and the mark.
        type: dict
        default: {}
      shared_env:
        description: The program gets O(env), O(secret_env) and O(secret_files) too.
        type: bool
        default: false
      secret_env:
        description: Environment variables whose value is a format in which C({}) is replaced by the text of a file.
        type: dict
        default: {}
      secret_files:
        description: Files to write with mode 0600 before the start, by path, each a format in which C({}) is replaced
          by the text of a file.
        type: dict
        default: {}
      after:
        description: Programs earlier in this list that have to be ready first.
        type: list
        elements: str
        default: []
      oneshot:
        description: The program has to end with status 0; it is not run again while its description stays the same.
        type: bool
        default: false
      stop_signal:
        description: The signal that stops it. V(KILL) is for a program that leaves nothing worth keeping.
        type: str
        choices: [TERM, INT, KILL]
        default: TERM
      ready:
        description: What shows that it is ready, one of C(port), C(socket), C(http) and C(log). Without it, that it was
          started.
        type: dict
        suboptions:
          port:
            description: The program's own process group listens on this TCP port.
            type: int
          socket:
            description: A unix socket at this path accepts.
            type: path
          greeting:
            description: With O(programs[].ready.socket), it also has to send something without being asked, as a
              database server does.
            type: bool
            default: false
          http:
            description: A GET of this URL gets 200 from the program's own process group.
            type: str
          log:
            description: A regular expression that a line of its log matches.
            type: str
      fatal:
        description: A text that shows that the program is of no use any more although it still runs. It then counts as
          lost.
        type: dict
        suboptions:
          file:
            description: The file to search, by default the program's log, of which only what it got since the program's
              start counts.
            type: path
          pattern:
            description: A regular expression; C(^) and C($) match at each line. Its last group is quoted.
            type: str
            required: true
          component:
            description: Which component is at fault.
            type: str
            choices: [guest, qemu, firmware, kerbside, proxy, database, tls, ryll, host, environment, lane, artifacts]
            required: true
          problem:
            description: The problem as a clause, in which C({}) stands for the quoted text.
            type: str
            required: true
"""

EXAMPLES = r"""
- name: Start a database and wait until it greets
  lane_process:
    lane_dir: /tmp/kerbside-lane-0
    programs:
      - name: database
        component: database
        argv: [/usr/sbin/mariadbd, --no-defaults, --socket=/tmp/kerbside-lane-0/db.sock]
        ready:
          socket: /tmp/kerbside-lane-0/db.sock
          greeting: true

- name: Run the migration with the password from a file
  lane_process:
    lane_dir: /tmp/kerbside-lane-0
    programs:
      - name: migration
        component: kerbside
        oneshot: true
        argv: [/opt/kerbside/bin/kerbside, db, upgrade]
        secret_env:
          KERBSIDE_SQL_URL:
            file: /tmp/kerbside-lane-0/secrets/database_password
            format: mysql+pymysql://kerbside:{}@localhost/kerbside
"""

RETURN = r"""
programs:
  description: Per program its pid (none for one that has ended), whether this call started it, and the seconds it took
    to be ready.
  returned: success
  type: dict
  sample: {"database": {"pid": 4711, "changed": true, "seconds": 0.61}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.programs import records, start
from ansible.module_utils.lane.programs.program import LIMIT, PROGRAM, SHARED, from_options


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["started", "restarted"], "default": "started"},
            "stop_limit": {"type": "float", "default": 5},
            "watch": {"type": "bool", "default": False},
            **LIMIT,
            **SHARED,
            "programs": {"type": "list", "elements": "dict", "required": True, "options": PROGRAM},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        programs = [from_options(p, given) for p in given["programs"]]
        if module.check_mode:
            return {"changed": True, "programs": {program.name: {} for program in programs}}
        run = private_dir.read_run(given["lane_dir"])
        records.describe(given["lane_dir"], programs)
        how = {"restart": given["state"] == "restarted", "stop_limit": given["stop_limit"], "watch": given["watch"]}
        return start.start(given["lane_dir"], run, programs, **how)

    finish(module, work)


if __name__ == "__main__":
    main()
