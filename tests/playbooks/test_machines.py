"""Lanes on other machines over ssh (docs/many-machines.md): bare to green, evidence, faults, the controller's end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bare_trees import obstacle
from lane_numbers import lane_ids
from machines import Machine, machine
from whole_lanes import ROOT, SIGNALS, Started

pytestmark = pytest.mark.slow
PACKAGES = yaml.safe_load((ROOT / "roles/deps/vars/main.yml").read_text())["__deps_packages"]
NEEDS = ("qemu", "qemu_img", "spice", "firmware", "mariadbd", "mariadb", "venv", "libasound")
GONE = 30.0  #: seconds from the end of the controller until nothing of a lane is left on another machine
BUSY = 2  #: a busy machine


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """A bare Debian 12, used as root, and a Debian 13 with a lane's packages and a user who cannot become root."""
    if why := obstacle():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("keys")
    packages = tuple(name for need in NEEDS for name in PACKAGES["debian-13"][need])
    with machine("debian-12", folder) as bookworm, machine("debian-13", folder, "somebody", packages) as trixie:
        yield bookworm, trixie


class Command:
    """`./lane` over an inventory in a folder of its own, where all evidence goes."""

    def __init__(self, folder: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        self.inventory = folder / "hosts.yml"
        self.common = {"lane_guest": "pocket", "lane_summary_dir": f"{folder}/artifacts"}
        self.common["lane_artifacts_dir"] = f"{folder}/artifacts/{{{{ inventory_hostname }}}}"
        self.inventory.write_text(json.dumps({"lane": {"vars": self.common, "hosts": hosts}}))

    def start(self, *words: str) -> Started:
        foreign = ("ANSIBLE_", "LANE_", "KERBSIDE_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return Started([*SIGNALS, str(ROOT / "lane"), *words], kept)

    def over(self, *words: str) -> Started:
        """With the inventory."""
        return self.start(*words, "-i", str(self.inventory))

    def result(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "artifacts" / name / "result.json").read_text())
        return found


def until_gone(machines: dict[Machine, list[int]], limit: float) -> list[str]:
    """What is left of the lanes after at most `limit` seconds."""
    end = time.monotonic() + limit
    pairs = [(one, number) for one, numbers in machines.items() for number in numbers]
    while (left := [what for one, number in pairs for what in one.left(number)]) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def test_from_bare_to_green_and_down_with_all_evidence_here(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    bookworm, trixie = two
    with lane_ids(2) as (one, other):
        hosts = {"box-a": {"lane_id": one, **bookworm.host}, "box-b": {"lane_id": other, **trixie.host}}
        command = Command(tmp_path, hosts)

        def good(*words: str, limit: float = 300) -> Started:
            done = command.over(*words)
            assert done.wait(limit) == 0, done.text
            return done

        good("up", limit=900)
        listed = good("ps").text
        for box, number in (("box-a", one), ("box-b", other)):
            assert re.search(rf"(?m)^{box}:\n.*\n +{number} .* kept until ", listed), listed
        assert "pocket-sextant 1.0: ready" in good("logs", "serial", "--limit", "box-a").text
        good("shot")
        smoke = good("smoke")
        assert smoke.lines[-1] == "LANE PASS 2 of 2 lanes"
        words = f"box-a (127.0.0.1): PASS lane {one}: 7 of 7 checks, guest pocket"
        assert any(line.startswith(words) for line in smoke.lines), smoke.text
        for name, qemu in (("box-a", "7."), ("box-b", "10.")):
            result, folder = command.result(name), tmp_path / "artifacts" / name
            assert result["verdict"] == "pass" and result["versions"]["qemu"].startswith(qemu)
            assert (folder / "shot.png").read_bytes().startswith(b"\x89PNG")
            for file in "report.html junit.xml screenshot.png logs/ryll.log logs/ansible.log logs/tasks.json".split():
                assert (folder / file).stat().st_size > 0, file
        assert command.over("logs", "none").wait(60) == 2
        good("down")
        assert until_gone({bookworm: [one], trixie: [other]}, 0) == []
        assert command.over("shot").wait(60) == 2
        for place in two:
            assert list((place.tree.path / "tmp").iterdir()) == []


def test_a_red_and_a_lost_lane_stop_no_other(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    bookworm, trixie = two
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures", ignore=shutil.ignore_patterns("pocket-sextant"))
    guests = tmp_path / "fixtures/guests.yml"
    guests.write_text(guests.read_text().replace("pocket-sextant 1.0: ready", "never said"))
    with lane_ids(3) as (good, red, lost):
        mute = {"lane_id": red, "lane_guests_file": str(guests), "lane_boot_limit": 10}
        hosts = {"good": {"lane_id": good, **bookworm.host}, "mute": {**mute, **bookworm.host}}
        hosts["lost"] = {"lane_id": lost, **trixie.host}
        command = Command(tmp_path, hosts)
        run = command.over()
        while not (trixie.tree.path / f"tmp/kerbside-lane-{lost}/db.sock").exists():
            assert run.process.poll() is None and time.monotonic() - run.begun < 600, run.text
            time.sleep(0.1)
        trixie.stop_sshd()
        assert run.wait(900) == 1, run.text
        result = command.result("good")
        assert result["verdict"] == "pass" and result["phases"][-1]["name"] == "teardown", run.text
        assert not (bookworm.home / f".cache/kerbside-lane/evidence/lane-{good}").exists()  # it is all here
        blame = command.result("mute")["blame"]
        assert (blame["component"], command.result("mute")["verdict"]) == ("guest", "fail"), blame
        assert (tmp_path / "artifacts/mute/logs/serial.log").stat().st_size > 0
        result = command.result("lost")
        blame = result["blame"]
        assert (result["verdict"], blame["component"], blame["code"]) == ("error", "host", "host_unreachable")
        assert result["blame"]["phase"] == "kerbside" or result["blame"]["phase"] == "smoke"
        rows = json.loads((tmp_path / "artifacts/summary.json").read_text())["lanes"]
        lanes = {row["lane"].split()[0]: row for row in rows}
        assert {name: (row["verdict"], row["component"]) for name, row in lanes.items()} == {
            "good": ("pass", None),
            "mute": ("fail", "guest"),
            "lost": ("error", "host"),
        }
        assert (tmp_path / "artifacts/index.html").exists()
        assert run.lines[-1].startswith("LANE FAIL 2 of 3 lanes: mute (127.0.0.1): guest: "), run.lines[-1]
        assert "; lost (127.0.0.1): host: lost (127.0.0.1) cannot be reached: " in run.lines[-1]
        assert until_gone({bookworm: [good, red], trixie: [lost]}, BUSY * GONE) == []
        trixie.resume()


def test_a_lane_is_gone_soon_after_its_controller(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    bookworm, trixie = two
    with lane_ids(2) as (one, other):
        command = Command(tmp_path, {})
        given = tmp_path / "vars.json"
        given.write_text(json.dumps({**command.common, **bookworm.ssh}))
        machines = ",".join(f"{place.user}@127.0.0.1:{place.port}" for place in two)
        options = ["--write", str(tmp_path / "fleet.yml"), "-e", f"lane_id={one}", "-e", f"@{given}"]
        run = command.start("fleet", "2", "--hosts", machines, *options)
        sockets = [bookworm.tree.path / f"tmp/kerbside-lane-{one}/qmp.sock"]
        sockets += [trixie.tree.path / f"tmp/kerbside-lane-{other}/qmp.sock"]
        while not all(path.exists() for path in sockets):
            assert run.process.poll() is None and time.monotonic() - run.begun < 600, run.text
            time.sleep(0.1)
        (playbook, *_) = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
        os.kill(int(playbook), signal.SIGKILL)
        assert run.wait(60) == 2
        assert until_gone({bookworm: [one], trixie: [other]}, BUSY * GONE) == []
        kept = json.loads((trixie.home / f".cache/kerbside-lane/evidence/lane-{other}/result.json").read_text())
        assert (kept["verdict"], kept["blame"]["code"]) == ("error", "aborted")


def test_a_lane_that_is_taken_down_by_another_command_says_so(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    _, trixie = two
    with lane_ids(1) as (number,):
        command = Command(tmp_path, {"one": {"lane_id": number, **trixie.host}})
        run = command.over()
        while not (trixie.tree.path / f"tmp/kerbside-lane-{number}/db.sock").exists():
            assert run.process.poll() is None and time.monotonic() - run.begun < 600, run.text
            time.sleep(0.1)
        down = command.over("down")
        assert down.wait(120) == 0, down.text
        assert f"lane {number} is down: ended ansible-playbook on another machine" in down.text
        assert run.wait(120) == 2, run.text
        assert (tmp_path / "artifacts/one/result.json").exists(), run.text
        blame = command.result("one")["blame"]
        assert (blame["component"], blame["code"]) == ("lane", "aborted"), blame
        words = "LANE FAIL lane: the run was aborted: its keeper got SIGTERM, as from ./lane down"
        assert run.lines[-1].startswith(words), run.lines[-1]
        assert until_gone({trixie: [number]}, BUSY * GONE) == []
