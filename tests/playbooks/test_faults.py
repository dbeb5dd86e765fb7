"""The quick half of the fault catalogue through its own runner, and a planted gap, which has to make it fail."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from whole_lanes import ROOT

CATALOGUE = yaml.safe_load((ROOT / "tests/faults/catalogue.yml").read_text())["faults"]
QUICK = [fault for fault in CATALOGUE if fault.get("quick")]
CHECKS = ["hello", "status", "screenshot", "banner", "counters", "path", "frames"]


def faults(tmp_path: Path, *names: str, plant: dict | None = None) -> subprocess.CompletedProcess[str]:
    """Run the catalogue's runner with lane ids that nobody else uses (46 to 48)."""
    options = ["--first-id", "46", "--artifacts", str(tmp_path / "artifacts"), "--plant", json.dumps(plant or {})]
    command = [sys.executable, "tests/faults/run.py", *options, *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="some of them need root")
def test_the_quick_half_is_as_expected(tmp_path):
    done = faults(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    caught = re.findall(r"^ok  (\S+) +caught ", done.stdout, re.MULTILINE)
    assert sorted(caught) == sorted(fault["name"] for fault in QUICK)


def test_the_quick_half_has_a_fault_of_every_kind():
    components = {"host", "environment", "qemu", "guest", "database", "kerbside", "tls", "ryll", "lane"}
    assert components <= {fault["expect"]["component"] for fault in QUICK}
    assert {fault["lane"] for fault in QUICK} == {"own", "standing"}


@pytest.mark.slow
def test_a_planted_gap_makes_the_catalogue_fail(tmp_path):
    """Without the check `frames` nobody sees that the guest is frozen; with it, the quick half above sees it."""
    gap = faults(tmp_path, "--together", "1", "guest-frozen", plant={"lane_checks": CHECKS[:-1]})
    assert gap.returncode == 1, gap.stdout + gap.stderr
    missed = r"(?m)^BAD guest-frozen +MISSED: LANE PASS lane 47: 6 of 7 checks, lane_checks was changed"
    assert re.search(missed, gap.stdout), gap.stdout
    assert "guest-frozen" in {fault["name"] for fault in QUICK}
