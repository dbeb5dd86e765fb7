"""`./lane fleet`: how many lanes run at the same time, and its exit status. Real lanes are in tests/playbooks/test_fleet.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLEET = """
import sys
from pathlib import Path
from tools import fleet
sys.exit(fleet.run(["sh", "-c", sys.argv[1], "lane"], [1, 2, 3, 4, 5], int(sys.argv[2]), Path(sys.argv[3])))
"""
#: Notes how many of it run, and exits with status 1 as lane 3.
LANE = 'cd {folder} && mkdir run.$$ && sleep 0.3; ls -d run.* | wc -l >>seen; sleep 0.2; rmdir run.$$; echo "LANE PASS"; test "$2" != lane_id=3'


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_number_of_lanes_at_the_same_time(tmp_path: Path, at_once: int) -> None:
    command = [sys.executable, "-c", FLEET, LANE.format(folder=tmp_path), str(at_once), str(tmp_path / "logs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(line[:16] for line in lines[:-1]) == [f"lane {number}: status {int(number == 3)}" for number in range(1, 6)]
    assert lines[-1].startswith("fleet: 4 of 5 lanes passed in ")
    seen = (tmp_path / "seen").read_text().split()
    assert len(seen) == 5 and max(map(int, seen)) <= at_once
