"""Whole lanes for the tests of docs/no-trace.md: each in surroundings of its own, so that what it leaves can be seen.

HOME and TMPDIR are folders below one scratch folder, whose path stands in every command line: what is still there
afterwards is the lane's.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ansible.module_utils.lane.lifecycle import proc

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kerbside-lane")
#: As a shell starts it; tests under nohup(1) or in the background would hand on that some are ignored.
SIGNALS = ("env", "--default-signal=HUP,INT,TERM")
GONE_LIMIT = 10.0  #: seconds in which all of a lane has to be gone
#: One guest is enough where the guest is not what is tested.
POCKET = ("-e", "lane_guest=pocket")


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would change Ansible, Python or a lane."""
    foreign = ("ANSIBLE_", "LANE_", "KERBSIDE_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **more}


def copy_checkout(home: Path) -> Path:
    """The checkout in another place, as git has it and as it stands."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, home / name)
    return home


def git(folder: Path, *words: str) -> str:
    """The output of a git command that ignores the user's git configuration."""
    who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, **who}
    return subprocess.run(["git", *words], cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def commit_all(folder: Path, branch: str = "main") -> None:
    """Commit all files of a folder, in a repository that is made if there is none."""
    for words in (["init", "-q", "-b", branch], ["add", "-A"], ["commit", "-q", "-m", "change"]):
        git(folder, *words)


def kill_worker(run: Started, playbook: int) -> None:
    """Kill a worker of this ansible-playbook while its module runs: one that is handing in a result would keep a lock
    of Ansible's (module_utils/lane/lifecycle/lost_worker.py).
    """
    killed = False
    while not killed:
        assert run.process.poll() is None, run.text
        for worker in children(playbook)[:1]:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGSTOP)
                killed = bool(children(worker))
                os.kill(worker, signal.SIGKILL if killed else signal.SIGCONT)


def children(pid: int) -> list[int]:
    """The live processes that this one started."""
    return [one.pid for one in proc.everyone() if one.parent == pid and one.alive]


def running(*words: str) -> list[str]:
    """PID and command line of each process with one of the words there or in its environment, behind zero bytes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            text = b"\0" + (process / "environ").read_bytes() + command
            if command and any(word.encode() in text for word in words):  # a zombie has no command line
                line = command.replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(f"{process.name} {line[:300]}")
    return found


def mark(number: int) -> str:
    """What `running` finds the programs of a lane by."""
    return f"\0KERBSIDE_LANE={number}/"


def pythons_own(path: Path) -> bool:
    """Whether this is the file by which Python's tempfile tests TMPDIR at first; a SIGKILL meanwhile leaves it."""
    try:
        return bool(re.fullmatch("[a-z0-9_]{8}", path.name)) and path.read_bytes() in (b"", b"blat")
    except OSError:  # a folder, or gone
        return False


@dataclass
class Surroundings:
    """One lane's id and its places."""

    id: int
    base: Path
    variables: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def dir(self) -> Path:
        return self.base / "d"

    @property
    def artifacts(self) -> Path:
        return self.base / "artifacts"

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.artifacts / "result.json").read_text())

    def ansible_log(self) -> str:
        """What Ansible has said to the log that `./lane` gives it."""
        return "".join(path.read_text(errors="replace") for path in self.base.glob("tmp/tmp.*/ansible.log"))

    @property
    def options(self) -> list[str]:
        values = {"id": self.id, "dir": self.dir, "artifacts_dir": self.artifacts, "cache_dir": CACHE}
        return [word for name, value in values.items() for word in ("-e", f"lane_{name}={value}")] + self.variables

    def environment(self) -> dict[str, str]:
        places = {"HOME": str(self.base / "home"), "TMPDIR": str(self.base / "tmp")}
        return environment(**{**places, **self.env})

    def playbook(self, *options: str, name: str = "lane.yml") -> list[str]:
        command = [sys.executable, "-m", "ansible", "playbook", str(ROOT / "playbooks" / name)]
        return [*SIGNALS, *command, *POCKET, *self.options, *options]

    def script(self, *options: str) -> list[str]:
        verb = [word for word in options[:1] if not word.startswith("-")]
        return [*SIGNALS, str(ROOT / "lane"), *verb, *POCKET, *options[len(verb) :], *self.options]

    def programs(self) -> list[str]:
        """The processes with the lane's mark, or its scratch folder in command line or HOME: ansible's own as well."""
        return running(mark(self.id), str(self.base))

    def listeners(self) -> list[int]:
        first = 17900 + 10 * self.id
        with open("/proc/net/tcp", encoding="ascii") as file:
            listening = {int(line.split()[1].rpartition(":")[2], 16) for line in file if line.split()[3] == "0A"}
        return sorted(listening & set(range(first, first + 5)))

    def traces(self) -> list[str]:
        """All that is there of the lane: processes, listeners, its directory, temporary files."""
        found = self.programs() + [f"port {port}" for port in self.listeners()]
        found += [str(self.dir)] if os.path.lexists(self.dir) else []
        for place in (self.base / "tmp", self.base / "home/.ansible/tmp"):
            # os.walk passes over what vanishes meanwhile
            paths = [Path(folder, name) for folder, folders, names in os.walk(place) for name in folders + names]
            found += [str(path) for path in paths if not pythons_own(path)]
        return found

    def seconds_until_gone(self) -> tuple[float, list[str]]:
        """(seconds it took, what is left after GONE_LIMIT)."""
        begun = time.monotonic()
        while (left := self.traces()) and time.monotonic() - begun < GONE_LIMIT:
            time.sleep(0.1)
        return round(time.monotonic() - begun, 2), left


