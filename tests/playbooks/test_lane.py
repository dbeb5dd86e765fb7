"""The lane as people use it, with the real products: green, in steps, twice, refused, red; and nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLANNED = ["hello", "status", "screenshot", "banner", "counters", "path", "frames"]
UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"


def left_over(lane) -> list[str]:
    """What is there of this lane: command lines of its processes, and its directory."""
    return lane.marked() + ([str(lane.dir)] if lane.dir.exists() else [])


def result(lane) -> dict:
    """The lane's result.json."""
    return json.loads((lane.artifacts / "result.json").read_text())


@pytest.mark.slow
def test_brought_up_checked_and_taken_down(run_playbook, lane):
    up = run_playbook("playbooks/lane.yml", "--tags", UP)
    assert up.rc == 0, up
    assert "LANE" not in up.text
    nobody_else_can_reach(lane)
    first = see_evidence_of_each_command(run_playbook, lane)
    refused = run_playbook("playbooks/lane.yml")
    assert refused.rc == 2
    assert re.search(
        rf"LANE FAIL lane: lane {lane.id} is already running in .* run {first['run_id']}: qemu \(pid \d+\)",
        refused.text,
    ), refused
    assert result(lane)["run_id"] == first["run_id"]

    again = run_playbook("playbooks/lane.yml", "--tags", UP)
    assert again.rc == 0, again
    assert again.changed == 0, [r["task"] for r in again.results() if r.get("changed")]

    down = run_playbook("playbooks/teardown.yml")
    assert down.rc == 0, down
    assert left_over(lane) == []
    clean = run_playbook("playbooks/teardown.yml")
    assert (clean.rc, clean.changed) == (0, 0), clean


def see_evidence_of_each_command(run_playbook, lane) -> dict:
    """What an earlier command saw is no evidence of the next: two smoke checks, one of them shortened, then none. Returns the first result."""
    found = []
    for checks in (PLANNED[:3], PLANNED):
        begun = time.time()
        smoke = run_playbook("playbooks/lane.yml", "--tags", "smoke,evidence", lane_checks=",".join(checks))
        assert smoke.rc == 0, smoke
        found.append(result(lane))
        assert 0 < found[-1]["seconds"] < time.time() - begun  # its own, not those since the lane was started
        assert found[-1]["verdict"] == "pass"
        assert [(check["name"], check["result"]) for check in found[-1]["checks"]] == [
            (name, "pass") for name in checks
        ]
        count = f"{len(checks)} of 7 checks, " + ("lane_checks was changed, " if len(checks) < 7 else "")
        assert smoke.text.splitlines()[-1].startswith(f"LANE PASS lane {lane.id}: {count}guest ")
    assert (lane.artifacts / "screenshot.png").exists()

    none = run_playbook("playbooks/lane.yml", "--tags", "evidence")
    assert none.rc == 2, none
    last = result(lane)
    assert (last["verdict"], last["blame"]["component"], last["blame"]["code"]) == ("error", "lane", "checks_not_run")
    assert {check["result"] for check in last["checks"]} == {"not run"}
    assert last["run_id"] == found[0]["run_id"] and last["command_id"] != found[1]["command_id"]
    assert not (lane.artifacts / "screenshot.png").exists()
    assert "There is no picture" in (lane.artifacts / "report.html").read_text()
    return found[0]


def nobody_else_can_reach(lane) -> None:
    """Files are this user's alone, listeners are on loopback."""
    for root, folders, names in os.walk(lane.dir):
        if Path(root).name == "db":
            folders.clear()
        assert os.stat(root).st_mode & 0o077 == 0, root
        for name in names:
            path = Path(root, name)
            assert path.is_socket() or "db" in path.parts or path.stat().st_mode & 0o077 == 0, path
    listeners = [
        line.split() for line in (Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()).splitlines()
    ]
    ports = [17900 + lane.id * 10 + n for n in range(5)]
    ours = [fields[1] for fields in listeners if fields[3:4] == ["0A"] and int(fields[1].split(":")[1], 16) in ports]
    assert ours and all(address.startswith("0100007F:") for address in ours)


@pytest.mark.slow
def test_a_ticket_that_is_not_qemus_is_red_and_leaves_nothing(run_playbook, lane, tmp_path):
    (tmp_path / "ticket").write_text("not qemu's")
    played = run_playbook("playbooks/lane.yml", kerbside_ticket_file=str(tmp_path / "ticket"))
    assert played.rc == 2
    verdict = result(lane)
    assert (verdict["verdict"], verdict["blame"]["phase"], verdict["blame"]["code"]) == (
        "fail",
        "smoke",
        "ticket_refused",
    )
    assert played.text.rstrip().splitlines()[-1].startswith(f"LANE FAIL {verdict['blame']['component']}: ")
    assert (lane.artifacts / "logs/daemon.log").exists()
    assert left_over(lane) == []


def test_an_unknown_guest_is_named_with_those_that_are_known(run_playbook, lane):
    played = run_playbook("playbooks/lane.yml", "--tags", "sextant_vm", lane_guest="nobody")
    assert played.rc == 2
    assert "LANE FAIL environment: there is no guest 'nobody' in guests.yml; it has pocket, uncalibrated" in played.text


@pytest.mark.slow
def test_guests_are_checked_one_after_the_other(run_playbook, lane):
    """On a lane that is up, too, on which the other guest runs; kerbside is started once."""
    up = run_playbook("playbooks/lane.yml", "--tags", UP)
    assert up.rc == 0, up
    order = ["uncalibrated", "pocket"]
    smoke = run_playbook("playbooks/lane.yml", "--tags", "smoke,evidence", lane_guest="", lane_guests=order)
    assert smoke.rc == 0, smoke
    assert (
        smoke.text.rstrip()
        .splitlines()[-1]
        .startswith(f"LANE PASS lane {lane.id}: 15 of 15 checks, guests {order[0]} and {order[1]} under")
    )
    planned = [("uncalibrated", name) for name in (*PLANNED, "digest")] + [("pocket", name) for name in PLANNED]
    assert [(c["guest"], c["name"], c["result"]) for c in result(lane)["checks"]] == [
        (guest, name, "pass") for guest, name in planned
    ]
    kept = {path.name for path in lane.artifacts.rglob("*")}
    assert kept >= {f"screenshot-{order[0]}.png", "screenshot.png", f"serial-{order[0]}.log", "serial.log"}


def test_a_guest_without_its_image_says_so(run_playbook, lane, tmp_path):
    catalogue = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text())
    (tmp_path / "guests.yml").write_text(json.dumps(catalogue))
    played = run_playbook("playbooks/lane.yml", "--tags", "sextant_vm", lane_guests_file=str(tmp_path / "guests.yml"))
    assert played.rc == 2
    assert re.search(r"LANE FAIL environment: the image of guest pocket at .+ is missing", played.text), played


def test_check_mode_touches_nothing(run_playbook, lane, tmp_path):
    played = run_playbook("playbooks/lane.yml", "--check", lane_cache_dir=str(tmp_path / "cache"))
    assert played.rc == 0, played
    assert left_over(lane) == []
    assert not (tmp_path / "cache").exists()
    assert not lane.artifacts.exists() or not list(lane.artifacts.iterdir())
    assert played.result("Provide ryll from its origin")["changed"]
    assert (
        played.result("Probe KVM by booting the firmware, and measure the machine's speed")["ansible_facts"][
            "lane_accel"
        ]["chosen"]
        == "tcg"
    )
