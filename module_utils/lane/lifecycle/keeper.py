"""The keeper: a small process outside of Ansible that takes a lane down when nobody else will.

lane_run starts it before it makes anything, so from the first directory on there is somebody to clear up. It waits (keeper_wait), without a tick, for one of:

- a process that it watches has ended: ansible-playbook, or `./lane` above it, of a full run;
- the lease of a lane that was asked to stay up is over;
- SIGTERM, which teardown sends when the lane is gone, and the machine when it goes down.

Then it ends what that ansible-playbook had started and not yet seen end, keeps the evidence, takes down what is left of this one run, and ends itself.
Its code is handed to it in memory (memfd_create(2)): the directory of the lane is not there yet, and Ansible deletes a module's files when that ends.
docs/no-trace.md says why it is made so.
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
import time
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..core import private_dir
from ..core.errors import LaneError, legacy_error
from . import proc

#: In the environment of all that an ansible-playbook starts, "<pid>-<random>"; set by plugins/callback/lane.py.
OWNER = "LANE_OWNER"
#: The pids of the scripts above ansible-playbook, with blanks between; each `./lane` adds itself.
SCRIPTS = "LANE_SCRIPTS"
#: In the environment of a keeper, beside the mark.
KEEPER = "LANE_KEEPER"
#: Ansible's apt module sets this for apt-get and its children, which nobody may kill at their work: half a package belongs to the machine, not to the lane.
PACKAGES = "DEBIAN_PRIORITY"
READY_LIMIT = 10.0  #: seconds until a new keeper has to say that it watches; 0.1 were seen
MAKE_LIMIT = 3.0  #: seconds between a keeper's start and the run.json of its run, or between the removal of that and the keeper's end; 0.1 were seen
END_LIMIT = 12.0  #: seconds that a keeper may need to take its lane down
STOP_LIMIT = 1.0  #: seconds that it gives each program between TERM and KILL: the whole lane has to be gone in 10
ROUNDS = 5
LONGEST_LEASE = 7 * 24 * 3600.0
MAIN = "from lane.lifecycle import keeper_wait\nkeeper_wait.main()\n"


@dataclass(frozen=True)
class Watched:
    """A process that has to live as long as the run. `started` is in clock ticks since boot, as in proc.Process."""

    pid: int
    started: int
    name: str

    @property
    def alive(self) -> bool:
        found = proc.read(self.pid)
        return found is not None and found.alive and found.started == self.started


@dataclass(frozen=True)
class Order:
    """What a keeper is told. watched: none for a lane that stays up until the lease, in seconds since its last use, is over.

    owner: the value of LANE_OWNER. command: the id of the ansible-playbook command (core/check_report.py).
    timeline, verdict_file, ansible_log: files of ansible-playbook and of `./lane` that their killing leaves behind, or "".
    """

    lane_id: int
    run_id: str
    started: float
    lane_dir: str
    artifacts_dir: str
    ports: dict[str, int]
    lease: float
    watched: list[Watched]
    owner: str
    timeline: str
    verdict_file: str
    planned: list[str]
    versions: dict[str, str]
    ansible_log: str = ""
    command: str = ""

    @property
    def run(self) -> private_dir.Run:
        return private_dir.Run(self.lane_id, self.run_id, self.started)


def watched() -> tuple[str, list[Watched]]:
    """(LANE_OWNER, what a full run depends on): the ansible-playbook that this module belongs to, first, and the scripts above it.

    Over ssh there are none, and the lease alone counts. Raises LaneError (lane) when one of them is gone already: then nothing may be started any more.
    """
    owner = os.environ.get(OWNER, "")
    above = proc.own_line()
    found = []
    for pid, name in [(owner.partition("-")[0], "ansible-playbook")] + [(pid, "./lane") for pid in os.environ.get(SCRIPTS, "").split()]:
        if pid:
            process = proc.read(int(pid))
            if int(pid) not in above or process is None:
                raise legacy_error("lane", f"{name} (pid {pid}) to be there for its run", "it is gone", "docs/no-trace.md")
            found.append(Watched(process.pid, process.started, name))
    return owner, found


def spawn(order: Order) -> proc.Process:
    """Start a keeper and wait until it watches. Raises LaneError (lane) when it does not."""
    code = os.memfd_create("kerbside-lane-keeper", 0)
    read_end, write_end = os.pipe()
    try:
        os.write(code, sources())
        environment = {"PATH": "/usr/bin:/bin", "HOME": order.lane_dir, "LANG": "C.UTF-8", private_dir.MARK: order.run.mark, KEEPER: "1"}
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", f"/proc/self/fd/{code}", str(write_end), json.dumps(asdict(order))],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(code, write_end),
            umask=0o077,
        )
        keeper.returncode = 0  # it is meant to outlive this process: nothing for Popen to warn about
        os.close(write_end)
        write_end = -1
        ready, _, _ = select.select([read_end], [], [], READY_LIMIT)
        said = os.read(read_end, 4096).decode(errors="replace") if ready else "nothing"
    finally:
        for descriptor in (code, read_end, write_end):
            if descriptor >= 0:
                os.close(descriptor)
    found = proc.read(keeper.pid)
    if said != "ready" or not found:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(keeper.pid, signal.SIGKILL)
        raise legacy_error("lane", f"the lane's keeper to watch within {READY_LIMIT:g} s", f"it said {said or 'nothing and ended'}", "docs/no-trace.md")
    return found


def sources() -> bytes:
    """This package's modules that are loaded, as a zip file that Python can run."""
    # What the keeper will need; here it is only read.
    from ..evidence import verdict  # noqa: F401
    from . import claim, keeper_wait, teardown  # noqa: F401

    package = __name__.rpartition(".lifecycle.")[0]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("__main__.py", MAIN)
        archive.writestr("lane/__init__.py", "")
        for name, module in sorted(sys.modules.items()):
            loader: Any = getattr(module, "__loader__", None)
            if name.startswith(package + ".") and hasattr(loader, "get_source"):
                path = name[len(package) + 1 :].replace(".", "/") + ("/__init__.py" if hasattr(module, "__path__") else ".py")
                archive.writestr(f"lane/{path}", loader.get_source(name))
    return out.getvalue()


