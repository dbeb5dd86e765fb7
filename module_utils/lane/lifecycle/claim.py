"""Claim a lane: its directory, its run, its secrets. Everything that can be refused is refused here, before anything starts."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core import check_report
from ..core.errors import legacy_error
from ..core.private_dir import RUN_FILE, Run, alone, handed_over, write_private
from ..evidence import ansible_log
from ..programs import records, stop
from . import keeper, proc, teardown

#: sun_path of a unix socket holds this many bytes (unix(7)), the closing zero not counted; ryll and gunicorn refuse 108 too.
SOCKET_PATH_MAX = 107
FOLDERS = ("logs", "secrets", "handover", "processes", "tmp", "tls", "tpm")


@dataclass(frozen=True)
class Wish:
    """What a lane is asked to be. `fresh`: a whole new run is wanted, so that a lane which is up is in the way.

    stay: the lane is left up when this command ends, until `lease` seconds have passed since its last use; otherwise it ends with the command.
    kept: a keeper sees to that. planned, versions: what the keeper writes to result.json if nobody else gets to it.
    """

    lane_id: int
    lane_dir: str
    artifacts_dir: str
    ports: dict[str, int]
    sockets: tuple[str, ...]
    secrets: tuple[str, ...]
    fresh: bool
    stay: bool = True
    lease: float = 7200.0
    kept: bool = False
    planned: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Holder:
    """Who a lane that is there belongs to, as run.json has it beside the run: the keeper, what that watches, the lease in seconds."""

    kept_by: keeper.Watched | None
    watched: tuple[keeper.Watched, ...]
    lease: float
    used: float

    @property
    def alive(self) -> bool:
        """Whether somebody still wants the lane: the run that made it goes on, or it was asked to stay up and its lease is not over."""
        if self.watched:
            return all(w.alive for w in self.watched)
        return time.time() < self.used + self.lease

    @property
    def words(self) -> str:
        names = ", ".join(f"{w.name} (pid {w.pid})" for w in self.watched[:1])
        return f"run by {names}" if names else f"left up until {time.strftime('%H:%M:%S', time.localtime(self.used + self.lease))}"


def holder(lane_dir: str) -> Holder | None:
    """Who holds the lane that is there; None for one that nobody keeps."""
    path = Path(lane_dir, RUN_FILE)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["held"]
        kept = keeper.Watched(**data["keeper"]) if data["keeper"] else None
        return Holder(kept, tuple(keeper.Watched(**w) for w in data["watched"]), float(data["lease"]), path.stat().st_mtime)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def check(wish: Wish) -> None:
    """Raise LaneError for anything about the wish that cannot work."""
    if not 0 <= wish.lane_id <= 99:
        raise legacy_error("environment", "lane_id from 0 to 99", f"it is {wish.lane_id}", "inventory/group_vars/all/lane.yml")
    for name, port in wish.ports.items():
        if not 1024 <= port <= 65535:
            raise legacy_error("environment", f"{name} from 1024 to 65535", f"it is {port}", "lane_port_base and lane_id")
    if len(set(wish.ports.values())) < len(wish.ports):
        raise legacy_error("environment", "different ports", f"they are {sorted(wish.ports.values())}", "inventory/group_vars/all/lane.yml")
    check_place(wish.artifacts_dir)
    for name, path in (("lane_dir", wish.lane_dir), ("lane_artifacts_dir", wish.artifacts_dir)):
        if not os.path.isabs(path):
            raise legacy_error("environment", f"{name} to be an absolute path", f"it is {path!r}")
    if not re.fullmatch(r"[\w./-]+", wish.lane_dir, re.ASCII):  # it stands in qemu's options, in a database URL and in SQL
        raise legacy_error("environment", "lane_dir of letters, digits and _ . / -", f"it is {wish.lane_dir!r}")
    longest = max(wish.sockets, key=lambda p: len(os.fsencode(p)), default="")
    if (length := len(os.fsencode(longest))) > SOCKET_PATH_MAX:
        raise legacy_error("environment", f"unix socket paths of at most {SOCKET_PATH_MAX} bytes", f"{longest} has {length}; choose a shorter lane_dir")
    if not 1 <= wish.lease <= keeper.LONGEST_LEASE:
        raise legacy_error("environment", f"lane_lease from 1 to {keeper.LONGEST_LEASE:g} s", f"it is {wish.lease:g}", "inventory/group_vars/all/lane.yml")
    if os.path.normpath(wish.artifacts_dir).startswith(os.path.normpath(wish.lane_dir) + os.sep):
        raise legacy_error("environment", "lane_artifacts_dir outside lane_dir", "teardown would delete it", wish.artifacts_dir)


def check_loopback() -> None:
    """Raise LaneError (environment) when programs of this machine cannot reach each other on 127.0.0.1, as in a network namespace whose `lo` is down."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    except OSError as error:
        got = error.strerror or str(error)
        raise legacy_error("environment", "programs to reach each other on 127.0.0.1", f"a connection ends with {got}", "ip address show lo") from None


