"""The actions of the catalogue: what can be broken, and how it is undone.

Each action is a function named like its key in catalogue.yml; it takes the place and the action's options. `Place.undo`
reverts what the actions changed, the last first. Nothing of the machine is changed except a cgroup of the fault's own:
no file outside the lane's directory and the fault's scratch folder.
"""

import os
import pwd
import signal
import socket
import stat
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import made_wrong
import played
import spice_relay
from ansible.module_utils.lane.checks.suites import tokens
from ansible.module_utils.lane.lifecycle import proc, run_state
from ansible.module_utils.lane.programs import records, stop
from ansible.module_utils.lane.protocols import qmp
from place import Place, live_group, ryll_script


def until(holds: Callable[[], bool], seconds: float, problem: str) -> None:
    """Wait until `holds()` is true; raise TimeoutError(problem) after `seconds`."""
    if not run_state.until(holds, seconds):
        raise TimeoutError(problem)


def write(place: Place, given: dict[str, Any]) -> None:
    """A file with this text; afterwards the old one comes back, or none (ryll deletes its console.vv)."""
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


def token(place: Place, given: dict[str, Any]) -> None:
    """The lane's bearer token, signed with another seed."""
    text = tokens.forged(Path(given["file"]).read_text().strip(), given["seed"], {})
    write(place, {"file": given["file"], "text": text})


def append(place: Place, given: dict[str, Any]) -> None:
    """A text at the end of a file."""
    with open(given["file"], "a") as file:
        file.write(given["text"])