def keepers(lane_id: int, run_id: str = "") -> list[proc.Process]:
    """The live keepers of a lane, of one run of it if that is named."""
    return [p for p in proc.marked(lane_id, run_id) if proc.environ(p.pid, KEEPER)]


def told(given: dict[str, Any]) -> Order:
    """The order as it stands in a keeper's command line."""
    return Order(**{**given, "watched": [Watched(**w) for w in given["watched"]]})


def order_of(process: proc.Process) -> Order | None:
    """What a keeper was told, from its command line; None for one that has ended."""
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            given = json.loads(file.read().split(b"\0")[-2])
        return told(given)
    except (OSError, IndexError, ValueError):
        return None


def without_run(lane_id: int) -> list[Order]:
    """What the lane's keepers were told whose run has no run.json: one that is about to write it, or that teardown has just removed."""
    orders = [order_of(process) for process in keepers(lane_id)]
    return [order for order in orders if order and not os.path.lexists(os.path.join(order.lane_dir, private_dir.RUN_FILE))]


def dismiss(lane_id: int, run_id: str = "") -> None:
    """Tell the keepers of a lane that is gone to end, and see that they do. Raises LaneError (lane) when one stays."""
    from ..programs import stop

    if found := keepers(lane_id, run_id):
        stop.end_groups({p.group for p in found}, signal.SIGTERM, 3.0)


def wait_for_end(lane_id: int, run_id: str, limit: float = END_LIMIT) -> bool:
    """True when no keeper of that run is left, after at most `limit` seconds."""
    return until(lambda: not keepers(lane_id, run_id), limit)


def until(holds: Any, limit: float) -> bool:
    """Look every 50 ms until it holds; False when it did not within `limit` seconds."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


# --- in the keeper's own process ----------------------------------------------------------------


def act(given: dict[str, Any], cause: str, asked: bool, timeline: int, ansible: int) -> None:
    """Called when the wait of keeper_wait is over. asked: by SIGTERM; when the lane is gone by then, teardown sent it and nothing is to be done.

    timeline, ansible: descriptors of the callback plugin's list of phases and of what Ansible said, or -1.
    """
    order = told(given)
    try:
        if not asked or _claimed(order):
            end(order, cause, _phases(timeline), _text(ansible))
    except Exception:
        _note(order, traceback.format_exc())
        raise


def _claimed(order: Order) -> bool:
    """True while lane_dir is there and is this run's."""
    try:
        return private_dir.read_run(order.lane_dir).run_id == order.run_id
    except LaneError:
        return False


