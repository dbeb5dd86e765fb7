"""What the README's "Change the guest" says: the guest's banner is changed on purpose, the lane is red for just that, and green once guests.yml says so too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.prepare import guest_build

ROOT = Path(__file__).parents[2]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_a_changed_banner_is_red_until_it_is_promised(lane: Any, tmp_path: Path) -> None:
    fixtures = tmp_path / "fixtures"
    shutil.copytree(ROOT / "fixtures", fixtures)
    guests = fixtures / "guests.yml"
    change(fixtures / "pocket-sextant/main.zig", '"pocket-sextant 1.0"', '"pocket-sextant 2.0"')
    mine = {"lane_guests_file": str(guests)}
    built = lane.run("playbooks/rebuild_guest.yml", **mine, rebuild_guest_source=str(fixtures / "pocket-sextant"))
    assert built.rc == 0, built
    assert (
        built.result("Say what to commit")["msg"]
        == f"Commit {fixtures}/pocket.qcow2 and {guests} together with the source."
    )
    assert guest_build.image_digest(fixtures / "pocket.qcow2") != guest_build.image_digest(
        ROOT / "fixtures/pocket.qcow2"
    )

    red = lane.run("playbooks/lane.yml", **mine, lane_keep="on_failure", lane_boot_limit=10)
    last = red.text.splitlines()[-1]
    assert last.startswith("LANE FAIL guest: ") and "it says 'pocket-sextant 2.0: ready'" in last, red
    found = json.loads((lane.artifacts / "result.json").read_text(encoding="utf-8"))
    assert found["blame"]["code"] == "guest_other_banner"
    checks = {check["name"]: check["result"] for check in found["checks"]}
    assert [name for name, result in checks.items() if result != "pass"] == ["banner"]
    assert "pocket-sextant 2.0: ready" in (lane.artifacts / "report.html").read_text(encoding="utf-8")

    change(guests, "pocket-sextant 1.0: ready", "pocket-sextant 2.0: ready")
    green = lane.run("playbooks/lane.yml", "--tags", "sextant_vm,smoke,evidence", **mine)
    assert green.text.splitlines()[-1].startswith(f"LANE PASS lane {lane.id}: 7 of 7 checks"), green
