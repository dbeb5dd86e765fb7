"""Time the phases of a lane, and end the terminal's output with the verdict."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lane
type: aggregate
short_description: Phases and verdict of a kerbside lane
description:
  - Times the roles of a play as the phases of the lane. At the start of each task the file named by C(LANE_TIMELINE)
    holds the phases so far as JSON, from where the evidence role takes them.
  - At the end makes the report of the run (docs/report.md), writes the summary of GitHub Actions where
    C(GITHUB_STEP_SUMMARY) is set, prints the verdict as the last line, and writes its word to the file named by
    C(LANE_VERDICT_FILE), where C(./lane) reads it.
  - Where C(LANE_ANSIBLE_LOG) names Ansible's log (C(log_path)) of this command alone, it is kept with the evidence.
requirements:
  - enabled by C(callbacks_enabled = lane) in ansible.cfg
"""

import atexit
import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
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
if tuple(map(int, __version__.split(".")[:2])) >= OLDEST:  # an older one may run on an older Python
    ansible.module_utils.__path__.extend(set(C.DEFAULT_MODULE_UTILS_PATH).difference(ansible.module_utils.__path__))
    from ansible.module_utils.lane.core import check_report, process_end
    from ansible.module_utils.lane.core.errors import PRODUCT, LaneError, one_line
    from ansible.module_utils.lane.core.private_dir import read_json
    from ansible.module_utils.lane.evidence import ansible_log, github, report, summary, verdict
    from ansible.module_utils.lane.lifecycle import artifacts, lost_worker
#: Modules run in forks of this process (plugins/action/normal.py): what several of them import is loaded here, once.
SHARED_IMPORTS = tuple(
    f"ansible.module_utils.lane.{name}" for name in ("lifecycle.claim", "prepare.kerbside", "programs.start")
)
EARLY = "LANE FAIL lane: ansible-playbook ended before the playbook did"


def _values(result):
    """The values that a task returned. ansible-core before 2.19 has them in an attribute that is private since."""
    return result.result if hasattr(result, "result") else result._result


class Lane:
    """What a command has seen of one lane, which is a host of the play."""

    def __init__(self, label, timeline, host=None):
        self.label = label
        self.host = host
        self.timeline = timeline  # the file from which the evidence role takes the phases
        self.phases = []
        self.tasks = []
        self.since = time.monotonic()
        self.failure = None
        self.verdict = None
        self.returned = {}  # the last value of each lane_NAME, the fact lane_run included
        self.artifacts = None  # the directory of its evidence on this machine
        self.lost = False  # its machine could not be reached any more

    def begin(self, role, task):
        """A task of another role begins another phase."""
        if role and (not self.phases or self.phases[-1]["name"] != role):
            now = time.monotonic()
            if self.phases:
                self.phases[-1]["seconds"] += round(now - self.since, 3)
            self.since = now
            self.phases.append({"name": role, "seconds": 0.0, "started": time.time()})
        if role or not self.tasks:
            with open(self.timeline, "w", encoding="utf-8") as file:
                json.dump(self.phases, file)
        self.tasks.append({"name": task, "started": time.time(), "seconds": 0.0, "result": "not done"})

    def end(self, word, values):
        """Keep what the rest of the run needs of the result of the last task."""
        self.tasks[-1].update(result=word, seconds=time.time() - self.tasks[-1]["started"])
        self.verdict = values.get("lane_verdict") or self.verdict
        values = {**values, **(values.get("ansible_facts") or {})}
        self.returned.update({name: values[name] for name in values if name.startswith("lane_") and values[name]})

    def fail(self, values):
        """Keep the first failure that names a component, or else the first: the others may be its consequence."""
        if self.failure is None or ("lane_failure" in values and "lane_failure" not in self.failure):
            self.failure = values

    def blame(self):
        """The failure as `blame` of result.json has it."""
        named = self.failure.get("lane_failure") or {}
        cause = named.get("cause") or self.failure.get("msg", "a task failed")
        phase = self.phases[-1]["name"] if self.phases else "claim"
        return {
            "component": "lane",
            "check": None,
            "code": "task_failed",
            "evidence": None,
            "phase": phase,
            **named,
            "cause": cause,
        }


