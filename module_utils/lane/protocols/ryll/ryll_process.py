"""The process behind the socket: whether it runs, and what it wrote last."""

from __future__ import annotations

import os
import re
import select

from ...core import bounded, proc_stat
from .errors import ProcessLost

#: Seconds that a peer which closed the connection gets to end, so that the message can say that it ended.
SETTLE = 0.3
#: Most bytes that are read from the end of a log.
LONGEST_END = 1 << 20
# Colours, and the time with which ryll begins each line.
_NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\b\d{4}-\d\d-\d\dT[0-9:.]+Z\s+")

# What ryll 0.3.0 logs in every session and at every end of one; it does not explain an end.
_ROUTINE = re.compile(r"INFO (control: |headless: |Headless mode |Connection task |.*run loop exited cleanly|Stats:)")


class Watch:
    """Watches one process by its pid, on Linux: a pidfd reports its end at once, a look that it is stopped."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            raise self._lost("no such process is running") from None
        self.look()

    def fileno(self) -> int:
        """A descriptor that polls readable when the process has ended."""
        return self._descriptor

    def look(self) -> None:
        """Raise ProcessLost when the process has ended or is stopped."""
        self.settle(0.0)

    def settle(self, seconds: float = SETTLE) -> None:
        """Give the process some seconds to end, then look."""
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        ended = waiting.poll(seconds * 1000)
        found = proc_stat.read(self.pid)
        state = found[1][proc_stat.STATE] if found else ""
        if ended:
            raise self._lost("it has ended" + (" (zombie, not yet reaped)" if state == "Z" else ""))
        if state == "T":
            raise self._lost("it is stopped (state T, as after SIGSTOP)")

    def close(self) -> None:
        os.close(self._descriptor)

    def _lost(self, how: str) -> ProcessLost:
        return ProcessLost(f"ryll (process {self.pid}) is lost: {how}")


def log_end(path: str) -> tuple[str, int]:
    """The last four lines of a log, on one line without colours and times, and the number of the last one.

    Routine lines are left out as long as there are others. "", 0 when there is nothing to read; the number is also 0
    when the file is larger than 1 MiB, so that only its end was read.
    """
    skipped, data = bounded.tail(path, LONGEST_END)
    plain = [_NOISE.sub("", line).strip() for line in data.decode("utf-8", "replace").splitlines()]
    said = [(number, line) for number, line in enumerate(plain, 1) if line]
    said = ([(number, line) for number, line in said if not _ROUTINE.match(line)] or said)[-4:]
    return " / ".join(line for _, line in said), said[-1][0] if said and not skipped else 0
