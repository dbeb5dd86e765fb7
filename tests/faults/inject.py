"""The actions of the catalogue: what can be broken, and how it is undone.

Each action is a function named like its key in catalogue.yml; it takes the place and the action's options. `Place.undo`
reverts what the actions changed, the last first. Nothing of the machine is changed except a cgroup of the fault's own:
no file outside the lane's directory and the fault's scratch folder.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import played
import yaml
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.prepare import disk_image, guest_build
from ansible.module_utils.lane.programs import records, stop
from ansible.module_utils.lane.protocols import qmp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass
class Place:
    """Where a fault happens: the lane, a scratch folder of its own, and what replaces the words in braces in the
    catalogue.

    prefix: words to put before the command that runs the lane, for what surrounds the whole run.
    """

    lane_id: int
    lane_dir: Path
    scratch: Path
    guests_file: Path
    cache_dir: Path
    undoing: list[Callable[[], None]] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)

    @property
    def words(self) -> dict[str, str]:
        first = 17900 + 10 * self.lane_id
        ports = ("proxy_port", "proxy_plain_port", "api_port", "metrics_port", "spice_port", "unused_port")
        words = {name: str(first + n) for n, name in enumerate(ports)}
        words |= {"scratch": str(self.scratch), "lane_dir": str(self.lane_dir), "here": str(HERE), "python": sys.executable, "lane_id": str(self.lane_id)}
        for name, file, key in (
            ("ticket", "secrets/spice_ticket", ""),
            ("ryll", "handover/ryll.json", "path"),
            ("kerbside_bin", "handover/kerbside.json", "bin"),
        ):
            path = self.lane_dir / file
            if path.exists():
                words[name] = json.loads(path.read_text())[key] if key else path.read_text()
        if (ca := self.lane_dir / "tls/ca.pem").exists():
            words["ca"] = ca.read_text().replace("\n", "\\n")  # as a .vv has it
        return words

    def fill(self, value: Any) -> Any:
        """The value with every {word} replaced."""
        if isinstance(value, str):
            for name, text in self.words.items():
                value = value.replace("{" + name + "}", text)
            return value
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        return {k: self.fill(v) for k, v in value.items()} if isinstance(value, dict) else value

    def do(self, actions: list[dict[str, Any]]) -> None:
        """Carry out actions, each a mapping with one key."""
        for action in actions:
            ((name, options),) = action.items()
            ACTIONS[name](self, self.fill(options))

    def undo(self) -> None:
        """Revert what the actions changed."""
        while self.undoing:
            self.undoing.pop()()

    def group(self, program: str) -> int:
        """The process group of one of the lane's programs."""
        entry = records.record(str(self.lane_dir), program)
        if entry is None or not proc.group_members(entry.group):
            raise LookupError(f"{program} does not run in lane {self.lane_id}")
        return entry.group


def write(place: Place, given: dict[str, Any]) -> None:
    """A file with this text; afterwards the old one comes back, or none where there was none (ryll deletes its
    console.vv).
    """
    path = Path(given["file"])
    if path.exists():
        old, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)

        def restore() -> None:
            path.write_bytes(old)
            path.chmod(mode)

        place.undoing.append(restore)
    else:
        place.undoing.append(lambda: path.unlink(missing_ok=True))
    path.write_text(given["text"])
    path.chmod(int(str(given.get("mode", "0600")), 8))


def append(place: Place, given: dict[str, Any]) -> None:
    """A text at the end of a file."""
    with open(given["file"], "a") as file:
        file.write(given["text"])


def ryll(place: Place, given: dict[str, Any]) -> None:
    """A ryll in the scratch folder that is wrong in one way (programs/ryll.py)."""
    text = place.fill('#!/bin/sh\nexec {python} {here}/programs/ryll.py WAY {ryll} "$@"\n').replace("WAY", given["way"])
    write(place, {"file": f"{place.scratch}/ryll", "mode": "0755", "text": text})


