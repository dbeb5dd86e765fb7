"""Machines beside the guest: paused qemus, which serve SPICE within a second and take 32 MB, and the consoles that
lead to them.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core import certificates
from ...core.private_dir import write_private
from ...programs.program import Program
from ...programs.readiness import Ready
from . import tokens
from .plan import PORTS, Suite

if TYPE_CHECKING:
    from .stage import Place

#: The lane's five ports are the first of ten; these machines have those behind them.
FIRST_PORT = 1
SUBJECT = "C=US,O=Kerbside CI,CN=suite-qemu"


@dataclass(frozen=True)
class Machine:
    """One paused qemu. port, tls_port: of its SPICE server; the second only with a certificate."""

    port: int
    tls_port: int | None
    ticket_file: str
    qmp_socket: str
    devices: list[str]


class Machines:
    """The machines and consoles of one suite. Secrets and certificates are new for each of them."""

    def __init__(self, place: Place, suite: Suite) -> None:
        self.place = place
        ports = iter(range(place.spice_port + FIRST_PORT, place.spice_port + FIRST_PORT + PORTS))
        self.by_name = {
            entry["name"]: Machine(
                next(ports),
                next(ports) if entry["tls"] else None,
                os.path.join(place.lane_dir, "secrets", f"suite_ticket_{entry['name']}"),
                os.path.join(place.lane_dir, f"{entry['name']}.qmp"),
                entry["devices"],
            )
            for entry in suite.machines
        }
        self.consoles = {entry["name"]: dict(entry) for entry in suite.consoles}
        self.removed: set[str] = set()  #: consoles that the sources no longer have

    def uuid(self, console: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{console}.suite.kerbside-lane"))

    def programs(self) -> list[Program]:
        """How to start them. Makes the tickets and, where there is TLS, the certificates."""
        return [self._program(name, machine) for name, machine in self.by_name.items()]

    def _program(self, name: str, machine: Machine) -> Program:
        if not os.path.exists(machine.ticket_file):
            write_private(machine.ticket_file, secrets.token_urlsafe(24).encode())
        spice = f"port={machine.port},addr={self.place.address},password-secret=ticket"
        if machine.tls_port:
            spice += f",tls-port={machine.tls_port},x509-dir={self._certificates()},tls-channel=default"
        fixed = "-machine pc,accel=tcg -S -m 32 -nodefaults -no-user-config -display none -vga std"
        argv = [self.place.qemu, "-name", f"suite-{name}", *fixed.split()]
        argv += ["-object", f"secret,id=ticket,file={machine.ticket_file}", "-spice", spice]
        argv += ["-qmp", f"unix:{machine.qmp_socket},server=on,wait=off", *machine.devices]
        return Program(
            name=f"machine_{name}",
            component="qemu",
            argv=tuple(argv),
            log=os.path.join(self.place.logs_dir, f"machine_{name}.log"),
            ready=Ready(socket=machine.qmp_socket),
            stop_signal="KILL",
        )

    def _certificates(self) -> str:
        folder = Path(self.place.lane_dir, "tls", "suite")
        if not folder.exists():
            folder.mkdir(mode=0o700)
            made = certificates.issue("CN=suite CA", SUBJECT, self.place.address, timedelta(days=1))
            for name, content in (("ca-cert", made.ca), ("server-cert", made.server), ("server-key", made.server_key)):
                write_private(folder / f"{name}.pem", content)
        return str(folder)

    def sources(self) -> str:
        """The consoles as entries of kerbside's sources.yaml, a source for each."""
        names = [name for name in self.consoles if name not in self.removed]
        return "".join(f"- {json.dumps(self.source(name))}\n" for name in names)  # JSON is YAML

    def source(self, name: str) -> dict[str, Any]:
        """The source of a console."""
        entry = self.consoles[name]
        machine = self.by_name[entry["machine"]]
        console = {
            "uuid": self.uuid(name),
            "name": name,
            "hypervisor": "hypervisor.invalid",  # cannot be resolved (RFC 6761): the address counts
            "hypervisor_ip": self.place.address,
            "insecure_port": machine.port,
            "ticket": Path(machine.ticket_file).read_text(encoding="ascii"),
        }
        source: dict[str, Any] = {"source": f"suite-{name}", "type": "static", "consoles": [console]}
        if machine.tls_port:
            subject = SUBJECT if entry["host_subject"] is None else entry["host_subject"]
            console |= {"secure_port": machine.tls_port, "host_subject": subject}
        if entry["ca"] == "right":
            source["ca_cert"] = Path(self.place.lane_dir, "tls", "suite", "ca-cert.pem").read_text(encoding="ascii")
        elif entry["ca"]:
            source["ca_cert"] = tokens.other_ca().replace("\\n", "\n")
        return source
