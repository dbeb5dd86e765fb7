"""How mutants are judged on a lane that stays up (tools/mutants.py), with a program in the place of tests/mutation/judge.py."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools import ROOT, mutants
from tools.mutants import Lane, Outcome
from tools.mutation import Mutant

ENTRY = {
    "suite": "session",
    "name": "audit",
    "result": "fail",
    "detail": {"component": "kerbside", "code": "audit_wrong", "cause": "why"},
}
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
import os, signal, sys
from types import SimpleNamespace
from tools import end_quietly, inputs, mutants
end_quietly()
mutants.Lane.run = lambda self, word, **more: print(word, flush=True) or SimpleNamespace(returncode=0)
mutants.inputs.check = lambda judge: None
def of_python(lane, asked):
    with lane.standing():
        os.kill(os.getpid(), int(sys.argv[1]))
        yield
mutants.of_python = of_python
mutants.main(SimpleNamespace(judge=SimpleNamespace(forward=[]), proxy=None, ryll=None, lane_id=57, names=["suites"], json=None))
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
    ("said", "verdict", "component", "check"),
    [
        ("null", "pass", "", ""),
        (json.dumps(ENTRY), "fail", "kerbside", "session: audit"),
        ("broken", "error", "lane", ""),
    ],
)
def test_the_first_red_check_decides(lane: Lane, said: str, verdict: str, component: str, check: str) -> None:
    outcome = judged(lane, said)
    assert (outcome.verdict, outcome.component, outcome.check) == (verdict, component, check)
    assert (lane.package / "a.py").read_text() == "x = 1"  # as it was


def test_each_mutant_has_a_path_of_its_own_and_is_played_in_the_order_given(lane: Lane) -> None:
    judged(lane, "null")
    judged(lane, "null")
    first, second = (line.split("|") for line in (lane.scratch / "asked").read_text().splitlines())
    assert first == [lane.dir(), f"{lane.scratch}/mutant-1", "control", "session", "x = 3"]
    assert second[1] == f"{lane.scratch}/mutant-2"


def test_a_judge_that_does_not_end_is_given_up(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "RUN_LIMIT", 0.2)
    (lane.scratch / "judge.py").write_text("import time; time.sleep(60)")
    assert judged(lane, "null").verdict == "timeout"


@pytest.mark.parametrize("status", [0, 2])
def test_the_lane_is_taken_down_whatever_happens(lane: Lane, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    asked = []

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess([], status if words == ("up",) else 0, "")

    monkeypatch.setattr(lane, "run", run)
    with pytest.raises(KeyError if status == 0 else SystemExit), lane.standing():
        raise KeyError
    assert asked == [("up",), ("down",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_lane_that_stays_up_is_taken_down_when_the_command_is_stopped(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(number))], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (128 + number, ["up", "down"]), done.stderr
    assert "Traceback" not in done.stderr
