"""`./lane mutants`: plants bugs in kerbside's Python, in its proxy or in ryll, one at a time, and reports which of them
the lane catches.

Python: the installed package is copied, and the lane's kerbside imports the copy (PYTHONPATH in kerbside_environment).
Only lines that a lane runs are mutated; a first run with coverage finds them. Proxy and ryll: the edits of
tests/mutation/proxy.yml and ryll.yml, built from a checkout (rust_edits.py). What a green lane proves is how many of
these bugs it would have caught, and whom it would have blamed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.core.private_dir import handed_over, read_json, read_run
from ansible.module_utils.lane.programs import records, stop

from tools import ROOT, inputs, kerbside_lines

from .mutation import Mutant, mutants
from .rust_edits import PROXY, RYLL, RustEdits

JUDGE = ROOT / "tests/mutation/judge.py"
SITECUSTOMIZE = "import coverage\ncoverage.process_startup()\n"
COVERAGE = """[run]
branch = false
parallel = true
sigterm = true
patch = fork
source = {package}
data_file = {data}/coverage
"""
STOP_LIMIT = 30.0  # seconds for API and daemon to end after SIGTERM and write their coverage
RUN_LIMIT = 900.0  # seconds for one lane


@dataclass
class Outcome:
    """What one lane said of one mutant. verdict: pass (not caught), fail, error, or timeout."""

    file: str
    line: int
    text: str
    what: str
    verdict: str
    component: str = ""
    check: str = ""
    code: str = ""
    cause: str = ""
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        return self.verdict != "pass"

    def blame(self, whom: dict[str, Any], check: str) -> None:
        self.component, self.check = whom["component"], check
        self.code, self.cause = whom.get("code") or "", whom["cause"]

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long the block takes, or that a command in it does not end."""
        begun = time.monotonic()
        try:
            yield
        except subprocess.TimeoutExpired:
            self.verdict = "timeout"
        self.seconds = round(time.monotonic() - begun, 1)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Raises subprocess.TimeoutExpired after RUN_LIMIT."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_LIMIT, check=False
    )