def ryll(place: Place, given: dict[str, Any]) -> None:
    """A ryll in the scratch folder that is wrong in one way; the options are rules of programs/ryll.py."""
    text = ryll_script(given, place.words["ryll"])
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
    """Signal a program: by default it and its children; or only its `member` of that name, it `alone`, or its `whole`
    group.
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
    if number is signal.SIGKILL:
        killed = [run_state.Watched(member.pid, member.started, member.name) for member in members]
        until(lambda: not any(one.alive for one in killed), 5, f"{given['program']} survives SIGKILL")


def relay(place: Place, given: dict[str, Any]) -> None:
    """Stand between kerbside-proxy, which has to connect to `port`, and qemu: a rule of spice_relay.py."""
    between = spice_relay.Relay(int(place.words["spice_port"]), spice_relay.change(given), int(given["port"]))
    place.undoing.append(between.close)


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
    user = pwd.getpwuid(os.getuid()).pw_name
    command = ["mariadb", "--no-defaults", f"--socket={place.lane_dir}/db.sock", f"--user={user}", "kerbside"]
    subprocess.run([*command, "-e", given["execute"]], check=True, capture_output=True, timeout=20)
    if "undo" in given:
        place.undoing.append(lambda: sql(place, {"execute": given["undo"]}))


def listen(place: Place, given: dict[str, Any]) -> None:
    """A stranger on a port of the lane, as soon as it is free: a thread of a killed program may hold it a moment."""

    def bound() -> bool:
        with suppress(OSError):
            place.undoing.append(socket.create_server(("127.0.0.1", int(given["port"]))).close)
            return True
        return False

    until(bound, 5, f"port {given['port']} is not free")


def machine(place: Place, given: dict[str, Any]) -> None:
    """A command for qemu by QMP, and another one as its undoing."""
    with qmp.Qmp.connect(str(place.lane_dir / "qmp.sock")) as link:
        link.execute(given["execute"], given.get("arguments"))
    if "undo" in given:
        place.undoing.append(lambda: machine(place, {"execute": given["undo"]}))


def key(place: Place, given: dict[str, Any]) -> None:
    """Press a key of the guest and wait for what it then `says` on the serial port; `undo` is another key, likewise."""
    serial = place.lane_dir / "logs/serial.log"
    before = serial.read_text(errors="replace").count(given["says"]) if "says" in given else 0
    machine(place, {"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": given["press"]}]}})
    if "undo" in given:

        def press_other() -> None:
            if live_group(place.lane_dir, "qemu"):
                key(place, given["undo"])

        place.undoing.append(press_other)
    if says := given.get("says"):
        problem = f"the guest does not say {says!r}"
        until(lambda: serial.read_text(errors="replace").count(says) != before, 10, problem)


def gone(place: Place, given: dict[str, Any]) -> None:
    """Wait until a program of the lane is not there any more."""
    until(lambda: not live_group(place.lane_dir, given["program"]), 10, f"{given['program']} does not end")


def play(place: Place, given: dict[str, Any]) -> None:
    """Run a part of the lane first, which has to fail when `fails` says so."""
    artifacts = place.scratch / "played"
    done = played.Lane(place.lane_id).play("lane.yml", artifacts, given["tags"], given.get("vars"))
    if bool(done.rc) != bool(given.get("fails")):
        raise RuntimeError(f"the run before the fault ended with {done.rc}: {done.line or done.tail()}")


def written(place: Place, given: dict[str, Any]) -> None:
    """Wait until a file has this text; with `new`, until it has been appended from now on."""
    path, text = Path(given["file"]), given["text"].encode()
    start = path.stat().st_size if given.get("new") else 0
    problem = f"{path} does not have {given['text']!r}"
    until(lambda: path.exists() and text in path.read_bytes()[start:], given.get("within", 60), problem)


def client(place: Place, given: dict[str, Any]) -> None:
    """Another ryll on the console, with a console.vv of its own from kerbside."""
    uuid = f"6f4e2c1a-0000-4000-8000-{place.lane_id:012d}"
    url = f"http://127.0.0.1:{place.words['api_port']}/console/proxy/direct-qemu/{uuid}/console.vv"
    token = (place.lane_dir / "secrets/bearer_token").read_text().strip()
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    file = place.scratch / "other.vv"
    with urllib.request.urlopen(request, timeout=20) as answer:
        file.write_bytes(answer.read())
    command = [place.words["ryll"], "--headless", "--file", file, "--control-socket", f"{place.scratch}/other.sock"]
    env = {"HOME": str(place.scratch), "PATH": os.environ["PATH"]}
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)

    def leave() -> None:
        other.terminate()
        other.wait(10)

    place.undoing.append(leave)


def away(place: Place, given: dict[str, Any]) -> None:
    """End a program and start it again, by the same command, once a file has a text; its record names the new one."""
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
        entry.group = subprocess.Popen(
            argv, env=environment, cwd=place.lane_dir, stdout=log, stderr=log, start_new_session=True, umask=0o077
        ).pid
    entry.save(str(place.lane_dir))
    server = given["socket"]

    def accepts() -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            return link.connect_ex(server) == 0

    until(accepts, 20, f"{given['program']} does not accept again")


def cgroup(place: Place, given: dict[str, Any]) -> None:
    """Run the lane in a cgroup of its own with this limit (v1 or v2)."""
    ((controller, limit),) = given.items()
    root = Path("/sys/fs/cgroup")
    old = root / controller
    folder = (old if old.is_dir() else root) / f"lane-faults-{place.lane_id}"
    folder.mkdir(exist_ok=True)
    name = "memory.limit_in_bytes" if old.is_dir() and controller == "memory" else f"{controller}.max"
    (folder / name).write_text(str(limit))

    def removed() -> bool:
        with suppress(OSError):
            folder.rmdir()
        return not folder.exists()

    place.undoing.append(lambda: until(removed, 10, f"{folder} cannot be removed"))
    place.prefix += ["sh", "-ec", f'echo $$ >{folder}/cgroup.procs; exec "$@"', "sh"]


def do(place: Place, actions: list[dict[str, Any]]) -> None:
    """Carry out actions, each a mapping with one key: the name of a function here or in made_wrong.py."""
    for action in actions:
        ((name, options),) = action.items()
        perform = globals().get(name) or getattr(made_wrong, name)
        perform(place, place.fill(options))


def prefix(fault: dict[str, Any], fill: Callable[[Any], Any]) -> list[str]:
    """Words before the command: namespaces with `mounts` or without a network, `limits`, capabilities (`without`)."""
    words: list[str] = ["unshare", "--net"] if fault.get("no_network") else []
    words += ["prlimit", *(f"--{name}={value}" for name, value in fault["limits"].items())] if "limits" in fault else []
    if mounts := fill(fault.get("mounts", [])):
        lines = []
        for mount in mounts:
            if "tmpfs" in mount:
                at, remount = mount["tmpfs"], "ro"
                lines.append(f"mount -t tmpfs -o size={mount.get('size', '1m')},mode=0700 lane-faults {at}")
            else:
                at, remount = mount["at"], "bind,ro"
                lines.append(f"mount --bind {mount['bind']} {at}")
            if mount.get("read_only"):
                lines.append(f"mount -o remount,{remount} {at}")
        words += ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "; ".join([*lines, 'exec "$@"']), "sh"]
    if caps := fault.get("without"):
        words += ["setpriv", f"--bounding-set={','.join(f'-{c}' for c in caps)}"]
    return words


def needs_root(fault: dict[str, Any]) -> bool:
    """Whether only root can inject it: mounts, capabilities, device nodes, cgroups, directories of others."""
    for action in fault.get("do", []):
        ((name, options),) = action.items()
        if name in ("device", "cgroup") or "owner" in options:
            return True
    return bool({"mounts", "without", "no_network"} & set(fault))