def claim(wish: Wish, tell: Callable[[str], None] = lambda _: None) -> tuple[bool, Run]:
    """Make the lane's directory for a new run, or find the run that is there. Returns (changed, run).

    What an earlier run left (its ansible-playbook is gone, or its lease over) is cleared when it is this user's, and `tell` gets a sentence about it.
    Of several in the same moment the first has it, and the others find its run. Raises LaneError (environment) when the lane is up and a fresh run is wanted,
    when a port is taken, or when a directory cannot be ours.
    """
    check(wish)
    check_loopback()
    with alone(wish.lane_id):
        return find_or_make(wish, tell)


def find_or_make(wish: Wish, tell: Callable[[str], None]) -> tuple[bool, Run]:
    """As claim, for who is alone with this lane."""
    wait_for_others(wish)
    try:
        run = teardown.owned(wish.lane_id, wish.lane_dir)
        held = holder(wish.lane_dir)
        alive = proc.marked(wish.lane_id)
        if run and alive and not wish.fresh and (held is None or held.alive):
            keep_on(wish, run, held)
            return False, run
        refuse_live(wish, run, held, alive)
        if alive or (run and wish.fresh):
            cleared = clear(wish, run, held)
            tell(f"lane {wish.lane_id}: cleared what {f'run {run.run_id}' if run else 'an earlier run'} had left: {', '.join(cleared) or 'its keeper'}")
            run = None
        taken = proc.listeners(wish.ports.values())
        for name, port in wish.ports.items():
            if owner := taken.get(port):
                raise legacy_error(
                    "environment", f"port {port} ({name}) to be free", f"it is taken by {owner}", f"ss -ltnp 'sport = :{port}', or another lane_id"
                )
        if run:
            keep_on(wish, run, held)
            return False, run
        if os.path.lexists(wish.lane_dir):
            teardown.remove(wish.lane_dir)
        return True, make(wish)
    except OSError as error:
        raise legacy_error(
            "environment", "a place for the lane that can be written", f"{error.filename or wish.lane_dir}: {error.strerror}", "lane_dir, lane_artifacts_dir"
        ) from None


def wait_for_others(wish: Wish) -> None:
    """Wait while a keeper removes this lane, or a run that was killed is given up. Raises LaneError (environment) for a run that goes on without run.json."""
    if keeper.until(lambda: not keeper.without_run(wish.lane_id), keeper.MAKE_LIMIT):
        return
    for order in keeper.without_run(wish.lane_id):
        if order.watched and all(w.alive for w in order.watched):
            by = ", ".join(f"{w.name} (pid {w.pid})" for w in order.watched)
            refuse(wish, f"run {order.run_id} of {by} goes on, though {order.lane_dir} has no {RUN_FILE}", "end that, or take another lane_id")


def refuse_live(wish: Wish, run: Run | None, held: Holder | None, alive: list[proc.Process]) -> None:
    """Raise the LaneError that says who is in the way, unless what is there is only the remains of a run."""
    if not alive and not (held and held.watched and held.alive):  # a run that goes on without a program yet is live too
        return
    homes = {proc.environ(p.pid, "HOME") or wish.lane_dir for p in alive}
    elsewhere = {home for home in homes if home != wish.lane_dir and Path(home, RUN_FILE).exists()}
    if elsewhere:
        refuse(wish, f"one is up in {', '.join(sorted(elsewhere))}", "take another lane_id")
    if run is None or (held and not held.alive):
        return
    known = [entry for entry in records.records(wish.lane_dir) if entry.running(run)]
    names = ", ".join(f"{some.name} (pid {some.pid})" for some in known or teardown.programs(wish.lane_id)) or "nothing started yet"
    since = time.strftime("%H:%M:%S", time.localtime(run.started))
    by = f", {held.words}" if held else ""
    refuse(wish, f"it is up since {since}{by}, run {run.run_id}: {names}", f"./lane down -e lane_id={wish.lane_id}, or take another lane_id")


def refuse(wish: Wish, got: str, where: str) -> None:
    raise legacy_error("environment", f"lane {wish.lane_id} to be free", got, where)


def clear(wish: Wish, run: Run | None, held: Holder | None) -> tuple[str, ...]:
    """Remove what an earlier run left, and name it. A keeper that is at it is given the time."""
    if run is None or (held and held.kept_by and held.kept_by.alive):
        keeper.wait_for_end(wish.lane_id, run.run_id if run else "")
    done = teardown.take_down(wish.lane_id, wish.lane_dir, {}, keeper.STOP_LIMIT)
    keeper.dismiss(wish.lane_id)
    return (*done["ended"], *done["removed"])


def keep_on(wish: Wish, run: Run, held: Holder | None) -> None:
    """Renew the lease of a lane that is used again, and give it a keeper if it has lost its own."""
    if not wish.kept:
        return
    if held and (held.watched or (held.kept_by and held.kept_by.alive)):
        os.utime(Path(wish.lane_dir, RUN_FILE))
        return
    order = order_for(replace(wish, stay=True), run)
    write_run(wish, run, order, keeper.spawn(order))


