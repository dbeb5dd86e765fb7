"""What `./lane` shows while it runs: a line for each phase when it is done, and a sign of life from one that takes long (docs/red-lane.md).

On a terminal the phase at work has the last line, written anew every second, until something else is said. Elsewhere it gets a line every PATIENCE seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable

PERIOD = 1.0  #: seconds
PATIENCE = 15.0  #: seconds
LONGEST = 160  #: characters of a sign of life where there is no terminal
ERASE = "\r\x1b[K"  # ECMA-48: to the line's beginning, and erase it


class Terminal:
    """Lines on a descriptor. live: it is a terminal, whose last line may be written anew; listen: what the phase at work said last."""

    def __init__(self, live: bool, paint: Callable[[str, str], str], listen: Callable[[], str] = lambda: "", descriptor: int = 1) -> None:
        self._live = live
        self._paint = paint
        self._listen = listen
        self._out = descriptor
        self._phase = self._step = ""
        self._began = self._due = 0.0
        self._shown = False
        self._over = threading.Event()
        # Ansible forks while the thread is there, and a fork must not find it at work: a lock that it holds would stay locked in the child.
        self._lock = threading.Lock()
        os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release)
        atexit.register(self.close)
        threading.Thread(target=self._live_on, name="terminal", daemon=True).start()

    def begin(self, phase: str) -> None:
        """A phase is at work from now on."""
        with self._lock:
            self._phase, self._step, self._began, self._due = phase, "", time.monotonic(), PATIENCE

    def step(self, name: str) -> None:
        """What it does now."""
        self._step = name

    def end(self, seconds: float, note: str, colour: str | None = None) -> None:
        """The phase is done."""
        with self._lock:
            self._put(line(self._phase, f"{seconds:.1f} s", note), colour)
            self._phase = ""

    def say(self, text: str, colour: str | None = None) -> None:
        """Lines that stay."""
        with self._lock:
            self._put(text, colour)

    def close(self) -> None:
        """No more signs of life."""
        self._over.set()
        with self._lock:
            self._clear()

    def _live_on(self) -> None:
        while not self._over.wait(PERIOD):
            with self._lock:
                if self._phase and not self._over.is_set():
                    self._tell(time.monotonic() - self._began)

    def _tell(self, elapsed: float) -> None:
        if elapsed < (PERIOD if self._live else self._due):
            return
        self._due = (elapsed // PATIENCE + 1) * PATIENCE
        said = ""
        with contextlib.suppress(Exception):  # whatever is wrong with a log: this is only a sign of life
            said = self._listen()
        text = line(self._phase, f"{elapsed:.0f} s ...", f"{self._step}: {said}" if said else self._step)
        if self._live:
            self._write(ERASE + text[: self._width() - 1])
            self._shown = True
        else:
            self._write(text[:LONGEST] + "\n")

    def _put(self, text: str, colour: str | None) -> None:
        self._clear()
        self._write((self._paint(text, colour) if colour else text) + "\n")

    def _clear(self) -> None:
        if self._shown:
            self._write(ERASE)
            self._shown = False

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._out).columns or 80
        except OSError:
            return 80

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        with contextlib.suppress(OSError):  # nobody reads any more: the lane goes on
            while data:
                data = data[os.write(self._out, data) :]


def line(phase: str, seconds: str, note: str) -> str:
    """One phase; its seconds stand in one column with those of the others."""
    number, _, unit = seconds.partition(" ")
    return f"{phase:11} {number:>6} {unit}  {' '.join(note.split())}".rstrip()
