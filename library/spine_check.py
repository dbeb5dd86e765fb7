#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: spine_check
short_description: Check the SPICE spine from outside the client
description:
  - C(banner) waits for the guest's banner in the serial log and watches qemu meanwhile.
  - C(counters) wants the proxy's own counters to have moved since console.vv was fetched, both ways and without a firewall verdict.
  - C(path) wants ryll to be connected to the proxy and not to qemu.
  - C(frames) wants the guest to be running and ryll to show the picture that qemu itself draws (docs/diagnosis.md).
  - Every check runs, also after one has failed; the report has them all and the task fails with the first.
options:
  lane_dir:
    description: The lane's private directory.
    type: path
    required: true
  checks:
    description: Which checks to run, in this order.
    type: list
    elements: str
    choices: [banner, counters, path, frames]
    default: [banner, counters, path, frames]
  serial_log:
    description: The guest's serial port as a file.
    type: path
    required: true
  banner:
    description: The text that the guest prints there when it stands.
    type: str
    required: true
  banner_limit:
    description: Seconds from qemu's start until the banner has to be there.
    type: float
    default: 60
  address:
    description: The proxy's address.
    type: str
    default: 127.0.0.1
  metrics_port:
    description: The port of the proxy's counters.
    type: int
    required: true
  proxy_port:
    description: The proxy's TLS port.
    type: int
    required: true
  spice_port:
    description: qemu's SPICE port.
    type: int
    required: true
  counters_file:
    description: The counters as they were when console.vv was fetched.
    type: path
    required: true
  qmp_socket:
    description: qemu's QMP socket, for C(frames).
    type: path
    required: true
  control_socket:
    description: ryll's control socket, for C(frames). Nobody else may be connected to it.
    type: path
    required: true
  after_failure:
    description: Something has failed before. Every check is then made once, without waiting, and the task does not fail.
    type: bool
    default: false
  stale:
    description: Reports of an earlier smoke check that this one did not get to write anew; they are removed, so that nobody takes them for receipts.
    type: list
    elements: path
    default: []
  report_file:
    description: Where the checks' entries go, as JSON.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Names the checks, looks at nothing.
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
- name: Check banner, counters, path and frames
  spine_check:
    lane_dir: /tmp/kerbside-lane-0
    serial_log: /tmp/kerbside-lane-0/logs/serial.log
    banner: "pocket-sextant 1.0: ready"
    metrics_port: 17903
    proxy_port: 17900
    spice_port: 17904
    counters_file: /tmp/kerbside-lane-0/counters-before.json
    qmp_socket: /tmp/kerbside-lane-0/qmp.sock
    control_socket: /tmp/kerbside-lane-0/ryll.sock
    report_file: /tmp/kerbside-lane-0/logs/spine.json
"""

RETURN = r"""
lane_note:
  description: What came out of it in a few words, for the terminal.
  returned: success, except in check mode
  type: str
checks:
  description: One entry per check, as in result.json.
  returned: always, except in check mode
  type: list
  elements: dict
lane_failure:
  description: Component, check, cause and evidence, as the lane's verdict takes them.
  returned: failure
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.checks import outside_checks
from ansible.module_utils.lane.core import check_report, private_dir
from ansible.module_utils.lane.core.ansible_result import finish

#: Seconds for each answer once something has failed: who is well answers in milliseconds.
HASTY = 1.0


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "checks": {"type": "list", "elements": "str", "choices": list(outside_checks.CHECKS), "default": list(outside_checks.CHECKS)},
            "serial_log": {"type": "path", "required": True},
            "banner": {"type": "str", "required": True},
            "banner_limit": {"type": "float", "default": 60},
            "address": {"type": "str", "default": "127.0.0.1"},
            "metrics_port": {"type": "int", "required": True},
            "proxy_port": {"type": "int", "required": True},
            "spice_port": {"type": "int", "required": True},
            "counters_file": {"type": "path", "required": True},
            "qmp_socket": {"type": "path", "required": True},
            "control_socket": {"type": "path", "required": True},
            "after_failure": {"type": "bool", "default": False},
            "stale": {"type": "list", "elements": "path", "default": []},
            "report_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = dict(module.params)

    def work() -> dict:
        checks, report, failed_before = given.pop("checks"), given.pop("report_file"), given.pop("after_failure")
        if module.check_mode:
            return {"changed": False}
        for path in given.pop("stale"):
            Path(path).unlink(missing_ok=True)
        haste = {"watch": False, "limit": HASTY} if failed_before else {}
        spine = outside_checks.Spine(run=private_dir.read_run(given["lane_dir"]), **given, **haste)
        entries, failure = outside_checks.run_checks(spine, checks)
        check_report.write(report, {"checks": entries, "files": spine.files})
        if failure and not failed_before:
            failure.result = {"checks": entries}
            raise failure
        return {"changed": False, "checks": entries, "lane_note": ", ".join(e["name"] for e in entries if e["result"] == "pass")}

    finish(module, work)


if __name__ == "__main__":
    main()
