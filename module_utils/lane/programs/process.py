"""Start the programs of a lane detached, marked and logged; know when they are ready, and end them.

A program is described by `Program`. `start` takes several at once, starts each as soon as those it comes after are ready, and
returns when all are. What runs is recorded in lane_dir/processes/NAME.json, so that a later command finds it again; a record counts
only as long as the process group it names still carries this lane's mark.

Each program runs under a small `sh` of its own session, which outlives it just long enough to write its exit status down: a detached
process has nobody else who could tell how it ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import LaneError, legacy_error
from ..core.private_dir import MARK, Run, write_private
from ..evidence import log_excerpt
from ..lifecycle import proc
from .readiness import Looks, Ready

RECORDS = "processes"
POLL = 0.02
#: The same for what has taken longer than LONG seconds, as it does where many lanes share the processors.
SLOW_POLL = 0.05
LONG = 2.0
#: Seconds between two looks at the lane's other programs.
LOOK_EVERY = 0.25
GROUPS = proc.Groups()
#: Process states (proc(5)) in which nothing runs until somebody sends SIGCONT.
STOPPED = "Tt"
#: Signals that come from elsewhere: the log of a program that ended by one of them does not say why.
KILLS = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
#: Part of the daemon's process group, but a component of its own.
PROXY = "kerbside-proxy"
#: Comes and goes with each check: one of an earlier check may have ended.
CLIENT = "ryll"
#: `sh` traps what the group is sent, waits for the program all the same, leaves its status in $0, and kills whatever the program left behind in its group:
#: kerbside-proxy would outlive a daemon that was killed, and keep its ports (facts/kerbside.md 8).
SHEPHERD = 'trap : TERM INT HUP QUIT; "$@"; echo $? >"$0"; kill -KILL 0'
#: Without it setproctitle (gunicorn and kerbside use it) writes the title over the environment, and with it over the mark.
KEEP_MARK = {"SPT_NOENV": "1"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Program:
    """One program of the lane.

    oneshot: it has to end with status 0 and is then done. secret_env: name -> (file, format): the variable's value is the format with
    `{}` replaced by the file's text, so that no secret passes through Ansible. secret_files: the same for files written (0600) at the start.
    """

    name: str
    component: str
    argv: tuple[str, ...]
    log: str
    env: dict[str, str] = field(default_factory=dict)
    secret_env: dict[str, tuple[str, str]] = field(default_factory=dict)
    secret_files: dict[str, tuple[str, str]] = field(default_factory=dict)
    ready: Ready = field(default_factory=Ready)
    after: tuple[str, ...] = ()
    oneshot: bool = False
    limit: float = 30
    stop_signal: str = "TERM"

    def environment(self, run: Run, lane_dir: str) -> dict[str, str]:
        """The whole environment: nothing of the caller's leaks in."""
        values = {"PATH": PATH, "HOME": lane_dir, "TMPDIR": f"{lane_dir}/tmp", "LANG": "C.UTF-8", MARK: run.mark, **KEEP_MARK}
        values.update(self.env)
        values.update({name: _filled(*source) for name, source in self.secret_env.items()})
        return values

    def digest(self, run: Run, lane_dir: str) -> str:
        """Changes with whatever the program would be started with."""
        files = {path: _filled(*source) for path, source in self.secret_files.items()}
        spec = json.dumps([self.argv, self.environment(run, lane_dir), files, self.oneshot], sort_keys=True)
        return hashlib.sha256(spec.encode()).hexdigest()


def _filled(source: str, form: str) -> str:
    return form.replace("{}", Path(source).read_text(encoding="utf-8"))


@dataclass
class Record:
    """What is known of a started program; kept as lane_dir/processes/NAME.json."""

    name: str
    component: str
    group: int
    started: float
    sequence: int
    digest: str
    log: str
    log_start: int
    stop_signal: str
    oneshot: bool
    ready_seconds: float | None = None

    def save(self, lane_dir: str) -> None:
        write_private(_folder(lane_dir) / f"{self.name}.json", json.dumps(asdict(self), indent=1).encode())

    @property
    def pid(self) -> int | None:
        """The program itself, which is the shepherd's child; None when it has ended."""
        return proc.program_of(self.group)

    def running(self, run: Run) -> bool:
        """True when the group still exists and is this run's: a pid alone proves nothing."""
        return any(proc.environ(p.pid, MARK) == run.mark for p in proc.group_members(self.group))

    def exit_status(self, lane_dir: str) -> int | None:
        """The program's exit status (128 + n after signal n), or None while it runs or when it was killed with its shepherd."""
        text = _status_file(lane_dir, self.name)
        return int(text.read_text()) if text.exists() and text.stat().st_size else None


