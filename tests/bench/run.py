"""`./lane bench`: times warm lanes against the bare shell lane, in turn, and says where the time goes. docs/performance.md holds what it found."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MEASURE = Path(__file__).parent / "measure.py"
PAGE = ROOT / "docs/performance.md"
YARDSTICK = ROOT.parent / "shared/bench/shell-lane"
BEGIN, END = "<!-- written by ./lane bench -->\n", "<!-- end -->\n"
UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"
#: Modules whose task is to wait until the spine has done something; the others work.
WAITING = {"lane_process", "kerbside_console", "ryll_session", "spine_check"}
KEYWORDS = {"name", "when", "register", "tags", "vars", "loop", "environment", "become"}
#: figure, goal, and the two medians of which it is the ratio
RATIOS = (
    ("warm `./lane` / shell lane", 0.8, "lane", "shell"),
    ("plain `ansible-playbook playbooks/lane.yml` / shell lane", 1.3, "plain", "shell"),
    ("warm `./lane` / the guest's own boot to its banner, as the shell lane boots it", 1.3, "lane", "boot"),
)
MEMORY_GOAL = 450  # MB, all processes that carry the lane's mark
SCALE_GOAL = 1.1  # wall / (lanes x CPU seconds of one / processors)
#: $0 is the clone, $1 a folder for three environments, $2 ryll's requirement, the rest what kerbside's environment holds.
BARE = """
clone=$0 home=$1 ryll=$2
shift 2
for name in ansible ryll kerbside; do python3 -m venv "$home/$name"; done
"$home/ansible/bin/pip" install -q -r "$clone/requirements.txt"
"$home/ryll/bin/pip" install -q --no-deps "$ryll"
"$home/kerbside/bin/pip" install -q --no-deps "$@"
"""
COLD_GOAL = 1.15  # first `./lane` / bare installs of the same packages


class Bench:
    """Runs commands on one lane id, each measured by a process of its own."""

    def __init__(self, lane_id: int, scratch: Path) -> None:
        self.lane_id = lane_id
        self.scratch = scratch
        self.options = ["-e", f"lane_id={lane_id}", "-e", f"lane_artifacts_dir={scratch}/artifacts"]
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def measure(self, *command: str, memory: bool = False, outlive: float = 15, **env: str) -> dict[str, Any]:
        """What measure.py says of the command, with its output in `text`; ends the bench when it failed."""
        result = self.scratch / "result.json"
        asked = [sys.executable, str(MEASURE), str(result), *(["--memory"] if memory else []), "--outlive", str(outlive), "--", *command]
        done = subprocess.run(asked, env=self.env | env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"status": done.returncode}
        if found["status"] != 0:
            raise SystemExit(
                f"bench: expected {' '.join(command[:3])} to end well, but its status is {found['status']}:\n{(done.stdout + done.stderr)[-3000:]}"
            )
        result.unlink()
        return {**found, "text": done.stdout}

    def lane(self, **how: Any) -> dict[str, Any]:
        """A full `./lane`."""
        found = self.measure(str(ROOT / "lane"), *self.options, **how)
        if found["killed"] or not found["text"].strip().splitlines()[-1].startswith("LANE PASS"):
            raise SystemExit(f"bench: expected a green lane that leaves nothing, but it was:\n{found['text'][-3000:]}")
        return found

    def plain(self, *more: str, **env: str) -> dict[str, Any]:
        """ansible-playbook as a person without the script would type it."""
        return self.measure(str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/lane.yml", *self.options, *more, **env)

    def boot(self, *options: str) -> float:
        """Seconds from qemu's start to the guest's banner, with nothing else at work."""
        home = Path(f"/tmp/kerbside-lane-{self.lane_id}")
        subprocess.run([ROOT / "lane", "--tags", "kvm_probe,deps,sextant_vm", *self.options, *options], env=self.env, check=True, capture_output=True)
        try:
            banner = json.loads((home / "handover/guest.json").read_text())["banner"]
            began = json.loads((home / "processes/qemu.json").read_text())["started"]
            log = home / "logs/serial.log"
            while banner not in log.read_text(errors="replace"):
                if time.time() - began > 120:
                    raise SystemExit(f"bench: expected the guest's banner within 120 s, but {log} does not have it")
                time.sleep(0.01)
            return round(log.stat().st_mtime - began, 3)
        finally:
            self.down()

    def down(self) -> None:
        """Take the lane down."""
        subprocess.run([ROOT / "lane", "down", *self.options], env=self.env, check=True, capture_output=True)

    def handover(self) -> dict[str, Any]:
        """What the roles found, by name."""
        subprocess.run([ROOT / "lane", "up", *self.options], env=self.env, check=True, capture_output=True)
        try:
            return {path.stem: json.loads(path.read_text()) for path in Path(f"/tmp/kerbside-lane-{self.lane_id}/handover").iterdir()}
        finally:
            self.down()

    def shell(self, yardstick: Path, hands: dict[str, Any]) -> list[str]:
        """The shell lane's command, on the same guest and the same programs as the lane."""
        guest, venv = hands["guest"], str(Path(hands["kerbside"]["bin"]).parent)
        what = ["--kerbside-venv", venv, "--ryll", hands["ryll"]["path"], "--image", guest["path"], "--banner", guest["banner"], "--agent"]
        where = ["--accel", hands["accel"]["chosen"], "--workdir", str(self.scratch / "shell-lane")]
        return [*self.with_mysql_user(), "bash", str(yardstick), *what, *where]

    def with_mysql_user(self) -> list[str]:
        """The shell lane, when root runs it, wants a user mysql: one that only it sees, where the machine has none."""
        if os.geteuid() or any(line.startswith("mysql:") for line in Path("/etc/passwd").read_text().splitlines()):
            return []
        seen = self.scratch / "passwd"
        seen.write_text(Path("/etc/passwd").read_text() + "mysql:x:65533:65533::/nonexistent:/usr/sbin/nologin\n")
        return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(seen)]


