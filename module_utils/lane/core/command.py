"""Run a short-lived program for the lane: with an environment of its own, a limit and the lane's mark; it is never left
behind.

Programs that have to keep running are started by programs/process.py instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

from . import process_end
from .errors import LaneError
from .private_dir import MARK

#: Folders searched after the caller's PATH: an ordinary user of Debian has no sbin on it.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What a program needs from the caller to reach a network; nothing else of the environment is passed on unless a caller
#: names it.
NETWORK = (
    "http_proxy https_proxy ftp_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE"
).split()


@dataclass(frozen=True)
class Done:
    """How a program ended: exit status (negative: the signal that ended it) and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it says of a failure: the last lines with "error" or git's "fatal:" in them, else the last lines."""
        lines = [line.strip() for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() or line.startswith("fatal:")]
        return " / ".join((errors or lines)[-2:]) or "nothing"


def search_path() -> str:
    """The caller's PATH and the system's folders behind it."""
    return f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}".lstrip(":")


def find_program(name: str) -> str | None:
    """The absolute path of a program, or None."""
    found = shutil.which(name, path=search_path())
    return os.path.abspath(found) if found else None


def environment(mark: str | None, keep: Iterable[str] = (), network: bool = False) -> dict[str, str]:
    """A fresh environment with the lane's mark; of the caller's only the names in `keep` (NAME, or PREFIX*)."""
    exact = {*keep, *(NETWORK if network else ())}
    prefixes = tuple(name[:-1] for name in keep if name.endswith("*"))
    kept = {name: value for name, value in os.environ.items() if name in exact or name.startswith(prefixes)}
    home = os.environ.get("HOME") or os.path.expanduser("~")
    return {**kept, "PATH": search_path(), "HOME": home, "LC_ALL": "C.UTF-8", **({MARK: mark} if mark else {})}


def spawn(argv: list[str], env: dict[str, str], **more: Any) -> subprocess.Popen[bytes]:
    """Start a program without stdin, in a session of its own. It ends with this process."""
    return subprocess.Popen(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=process_end.with_parent,  # noqa: PLW1509 - Ansible's modules have one thread
        **more,
    )


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill the program and all that it started in its session, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(
    argv: list[str],
    env: dict[str, str],
    limit: float,
    what: str,
    *,
    component: str = "environment",
    cwd: str | None = None,
    log: str | None = None,
    together: bool = False,
) -> Done:
    """Run a program to its end.

    what: the step, for the error ("download ryll with pip"). log: a file that its stderr goes to as it comes; `err` is
    then read back from it. together: its stdout goes to the log as well, in the order of writing; `err` is then both
    and `out` is empty. Raises LaneError (component) when it cannot be started or has not ended after limit seconds; it
    is then killed with all its children.
    """
    stderr: int | IO[bytes] = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        start = 0
        if log:
            stderr = stack.enter_context(open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab"))
            stderr.write(f"$ {' '.join(argv)}\n".encode())
            stderr.flush()
            start = stderr.tell()
        stdout = stderr if log and together else subprocess.PIPE
        try:
            process = stack.enter_context(spawn(argv, env, cwd=cwd, stdout=stdout, stderr=stderr))
        except OSError as error:
            problem = f"{what}: {argv[0]} cannot be started: {error.strerror}"
            raise LaneError("command_not_started", component, problem) from None
        try:
            out, err = process.communicate(timeout=limit)
        except BaseException as error:
            end_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                problem = f"{what}: {argv[0]} was still running after {limit:g} s and was killed"
                fix = f"see {log}" if log else ""
                raise LaneError("command_timeout", component, problem, fix, evidence=log) from None
            raise
        if log:
            with open(log, "rb") as file:
                file.seek(start)
                err = file.read()
    return Done(process.returncode, (out or b"").decode(errors="replace"), err.decode(errors="replace"))