def _folder(lane_dir: str) -> Path:
    folder = Path(lane_dir, RECORDS)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _status_file(lane_dir: str, name: str) -> Path:
    return Path(lane_dir, RECORDS, f"{name}.status")


def records(lane_dir: str) -> list[Record]:
    """All programs that were ever started in this lane, in the order of their start."""
    found = [Record(**json.loads(p.read_text(encoding="utf-8"))) for p in Path(lane_dir, RECORDS).glob("*.json")]
    return sorted(found, key=lambda r: r.sequence)


def record(lane_dir: str, name: str) -> Record | None:
    """What is known of one program, or None when it was never started."""
    return next((r for r in records(lane_dir) if r.name == name), None)


def forget(lane_dir: str, names: Collection[str]) -> None:
    """Drop the records of programs that have done their work and ended. Their logs stay."""
    for name in names:
        (_folder(lane_dir) / f"{name}.json").unlink(missing_ok=True)
        _status_file(lane_dir, name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Lost:
    """A program that was ready and is not at work any more: it has ended, or is stopped.

    what: a clause such as "it ended by SIGKILL"; at: unix time of its end, or of this look; by_itself: no signal from elsewhere ended it.
    """

    entry: Record
    component: str
    ended: bool
    what: str
    at: float
    by_itself: bool = False

    def error(self) -> LaneError:
        """The failure in words; with those of the program's log when it ended by itself, for who was killed does not say why."""
        words = _last_words(self.entry) if self.ended and self.by_itself else ""
        name = PROXY if self.component == "proxy" else self.entry.name
        return legacy_error(self.component, f"{name} to go on running", self.what + words, self.entry.log, evidence=evidence_line(self.entry))


def lost(lane_dir: str, apart: Collection[str] = ()) -> list[Lost]:
    """The programs of the lane that were ready and have ended or been stopped since, the first to end first; `apart` names those not to look at."""
    watched = [r for r in records(lane_dir) if r.ready_seconds is not None and not r.oneshot and r.name not in apart]
    groups = GROUPS.members({entry.group for entry in watched})
    found = []
    for entry in watched:
        status, members = entry.exit_status(lane_dir), groups.get(entry.group, [])
        if status is not None or not members:
            at = _status_file(lane_dir, entry.name).stat().st_mtime if status is not None else time.time()
            by_itself = status is not None and status - 128 not in KILLS
            found.append(Lost(entry, entry.component, True, f"it ended {status_words(status)}", at, by_itself))
        elif stopped := max((m for m in members if m.state in STOPPED), key=lambda m: m.pid != entry.group, default=None):  # the shepherd last
            component = "proxy" if stopped.name == PROXY else entry.component
            who = "it" if stopped.parent == entry.group or component == "proxy" else stopped.name  # many a program changes its name
            what = f"{who} (pid {stopped.pid}) is stopped (state {stopped.state}, as after SIGSTOP)"
            found.append(Lost(entry, component, False, what, time.time()))
    return sorted(found, key=lambda lost: lost.at)


def check_alive(lane_dir: str, apart: Collection[str] = ()) -> None:
    """Raise the LaneError of the program that was lost first, if one was."""
    if gone := lost(lane_dir, apart):
        raise gone[0].error()


@contextmanager
def watched(lane_dir: str, apart: Collection[str] = ()) -> Iterator[None]:
    """While the block runs, whatever it waits for, look at the lane's programs every LOOK_EVERY seconds and raise the LaneError of one that is lost.

    For the main thread only: it uses SIGALRM, whose handler's exception ends a system call that waits (PEP 475).
    """

    def look(*_: object) -> None:
        try:
            check_alive(lane_dir, apart)
        except LaneError:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    look()
    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY, LOOK_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def start(lane_dir: str, run: Run, programs: list[Program], *, restart: bool = False, stop_limit: float = 5, watch: bool = False) -> dict[str, Any]:
    """Bring all programs to ready; those that already run with the same description stay as they are.

    watch: the other programs of the lane, but for an earlier check's ryll, have to go on running meanwhile; of `programs` themselves this holds from the
    moment each is ready.
    Returns {"changed": bool, "programs": {name: {"pid", "changed", "seconds"}}}.
    Raises LaneError with the program's component when one ends or misses its limit; what was started stays for teardown.
    """
    _check(programs)
    names = {p.name for p in programs}
    if watch:
        check_alive(lane_dir, {*names, CLIENT})
    began = looked = time.monotonic()
    done: dict[str, dict[str, Any]] = {}
    waiting = {p.name: p for p in programs}
    started: dict[str, tuple[Program, Record]] = {}
    shepherds: list[subprocess.Popen[bytes]] = []
    looks = Looks(len(programs) or 1)
    try:
        while waiting or started:
            for program in [p for p in waiting.values() if all(a in done for a in p.after)]:
                del waiting[program.name]
                known = record(lane_dir, program.name)
                if known and not restart and known.digest == program.digest(run, lane_dir) and _ready_before(known, run, lane_dir):
                    done[program.name] = {"pid": known.pid, "changed": False, "seconds": 0.0}
                    continue
                if known and known.running(run):
                    stop(lane_dir, run, [known], stop_limit)
                entry, shepherd = _spawn(lane_dir, run, program)
                started[program.name] = (program, entry)
                shepherds.append(shepherd)
            for shepherd in shepherds:
                shepherd.poll()  # one that has ended is no zombie then
            for name, (program, entry) in list(started.items()):
                if _is_ready(lane_dir, program, entry, looks):
                    entry.ready_seconds = round(time.time() - entry.started, 3)
                    entry.save(lane_dir)
                    done[name] = {"pid": entry.pid, "changed": True, "seconds": entry.ready_seconds}
                    del started[name]
            if started:
                if time.monotonic() - looked > LOOK_EVERY:
                    others = {CLIENT} - names if watch else {r.name for r in records(lane_dir)} - names
                    check_alive(lane_dir, {*others, *waiting, *started})
                    looked = time.monotonic()
                time.sleep(POLL if time.monotonic() - began < LONG else SLOW_POLL)
    finally:
        looks.end()
        for shepherd in shepherds:
            shepherd.returncode = 0  # it is meant to outlive this process: nothing for Popen to warn about
    return {"changed": any(d["changed"] for d in done.values()), "programs": done}


def _check(programs: list[Program]) -> None:
    names: set[str] = set()
    for program in programs:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", program.name):
            raise legacy_error("lane", "a program's name of small letters, digits, - and _", f"it is {program.name!r}")
        unknown = [a for a in program.after if a not in names]
        if unknown:
            raise legacy_error("lane", f"{program.name} to come after programs listed before it", f"{', '.join(unknown)} is not among them")
        names.add(program.name)


def _ready_before(entry: Record, run: Run, lane_dir: str) -> bool:
    if entry.ready_seconds is None:
        return False
    return entry.exit_status(lane_dir) == 0 if entry.oneshot else entry.running(run)


def _ended(entry: Record, lane_dir: str) -> bool:
    if entry.exit_status(lane_dir) is not None:
        return True
    shepherd = proc.read(entry.group)  # it lives as long as the program; looking for the whole group would read all of /proc
    return shepherd is None or not shepherd.alive


def _spawn(lane_dir: str, run: Run, program: Program) -> tuple[Record, subprocess.Popen[bytes]]:
    port = program.ready.port or program.ready.http_port
    if port and (owner := proc.listener(port)):
        raise legacy_error("environment", f"port {port} to be free for {program.name}", f"it is taken by {owner}", f"ss -ltnp 'sport = :{port}'")
    if program.ready.socket and Path(program.ready.socket).is_socket():
        os.unlink(program.ready.socket)
    status = _status_file(lane_dir, program.name)
    status.unlink(missing_ok=True)
    sequence = 1 + max((r.sequence for r in records(lane_dir)), default=0)
    try:
        environment = program.environment(run, lane_dir)
        for path, source in program.secret_files.items():
            write_private(path, _filled(*source).encode())
    except OSError as error:
        raise legacy_error("lane", f"the secrets of {program.name}", f"{error.filename}: {error.strerror}", "the role that writes it") from None
    if not os.access(program.argv[0], os.X_OK):
        raise legacy_error(program.component, f"{program.name} to start", f"{program.argv[0]} is not an executable file", program.argv[0])
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
    )
    try:
        shepherd = subprocess.Popen(
            ["/bin/sh", "-c", SHEPHERD, str(status), *program.argv],
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
    entry.group = shepherd.pid
    entry.save(lane_dir)
    return entry, shepherd


def _is_ready(lane_dir: str, program: Program, entry: Record, looks: Looks) -> bool:
    if _ended(entry, lane_dir):
        status = entry.exit_status(lane_dir)
        if program.oneshot and status == 0:
            return True
        what = "to end well" if program.oneshot else str(program.ready)
        raise legacy_error(
            program.component,
            f"{program.name} {what}",
            f"it ended {status_words(status)} after {time.time() - entry.started:.1f} s{_last_words(entry)}",
            program.log,
            evidence=evidence_line(entry),
        )
    if not program.oneshot and looks.at(program.name, lambda: program.ready.shown(entry.group, lambda: log_lines(entry))):
        return True
    if time.time() - entry.started > program.limit:
        what = "to end" if program.oneshot else str(program.ready)
        raise legacy_error(
            program.component,
            f"{program.name} {what} within {program.limit:g} s",
            f"it is still running without that{_last_words(entry)}",
            program.log,
            evidence=evidence_line(entry),
        )
    return False


def status_words(status: int | None) -> str:
    if status is None:
        return "by a signal to its whole process group (no exit status)"
    if status > 128:
        try:
            return f"by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"with status {status}"


def returncode_words(code: int) -> str:
    """As status_words, of a code in the form of subprocess: -n after signal n."""
    return status_words(128 - code) if code < 0 else f"with status {code}"


def log_lines(entry: Record) -> list[str]:
    """The lines that the program wrote since its start, the last 64 KiB of them."""
    try:
        with open(entry.log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(entry.log_start, size - 65536))
            return file.read().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _last_words(entry: Record) -> str:
    words = log_excerpt.telling(log_lines(entry))
    return f", and its log says: {words}" if words else ", and its log is empty"


def evidence_line(entry: Record) -> str:
    """The file and the number of the last line that the program wrote."""
    try:
        with open(entry.log, "rb") as file:
            count = sum(1 for _ in file)
    except FileNotFoundError:
        return entry.log
    return f"{entry.log}:{count}" if count else entry.log


def stop(lane_dir: str, run: Run, entries: list[Record], limit: float) -> list[str]:
    """End these programs, the last started first, each with its own signal and after `limit` seconds with SIGKILL.

    Returns the names of those that had to be ended. Whole process groups, and only while they carry this run's mark.
    """
    ended = []
    for entry in sorted(entries, key=lambda r: -r.sequence):
        if not entry.running(run):
            continue
        ended.append(entry.name)
        end_groups({entry.group}, signal.Signals[f"SIG{entry.stop_signal}"], limit)
    return ended


def end_groups(groups: set[int], first: signal.Signals, limit: float) -> None:
    """Signal process groups, wait until they are empty, and after `limit` seconds kill what is left of them."""
    for number, patience in ((first, limit), (signal.SIGKILL, 5.0)):
        for group in groups:
            try:
                os.killpg(group, number)
                os.killpg(group, signal.SIGCONT)
            except ProcessLookupError:
                pass
        end = time.monotonic() + patience
        pause = POLL / 16  # most are gone by then
        while time.monotonic() < end:
            if not any(p.group in groups and p.alive for p in proc.everyone()):
                return
            time.sleep(pause)
            pause = min(2 * pause, POLL)
    raise legacy_error("lane", f"process groups {sorted(groups)} to end", "they are alive after SIGKILL", "ps -eo pid,pgid,stat,args")
