"""Whole lanes for the tests of docs/no-trace.md: each in surroundings of its own, so that whatever it leaves behind can be seen.

HOME and TMPDIR are folders below one scratch folder, whose path stands in every command line: what is still there afterwards is the lane's.
"""

from __future__ import annotations

import fcntl
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
from typing import ClassVar

ROOT = Path(__file__).parents[2]
SIGNALS = (
    "env",
    "--default-signal=HUP,INT,TERM",
)  #: as a shell starts it; tests under nohup(1) or in the background would hand on that some are ignored
GONE_LIMIT = 10.0  #: seconds in which all of a lane has to be gone


def copy_checkout(home: Path) -> Path:
    """The checkout in another place, as git has it and as it stands."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, home / name)
    return home


def pythons_own(path: Path) -> bool:
    """Whether this is the file that Python's tempfile writes and removes at its first use, to see whether TMPDIR can be written.

    A SIGKILL between the two leaves it, in any Python program: CPython, Lib/tempfile.py, _get_default_tempdir.
    """
    try:
        return bool(re.fullmatch("[a-z0-9_]{8}", path.name)) and path.read_bytes() in (b"", b"blat")
    except OSError:  # a folder, or gone
        return False


#: One guest is enough where the guest is not what is tested.
POCKET = ("-e", "lane_guest=pocket")


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

    def ansible_log(self) -> str:
        """What Ansible has said to the log that `./lane` gives it."""
        return "".join(path.read_text(errors="replace") for path in self.base.glob("tmp/tmp.*/ansible.log"))

    @property
    def options(self) -> list[str]:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kerbside-lane")
        values = {
            "lane_id": self.id,
            "lane_dir": self.dir,
            "lane_artifacts_dir": self.artifacts,
            "lane_cache_dir": cache,
        }
        return [option for name, value in values.items() for option in ("-e", f"{name}={value}")] + self.variables

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "LANE_", "KERBSIDE_", "PYTHON"))
        }
        places = {
            "HOME": str(self.base / "home"),
            "TMPDIR": str(self.base / "tmp"),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        }
        return {**kept, **places, **self.env}

    def playbook(self, *options: str, name: str = "lane.yml") -> list[str]:
        return [
            *SIGNALS,
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            str(ROOT / "playbooks" / name),
            *POCKET,
            *self.options,
            *options,
        ]

    def script(self, *options: str) -> list[str]:
        verb = [word for word in options[:1] if not word.startswith("-")]
        return [*SIGNALS, str(ROOT / "lane"), *verb, *POCKET, *options[len(verb) :], *self.options]

    def programs(self) -> list[str]:
        """The command lines of the live processes that carry the lane's mark, or its scratch folder in command line or HOME: ansible's own as well."""
        found = []
        mark, place = f"\0KERBSIDE_LANE={self.id}/".encode(), str(self.base).encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environ, command = b"\0" + (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
                if (
                    mark in environ or place in environ or place in command
                ) and command:  # a zombie has no command line
                    found.append(
                        f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace').strip()[:300]}"
                    )
        return found

    def listeners(self) -> list[int]:
        first = 17900 + 10 * self.id
        with open("/proc/net/tcp", encoding="ascii") as file:
            listening = {int(line.split()[1].rpartition(":")[2], 16) for line in file if line.split()[3] == "0A"}
        return sorted(listening & set(range(first, first + 5)))

    def traces(self, but: str = "") -> list[str]:
        """All that is there of the lane: processes, listeners, its directory, temporary files. but: a word in what does not count."""
        found = [p for p in self.programs() if not but or but not in p] + [f"port {port}" for port in self.listeners()]
        found += [str(self.dir)] if os.path.lexists(self.dir) else []
        for place in (self.base / "tmp", self.base / "home/.ansible/tmp"):
            paths = [
                Path(folder, name) for folder, folders, names in os.walk(place) for name in folders + names
            ]  # passes over what vanishes meanwhile
            found += [str(path) for path in paths if not pythons_own(path)]
        return found

    def seconds_until_gone(self, limit: float = GONE_LIMIT) -> tuple[float, list[str]]:
        """(seconds it took, what is left after `limit` seconds)."""
        begun = time.monotonic()
        while (left := self.traces()) and time.monotonic() - begun < limit:
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
    """A command whose output is read as it comes. terminal: it has a controlling terminal, whose closing `hang_up` is."""

    all: ClassVar[list[Started]] = []

    def __init__(self, command: list[str], env: dict[str, str], *, terminal: bool = False, cwd: Path = ROOT) -> None:
        self.begun = time.monotonic()
        self.lines: list[str] = []
        self.times: list[float] = []
        self._new = threading.Condition()
        if terminal:
            self._read, theirs = os.openpty()
            self.process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=_take_terminal,  # noqa: PLW1509
            )
        else:
            self._read, theirs = os.pipe()
            self.process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
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
        """True when task `number` (from 1) has begun, by the output or by Ansible's log; False when the command ended before."""
        end = time.monotonic() + limit
        with self._new:
            while max(len(self.tasks()), log().count("TASK [")) < number:
                if self.process.poll() is not None:
                    return False
                assert time.monotonic() < end, f"task {number} did not begin in {limit} s: {self.lines[-5:]}"
                self._new.wait(0.02)
        return True

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
