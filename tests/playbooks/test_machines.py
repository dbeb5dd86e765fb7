"""Lanes on other machines, over ssh (docs/many-machines.md): bare to green, evidence, faults, the controller's end.

A machine is an sshd in a bare Debian, with namespaces for processes and mounts. Only the network is this one's: sshd
listens on a free port of 127.0.0.1, and lanes need numbers that no other test has.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import proc
from bare_trees import PROXIES, Tree, bare_tree, obstacle, packages_of_a_lane
from lane_numbers import lane_ids
from whole_lanes import ROOT, SIGNALS, Started, environment

from tools.measure import descendants

pytestmark = pytest.mark.slow
GONE = 30.0  #: seconds from the end of the controller until nothing of a lane is left on another machine
BUSY = 2  #: a busy machine
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


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """A bare Debian 12, used as root, and a Debian 13 with a lane's packages and a user who cannot become root."""
    if why := obstacle():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("keys")
    packages = tuple(packages_of_a_lane("debian-13"))
    with machine("debian-12", folder) as bookworm, machine("debian-13", folder, "somebody", packages) as trixie:
        yield bookworm, trixie


class Command:
    """`./lane` over an inventory in a folder of its own, where all evidence goes."""

    def __init__(self, folder: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        self.inventory = folder / "hosts.yml"
        self.common = {
            "lane_guest": "pocket",
            "lane_artifacts_dir": f"{folder}/artifacts/{{{{ inventory_hostname }}}}",
            "lane_summary_dir": f"{folder}/artifacts",
        }
        self.inventory.write_text(json.dumps({"lane": {"vars": self.common, "hosts": hosts}}), encoding="utf-8")

    def start(self, *words: str) -> Started:
        return Started([*SIGNALS, str(ROOT / "lane"), *words], environment())

    def over(self, *words: str) -> Started:
        """With the inventory."""
        return self.start(*words, "-i", str(self.inventory))

    def result(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / "artifacts" / name / "result.json").read_text())


