"""Show a run as one line per phase, with the progress of a phase that takes long."""

from __future__ import annotations

DOCUMENTATION = r"""
name: phases
type: stdout
short_description: One line per phase of a lane
description:
  - The stdout callback of C(./lane). Without C(-v) or C(--step) it prints a line for each phase (role) when it is done,
    with what its modules return as RV(lane_note), and the warnings of modules. What the default callback would print
    goes to Ansible's log file (C(log_path)) alone.
  - With C(-v) or C(--step) it is the default callback.
  - On a terminal the phase at work has the last line, which is updated every second. Elsewhere it gets a line every 15
    seconds.
  - With several hosts each line begins with the lane that it is about.
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

    live: it is a terminal, whose last line may be replaced; progress(lane): what the lane's phase does now.
    """

    def __init__(self, live, paint, progress, descriptor=1):
        self.live = live
        self._paint = paint
        self._progress = progress
        self._out = descriptor
        self._work = {}  # the phase at work, when it began, and when its next line of progress is due, by lane
        self._replaceable = False
        self._over = threading.Event()
        # Ansible forks while the thread is there. If the thread held the lock then, the lock would stay locked in the
        # child.
        self._lock = threading.Lock()
        release = self._lock.release
        os.register_at_fork(before=self._lock.acquire, after_in_parent=release, after_in_child=release)
        atexit.register(self.close)
        threading.Thread(target=self._update, name="progress", daemon=True).start()

    def begin(self, phase, lane=""):
        """Show the progress of this phase from now on."""
        with self._lock:
            self._work[lane] = [phase, time.monotonic(), QUIET_PERIOD]

    def end(self, note, colour=None, lane="", ended=None):
        """Print the line of the phase, which is done (ended: since when); no line without a note (None)."""
        with self._lock:
            phase, began, _ = self._work.pop(lane)
            if note is not None:
                self._print(line(phase, f"{(ended or time.monotonic()) - began:.1f} s", note, lane), colour)

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
                if self._work and not self._over.is_set():
                    self._show_progress(time.monotonic())

    def _show_progress(self, now):
        texts = []
        for lane, work in self._work.items():
            phase, began, due = work
            elapsed = now - began
            if elapsed >= (PERIOD if self.live else due) and (progress := self._progress(lane)) is not None:
                work[2] = (elapsed // QUIET_PERIOD + 1) * QUIET_PERIOD
                texts.append(line(phase, f"{elapsed:.0f} s ...", progress, lane))
        if self.live and texts:  # the cursor goes back, so that a message of somebody else replaces this one
            text = texts[0]
            if len(texts) > 1:
                text = " | ".join(f"{lane} {work[0]} {now - work[1]:.0f} s" for lane, work in self._work.items())
            self._write(f"{ERASE}{text[: self._width() - 1]}\r")
            self._replaceable = True
        for text in () if self.live else texts:
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


def line(phase, seconds, note, lane=""):
    """One phase. Its seconds are in one column with those of the others."""
    number, _, unit = seconds.partition(" ")
    return f"{f'{lane:20} ' if lane else ''}{phase:11} {number:>6} {unit}  {' '.join(note.split())}".rstrip()


class Phase:
    """The phase of a lane that is at work. lane: what its lines begin with, "" where there is one lane."""

    def __init__(self, lane, name, run):
        self.lane, self.name, self.run = lane, name, run
        self.prefix = f"{lane}: " if lane else ""
        self.task, self.started = "", time.time()
        self.ended = None  # when its last task ended, unless another one has begun (time.monotonic)
        self.notes, self.failed, self.done = [], "", False
        self.earlier = {path.name for path in Path(run.get("dir") or "/nowhere", "logs").glob("*.log")}


class CallbackModule(Default):
    """The default callback; without -v its messages are logged, and the phases are shown instead."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._terminal = None
        self._phases = {}  # by host
        self._several = False
        self._verdict = self._unexplained = False
        if self._display.verbosity or C.DEFAULT_DEBUG or context.CLIARGS.get("step"):
            return
        self._display = LogOnly()
        self._check = bool(context.CLIARGS.get("check"))
        self._terminal = Terminal(colours.ANSIBLE_COLOR and os.isatty(1), colours.stringc, self._progress)

    def _begin(self, host, label, name, run):
        self._phases[host] = Phase(label, name, run)
        self._terminal.begin(name, label)

    def _end(self, phase):
        if phase.failed:
            self._terminal.end(f"FAILED: {phase.failed}", "red", phase.lane, phase.ended)
        else:
            note = ", ".join(phase.notes) if phase.done and phase.name != "claim" else None
            self._terminal.end(note, None, phase.lane, phase.ended)

    def v2_playbook_on_play_start(self, play):
        """With several hosts, each line names one."""
        super().v2_playbook_on_play_start(play)
        self._several = len(play.get_variable_manager().get_vars(play=play)["ansible_play_hosts_all"]) > 1

    def v2_runner_on_start(self, host, task):
        """A task of another role begins another phase of this lane."""
        super().v2_runner_on_start(host, task)
        if not self._terminal:
            return
        name = host.get_name()
        if name not in self._phases:
            self._begin(name, name if self._several else "", "claim", {})  # what comes before the first role
        role = task._role.get_name() if task._role else None
        phase = self._phases[name]
        if role and role != phase.name:
            self._end(phase)
            self._begin(name, phase.lane, role, phase.run)
        self._phases[name].ended = None
        self._phases[name].task = task.get_name().strip().removeprefix(f"{role} : ")

    def v2_runner_on_skipped(self, result):
        """A task that was not needed."""
        super().v2_runner_on_skipped(result)
        if self._terminal:
            self._phases[_host(result)].ended = time.monotonic()

    def v2_runner_on_ok(self, result):
        """Note what the task returned."""
        self._note(result)
        super().v2_runner_on_ok(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Note what failed."""
        self._note(result, failed=not ignore_errors)
        super().v2_runner_on_failed(result, ignore_errors=ignore_errors)

    def v2_runner_item_on_ok(self, result):
        """Show what came of one item of a loop, which may take long."""
        self._item(result, None)
        super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result):
        """Show what came of one item of a loop, whose other items go on."""
        self._item(result, "red")
        super().v2_runner_item_on_failed(result)

    def _item(self, result, colour):
        if not self._terminal:
            return
        values, phase = _values(result), self._phases[_host(result)]
        if note := values.get("lane_note"):
            self._terminal.say(f"  {phase.prefix}{note}", colour)
        if check := (values.get("lane_failure") or {}).get("check"):
            phase.failed = phase.failed or f"check {check}"

    def v2_runner_on_unreachable(self, result):
        """A machine that cannot be reached is a failure."""
        self._note(result, failed=True)
        super().v2_runner_on_unreachable(result)

    def _note(self, result, failed=False):
        """Take notes, warnings and failures from a result, before the default callback removes some of it."""
        if not self._terminal:
            return
        values, phase = _values(result), self._phases[_host(result)]
        phase.done, phase.ended = True, time.monotonic()
        new = hasattr(result, "warnings")
        for text in [one.event.msg for one in result.warnings] if new else values.get("warnings", ()):
            self._terminal.say(f"{phase.prefix}warning: {text}", "bright purple")
        if self._check and values.get("changed"):
            phase.notes.append(f"would {phase.task[:1].lower()}{phase.task[1:]}")
        elif note := values.get("lane_note"):
            phase.notes.append(_short(str(note)) if self._terminal.live else str(note))
        phase.run = (values.get("ansible_facts") or {}).get("lane_run") or phase.run
        self._verdict = self._verdict or "lane_verdict" in values
        if failed:
            named = values.get("lane_failure") or {}
            phase.failed = phase.failed or (f"check {named['check']}" if named.get("check") else phase.task)
            self._unexplained = self._unexplained or not named

    def v2_playbook_on_stats(self, stats):
        """Show the last phases, and Ansible's own messages when nothing else explains a failure."""
        super().v2_playbook_on_stats(stats)
        if not self._terminal:
            return
        for phase in self._phases.values():
            self._end(phase)
        self._terminal.close()
        if self._unexplained and not self._verdict and C.DEFAULT_LOG_PATH:
            self._terminal.say(Path(C.DEFAULT_LOG_PATH).read_text(encoding="utf-8", errors="replace").rstrip())

    def _progress(self, lane):
        """The task at work, and the last line of a log that was begun in this phase; None while no task is at work."""
        from ansible.module_utils.lane.evidence import ansible_log, logs

        phase = next(phase for phase in list(self._phases.values()) if phase.lane == lane)
        if phase.ended:
            return None
        said = ""
        with contextlib.suppress(Exception):  # whatever is wrong with a log: this is only progress
            if lane_dir := ansible_log.local_dir(phase.run):
                said = logs.last_line(lane_dir, phase.started, MACHINE_LOGS.get(phase.name, ()), phase.earlier)
        return f"{phase.task}: {said}" if said else phase.task


def _values(result):
    """The values that a task returned. ansible-core before 2.19 has them, and the host, in attributes that are
    private since.
    """
    return result.result if hasattr(result, "result") else result._result


def _host(result):
    return (result.host if hasattr(result, "host") else result._host).get_name()


def _short(text):
    return text if len(text) <= LONGEST_NOTE else f"{text[: LONGEST_NOTE - 3]}..."
