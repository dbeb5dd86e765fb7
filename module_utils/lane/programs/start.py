"""Start the programs of a lane detached, marked and logged, and return when they are ready.

`start` takes several descriptions (program.Program) at once and starts each as soon as those that it comes after are
ready. Each program runs under a small `sh` in a session of its own, the supervisor shell, which outlives it just long
enough to write its exit status: a detached process has nobody else who could tell how it ended.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ..core import limits
from ..core.errors import LaneError
from ..core.private_dir import Run, write_private
from ..lifecycle import proc
from .loss import CHECK_EVERY, CLIENT, check_alive, end_of, lost
from .program import Program, check, filled
from .readiness import Probes
from .records import Record, record, records, status_file
from .stop import POLL, stop

#: The variable that the limits of all programs are made from (roles/lane/defaults/main.yml).
LIMIT = "lane_start_limit"
#: `sh` traps the signals that its group gets, waits for the program all the same, writes its status to $0, and kills
#: whatever the program left in its group: kerbside-proxy would outlive a daemon that was killed, and keep its ports.
SUPERVISOR = 'trap : TERM INT HUP QUIT; "$@"; echo $? >"$0"; kill -KILL 0'


def start(
    lane_dir: str,
    run: Run,
    programs: list[Program],
    *,
    restart: bool = False,
    stop_limit: float = 5,
    watch: bool = False,
) -> dict[str, Any]:
    """Start all programs and wait until each is ready; those that already work with the same description stay as they
    are.

    watch: the other programs of the lane, except an earlier check's ryll, must go on working meanwhile; of `programs`
    themselves this holds from the moment each is ready. Returns {"changed": bool, "programs": {name: {"pid", "changed",
    "seconds"}}}. Raises LaneError with the program's component when one ends or misses its limit; what was started
    stays for teardown.
    """
    check(programs)
    names = {p.name for p in programs}
    if watch:
        check_alive(lane_dir, {*names, CLIENT})
    broken = {gone.entry.name for gone in lost(lane_dir)}
    checked = time.monotonic()
    done: dict[str, dict[str, Any]] = {}
    waiting = {p.name: p for p in programs}
    started: dict[str, tuple[Program, Record]] = {}
    supervisors: list[subprocess.Popen[bytes]] = []
    probes = Probes(len(programs) or 1)
    try:
        while waiting or started:
            for program in [p for p in waiting.values() if all(a in done for a in p.after)]:
                del waiting[program.name]
                known = record(lane_dir, program.name)
                stays = not restart and program.name not in broken
                if known and stays and _ready_before(known, program, run, lane_dir):
                    done[program.name] = {"pid": known.pid, "changed": False, "seconds": 0.0}
                    continue
                if known and known.running(run):
                    stop(run, [known], stop_limit)
                entry, supervisor = _spawn(lane_dir, run, program)
                started[program.name] = (program, entry)
                supervisors.append(supervisor)
            for supervisor in supervisors:
                supervisor.poll()  # reaps one that has ended
            for name, (program, entry) in list(started.items()):
                if _is_ready(lane_dir, program, entry, probes):
                    entry.ready_seconds = round(time.time() - entry.started, 3)
                    entry.save(lane_dir)
                    done[name] = {"pid": entry.pid, "changed": True, "seconds": entry.ready_seconds}
                    del started[name]
            if started:
                if time.monotonic() - checked > CHECK_EVERY:
                    others = {CLIENT} - names if watch else {r.name for r in records(lane_dir)} - names
                    check_alive(lane_dir, {*others, *waiting, *started})
                    checked = time.monotonic()
                time.sleep(POLL)
        _check_lasting(lane_dir, {p.name for p in programs if not p.oneshot and done[p.name]["pid"] is None})
    finally:
        probes.end()
        for supervisor in supervisors:
            supervisor.returncode = 0  # it is meant to outlive this process: nothing for Popen to warn about
    return {"changed": any(d["changed"] for d in done.values()), "programs": done}


def _check_lasting(lane_dir: str, ended: set[str]) -> None:
    """Raise the LaneError of a program that ended as soon as it was ready: a ryll that opens its socket, and then
    refuses the certificate.
    """
    known = records(lane_dir)
    for entry in known:
        if entry.name in ended:
            entry.last_status(lane_dir)
    if ended:
        check_alive(lane_dir, {entry.name for entry in known} - ended)


def _ready_before(entry: Record, program: Program, run: Run, lane_dir: str) -> bool:
    try:
        if entry.ready_seconds is None or entry.digest != program.digest(run, lane_dir):
            return False
    except OSError:
        return False  # a secret is missing, which _spawn reports
    return entry.exit_status(lane_dir) == 0 if entry.oneshot else entry.running(run)


def _spawn(lane_dir: str, run: Run, program: Program) -> tuple[Record, subprocess.Popen[bytes]]:
    port = program.ready.tcp_port
    if port and (owner := proc.listener(port)):
        problem = f"port {port}, which {program.name} needs, is taken by {owner}"
        raise LaneError("port_taken", "environment", problem, f"see ss -ltnp 'sport = :{port}'")
    if program.ready.socket and Path(program.ready.socket).is_socket():
        os.unlink(program.ready.socket)
    status = status_file(lane_dir, program.name)
    status.unlink(missing_ok=True)
    sequence = 1 + max((r.sequence for r in records(lane_dir)), default=0)
    try:
        environment = program.environment(run, lane_dir)
        for path, source in program.secret_files.items():
            write_private(path, filled(*source).encode())
    except OSError as error:
        problem = f"the secrets of {program.name} cannot be read or written: {error.filename}: {error.strerror}"
        raise LaneError("secret_missing", "lane", problem, "run the role that makes them first") from None
    if not os.access(program.argv[0], os.X_OK):
        problem = f"{program.name} cannot be started: {program.argv[0]} is not an executable file"
        raise LaneError("program_missing", program.component, problem)
    log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    entry = Record(
        name=program.name,
        component=program.component,
        group=0,
        started=time.time(),
        sequence=sequence,
        digest=program.digest(run, lane_dir),
        log=program.log,
        log_start=os.fstat(log).st_size,
        stop_signal=program.stop_signal,
        oneshot=program.oneshot,
        limit=program.limit,
        mark=run.mark,
        fatal=program.fatal,
        counters=limits.counters(),
    )
    try:
        supervisor = subprocess.Popen(
            ["/bin/sh", "-c", SUPERVISOR, str(status), *program.argv],
            env=environment,
            cwd=lane_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            close_fds=True,
            umask=0o077,
        )
    finally:
        os.close(log)
    entry.group = supervisor.pid
    entry.save(lane_dir)
    return entry, supervisor


def _ended(entry: Record, lane_dir: str) -> bool:
    if entry.exit_status(lane_dir) is not None:
        return True
    # it lives as long as the program; reading the whole group would read all of /proc
    supervisor = proc.read(entry.group)
    return supervisor is None or not supervisor.alive


def _is_ready(lane_dir: str, program: Program, entry: Record, probes: Probes) -> bool:
    took = time.time() - entry.started
    if _ended(entry, lane_dir):
        status = entry.exit_status(lane_dir)
        if program.oneshot and status == 0:
            return True
        when = f" after {took:.1f} s{'' if program.oneshot else ', before it was ready'}"
        raise LaneError(*end_of(entry, status, when), f"see {program.log}", evidence=entry.evidence)
    if not program.oneshot and probes.shown(program.name, lambda: program.ready.shown(entry.group, entry.log_lines)):
        return True
    if took > program.limit:
        awaited = "end" if program.oneshot else program.ready
        problem = f"{program.name} did not {awaited} within {program.limit:g} s{entry.said()}; {limits.load()}"
        fix = f"see {program.log}, or raise {LIMIT}"
        raise LaneError("program_not_ready", program.component, problem, fix, evidence=entry.evidence)
    return False
