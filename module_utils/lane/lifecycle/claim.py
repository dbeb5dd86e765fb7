"""Claim a lane: its directory, its run, its secrets.

Everything that can be refused is refused here, before anything starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from ..core import check_report, layout, private_dir
from ..core.errors import LaneError
from ..core.private_dir import RUN_FILE, Run, alone, handed_over, write_private
from ..programs import records, stop
from . import artifacts, keeper, proc, run_state, teardown
from .run_state import Holder, Order, Watched

#: sun_path of a unix socket holds this many bytes (unix(7)), not counting the final zero; ryll and gunicorn refuse 108
#: too.
SOCKET_PATH_MAX = 107


@dataclass(frozen=True)
class Options:
    """How a lane is claimed.

    fresh: only a new run will do, so that a lane that is running is refused. existing: only a lane that is running will
    do, and nothing is claimed. stay: the lane keeps running when this command ends, until `lease` seconds have passed
    since its last use; otherwise it ends with the command. heartbeat: seconds in which this command, on another
    machine, gives a sign of life; 0: it is on this one. keeper: start one for a new run. timeline: the file with the
    phases so far. planned, versions: what the keeper writes, with the phases, to result.json for a run that is killed.
    """

    lane_id: int
    lane_dir: str
    artifacts_dir: str
    ports: dict[str, int]
    fresh: bool
    existing: bool = False
    stay: bool = True
    lease: float = 7200.0
    keeper: bool = False
    planned: Sequence[Any] = ()
    versions: dict[str, str] = field(default_factory=dict)
    heartbeat: float = 0.0
    timeline: str = ""

    @property
    def stop_command(self) -> str:
        return f"./lane down -e lane_id={self.lane_id}"


def check(options: Options) -> None:
    """Raise LaneError (environment) for options that cannot work."""
    if not 0 <= options.lane_id <= 99:
        _bad(f"lane_id is {options.lane_id}", "use a number from 0 to 99")
    for name, port in options.ports.items():
        if not 1024 <= port <= 65535:
            _bad(f"{name} is {port}", "use a port from 1024 to 65535 (lane_port_base)")
    if len(set(options.ports.values())) < len(options.ports):
        ports = ", ".join(f"{name} {port}" for name, port in options.ports.items())
        _bad(f"two of the lane's ports are the same ({ports})", "give each a port of its own")
    for name, path in (("lane_dir", options.lane_dir), ("lane_artifacts_dir", options.artifacts_dir)):
        if not os.path.isabs(path):
            _bad(f"{name} is {path!r}", "use an absolute path")
    # it is part of qemu's options, of a database URL and of SQL
    if not re.fullmatch(r"[\w./-]+", options.lane_dir, re.ASCII):
        _bad(f"lane_dir is {options.lane_dir!r}", "use letters, digits and _ . / - only")
    longest = max(layout.Layout(options.lane_dir).sockets, key=len)
    if (length := len(longest)) > SOCKET_PATH_MAX:
        problem = f"the path of a unix socket can have {SOCKET_PATH_MAX} bytes, but {longest} has {length}"
        raise LaneError("socket_path_too_long", "environment", problem, "set a shorter lane_dir")
    if not 1 <= options.lease <= keeper.LONGEST_LEASE:
        _bad(f"lane_lease is {options.lease:g}", f"use 1 to {keeper.LONGEST_LEASE:g} seconds")
    if artifacts.within(options.artifacts_dir, options.lane_dir):
        problem = f"lane_artifacts_dir is {options.artifacts_dir}, which teardown removes with lane_dir"
        _bad(problem, "set it to a path outside lane_dir")
    artifacts.check(options.artifacts_dir)


def _bad(problem: str, fix: str) -> NoReturn:
    raise LaneError("bad_input", "environment", problem, fix)


def check_loopback() -> None:
    """Raise LaneError when 127.0.0.1 cannot be reached, as in a network namespace whose `lo` is down."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    except OSError as error:
        problem = f"programs cannot reach each other on 127.0.0.1: {error.strerror or error}"
        fix = "bring the loopback interface up (ip link set lo up)"
        raise LaneError("no_loopback", "environment", problem, fix) from None


