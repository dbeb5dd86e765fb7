"""A qemu that is started for a moment, to see what it can do, and is surely gone afterwards."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from ..core import command
from ..core.errors import one_line
from ..protocols.qmp import Qmp, QmpClosed

START_LIMIT = 10.0  #: seconds until qemu has to greet; 0.03 were seen
END_LIMIT = 2.0  #: seconds for a qemu that has hung up to end


class Trial:
    """`with Trial(qemu, arguments, folder, mark) as trial:` gives a running qemu with `trial.qmp` connected.

    folder: where its files may go; each trial makes a private directory `trial.home` there and removes it.
    Raises QmpError when qemu ends or hangs before its greeting; `ended()` then tells how, also after the block.
    qemu reads QMP from one end of a socket pair, so there is no path and nothing to wait for.
    """

    def __init__(self, qemu: str, arguments: list[str], folder: str, mark: str | None) -> None:
        self.argv = [qemu, *arguments]
        self._folder = folder
        self._mark = mark
        self._words = ""
        self._ends_itself = False
        self._status: int | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Trial:
        try:
            self.home = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="trial-", dir=self._folder))
            ours, theirs = socket.socketpair()
            self._stack.callback(ours.close)
            monitor = ["-chardev", f"socket,id=trial-qmp,fd={theirs.fileno()}", "-mon", "chardev=trial-qmp,mode=control"]
            with theirs, open(os.path.join(self.home, "qemu.log"), "wb") as log:
                argv = [part.replace("{home}", self.home) for part in self.argv] + monitor
                env = {**command.environment(self._mark), "TMPDIR": self.home}
                self.process = command.spawn(argv, env, stdout=log, stderr=log, pass_fds=[theirs.fileno()])
            self._stack.callback(self._end)
            self.started = time.monotonic()
            self.qmp = Qmp(ours, "a qemu on trial", START_LIMIT)
        except BaseException as error:
            self._ends_itself = isinstance(error, QmpClosed)
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ends_itself = isinstance(error, QmpClosed)
        self._stack.close()

    def _end(self) -> None:
        if self._ends_itself:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._status = self.process.wait(END_LIMIT)
        command.end_group(self.process)
        self._words = Path(self.home, "qemu.log").read_text(encoding="utf-8", errors="replace")

    def seconds(self) -> float:
        """Since qemu's start."""
        return time.monotonic() - self.started

    def words(self) -> str:
        """What qemu has written to its terminal so far."""
        path = Path(self.home, "qemu.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else self._words

    def ended(self, lines: int = 1) -> str:
        """A clause for how qemu ended by itself, with the first lines of what it said."""
        status = self._status
        how = "did not end by itself" if status is None else f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        words = [line.partition(": ")[2] or line for line in self._words.splitlines() if line.strip() and "warning:" not in line]
        return f"{how} ({one_line(' / '.join(words[:lines]) or 'without a word', 160 * lines)})"
