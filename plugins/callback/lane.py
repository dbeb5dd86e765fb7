"""Time the phases of a lane, and end the terminal's output with the verdict."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lane
type: aggregate
short_description: Phases and verdict of a kerbside lane
description:
  - Times the roles of a play as the phases of the lane. At the start of each task the file named by C(LANE_TIMELINE) holds the phases so far as JSON,
    from where the evidence role takes them.
  - At the end makes the report of the run (docs/report.md), writes the summary of GitHub Actions where C(GITHUB_STEP_SUMMARY) is set, prints the verdict
    as the last line, and writes its word to the file named by C(LANE_VERDICT_FILE), where C(./lane) reads it.
  - Where C(LANE_ANSIBLE_LOG) names Ansible's log (C(log_path)) of this command alone, it is kept with the evidence.
requirements:
  - enabled by C(callbacks_enabled = lane) in ansible.cfg
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

import ansible.module_utils
from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__
from ansible.template import Templar

OLDEST = (2, 16)  #: the oldest ansible-core on which the lane is tested
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_workers_with_ansible():
    """Have the kernel kill Ansible's workers, which are forks, when this process is killed (docs/no-trace.md).

    Otherwise a worker would finish its module.
    """
    libc = ctypes.CDLL(None)
    forking = {}

    def in_child():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != forking["parent"]:  # it was killed before that call
            os._exit(1)

    os.register_at_fork(before=lambda: forking.update(parent=os.getpid()), after_in_child=in_child)


def _values(result):
    """The values that a task returned. ansible-core before 2.19 has them in an attribute that is private since."""
    return result.result if hasattr(result, "result") else result._result


class CallbackModule(CallbackBase):
    """One run's phases, its first failure and its verdict."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lane"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._ended = False
        if tuple(map(int, __version__.split(".")[:2])) < OLDEST:
            self._conclude("error", f"LANE FAIL environment: ansible-core {__version__} is too old; use 2.16 or newer, or ./lane, which brings its own")
            sys.exit(2)
        for path in C.DEFAULT_MODULE_UTILS_PATH:  # so that the lane's own code can be imported here as in modules
            if path not in ansible.module_utils.__path__:
                ansible.module_utils.__path__.append(path)
        self._play = None
        self._phases = []
        self._tasks = []
        self._since = time.monotonic()
        self._failure = None
        self._verdict = None
        self._word = None
        self._run = {}
        self._kept = 0
        self._timeline = os.path.join(C.DEFAULT_LOCAL_TMP, "lane-timeline.json")
        os.environ["LANE_TIMELINE"] = self._timeline
        os.environ["LANE_COMMAND_ID"] = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}"  # core/check_report.py
        _end_workers_with_ansible()
        os.environ["LANE_OWNER"] = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"  # inherited by all that it starts
        self._write()
        atexit.register(self._end_early)

    def v2_playbook_on_play_start(self, play):
        """Refuse options that skip the check of the command, which is the first task of a play that has it: see role_inputs."""
        self._play = play
        start, skip = context.CLIARGS.get("start_at_task"), {"always", "tagged"}.intersection(context.CLIARGS.get("skip_tags") or ())
        if context.CLIARGS.get("step") and not os.isatty(0):
            self._refuse("no_terminal", "--step asks before each task, and stdin is not a terminal", "run it on a terminal, or without --step")
        if (start or skip) and any(task.action == "role_inputs" for block in play.tasks for task in block.block):
            option = f"--start-at-task {start!r}" if start else f"--skip-tags {','.join(sorted(skip))}"
            self._refuse("skips_needed", f"{option} skips what the rest of the run needs", "select roles with --tags")

    def _refuse(self, code, problem, fix):
        """End ansible-playbook with the verdict error."""
        from ansible.module_utils.lane.core.errors import LaneError
        from ansible.module_utils.lane.lifecycle import artifacts

        error = LaneError(code, "lane", problem, fix)
        self._verdict = {"verdict": "error", "line": f"LANE FAIL {error}"}
        with contextlib.suppress(Exception):  # the result of an earlier command must not pass for this one's
            known = self._play.get_variable_manager().get_vars(play=self._play)
            templar = Templar(self._play.get_loader(), variables=known)
            lane_id, lane_dir, folder, planned = (templar.template(known[f"lane_{name}"]) for name in ("id", "dir", "artifacts_dir", "checks"))
            if artifacts.begin(lane_dir, folder, True):
                self._verdict = artifacts.refuse(folder, lane_id, error.as_dict(), planned)
        self._end()
        raise SystemExit(2)

    def v2_playbook_on_task_start(self, task, is_conditional):
        """A task of another role begins another phase."""
        role = task._role.get_name() if task._role else None
        if role and (not self._phases or self._phases[-1]["name"] != role):
            self._close_phase()
            self._phases.append({"name": role, "seconds": 0.0, "started": time.time()})
            self._write()
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

    def _take(self, values):
        """Keep what the rest of the run needs of a result."""
        self._verdict = values.get("lane_verdict") or self._verdict
        self._word = values.get("lane_word") or self._word
        self._kept = values.get("lane_ansible_kept") or self._kept
        self._run = (values.get("ansible_facts") or {}).get("lane_run") or self._run

    def v2_runner_on_skipped(self, result):
        """A task that was not needed."""
        self._task_ended("skipped")

    def v2_runner_on_ok(self, result):
        """A task that succeeded."""
        values = _values(result)
        self._task_ended("changed" if values.get("changed") else "ok")
        self._take(values)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Keep the first failure that names a component, or else the first: the others may be its consequence."""
        values = _values(result)
        self._task_ended("failed")
        if not ignore_errors and (self._failure is None or ("lane_failure" in values and "lane_failure" not in self._failure)):
            self._failure = values
        self._take(values)

    def v2_runner_on_unreachable(self, result):
        """A machine that cannot be reached is a failure like any other."""
        self._failure = self._failure or _values(result)

    def v2_playbook_on_no_hosts_matched(self):
        """A play without a host does nothing, which is no success."""
        self._refuse("nothing_to_do", "no host of the inventory is in the group lane, on which the playbook runs", "check the inventory and --limit")

    def v2_playbook_on_stats(self, stats):
        """Print the last line, and hand the verdict to ./lane. A playbook that ran no task did not do what it was asked for."""
        if not self._tasks:
            self._refuse("nothing_to_do", "the options of this command leave no task to run", "check --tags, --limit, --start-at-task and the inventory")
        self._end()

    def _end(self):
        from ansible.module_utils.lane.core.errors import PRODUCT
        from ansible.module_utils.lane.evidence import ansible_log

        self._ended = True
        verdict = self._verdict
        artifacts = Path(verdict["file"]).parent if verdict and "file" in verdict else None
        if log := os.environ.get(ansible_log.LOG):
            ansible_log.keep(Path(log), self._kept, self._run, artifacts)
        if verdict is None and self._failure is not None:
            named = self._failure.get("lane_failure") or {}
            component = named.get("component", "lane")
            cause = named.get("cause") or self._failure.get("msg", "a task failed")
            verdict = {"verdict": "fail" if component in PRODUCT else "error", "line": f"LANE FAIL {component}: {cause}"}
            self._write_for_github(None, component, cause, verdict["line"])
        if self._word:
            self._display.display(self._word)
        if verdict is None:
            return
        if artifacts:
            self._report(artifacts, verdict["line"])
        self._conclude(verdict["verdict"], verdict["line"])

    def _end_early(self):
        """The last line of a run that Ansible gave up: the play has an error, or it was interrupted. `./lane` prints its own (tools/play.py)."""
        if not self._ended and "LANE_VERDICT_FILE" not in os.environ:
            self._conclude("error", "LANE FAIL lane: ansible-playbook ended before the playbook did; see its message above")

    def _conclude(self, word, text):
        self._display.display(text, color=C.COLOR_OK if word == "pass" else C.COLOR_ERROR)
        if path := os.environ.get("LANE_VERDICT_FILE"):
            Path(path).write_text(word, encoding="utf-8")

    def _report(self, artifacts, text):
        """Make the page, and print where it is. There is none when the artifacts are on another machine."""
        from ansible.module_utils.lane.evidence import report

        if not (artifacts / "result.json").exists():
            return
        if path := os.environ.get("LANE_RESULTS_FILE"):  # for ./lane --json
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{artifacts}/result.json\n")
        try:
            result = json.loads((artifacts / "result.json").read_text(encoding="utf-8"))
            (artifacts / "logs/tasks.json").write_text(json.dumps(self._tasks), encoding="utf-8")
            self._display.display(f"report: {report.write(artifacts)}")
        except Exception as error:  # the verdict stands, whatever becomes of its page
            self._display.display(f"warning: cannot make the report of {artifacts}: {type(error).__name__}: {error}", color=C.COLOR_WARN)
            return
        blame = result["blame"] or {}
        self._write_for_github(result, blame.get("component"), blame.get("cause"), text)

    def _write_for_github(self, result, component, cause, text):
        """The job's summary and, for a red run, an annotation; nothing outside of GitHub Actions."""
        from ansible.module_utils.lane.evidence import github

        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path:
            return
        with open(path, "a", encoding="utf-8") as file:
            file.write(github.summary(result, text))
        if component:
            self._display.display(github.annotation({"component": component, "cause": cause}))