def where_time_goes(events: list[dict[str, Any]], wall: float, began: float) -> dict[str, Any]:
    """From the events of one plain run: {"start", "end", "between" (Ansible's own), "waiting", "working", "tasks": [[name, seconds, module]], "phases"}.

    start is what passes before the first task, end after the last, between lies between one task's result and the next one's start.
    """

    def at(event: dict[str, Any]) -> float:
        return datetime.datetime.fromisoformat(event["_timestamp"]).timestamp() - began

    tasks: list[list[Any]] = []
    opened, closed = 0.0, None
    own = {"start": 0.0, "between": 0.0}
    for event in events:
        if event["_event"] == "v2_playbook_on_task_start":
            opened = at(event)
            own["start" if closed is None else "between"] += opened - (closed or 0.0)
            closed = opened
        elif event["_event"] in ("v2_runner_on_ok", "v2_runner_on_skipped"):
            closed = at(event)
            tasks.append([event["task"]["name"], round(closed - opened, 3), module_at(event["task"]["path"])])
    phases: dict[str, float] = {}
    for name, seconds, _ in tasks:
        role = name.partition(" : ")[0] if " : " in name else "lane.yml"
        phases[role] = round(phases.get(role, 0.0) + seconds, 3)
    waiting = sum(seconds for _, seconds, module in tasks if module in WAITING)
    working = sum(seconds for _, seconds, module in tasks) - waiting
    shares = {**own, "waiting": waiting, "working": working, "end": wall - (closed or 0.0)}
    return {**{name: round(value, 3) for name, value in shares.items()}, "tasks": tasks, "phases": phases}


def module_at(path: str) -> str:
    """The module of the task that begins at FILE:LINE."""
    file, _, line = path.rpartition(":")
    first, *rest = Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1 :]
    keys = re.compile(rf"^ {{{len(first) - len(first.lstrip()) + 2}}}([a-z_.]+):")
    found = (match.group(1) for text in rest if (match := keys.match(text)))
    return next(key for key in found if key not in KEYWORDS).rpartition(".")[2]


def tell(values: list[float]) -> dict[str, Any]:
    """{"median", "low", "high", "values"}, in seconds."""
    return {"median": round(statistics.median(values), 2), "low": round(min(values), 2), "high": round(max(values), 2), "values": values}


