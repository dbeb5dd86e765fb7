"""Whatever kills a full run, at whatever moment: all of the lane is gone in ten seconds, and strangers live on.

LANE_TEST_KILLS=N makes N kills (12 without it); they are spread evenly over the tasks and the time of a whole run, the
last ones over its teardown.
"""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from lane_numbers import lane_ids
from whole_lanes import CACHE, Started, Surroundings, kill_worker, surroundings

KILLS = int(os.environ.get("LANE_TEST_KILLS", "12"))
#: Whom each kill hits, and by which signal.
WAYS = [
    ("playbook", "KILL"),
    ("script", "KILL"),
    ("terminal", "HUP"),
    ("playbook", "TERM"),
    ("group", "INT"),
    ("script", "TERM"),
    ("group", "KILL"),
    ("playbook", "INT"),
    ("script", "HUP"),
    ("playbook", "HUP"),
    ("script", "INT"),
    ("group", "TERM"),
]


@dataclass
class Kill:
    """One kill: whom, by which signal, how many tasks had begun and how long ago the last of them."""

    whom: str
    signal: str
    task: int
    delay: float
    task_name: str = ""
    phase: str = ""
    seconds: float = 0.0
    left: tuple[str, ...] = ()


def whole_run(place: Surroundings) -> Started:
    """A run that nobody disturbs, to learn its tasks and their times."""
    run = Started(place.playbook(), place.environment())
    assert run.wait(240) == 0, run.text[-3000:]
    assert place.traces() == []
    return run


