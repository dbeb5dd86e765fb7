"""Machines for tests of lanes over ssh: an sshd in a bare Debian, with namespaces for processes and mounts.

Only the network is this machine's: sshd listens on a free port of 127.0.0.1, and lanes need numbers that no other test
has.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.lifecycle import proc
from bare_trees import PROXIES, Tree, bare_tree
from whole_lanes import descendants

READY_LIMIT = 60.0


@dataclass(eq=False)
class Machine:
    """One machine that can be reached over ssh. process: its first process, whose end is that of all others on it."""

    tree: Tree
    user: str
    port: int
    key: Path
    known_hosts: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> dict[str, Any]:
        """The variables of the machine in an inventory."""
        return {"ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": self.user, **self.ssh}

    @property
    def ssh(self) -> dict[str, Any]:
        """How ssh gets there; the same for all machines with keys in one folder."""
        return {
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes -F none",
        }

    @property
    def home(self) -> Path:
        """The user's home, seen from this machine."""
        return self.tree.path / ("root" if self.user == "root" else f"home/{self.user}")

    def processes(self) -> list[proc.Process]:
        """All processes of the machine: they descend from `process`, the first one of its namespace."""
        return [one for one in descendants(self.process.pid) if one.alive]

    def left(self, number: int) -> list[str]:
        """What is there of a lane: its processes and its directory."""
        marks = [(one, proc.environ(one.pid, "KERBSIDE_LANE") or "") for one in self.processes()]
        left = [f"{one.name} (pid {one.pid})" for one, mark in marks if mark.startswith(f"{number}/")]
        folder = self.tree.path / f"tmp/kerbside-lane-{number}"
        return left + ([str(folder)] if folder.exists() else [])

    def stop_sshd(self) -> None:
        """Its sshd answers no more, on no connection, and the kernel keeps the connections."""
        for one in self.processes():
            if one.name.startswith("sshd"):
                os.kill(one.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `stop_sshd`."""
        for one in self.processes():
            os.kill(one.pid, signal.SIGCONT)


@contextmanager
def machine(release: str, folder: Path, user: str = "root", packages: tuple[str, ...] = ()) -> Iterator[Machine]:
    """A bare machine of a release, with nothing but an sshd and these packages installed. folder: for the keys."""
    with bare_tree(release) as tree:
        install(tree, "openssh-server", *packages)
        if user != "root":
            # Without a password the account is locked for sshd.
            tree.run("useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", user)
        key = folder / "key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        home = "/root" if user == "root" else f"/home/{user}"
        place = tree.path / home[1:] / ".ssh"
        place.mkdir(mode=0o700)
        (place / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())
        tree.run("chown", "-R", f"{user}:", f"{home}/.ssh")
        (tree.path / "run/sshd").mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        hosts = folder / "known_hosts"
        public = (tree.path / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8")
        with hosts.open("a", encoding="utf-8") as file:
            file.write(f"[127.0.0.1]:{port} {public}")
        options = ["-o", "ListenAddress=127.0.0.1", "-o", "UsePAM=no", "-o", "PermitRootLogin=prohibit-password"]
        command = tree.beside(["chroot", str(tree.path), "/usr/sbin/sshd", "-D", "-p", str(port), *options])
        given = {"PATH": os.environ["PATH"], **{name: os.environ[name] for name in PROXIES}}
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = subprocess.Popen(command, env=given, **streams)
        try:
            wait_for(port, process)
            yield Machine(tree, user, port, key, hosts, process)
        finally:
            process.kill()  # and with it all in its namespace of processes
            process.wait()


def install(tree: Tree, *packages: str) -> None:
    """Install packages in a tree."""
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = tree.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *command, limit=600)
        assert done.returncode == 0, done.stdout[-2000:]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the sshd greets."""
    end = time.monotonic() + READY_LIMIT
    while time.monotonic() < end:
        assert process.poll() is None, f"sshd ended with status {process.returncode}"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                if re.match(rb"SSH-2", peer.recv(64)):
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no sshd on port {port} after {READY_LIMIT:g} s")