@contextmanager
def scratch_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    folder.chmod(0o755)  # the shell lane's database user goes through it
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def bench(asked: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All figures, as the JSON file has them."""
    one = Bench(asked.lane_id, scratch)
    yardstick = asked.shell_lane if asked.shell_lane.exists() else None
    if not yardstick:
        print(f"bench: no shell lane at {asked.shell_lane}, so there is nothing to compare with", flush=True)
    one.lane()  # fills the caches
    hands = one.handover()
    shell = one.shell(yardstick, hands) if yardstick else []
    walls: dict[str, list[float]] = {"lane": [], "shell": [], "plain": [], "boot": [], "sooner": []}
    cpu: dict[str, list[float]] = {"lane": [], "shell": [], "plain": []}
    for number in range(asked.rounds):
        for name, run in (("lane", one.lane), ("shell", lambda: one.measure(*shell, outlive=1)), ("plain", one.plain)):
            if name != "shell" or shell:
                found = run()
                walls[name].append(found["wall"])
                cpu[name].append(found["cpu"])
                shutil.rmtree(scratch / "shell-lane", ignore_errors=True)
        walls["boot"].append(one.boot("-e", "sextant_vm_swtpm="))
        walls["sooner"].append(one.boot())
        print(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.2f} s" for name, values in walls.items() if values), flush=True)
    figures: dict[str, Any] = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "date": datetime.date.today().isoformat()},
        "seconds": {name: tell(values) for name, values in walls.items() if values},
        "cpu": {name: tell(values) for name, values in cpu.items() if values},
    }
    began = time.time()
    events = one.plain(ANSIBLE_STDOUT_CALLBACK="ansible.posix.jsonl")
    lines = [json.loads(line) for line in events["text"].splitlines() if line.startswith("{")]
    figures["parts"] = where_time_goes(lines, events["wall"], began)
    figures["memory"] = {key: found for key, found in one.lane(memory=True).items() if key.endswith("_kib")}
    if asked.cold:
        figures["cold"] = cold(one, hands)
    figures["scale"] = [scale(one, count, figures["cpu"]["lane"]["median"]) for count in asked.lanes]
    return figures


def cold(one: Bench, hands: dict[str, Any]) -> dict[str, float]:
    """The first `./lane` of a fresh clone, and pip installing the same packages bare: {"lane", "bare"}, in seconds.

    Each has a home of its own, so that the lane's cache and pip's are empty. The Debian packages are there already for both.
    """
    clone, home = one.scratch / "clone", one.scratch / "home"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PIP_CACHE_DIR": str(home / ".cache/pip")}
    kerbside = [f"{name}=={version}" for name, version in hands["kerbside"]["versions"].items() if name not in ("pip", "setuptools")]
    bare = ["sh", "-euc", BARE, str(clone), str(home), f"ryll=={hands['ryll']['version']}", *kerbside]
    found = {}
    for name, command in (("lane", [str(clone / "lane"), *one.options]), ("bare", bare)):
        home.mkdir()
        found[name] = one.measure(*command, **env)["wall"]
        shutil.rmtree(home)
    shutil.rmtree(clone)
    print(f"cold: ./lane {found['lane']:.1f} s, bare pip {found['bare']:.1f} s", flush=True)
    return found


def scale(one: Bench, count: int, cpu_of_one: float) -> dict[str, Any]:
    """`count` lanes at once: {"lanes", "wall", "cpu", "all_kib", "ratio": wall / (lanes x CPU seconds of one / processors)}."""
    command = [str(ROOT / "lane"), "fleet", str(count), "-e", f"lane_id={one.lane_id}"]
    found = one.measure(*command, LANE_FLEET_DIR=str(one.scratch / "fleet"))
    with_memory = one.measure(*command, memory=True, LANE_FLEET_DIR=str(one.scratch / "fleet"))
    ratio = found["wall"] / (count * cpu_of_one / (os.cpu_count() or 1))
    print(f"{count} lanes: {found['wall']:.1f} s, {found['cpu']:.1f} s of processors, {with_memory['all_kib'] / 1024:.0f} MB", flush=True)
    return {"lanes": count, "wall": found["wall"], "cpu": found["cpu"], "all_kib": with_memory["all_kib"], "ratio": round(ratio, 2)}


def report(figures: dict[str, Any]) -> str:
    """The tables as Markdown."""
    seconds, parts, memory = figures["seconds"], figures["parts"], figures["memory"]
    machine = figures["machine"]
    rounds = len(seconds["lane"]["values"])
    rows = [f"{machine['date']}, {machine['processors']} processors, Python {machine['python']}, {rounds} rounds in turn.", ""]
    rows += ["| figure | goal | measured | |", "|---|---|---|---|"]
    for name, goal, above, below in RATIOS:
        if above in seconds and below in seconds:
            value = seconds[above]["median"] / seconds[below]["median"]
            rows.append(f"| {name} | at most {goal} | {value:.2f} | {'met' if value <= goal else 'not met'} |")
    peak, whole = memory["programs_kib"] / 1024, memory["all_kib"] / 1024
    rows.append(f"| peak memory of one lane's programs (PSS) | at most {MEMORY_GOAL} MB | {peak:.0f} MB | {'met' if peak <= MEMORY_GOAL else 'not met'} |")
    rows.append(f"| the same with Ansible and its workers | | {whole:.0f} MB | |")
    if "cold" in figures:
        value = figures["cold"]["lane"] / figures["cold"]["bare"]
        words = "cold `./lane` / bare pip installs of the same packages (the Debian packages were there)"
        rows.append(f"| {words} | at most {COLD_GOAL} | {value:.2f} | {'met' if value <= COLD_GOAL else 'not met'} |")
    rows += [
        f"| {entry['lanes']} lanes: wall / ({entry['lanes']} x CPU seconds of one / {machine['processors']}) | at most {SCALE_GOAL} | {entry['ratio']:.2f} "
        f"| {'met' if entry['ratio'] <= SCALE_GOAL else 'not met'} |"
        for entry in figures["scale"][-1:]
    ]
    rows += ["", "| run | median | lowest | highest | CPU |", "|---|---|---|---|---|"]
    words = {
        "lane": "`./lane`",
        "plain": "`ansible-playbook playbooks/lane.yml`",
        "shell": "shell lane",
        "boot": "the guest's boot alone, without a TPM",
        "sooner": "the guest's boot alone, as a lane boots it",
    }
    for name, found in seconds.items():
        used = f"{figures['cpu'][name]['median']:.1f} s" if name in figures["cpu"] else ""
        rows.append(f"| {words[name]} | {found['median']:.2f} s | {found['low']:.2f} s | {found['high']:.2f} s | {used} |")
    shares = ", ".join(f"{name} {parts[name]:.2f} s" for name in ("start", "between", "working", "waiting", "end"))
    rows += ["", f"One plain run: {shares} (start, between and end are Ansible's own).", "", "| phase | seconds |", "|---|---|"]
    rows += [f"| {name} | {value:.2f} |" for name, value in parts["phases"].items()]
    rows += ["", "| longest tasks | seconds | module |", "|---|---|---|"]
    rows += [f"| {name} | {value:.2f} | {module} |" for name, value, module in sorted(parts["tasks"], key=lambda task: -task[1])[:8]]
    if figures["scale"]:
        rows += ["", "| lanes at once | wall | CPU | memory |", "|---|---|---|---|"]
        rows += [f"| {entry['lanes']} | {entry['wall']:.1f} s | {entry['cpu']:.1f} s | {entry['all_kib'] / 1024:.0f} MB |" for entry in figures["scale"]]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="./lane bench", description="Times warm lanes against the bare shell lane and says where the time goes.")
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn (default: 5)")
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 2, 4, 8], help="numbers of lanes to run at once (default: 1 2 4 8)")
    parser.add_argument("--cold", action="store_true", help="the first run of a fresh clone, too (fetches everything twice)")
    parser.add_argument("--lane-id", type=int, default=43, help="the first of the ids that are used (default: 43)")
    parser.add_argument("--shell-lane", type=Path, default=YARDSTICK, help=f"the bare shell lane (default: {YARDSTICK})")
    parser.add_argument("--json", type=Path, default=ROOT / "artifacts/bench.json", help="where the figures go (default: artifacts/bench.json)")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}, too")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("expected at least one round")
    with scratch_folder() as scratch:
        figures = bench(asked, scratch)
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    told = report(figures)
    print(f"\n{told}\nfigures in {asked.json}")
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        PAGE.write_text(head + BEGIN + told + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
