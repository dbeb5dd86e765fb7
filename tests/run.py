"""`./lane test`: runs the stages lint, unit, playbooks and lane, and counts what passed. docs/testing.md describes the stages."""

from __future__ import annotations

import argparse
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTROL = ROOT / "module_utils/lane/protocols/ryll"
LEAST_COVERAGE = 95.0  # per cent of the lines, and of the branches, of CONTROL
LANE_ID = 59  # the lane that the stage `lane` runs; 60 to 99 are the playbook tests'
#: Programs that the tests need and no role installs: name on PATH, and the Debian package that brings it.
PROGRAMS = {"cargo": "cargo", "chromedriver": "chromium-driver", "chromium": "chromium", "git": "git", "make": "make"}
if os.getuid() == 0:  # who else cannot enter what it makes
    PROGRAMS["mmdebstrap"] = "mmdebstrap"


@dataclass
class Outcome:
    """What one job came to. A test tool counts each of its tests, any other job counts as one."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    text: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # shown whatever it came to


@dataclass
class Job:
    """One line of the report: a name and the work behind it."""

    name: str
    work: Callable[[], Outcome]


@dataclass
class Stage:
    """Jobs that may run at the same time, `together` at once."""

    name: str
    jobs: list[Job]
    together: int = 1
    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)


class Runner:
    """Starts programs in process groups of their own, and ends those that run when the tests are interrupted or the time is up."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def run(self, command: list[str], limit: float, **more: str) -> tuple[int, str]:
        """The exit status and the output (stdout and stderr) of a command that gets `limit` seconds; more is added to its environment."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if not shutil.which(command[0], path=path):
            return 127, f"expected {command[0]} in {Path(sys.executable).parent} or on PATH, found none"
        with tempfile.TemporaryFile() as out:
            with self.lock:
                if self.stopped:
                    return 1, "not started: the tests were interrupted"
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", **more},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.running.add(process.pid)
            late = ""
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                late = f"\nstopped: not done after {limit:.0f} s"
                end_group(process.pid, signal.SIGTERM)
                try:
                    status = process.wait(10)
                except subprocess.TimeoutExpired:
                    end_group(process.pid, signal.SIGKILL)
                    status = process.wait()
            finally:
                with self.lock:
                    self.running.discard(process.pid)
            out.seek(0)
            return (status or 1 if late else status), out.read().decode(errors="replace") + late

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
    """A job that is good when the command ends with status 0."""

    def work() -> Outcome:
        status, text = RUNNER.run(list(command), limit, **more)
        return Outcome(passed=int(status == 0), failed=int(status != 0), text=text)

    return Job(name, work)


def pytest_job(folder: str, options: list[str], limit: float) -> Job:
    """A job that counts the tests of a folder. No test at all is a failure."""

    def work() -> Outcome:
        with tempfile.TemporaryDirectory() as scratch:
            report, coverage = Path(scratch, "report.xml"), Path(scratch, "coverage.json")
            measured = folder == "tests/unit" and CONTROL.is_dir() and not options
            cover = ["--cov", "--cov-report=term", f"--cov-report=json:{coverage}"] if measured else []
            command = [sys.executable, "-m", "pytest", folder, f"--junitxml={report}", "--durations=5", *cover, *options]
            status, text = RUNNER.run(command, limit, COVERAGE_FILE=str(Path(scratch, "data")))
            outcome = count_tests(report)
            outcome.text = "\n".join([*cases(report, "failure", "error"), "", text])
            outcome.notes = [f"skipped {case}" for case in cases(report, "skipped")]
            if status != 0 and not outcome.failed:  # pytest itself, or a limit; no test was blamed for it
                outcome.failed = 1
            if measured and status == 0:
                judge_coverage(coverage, outcome)
            return outcome

    return Job("pytest", work)


def count_tests(report: Path) -> Outcome:
    """The numbers in a junit file; one failure when there is no such file or no test in it."""
    try:
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return Outcome(failed=1)
    tests, errors, failures, skipped = (sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "errors", "failures", "skipped"))
    failed = errors + failures
    return Outcome(tests - failed - skipped, failed, skipped) if tests - skipped else Outcome(failed=1, skipped=skipped)


def cases(report: Path, *tags: str) -> list[str]:
    """One line for each test of a junit file of which it says one of these, to be read before anything else."""
    try:
        listed = list(ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []
    found = [(case, said) for case in listed for said in case if said.tag in tags]
    return [f"{case.get('classname')}.{case.get('name')}: {' '.join((said.get('message') or '').split())[:300]}" for case, said in found]


def judge_coverage(report: Path, outcome: Outcome) -> None:
    """One check more: the control package's lines and branches that the unit tests went through."""
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    shares = {
        "lines": 100.0 * totals["covered_lines"] / max(totals["num_statements"], 1),
        "branches": 100.0 * totals["covered_branches"] / max(totals["num_branches"], 1),
    }
    said = ", ".join(f"{share:.1f} % of the {name}" for name, share in shares.items())
    if totals["num_statements"] and min(shares.values()) >= LEAST_COVERAGE:
        outcome.passed += 1
    else:
        outcome.failed += 1
        outcome.text += f"\nexpected {LEAST_COVERAGE:.0f} % of {CONTROL.relative_to(ROOT)} to be covered, got {said}"


