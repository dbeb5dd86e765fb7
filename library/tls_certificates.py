#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificates
short_description: Make a CA and a server's certificate
description:
  - Makes a CA and a certificate for the proxy, with ECDSA keys, in a directory that is private to the lane.
  - Makes them anew where the server's certificate is for another subject or address, or is not valid any more.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  ca_file:
    description: The CA's certificate.
    type: path
    required: true
  ca_key_file:
    description: The CA's private key.
    type: path
    required: true
  cert_file:
    description: The server's certificate.
    type: path
    required: true
  key_file:
    description: The server's private key.
    type: path
    required: true
  subject:
    description: The server's subject, as in V(C=US,O=Kerbside CI,CN=name).
    type: str
    required: true
  ca_subject:
    description: The CA's subject.
    type: str
    required: true
  address:
    description: The IP address of the server, which is its subject alternative name.
    type: str
    required: true
  hours:
    description: Hours for which both certificates are valid.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Make the certificates
  tls_certificates:
    lane_dir: /tmp/kerbside-lane-0
    ca_file: /tmp/kerbside-lane-0/tls/ca.pem
    ca_key_file: /tmp/kerbside-lane-0/tls/ca-key.pem
    cert_file: /tmp/kerbside-lane-0/tls/proxy.pem
    key_file: /tmp/kerbside-lane-0/tls/proxy-key.pem
    subject: C=US,O=Kerbside CI,CN=kerbside-lane-0
    ca_subject: CN=CA of lane 0
    address: 127.0.0.1
    hours: 6
"""

RETURN = r"""
changed:
  description: Whether new certificates were made.
  returned: success
  type: bool
"""

from datetime import timedelta
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import certificates, private_dir
from ansible.module_utils.lane.core.ansible_result import finish

FILES = ("ca_file", "ca_key_file", "cert_file", "key_file")


def main() -> None:
    texts = ("subject", "ca_subject", "address")
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "path", "required": True} for name in ("lane_dir", *FILES)},
            **{name: {"type": "str", "required": True} for name in texts},
            "hours": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    files = [Path(given[name]) for name in FILES]

    def work() -> dict[str, bool]:
        wanted = (given["subject"], given["address"])
        there = all(map(Path.exists, files)) and certificates.is_for(files[2].read_bytes(), *wanted)
        if there or module.check_mode:
            return {"changed": not there}
        issued = certificates.issue(given["ca_subject"], *wanted, timedelta(hours=given["hours"]))
        for path, content in zip(files, issued, strict=True):
            private_dir.write_private(path, content)
        return {"changed": True}

    finish(module, work)


if __name__ == "__main__":
    main()
