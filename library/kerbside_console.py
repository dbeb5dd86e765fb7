#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kerbside_console
short_description: Fetch a console.vv from kerbside and check that it leads through the proxy
description:
  - Asks kerbside's REST API with the lane's bearer token for the console, checks the answer and writes it to
    C(lane_dir/console.vv) with mode 0600. The ports are those that the lane was claimed with.
  - Records the proxy's counters in C(lane_dir/counters-before.json), so that a check can tell later what a session
    moved.
  - The token in console.vv is good for a minute, and ryll deletes the file once it has read it.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  source:
    description: The name of the source in sources.yaml.
    type: str
    required: true
  uuid:
    description: The console's uuid in sources.yaml.
    type: str
    required: true
  host_subject:
    description: The certificate subject that the file has to name.
    type: str
    required: true
  once:
    description: Fetch nothing if a file was fetched in this run before, even if ryll has used it up since.
    type: bool
    default: false
  limit:
    description: Seconds to wait for kerbside to know the console.
    type: float
    default: 20
attributes:
  diff_mode:
    support: none
    description: The file is secret.
  idempotent:
    support: partial
    description: Every file is a new session, but with O(once) there is one only.
"""

EXAMPLES = r"""
- name: Get a fresh console.vv
  kerbside_console:
    lane_dir: /tmp/kerbside-lane-0
    source: direct-qemu
    uuid: 6f4e2c1a-0000-4000-8000-000000000000
    host_subject: C=US,O=Kerbside CI,CN=kerbside-lane-0
"""

RETURN = r"""
console:
  description: The keys of console.vv without its password and CA.
  returned: when a file was fetched
  type: dict
"""

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir, secrets
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.layout import Layout, claimed_ports
from ansible.module_utils.lane.prepare import kerbside
from ansible.module_utils.lane.programs import loss
from ansible.module_utils.lane.protocols import kerbside_api, proxy_counters

SPEC = {
    "lane_dir": {"type": "path", "required": True},
    "source": {"type": "str", "required": True},
    "uuid": {"type": "str", "required": True},
    "host_subject": {"type": "str", "required": True},
    "once": {"type": "bool", "default": False},
    "limit": {"type": "float", "default": 20},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    given = module.params
    lane = Layout(given["lane_dir"])

    def work() -> dict:
        fetched = Path(lane.lane_dir, private_dir.HANDOVER, "console.json").exists()
        if module.check_mode:
            return {"changed": not (given["once"] and fetched)}
        private_dir.read_run(given["lane_dir"])
        kerbside.note_running(given["lane_dir"])
        if given["once"] and fetched:
            return {"changed": False}
        with loss.watched(given["lane_dir"], {loss.CLIENT}):
            return fetch()

    def fetch() -> dict:
        ports = claimed_ports(lane.lane_dir)
        counters = proxy_counters.scrape(ports["metrics_port"])
        private_dir.write_private(lane.counters_file, json.dumps(counters, indent=1, sort_keys=True).encode())
        path = f"/console/proxy/{given['source']}/{given['uuid']}/console.vv"
        text = kerbside_api.get(ports["api_port"], path, lane.token_file, given["limit"])
        keys = kerbside_api.parse(text)
        secrets.register(lane.lane_dir, "console_token", keys.get("password", ""))
        shown = kerbside_api.shown(keys)
        private_dir.write_private(lane.console_file, text.encode())
        private_dir.hand_over(lane.lane_dir, "console", shown)
        leads_to = {"tls_port": ports["proxy_port"], "spice_port": ports["spice_port"]}
        kerbside_api.check(keys, **leads_to, host_subject=given["host_subject"], ca_file=lane.ca_file)
        return {"changed": True, "lane_note": f"console.vv leads to port {ports['proxy_port']}", "console": shown}

    finish(module, work)


if __name__ == "__main__":
    main()