def lint() -> Stage:
    python = [str(path.relative_to(ROOT)) for path in (ROOT / name for name in ("module_utils", "library", "plugins", "tests", "tools", ".github"))]
    workflows = [str(path) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))]
    cache = str(ROOT / ".cache/lint")
    return Stage(
        "lint",
        [  # the long ones first
            tool("ansible-lint", "ansible-lint", "--offline", "--nocolor", "-q", limit=600),
            tool("pip check", "python", "-m", "pip", "check"),  # the pinned files are complete: ./lane installs them with --no-deps
            tool("modules", "python", "tests/lint/modules.py"),
            tool("roles", "python", "tests/lint/roles.py"),
            tool("variables", "python", "tests/lint/variables.py", "--check"),
            tool("errors", "python", "tests/lint/errors.py", "--check"),
            tool("mypy", "mypy", "--strict", "-p", "lane", "--cache-dir", f"{cache}/mypy"),
            tool("ruff check", "ruff", "check", "--output-format=concise", "--cache-dir", f"{cache}/ruff", *python),
            tool("ruff format", "ruff", "format", "--check", "--diff", "--cache-dir", f"{cache}/ruff", *python),
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
    """Installs what PROGRAMS names and PATH has not, as root or by sudo."""
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if not missing:
        return Outcome(passed=1)
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing]
    if os.getuid() != 0:
        command = ["sudo", "-n", *command]
    if not shutil.which(command[0]):
        return Outcome(failed=1, text=f"expected the tests' programs on PATH; as root, install the Debian packages {' '.join(missing)}")
    status, text = RUNNER.run(command, 600, DEBIAN_FRONTEND="noninteractive")
    still = sorted(name for name in PROGRAMS if not shutil.which(name))
    if status or still:
        return Outcome(failed=1, text=f"{text}\nexpected this to bring {', '.join(still) or 'the programs'}: {' '.join(command)}")
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
    """What is wrong with a whole run of the lane that ought to be green; nothing when it is."""
    wrong = []
    if status != 0:
        wrong.append(f"expected ./lane to end with status 0, got {status}")
    if not any(line.startswith("LANE PASS") for line in text.splitlines()[-3:]):
        wrong.append("expected LANE PASS as the last line")
    try:
        said = json.loads(result.read_text(encoding="utf-8"))
        results = [check["result"] for check in said["checks"]]
        if said["verdict"] != "pass" or not results or len(results) != said["checks_planned"] or set(results) != {"pass"}:
            wrong.append(f"expected a pass with every planned check passed, got {said['verdict']} with {results} of {said['checks_planned']} planned")
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong.append(f"expected {result} to tell the verdict, got {type(error).__name__}: {error}")
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"\0KERBSIDE_LANE={LANE_ID}/".encode() in b"\0" + (process / "environ").read_bytes():
                left.append(process.name)
    if left:
        wrong.append(f"expected no process of the lane to be left, got {', '.join(left)}")
    return wrong


def run_stage(stage: Stage, verbose: bool) -> None:
    """Run a stage's jobs, each with a line when it is done, and its output when it failed or everything is wanted."""
    begun = time.monotonic()
    lock = threading.Lock()

    def one(job: Job) -> Outcome:
        started = time.monotonic()
        outcome = job.work()
        outcome.seconds = time.monotonic() - started
        good = outcome.passed and not outcome.failed
        counts = "" if outcome.passed + outcome.failed + outcome.skipped == 1 else f"  {numbers(outcome.passed, outcome.failed, outcome.skipped)}"
        with lock:
            print(f"{'ok  ' if good else 'FAIL'} {stage.name:10} {job.name:22} {outcome.seconds:7.1f} s{counts}", flush=True)
            print("".join(f"    - {note}\n" for note in outcome.notes), end="", flush=True)
            if verbose or not good:
                print("".join(f"    | {line}\n" for line in outcome.text.splitlines()), end="", flush=True)
        return outcome

    with ThreadPoolExecutor(stage.together) as pool:
        stage.outcomes = list(pool.map(one, stage.jobs))
    stage.seconds = time.monotonic() - begun


def numbers(passed: int, failed: int, skipped: int) -> str:
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def main() -> int:
    names = ("lint", "unit", "playbooks", "lane")
    parser = argparse.ArgumentParser(prog="./lane test", description="Runs the stages in this order, all of them when none is named: " + ", ".join(names))
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="run only these")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the output of what passes as well")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser.epilog = "What follows `--` goes to pytest: ./lane test unit -- -k qmp"
    given = parser.parse_args(words[:cut])
    options = words[cut + 1 :]
    unknown = [name for name in given.stages if name not in names]
    if unknown:
        parser.error(f"expected stages among {', '.join(names)}, got {', '.join(unknown)}")
    wanted = given.stages or names
    if options and not {"unit", "playbooks"} & set(wanted):
        parser.error("what follows `--` is for pytest, which only the stages unit and playbooks run")
    makers: dict[str, Callable[[], Stage]] = {
        "lint": lint,
        "setup": setup,
        "unit": lambda: Stage("unit", [pytest_job("tests/unit", options, 900)]),
        "playbooks": lambda: Stage("playbooks", [pytest_job("tests/playbooks", options, 2400)]),
        "lane": whole_lane,
    }
    order = [name for name in makers if name in wanted or (name == "setup" and set(wanted) - {"lint"})]

    def stop(number: int, _: object) -> None:
        RUNNER.stop()
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    stages = []
    for name in order:
        stages.append(makers[name]())
        run_stage(stages[-1], given.verbose)
        if name == "setup" and any(outcome.failed for outcome in stages[-1].outcomes):
            print(f"the stages after setup were not run: {', '.join(order[order.index(name) + 1 :])}")
            break
    print("\nstage        seconds  result")
    sums = []
    for stage in stages:
        sums.append([sum(getattr(outcome, word) for outcome in stage.outcomes) for word in ("passed", "failed", "skipped")])
        print(f"{stage.name:10} {stage.seconds:9.1f}  {numbers(*sums[-1])}")
    print(f"{'all':10} {sum(stage.seconds for stage in stages):9.1f}\n")
    passed, failed, skipped = (sum(column) for column in zip(*sums, strict=True))
    print(numbers(passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
