"""What a keeper does when its wait is over: end the run's processes, keep its evidence, remove its directory.

Runs in the keeper's own process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from typing import Any

from ..core import private_dir
from ..core.errors import LaneError
from ..evidence import verdict
from . import artifacts, proc, teardown
from .run_state import OWNER, Order, Watched, until

#: Ansible's apt module sets this for apt-get and its children, which are never killed: that could leave a
#: half-installed package.
PACKAGES = "DEBIAN_PRIORITY"
STOP_LIMIT = 1.0  #: seconds between TERM and KILL for each program: the whole lane must be gone within 10
ROUNDS = 5


def act(given: dict[str, Any], cause: str, asked: bool, timeline: int, ansible: int) -> None:
    """Called when the wait of keeper_wait is over. asked: by SIGTERM; if the lane is gone by then, teardown sent it and
    nothing is to be done.

    timeline, ansible: descriptors of the callback plugin's list of phases and of Ansible's output, or -1.
    """
    order = Order.parse(given)
    try:
        if not asked or _claimed(order):
            end(order, cause, _phases(timeline), _text(ansible))
    except Exception:
        _note(order, traceback.format_exc())
        raise


def _claimed(order: Order) -> bool:
    """True while lane_dir exists and is this run's."""
    try:
        return private_dir.read_run(order.lane_dir).run_id == order.run_id
    except LaneError:
        return False


def end(order: Order, cause: str, phases: list[dict[str, Any]], ansible: str) -> None:
    """End what works for this run and its programs, and leave nothing of it but its evidence."""
    end_owner(order)
    began = time.monotonic()
    claimed = _claimed(order)
    begun = "" if order.heartbeat else "claim"  # an ansible-playbook on another machine keeps the phase to itself
    phase = str(phases[-1]["name"]) if phases else begun
    where = f" in phase {phase}" if phase else ""
    fault = LaneError("aborted", "lane", f"the run was aborted{where}: {cause}; the lane's keeper took it down")
    if claimed:
        try:
            keep_evidence(order, {**fault.as_dict(), "phase": phase or None}, phases, ansible)
        except Exception:
            _note(order, traceback.format_exc())
    words = [cause]
    failure: LaneError | None = None
    for _ in range(ROUNDS):
        try:
            done = teardown.take_down(order.lane_id, order.lane_dir, order.ports, run_id=order.run_id)
            words += [f"ended {name}" for name in done["ended"]] + [f"removed {path}" for path in done["removed"]]
            failure = None
        except LaneError as error:
            words.append(str(error))
            failure = error
        if not failure and not end_inflight(order.owner):
            break
    _close(order, fault, failure, round(time.monotonic() - began, 3))
    _remove_files(order)
    if claimed:
        _note(order, "\n".join(words))


def end_owner(order: Order) -> None:
    """End ansible-playbook, if only the script above it was killed, and the modules that it has running."""
    if owner := next((w for w in order.watched if w.name == "ansible-playbook"), None):
        end_watched(owner)
    if order.bound:
        end_inflight(order.owner)


def end_watched(process: Watched) -> None:
    """End a process that may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.alive:
                signal.pidfd_send_signal(descriptor, number)
                until(lambda: not process.alive, STOP_LIMIT)
        os.close(descriptor)


def inflight(owner: str) -> Iterator[proc.Process]:
    """What an ansible-playbook has running: its modules and their children, except the system's package manager."""
    if not owner:
        return
    for process in proc.everyone():
        mine = process.alive and process.pid != os.getpid() and proc.environ(process.pid, OWNER) == owner
        if mine and proc.environ(process.pid, PACKAGES) is None:
            yield process


def end_inflight(owner: str) -> bool:
    """End it, by SIGINT first, so that a module removes its own temporary files. True when there was something."""
    found = list(inflight(owner))
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in inflight(owner):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        if until(lambda: not any(inflight(owner)), STOP_LIMIT):
            break
    return bool(found)


def keep_evidence(order: Order, blame: dict[str, Any], phases: list[dict[str, Any]], ansible: str) -> None:
    """Write result.json for this run, unless the run wrote one itself."""
    if verdict.of_run(order.artifacts_dir, order.run) or not order.bound:
        return
    private_dir.make_folders(order.lane_dir)
    artifacts.claim(order.artifacts_dir, order.run)
    result = verdict.write(
        order.lane_dir,
        order.artifacts_dir,
        order.run,
        planned=order.planned,
        failure={},
        phases=phases,
        versions=order.versions,
        ansible=ansible,
        command=order.command,
    )
    if not result["blame"] or not result["blame"]["code"].startswith("secret_"):
        verdict.save(order.artifacts_dir, {**result, "verdict": "error", "blame": blame})


def _close(order: Order, fault: LaneError, failure: LaneError | None, seconds: float) -> None:
    """Complete result.json, unless teardown got that far itself."""
    known = verdict.of_run(order.artifacts_dir, order.run)
    if not known or (known["phases"] and known["phases"][-1]["name"] == "teardown"):
        return
    if order.bound:  # a lane that kept running has the result of a command that ended long ago
        phase = {"name": "teardown", "seconds": seconds}
        verdict.close(order.artifacts_dir, order.run, order.command, phase, (failure or fault).as_dict())


def _remove_files(order: Order) -> None:
    """Remove the temporary files of an ansible-playbook and a `./lane` that were killed; others remove theirs."""
    if any(w.alive for w in order.watched if w.name == "ansible-playbook") or not order.watched:
        return
    folder = os.path.dirname(order.timeline)
    if os.path.basename(folder).startswith("ansible-local-"):
        shutil.rmtree(folder, ignore_errors=True)
    if order.verdict_file and not any(w.alive for w in order.watched):
        for path in (order.verdict_file, order.ansible_log):
            with contextlib.suppress(OSError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(order.verdict_file))


def _phases(timeline: int) -> list[dict[str, Any]]:
    """The phases as the callback plugin last wrote them; [] when there were none, or it was writing."""
    try:
        return list(json.loads(_text(timeline) or "[]"))
    except ValueError:
        return []


def _text(file: int) -> str:
    """The content of a file that was opened while it existed."""
    return os.pread(file, 1 << 22, 0).decode(errors="replace") if file >= 0 else ""


def _note(order: Order, words: str) -> None:
    """Append what the keeper did to keeper.log of the artifacts."""
    now, path = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.path.join(order.artifacts_dir, "keeper.log")
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(f"{now} lane {order.lane_id}, run {order.run_id}\n{words}\n")
        os.fchmod(file.fileno(), 0o644)
