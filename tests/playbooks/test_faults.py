"""A small part of the fault catalogue through its own runner, and a planted gap: a catalogue that cannot miss a fault proves nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHECKS = ["hello", "status", "screenshot", "banner", "counters", "path", "frames"]


def faults(tmp_path: Path, *names: str, plant: dict | None = None, limit: float = 400) -> subprocess.CompletedProcess[str]:
    """Run the catalogue's runner with lane ids that nobody else uses (46 to 48)."""
    options = ["--first-id", "46", "--artifacts", str(tmp_path / "artifacts"), "--plant", json.dumps(plant or {})]
    command = [sys.executable, "tests/faults/run.py", *options, *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)


def test_faults_that_need_no_lane_are_caught(tmp_path: Path) -> None:
    done = faults(tmp_path, "kvm-missing", "port-taken", "work-dir-path-too-long", "image-changed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^ok  \S+ +caught ", done.stdout, re.MULTILINE)) == 4
    assert "Median time to the verdict" in done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"component": "firmware"}, "MISNAMED: host, expected firmware"),
        ({"cause": "words that nobody says"}, "WRONG CAUSE: expected 'words that nobody says'"),
        ({"within": 0.01}, r"LATE: [\d.]+ s, at most 0\.\d s"),
    ],
)
def test_a_fault_that_is_misnamed_or_late_makes_the_catalogue_fail(tmp_path: Path, change: dict, words: str) -> None:
    """A real fault, of which the catalogue expects something else than the lane says."""
    known = yaml.safe_load((ROOT / "tests/faults/catalogue.yml").read_text())["faults"]
    fault = next(f for f in known if f["name"] == "kvm-missing")
    (tmp_path / "catalogue.yml").write_text(json.dumps({"faults": [{**fault, "expect": {**fault["expect"], **change}}]}))
    done = faults(tmp_path, "--catalogue", str(tmp_path / "catalogue.yml"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"^BAD kvm-missing +{words}", done.stdout, re.MULTILINE), done.stdout
    assert "0 of 1 as expected" in done.stdout


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    done = faults(tmp_path, "no-such-fault")
    assert done.returncode == 2
    assert "unknown: no-such-fault" in done.stderr


def test_the_catalogue_names_what_it_knows(tmp_path: Path) -> None:
    done = faults(tmp_path, "--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 60


@pytest.mark.slow
def test_a_planted_gap_makes_the_catalogue_fail(tmp_path: Path) -> None:
    """Without the check `frames` nobody sees that the guest is frozen; with it, the same fault is caught."""
    gap = faults(tmp_path, "--together", "1", "guest-frozen", plant={"lane_checks": CHECKS[:-1]})
    assert gap.returncode == 1, gap.stdout + gap.stderr
    assert re.search(r"^BAD guest-frozen +MISSED: LANE PASS lane 47: 6 of 6 checks", gap.stdout, re.MULTILINE), gap.stdout
    whole = faults(tmp_path, "--together", "1", "guest-frozen", "check-never-made")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert len(re.findall(r"^ok  \S+ +caught ", whole.stdout, re.MULTILINE)) == 2