def cut(place: Place, given: dict[str, Any]) -> None:
    """The first `size` bytes of a file, as another."""
    Path(given["to"]).write_bytes(Path(given["from"]).read_bytes()[: given["size"]])


def directory(place: Place, given: dict[str, Any]) -> None:
    """A directory, which belongs to `owner`."""
    os.mkdir(given["path"], 0o700)
    if owner := given.get("owner"):
        os.chown(given["path"], pwd.getpwnam(owner).pw_uid, -1)


def device(place: Place, given: dict[str, Any]) -> None:
    """A character device node with these numbers and this mode."""
    os.mknod(given["file"], stat.S_IFCHR, os.makedev(*given["numbers"]))
    os.chmod(given["file"], int(given["mode"], 8))


def send(place: Place, given: dict[str, Any]) -> None:
    """A signal to a program: to it and its children, to the one of its process group that has the name `member`, to it
    `alone`, or to the `whole` group.
    """
    group = place.group(given["program"])
    number = signal.Signals[f"SIG{given['signal']}"]
    members = proc.group_members(group)
    if "member" in given:
        members = [m for m in members if m.name == given["member"]]
    elif given.get("alone"):
        members = [m for m in members if m.parent == group]
    elif not given.get("whole"):
        members = [m for m in members if m.pid != group]
    if not members:
        raise LookupError(f"nobody to signal in {given}")
    for member in members:
        os.kill(member.pid, number)
    if number is signal.SIGSTOP:
        place.undoing.append(lambda: [os.kill(m.pid, signal.SIGCONT) for m in members if proc.read(m.pid)] and None)
        return
    end = time.monotonic() + 5
    while given["signal"] == "KILL" and any((p := proc.read(m.pid)) and p.started == m.started and p.alive for m in members):
        if time.monotonic() > end:
            raise TimeoutError(f"{given['program']} survives SIGKILL")
        time.sleep(0.01)


def keep_killing(place: Place, given: dict[str, Any]) -> None:
    """Kill the children of a program as soon as they are there, until this is undone."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            entry = records.record(str(place.lane_dir), given["program"])
            for member in proc.group_members(entry.group) if entry else []:
                if member.parent == entry.pid:
                    with suppress(ProcessLookupError):
                        os.kill(member.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    place.undoing += [killer.join, over.set]  # the last is done first


def fill(place: Place, given: dict[str, Any]) -> None:
    """Fill the disk of a directory of the lane, in whatever mount namespace its programs have."""
    pid = next(p.pid for p in proc.marked(place.lane_id) if p.name == given["seen_by"])
    with suppress(OSError), open(f"/proc/{pid}/root{given['directory']}/filling", "wb", buffering=0) as file:
        while file.write(bytes(1 << 16)) == 1 << 16:
            pass


def sql(place: Place, given: dict[str, Any]) -> None:
    """A statement for the lane's database, as its administrator, and another one as its undoing."""
    command = ["mariadb", "--no-defaults", f"--socket={place.lane_dir}/db.sock", f"--user={pwd.getpwuid(os.getuid()).pw_name}", "kerbside"]
    subprocess.run([*command, "-e", given["execute"]], check=True, capture_output=True, timeout=20)
    if "undo" in given:
        place.undoing.append(lambda: sql(place, {"execute": given["undo"]}))


def listen(place: Place, given: dict[str, Any]) -> None:
    """A stranger on a port of the lane, as soon as it is free: of a program that was killed, a thread may hold it a
    moment longer.
    """
    end = time.monotonic() + 5
    while True:
        try:
            server = socket.create_server(("127.0.0.1", int(given["port"])))
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
    place.undoing.append(server.close)


def machine(place: Place, given: dict[str, Any]) -> None:
    """A command for qemu by QMP, and another one as its undoing."""
    with qmp.Qmp.connect(str(place.lane_dir / "qmp.sock")) as link:
        link.execute(given["execute"], given.get("arguments"))
    if "undo" in given:
        place.undoing.append(lambda: machine(place, {"execute": given["undo"]}))


