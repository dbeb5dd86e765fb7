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
def test_brought_up_checked_twice_and_taken_down(run_playbook, lane):
    up = run_playbook("playbooks/lane.yml", "--tags", UP)
    assert up.rc == 0, up
    assert "LANE" not in up.text
    for _ in range(2):
        begun = time.time()
        smoke = run_playbook("playbooks/lane.yml", "--tags", "smoke,evidence")
        assert smoke.rc == 0, smoke
        verdict = result(lane)
        assert 0 < verdict["seconds"] < time.time() - begun  # its own, not those since the lane was started
        assert verdict["verdict"] == "pass"
        assert [c["name"] for c in verdict["checks"]] == PLANNED
        assert {c["result"] for c in verdict["checks"]} == {"pass"}
    refused = run_playbook("playbooks/lane.yml")
    assert refused.rc == 2
    assert re.search(rf"LANE FAIL lane: lane {lane.id} is already running in .* run {verdict['run_id']}: qemu \(pid \d+\)", refused.text), refused
    assert result(lane)["run_id"] == verdict["run_id"]

    again = run_playbook("playbooks/lane.yml", "--tags", UP)
    assert again.rc == 0, again
    assert again.changed == 0, [r["task"] for r in again.results() if r.get("changed")]

    down = run_playbook("playbooks/teardown.yml")
    assert down.rc == 0, down
    assert left_over(lane) == []
    clean = run_playbook("playbooks/teardown.yml")
    assert (clean.rc, clean.changed) == (0, 0), clean


@pytest.mark.slow
def test_what_is_private_stays_private(run_playbook, lane):
    up = run_playbook("playbooks/lane.yml", "--tags", UP, "-vvv")
    assert up.rc == 0, up
    secrets = [p.read_text().strip() for p in (lane.dir / "secrets").iterdir() if p.suffix != ".sql"]
    assert len(secrets) >= 4
    commands = "\n".join(lane.marked())
    assert "qemu-system" in commands
    said = up.text + up.stderr + json.dumps(up.events) + commands
    assert not [s for s in secrets if s in said]
    for root, folders, names in os.walk(lane.dir):
        if Path(root).name == "db":
            folders.clear()
        assert os.stat(root).st_mode & 0o077 == 0, root
        for name in names:
            path = Path(root, name)
            assert path.is_socket() or "db" in path.parts or path.stat().st_mode & 0o077 == 0, path
    listeners = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    ports = [17900 + lane.id * 10 + n for n in range(5)]
    for line in listeners.splitlines():
        fields = line.split()
        if fields[3:4] == ["0A"] and int(fields[1].split(":")[1], 16) in ports:
            assert fields[1].startswith("0100007F:"), line


@pytest.mark.slow
def test_a_ticket_that_is_not_qemus_is_red_and_leaves_nothing(run_playbook, lane, tmp_path):
    (tmp_path / "ticket").write_text("not qemu's")
    played = run_playbook("playbooks/lane.yml", kerbside_ticket_file=str(tmp_path / "ticket"))
    assert played.rc == 2
    verdict = result(lane)
    assert verdict["verdict"] == "fail"
    assert verdict["blame"]["phase"] == "smoke"
    assert played.text.rstrip().splitlines()[-1].startswith(f"LANE FAIL {verdict['blame']['component']}: ")
    assert (lane.artifacts / "logs/daemon.log").exists()
    assert left_over(lane) == []


def test_an_unknown_guest_is_named_with_those_that_are_known(run_playbook, lane):
    played = run_playbook("playbooks/lane.yml", "--tags", "sextant_vm", lane_guest="nobody")
    assert played.rc == 2
    assert "LANE FAIL environment: there is no guest 'nobody' in guests.yml; it has pocket, uncalibrated" in played.text


@pytest.mark.slow
def test_guests_are_checked_one_after_the_other(run_playbook, lane):
    """On a lane that is up, too, on which another guest runs; kerbside is started once."""
    guests = {"lane_guest": "", "lane_guests": ["pocket", "uncalibrated"]}
    up = run_playbook("playbooks/lane.yml", "--tags", UP, **guests)
    assert up.rc == 0, up
    for order in (["pocket", "uncalibrated"], ["uncalibrated", "pocket"]):
        smoke = run_playbook("playbooks/lane.yml", "--tags", "smoke,evidence", **{**guests, "lane_guests": order})
        assert smoke.rc == 0, smoke
        assert smoke.text.rstrip().splitlines()[-1].startswith(f"LANE PASS lane {lane.id}: 15 of 15 checks, guests {order[0]} and {order[1]} under")
        checks = result(lane)["checks"]
        planned = [(guest, name) for guest in order for name in (*PLANNED, "digest") if (guest, name) != ("pocket", "digest")]
        assert [(c["guest"], c["name"]) for c in checks] == planned
        assert {c["result"] for c in checks} == {"pass"}
        kept = {path.name for path in lane.artifacts.rglob("*")}
        assert kept >= {f"screenshot-{order[0]}.png", "screenshot.png", f"serial-{order[0]}.log", "serial.log"}


def test_a_guest_without_its_image_says_so(run_playbook, lane, tmp_path):
    catalogue = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text())
    (tmp_path / "guests.yml").write_text(json.dumps(catalogue))
    played = run_playbook("playbooks/lane.yml", "--tags", "sextant_vm", lane_guests_file=str(tmp_path / "guests.yml"))
    assert played.rc == 2
    assert re.search(r"LANE FAIL environment: the image of guest pocket at .+ is missing", played.text), played


def test_check_mode_touches_nothing(run_playbook, lane):
    played = run_playbook("playbooks/lane.yml", "--check")
    assert played.rc == 0, played
    assert left_over(lane) == []
    assert not lane.artifacts.exists() or not list(lane.artifacts.iterdir())
