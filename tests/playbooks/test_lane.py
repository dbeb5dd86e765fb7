"""The lane as people use it, with the real products: green, in steps, twice, refused, red; and nothing of it stays."""

import re
import time
from pathlib import Path

import pytest

PLANNED = ["hello", "status", "screenshot", "banner", "counters", "path", "frames"]
UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"


def left_over(lane) -> list[str]:
    """What is there of this lane: command lines of its processes, and its directory."""
    return lane.marked() + ([str(lane.dir)] if lane.dir.exists() else [])


@pytest.mark.slow
def test_brought_up_checked_and_taken_down(lane):
    up = lane.good("playbooks/lane.yml", "--tags", UP)
    assert "LANE" not in up.text and "WARNING" not in up.text, up
    assert not (lane.dir / "vars.fd").exists()  # nobody asked for a store of the firmware's variables
    nobody_else_can_reach(lane)
    first = see_evidence_of_each_command(lane)
    refused = lane.run("playbooks/lane.yml")
    assert refused.rc == 2
    said = rf"LANE FAIL lane: lane {lane.id} is already running in .* run {first['run_id']}: .*qemu \(pid \d+\)"
    assert re.search(said, refused.text), refused
    assert lane.result["run_id"] == first["run_id"]

    again = lane.good("playbooks/lane.yml", "--tags", UP)
    assert again.changed == 0, [r["task"] for r in again.results() if r.get("changed")]

    lane.good("playbooks/teardown.yml")
    assert left_over(lane) == []
    clean = lane.run("playbooks/teardown.yml")
    assert (clean.rc, clean.changed) == (0, 0), clean


def see_evidence_of_each_command(lane) -> dict:
    """What an earlier command saw is no evidence of the next. Returns the first result."""
    found = []
    both = [("uncalibrated", name) for name in (*PLANNED, "digest")] + [("pocket", name) for name in PLANNED]
    of_both = {"lane_guest": "", "lane_guests": ["uncalibrated", "pocket"]}
    for given, planned, said in (
        ({"lane_checks": PLANNED[:3]}, both[8:11], "3 of 7 checks, lane_checks was changed, guest pocket "),
        (of_both, both, "15 of 15 checks, guests uncalibrated and pocket under "),
    ):
        begun = time.time()
        smoke = lane.good("playbooks/lane.yml", "--tags", "smoke,evidence", **given)
        found.append(lane.result)
        assert 0 < found[-1]["seconds"] < time.time() - begun  # its own, not those since the lane was started
        assert found[-1]["verdict"] == "pass"
        checks = [(one["guest"], one["name"], one["result"]) for one in found[-1]["checks"]]
        assert checks == [(*check, "pass") for check in planned]
        assert smoke.last.startswith(f"LANE PASS lane {lane.id}: {said}")
    kept = {path.name for path in lane.artifacts.rglob("*")}
    assert kept >= {"screenshot-uncalibrated.png", "screenshot.png", "serial-uncalibrated.log", "serial.log"}

    none = lane.run("playbooks/lane.yml", "--tags", "evidence")
    assert none.rc == 2, none
    last = lane.result
    assert (last["verdict"], last["blame"]["component"], last["blame"]["code"]) == ("error", "lane", "checks_not_run")
    assert {check["result"] for check in last["checks"]} == {"not run"}
    assert last["run_id"] == found[0]["run_id"] and last["command_id"] != found[1]["command_id"]
    assert not (lane.artifacts / "screenshot.png").exists()
    assert "There is no picture" in (lane.artifacts / "report.html").read_text()
    return found[0]


def nobody_else_can_reach(lane) -> None:
    """Listeners are on loopback. tests/playbooks/test_neighbours.py looks at the files, with umask 000."""
    sockets = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listeners = [line.split() for line in sockets.splitlines()]
    ports = [17900 + lane.id * 10 + n for n in range(5)]
    ours = [fields[1] for fields in listeners if fields[3:4] == ["0A"] and int(fields[1].split(":")[1], 16) in ports]
    assert ours and all(address.startswith("0100007F:") for address in ours)


def test_check_mode_touches_nothing(lane, tmp_path):
    """Variables of the user's own are let through."""
    mine = {"my_colour": "blue", "ansible_remote_tmp": "/tmp"}
    played = lane.good("playbooks/lane.yml", "--check", lane_cache_dir=str(tmp_path / "cache"), **mine)
    assert left_over(lane) == []
    assert not (tmp_path / "cache").exists()
    assert not lane.artifacts.exists() or not list(lane.artifacts.iterdir())
    assert played.result("Provide ryll from its origin")["changed"]
    probed = played.result("Probe KVM by booting the firmware, and measure the machine's speed")
    assert probed["ansible_facts"]["lane_accel"]["chosen"] == "tcg"
