"""Run ansible-playbook for `./lane`, and end with the exit status of the verdict and a last line, however it ends.

ansible-playbook is a fork of this process, so that the verdict of one that is killed, or that ends before the lane's
plugins are loaded, can still be told.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.core import check_report
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.core.private_dir import read_json
from ansible.module_utils.lane.evidence import verdict as verdicts
from ansible.module_utils.lane.lifecycle import artifacts, lost_worker

from tools import ROOT, arguments, inputs

INTERRUPTED = 99  #: ansible-playbook's exit status after Ctrl-C
STATUS = {"pass": 0, "fail": 1, "error": 2}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPT_WAIT = 2.0  #: seconds for ansible-playbook to end by a Ctrl-C of its own, before it gets SIGTERM
KEEPER = "the keeper takes a full run down"


def judges(asked: argparse.Namespace) -> bool:
    """Whether the command must end with a verdict."""
    return asked.verb in ("run", "smoke", "suites") and not any(name in asked.given for name in arguments.PARTIAL)


def play(asked: argparse.Namespace, wrong: LaneError | None = None) -> int:
    """Check the command, run it, and return the exit status of `./lane`. wrong: what is known to be wrong with it."""
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(Lossy(1, "w", closefd=False)), "utf-8", "replace")
    place = Path(tempfile.mkdtemp(prefix="tmp."))
    # the callback plugin takes the former, so that a result of this command is known as one
    os.environ["LANE_COMMAND"] = os.environ[check_report.COMMAND_ID] = check_report.new_id()
    # plugins/callback/lane.py writes pass, fail or error to the one, and the path of each result.json to the other
    os.environ |= {"LANE_VERDICT_FILE": f"{place}/verdict", "LANE_RESULTS_FILE": f"{place}/results"}
    # without -v a line for each phase; Ansible's own output goes to its log:
    os.environ["ANSIBLE_STDOUT_CALLBACK"] = "phases"
    # one of ours, which is kept with the evidence, unless the user named one
    if not os.environ.get("ANSIBLE_LOG_PATH"):
        os.environ["ANSIBLE_LOG_PATH"] = os.environ["LANE_ANSIBLE_LOG"] = str(place / "ansible.log")
    # a full run ends with this process (lifecycle/keeper.py)
    os.environ["LANE_SCRIPTS"] = f"{os.environ.get('LANE_SCRIPTS', '')} {os.getpid()}"
    out = os.dup(1) if asked.json else -1
    if asked.json:
        os.dup2(2, 1)
    try:
        if wrong:
            raise wrong
        inputs.check(asked)
    except LaneError as found:
        error, status = found, 2
    else:
        watch = Watch()
        if not (child := os.fork()):
            watch.reset()
            sys.exit(_ansible(asked))
        error, status = _outcome(watch.wait(child), watch.stopped, asked)
    if error:
        refuse(error, asked)
        print(f"LANE FAIL {error}", flush=True)
    if asked.json:
        with contextlib.suppress(OSError):
            os.write(out, (json.dumps(_results(place), indent=1) + "\n").encode())
    shutil.rmtree(place, ignore_errors=True)
    return status


class Lossy(io.FileIO):
    """The stdout of a run, which goes on to its verdict when nobody reads it any more or its disk is full."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(data)


class Watch:
    """Waits for ansible-playbook, and passes signals to this process on to it."""

    def __init__(self) -> None:
        self.child = self.stopped = 0
        # by nohup, for example
        self.ignored = {number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN}
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until it is known whom to pass them on to
        for number in {*SIGNALS, signal.SIGALRM} - self.ignored:
            signal.signal(number, self._stop)

    def reset(self) -> None:
        """In the child: signals end it."""
        for number in {*SIGNALS, signal.SIGALRM} - self.ignored:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _stop(self, number: int, _: object) -> None:
        if number == signal.SIGINT:  # from a terminal ansible-playbook gets it too
            self.stopped = number
            signal.setitimer(signal.ITIMER_REAL, INTERRUPT_WAIT)
            return
        if number != signal.SIGALRM:
            self.stopped = number
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGTERM)

    def wait(self, child: int) -> int:
        """The exit status of ansible-playbook, -n after signal n. `stopped` is the signal that it was stopped by."""
        self.child = child
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # so that a signal does not reach another process of the same id
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status in (INTERRUPTED, -signal.SIGINT):  # only ansible-playbook got it
            self.stopped = self.stopped or signal.SIGINT
        return status


