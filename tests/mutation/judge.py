"""Plays suites with a mutated kerbside on a lane that is up, until a check fails, and prints that check's entry of
result.json, or null.

    .venv/bin/python tests/mutation/judge.py LANE_DIR FOLDER [SUITE...]

FOLDER holds the package `kerbside`; its path has to be another one for each mutant, because API and daemon are started
anew when it changes. The suites are played in the order that is given; without one, all but clients, which installs
packages.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from suites import ACTORS, SUITES, LaneStage, Rig, engine

SLOWNESS = 4


def first_failure(rig: Rig, folder: str, names: list[str]) -> dict[str, Any] | None:
    for name in names:
        suite = rig.suite(name)
        lane = LaneStage(replace(rig.place, slowness=SLOWNESS), rig.guests)  # a busy machine catches no mutant
        for program in ("api", "daemon"):
            described = lane.described[program]
            lane.described[program] = replace(described, env={**described.env, "PYTHONPATH": folder})
        for entry in engine.entries(lane, suite, suite.guests[0], ACTORS, slow=False):
            if entry["result"] != "pass":
                return entry
    return None


if __name__ == "__main__":
    known = sorted({path.stem for path in SUITES.glob("*.yml")} - {"clients"})
    given = sys.argv[3:]
    print(json.dumps(first_failure(Rig(sys.argv[1]), sys.argv[2], known if given in ([], ["all"]) else given)))
