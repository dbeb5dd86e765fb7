"""Start a keeper: a small process outside of Ansible that takes a lane down when nothing else will.

lane_run starts it before it makes anything, so that from the first directory on something is there to clean up. It
waits (keeper_wait), without polling, for one of:

- the end of a process that it watches: ansible-playbook, or `./lane` above it, of a full run;
- the end of the lease of a lane that keeps running;
- for a full run of an ansible-playbook on another machine, the end of its heartbeat: then it polls the time of a file;
- SIGTERM, which teardown sends when the lane is gone, and the machine when it shuts down.

Then (keeper_end) it ends what that ansible-playbook had started and not yet waited for, keeps the evidence, takes down
what is left of this one run, and ends itself. Its code is passed in memory (memfd_create(2)): the lane's directory does
not exist yet, and Ansible deletes a module's files when the module ends. docs/no-trace.md explains the design.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import zipfile
from dataclasses import asdict
from typing import Any

from ..core.errors import LaneError
from ..core.private_dir import MARK, RUN_FILE
from ..programs import stop
from . import keeper_end, keeper_wait, proc
from .run_state import KEEPER, OWNER, SCRIPTS, Order, Watched, at_work, keepers

READY_LIMIT = 10.0  #: seconds until a new keeper must report that it watches; 0.1 were measured
#: seconds between a keeper's start and the run.json of its run, or between the removal of run.json and the keeper's
#: end; 0.1 were measured
MAKE_LIMIT = 3.0
END_LIMIT = 12.0  #: seconds that a keeper may need to take its lane down
LONGEST_LEASE = 7 * 24 * 3600.0
MAIN = "from lane.lifecycle import keeper_wait\nkeeper_wait.main()\n"
#: Imported by a keeper when its wait is over; here only so that their source is at hand.
NEEDED = (keeper_wait, keeper_end)


def watched() -> tuple[str, list[Watched]]:
    """(LANE_OWNER, the processes that a full run depends on): the ansible-playbook of this module, first, and the
    scripts above it.

    Over ssh there are none, and the heartbeat counts. Raises LaneError (lane) when one of them has ended already: then
    nothing may be started.
    """
    owner = os.environ.get(OWNER, "")
    above = proc.own_line()
    found = []
    scripts = [(pid, "./lane") for pid in os.environ.get(SCRIPTS, "").split()]
    for pid, name in [(owner.partition("-")[0], "ansible-playbook"), *scripts]:
        if pid.isdigit():
            process = proc.read(int(pid))
            if int(pid) not in above or process is None:
                problem = f"{name} (pid {pid}), which started this run, has ended"
                raise LaneError("owner_gone", "lane", problem, "start the run again")
            found.append(Watched(process.pid, process.started, name))
    return owner, found


def spawn(order: Order) -> proc.Process:
    """Start a keeper and wait until it watches. Raises LaneError (lane) when it does not."""
    code = os.memfd_create("kerbside-lane-keeper", 0)
    read_end, write_end = os.pipe()
    try:
        os.write(code, sources())
        base = {"PATH": "/usr/bin:/bin", "HOME": order.lane_dir, "LANG": "C.UTF-8"}
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", f"/proc/self/fd/{code}", str(write_end), json.dumps(asdict(order))],
            env={**base, MARK: order.run.mark, KEEPER: "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(code, write_end),
            umask=0o077,
        )
        keeper.returncode = 0  # it outlives this process on purpose: Popen must not warn about it
        os.close(write_end)
        write_end = -1
        ready, _, _ = select.select([read_end], [], [], READY_LIMIT)
        answer = os.read(read_end, 4096).decode(errors="replace") if ready else None
    finally:
        for descriptor in (code, read_end, write_end):
            if descriptor >= 0:
                os.close(descriptor)
    found = proc.read(keeper.pid)
    if answer != "ready" or not found:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(keeper.pid, signal.SIGKILL)
        why = f"it did not answer within {READY_LIMIT:g} s" if answer is None else "it ended at once"
        raise LaneError("keeper_failed", "lane", f"cannot start the lane's keeper: {why}", "see docs/no-trace.md")
    return found


def sources() -> bytes:
    """The loaded modules of this package as a zip file that Python can run."""
    package = __name__.rpartition(".lifecycle.")[0]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("__main__.py", MAIN)
        archive.writestr("lane/__init__.py", "")
        for name, module in sorted(sys.modules.items()):
            loader: Any = getattr(module, "__loader__", None)
            if name.startswith(package + ".") and hasattr(loader, "get_source"):
                path = name[len(package) + 1 :].replace(".", "/") + ("/__init__" if hasattr(module, "__path__") else "")
                archive.writestr(f"lane/{path}.py", loader.get_source(name))
    return out.getvalue()


def order_of(process: proc.Process) -> Order | None:
    """What a keeper was started with, from its command line; None for one that has ended."""
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            return Order.parse(json.loads(file.read().split(b"\0")[-2]))
    except (OSError, IndexError, ValueError):
        return None


def without_run(lane_id: int) -> list[Order]:
    """The orders of keepers without a run.json: it is about to be written, or teardown has just removed it."""
    orders = [order_of(process) for process in keepers(lane_id)]
    return [order for order in orders if order and not os.path.lexists(os.path.join(order.lane_dir, RUN_FILE))]


def end_others(lane_id: int, lane_dir: str, command: str) -> list[str]:
    """End another command that works on this lane, through its keeper if the run is its own, so that it says that it
    was stopped and not that a part was lost. lane_dir: of this user; command: the id of this one. Returns what was
    stopped, in words.
    """
    ended = []
    for process in keepers(lane_id):
        order = order_of(process)
        if order and order.bound and order.command != command:
            stop.end_groups({process.group}, signal.SIGTERM, END_LIMIT)
            ended += [f"{w.name} (pid {w.pid})" for w in order.watched[:1]] or ["ansible-playbook on another machine"]
    if other := at_work(lane_dir):
        keeper_end.end_watched(other)
        ended.append(f"{other.name} (pid {other.pid})")
    return ended


def dismiss(lane_id: int, run_id: str = "") -> None:
    """End the keepers of a lane that is gone. Raises LaneError (lane) when one stays."""
    if found := keepers(lane_id, run_id):
        stop.end_groups({p.group for p in found}, signal.SIGTERM, 3.0)
