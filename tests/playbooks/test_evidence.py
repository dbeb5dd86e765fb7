"""Evidence on a lane that is up: what an earlier command saw is no evidence of this one."""

from __future__ import annotations

import json
from typing import Any

import pytest

UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"


@pytest.mark.slow
def test_only_what_this_command_saw_counts(lane: Any) -> None:
    up = lane.run("playbooks/lane.yml", "--tags", UP)
    assert up.rc == 0, up
    smoke = lane.run("playbooks/lane.yml", "--tags", "smoke,evidence", lane_checks="hello,status,screenshot")
    assert smoke.rc == 0, smoke
    assert smoke.text.splitlines()[-1].startswith(f"LANE PASS lane {lane.id}: 3 of 7 checks, lane_checks was changed, guest ")
    first = json.loads((lane.artifacts / "result.json").read_text())
    assert {check["result"] for check in first["checks"]} == {"pass"}
    assert (lane.artifacts / "screenshot.png").exists()

    again = lane.run("playbooks/lane.yml", "--tags", "evidence")
    assert again.rc == 2, again
    result = json.loads((lane.artifacts / "result.json").read_text())
    assert (result["verdict"], result["blame"]["component"], result["blame"]["code"]) == ("error", "lane", "checks_not_run")
    assert {check["result"] for check in result["checks"]} == {"not run"}
    assert result["run_id"] == first["run_id"] and result["command_id"] != first["command_id"]
    assert not (lane.artifacts / "screenshot.png").exists()
    assert "There is no picture" in (lane.artifacts / "report.html").read_text()