def leave_up(wish: Wish) -> Run:
    """Let the run that is there stay when the command that made it ends: a keeper with a new lease takes the place of the one that watches that command.

    Raises LaneError (environment) when no run is there.
    """
    run = teardown.owned(wish.lane_id, wish.lane_dir)
    if run is None:
        raise legacy_error("environment", f"lane {wish.lane_id} to be there", f"{wish.lane_dir} holds no run")
    held = holder(wish.lane_dir)
    order = order_for(replace(wish, stay=True), run)
    write_run(wish, run, order, keeper.spawn(order))
    if held and held.kept_by and held.kept_by.alive:
        stop.end_groups({held.kept_by.pid}, signal.SIGKILL, keeper.STOP_LIMIT)  # TERM would have it take the lane down
    return run


def order_for(wish: Wish, run: Run) -> keeper.Order:
    """What the keeper of this run is told."""
    owner, above = ("", []) if wish.stay else keeper.watched()
    return keeper.Order(
        lane_id=run.lane_id,
        run_id=run.run_id,
        started=run.started,
        lane_dir=wish.lane_dir,
        artifacts_dir=wish.artifacts_dir,
        ports=wish.ports,
        lease=wish.lease,
        watched=[] if wish.stay else above,
        owner=owner,
        timeline=os.environ.get("LANE_TIMELINE", ""),
        verdict_file=os.environ.get("LANE_VERDICT_FILE", ""),
        planned=list(wish.planned),
        versions=dict(wish.versions),
        ansible_log=os.environ.get(ansible_log.LOG, ""),
        command=check_report.command_id(),
    )


def write_run(wish: Wish, run: Run, order: keeper.Order | None, kept: proc.Process | None) -> None:
    """Write run.json: the run, and who holds it."""
    held = {
        "keeper": asdict(keeper.Watched(kept.pid, kept.started, "keeper")) if kept else None,
        "watched": [asdict(w) for w in order.watched] if order else [],
        "lease": wish.lease,
    }
    write_private(Path(wish.lane_dir, RUN_FILE), json.dumps({**asdict(run), "artifacts_dir": wish.artifacts_dir, **({"held": held} if kept else {})}).encode())


def make(wish: Wish) -> Run:
    """A keeper, then the directory with a new run and new secrets in it, and an empty place for the artifacts.

    The keeper comes first and run.json before anything else, so that whatever is there when this is killed is found and known as the lane's.
    """
    run = Run(wish.lane_id, f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}", time.time())
    order = order_for(wish, run) if wish.kept else None
    kept = keeper.spawn(order) if order else None
    made = False
    try:
        os.mkdir(wish.lane_dir, 0o700)
        made = True
        os.chmod(wish.lane_dir, 0o700)
        write_run(wish, run, order, kept)
        make_place(wish.lane_dir, wish.artifacts_dir, run)
        for name in wish.secrets:
            write_private(Path(wish.lane_dir, "secrets", name), secrets.token_hex(20).encode())
    except BaseException as error:
        if made:
            teardown.remove(wish.lane_dir)
        keeper.dismiss(wish.lane_id, run.run_id)
        if isinstance(error, FileExistsError) and not made:
            refuse(wish, "another run took it at this moment", "./lane ps, or take another lane_id")
        raise
    return run


def make_place(lane_dir: str, artifacts_dir: str, run: Run) -> None:
    """The folders of lane_dir, and an artifacts directory that is this run's; those that are there already stay."""
    made_by = Path(artifacts_dir, ".lane")
    if not made_by.exists() or run.run_id not in made_by.read_text(encoding="utf-8"):
        put_aside(artifacts_dir)
        made_by.write_text(f"Made by the kerbside lane, run {run.run_id}; replaced by the next run.\n", encoding="utf-8")
    for folder in FOLDERS:
        path = Path(lane_dir, folder)
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)  # whatever the umask took away


def check_place(artifacts_dir: str) -> None:
    """Raise LaneError when the artifacts would go to a directory that holds what no lane left there."""
    names = os.listdir(artifacts_dir) if os.path.isdir(artifacts_dir) else []
    if names and ".lane" not in names and "result.json" not in names:
        raise legacy_error("environment", "lane_artifacts_dir empty or left by a lane", "it holds something else", f"ls {artifacts_dir}")


def put_aside(artifacts_dir: str) -> None:
    """An empty directory for the artifacts; those of the run before stay beside it as NAME.previous."""
    check_place(artifacts_dir)
    if os.path.isdir(artifacts_dir) and os.listdir(artifacts_dir):
        previous = f"{artifacts_dir}.previous"
        if os.path.isdir(previous):
            shutil.rmtree(previous)
        os.rename(artifacts_dir, previous)
    os.makedirs(artifacts_dir, exist_ok=True)


def facts(lane_dir: str, run: Run | None) -> dict[str, Any]:
    """What roles need to know of the run and of the user, and all that earlier roles handed over."""
    user = str(os.getuid())
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
    known = {"run_id": run.run_id if run else "", "started": run.started if run else 0.0, "uid": os.getuid(), "user": user, "dir": lane_dir}
    return {"lane_run": known, **(handed_over(lane_dir) if run else {})}