def key(place: Place, given: dict[str, Any]) -> None:
    """Press a key of the guest and wait for the line that it then says on the serial port; `undo` is another key with
    its line, if the guest is there.
    """
    serial = place.lane_dir / "logs/serial.log"
    before = serial.read_text(errors="replace").count(given["says"]) if "says" in given else 0
    machine(place, {"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": given["press"]}]}})
    if "undo" in given:

        def press_other() -> None:
            entry = records.record(str(place.lane_dir), "qemu")
            if entry and proc.group_members(entry.group):
                key(place, given["undo"])

        place.undoing.append(press_other)
    end = time.monotonic() + 10
    while "says" in given and serial.read_text(errors="replace").count(given["says"]) == before:
        if time.monotonic() > end:
            raise TimeoutError(f"the guest does not say {given['says']!r}")
        time.sleep(0.02)


def gone(place: Place, given: dict[str, Any]) -> None:
    """Wait until a program of the lane is not there any more."""
    end = time.monotonic() + 10
    while (entry := records.record(str(place.lane_dir), given["program"])) and proc.group_members(entry.group):
        if time.monotonic() > end:
            raise TimeoutError(f"{given['program']} does not end")
        time.sleep(0.02)


def play(place: Place, given: dict[str, Any]) -> None:
    """Run a part of the lane first, which has to fail when `fails` says so."""
    artifacts = place.scratch / "played"
    done = played.Lane(place.lane_id).play("lane.yml", artifacts, given["tags"], given.get("vars"))
    if bool(done.rc) != bool(given.get("fails")):
        raise RuntimeError(f"the run before the fault ended with {done.rc}: {done.line or done.tail()}")


def written(place: Place, given: dict[str, Any]) -> None:
    """Wait until a file has this text."""
    end = time.monotonic() + given.get("within", 60)
    while given["text"] not in (Path(given["file"]).read_text(errors="replace") if Path(given["file"]).exists() else ""):
        if time.monotonic() > end:
            raise TimeoutError(f"{given['file']} does not have {given['text']!r}")
        time.sleep(0.02)


def client(place: Place, given: dict[str, Any]) -> None:
    """Another ryll on the console, with a console.vv of its own from kerbside."""
    uuid = f"6f4e2c1a-0000-4000-8000-{place.lane_id:012d}"
    url = f"http://127.0.0.1:{place.words['api_port']}/console/proxy/direct-qemu/{uuid}/console.vv"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {(place.lane_dir / 'secrets/bearer_token').read_text().strip()}"})
    file = place.scratch / "other.vv"
    with urllib.request.urlopen(request, timeout=20) as answer:
        file.write_bytes(answer.read())
    command = [place.words["ryll"], "--headless", "--file", str(file), "--control-socket", f"{place.scratch}/other.sock"]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"HOME": str(place.scratch), "PATH": os.environ["PATH"]})

    def leave() -> None:
        other.terminate()
        other.wait(10)

    place.undoing.append(leave)


def away(place: Place, given: dict[str, Any]) -> None:
    """End a program and start it again, with the same command, once a file has a text. Its record then names the new
    one.
    """
    entry = records.record(str(place.lane_dir), given["program"])
    if entry is None or entry.pid is None:
        raise LookupError(f"{given['program']} does not run")
    shell = Path(f"/proc/{entry.group}")
    argv = (shell / "cmdline").read_bytes().decode().split("\0")[:-1]
    environment = dict(line.split("=", 1) for line in (shell / "environ").read_bytes().decode().split("\0") if line)
    stop.end_groups({entry.group}, signal.SIGTERM, 10)
    written(place, given["until"])
    records.status_file(str(place.lane_dir), entry.name).unlink(missing_ok=True)
    with open(entry.log, "ab") as log:
        entry.group = subprocess.Popen(argv, env=environment, cwd=place.lane_dir, stdout=log, stderr=log, start_new_session=True, umask=0o077).pid
    entry.save(str(place.lane_dir))
    end = time.monotonic() + 20
    while not Path(given["socket"]).is_socket() or socket.socket(socket.AF_UNIX).connect_ex(given["socket"]):
        if time.monotonic() > end:
            raise TimeoutError(f"{given['program']} does not accept again")
        time.sleep(0.05)


