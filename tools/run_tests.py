"""`./lane test`: run the stages lint, unit, playbooks and lane, and count what passed (docs/testing.md)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools import arguments, developer_verbs  # isort: skip - it makes the lane's own code importable

from ansible.module_utils.lane.lifecycle import proc

#: Two processes, each with whole files. Their lanes have numbers of their own (tests/unit/lane_numbers.py).
TOGETHER = ("--numprocesses=2", "--dist=loadfile")
#: Fails when less than 95 per cent of the lines and branches of the package that pyproject.toml names are run.
COVERAGE = ("--cov", "--cov-report=term", "--cov-fail-under=95")
LANE_ID = 59  #: the lane of the stage `lane`; 60 to 99 are the playbook tests'
#: Programs that the tests need and no role installs: name on PATH, and its Debian package.
PROGRAMS = {"cargo": "cargo", "chromedriver": "chromium-driver", "chromium": "chromium", "git": "git", "make": "make"}
PROGRAMS |= {"qemu-img": "qemu-utils"}
if os.getuid() == 0:  # only root can make a bare machine and enter it
    PROGRAMS["mmdebstrap"] = "mmdebstrap"


@dataclass
class Outcome:
    """The result of one job. A test tool counts each of its tests, any other job counts as one."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    text: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # always shown

    @property
    def numbers(self) -> str:
        """The numbers in words."""
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """The sum of some outcomes' numbers."""
    listed = list(outcomes)
    return Outcome(*(sum(getattr(one, name) for one in listed) for name in ("passed", "failed", "skipped")))


@dataclass
class Job:
    """One line of the report: a name and the work behind it."""

    name: str
    work: Callable[[], Outcome]


@dataclass
class Stage:
    """Jobs, of which `together` run at the same time."""

    name: str
    jobs: list[Job]
    together: int = 1
    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)


class Runner:
    """Starts programs in process groups of their own, and ends them on an interrupt or when their time is up."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def run(self, command: list[str], limit: float, **more: str) -> tuple[int, str]:
        """Run a command for at most `limit` seconds, with more in its environment; returns its status and output."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if not shutil.which(command[0], path=path):
            return 127, f"{command[0]} is neither in {Path(sys.executable).parent} nor on PATH"
        env = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", **more}
        with tempfile.TemporaryFile() as out:
            with self.lock:
                if self.stopped:
                    return 1, "not started: the tests were interrupted"
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.running.add(process.pid)
            late = ""
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                late = f"\nstopped after {limit:.0f} s"
                for number in (signal.SIGTERM, signal.SIGKILL):
                    end_group(process.pid, number)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(10)
            finally:
                with self.lock:
                    self.running.discard(process.pid)
            out.seek(0)
            return process.returncode or int(bool(late)), out.read().decode(errors="replace") + late

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for pid in self.running:
                end_group(pid, signal.SIGTERM)


def end_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


RUNNER = Runner()


def tool(name: str, *command: str, limit: float = 300, **more: str) -> Job:
    """A job that passes when the command ends with status 0."""

    def work() -> Outcome:
        status, text = RUNNER.run(list(command), limit, **more)
        return Outcome(passed=int(status == 0), failed=int(status != 0), text=text)

    return Job(name, work)


def pytest_job(folder: str, options: Sequence[str], limit: float) -> Job:
    """A job that counts the tests of a folder. To run no test at all is a failure."""

    def work() -> Outcome:
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch, "report.xml")
            command = [sys.executable, "-m", "pytest", folder, f"--junitxml={report}", "--durations=5", *options]
            status, text = RUNNER.run(command, limit, COVERAGE_FILE=str(Path(scratch, "data")))
            outcome = read_report(report)
            outcome.text += f"\n{text}"
            if status != 0 and not outcome.failed:  # pytest itself failed, was stopped, or too little is covered
                outcome.failed = 1
            return outcome

    return Job("pytest", work)


def read_report(report: Path) -> Outcome:
    """The numbers in a junit file, and a line for each test that failed or was skipped. No test is a failure."""
    listed: list[ElementTree.Element] = []
    with suppress(OSError, ElementTree.ParseError):
        listed = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest wrote it
    found: dict[str, list[str]] = {"failure": [], "error": [], "skipped": []}
    for case in listed:
        for entry in case:
            if entry.tag in found:
                message = " ".join((entry.get("message") or "").split())[:300]
                found[entry.tag].append(f"{case.get('classname')}.{case.get('name')}: {message}")
    wrong, skipped = found["failure"] + found["error"], found["skipped"]
    passed = len(listed) - len(wrong) - len(skipped)
    text = "".join(f"{line}\n" for line in wrong)
    notes = [f"skipped {line}" for line in skipped]
    return Outcome(passed, len(wrong) or int(passed == 0), len(skipped), text, notes=notes)


def lint() -> Stage:
    python = ["module_utils", "library", "plugins", "tests", "tools", ".github"]
    workflows = [str(path) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))]
    cache = str(ROOT / ".cache/lint")
    return Stage(
        "lint",
        [  # the slow ones first
            tool("ansible-lint", "ansible-lint", "--offline", "--nocolor", "-q", limit=600),
            tool("pip check", "python", "-m", "pip", "check"),  # ./lane installs the pinned files with --no-deps
            tool("modules", "python", "tests/lint/modules.py"),
            tool("variables", "python", "tests/lint/variables.py", "--check"),
            tool("errors", "python", "tests/lint/errors.py", "--check"),
            tool("mypy", "mypy", "--strict", "-p", "lane", "-p", "tools", "--cache-dir", f"{cache}/mypy"),
            tool("ruff check", "ruff", "check", "--output-format=concise", "--cache-dir", f"{cache}/ruff", *python),
            tool("ruff format", "ruff", "format", "--check", "--diff", "--cache-dir", f"{cache}/ruff", *python),
            tool("mkdocs", "mkdocs", "build", "--strict", "--quiet"),  # a site of docs/, without a warning
            tool("yamllint", "yamllint", "--strict", "."),
            tool("shellcheck", "shellcheck", "lane", ".ci/run"),
            tool("actionlint", "actionlint", "-no-color", *workflows),
            tool("zizmor", "zizmor", "--offline", "--no-progress", "--color=never", "--pedantic", ".github/workflows"),
        ],
        together=2,
    )


