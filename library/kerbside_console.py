#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kerbside_console
short_description: Fetch a console.vv from kerbside and check that it leads through the proxy
description:
  - Asks kerbside's REST API with a bearer token for the console, checks the answer and writes it with mode 0600.
  - Records the proxy's counters in O(counters_file), so that a check can tell later what a session moved.
  - A file that is younger than O(max_age) is kept. The token in it is good for a minute, and ryll deletes the file once
    it has read it.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  address:
    description: The address of API, proxy and metrics.
    type: str
    default: 127.0.0.1
  api_port:
    description: The API's port.
    type: int
    required: true
  metrics_port:
    description: The port of kerbside-proxy's counters.
    type: int
    required: true
  tls_port:
    description: The proxy's TLS port, which the file has to name.
    type: int
    required: true
  spice_port:
    description: qemu's own SPICE port, which the file must not name.
    type: int
    required: true
  source:
    description: The name of the source in sources.yaml.
    type: str
    required: true
  uuid:
    description: The console's uuid in sources.yaml.
    type: str
    required: true
  token_file:
    description: The file with the bearer token.
    type: path
    required: true
  host_subject:
    description: The certificate subject that the file has to name.
    type: str
    required: true
  ca_file:
    description: The CA that the file has to carry.
    type: path
    required: true
  file:
    description: Where console.vv goes.
    type: path
    required: true
  counters_file:
    description: The file for the proxy's counters, as JSON.
    type: path
    required: true
  max_age:
    description: Keep a file that is at most this many seconds old. With V(-1), keep one that was ever fetched in this
      run, even if ryll has used it up since.
    type: float
    default: 0
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
    description: Every file is a new session; O(max_age) says until when an old one is kept.
"""

EXAMPLES = r"""
- name: Get a fresh console.vv
  kerbside_console:
    lane_dir: /tmp/kerbside-lane-0
    api_port: 17902
    metrics_port: 17903
    tls_port: 17900
    spice_port: 17904
    source: direct-qemu
    uuid: 6f4e2c1a-0000-4000-8000-000000000000
    token_file: /tmp/kerbside-lane-0/secrets/bearer_token
    host_subject: C=US,O=Kerbside CI,CN=kerbside-lane-0
    ca_file: /tmp/kerbside-lane-0/tls/ca.pem
    file: /tmp/kerbside-lane-0/console.vv
    counters_file: /tmp/kerbside-lane-0/counters-before.json
"""

RETURN = r"""
console:
  description: The keys of console.vv without its password and CA.
  returned: when a file was fetched
  type: dict
"""

import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import private_dir, secrets
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.prepare import kerbside
from ansible.module_utils.lane.programs import loss
from ansible.module_utils.lane.protocols import kerbside_api, proxy_counters

SPEC = {
    "lane_dir": {"type": "path", "required": True},
    "address": {"type": "str", "default": "127.0.0.1"},
    "api_port": {"type": "int", "required": True},
    "metrics_port": {"type": "int", "required": True},
    "tls_port": {"type": "int", "required": True},
    "spice_port": {"type": "int", "required": True},
    "source": {"type": "str", "required": True},
    "uuid": {"type": "str", "required": True},
    "token_file": {"type": "path", "required": True, "no_log": False},
    "host_subject": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "file": {"type": "path", "required": True},
    "counters_file": {"type": "path", "required": True},
    "max_age": {"type": "float", "default": 0},
    "limit": {"type": "float", "default": 20},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    given = module.params

    def fresh_enough() -> bool:
        if given["max_age"] < 0:
            return os.path.exists(os.path.join(given["lane_dir"], private_dir.HANDOVER, "console.json"))
        try:
            return time.time() - os.stat(given["file"]).st_mtime <= given["max_age"]
        except FileNotFoundError:
            return False

    def work() -> dict:
        if module.check_mode:
            return {"changed": not fresh_enough()}
        private_dir.read_run(given["lane_dir"])
        kerbside.note_running(given["lane_dir"])
        if fresh_enough():
            return {"changed": False}
        with loss.watched(given["lane_dir"], {loss.CLIENT}):
            return fetch()

    def fetch() -> dict:
        counters = proxy_counters.scrape(given["address"], given["metrics_port"])
        private_dir.write_private(given["counters_file"], json.dumps(counters, indent=1, sort_keys=True).encode())
        path = f"/console/proxy/{given['source']}/{given['uuid']}/console.vv"
        text = kerbside_api.get(given["address"], given["api_port"], path, given["token_file"], given["limit"])
        keys = kerbside_api.parse(text)
        secrets.register(given["lane_dir"], "console_token", keys.get("password", ""))
        shown = kerbside_api.shown(keys)
        private_dir.write_private(given["file"], text.encode())
        private_dir.hand_over(given["lane_dir"], "console", shown)
        needed = {name: given[name] for name in ("tls_port", "spice_port", "host_subject", "ca_file")}
        kerbside_api.check(keys, host=given["address"], **needed)
        return {"changed": True, "lane_note": f"console.vv leads to port {given['tls_port']}", "console": shown}

    finish(module, work)


if __name__ == "__main__":
    main()