class Lane:
    """One lane whose kerbside imports a package of ours. words: what `./lane` is given to judge it ([], or
    ["suites"]).
    """

    def __init__(self, scratch: Path, lane_id: int, words: list[str], options: list[str]) -> None:
        self.scratch, self.lane_id, self.words, self.options = scratch, lane_id, words, options
        self.package = scratch / "python/kerbside"
        self.artifacts = scratch / "artifacts"
        self.judged = 0

    def run(self, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """`./lane WORDS` on this lane, with more variables."""
        given = self.scratch / "variables.json"
        variables |= {"lane_id": self.lane_id, "lane_artifacts_dir": str(self.artifacts)}
        given.write_text(json.dumps(variables), encoding="utf-8")
        return _run([str(ROOT / "lane"), *words, "-e", f"@{given}", *self.options])

    def dir(self) -> str:
        return f"/tmp/kerbside-lane-{self.lane_id}"

    @contextmanager
    def standing(self, **variables: Any) -> Iterator[None]:
        """A lane that is up for as long as the block runs. Raises SystemExit when it does not come up."""
        try:
            if (done := self.run("up", **variables)).returncode:
                raise SystemExit(f"lane: ./lane up ended with status {done.returncode}: {done.stdout[-500:]}")
            yield
        finally:
            self.run("down", **variables)

    def copy_package(self) -> None:
        """Bring a lane up, copy the kerbside that it runs, and take it down."""
        with self.standing():
            interpreter = Path(handed_over(self.dir())["lane_kerbside"]["bin"], "python")
            where = "import kerbside, os; print(os.path.dirname(kerbside.__file__))"
            found = subprocess.check_output([interpreter, "-c", where], text=True).strip()
            shutil.copytree(found, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def covered(self) -> dict[str, set[int]]:
        """The lines of each file of the package that a green lane runs.

        Raises SystemExit when the lane is not green.
        """
        import coverage

        cover, data, settings = (self.scratch / name for name in ("cover", "data", "coverage.ini"))
        cover.mkdir()
        data.mkdir()
        (cover / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
        os.symlink(os.path.dirname(coverage.__file__), cover / "coverage")
        settings.write_text(COVERAGE.format(package=self.package, data=data), encoding="utf-8")
        environment = {"PYTHONPATH": f"{self.package.parent}:{cover}", "COVERAGE_PROCESS_START": str(settings)}
        variables = {"kerbside_environment": environment, "suites_kerbside_stop_limit": STOP_LIMIT}
        with self.standing(**variables):
            for words in filter(None, (["smoke"], self.words)):
                if (done := self.run(*words, **variables)).returncode:
                    what = f"the lane is not green without a mutant (status {done.returncode})"
                    raise SystemExit(f"lane: {what}: {done.stdout[-500:]}")
            # they write their coverage on SIGTERM
            kerbside = [one for one in records.records(self.dir()) if one.name in ("api", "daemon")]
            stop.stop(read_run(self.dir()), kerbside, STOP_LIMIT)
        combined = coverage.Coverage(data_file=str(data / "all"))
        combined.combine([str(path) for path in data.glob("coverage.*")])
        found = combined.get_data()
        files = found.measured_files()
        return {str(Path(name).relative_to(self.package)): set(found.lines(name) or ()) for name in files}

    def mutate(self, file: str, mutant: Mutant, text: str) -> Outcome:
        """Judge one mutant of kerbside's Python: by suites on a lane that stays up, or by a whole lane."""
        path = self.package / file
        source = path.read_bytes()
        outcome = Outcome(file, mutant.line, text, mutant.what, "error")
        path.write_bytes(mutant.of(source))
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        try:
            if self.words[:1] == ["suites"]:
                return self.judge_standing(outcome)
            environment = {"PYTHONPATH": str(self.package.parent)}
            return self.judge(outcome, self.words, kerbside_environment=environment)
        finally:
            path.write_bytes(source)
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)

    def judge_standing(self, outcome: Outcome) -> Outcome:
        """Play the suites, in the order of their names in the command, until a check fails.

        API and daemon alone are started anew, from a path that no other mutant had.
        """
        self.judged += 1
        folder = self.scratch / f"mutant-{self.judged}"
        folder.symlink_to(self.package.parent)
        names = [name for word in self.words[1:] for name in word.split(",")]
        with outcome.timed():
            done = _run([sys.executable, str(JUDGE), self.dir(), str(folder), *names])
            if done.returncode:
                outcome.component, outcome.cause = "lane", done.stderr[-500:]
            elif entry := json.loads(done.stdout):
                outcome.verdict = "fail"
                outcome.blame(entry["detail"], f"{entry['suite']}: {entry['name']}")
            else:
                outcome.verdict = "pass"
        return outcome

    def judge(self, outcome: Outcome, words: list[str], **variables: Any) -> Outcome:
        """Run a lane and note in the outcome what it says; a verb that needs a running lane gets one."""
        starts = words[:1] in (["smoke"], ["suites"])
        try:
            with outcome.timed():
                done = self.run(*(["up"] if starts else words), **variables)
                if starts and done.returncode == 0:
                    done = self.run(*words, **variables)
                outcome.verdict = {0: "pass", 1: "fail"}.get(done.returncode, "error")
                result = read_json(self.artifacts / "result.json", None)
                if not result:
                    outcome.cause = "no result.json"
                elif blame := result.get("blame"):
                    outcome.blame(blame, blame["check"] or "")
        finally:
            if starts or outcome.verdict == "timeout":
                self.run("down")
        return outcome


def candidates(package: Path, covered: dict[str, set[int]]) -> list[tuple[str, Mutant, str]]:
    """(file, mutant, text of its line) of every mutant in a line that counts and was run, but those listed as
    equivalent.
    """
    equivalent = {(one["file"], one["line"], one["change"]) for one in kerbside_lines.listed("equivalent")}
    found = []
    for file in kerbside_lines.files(package):
        source = (package / file).read_bytes()
        lines = covered.get(file, set()) - kerbside_lines.left_out(source.decode(), file)
        texts = source.decode().splitlines()
        found += [(file, one, texts[one.line - 1].strip()) for one in mutants(source) if one.line in lines]
    return [one for one in found if (one[0], one[2], one[1].what) not in equivalent]


def table(outcomes: list[Outcome], component: str) -> str:
    """The outcomes for people: what was not caught first."""
    rows = []
    for one in sorted(outcomes, key=lambda one: (one.caught, one.file, one.line)):
        blamed = f"{one.component}{f' ({one.check})' if one.check else ''}" if one.caught else "NOT CAUGHT"
        rows.append(f"{one.file}:{one.line:<5} {one.what:20} {blamed:28} {one.seconds:6.1f} s  {one.text[:80]}")
    caught = [one for one in outcomes if one.caught]
    right = [one for one in caught if one.component == component]
    rows.append(f"{len(caught)} of {len(outcomes)} mutants caught, {len(right)} of these blamed on {component}")
    return "\n".join(rows)


def of_python(lane: Lane, asked: argparse.Namespace) -> Iterator[Outcome]:
    """Mutants of kerbside's Python, as sampled."""
    lane.copy_package()
    covered = lane.covered()
    print(kerbside_lines.table(kerbside_lines.shares(lane.package, covered)), flush=True)
    chosen = [one for one in candidates(lane.package, covered) if not asked.file or asked.file in one[0]]
    print(f"{len(chosen)} mutants in these lines", flush=True)
    if asked.sample and len(chosen) > asked.sample:
        chosen = random.Random(asked.seed).sample(chosen, asked.sample)
    with lane.standing() if asked.names[:1] == ["suites"] else nullcontext():
        for file, mutant, text in chosen:
            yield lane.mutate(file, mutant, text)


def of_rust(lane: Lane, asked: argparse.Namespace) -> Iterator[Outcome]:
    """The edits of tests/mutation/proxy.yml or ryll.yml, each judged by the suite that it names."""
    product, checkout = (PROXY, asked.proxy) if asked.proxy else (RYLL, asked.ryll)
    rust = RustEdits(product, checkout, lane.scratch)
    if said := rust.build():
        raise SystemExit(f"lane: {product.program} of {checkout} does not build: {said}")
    for edit in product.edits(asked.file):
        with rust.edited(edit) as line:
            outcome = Outcome(edit["file"], line, edit["name"], edit["needs"] or "smoke", "error")
            words = ["suites", edit["needs"]] if edit["needs"] and not asked.smoke_only else []
            yield lane.judge(outcome, words, **rust.variables())


def _stopped(number: int, _: object) -> None:
    """End as after an error, so that the lane that stays up is taken down."""
    raise SystemExit(128 + number)


def main(asked: argparse.Namespace) -> None:
    """Entry point of `./lane mutants`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stopped)
    inputs.check(asked.judge)
    component = "proxy" if asked.proxy else "ryll" if asked.ryll else "kerbside"
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="lane-mutants-") as scratch:
        lane = Lane(Path(scratch), asked.lane_id, asked.names, asked.judge.forward)
        for one in of_python(lane, asked) if component == "kerbside" else of_rust(lane, asked):
            outcomes.append(one)
            where = f"{one.verdict:7} {one.component:12} {one.file}:{one.line}"
            print(f"{len(outcomes):4}  {where} {one.what}: {one.text[:70]}", flush=True)
            if asked.json:  # so that a command that is stopped keeps what it has found
                asked.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1), encoding="utf-8")
    print(table(outcomes, component))
