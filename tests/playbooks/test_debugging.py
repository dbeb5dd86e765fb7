"""A failed lane that keeps running (lane_keep): examined with verbs, repaired by a role's tag, and stopped."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.protocols.ryll import pictures
from ansible.module_utils.lane.protocols.ryll.client import Client
from whole_lanes import ROOT

NOBODY = "00000000-0000-0000-0000-000000000000"


def verb(lane: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """`./lane VERB` of this lane."""
    command = [ROOT / "lane", *words, "-e", f"lane_id={lane.id}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.mark.slow
def test_a_red_lane_is_kept_looked_into_and_mended(lane):
    red = lane.run(
        "playbooks/lane.yml", lane_keep="on_failure", smoke_console_uuid=NOBODY, smoke_console_fetched="false"
    )
    assert red.rc == 2, red
    mine = f"-e lane_id={lane.id}"
    _, word, verdict = red.text.splitlines()[-3:]
    same = f"-e lane_guest=pocket {mine}"
    offered = [f"logs {mine}", f"shot {mine}", f"smoke {same}", f"--tags kerbside {same}", f"down {mine}"]
    assert word == f"lane {lane.id} keeps running: " + "; ".join(f"./lane {words}" for words in offered)
    assert verdict.startswith("LANE FAIL kerbside: ")

    whole = verb(lane, "status")
    assert whole.returncode == 0, whole
    assert "kept until" in whole.stdout and verdict in whole.stdout
    states = {line.split()[0]: line.split()[4] for line in whole.stdout.splitlines()[2:-1]}
    assert states == {"qemu": "ready", "database": "ready", "token": "done", "api": "ready", "daemon": "ready"}
    see_what_is_lost(lane)
    follower = see_logs(lane)
    see_picture(lane, "qemu itself (ryll is not running)")

    again = lane.good("playbooks/lane.yml", "--tags", "smoke,evidence")
    assert again.last.startswith(f"LANE PASS lane {lane.id}: ")
    see_picture(lane, "ryll, through kerbside")
    with Client(f"{lane.dir}/ryll.sock") as other:
        other.open("somebody else", time.monotonic() + 5)
        see_picture(lane, "qemu itself (ryll refused `hello` with busy)")
    started = [entry.name for entry in records.records(str(lane.dir)) if not entry.oneshot]
    down = lane.run("playbooks/teardown.yml")
    swtpm = ", swtpm" if shutil.which("swtpm") else ""
    assert started == ["qemu", "database", "api", "daemon", "ryll"]
    assert down.last == f"lane {lane.id} is down: ended {', '.join(reversed(started))}{swtpm}"
    followed, _ = follower.communicate(timeout=20)
    assert follower.returncode == 0
    assert "ryll " in followed and "kerbside_proxy::relay: relay starting" in followed
    for word in ("status", "shot"):
        gone = verb(lane, word)
        said = f"lane: lane {lane.id} is not running; start it with ./lane up {mine}\n"
        assert (gone.returncode, gone.stderr) == (2, said)
    assert lane.run("playbooks/teardown.yml").last == f"lane {lane.id} was not running"


def see_what_is_lost(lane: Any) -> None:
    """A program that is stopped is lost, and the exit status says so."""
    entry = records.record(str(lane.dir), "database")
    os.kill(entry.pid, signal.SIGSTOP)
    try:
        lost = verb(lane, "status")
    finally:
        os.kill(entry.pid, signal.SIGCONT)
    assert lost.returncode == 1
    assert "is stopped (state T" in lost.stdout


def see_picture(lane: Any, whose: str) -> None:
    """A picture of the whole screen, in the artifacts or where it is wanted, and whose it is."""
    taken = verb(lane, "shot")
    assert taken.returncode == 0, taken
    found = re.fullmatch(r"(\S+/shot-\d{6}\.png): (\d+)x(\d+), by (.+)\n", taken.stdout)
    assert found and found[4] == whose, taken
    file = Path(found[1])
    assert file.parent == lane.artifacts and file.stat().st_mode & 0o777 == 0o644
    assert pictures.one_colour(pictures.read("png", file.read_bytes(), int(found[2]), int(found[3]))) is None
    named = lane.scratch / "mine.png"
    assert verb(lane, "shot", str(named)).stdout.startswith(f"{named}: ")
    assert verb(lane, "shot", "/nowhere/x.png").stderr.startswith("lane: cannot write /nowhere/x.png: ")


def see_logs(lane: Any) -> subprocess.Popen[str]:
    """All parts on one clock, one part alone, an unknown one; returns one that follows."""
    usual = {"serial", "database", "api", "daemon", "proxy", "token"}
    assert usual <= {line.split()[0] for line in verb(lane, "logs").stdout.splitlines()}
    api = verb(lane, "logs", "api").stdout
    assert "Starting gunicorn" in api and "kerbside_proxy" not in api
    wrong = verb(lane, "logs", "nobody")
    assert wrong.returncode == 2
    said, _, parts = wrong.stderr.strip().partition("; use one of ")
    assert said == "lane: there is no part nobody"
    assert {"qemu", *usual} <= set(parts.split(", "))
    command = [ROOT / "lane", "logs", "-f", "-e", f"lane_id={lane.id}"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert proc.read(follower.pid)
    return follower