@contextmanager
def surroundings(number: int, **env: str) -> Iterator[Surroundings]:
    """A place for one lane. Whatever is at work there at the end is killed, with or without a mark."""
    base = Path(tempfile.mkdtemp(prefix="kn-", dir="/tmp"))
    place = Surroundings(number, base, env=env)
    (base / "home").mkdir()
    (base / "tmp").mkdir()
    try:
        yield place
    finally:
        killed = {int(process.split()[0]) for process in place.programs()}
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for run in Started.all:
            if run.process.pid in killed:
                run.wait(10)
        shutil.rmtree(base, ignore_errors=True)


class Started:
    """A command whose output is read as it comes. terminal: it has a controlling terminal, which `hang_up` closes."""

    all: ClassVar[list[Started]] = []

    def __init__(self, command: list[str], env: dict[str, str], *, terminal: bool = False, cwd: Path = ROOT) -> None:
        self.begun = time.monotonic()
        self.lines: list[str] = []
        self.times: list[float] = []
        self._new = threading.Condition()
        self._read, theirs = os.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal if terminal else None,  # noqa: PLW1509
        )
        os.close(theirs)
        self.all.append(self)
        self._stop_read, self._stop = os.pipe()
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def _follow(self) -> None:
        rest = b""
        with suppress(OSError):
            while self._stop_read not in select.select([self._read, self._stop_read], [], [])[0] and (
                data := os.read(self._read, 65536)
            ):
                *whole, rest = (rest + data).split(b"\n")
                with self._new:
                    for line in whole:
                        self.lines.append(line.decode(errors="replace").rstrip("\r"))
                        self.times.append(time.monotonic() - self.begun)
                    self._new.notify_all()

    def tasks(self) -> list[float]:
        """When each task began, in seconds since the start."""
        return [at for line, at in zip(self.lines, self.times, strict=False) if line.startswith("TASK [")]

    def wait_for_task(self, number: int, limit: float, log: Callable[[], str] = lambda: "") -> bool:
        """True when task `number` (from 1) has begun, by the output or Ansible's log; False when the command ended."""
        end = time.monotonic() + limit
        with self._new:
            while max(len(self.tasks()), log().count("TASK [")) < number:
                if self.process.poll() is not None:
                    return False
                assert time.monotonic() < end, f"task {number} did not begin in {limit} s: {self.lines[-5:]}"
                self._new.wait(0.02)
        return True

    def until(self, seen: Callable[[], object], limit: float = 200) -> None:
        """Wait until seen() is true; fail if the command ends first."""
        while not seen():
            assert self.process.poll() is None and time.monotonic() - self.begun < limit, self.text[-3000:]
            time.sleep(0.05)

    def hang_up(self) -> None:
        """Close the terminal; nobody may be reading from it then, for that would keep it open."""
        os.write(self._stop, b"x")
        self._reader.join()
        os.close(self._read)

    def wait(self, limit: float) -> int:
        """The exit status, once all of the output has been read too."""
        status = self.process.wait(limit)
        self._reader.join(2)
        return status

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
