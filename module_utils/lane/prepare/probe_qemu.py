"""Start qemu for a short probe; it is never left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core import command
from ..core.errors import one_line
from ..protocols.qmp import Qmp, QmpClosed, QmpError, QmpTimeout

END_LIMIT = 2.0  #: seconds that qemu has to exit once it has closed its monitor


class ProbeQemu:
    """`with ProbeQemu(qemu, arguments, folder, mark, start_limit) as probe:` gives a running qemu with `probe.qmp`
    connected.

    folder: where its files may go; each probe makes a private directory `probe.home` there and removes it. `{home}` in
    an argument is that directory. start_limit: seconds that qemu has for each answer. Raises QmpError when it exits or
    hangs before its greeting; `failure()` then says how. qemu reads QMP from one end of a socket pair, so there is no
    path and nothing to wait for.
    """

    def __init__(self, qemu: str, arguments: list[str], folder: str, mark: str | None, start_limit: float) -> None:
        self.argv = [qemu, *arguments]
        self._folder = folder
        self._mark = mark
        self._limit = start_limit
        self._output = ""
        self._status: int | None = None

    def __enter__(self) -> ProbeQemu:
        with contextlib.ExitStack() as stack:
            self.home = stack.enter_context(tempfile.TemporaryDirectory(prefix="probe-", dir=self._folder))
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            socket_option = f"socket,id=probe-qmp,fd={theirs.fileno()}"
            monitor = ["-chardev", socket_option, "-mon", "chardev=probe-qmp,mode=control"]
            with theirs, open(os.path.join(self.home, "qemu.log"), "wb") as log:
                argv = [part.replace("{home}", self.home) for part in self.argv] + monitor
                env = {**command.environment(self._mark), "TMPDIR": self.home}
                self.process = command.spawn(argv, env, stdout=log, stderr=log, pass_fds=[theirs.fileno()])
            stack.push(self._end)
            self.started = time.monotonic()
            self.qmp = Qmp(ours, "the probe's monitor", self._limit)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, QmpClosed):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._status = self.process.wait(END_LIMIT)
        command.end_group(self.process)
        self._output = self.output()

    def seconds(self) -> float:
        """Since qemu's start."""
        return time.monotonic() - self.started

    def output(self) -> str:
        """What qemu has written to stdout and stderr, also after its end."""
        path = Path(self.home, "qemu.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else self._output

    def failure(self, error: QmpError, lines: int = 1) -> str:
        """A clause for how qemu failed, with the first lines of its output: "exited with status 1 (...)"."""
        if isinstance(error, QmpTimeout):
            how = f"did not answer within {self._limit:g} s"
        elif not isinstance(error, QmpClosed):
            how = f"did not answer as QMP says ({error.problem})"
        elif self._status is None:
            how = "closed its monitor without exiting"
        else:
            how = f"was killed by signal {-self._status}" if self._status < 0 else f"exited with status {self._status}"
        said = [line for line in self._output.splitlines() if line.strip() and "warning:" not in line]
        output = " / ".join(line.partition(": ")[2] or line for line in said[:lines])
        return f"{how} ({one_line(output or 'no output', 160 * lines)})"

    def save_output(self, path: str, note: str) -> str:
        """Append qemu's command line, its output and a note to the log `path`; returns the path."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(self.argv)}\n{self.output()}\n{note}\n")
        return path