def cgroup(place: Place, given: dict[str, Any]) -> None:
    """Run the lane in a cgroup of its own with this limit (v1 or v2)."""
    ((controller, limit),) = given.items()
    root = Path("/sys/fs/cgroup")
    old = root / controller
    folder = (old if old.is_dir() else root) / f"lane-faults-{place.lane_id}"
    folder.mkdir(exist_ok=True)
    name = "memory.limit_in_bytes" if old.is_dir() and controller == "memory" else f"{controller}.max"
    (folder / name).write_text(str(limit))

    def remove() -> None:
        end = time.monotonic() + 10
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    place.undoing.append(remove)
    place.prefix += ["sh", "-ec", f'echo $$ >{folder}/cgroup.procs; exec "$@"', "sh"]


def guests(place: Place, given: dict[str, Any]) -> None:
    """A guests.yml of its own in the scratch folder: the entry of pocket with other fields, and its image as `image`
    says.

    image: whole (a copy), missing, text, changed (one byte of it), empty (a qcow2 without content), or a list of [file,
    old, new]: built from changed source.
    """
    entry = yaml.safe_load(place.guests_file.read_text())["guests"]["pocket"]
    image, kind = place.scratch / "pocket.qcow2", given.get("image", "whole")
    data = (place.guests_file.parent / entry["image"]).read_bytes()
    if isinstance(kind, list):
        source = place.scratch / "source"
        shutil.copytree(place.guests_file.parent / "pocket-sextant", source)
        for name, old, new in kind:
            text = (source / name).read_text()
            if text.count(old) != 1:
                raise LookupError(f"{name} has {text.count(old)} times {old!r}")
            (source / name).write_text(text.replace(old, new))
        data = disk_image.qcow2(disk_image.boot_volume(guest_build.compile_program(source, place.cache_dir)))
        entry["sha256"] = None
    elif kind == "text":
        data = b"this is no disk image\n"
    elif kind == "changed":
        data = data[:-1] + bytes([data[-1] ^ 1])
    elif kind == "empty":
        data = disk_image.qcow2(bytes(1 << 20))
        entry["sha256"] = None
    if kind != "missing":
        image.write_bytes(data)
    (place.scratch / "guests.yml").write_text(json.dumps({"guests": {"pocket": entry | given.get("entry", {})}}))


def token(place: Place, given: dict[str, Any]) -> None:
    """A bearer token that was signed with another seed, in the place of the lane's."""
    now = int(time.time())

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"sub": "lane", "iat": now, "nbf": now, "exp": now + 3600, "jti": "0", "type": "access", "fresh": False}
    body = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    signature = part(hmac.new(given["seed"].encode(), body.encode(), hashlib.sha256).digest())
    write(place, {"file": given["file"], "text": f"{body}.{signature}"})


