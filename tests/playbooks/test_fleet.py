"""Lanes side by side: three at once, a fleet that is killed, a matrix, two that fill one cache."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from lane_numbers import lane_ids
from whole_lanes import CACHE, POCKET, ROOT, Started, Surroundings, children, kill_worker, surroundings

pytestmark = pytest.mark.slow
COUNT = 3  #: more than the machines of the tests have processors


def ps(ids: list[int]) -> dict[int, dict]:
    """What `./lane ps --json` says of these lanes."""
    done = subprocess.run([ROOT / "lane", "ps", "--json"], capture_output=True, text=True, check=True)
    return {lane["lane_id"]: lane for lane in json.loads(done.stdout) if lane["lane_id"] in ids}


def fleet_options(place: Surroundings) -> list[str]:
    """As place.options, with a directory and artifacts for each lane."""
    values = {
        "lane_id": place.id,
        "lane_dir": f"{place.base}/{{{{ lane_id }}}}",
        "lane_artifacts_dir": f"{place.base}/artifacts/lane-{{{{ lane_id }}}}",
        "lane_summary_dir": f"{place.base}/summary",
        "lane_cache_dir": CACHE,
    }
    given = [option for name, value in values.items() for option in ("-e", f"{name}={value}")]
    return ["--write", str(place.base / "fleet.yml"), *given, *POCKET]


def result(place: Surroundings, number: int) -> dict:
    """The result.json of a lane of the fleet."""
    return dict(json.loads((place.base / f"artifacts/lane-{number}/result.json").read_text()))


def summary(place: Surroundings) -> list[dict]:
    return list(json.loads((place.base / "summary/summary.json").read_text())["lanes"])


def size(lane: dict | None) -> tuple[int, int]:
    return (len(lane["ports"]), lane["memory"]) if lane else (0, 0)


def test_three_lanes_at_once_are_green_and_then_gone():
    with lane_ids(COUNT) as ids, surroundings(ids[0]) as place:
        command = [str(ROOT / "lane"), "fleet", str(COUNT), "--at-once", str(COUNT), *fleet_options(place)]
        run = Started(command, place.environment())
        most: dict[int, dict] = {}
        together = 0
        while run.process.poll() is None:
            up = ps(ids)
            together = max(together, len(up))
            most.update({number: lane for number, lane in up.items() if size(lane) > size(most.get(number))})
            assert run.process.poll() is not None or time.monotonic() - run.begun < 400, run.text
            time.sleep(1)
        assert run.wait(10) == 0, run.text
        assert together == COUNT
        for number in ids:
            first = 17900 + 10 * number
            assert set(most[number]["ports"]) <= set(range(first, first + 5))
            assert len(most[number]["ports"]) >= 4
            assert most[number]["processes"] >= 8
            assert 100 * 1024 < most[number]["memory"] < 1024 * 1024  # KiB
            assert re.fullmatch(r"run by ansible-playbook \(pid \d+\)", most[number]["state"])
            found = result(place, number)
            assert (found["verdict"], found["run_id"]) == ("pass", most[number]["run_id"])
            assert re.search(rf"^lane-{number}: PASS lane {number}: 7 of 7 checks, ", run.text, re.MULTILINE), run.text
        assert run.lines[-1] == f"LANE PASS {COUNT} of {COUNT} lanes"
        assert [row["verdict"] for row in summary(place)] == ["pass"] * COUNT
        for number in ids:
            assert Surroundings(number, place.base / "none").traces() == []
        assert place.traces() == []
        assert ps(ids) == {}


def test_a_fleet_that_is_killed_leaves_nothing():
    with lane_ids(2) as ids, surroundings(ids[0]) as place:
        run = Started([str(ROOT / "lane"), "fleet", "2", *fleet_options(place)], place.environment())
        run.until(lambda: all((place.base / str(number) / "qmp.sock").exists() for number in ids))
        run.process.kill()
        run.process.wait()
        lanes = [place, *(Surroundings(number, place.base / "none") for number in ids)]
        assert [lane.seconds_until_gone()[1] for lane in lanes] == [[], [], []]
        for number in ids:
            assert not (place.base / str(number)).exists()
            found = result(place, number)
            assert (found["verdict"], found["blame"]["component"]) == ("error", "lane")


def test_a_killed_worker_of_ansible_ends_a_fleet():
    with lane_ids(2) as ids, surroundings(ids[0]) as place:
        run = Started([str(ROOT / "lane"), "fleet", "2", *fleet_options(place)], place.environment())
        run.until(lambda: all((place.base / str(number) / "qmp.sock").exists() for number in ids))
        (playbook,) = children(run.process.pid)
        kill_worker(run, playbook)
        assert run.wait(120) == 2, run.text
        lanes = [place, *(Surroundings(number, place.base / "none") for number in ids)]
        assert [lane.seconds_until_gone()[1] for lane in lanes] == [[], [], []]
        codes = [(result(place, number)["blame"] or {"code": ""})["code"] for number in ids]
        assert set(codes) <= {"worker_killed", "aborted", ""}, run.text  # aborted is the keeper's word
        assert any(codes), run.text  # the other lane may have passed meanwhile
        assert run.lines[-1].startswith("LANE FAIL host: "), run.text


def test_a_matrix_of_two_lanes(tmp_path):
    """One is green, one has a ryll that cannot be had."""
    (tmp_path / "matrix.yml").write_text("axes: {ryll: [0.3.0, ./none], guest: pocket}\n")
    with lane_ids(2) as ids, surroundings(ids[0]) as place:
        command = [str(ROOT / "lane"), "matrix", str(tmp_path / "matrix.yml"), *fleet_options(place)]
        run = Started(command, place.environment())
        assert run.wait(300) == 2, run.text
        lanes = summary(place)
        verdicts = {"ryll-0.3.0_guest-pocket": "pass", "ryll-none_guest-pocket": "error"}
        assert {row["lane"]: row["verdict"] for row in lanes} == verdicts, run.text
        assert lanes[1]["component"] == "environment" and "none" in lanes[1]["cause"]
        assert run.lines[-1].startswith("LANE FAIL 1 of 2 lanes: ryll-none_guest-pocket: environment: ")


def test_two_lanes_fill_one_cache_at_once(tmp_path):
    """The pinned ryll comes once: afterwards nobody needs an index."""
    with lane_ids(2) as ids, surroundings(ids[0]) as first, surroundings(ids[1]) as second:
        for place in (first, second):
            place.variables = ["-e", f"lane_cache_dir={tmp_path}/cache", "--tags", "ryll_build,teardown"]
        runs = [Started(place.playbook(), place.environment()) for place in (first, second)]
        for run in runs:
            assert run.wait(200) == 0, run.text[-3000:]
        (ryll,) = (tmp_path / "cache/programs").glob("ryll-*/ryll")
        said = subprocess.run([ryll, "--version"], capture_output=True, check=True, text=True).stdout
        assert said.startswith("ryll 0.3.0 ")

        def times() -> dict[Path, int]:
            return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}

        before = times()
        first.env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
        again = Started(first.playbook(), first.environment())
        assert again.wait(60) == 0, again.text
        assert times() == before