def claim(options: Options, warn: Callable[[str], None] = lambda _: None) -> tuple[bool, Run]:
    """Make the lane's directory for a new run, or find the run that is there. Returns (changed, run).

    What an earlier run left (its ansible-playbook has ended, or its lease is over) is removed if it is this user's, and
    `warn` gets a sentence about it. Of several claims at the same moment one gets the lane, and the others find its
    run. Raises LaneError when the lane is running and a new run is wanted or it is not and an existing one is, when a
    port is taken, or when a directory cannot be this user's. A refused claim leaves a result.json, unless the artifacts
    belong to a run that goes on.
    """
    try:
        writable = artifacts.begin(options.lane_dir, options.artifacts_dir, options.fresh)
    except (LaneError, OSError):  # what is wrong with the artifacts directory is reported by check
        writable = False
    try:
        check(options)
        check_loopback()
        with alone(options.lane_id):
            return find_or_make(options, warn)
    except LaneError as error:
        if writable:
            with contextlib.suppress(OSError):
                error.result["lane_verdict"] = artifacts.refuse(
                    options.artifacts_dir, options.lane_id, error.as_dict(), options.planned
                )
        raise


def find_or_make(options: Options, warn: Callable[[str], None]) -> tuple[bool, Run]:
    """The same as claim, for a caller that holds the lane's lock."""
    wait_for_others(options)
    try:
        run = run_state.owned(options.lane_id, options.lane_dir)
        held = run_state.holder(options.lane_dir)
        alive = proc.marked(options.lane_id)
        running = alive and (held is None or held.alive)
        if run and running and not options.fresh and not (held and held.order.bound):
            if other := run_state.at_work(options.lane_dir):
                refuse(options, f"is in use by {other.name} (pid {other.pid})", "wait for that command, or end it,")
            return keep_on(options, run, held)
        refuse_live(options, run, held, alive)
        if options.existing:
            raise run_state.not_running(options.lane_id)
        if alive or (run and options.fresh):
            removed = clear(options, run, held)
            left_by = f"run {run.run_id}" if run else "an earlier run"
            warn(f"lane {options.lane_id}: removed what {left_by} had left: {', '.join(removed) or 'its keeper'}")
            run = None
        taken = proc.listeners(options.ports.values())
        for name, port in options.ports.items():
            if owner := taken.get(port):
                problem = f"port {port} ({name}) is taken by {owner}"
                raise LaneError("port_taken", "environment", problem, "end that program, or use another lane_id")
        if run:
            return keep_on(options, run, held)
        if os.path.lexists(options.lane_dir):
            teardown.remove(options.lane_dir)
        return True, make(options)
    except OSError as error:
        problem = f"cannot write to {error.filename or options.lane_dir}: {error.strerror}"
        fix = "set lane_dir and lane_artifacts_dir to paths that can be written"
        raise LaneError("not_writable", "environment", problem, fix) from None


def wait_for_others(options: Options) -> None:
    """Wait while a keeper removes this lane. Raises LaneError (lane) for a run that goes on without run.json."""
    if run_state.until(lambda: not keeper.without_run(options.lane_id), keeper.MAKE_LIMIT):
        return
    for order in keeper.without_run(options.lane_id):
        if order.watched and all(w.alive for w in order.watched):
            by = ", ".join(f"{w.name} (pid {w.pid})" for w in order.watched)
            problem = f"has a run {order.run_id} of {by} that goes on although {order.lane_dir} has no {RUN_FILE}"
            refuse(options, problem, "end that run")


def refuse_live(options: Options, run: Run | None, held: Holder | None, alive: list[proc.Process]) -> None:
    """Raise the LaneError that names the run which has this lane, unless only the remains of a run are there."""
    # a run that goes on without a program yet is live too
    if not alive and not (held and held.order.bound and held.alive):
        return
    run_state.check_elsewhere(options.lane_id, options.lane_dir)
    if run is None or (held and not held.alive):
        return
    known = [entry for entry in records.records(options.lane_dir) if entry.running(run)]
    programs = known or run_state.programs(options.lane_id)
    names = ", ".join(f"{some.name} (pid {some.pid})" for some in programs) or "no program yet"
    since = time.strftime("%H:%M:%S", time.localtime(run.started))
    by = f", {held.words}" if held else ""
    problem = f"is already running in {options.lane_dir} since {since}{by}, run {run.run_id}: {names}"
    refuse(options, problem, f"stop it ({options.stop_command})")


def refuse(options: Options, problem: str, fix: str) -> NoReturn:
    raise LaneError("lane_running", "lane", f"lane {options.lane_id} {problem}", f"{fix} or use another lane_id")


def check_ports(options: Options) -> None:
    """Raise LaneError when the lane was claimed, and its programs listen, with other ports than these."""
    known = run_state.recorded(options.lane_dir).get("ports", {})
    for name, port in options.ports.items():
        if known.get(name, port) != port:
            problem = f"lane {options.lane_id} was started with {name} {known[name]}, but this command has {port}"
            fix = f"use the same value, or stop the lane first ({options.stop_command})"
            raise LaneError("other_ports", "lane", problem, fix)