def certificate(place: Place, given: dict[str, Any]) -> None:
    """proxy.pem and proxy-key.pem in the scratch folder: signed by the lane's CA for the lane's subject, but for what
    `wrong` says.

    wrong: expired, issuer (another CA), subject, version (X.509 v1), key (that of another certificate), unreadable (the
    key), empty (the certificate).
    """
    wrong = given["wrong"]
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate((place.lane_dir / "tls/ca.pem").read_bytes())
    signer: Any = serialization.load_pem_private_key((place.lane_dir / "tls/ca-key.pem").read_bytes(), None)
    if wrong == "issuer":
        signer = ec.generate_private_key(ec.SECP256R1())
    name = "another" if wrong == "subject" else f"kerbside-lane-{place.lane_id}"
    parts = ((NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Kerbside CI"), (NameOID.COMMON_NAME, name))
    now = datetime.now(UTC)
    end = now - timedelta(hours=1) if wrong == "expired" else now + timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in parts]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(end)
    )
    if wrong != "version":
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = builder.sign(signer, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM) if wrong != "version" else version_1(made, signer)
    (place.scratch / "proxy.pem").write_bytes(pem)
    held = ec.generate_private_key(ec.SECP256R1()) if wrong == "key" else key
    text = held.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (place.scratch / "proxy-key.pem").write_bytes(text)
    if wrong == "unreadable":
        (place.scratch / "proxy-key.pem").chmod(0)
    if wrong == "empty":
        (place.scratch / "proxy.pem").write_bytes(b"")


def version_1(made: x509.Certificate, signer: Any) -> bytes:
    """The certificate without its version field, which makes it X.509 v1 (RFC 5280, 4.1.2.1), and signed anew."""

    def der(tag: int, body: bytes) -> bytes:
        size = len(body)
        length = bytes([size]) if size < 128 else (b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2, "big"))
        return bytes([tag]) + length + body

    old = made.tbs_certificate_bytes
    start = 2 if old[1] < 128 else 2 + (old[1] & 0x7F)
    body = old[start:]
    if body[:2] != b"\xa0\x03":
        raise ValueError("no version field")
    inside = der(0x30, body[5:])
    whole = made.public_bytes(serialization.Encoding.DER)
    start = 2 if whole[1] < 128 else 2 + (whole[1] & 0x7F)
    after = whole[start + len(old) :]  # the algorithm's identifier, then the signature
    algorithm = after[: 2 + after[1]]
    signature = signer.sign(inside, ec.ECDSA(hashes.SHA256()))
    data = der(0x30, inside + algorithm + der(0x03, b"\0" + signature))
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"


ACTIONS: dict[str, Callable[[Place, dict[str, Any]], None]] = {
    action.__name__: action
    for action in (
        write,
        append,
        ryll,
        cut,
        directory,
        device,
        send,
        keep_killing,
        fill,
        sql,
        listen,
        machine,
        key,
        gone,
        guests,
        token,
        certificate,
        play,
        written,
        client,
        away,
        cgroup,
    )
}


def prefix(fault: dict[str, Any], fill: Callable[[Any], Any]) -> list[str]:
    """Words before the command: namespaces of its own, with `mounts` in it or without a network, `limits`, and
    capabilities taken away (`without`).
    """
    words: list[str] = ["unshare", "--net"] if fault.get("no_network") else []
    words += ["prlimit", *(f"--{name}={value}" for name, value in fault["limits"].items())] if "limits" in fault else []
    if mounts := fill(fault.get("mounts", [])):
        lines = []
        for mount in mounts:
            if "tmpfs" in mount:
                lines.append(f"mount -t tmpfs -o size={mount.get('size', '1m')},mode=0700 lane-faults {mount['tmpfs']}")
                lines += [f"mount -o remount,ro {mount['tmpfs']}"] if mount.get("read_only") else []
            else:
                lines.append(f"mount --bind {mount['bind']} {mount['at']}")
                lines += [f"mount -o remount,bind,ro {mount['at']}"] if mount.get("read_only") else []
        words += ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "; ".join([*lines, 'exec "$@"']), "sh"]
    if caps := fault.get("without"):
        words += ["setpriv", f"--bounding-set={','.join(f'-{c}' for c in caps)}"]
    return words


def needs_root(fault: dict[str, Any]) -> bool:
    """Whether only root can inject it: mounts, capabilities, device nodes, cgroups, directories of others."""
    actions = [action for action in fault.get("do", []) if {"device", "cgroup"} & set(action) or "owner" in next(iter(action.values()))]
    return bool(fault.get("mounts") or fault.get("without") or fault.get("no_network") or actions)
