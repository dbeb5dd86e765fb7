"""`./lane bench`: time warm lanes against the bare shell lane, in turn. docs/performance.md has the last table."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools import arguments

MEASURE = ROOT / "tools/measure.py"
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- written by ./lane bench -->\n", "<!-- end -->\n"
RUNS = {"lane": "`./lane`", "plain": "`ansible-playbook playbooks/lane.yml`", "shell": "shell lane"}
#: What is divided by what (medians of RUNS), and the goal: at most this.
RATIOS = (("lane", "shell", 0.9), ("plain", "shell", 1.3))
MEMORY_GOAL = 450  #: MB (PSS) of all processes with the lane's mark
SCALE_GOAL = 1.1  #: wall / (lanes x CPU seconds of one / processors)


class Bench:
    """Runs commands on one lane id, each measured by a process of its own."""

    def __init__(self, lane_id: int, scratch: Path) -> None:
        self.lane_id = lane_id
        self.scratch = scratch
        places = ["-e", f"lane_id={lane_id}", "-e", f"lane_artifacts_dir={scratch}/artifacts"]
        self.options = ["-e", "lane_guest=pocket", *places]
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def measure(self, *command: str, memory: bool = False, outlive: float = 15) -> dict[str, Any]:
        """What measure.py found out about the command, with its output in `text`. A failed command ends the bench."""
        result = self.scratch / "result.json"
        how = [*(["--memory"] if memory else []), "--outlive", str(outlive)]
        measure = [sys.executable, str(MEASURE), str(result), *how, "--", *command]
        done = subprocess.run(
            measure, check=False, env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"status": done.returncode}
        if found["status"] != 0:
            what = f"{' '.join(command[:3])} failed with status {found['status']}"
            raise SystemExit(f"bench: {what}:\n{(done.stdout + done.stderr)[-3000:]}")
        result.unlink()
        return {**found, "text": done.stdout}

    def lane(self, **how: Any) -> dict[str, Any]:
        """Run a full `./lane`."""
        found = self.measure(str(ROOT / "lane"), *self.options, **how)
        if found["killed"] or not found["text"].strip().splitlines()[-1].startswith("LANE PASS"):
            raise SystemExit(f"bench: the lane failed or left processes running:\n{found['text'][-3000:]}")
        return found

    def plain(self) -> dict[str, Any]:
        """Run ansible-playbook without the script."""
        return self.measure(str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/lane.yml", *self.options)

    def handover(self) -> dict[str, Any]:
        """Start the lane, and take it down again; returns what the roles hand over, by name."""
        subprocess.run([ROOT / "lane", "up", *self.options], env=self.env, check=True, capture_output=True)
        try:
            handed = Path(f"/tmp/kerbside-lane-{self.lane_id}/handover").iterdir()
            return {path.stem: json.loads(path.read_text()) for path in handed}
        finally:
            subprocess.run([ROOT / "lane", "down", *self.options], env=self.env, check=True, capture_output=True)

    def shell(self, script: Path, hands: dict[str, Any]) -> list[str]:
        """The shell lane's command, on the same guest and the same programs as the lane."""
        guest, venv = hands["guest"], str(Path(hands["kerbside"]["bin"]).parent)
        what = ["--kerbside-venv", venv, "--ryll", hands["ryll"]["path"]]
        what += ["--image", guest["path"], "--banner", guest["banner"], "--agent"]
        where = ["--accel", hands["accel"]["chosen"], "--workdir", str(self.scratch / "shell-lane")]
        command = ["bash", str(script), *what, *where]
        if os.geteuid() or any(line.startswith("mysql:") for line in Path("/etc/passwd").read_text().splitlines()):
            return command
        passwd = self.scratch / "passwd"  # run by root it needs a user mysql, which only it sees
        passwd.write_text(Path("/etc/passwd").read_text() + "mysql:x:65533:65533::/nonexistent:/usr/sbin/nologin\n")
        return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(passwd), *command]


