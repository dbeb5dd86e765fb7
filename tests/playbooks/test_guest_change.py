"""The README's "Change the guest": with another banner the lane is red for just that, until guests.yml says so too."""

import shutil

import pytest
from ansible.module_utils.lane.prepare import guest_build
from prepared import change
from whole_lanes import ROOT


@pytest.mark.slow
def test_a_changed_banner_is_red_until_it_is_promised(lane, tmp_path):
    fixtures = tmp_path / "fixtures"
    shutil.copytree(ROOT / "fixtures", fixtures)
    guests = fixtures / "guests.yml"
    change(fixtures / "pocket-sextant/main.zig", '"pocket-sextant 1.0"', '"pocket-sextant 2.0"')
    mine = {"lane_guests_file": str(guests)}
    built = lane.good("playbooks/rebuild_guest.yml", **mine, rebuild_guest_source=str(fixtures / "pocket-sextant"))
    said = f"Commit {fixtures}/pocket.qcow2 and {guests} together with the source."
    assert built.result("Say what to commit")["msg"] == said
    new, old = (guest_build.image_digest(folder / "pocket.qcow2") for folder in (fixtures, ROOT / "fixtures"))
    assert new != old

    red = lane.run("playbooks/lane.yml", **mine, lane_keep="on_failure", lane_boot_limit=10)
    assert red.last.startswith("LANE FAIL guest: ") and "it says 'pocket-sextant 2.0: ready'" in red.last, red
    assert lane.result["blame"]["code"] == "guest_other_banner"
    assert [check["name"] for check in lane.result["checks"] if check["result"] != "pass"] == ["banner"]
    assert "pocket-sextant 2.0: ready" in (lane.artifacts / "report.html").read_text(encoding="utf-8")

    change(guests, "pocket-sextant 1.0: ready", "pocket-sextant 2.0: ready")
    green = lane.run("playbooks/lane.yml", "--tags", "sextant_vm,smoke,evidence", **mine)
    assert green.last.startswith(f"LANE PASS lane {lane.id}: 7 of 7 checks"), green
