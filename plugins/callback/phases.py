"""Show a run as one line per phase, with the progress of a phase that takes long."""

from __future__ import annotations

DOCUMENTATION = r"""
name: phases
type: stdout
short_description: One line per phase of a lane
description:
  - The stdout callback of C(./lane). Without C(-v) or C(--step) it prints a line for each phase (role) when it is done, with what its modules return as
    RV(lane_note), and the warnings of modules. What the default callback would print goes to Ansible's log file (C(log_path)) alone.
  - With C(-v) or C(--step) it is the default callback.
  - On a terminal the phase at work has the last line, which is updated every second. Elsewhere it gets a line every 15 seconds.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration (C(ANSIBLE_STDOUT_CALLBACK=phases), as C(./lane) does)
"""

import atexit
import contextlib
import os
import threading
import time
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils import color as colours
from ansible.utils.display import Display

PERIOD = 1.0  #: seconds between two updates on a terminal
QUIET_PERIOD = 15.0  #: seconds between two progress lines elsewhere
LONGEST_NOTE = 100  #: characters, on a terminal
LONGEST_PROGRESS = 160  #: characters, elsewhere
ERASE = "\r\x1b[K"  # ECMA-48: to the beginning of the line, and erase it
#: Logs of the machine that a phase's programs write.
MACHINE_LOGS = {"deps": (Path("/var/log/dpkg.log"),)}


class LogOnly(Display):
    """A Display whose messages go to Ansible's log file and not to the terminal."""

    def display(self, msg, *args, log_only=False, **kwargs):
        """Log the message."""
        super().display(msg, *args, log_only=True, **kwargs)


