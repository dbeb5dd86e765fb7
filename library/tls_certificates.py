#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificates
short_description: Make a CA and the proxy's certificate
description:
  - Makes a CA and a certificate that it signs for the proxy, with ECDSA keys, as C(ca.pem), C(ca-key.pem), C(proxy.pem)
    and C(proxy-key.pem) in the directory C(tls) of the lane.
  - Makes new ones where the proxy's certificate is for another subject or address, or is not valid any more.
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  subject:
    description: The proxy's subject, as in V(C=US,O=Kerbside CI,CN=name).
    type: str
    required: true
  ca_subject:
    description: The CA's subject.
    type: str
    required: true
  address:
    description: The IP address of the proxy, which is its subject alternative name.
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

FILES = ("ca.pem", "ca-key.pem", "proxy.pem", "proxy-key.pem")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lane_dir": {"type": "path", "required": True},
            "subject": {"type": "str", "required": True},
            "ca_subject": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "hours": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    files = [Path(given["lane_dir"], "tls", name) for name in FILES]
    certificate = Path(given["lane_dir"], "tls", "proxy.pem")

    def work() -> dict[str, bool]:
        wanted = (given["subject"], given["address"])
        there = all(map(Path.exists, files)) and certificates.is_for(certificate.read_bytes(), *wanted)
        if there or module.check_mode:
            return {"changed": not there}
        issued = certificates.issue(given["ca_subject"], *wanted, timedelta(hours=given["hours"]))
        for path, content in zip(files, issued, strict=True):
            private_dir.write_private(path, content)
        return {"changed": True}

    finish(module, work)


if __name__ == "__main__":
    main()
