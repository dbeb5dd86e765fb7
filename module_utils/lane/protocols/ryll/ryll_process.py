"""The process behind the socket: whether it runs, and what it wrote last."""

from __future__ import annotations

import contextlib
import os
import re
import select

from ...core import proc_stat
from .errors import ProcessLost

#: Seconds that a peer which closed the connection gets to end, so that the message can say that it ended.
SETTLE = 0.3
_STATES = {
    "Z": "it has ended (zombie, not yet reaped)",
    "X": "it has ended",
    "T": "it is stopped (state T, as after SIGSTOP)",
}
# Colours, and the time with which ryll begins each line.
_NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\b\d{4}-\d\d-\d\dT[0-9:.]+Z\s+")

# What ryll 0.3.0 logs in every session and at every end of one; it does not explain an end.
_ROUTINE = re.compile(r"INFO (control: |headless: |Headless mode |Connection task |.*run loop exited cleanly|Stats:)")


class Watch:
    """Watches one process by its pid, on Linux.

    Its end is reported at once by a pidfd where the kernel has one (5.3 and later), else when it is looked at, like a
    stop.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor: int | None = None
        self._started = self._read()[1]
        if self._started is not None:
            with contextlib.suppress(OSError):
                self._descriptor = os.pidfd_open(pid)
        self.look()

    def fileno(self) -> int | None:
        """A descriptor that polls readable when the process has ended; None when the kernel offers none."""
        return self._descriptor

    def look(self) -> None:
        """Raise ProcessLost when the process is gone, replaced by another one, a zombie or stopped."""
        state, started = self._read()
        if state is None or started != self._started:
            self._lost("it has ended" if self._started is not None else "no such process is running")
        if state in _STATES:
            self._lost(_STATES[state])

    def settle(self) -> None:
        """Give the process SETTLE seconds to end, then look."""
        if self._descriptor is not None:
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLIN)
            waiting.poll(SETTLE * 1000)
        self.look()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> tuple[str | None, str | None]:
        """State letter and start time (fields 3 and 22 of proc_pid_stat(5)); None, None when there is no such
        process.
        """
        found = proc_stat.read(self.pid)
        return (found[1][proc_stat.STATE], found[1][proc_stat.STARTED]) if found else (None, None)

    def _lost(self, got: str) -> None:
        raise ProcessLost(f"ryll (process {self.pid}) is lost: {got}")


def log_end(path: str, lines: int = 4) -> tuple[str, int]:
    """The last lines of a log, on one line without colours and times, and the number of the last one.

    Routine lines are left out as long as there are others. "", 0 when there is nothing to read; the number is also 0
    when the file is larger than 1 MiB, so that only its end was read.
    """
    try:
        if not os.path.isfile(path):
            return "", 0
        with open(path, "rb") as log:
            size = os.fstat(log.fileno()).st_size
            log.seek(max(0, size - (1 << 20)))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return "", 0
    plain = [(number, _NOISE.sub("", line).strip()) for number, line in enumerate(text.splitlines(), 1)]
    said = [(number, line) for number, line in plain if line]
    said = ([(number, line) for number, line in said if not _ROUTINE.match(line)] or said)[-lines:]
    if not said:
        return "", 0
    return " / ".join(line for _, line in said), said[-1][0] if size <= 1 << 20 else 0