def end(order: Order, cause: str, phases: list[dict[str, Any]], ansible: str = "") -> None:
    """Leave nothing of this run: what is at work for it, its evidence apart, its programs, its directory, and the files of who was killed."""
    from . import teardown

    end_owner(order)
    began = time.monotonic()
    claimed = _claimed(order)
    fault = interrupted(cause, phases)
    if claimed:
        try:
            keep_evidence(order, fault, phases, ansible)
        except Exception:
            _note(order, traceback.format_exc())
    words = [cause]
    failure: LaneError | None = None
    for _ in range(ROUNDS):
        try:
            done = teardown.take_down(order.lane_id, order.lane_dir, order.ports, STOP_LIMIT, run_id=order.run_id)
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


def interrupted(cause: str, phases: list[dict[str, Any]]) -> LaneError:
    """The failure of a run that did not come to its own end."""
    phase = phases[-1]["name"] if phases else "claim"
    return legacy_error("lane", "the run to come to its own end", f"in phase {phase} {cause}; the lane's keeper took it down", "docs/no-trace.md")


def end_owner(order: Order) -> None:
    """End ansible-playbook, if only the script above it was killed, and what it had at work."""
    owner = next((w for w in order.watched if w.name == "ansible-playbook"), None)
    if owner and owner.alive:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(owner.pid)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if owner.alive:
                    signal.pidfd_send_signal(descriptor, number)
                    until(lambda: not owner.alive, STOP_LIMIT)
            os.close(descriptor)
    if order.watched:
        end_inflight(order.owner)


def inflight(owner: str) -> Iterator[proc.Process]:
    """What an ansible-playbook has at work: its modules and their children, but for the system's package manager."""
    if not owner:
        return
    for process in proc.everyone():
        if process.alive and process.pid != os.getpid() and proc.environ(process.pid, OWNER) == owner and proc.environ(process.pid, PACKAGES) is None:
            yield process


def end_inflight(owner: str) -> bool:
    """End it, by SIGINT first: a module then removes its own temporary files. True when there was something."""
    found = list(inflight(owner))
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in inflight(owner):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        if until(lambda: not any(inflight(owner)), STOP_LIMIT):
            break
    return bool(found)


def keep_evidence(order: Order, fault: LaneError, phases: list[dict[str, Any]], ansible: str) -> None:
    """Write result.json for this run, unless it got as far as to have one."""
    from ..evidence import verdict
    from . import claim

    if verdict.of_run(order.artifacts_dir, order.run):
        return
    if order.watched:
        claim.make_place(order.lane_dir, order.artifacts_dir, order.run)
        known: dict[str, Any] = {
            "planned": order.planned,
            "failure": {},
            "phases": phases,
            "versions": order.versions,
            "ansible": ansible,
            "command": order.command,
        }
        result = verdict.write(order.lane_dir, order.artifacts_dir, order.run, **known)
        if not result["blame"] or not result["blame"]["code"].startswith("secret_"):
            blame = {**fault.as_dict(), "phase": phases[-1]["name"] if phases else "claim"}
            verdict.save(order.artifacts_dir, {**result, "verdict": "error", "blame": blame})


def _close(order: Order, fault: LaneError, failure: LaneError | None, seconds: float) -> None:
    """Complete result.json, unless teardown had come so far itself."""
    from ..evidence import verdict

    known = verdict.of_run(order.artifacts_dir, order.run)
    if not known or (known["phases"] and known["phases"][-1]["name"] == "teardown"):
        return
    if order.watched:  # one that was left up has the result of a command that ended long ago
        phase = {"name": "teardown", "seconds": seconds}
        verdict.close(order.artifacts_dir, order.run, order.command, phase, (failure or fault).as_dict())


def _remove_files(order: Order) -> None:
    """Remove what ansible-playbook and `./lane` could not: they are dead when this runs, or remove it themselves."""
    import shutil

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
    """The phases as the callback plugin last wrote them; [] when it was not there or was writing."""
    try:
        return list(json.loads(_text(timeline) or "[]"))
    except ValueError:
        return []


def _text(file: int) -> str:
    """What a file holds that was opened when it was still there."""
    return os.pread(file, 1 << 22, 0).decode(errors="replace") if file >= 0 else ""


def _note(order: Order, words: str) -> None:
    """What the keeper did, for people: artifacts/keeper.log."""
    with contextlib.suppress(OSError):
        with open(os.path.join(order.artifacts_dir, "keeper.log"), "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} lane {order.lane_id}, run {order.run_id}\n{words}\n")
            os.fchmod(file.fileno(), 0o644)
