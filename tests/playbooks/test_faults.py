"""The quick half of the fault catalogue through its own runner, and planted mistakes: a catalogue that cannot miss a
fault proves nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CATALOGUE = yaml.safe_load((ROOT / "tests/faults/catalogue.yml").read_text())["faults"]
CHECKS = ["hello", "status", "screenshot", "banner", "counters", "path", "frames"]


def faults(
    tmp_path: Path, *names: str, plant: dict | None = None, limit: float = 900
) -> subprocess.CompletedProcess[str]:
    """Run the catalogue's runner with lane ids that nobody else uses (46 to 48)."""
    options = ["--first-id", "46", "--artifacts", str(tmp_path / "artifacts"), "--plant", json.dumps(plant or {})]
    command = [sys.executable, "tests/faults/run.py", *options, *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="some of them need root")
def test_the_quick_half_is_as_expected(tmp_path: Path) -> None:
    done = faults(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^ok  \S+ +caught ", done.stdout, re.MULTILINE)) == sum(
        bool(f.get("quick")) for f in CATALOGUE
    )


def test_the_quick_half_has_a_fault_of_every_kind() -> None:
    quick = [f for f in CATALOGUE if f.get("quick")]
    assert {f["expect"]["component"] for f in quick} >= {
        "host",
        "environment",
        "qemu",
        "guest",
        "database",
        "kerbside",
        "tls",
        "ryll",
        "lane",
    }
    assert {f["lane"] for f in quick} == {"own", "standing"}


def test_faults_that_are_misnamed_or_late_make_the_catalogue_fail(tmp_path: Path) -> None:
    """A real fault, of which the catalogue expects three times something else than the lane says."""
    fault = next(f for f in CATALOGUE if f["name"] == "kvm-missing")
    wrong = {
        "misnamed": ({"component": "firmware"}, "MISNAMED: host, expected firmware"),
        "other-cause": ({"cause": "words that nobody says"}, "WRONG CAUSE: expected 'words that nobody says'"),
        "late": ({"within": 0.01}, r"LATE: [\d.]+ s, at most 0\.\d s"),
    }
    faulty = [{**fault, "name": name, "expect": {**fault["expect"], **change}} for name, (change, _) in wrong.items()]
    (tmp_path / "catalogue.yml").write_text(json.dumps({"faults": faulty}))
    done = faults(tmp_path, "--catalogue", str(tmp_path / "catalogue.yml"))
    assert done.returncode == 1, done.stdout + done.stderr
    for name, (_, words) in wrong.items():
        assert re.search(rf"^BAD {name} +{words}", done.stdout, re.MULTILINE), done.stdout
    assert "0 of 3 as expected" in done.stdout


def test_names_are_listed_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    done = faults(tmp_path, "--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(CATALOGUE)
    done = faults(tmp_path, "no-such-fault")
    assert done.returncode == 2
    assert "no fault 'no-such-fault'" in done.stderr


@pytest.mark.slow
def test_a_planted_gap_makes_the_catalogue_fail(tmp_path: Path) -> None:
    """Without the check `frames` nobody sees that the guest is frozen; with it, the quick half above catches the same fault."""
    gap = faults(tmp_path, "--together", "1", "guest-frozen", plant={"lane_checks": CHECKS[:-1]})
    assert gap.returncode == 1, gap.stdout + gap.stderr
    assert re.search(
        r"^BAD guest-frozen +MISSED: LANE PASS lane 47: 6 of 7 checks, lane_checks was changed",
        gap.stdout,
        re.MULTILINE,
    ), gap.stdout
    assert next(fault for fault in CATALOGUE if fault["name"] == "guest-frozen")["quick"]
