"""`./lane fleet N`: run N full lanes, two per processor at a time: more at once take longer in the end.

Each is a `./lane` of its own; its output goes to artifacts/fleet/lane-ID.log, its last line to the terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools import ROOT

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Member:
    """One lane of the fleet."""

    lane_id: int
    log: Path
    process: subprocess.Popen[bytes]
    began: float
    seconds: float = 0.0

    @property
    def last_line(self) -> str:
        """Its verdict, or else the last line of its output."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        verdicts = [line for line in lines if line.startswith("LANE ")]
        return (verdicts or lines or ["no output"])[-1]


def run(command: list[str], ids: list[int], at_once: int, logs: Path) -> int:
    """Run the command with `-e lane_id=ID` once for each id, `at_once` of them at the same time; the worst of their exit statuses (0, 1 or 2).

    A signal to this process is passed on to each of them; if it is killed, their keepers take them down (LANE_SCRIPTS names this process too).
    """
    logs.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    members: list[Member] = []

    stopped: list[int] = []

    def pass_on(number: int, _: object) -> None:
        stopped.append(number)
        for member in members:
            if member.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.process.pid, number)

    for each in SIGNALS:
        signal.signal(each, pass_on)
    with selectors.DefaultSelector() as waiting:
        while len(members) < len(ids) or waiting.get_map():
            while not stopped and len(members) < len(ids) and len(waiting.get_map()) < at_once:
                lane_id = ids[len(members)]
                log = logs / f"lane-{lane_id}.log"
                with open(log, "wb") as out:
                    process = subprocess.Popen([*command, "-e", f"lane_id={lane_id}"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
                members.append(Member(lane_id, log, process, time.monotonic()))
                waiting.register(os.pidfd_open(process.pid), selectors.EVENT_READ, members[-1])
            if not waiting.get_map():
                break
            for key, _ in waiting.select():
                waiting.unregister(key.fileobj)
                os.close(key.fd)
                member: Member = key.data
                member.seconds = time.monotonic() - member.began
                print(f"lane {member.lane_id}: status {member.process.wait()}, {member.seconds:.1f} s: {member.last_line}", flush=True)
    statuses = [member.process.returncode for member in members]
    good = statuses.count(0)
    print(f"fleet: {good} of {len(ids)} lanes passed in {time.monotonic() - began:.1f} s; their output is in {logs}", flush=True)
    return max(status if status in (0, 1, 2) else 2 for status in [*statuses, 2 * bool(stopped)])


def main() -> None:
    """Entry point of `./lane fleet N [ansible-playbook options]`."""
    parser = argparse.ArgumentParser(prog="./lane fleet", description="Run N full lanes, from lane_id on. Exit status: the worst of theirs.")
    parser.add_argument("count", type=int, metavar="N")
    most = 2 * (os.cpu_count() or 1)
    parser.add_argument("--at-once", type=int, default=most, help=f"how many run at the same time (default: two per processor, here {most})")
    asked, options = parser.parse_known_args()
    first = 0
    for option in options:
        if found := re.fullmatch(r"(?:-e|--extra-vars=)?lane_id=(\d+)", option):
            first = int(found.group(1))
    if not 1 <= asked.count <= 100 - first:
        parser.error(f"lane ids go from {first} to 99, so N must be from 1 to {100 - first}, not {asked.count}")
    logs = Path(os.environ.get("LANE_FLEET_DIR") or ROOT / "artifacts" / "fleet")
    sys.exit(run([str(ROOT / "lane"), *options], list(range(first, first + asked.count)), max(asked.at_once, 1), logs))


if __name__ == "__main__":
    main()
