"""Tell how long each phase takes, and end the terminal's output with the verdict."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lane
type: aggregate
short_description: Phases and verdict of a kerbside lane
description:
  - Times the roles of a play as the phases of the lane. At the start of each task the file named by C(LANE_TIMELINE) holds the phases so far as JSON,
    from where the evidence role takes them.
  - Where C(LANE_ANSIBLE_LOG) names a file, as C(./lane) has it, and without C(-v) or C(--step), Ansible's own output goes to that file, and the terminal gets
    a line for each phase, with what its modules return as RV(lane_note), and their warnings (docs/red-lane.md).
  - At the end makes the report of the run (docs/report.md), tells GitHub Actions of it where C(GITHUB_STEP_SUMMARY) is set, prints the verdict as the
    last line, and writes its word to the file named by C(LANE_VERDICT_FILE), where C(./lane) reads it.
requirements:
  - enabled by C(callbacks_enabled = lane) in ansible.cfg
"""

import ctypes
import json
import os
import signal
import time
import uuid
from pathlib import Path

import ansible.module_utils
from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.utils import color as colours

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_workers_with_us():
    """Have the kernel kill Ansible's workers, which are forks, when this process is killed: one that goes on starts the next module (docs/no-trace.md)."""
    libc = ctypes.CDLL(None)
    forking = {}

    def in_child():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != forking["parent"]:  # it was killed before that call
            os._exit(1)

    os.register_at_fork(before=lambda: forking.update(parent=os.getpid()), after_in_child=in_child)