class Terminal:
    """Lines on a descriptor.

    live: it is a terminal, whose last line may be replaced; progress(): what the phase at work does now.
    """

    def __init__(self, live, paint, progress, descriptor=1):
        self.live = live
        self._paint = paint
        self._progress = progress
        self._out = descriptor
        self._phase = ""
        self._began = self._due = 0.0
        self._replaceable = False
        self._over = threading.Event()
        # Ansible forks while the thread is there. If the thread held the lock then, the lock would stay locked in the child.
        self._lock = threading.Lock()
        os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release)
        atexit.register(self.close)
        threading.Thread(target=self._update, name="progress", daemon=True).start()

    def begin(self, phase):
        """Show the progress of this phase from now on."""
        with self._lock:
            self._phase, self._began, self._due = phase, time.monotonic(), QUIET_PERIOD

    def end(self, note, colour=None):
        """Print the line of the phase, which is done; no line without a note (None)."""
        with self._lock:
            if note is not None:
                self._print(line(self._phase, f"{time.monotonic() - self._began:.1f} s", note), colour)
            self._phase = ""

    def say(self, text, colour=None):
        """Print lines that stay."""
        with self._lock:
            self._print(text, colour)

    def close(self):
        """Show no more progress."""
        self._over.set()
        with self._lock:
            self._erase()

    def _update(self):
        while not self._over.wait(PERIOD):
            with self._lock:
                if self._phase and not self._over.is_set():
                    self._show_progress(time.monotonic() - self._began)

    def _show_progress(self, elapsed):
        if elapsed < (PERIOD if self.live else self._due):
            return
        self._due = (elapsed // QUIET_PERIOD + 1) * QUIET_PERIOD
        text = line(self._phase, f"{elapsed:.0f} s ...", self._progress())
        if self.live:  # the cursor goes back, so that a message of somebody else replaces this one
            self._write(f"{ERASE}{text[: self._width() - 1]}\r")
            self._replaceable = True
        else:
            self._write(text[:LONGEST_PROGRESS] + "\n")

    def _print(self, text, colour):
        self._erase()
        self._write((self._paint(text, colour) if colour else text) + "\n")

    def _erase(self):
        if self._replaceable:
            self._write(ERASE)
            self._replaceable = False

    def _width(self):
        try:
            return os.get_terminal_size(self._out).columns or 80
        except OSError:
            return 80

    def _write(self, text):
        data = text.encode(errors="replace")
        with contextlib.suppress(OSError):  # nobody reads any more: the lane goes on
            while data:
                data = data[os.write(self._out, data) :]


def line(phase, seconds, note):
    """One phase. Its seconds are in one column with those of the others."""
    number, _, unit = seconds.partition(" ")
    return f"{phase:11} {number:>6} {unit}  {' '.join(note.split())}".rstrip()


class CallbackModule(Default):
    """The default callback; without -v its messages are logged, and the phases are shown instead."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._terminal = None
        self._run = {}
        self._verdict = self._unexplained = False
        if self._display.verbosity or C.DEFAULT_DEBUG or context.CLIARGS.get("step"):
            return
        self._display = LogOnly()
        self._check = bool(context.CLIARGS.get("check"))
        self._terminal = Terminal(colours.ANSIBLE_COLOR and os.isatty(1), colours.stringc, self._progress)
        self._begin("claim")  # what comes before the first role

    def _begin(self, phase):
        self._phase, self._task, self._started = phase, "", time.time()
        self._notes, self._failed, self._done = [], "", False
        self._earlier = {path.name for path in Path(self._run.get("dir") or "/nowhere", "logs").glob("*.log")}
        self._terminal.begin(phase)

    def _end(self):
        if self._failed:
            self._terminal.end(f"FAILED: {self._failed}", "red")
        else:
            self._terminal.end(", ".join(self._notes) if self._done and self._phase != "claim" else None)

    def v2_playbook_on_task_start(self, task, is_conditional):
        """A task of another role begins another phase."""
        super().v2_playbook_on_task_start(task, is_conditional)
        if self._terminal:
            role = task._role.get_name() if task._role else None
            if role and role != self._phase:
                self._end()
                self._begin(role)
            self._task = task.get_name().strip().removeprefix(f"{self._phase} : ")

    def v2_runner_on_ok(self, result):
        """Note what the task returned."""
        self._note(result)
        super().v2_runner_on_ok(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Note what failed."""
        self._note(result, failed=not ignore_errors)
        super().v2_runner_on_failed(result, ignore_errors=ignore_errors)

    def v2_runner_on_unreachable(self, result):
        """A machine that cannot be reached is a failure."""
        self._note(result, failed=True)
        super().v2_runner_on_unreachable(result)

    def _note(self, result, failed=False):
        """Take notes, warnings and failures from a result, before the default callback removes some of it."""
        if not self._terminal:
            return
        values = result.result if hasattr(result, "result") else result._result  # the latter before ansible-core 2.19
        warnings = [one.event.msg for one in result.warnings] if hasattr(result, "warnings") else values.get("warnings", ())
        self._done = True
        for text in warnings:
            self._terminal.say(f"warning: {text}", "bright purple")
        if self._check and values.get("changed"):
            self._notes.append(f"would {self._task[:1].lower()}{self._task[1:]}")
        elif note := values.get("lane_note"):
            self._notes.append(_short(str(note)) if self._terminal.live else str(note))
        self._run = (values.get("ansible_facts") or {}).get("lane_run") or self._run
        self._verdict = self._verdict or "lane_verdict" in values
        if failed:
            named = values.get("lane_failure") or {}
            self._failed = self._failed or (f"check {named['check']}" if named.get("check") else self._task)
            self._unexplained = self._unexplained or not named

    def v2_playbook_on_stats(self, stats):
        """Show the last phase, and Ansible's own messages when nothing else explains a failure."""
        super().v2_playbook_on_stats(stats)
        if not self._terminal:
            return
        self._end()
        self._terminal.close()
        if self._unexplained and not self._verdict and C.DEFAULT_LOG_PATH:
            self._terminal.say(Path(C.DEFAULT_LOG_PATH).read_text(encoding="utf-8", errors="replace").rstrip())

    def _progress(self):
        """The task at work, and the last line of a log that was begun in this phase."""
        from ansible.module_utils.lane.evidence import ansible_log, logs

        said = ""
        with contextlib.suppress(Exception):  # whatever is wrong with a log: this is only progress
            if lane_dir := ansible_log.local_dir(self._run):
                said = logs.last_line(lane_dir, self._started, MACHINE_LOGS.get(self._phase, ()), self._earlier)
        return f"{self._task}: {said}" if said else self._task


def _short(text):
    return text if len(text) <= LONGEST_NOTE else f"{text[: LONGEST_NOTE - 3]}..."
