"""Processes and their sockets as /proc shows them. Linux only; nothing here keeps state.

Shapes follow proc(5): /proc/PID/stat, /proc/PID/environ, /proc/net/tcp.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..core import proc_stat
from ..core.private_dir import MARK

LISTEN = "0A"
ESTABLISHED = "01"


@dataclass(frozen=True)
class Process:
    """One live process; `started` is its start time in clock ticks since boot, so (pid, started) never repeats."""

    pid: int
    parent: int
    group: int
    state: str
    started: int
    name: str
    threads: int = 1

    @property
    def alive(self) -> bool:
        """False for a zombie: it has ended, and only waits for its parent to reap it.

        A zombie with threads left is alive: only its first thread has ended, and the others keep its sockets open (seen
        with a killed qemu).
        """
        return self.state not in "ZX" or self.threads > 1


@dataclass(frozen=True)
class Connection:
    """One TCP socket, ends as (address, port). timer: the number of the one that runs, as in /proc/net/tcp."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: str
    inode: int
    timer: str = ""


def read(pid: int) -> Process | None:
    """The process with this pid, or None when there is none."""
    if (found := proc_stat.read(pid)) is None:
        return None
    name, fields = found
    wanted = (proc_stat.PARENT, proc_stat.GROUP, proc_stat.THREADS, proc_stat.STARTED)
    parent, group, threads, started = (int(fields[n]) for n in wanted)
    return Process(pid, parent, group, fields[proc_stat.STATE], started, name, threads)


def everyone() -> Iterator[Process]:
    """Every process, as it is now."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := read(int(entry))):
            yield process


def group_members(group: int) -> list[Process]:
    """The live processes of a process group."""
    return members([group]).get(group, [])


def members(groups: Collection[int]) -> dict[int, list[Process]]:
    """The live processes of these process groups, by group; one without any is left out."""
    found: dict[int, list[Process]] = {}
    for process in everyone():
        if process.alive and process.group in groups:
            found.setdefault(process.group, []).append(process)
    return found


def program_of(group: int) -> int | None:
    """The pid of the program that the group's first process started; None when it has ended."""
    return next((p.pid for p in group_members(group) if p.parent == group), None)


def environ(pid: int, name: str) -> str | None:
    """The value of `name` in the environment that a process began with; None when unset, gone or not readable."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return None
    prefix = name.encode() + b"="
    return next((e[len(prefix) :].decode(errors="replace") for e in entries if e.startswith(prefix)), None)


def marked(lane_id: int, run_id: str = "") -> list[Process]:
    """The live processes of this user with the mark of this lane, or only of one run of it."""
    return [p for p, mark in marks() if mark.startswith(f"{lane_id}/{run_id}")]


def marks() -> Iterator[tuple[Process, str]]:
    """The live processes of this user with a mark, and that mark."""
    for process in everyone():
        mark = environ(process.pid, MARK) if process.alive else None
        if mark and ours(process.pid):
            yield process, mark


def ours(pid: int) -> bool:
    """Whether it is this user's: root can read the environments of others, who may have a lane of that number."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False


def connections() -> list[Connection]:
    """All TCP sockets of this network namespace; a listener over IPv6 may take the port of one over IPv4."""
    found = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{name}", encoding="ascii") as file:
            next(file)
            for line in file:
                fields = line.split()
                found.append(Connection(_end(fields[1]), _end(fields[2]), fields[3], int(fields[9]), fields[5][:2]))
    return found


def _end(text: str) -> tuple[str, int]:
    address, port = text.split(":")
    words = struct.unpack(f">{len(address) // 8}I", bytes.fromhex(address))  # each in the byte order of the machine
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16)


def socket_inodes(pids: Iterable[int]) -> set[int]:
    """The inodes of the sockets that these processes hold; those of other users cannot be seen and count as none."""
    inodes = set()
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes


def group_listens(group: int, port: int) -> bool:
    """True when a process of this group holds the listener on 127.0.0.1:port (or on all addresses)."""
    inodes = _listening([port]).get(port, set())
    return bool(inodes) and not inodes.isdisjoint(socket_inodes(p.pid for p in group_members(group)))


def listeners(ports: Collection[int]) -> dict[int, str]:
    """Who listens on these TCP ports, in words ("nginx, pid 12"); those that are free are left out."""
    inodes = _listening(ports)
    found: dict[int, str] = {}
    for process in everyone() if inodes else ():
        held = socket_inodes([process.pid])
        for port in inodes.keys() - found.keys():
            if inodes[port] & held:
                mark = environ(process.pid, MARK) if ours(process.pid) else None
                lane = f" of lane {mark.partition('/')[0]}" if mark else ""
                found[port] = f"{process.name}{lane}, pid {process.pid}"
    return {port: found.get(port, "a process of another user") for port in sorted(inodes)}


def _listening(ports: Collection[int]) -> dict[int, set[int]]:
    """The inodes of the sockets that listen on these ports, by port."""
    inodes: dict[int, set[int]] = {}
    for connection in connections():
        if connection.state == LISTEN and connection.local[1] in ports:
            inodes.setdefault(connection.local[1], set()).add(connection.inode)
    return inodes


def listener(port: int) -> str | None:
    """Who listens on a TCP port, in words, or None when it is free."""
    return listeners([port]).get(port)


def own_line() -> set[int]:
    """The pids of this process and of all its ancestors."""
    pids, pid = set(), os.getpid()
    while pid and (process := read(pid)):
        pids.add(pid)
        pid = process.parent
    return pids
