"""The wrong usages of docs/command-line.md, each run as it stands: what is said, the exit status, and the result.

Nothing of an earlier run can pass for this one.
"""

import json
import re
import subprocess

import pytest
from whole_lanes import ROOT

ROWS = re.findall(r"(?m)^\| `(\./lane[^`]*)` \| (.+) \|$", (ROOT / "docs/command-line.md").read_text(encoding="utf-8"))
WRITES = re.compile(r"\./lane( -.*| (up|smoke|suites)\b.*)")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def test_the_table_is_there():
    assert len(ROWS) >= 15


@pytest.mark.parametrize(("typed", "said"), ROWS)
def test_a_wrong_usage_is_one_sentence(typed, said, lane):
    lane.artifacts.mkdir(exist_ok=True)
    (lane.artifacts / "result.json").write_text("green")
    writes = bool(WRITES.fullmatch(typed))
    mine = ["-e", f"lane_artifacts_dir={lane.artifacts} lane_dir={lane.dir}"] if writes else []
    mine += ["-e", f"lane_id={lane.id}"] if writes and "lane_id" not in typed else []
    words = typed.split()
    command = [*words[:1], *mine, *words[1:]] if words[-1] == "-e" else [*words, *mine]
    ran = run(command)
    line = (ran.stdout if said.startswith("LANE") else ran.stderr).rstrip().splitlines()[-1]
    assert ran.returncode == 2
    assert line == said or (said.endswith("...") and line.startswith(said.removesuffix("..."))), ran
    assert "Traceback" not in ran.stderr
    assert not lane.dir.exists() and lane.marked() == []
    kept = (lane.artifacts / "result.json").read_text() if (lane.artifacts / "result.json").exists() else ""
    if "lane_id=07" in typed:  # there is no such lane to write for
        return
    assert (kept == "green") != writes
    if writes:
        blame = lane.result["blame"]
        assert (lane.result["verdict"], f"LANE FAIL {blame['component']}: {blame['cause']}") == ("error", line)


def test_a_refused_command_is_json_too(lane):
    command = ["./lane", "--json", "-e", f"lane_artifacts_dir={lane.artifacts} lane_id={lane.id} lane_gest=x"]
    ran = run(command)
    assert json.loads(ran.stdout)["blame"]["code"] == "bad_input"
    assert ran.stderr.startswith("LANE FAIL environment: there is no variable lane_gest")
