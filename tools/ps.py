"""Which lanes are up on this machine: `./lane ps`. Everything comes from /proc and from the run.json of the lanes' directories; nothing is changed."""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible.module_utils.lane.core.private_dir import MARK, RUN_FILE
from ansible.module_utils.lane.lifecycle import claim, proc
from ansible.module_utils.lane.lifecycle.keeper import KEEPER

ROW = "{:>4}  {:23}  {:>8}  {:>5}  {:>8}  {:30}  {}"


@dataclass(frozen=True)
class Up:
    """One run of a lane. age: seconds, or None when its directory is gone; ports: those that it listens on; memory: sum of PSS, in KiB; state: who holds it."""

    lane_id: int
    run_id: str
    dir: str
    age: float | None
    ports: list[int]
    processes: int
    memory: int
    state: str


def lanes() -> list[Up]:
    """Every run that has a live process of this user, by lane id."""
    runs: dict[str, list[proc.Process]] = {}
    for process in proc.everyone():
        mark = proc.environ(process.pid, MARK) if process.alive and proc.ours(process.pid) else None
        if mark and mark.partition("/")[0].isdigit():
            runs.setdefault(mark, []).append(process)
    found = [_up(mark, processes) for mark, processes in runs.items()]
    return sorted(found, key=lambda up: (up.lane_id, up.run_id))


def up(lane_id: int) -> Up | None:
    """The run of a lane that is up; None when there is none."""
    return next((one for one in lanes() if one.lane_id == lane_id and one.dir), None)


def add_lane_option(parser: argparse.ArgumentParser) -> None:
    """-e lane_id=N as for ansible-playbook; the number becomes `lane_id`."""
    parser.add_argument("-e", "--extra-vars", dest="lane_id", type=_number, default=0, metavar="lane_id=N", help="which lane (default: 0)")


def _number(text: str) -> int:
    found = re.fullmatch(r"lane_id=(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected -e lane_id=N, but it is {text}")
    return int(found[1])


def _up(mark: str, processes: list[proc.Process]) -> Up:
    lane_id, _, run_id = mark.partition("/")
    pids = [p.pid for p in processes]
    homes = {proc.environ(pid, "HOME") or "" for pid in pids}
    lane_dir = next((home for home in homes if Path(home, RUN_FILE).exists()), "")
    held = claim.holder(lane_dir) if lane_dir else None
    age = None
    if lane_dir:
        age = round(time.time() - json.loads(Path(lane_dir, RUN_FILE).read_text(encoding="utf-8"))["started"], 1)
    state = "left over" if not lane_dir or (held and not held.alive) else held.words if held else "nobody keeps it"
    if held and held.alive and not any(proc.environ(pid, KEEPER) for pid in pids):
        state += ", its keeper is gone"
    inodes = proc.socket_inodes(pids)
    ports = sorted({c.local[1] for c in proc.connections() if c.state == proc.LISTEN and c.inode in inodes})
    return Up(int(lane_id), run_id, lane_dir, age, ports, len(pids), sum(memory(pid) for pid in pids), state)


def memory(pid: int) -> int:
    """The proportional set size of a process in KiB (proc(5), smaps_rollup): memory that several share counts in parts. 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


def table(found: list[Up]) -> str:
    """For people."""
    if not found:
        return "no lane is up"
    rows = [ROW.format("lane", "run", "age", "procs", "memory", "ports", "state")]
    for up in found:
        ports = " ".join(map(str, up.ports)) or "none"
        age = "?" if up.age is None else f"{int(up.age) // 3600}:{int(up.age) // 60 % 60:02}:{int(up.age) % 60:02}"
        rows.append(ROW.format(up.lane_id, up.run_id, age, up.processes, f"{up.memory / 1024:.0f} MiB", ports, up.state))
    return "\n".join(rows)


def main() -> None:
    """Entry point of `./lane ps`."""
    parser = argparse.ArgumentParser(prog="./lane ps", description="Which of your lanes are up: id, run, age, processes, memory (PSS), ports, who holds it.")
    parser.add_argument("--json", action="store_true", help="as a list of objects")
    asked = parser.parse_args()
    found = lanes()
    print(json.dumps([asdict(up) for up in found], indent=1) if asked.json else table(found))


if __name__ == "__main__":
    main()