def _outcome(status: int, stopped: int, asked: argparse.Namespace) -> tuple[LaneError | None, int]:
    """What ended the run, if that was not its verdict, and the exit status of `./lane`."""
    found = verdict()
    if stopped:
        problem = f"stopped by a signal ({signal.Signals(stopped).name})"
        advice = f"{KEEPER}, ./lane down stops a lane that keeps running"
        return LaneError("aborted", "lane", problem, advice), 128 + stopped
    if status == -signal.SIGTERM:
        problem = "ansible-playbook got SIGTERM, as from ./lane down"
        return LaneError("aborted", "lane", problem, KEEPER), 2
    if status == -lost_worker.SIGNAL:
        problem = "a worker of ansible-playbook was killed"
        return LaneError("worker_killed", "host", problem, f"see the kernel's log for memory; {KEEPER}"), 2
    if status < 0:
        problem = f"ansible-playbook was killed by {signal.Signals(-status).name}"
        return LaneError("aborted", "lane", problem, KEEPER), 2
    if found in STATUS and (found != "pass" or status == 0):
        return None, STATUS[found]
    if status == 0 and not judges(asked) and not found:
        return None, 0
    what = f"the verdict is {found}, but " if found else ""
    problem = f"{what}ansible-playbook ended with status {status} and no verdict"
    return LaneError("ansible_ended", "lane", problem, "see its message above"), 2


def verdict() -> str:
    """What the callback plugin came to: pass, fail, error, or "" for nothing."""
    path = Path(os.environ["LANE_VERDICT_FILE"])
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _results(place: Path) -> Any:
    """The result.json of this command: one, a list of several, or what is known without one."""
    listed = (place / "results").read_text(encoding="utf-8").splitlines() if (place / "results").exists() else []
    files = [Path(name) for name in dict.fromkeys(listed)]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return found[0] if len(found) == 1 else found or {"verdict": verdict() or None}


def _ansible(asked: argparse.Namespace) -> int:
    """Run ansible-playbook in this process."""
    playbook, options = arguments.PLAYS[asked.verb]
    words = [str(ROOT / "playbooks" / playbook), *options]
    if asked.verb == "suites":
        words += ["-e", f"lane_suites={','.join(asked.names) or 'all'}"]
    try:
        from ansible.cli import playbook as program
    except Exception:
        traceback.print_exc()
        return 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["ansible-playbook", *words, *asked.forward]
    program.main()
    return 0


def refuse(error: LaneError, asked: argparse.Namespace) -> None:
    """Write result.json where this command would have written it, unless a lane that is running does, or the run itself
    or its keeper said there what went wrong.
    """
    if asked.verb == "down" or any(name in asked.given for name in arguments.ONLY_LOOKS):
        return
    fresh = asked.verb == "run" and "tags" not in asked.given
    with contextlib.suppress(Exception, SystemExit):  # the last line comes in any case
        for lane_id, lane_dir, folder, planned in _places(asked.given):
            result = read_json(Path(folder, "result.json"), {})
            mine = result.get("command_id") == check_report.command_id()
            if not mine and not artifacts.begin(lane_dir, folder, fresh):
                continue
            if not mine:
                artifacts.refuse(folder, lane_id, error.as_dict(), planned)
            elif result["verdict"] == "pass":
                blame = {**error.as_dict(), "phase": result["phases"][-1]["name"]}
                verdicts.save(folder, {**result, "verdict": "error", "blame": blame})
            with contextlib.suppress(Exception):  # the verdict stands, whatever becomes of its page
                importlib.import_module("ansible.module_utils.lane.evidence.report").write(Path(folder))
            with open(os.environ["LANE_RESULTS_FILE"], "a", encoding="utf-8") as file:
                file.write(f"{folder}/result.json\n")


def _places(given: dict[str, list[str]]) -> Iterator[list[Any]]:
    """lane_id, lane_dir, lane_artifacts_dir and lane_check_names of each lane with these options, as Ansible would see
    them.
    """
    # Only here: Ansible reads its settings from the environment when it is imported.
    from ansible import errors, template
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    as_template = getattr(template, "trust_as_template", str)  # before ansible-core 2.19 every text is one
    loader = DataLoader()
    inventory = InventoryManager(loader, sources=given.get("inventory", [str(ROOT / "inventory/hosts.yml")]))
    inventory.subset(",".join(given.get("limit", [])) or None)
    shared = loader.load_from_file(str(ROOT / "roles/lane/defaults/main.yml"))
    defaults = {name: as_template(value) if isinstance(value, str) else value for name, value in shared.items()}
    extra: dict[str, Any] = {"playbook_dir": f"{ROOT}/playbooks"}
    for text in given.get("extra_vars", []):
        if text.startswith("@"):
            with contextlib.suppress(errors.AnsibleError, TypeError):  # ansible-playbook says what is wrong with it
                extra |= loader.load_from_file(text[1:]) or {}
    extra |= inputs.extra_variables(given.get("extra_vars", []))
    variables = VariableManager(loader, inventory)
    hosts = [variables.get_vars(host=host) for host in inventory.get_hosts("lane")]
    for own in hosts or [{"inventory_hostname": "localhost", "ansible_connection": "local"}]:
        known = {**defaults, **own, **extra}
        arguments.lane_number(str(known["lane_id"]))
        templar = template.Templar(loader, variables=known)
        yield [templar.template(known[f"lane_{name}"]) for name in ("id", "dir", "artifacts_dir", "check_names")]