def moments(run: Started, count: int) -> list[tuple[int, float]]:
    """(task, seconds since it began), spread over the whole time of this run; the last fifth over its teardown."""
    tasks = run.tasks()
    down = next(at for line, at in zip(run.lines, run.times, strict=True) if line.startswith("TASK [teardown : Take"))
    at_end = max(count // 5, 1)
    early = [down * (i + 0.5) / (count - at_end) for i in range(count - at_end)]
    late = [down + (run.times[-1] - down) * (i + 0.2) / at_end for i in range(at_end)]
    found = []
    for at in early + late:
        begun = [t for t in tasks if t <= at]
        found.append((len(begun), at - (begun[-1] if begun else 0.0)))
    return found


def carry_out(kill: Kill, number: int) -> Kill:
    """Start a full run, kill it at the kill's moment, and look what is left and for how long."""
    with surroundings(number) as place:
        command = place.playbook() if kill.whom == "playbook" else place.script()
        run = Started(command, place.environment(), terminal=kill.whom == "terminal")
        if run.wait_for_task(kill.task, 240, place.ansible_log):
            time.sleep(kill.delay)
        names = re.findall(r"(?m)TASK \[(.*)\] \*+$", run.text + place.ansible_log())
        kill.task_name = names[-1] if names else ""
        pid, sent = run.process.pid, signal.Signals[f"SIG{kill.signal}"]
        if run.process.poll() is None:
            if kill.whom == "terminal":
                run.hang_up()
            elif kill.whom == "group":
                os.killpg(pid, sent)
            else:
                os.kill(pid, sent)
        watcher = threading.Thread(target=run.process.wait)  # reaps it
        watcher.start()
        kill.seconds, left = place.seconds_until_gone()
        watcher.join(5)
        claimed = any(name.startswith("Claim") for name in names[: kill.task - 1])  # and that task was over at the kill
        result = place.result if (place.artifacts / "result.json").exists() else {}
        if result:
            blame = result["blame"] or {}
            kill.phase = blame.get("phase", "after teardown")
            if result["verdict"] == "error" and blame.get("code") not in ("aborted", "owner_gone"):
                left.append(f"result.json blames {blame}")
            log = place.artifacts / "logs/ansible.log"
            said = log.read_text() if log.exists() else ""
            # owner_gone: the claim saw that the script was killed
            if kill.whom == "script" and blame.get("code") != "owner_gone" and "TASK [" not in said:
                left.append(f"no word of Ansible in the artifacts, but {blame}")
        elif claimed:
            left.append("no result.json")
        if not claimed or result.get("verdict") == "pass":
            # There was no lane yet, or none any more: what is left is Ansible's and the script's.
            script = str(place.base / "tmp/tmp.")
            left = [trace for trace in left if ".ansible/tmp" not in trace and not trace.startswith(script)]
        kill.left = tuple(left)
    return kill


def cached() -> set[str]:
    """What lanes share, whole and ready: others add to it, and hold locks in it, but nobody takes any of it away."""
    folders = ("accel", "databases", "deps", "ryll", "venvs")
    found = [path for folder in folders for path in CACHE.glob(f"{folder}/[!.]*")]
    return {str(path) for path in found if path.suffix != ".log"}


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_whenever_it_is_killed():
    before = cached()
    with lane_ids(3) as ids, surroundings(ids[2]) as strange, socket.socket() as listener:
        listener.bind(("127.0.0.1", 17900 + 10 * ids[0] + 9))  # beside the first lane's ports
        listener.listen()
        (strange.base / "kept").write_text("a stranger's")
        mark = {"KERBSIDE_LANE": f"{ids[2]}/somebody-else"}
        strangers = [subprocess.Popen(["sleep", "3600"], env=mark), subprocess.Popen(["sleep", "3600"])]
        try:
            run = whole_run(Surroundings(ids[0], strange.base))
            ways = itertools.cycle(WAYS)
            kills = [Kill(*next(ways), task, delay) for task, delay in moments(run, KILLS)]
            with ThreadPoolExecutor(2) as pool:
                halves = pool.map(lambda n: [carry_out(kill, ids[n]) for kill in kills[n::2]], (0, 1))
                done = [kill for half in halves for kill in half]
            assert all(s.poll() is None for s in strangers)
            assert listener.getsockname()[1] == 17900 + 10 * ids[0] + 9
        finally:
            for stranger in strangers:
                stranger.kill()
                stranger.wait()
    assert [kill for kill in done if kill.left] == []
    assert before <= cached()
    if KILLS >= 10:
        assert [kill for kill in done if "teardown" in kill.task_name]
        assert len({kill.phase for kill in done}) >= 5


def test_it_is_the_keeper_that_does_it(place):
    """Without its keeper, a killed run does leave a lane behind; the next start names it and clears it."""
    run = Started(place.playbook(), place.environment())
    run.until((place.dir / "qmp.sock").exists)
    record = json.loads((place.dir / "run.json").read_text())
    os.kill(record["held"]["keeper"]["pid"], signal.SIGKILL)
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    time.sleep(1)
    assert [p for p in place.programs() if "qemu-system" in p]
    again = Started(place.script("--tags", "tls"), place.environment())
    assert again.wait(60) == 0, again.text
    said = f"warning: lane {place.id}: removed what run {record['run_id']} had left: "
    assert again.lines[0].startswith(said) and "qemu" in again.lines[0], again.text
    assert not [p for p in place.programs() if "qemu-system" in p]
    assert json.loads((place.dir / "run.json").read_text())["run_id"] != record["run_id"]
    down = Started(place.playbook(name="teardown.yml"), place.environment())
    assert down.wait(60) == 0, down.text
    assert not place.programs()
    assert not place.dir.exists()


def test_a_killed_worker_of_ansible_ends_the_run(place):
    run = Started(place.playbook(), place.environment())
    run.until((place.dir / "run.json").exists)
    kill_worker(run, run.process.pid)
    assert run.wait(60) == 1, run.text
    assert place.seconds_until_gone()[1] == []
    assert place.result["blame"]["code"] == "aborted"


def test_down_stops_the_command_that_runs_the_lane_and_blames_no_part_of_it(place):
    run = Started(place.script("-v"), place.environment())
    run.until((place.dir / "db.sock").exists)  # most of the run is to come, however long ./lane down takes to start
    down = Started(place.script("down"), place.environment())
    assert down.wait(60) == 0, down.text
    assert f"lane {place.id} is down: ended ansible-playbook (pid " in down.text
    assert run.wait(30) == 2, run.text
    assert "LANE FAIL lane: ansible-playbook got SIGTERM, as from ./lane down" in run.text.splitlines()[-1]
    blame = place.result["blame"]
    assert (blame["component"], blame["code"]) == ("lane", "aborted")
    assert "./lane down" in blame["cause"]
    assert place.seconds_until_gone()[1] == []
