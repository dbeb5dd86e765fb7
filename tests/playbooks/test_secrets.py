"""No secret gets to the terminal at -vvv, the process list, syslog or the artifacts; a planted one is found."""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.secrets import Secret, of_lane
from ansible.module_utils.lane.evidence import secret_scan
from lane_numbers import lane_ids
from whole_lanes import Started, Surroundings, surroundings

pytestmark = pytest.mark.slow


class Watcher:
    """Samples the machine's process list and the lane's secrets for as long as the block runs."""

    def __init__(self, place: Surroundings) -> None:
        self.place = place
        self.known: dict[bytes, Secret] = {}
        self.commands: set[bytes] = set()
        self.samples = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.samples += 1
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    self.commands.add((process / "cmdline").read_bytes())
            if self.samples % 5 == 0:
                with suppress(OSError):
                    for secret in of_lane(str(self.place.dir)):
                        self.known[secret.value] = secret


@contextmanager
def syslog(lines: list[bytes]) -> Iterator[bool]:
    """A /dev/log whose messages go to lines; yields whether the machine has none and this user may make one."""
    if os.path.lexists("/dev/log") or not os.access("/dev", os.W_OK):
        yield False
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        log.settimeout(0.2)
        over = threading.Event()

        def receive() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    lines.append(log.recv(1 << 20))

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield True
        finally:
            over.set()
            thread.join()
            os.unlink("/dev/log")


def machine_log(since: float) -> bytes:
    """What the machine's own journal got since a unix time."""
    command = ["journalctl", "--since", f"@{int(since)}", "--output", "cat"]
    return subprocess.run(command, capture_output=True, check=False).stdout if shutil.which(command[0]) else b""


def plant(place: Surroundings) -> None:
    """Show one secret on the run's terminal, put another on a command line, and log a third."""
    names = ("bearer_token", "api_seed", "spice_ticket")
    token, seed, ticket = ((place.dir / "secrets" / name).read_bytes().strip() for name in names)
    curl = subprocess.Popen(["sh", "-c", "sleep 1.5; :", "curl", b"Authorization: Bearer " + token])
    if os.path.lexists("/dev/log"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.connect("/dev/log")
            log.send(b"<13>kerbside: seed " + seed)
    pids = [program.split()[0] for program in place.programs() if "ansible" in program]
    (terminal,) = {name for pid in pids if (name := os.readlink(f"/proc/{pid}/fd/1")).startswith("/dev/pts/")}
    Path(terminal).write_bytes(base64.b64encode(ticket) + b"\n")
    assert curl.wait(10) == 0


def test_a_run_at_vvv_tells_no_secret_but_the_planted_ones():
    """Under script(1), watched all along: what is planted is found, so what is not found was not said."""
    lines: list[bytes] = []
    began = time.time()
    with lane_ids(1) as (number,), surroundings(number, ANSIBLE_FORCE_COLOR="1") as place, syslog(lines) as listening:
        typescript = place.base / "typescript"
        script = ["script", "--quiet", "--return", "--flush", "--command", shlex.join(place.playbook("-vvv"))]
        with Watcher(place) as watcher:
            run = Started([*script, str(typescript)], place.environment())
            run.until((place.dir / "secrets/bearer_token").exists)
            plant(place)
            status = run.wait(300)
        assert status == 0, run.text[-3000:]
        assert place.result["verdict"] == "pass"
        assert watcher.samples > 50
        known = list(watcher.known.values())
        names = {"spice_ticket", "api_seed", "database_password", "bearer_token", "bearer_token's signature"}
        names |= {"console_token-1", "tls/proxy-key.pem", "tls/ca-key.pem"}
        assert names <= {secret.name for secret in known}
        shown = {
            "terminal": typescript.read_bytes(),
            "process list": b"\n".join(watcher.commands),
            "syslog": b"\n".join(lines) + machine_log(began),
        }
        assert len(shown["terminal"]) > 50_000, "-vvv says more than that"
        assert b"qemu-system" in shown["process list"]
        assert b"ansible" in shown["syslog"] or not listening, "Ansible's modules say what they were invoked with"
        assert heard(shown["terminal"], known) == [("spice_ticket", "base64")]
        assert {name for name, _ in heard(shown["process list"], known)} == {"bearer_token", "bearer_token's signature"}
        assert all(b"curl" in line for line in shown["process list"].split(b"\n") if heard(line, known))
        assert [name for name, _ in heard(shown["syslog"], known)] == (["api_seed"] if listening else [])
        for folder in ("artifacts", "home"):
            assert secret_scan.find_leaks(place.base / folder, known) == []


def heard(text: bytes, known: list[Secret]) -> list[tuple[str, str]]:
    """(name, form) of the secrets in a text."""
    return [(secret.name, form) for secret, form, _ in secret_scan.search(text, known)]