def summary(values: list[float]) -> dict[str, Any]:
    """{"median", "low", "high", "values"}, in seconds."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {**{name: round(value, 2) for name, value in found.items()}, "values": values}


def bench(asked: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All figures, as the JSON file has them."""
    one = Bench(asked.lane_id, scratch)
    one.lane()  # fills the caches
    hands = one.handover()
    runs: dict[str, Callable[[], dict[str, Any]]] = {"lane": one.lane, "plain": one.plain}
    if asked.shell_lane.exists():
        shell = one.shell(asked.shell_lane, hands)
        runs["shell"] = lambda: one.measure(*shell, outlive=1)
    else:
        print(f"bench: there is no shell lane {asked.shell_lane} to compare with", flush=True)
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for number in range(asked.rounds):
        for name, run in runs.items():
            measured[name].append(run())
            shutil.rmtree(scratch / "shell-lane", ignore_errors=True)
        times = ", ".join(f"{name} {found[-1]['wall']:.2f} s" for name, found in measured.items())
        print(f"round {number + 1}: {times}", flush=True)
    machine = {"processors": os.cpu_count(), "python": platform.python_version(), "date": f"{datetime.date.today()}"}
    figures: dict[str, Any] = {
        "machine": machine,
        "seconds": {name: summary([one["wall"] for one in found]) for name, found in measured.items()},
        "cpu": {name: summary([one["cpu"] for one in found]) for name, found in measured.items()},
        "memory": {key: found for key, found in one.lane(memory=True).items() if key.endswith("_kib")},
    }
    figures["scale"] = [scale(one, count, figures["cpu"]["lane"]["median"]) for count in asked.lanes]
    return figures


def scale(one: Bench, count: int, cpu_of_one: float) -> dict[str, Any]:
    """Run `count` lanes at once. ratio: wall / (lanes x CPU seconds of one / processors)."""
    own = f"{one.scratch}/{{{{ inventory_hostname }}}}"
    command = [str(ROOT / "lane"), "fleet", str(count), "--write", str(one.scratch / "fleet.yml")]
    command += one.options  # as the lane alone, which they are compared with; of one variable the last value counts
    command += ["-e", f"lane_artifacts_dir={own}", "-e", f"lane_summary_dir={one.scratch}/summary"]
    found = one.measure(*command)
    peak = one.measure(*command, memory=True)["all_kib"]
    ratio = found["wall"] / (count * cpu_of_one / (os.cpu_count() or 1))
    print(f"{count} lanes: {found['wall']:.1f} s, {found['cpu']:.1f} s of processors, {peak / 1024:.0f} MB", flush=True)
    return {"lanes": count, "wall": found["wall"], "cpu": found["cpu"], "all_kib": peak, "ratio": round(ratio, 2)}


def report(figures: dict[str, Any]) -> str:
    """The table as Markdown."""
    seconds, memory, machine = figures["seconds"], figures["memory"], figures["machine"]
    rounds = f"{len(seconds['lane']['values'])} rounds in turn."
    rows = [f"{machine['date']}, {machine['processors']} processors, Python {machine['python']}, {rounds}", ""]
    rows += ["| figure | measured | goal | |", "|---|---|---|---|"]

    def judged(what: str, value: float, goal: float, digits: int = 2) -> None:
        rows.append(f"| {what} | {value:.{digits}f} | at most {goal} | {'met' if value <= goal else 'not met'} |")

    for above, below, goal in RATIOS:
        if below in seconds:
            judged(f"{RUNS[above]} / {RUNS[below]}", seconds[above]["median"] / seconds[below]["median"], goal)
    judged("peak memory of a lane's programs (MB of PSS)", memory["programs_kib"] / 1024, MEMORY_GOAL, 0)
    for entry in figures["scale"]:
        what = f"{entry['lanes']} lanes at once: {entry['wall']:.1f} s / processor time of as many alone"
        judged(what, entry["ratio"], SCALE_GOAL)
    for name, found in seconds.items():
        wall = f"{found['median']:.2f} s ({found['low']:.2f} to {found['high']:.2f})"
        rows.append(f"| {RUNS[name]} | {wall}, {figures['cpu'][name]['median']:.1f} s of processors | | |")
    rows.append(f"| peak memory with Ansible and its workers | {memory['all_kib'] / 1024:.0f} MB | | |")
    return "\n".join([*rows, ""])


def main() -> None:
    """Entry point."""
    asked = arguments.of_program("bench")
    with tempfile.TemporaryDirectory(prefix="kb-", dir="/tmp") as scratch:
        os.chmod(scratch, 0o755)  # the shell lane's database user has to enter it
        figures = bench(asked, Path(scratch))
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    table = report(figures)
    print(f"\n{table}\nfigures in {asked.json}")
    if asked.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(head + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