def setup() -> Stage:
    deps = [str(ROOT / "lane"), "--tags", "deps,teardown", "-e", f"lane_id={LANE_ID}"]
    return Stage("setup", [tool("./lane --tags deps", *deps, limit=1200), Job("programs", programs)])


def programs() -> Outcome:
    """Install those of PROGRAMS that are not on PATH, as root or by sudo."""
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if not missing:
        return Outcome(passed=1)
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing]
    if os.getuid() != 0:
        command = ["sudo", "-n", *command]
    status, text = RUNNER.run(command, 600, DEBIAN_FRONTEND="noninteractive")
    still = sorted(name for name in PROGRAMS if not shutil.which(name))
    if status or still:
        return Outcome(failed=1, text=f"{text}\n{' '.join(command)} did not install {', '.join(still) or 'everything'}")
    return Outcome(passed=1)


def whole_lane() -> Stage:
    def work() -> Outcome:
        result = ROOT / f"artifacts/lane-{LANE_ID}/result.json"
        result.unlink(missing_ok=True)
        status, text = RUNNER.run([str(ROOT / "lane"), "-e", f"lane_id={LANE_ID}"], 1500)
        wrong = judge_lane(status, text, result)
        return Outcome(int(not wrong), int(bool(wrong)), text="\n".join([text, *wrong]))

    return Stage("lane", [Job("./lane", work)])


def judge_lane(status: int, text: str, result: Path) -> list[str]:
    """What is wrong with a full run of the lane that should have passed."""
    wrong = [f"./lane ended with status {status}"] if status else []
    if not text.rstrip("\n").rpartition("\n")[2].startswith("LANE PASS"):
        wrong.append("the last line is not LANE PASS")
    try:
        found = json.loads(result.read_text(encoding="utf-8"))
        verdict, planned, results = found["verdict"], found["checks_planned"], [c["result"] for c in found["checks"]]
        if verdict != "pass" or not results or results != planned * ["pass"]:
            wrong.append(f"result.json has verdict {verdict} with {results} of {planned} planned checks")
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong.append(f"{result} does not have the verdict: {type(error).__name__}: {error}")
    if left := proc.marked(LANE_ID):
        wrong.append(f"processes of the lane are left: {', '.join(str(process.pid) for process in left)}")
    return wrong


def run_stage(stage: Stage, verbose: bool) -> None:
    """Run a stage's jobs. Each prints a line when it is done, and its output when it failed or `verbose` is set."""
    begun = time.monotonic()
    lock = threading.Lock()

    def one(job: Job) -> Outcome:
        started = time.monotonic()
        outcome = job.work()
        outcome.seconds = time.monotonic() - started
        good = outcome.passed and not outcome.failed
        counts = "" if outcome.passed + outcome.failed + outcome.skipped == 1 else f"  {outcome.numbers}"
        with lock:
            word = "ok  " if good else "FAIL"
            print(f"{word} {stage.name:10} {job.name:22} {outcome.seconds:7.1f} s{counts}", flush=True)
            print("".join(f"    - {note}\n" for note in outcome.notes), end="", flush=True)
            if verbose or not good:
                print("".join(f"    | {line}\n" for line in outcome.text.splitlines()), end="", flush=True)
        return outcome

    with ThreadPoolExecutor(stage.together) as pool:
        stage.outcomes = list(pool.map(one, stage.jobs))
    stage.seconds = time.monotonic() - begun


def main() -> int:
    """Entry point."""
    given = arguments.of_program("test")
    chosen = given.names or developer_verbs.STAGES
    makers: dict[str, Callable[[], Stage]] = {
        "lint": lint,
        "setup": setup,
        "unit": lambda: Stage("unit", [pytest_job("tests/unit", given.pytest or [*TOGETHER, *COVERAGE], 900)]),
        "playbooks": lambda: Stage("playbooks", [pytest_job("tests/playbooks", given.pytest or TOGETHER, 3600)]),
        "lane": whole_lane,
    }
    order = [name for name in makers if name in chosen or (name == "setup" and set(chosen) - {"lint"})]

    def stop(number: int, _: object) -> None:
        RUNNER.stop()
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    stages = []
    for name in order:
        stages.append(makers[name]())
        run_stage(stages[-1], given.verbose)
        if name == "setup" and total(stages[-1].outcomes).failed:
            print(f"the stages after setup were not run: {', '.join(order[order.index(name) + 1 :])}")
            break
    print("\nstage        seconds  result")
    for stage in stages:
        print(f"{stage.name:10} {stage.seconds:9.1f}  {total(stage.outcomes).numbers}")
    print(f"{'all':10} {sum(stage.seconds for stage in stages):9.1f}\n")
    everything = total(outcome for stage in stages for outcome in stage.outcomes)
    print(everything.numbers)
    return 1 if everything.failed or not everything.passed else 0


if __name__ == "__main__":
    sys.exit(main())