class CallbackModule(CallbackBase):
    """One run's phases, its first failure and its verdict."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lane"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for path in C.DEFAULT_MODULE_UTILS_PATH:  # the lane's own code is as good here as in modules
            if path not in ansible.module_utils.__path__:
                ansible.module_utils.__path__.append(path)
        self._phases = []
        self._tasks = []
        self._since = time.monotonic()
        self._failure = None
        self._verdict = None
        self._word = None
        self._timeline = os.path.join(C.DEFAULT_LOCAL_TMP, "lane-timeline.json")
        os.environ["LANE_TIMELINE"] = self._timeline
        self._quiet = self._quiet_one()
        _end_workers_with_us()
        os.environ["LANE_OWNER"] = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"  # all that this run starts carries it (module_utils/lane/lifecycle/keeper.py)
        self._write()

    def _quiet_one(self):
        """What shows the run on the terminal; None when Ansible does that itself. LANE_ANSIBLE_LOG stays set only as long as there is such a log."""
        from ansible.module_utils.lane.evidence import ansible_log, progress

        log = os.environ.pop(ansible_log.LOG, "")
        if not log or self._display.verbosity or C.DEFAULT_DEBUG or context.CLIARGS.get("step"):
            return None
        os.environ[ansible_log.LOG] = log
        live = colours.ANSIBLE_COLOR and os.isatty(1)
        return progress.Quiet(log, self._display, live, colours.stringc, bool(context.CLIARGS.get("check")))

    def _say(self, text, color=None):
        """A line on the terminal, whoever has that."""
        self._display.display(text, color=color)
        if self._quiet:
            self._quiet.terminal.say(text, color)

    def v2_playbook_on_task_start(self, task, is_conditional):
        """A task of another role begins another phase."""
        role = task._role.get_name() if task._role else None
        if role and (not self._phases or self._phases[-1]["name"] != role):
            self._close_phase()
            if self._quiet:
                self._quiet.phase(role)
            self._phases.append({"name": role, "seconds": 0.0, "started": time.time()})
            self._write()
        if self._quiet:
            self._quiet.task(task.get_name().strip())
        self._tasks.append({"name": task.get_name().strip(), "started": time.time(), "seconds": 0.0, "result": "not done"})

    def _close_phase(self):
        now = time.monotonic()
        if self._phases:
            self._phases[-1]["seconds"] += round(now - self._since, 3)
        self._since = now

    def _write(self):
        with open(self._timeline, "w", encoding="utf-8") as file:
            json.dump(self._phases, file)

    def _task_ended(self, word):
        if self._tasks:
            self._tasks[-1].update(result=word, seconds=time.time() - self._tasks[-1]["started"])

    def v2_runner_on_skipped(self, result):
        """A task that was not needed."""
        self._task_ended("skipped")

    def v2_runner_on_ok(self, result):
        """Keep the verdict that evidence or teardown return."""
        self._task_ended("changed" if result.result.get("changed") else "ok")
        if self._quiet:
            self._quiet.result(result.result, [warning.event.msg for warning in result.warnings])
        self._verdict = result.result.get("lane_verdict") or self._verdict
        self._word = result.result.get("lane_word") or self._word

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Keep the first failure that names a component, or else the first: what follows may only be its consequence."""
        self._task_ended("failed")
        if self._quiet:
            show = self._quiet.result if ignore_errors else self._quiet.failed
            show(result.result, [warning.event.msg for warning in result.warnings])
        named = result.result.get("lane_failure")
        if not ignore_errors and (self._failure is None or (named and not self._failure.get("lane_failure"))):
            self._failure = result.result
        self._verdict = result.result.get("lane_verdict") or self._verdict

    def v2_runner_on_unreachable(self, result):
        """A machine that cannot be reached is a failure like any other."""
        self._failure = self._failure or result.result
        if self._quiet:
            self._quiet.failed(result.result, [])

    def v2_playbook_on_stats(self, stats):
        """The last line on the terminal, and the word for ./lane."""
        from ansible.module_utils.lane.core.errors import PRODUCT

        verdict = self._verdict
        artifacts = Path(verdict["file"]).parent if verdict and "file" in verdict else None
        named = (self._failure or {}).get("lane_failure") or {}
        if self._quiet:
            self._quiet.end()
            self._quiet.keep(artifacts)
        if verdict is None and self._failure is not None:
            component = named.get("component", "lane")
            cause = named.get("cause") or self._failure.get("msg", "a task failed")
            verdict = {"verdict": "fail" if component in PRODUCT else "error", "line": f"LANE FAIL {component}: {cause}"}
            self._tell_github(None, component, cause, verdict["line"])
            if self._quiet and not named:  # nobody knew this failure, and no evidence is kept: Ansible's words are all there is
                self._quiet.terminal.say(self._quiet.log.read_text(encoding="utf-8").rstrip())
        if self._word:
            self._say(self._word)
        if verdict is None:
            return
        if artifacts:
            self._report(artifacts, verdict["line"])
        self._say(verdict["line"], C.COLOR_OK if verdict["verdict"] == "pass" else C.COLOR_ERROR)
        if path := os.environ.get("LANE_VERDICT_FILE"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(verdict["verdict"])

    def _report(self, artifacts, line):
        """Make the page, and say where it is. On another machine than this one the artifacts are not at hand, and there is none."""
        from ansible.module_utils.lane.evidence import report

        if not (artifacts / "result.json").exists():
            return
        try:
            result = json.loads((artifacts / "result.json").read_text(encoding="utf-8"))
            (artifacts / "logs/tasks.json").write_text(json.dumps(self._tasks), encoding="utf-8")
            self._say(f"report: {report.write(artifacts)}")
        except Exception as error:  # the verdict stands, whatever becomes of its page
            self._say(f"warning: expected to make the report of {artifacts}, but {type(error).__name__}: {error}", C.COLOR_WARN)
            return
        blame = result["blame"] or {}
        self._tell_github(result, blame.get("component"), blame.get("cause"), line)

    def _tell_github(self, result, component, cause, line):
        """The job's summary and, for a red run, an annotation; nothing outside of GitHub Actions."""
        from ansible.module_utils.lane.evidence import github

        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path:
            return
        with open(path, "a", encoding="utf-8") as file:
            file.write(github.summary(result, line))
        if component:
            self._say(github.annotation({"component": component, "cause": cause}))