def until_gone(machines: dict[Machine, list[int]], limit: float) -> list[str]:
    """What is left of the lanes after at most `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        left = [what for one, numbers in machines.items() for number in numbers for what in one.left(number)]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def test_from_bare_to_green_and_down_with_all_evidence_here(two, tmp_path):
    bookworm, trixie = two
    with lane_ids(2) as (one, other):
        hosts = {"box-a": {"lane_id": one, **bookworm.host}, "box-b": {"lane_id": other, **trixie.host}}
        command = Command(tmp_path, hosts)

        def good(*words: str, limit: float = 300) -> Started:
            done = command.over(*words)
            assert done.wait(limit) == 0, done.text
            return done

        good("up", limit=900)
        listed = good("ps").text
        for name, number in (("box-a", one), ("box-b", other)):
            assert re.search(rf"(?m)^{name}:\n.*\n +{number} .* kept until ", listed), listed
        assert "pocket-sextant 1.0: ready" in good("logs", "serial", "--limit", "box-a").text
        good("shot", str(tmp_path / "x.png"))
        smoke = good("smoke")
        assert smoke.lines[-1] == "LANE PASS 2 of 2 lanes"
        assert f"\nbox-a (127.0.0.1): PASS lane {one}: 7 of 7 checks, guest pocket" in f"\n{smoke.text}"
        for name, qemu in (("box-a", "7."), ("box-b", "10.")):
            result, folder = command.result(name), tmp_path / "artifacts" / name
            assert result["verdict"] == "pass" and result["versions"]["qemu"].startswith(qemu)
            assert (tmp_path / f"x-{name}.png").read_bytes().startswith(b"\x89PNG")
            for file in ("report.html", "junit.xml", "screenshot.png"):
                assert (folder / file).stat().st_size > 0, file
            for file in ("ryll.log", "ansible.log", "tasks.json"):
                assert (folder / "logs" / file).stat().st_size > 0, file
        assert command.over("logs", "none").wait(60) == 2
        good("down")
        assert until_gone({bookworm: [one], trixie: [other]}, 0) == []
        assert command.over("shot").wait(60) == 2
        for place in two:
            assert list((place.tree.path / "tmp").iterdir()) == []


def test_a_red_and_a_lost_lane_stop_no_other(two, tmp_path):
    bookworm, trixie = two
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures", ignore=shutil.ignore_patterns("pocket-sextant"))
    guests = tmp_path / "fixtures/guests.yml"
    guests.write_text(guests.read_text().replace("pocket-sextant 1.0: ready", "never said"))
    with lane_ids(3) as (good, red, lost):
        mute = {"lane_id": red, "lane_guests_file": str(guests), "lane_boot_limit": 10}
        hosts = {
            "good": {"lane_id": good, **bookworm.host},
            "mute": {**mute, **bookworm.host},
            "lost": {"lane_id": lost, **trixie.host},
        }
        command = Command(tmp_path, hosts)
        run = command.over()
        run.until((trixie.tree.path / f"tmp/kerbside-lane-{lost}/db.sock").exists, 600)
        trixie.stop_sshd()
        assert run.wait(900) == 1, run.text
        result = command.result("good")
        assert result["verdict"] == "pass" and result["phases"][-1]["name"] == "teardown", run.text
        assert not (bookworm.home / f".cache/kerbside-lane/evidence/lane-{good}").exists()  # it is all here
        blame = command.result("mute")["blame"]
        assert (blame["component"], command.result("mute")["verdict"]) == ("guest", "fail"), blame
        assert (tmp_path / "artifacts/mute/logs/serial.log").stat().st_size > 0
        blame = command.result("lost")["blame"]
        assert (blame["component"], blame["code"]) == ("host", "host_unreachable")
        assert blame["phase"] in ("kerbside", "smoke")
        lanes = json.loads((tmp_path / "artifacts/summary.json").read_text())["lanes"]
        found = {row["lane"].split()[0]: (row["verdict"], row["component"]) for row in lanes}
        assert found == {"good": ("pass", None), "mute": ("fail", "guest"), "lost": ("error", "host")}
        assert (tmp_path / "artifacts/index.html").exists()
        assert run.lines[-1].startswith("LANE FAIL 2 of 3 lanes: mute (127.0.0.1): guest: "), run.lines[-1]
        assert "; lost (127.0.0.1): host: the machine cannot be reached: " in run.lines[-1]
        assert until_gone({bookworm: [good, red], trixie: [lost]}, BUSY * GONE) == []
        trixie.resume()


def test_a_lane_is_gone_soon_after_its_controller(two, tmp_path):
    bookworm, trixie = two
    with lane_ids(2) as (one, other):
        command = Command(tmp_path, {})
        given = tmp_path / "vars.json"
        given.write_text(json.dumps({**command.common, **bookworm.ssh}), encoding="utf-8")
        machines = ",".join(f"{place.user}@127.0.0.1:{place.port}" for place in two)
        options = ["--hosts", machines, "--write", str(tmp_path / "fleet.yml")]
        run = command.start("fleet", "2", *options, "-e", f"lane_id={one}", "-e", f"@{given}")
        lanes = [(bookworm, one), (trixie, other)]
        sockets = [machine.tree.path / f"tmp/kerbside-lane-{number}/qmp.sock" for machine, number in lanes]
        run.until(lambda: all(path.exists() for path in sockets), 600)
        (playbook, *_) = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
        os.kill(int(playbook), signal.SIGKILL)
        assert run.wait(60) == 2
        assert until_gone({bookworm: [one], trixie: [other]}, BUSY * GONE) == []
        kept = json.loads((trixie.home / f".cache/kerbside-lane/evidence/lane-{other}/result.json").read_text())
        assert (kept["verdict"], kept["blame"]["code"]) == ("error", "aborted")


def test_a_lane_that_is_taken_down_by_another_command_says_so(two, tmp_path):
    _, trixie = two
    with lane_ids(1) as (number,):
        command = Command(tmp_path, {"one": {"lane_id": number, **trixie.host}})
        run = command.over()
        run.until((trixie.tree.path / f"tmp/kerbside-lane-{number}/db.sock").exists, 600)
        down = command.over("down")
        assert down.wait(120) == 0, down.text
        assert f"lane {number} is down: ended ansible-playbook on another machine" in down.text
        assert run.wait(120) == 2, run.text
        assert (tmp_path / "artifacts/one/result.json").exists(), run.text
        blame = command.result("one")["blame"]
        assert (blame["component"], blame["code"]) == ("lane", "aborted"), blame
        said = "LANE FAIL lane: the run was aborted: its keeper got SIGTERM, as from ./lane down"
        assert run.lines[-1].startswith(said), run.lines[-1]
        assert until_gone({trixie: [number]}, BUSY * GONE) == []