class CallbackModule(CallbackBase):
    """The phases, the first failure and the verdict of each lane."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lane"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._ended = False
        if tuple(map(int, __version__.split(".")[:2])) < OLDEST:
            self._conclude(
                "error",
                f"LANE FAIL environment: ansible-core {__version__} is too old; use 2.16 or newer, or ./lane, "
                "which brings its own",
            )
            sys.exit(2)
        self._play = None
        self._hosts = []
        self._lanes = {}
        self._summary = None  # the directory of what is written over several lanes
        # Modules on this machine inherit what is set here; elsewhere they get lane_remote_environment. What is in this
        # folder is removed with the command, also what a killed module left there.
        os.environ["TMPDIR"] = tempfile.tempdir = C.DEFAULT_LOCAL_TMP
        # the beginning of a file's path: lane_timeline_file
        os.environ["LANE_TIMELINE"] = os.path.join(C.DEFAULT_LOCAL_TMP, "lane-timeline")
        os.environ[check_report.COMMAND_ID] = os.environ.pop("LANE_COMMAND", "") or check_report.new_id()
        process_end.forks_with_this_process()
        process_end.by_signal(self._stopped)
        for name in SHARED_IMPORTS:
            importlib.import_module(name)
        os.environ["LANE_OWNER"] = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"  # inherited by all that it starts
        atexit.register(self._end_early)

    def v2_playbook_on_play_start(self, play):
        """Refuse options that skip the check of the command, which is the first task of a play that has it: see
        role_inputs.
        """
        self._play = play
        self._hosts = play.get_variable_manager().get_vars(play=play)["ansible_play_hosts_all"]
        start = context.CLIARGS.get("start_at_task")
        skip = {"always", "tagged"}.intersection(context.CLIARGS.get("skip_tags") or ())
        if context.CLIARGS.get("step") and not os.isatty(0):
            self._refuse(
                "no_terminal",
                "--step asks before each task, and stdin is not a terminal",
                "run it on a terminal, or without --step",
            )
        if (start or skip) and any(task.action == "role_inputs" for block in play.tasks for task in block.block):
            option = f"--start-at-task {start!r}" if start else f"--skip-tags {','.join(sorted(skip))}"
            self._refuse("skips_needed", f"{option} skips what the rest of the run needs", "select roles with --tags")

    def _refuse(self, code, problem, fix):
        """End ansible-playbook with the verdict error, and with a result where the command would have judged."""
        error = LaneError(code, "lane", problem, fix)
        line = f"LANE FAIL {error}"
        judged = (self._hosts or ["localhost"]) if self._judges() else []
        for host in judged:
            lane = Lane(host, "")
            if self._refused(host, lane, error.as_dict()):
                self._judge(lane)
        self._ended = True
        self._conclude("error", line)
        raise SystemExit(2)

    def _refused(self, host, lane, failure):
        """Write the result of a command that role_inputs did not see: that of an earlier one must not pass for it."""
        with contextlib.suppress(Exception):  # what a variable is wrong with is said already
            known = self._play.get_variable_manager().get_vars(play=self._play)
            own = known["hostvars"].raw_get(host) if self._hosts else {}
            given = {**known, "inventory_hostname": host, **own}
            templar = Templar(self._play.get_loader(), variables=given)
            lane_id, lane_dir, folder = (
                templar.template(given[f"lane_{name}"]) for name in ("id", "dir", "artifacts_dir")
            )
            planned = []
            with contextlib.suppress(Exception):
                planned = templar.template(given["lane_check_names"])
            if artifacts.begin(lane_dir, folder, "all" in context.CLIARGS["tags"]):
                lane.verdict = artifacts.refuse(folder, lane_id, failure, planned)
        return lane.verdict

    def _judges(self):
        """Whether this command ends with a verdict: its first task says where the result belongs."""
        first = next((task for block in self._play.tasks for task in block.block), None)
        tags, check = context.CLIARGS["tags"], context.CLIARGS["check"]
        return first and "artifacts_dir" in first.args and set(tags) != {"teardown"} and not check

    def v2_runner_on_start(self, host, task):
        """A lane begins a task."""
        name = host.get_name()
        if not self._lanes and not context.CLIARGS.get("step"):  # which asks the user
            lost_worker.watch(lambda: not self._ended, lambda: self._stopped("one of its workers was killed"))
        if name not in self._lanes:
            label = summary.label(name, host.get_vars().get("ansible_host"))
            timeline = f"{os.environ['LANE_TIMELINE']}-{name.replace('/', '_')}.json"
            self._lanes[name] = Lane(label, timeline, name)
        self._lanes[name].begin(task._role.get_name() if task._role else None, task.get_name().strip())

    def _lane(self, result):
        """The lane that a result came from. ansible-core before 2.19 has the host in an attribute that is private
        since.
        """
        return self._lanes[(result.host if hasattr(result, "host") else result._host).get_name()]

    def v2_runner_on_skipped(self, result):
        """A task that was not needed."""
        self._lane(result).end("skipped", {})

    def v2_runner_on_ok(self, result):
        """A task that succeeded."""
        self._done(result, "changed" if _values(result).get("changed") else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """A task that failed."""
        if not ignore_errors:
            self._lane(result).fail(_values(result))
        self._done(result, "failed")

    def _done(self, result, word):
        values = _values(result)
        self._lane(result).end(word, values)
        # the summary of an earlier command must not pass for this one's
        if "lane_home" in values and len(self._hosts) > 1 and not self._summary:
            self._summary = Path(values["lane_home"]["summary_dir"])
            summary.begin(self._summary)

    def v2_runner_on_unreachable(self, result):
        """A machine that cannot be reached ends its lane: Ansible runs no further task there."""
        lane, values = self._lane(result), _values(result)
        why = one_line(
            str(values.get("msg", "no reason"))
            .removeprefix("Task failed: ")
            .removeprefix("Failed to connect to the host via ssh: "),
            300,
        ).rstrip(": ")
        named = "the machine" if len(self._hosts) > 1 else lane.label  # the line of several lanes begins with the label
        error = LaneError("host_unreachable", "host", f"{named} cannot be reached: {why}")
        lane.end("failed", {})
        lane.lost, lane.failure, lane.verdict = True, {**values, "lane_failure": error.as_dict()}, None

    def v2_playbook_on_no_hosts_matched(self):
        """A play without a host does nothing, which is no success."""
        self._refuse(
            "nothing_to_do",
            "no host of the inventory is in the group lane, on which the playbook runs",
            "check the inventory and --limit",
        )

    def v2_playbook_on_stats(self, stats):
        """Print the last line, and hand the verdict to ./lane.

        A playbook that ran no task did not do what it was asked for.
        """
        if not self._lanes:
            self._refuse(
                "nothing_to_do",
                "the options of this command leave no task to run",
                "check --tags, --limit, --start-at-task and the inventory",
            )
        self._end()

    def _end(self):
        self._ended = True
        lanes = list(self._lanes.values())
        several = len(lanes) > 1
        for lane in lanes:
            self._judge(lane)
            if word := lane.returned.get("lane_word"):
                self._display.display(word)
        if not any(lane.verdict for lane in lanes):
            return
        outcomes = []
        for lane in lanes:
            given = (lane.verdict["verdict"], lane.verdict["line"]) if lane.verdict else summary.NONE
            outcomes.append(summary.Outcome(lane.label, *given, lane.artifacts))
        if several and self._summary and any(outcome.artifacts for outcome in outcomes):
            self._display.display(f"summary: {summary.write(self._summary, outcomes)}")
        for outcome in outcomes if several else ():
            self._display.display(outcome.text, color=C.COLOR_OK if outcome.verdict == "pass" else C.COLOR_ERROR)
        self._conclude(*(summary.of_all(outcomes) if several else (outcomes[0].verdict, outcomes[0].line)))

    def _judge(self, lane):
        """Complete a lane's verdict and its evidence."""
        if lane.returned.get("lane_home", {}).get("remote"):
            self._bring_home(lane)
        if lane.failure and not lane.verdict and "lane_run" not in lane.returned and self._judges():
            self._refused(lane.host, lane, lane.blame())
        if lane.verdict and "file" in lane.verdict:
            lane.artifacts = Path(lane.verdict["file"]).parent
        if log := os.environ.get(ansible_log.LOG):
            kept, run = lane.returned.get("lane_ansible_kept", 0), lane.returned.get("lane_run", {})
            ansible_log.keep(Path(log), kept, run, lane.artifacts)
        if lane.verdict is None and lane.failure is not None:
            blame = lane.blame()
            line = f"LANE FAIL {blame['component']}: {blame['cause']}"
            lane.verdict = {"verdict": "fail" if blame["component"] in PRODUCT else "error", "line": line}
            self._write_for_github(None, blame, line)
        elif lane.artifacts:
            self._report(lane)

    def _bring_home(self, lane):
        """Put the result of a lane on another machine into its directory on this one, whatever became of the other."""
        home, folder = lane.returned["lane_home"], lane.returned["lane_home"]["artifacts_dir"]
        fetched = "lane_fetched" in lane.returned
        result = lane.returned.get("lane_result") or (
            read_json(Path(folder, verdict.RESULT), None) if fetched else None
        )
        if result is None:
            if lane.failure is not None:
                lane.verdict = artifacts.refuse(folder, home["lane_id"], lane.blame(), home["planned"], lane.phases)
            return
        if lane.lost and result["verdict"] == "pass":
            result.update(verdict="error", blame=lane.blame())
        Path(folder).mkdir(parents=True, exist_ok=True)
        verdict.save(folder, result)
        lane.verdict = verdict.shown(result, folder)

    def _end_early(self):
        """The last line of a run that Ansible gave up: the play has an error, or it was interrupted.

        `./lane` prints its own (tools/play.py).
        """
        if not self._ended and "LANE_VERDICT_FILE" not in os.environ:
            self._conclude("error", f"{EARLY}; see its message above")

    def _stopped(self, why="it got a signal"):
        """The same for a signal, in whatever moment: the display may be locked."""
        if not self._ended and "LANE_VERDICT_FILE" not in os.environ:
            os.write(1, f"{EARLY}: {why}\n".encode())
        shutil.rmtree(C.DEFAULT_LOCAL_TMP, ignore_errors=True)

    def _conclude(self, word, text):
        self._display.display(text, color=C.COLOR_OK if word == "pass" else C.COLOR_ERROR)
        if path := os.environ.get("LANE_VERDICT_FILE"):
            Path(path).write_text(word, encoding="utf-8")

    def _report(self, lane):
        """Make the page, and print where it is. There is none when the artifacts are on another machine."""
        folder = lane.artifacts
        if not (folder / "result.json").exists():
            return
        if path := os.environ.get("LANE_RESULTS_FILE"):  # for ./lane --json
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{folder}/result.json\n")
        try:
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            (folder / "logs").mkdir(exist_ok=True)  # a refused command has none
            (folder / "logs/tasks.json").write_text(json.dumps(lane.tasks), encoding="utf-8")
            self._display.display(f"report: {report.write(folder)}")
        except Exception as error:  # the verdict stands, whatever becomes of its page
            words = f"warning: cannot make the report of {folder}: {type(error).__name__}: {error}"
            self._display.display(words, color=C.COLOR_WARN)
            return
        self._write_for_github(result, result["blame"], lane.verdict["line"])

    def _write_for_github(self, result, blame, text):
        """The job's summary and, for a red run, an annotation; nothing outside of GitHub Actions."""
        if not (path := os.environ.get("GITHUB_STEP_SUMMARY")):
            return
        with open(path, "a", encoding="utf-8") as file:
            file.write(github.summary(result, text))
        if blame:
            self._display.display(github.annotation(blame["component"], blame["cause"]))
