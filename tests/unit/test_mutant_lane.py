"""How mutants are judged (tools/mutants.py): by lanes, with a stub for ./lane, and on a lane that stays up, with a
program in the place of tests/mutation/judge.py.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import ROOT, mutants
from tools.mutants import Lane, Outcome
from tools.mutation import Mutant

DETAIL = {"component": "kerbside", "code": "audit_wrong", "cause": "why"}
ENTRY = {"suite": "session", "name": "audit", "result": "fail", "detail": DETAIL}
#: Says what it is told in the file beside it, and notes what it was asked and what the package held.
JUDGE = """
import pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "asked", "a") as file:
    print(*sys.argv[1:], pathlib.Path(sys.argv[2], "kerbside/a.py").read_text(), sep="|", file=file)
said = (here / "said").read_text()
sys.exit(said if said.startswith("broken") else print(said))
"""

#: Stops `./lane mutants` by a signal while a lane stays up; says what was done with the lane.
STOPPED = """
import os, sys
from types import SimpleNamespace
from tools import inputs, mutants
mutants.Lane.run = lambda self, word, **more: print(word, flush=True) or SimpleNamespace(returncode=0)
inputs.check = lambda judge: None
def of_python(lane, asked):
    with lane.standing():
        os.kill(os.getpid(), int(sys.argv[1]))
        yield
mutants.of_python = of_python
judge = SimpleNamespace(forward=[])
mutants.main(SimpleNamespace(judge=judge, proxy=None, ryll=None, lane_id=57, names=["suites"], json=None))
"""


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    (tmp_path / "judge.py").write_text(JUDGE)
    monkeypatch.setattr(mutants, "JUDGE", tmp_path / "judge.py")
    made = Lane(tmp_path, 98, ["suites", "control,session"], [])
    made.package.mkdir(parents=True)
    (made.package / "a.py").write_text("x = 1")
    return made


def judged(lane: Lane, said: str) -> Outcome:
    (lane.scratch / "said").write_text(said)
    return lane.mutate("a.py", Mutant(4, 5, "3", 1, "1 -> 3"), "x = 1")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("null", ("pass", "", "", "", "")),
        (json.dumps(ENTRY), ("fail", "kerbside", "session: audit", "audit_wrong", "why")),
        ("broken", ("error", "lane", "", "", "broken\n")),
    ],
)
def test_the_first_red_check_decides(lane, said, expected):
    one = judged(lane, said)
    assert (one.verdict, one.component, one.check, one.code, one.cause) == expected
    assert (lane.package / "a.py").read_text() == "x = 1"  # as it was


def test_each_mutant_has_a_path_of_its_own_and_is_played_in_the_order_given(lane):
    judged(lane, "null")
    judged(lane, "null")
    first, second = (line.split("|") for line in (lane.scratch / "asked").read_text().splitlines())
    assert first == [lane.dir(), f"{lane.scratch}/mutant-1", "control", "session", "x = 3"]
    assert second[1] == f"{lane.scratch}/mutant-2"


def test_a_judge_that_does_not_end_is_given_up(lane, monkeypatch):
    monkeypatch.setattr(mutants, "RUN_LIMIT", 0.2)
    (lane.scratch / "judge.py").write_text("import time; time.sleep(60)")
    assert judged(lane, "null").verdict == "timeout"


class FakeLane(Lane):
    """Notes what ./lane is given; each verb ends with the status that is set for it, and writes a result."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch, 98, [], [])
        self.statuses: dict[str, int] = {}
        self.given: list[list[str]] = []

    def run(self, *words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        self.given.append(list(words))
        verb = words[0] if words else "run"
        if verb == "slow":
            raise subprocess.TimeoutExpired("lane", 1)
        self.artifacts.mkdir(exist_ok=True)
        blame = {"component": verb, "check": None, "cause": "x"} if self.statuses.get(verb) else None
        if verb != "down":
            (self.artifacts / "result.json").write_text(json.dumps({"blame": blame}), encoding="utf-8")
        return subprocess.CompletedProcess([], self.statuses.get(verb, 0), "")


@pytest.fixture
def fake(tmp_path: Path) -> FakeLane:
    return FakeLane(tmp_path)


INPUT = ["suites", "input"]


@pytest.mark.parametrize(
    ("words", "statuses", "runs", "verdict", "component"),
    [
        ([], {}, [[]], "pass", ""),
        ([], {"run": 1}, [[]], "fail", "run"),
        (INPUT, {}, [["up"], INPUT, ["down"]], "pass", ""),
        (INPUT, {"suites": 1}, [["up"], INPUT, ["down"]], "fail", "suites"),
        (INPUT, {"up": 1}, [["up"], ["down"]], "fail", "up"),
        (["slow"], {}, [["slow"], ["down"]], "timeout", ""),
    ],
)
def test_a_mutant_is_judged_on_a_lane_that_runs(fake, words, statuses, runs, verdict, component):
    fake.statuses = statuses
    outcome = fake.judge(Outcome("a.py", 1, "x", "y", "error"), words)
    assert (fake.given, outcome.verdict, outcome.component) == (runs, verdict, component)


@pytest.mark.parametrize(("status", "raised"), [(0, KeyError), (2, SystemExit)])
def test_the_lane_is_taken_down_whatever_happens(fake, status, raised):
    fake.statuses = {"up": status}
    with pytest.raises(raised), fake.standing():
        raise KeyError
    assert fake.given == [["up"], ["down"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_lane_that_stays_up_is_taken_down_when_the_command_is_stopped(number):
    command = [sys.executable, "-c", STOPPED, str(int(number))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (128 + number, ["up", "down"]), done.stderr
    assert "Traceback" not in done.stderr