def clear(options: Options, run: Run | None, held: Holder | None) -> tuple[str, ...]:
    """Remove what an earlier run left, and name it. A keeper that is doing so already is given the time."""
    if run is None or (held and held.keeper.alive):
        run_state.until(lambda: not run_state.keepers(options.lane_id, run.run_id if run else ""), keeper.END_LIMIT)
    done = teardown.take_down(options.lane_id, options.lane_dir, {})
    keeper.dismiss(options.lane_id)
    return (*done["ended"], *done["removed"])


def keep_on(options: Options, run: Run, held: Holder | None) -> tuple[bool, Run]:
    """Renew the lease of a lane that is used again, and give it a keeper if it has lost its own.

    Returns what `claim` does.
    """
    check_ports(options)
    if held and (held.order.bound or held.keeper.alive):
        os.utime(Path(options.lane_dir, RUN_FILE))
    elif options.keeper:
        write_run(options, run, start_keeper(keepers_order(replace(options, stay=True), run)))
    write_command(options.lane_dir)
    return False, run


def keep_running(lane_dir: str) -> Order:
    """Let the run that is there go on when the command that made it ends: a keeper with a new lease replaces the one
    that watches that command. Returns what the new one was started with.

    Raises LaneError (lane) when no run is there.
    """
    run = private_dir.read_run(lane_dir)
    held = run_state.holder(lane_dir)
    if held is None:
        raise run_state.not_running(run.lane_id)
    order = replace(held.order, watched=[], owner="", heartbeat=0.0)
    content = {**run_state.recorded(lane_dir), "held": start_keeper(order)}
    write_private(Path(lane_dir, RUN_FILE), json.dumps(content).encode())
    if held.keeper.alive:
        stop.kill_groups({held.keeper.pid})  # on SIGTERM it would take the lane down
    return order


def keepers_order(options: Options, run: Run) -> Order:
    """What the keeper of this run is started with."""
    owner, above = ("", []) if options.stay else keeper.watched()
    return Order(
        **asdict(run),
        lane_dir=options.lane_dir,
        artifacts_dir=options.artifacts_dir,
        ports=options.ports,
        lease=options.lease,
        timeline=options.timeline,
        planned=list(options.planned),
        versions=options.versions,
        watched=above,
        owner=owner,
        verdict_file=os.environ.get("LANE_VERDICT_FILE", ""),
        ansible_log=os.environ.get("LANE_ANSIBLE_LOG", ""),
        command=check_report.command_id(),
        heartbeat=0.0 if options.stay else options.heartbeat,
    )


def start_keeper(order: Order) -> dict[str, Any]:
    """Start a keeper. Returns who holds the lane, as run.json has it."""
    kept = keeper.spawn(order)
    return {"keeper": asdict(Watched(kept.pid, kept.started, "keeper")), "order": asdict(order)}


def write_run(options: Options, run: Run, held: dict[str, Any] | None) -> None:
    """Write run.json: the run, its places and ports, and who holds it."""
    content = {**asdict(run), "artifacts_dir": options.artifacts_dir, "ports": options.ports}
    write_private(Path(options.lane_dir, RUN_FILE), json.dumps({**content, "held": held}).encode())


def write_command(lane_dir: str) -> None:
    """Keep which command works on the lane, for others of this machine."""
    for command in keeper.watched()[1][:1]:
        write_private(Path(lane_dir, run_state.AT_WORK), json.dumps(asdict(command)).encode())


def make(options: Options) -> Run:
    """A keeper, then the directory with a new run and new secrets in it, and an empty directory for the artifacts.

    The keeper comes first and run.json before anything else, so that whatever exists when this is killed is known to be
    the lane's.
    """
    run = Run(options.lane_id, check_report.new_id(3), time.time())
    held = start_keeper(keepers_order(options, run)) if options.keeper else None
    made = False
    try:
        os.mkdir(options.lane_dir, 0o700)
        made = True
        os.chmod(options.lane_dir, 0o700)
        write_run(options, run, held)
        artifacts.claim(options.artifacts_dir, run)
        private_dir.make_folders(options.lane_dir)
        write_command(options.lane_dir)
        for name in layout.SECRETS:
            write_private(Path(options.lane_dir, "secrets", name), secrets.token_hex(20).encode())
    except BaseException as error:
        if made:
            teardown.remove(options.lane_dir)
        keeper.dismiss(options.lane_id, run.run_id)
        if isinstance(error, FileExistsError) and not made:
            refuse(options, "has just been taken by another run", "wait for that run")
        raise
    return run


def facts(lane_dir: str, run: Run | None) -> dict[str, Any]:
    """What roles need to know of the run and of the user, and all that earlier roles handed over."""
    user = str(os.getuid())
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
    known = {"run_id": run.run_id if run else "", "user": user, "dir": lane_dir}
    return {"lane_run": known, **(handed_over(lane_dir) if run else {})}
