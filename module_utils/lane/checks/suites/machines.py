"""Machines beside the guest: paused qemus, which serve SPICE within a second and take 32 MB, and the consoles that
lead to them.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.private_dir import write_private
from ...programs.program import Program
from ...programs.readiness import Ready
from . import tokens
from .plan import PORTS, Suite

#: The lane's five ports are the first of ten; these machines have those behind them.
FIRST_PORT = 1
SUBJECT = "C=US,O=Kerbside CI,CN=suite-qemu"


@dataclass(frozen=True)
class Machine:
    """One paused qemu. port, tls_port: of its SPICE server; the second only with a certificate."""

    name: str
    port: int
    tls_port: int | None
    ticket_file: str
    qmp_socket: str


class Machines:
    """The machines and consoles of one suite. Secrets and certificates are new for each of them."""

    def __init__(self, lane_dir: str, logs_dir: str, address: str, spice_port: int, qemu: str, suite: Suite) -> None:
        self.lane_dir, self.logs_dir, self.address, self.qemu = lane_dir, logs_dir, address, qemu
        self.by_name: dict[str, Machine] = {}
        self._devices = {entry["name"]: entry.get("devices") or [] for entry in suite.machines}
        ports = iter(range(spice_port + FIRST_PORT, spice_port + FIRST_PORT + PORTS))
        for entry in suite.machines:
            name = entry["name"]
            made = Machine(
                name,
                next(ports),
                next(ports) if entry.get("tls") else None,
                os.path.join(lane_dir, "secrets", f"suite_ticket_{name}"),
                os.path.join(lane_dir, f"{name}.qmp"),
            )
            self.by_name[name] = made
        self.consoles = {entry["name"]: dict(entry) for entry in suite.consoles}
        self.removed: set[str] = set()  #: consoles that the sources no longer have

    def uuid(self, console: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{console}.suite.kerbside-lane"))

    def programs(self) -> list[Program]:
        """How to start them. Makes the tickets and, where there is TLS, the certificates."""
        found = []
        for machine in self.by_name.values():
            if not os.path.exists(machine.ticket_file):
                write_private(machine.ticket_file, secrets.token_urlsafe(24).encode())
            spice = f"port={machine.port},addr={self.address},password-secret=ticket"
            if machine.tls_port:
                spice += f",tls-port={machine.tls_port},x509-dir={self._certificates()},tls-channel=default"
            argv = [
                self.qemu,
                "-name",
                f"suite-{machine.name}",
                "-machine",
                "pc,accel=tcg",
                "-S",
                "-m",
                "32",
                "-nodefaults",
                "-no-user-config",
            ]
            argv += [
                "-display",
                "none",
                "-vga",
                "std",
                "-object",
                f"secret,id=ticket,file={machine.ticket_file}",
                "-spice",
                spice,
            ]
            argv += ["-qmp", f"unix:{machine.qmp_socket},server=on,wait=off", *self._devices[machine.name]]
            found.append(
                Program(
                    name=f"machine_{machine.name}",
                    component="qemu",
                    argv=tuple(argv),
                    log=os.path.join(self.logs_dir, f"machine_{machine.name}.log"),
                    ready=Ready(socket=machine.qmp_socket),
                    stop_signal="KILL",
                )
            )
        return found

    def _certificates(self) -> str:
        folder = Path(self.lane_dir, "tls", "suite")
        if not folder.exists():
            folder.mkdir(mode=0o700)
            ca, certificate, key = tokens.server_certificate(SUBJECT)
            for name, text in (("ca-cert", ca), ("server-cert", certificate), ("server-key", key)):
                write_private(folder / f"{name}.pem", text.encode())
        return str(folder)

    def sources(self) -> str:
        """The consoles as entries of kerbside's sources.yaml, a source for each."""
        names = [name for name in self.consoles if name not in self.removed]
        return "".join(f"- {json.dumps(self.source(name))}\n" for name in names)  # JSON is YAML

    def source(self, name: str) -> dict[str, Any]:
        """The source of a console."""
        entry = self.consoles[name]
        machine = self.by_name[entry["machine"]]
        ticket = Path(machine.ticket_file).read_text(encoding="ascii")
        console = {
            "uuid": self.uuid(entry["name"]),
            "name": entry["name"],
            "hypervisor": "localhost",
            "hypervisor_ip": self.address,
            "insecure_port": machine.port,
            "ticket": ticket,
        }
        source: dict[str, Any] = {"source": f"suite-{entry['name']}", "type": "static", "consoles": [console]}
        if machine.tls_port:
            console |= {"secure_port": machine.tls_port, "host_subject": entry.get("host_subject", SUBJECT)}
        if entry.get("ca"):
            lane = (
                (Path(self.lane_dir, "tls", "suite", "ca-cert.pem")).read_text(encoding="ascii")
                if entry["ca"] == "right"
                else ""
            )
            source["ca_cert"] = lane or tokens.other_ca().replace("\\n", "\n")
        return source
