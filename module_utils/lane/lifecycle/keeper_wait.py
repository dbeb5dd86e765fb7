"""The part of the keeper that waits, as long as the lane is there: with few imports. lane.keeper is loaded when there is something to do."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from ..core import proc_stat


def main() -> None:
    """Run as a keeper: argv is the descriptor to say "ready" on, and the keeper.Order as JSON."""
    ready, order = int(sys.argv[1]), json.loads(sys.argv[2])
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # root may: the smallest process is the last to be killed for memory
            file.write("-900")
    except OSError:
        pass
    files = [_opened(order["timeline"]), _opened(order["ansible_log"])]  # their owners remove them when they are interrupted; open files stay readable
    cause, asked = wait(order, ready)
    if asked and not os.path.lexists(order["lane_dir"]):
        return  # teardown, which waits for this end: there is nothing to do that would need the imports

    from . import keeper

    keeper.act(order, cause, asked, *files)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return -1


def wait(order: dict[str, Any], ready: int) -> tuple[str, bool]:
    """Wait for the end of the run; (what ended it, whether that was SIGTERM)."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    names: dict[int, str] = {}
    gone = []
    for one in order["watched"]:
        words = f"{one['name']} (pid {one['pid']}) ended"
        try:
            descriptor = os.pidfd_open(one["pid"])
        except ProcessLookupError:
            gone.append(words)
            continue
        names[descriptor] = words
        poll.register(descriptor, select.POLLIN)
        if proc_stat.started(one["pid"]) != one["started"]:
            gone.append(words)
    os.write(ready, b"ready")
    os.close(ready)
    if gone:
        return gone[0], False
    while True:
        patience = None if order["watched"] else _lease_left(order)
        if patience is not None and patience <= 0:
            return f"its lease of {order['lease']:g} s was over", False
        events = poll.poll(None if patience is None else patience * 1000 + 1)
        ends = [names[descriptor] for descriptor, _ in events if descriptor in names]
        if ends:
            return ends[0], False
        if events:
            return "its keeper was told to end (SIGTERM)", True


def _lease_left(order: dict[str, Any]) -> float:
    """Seconds. A lease counts from the last command that used the lane, which touches run.json; before that is there, from the start of the run."""
    try:
        used = os.stat(os.path.join(order["lane_dir"], "run.json")).st_mtime
    except OSError:
        used = order["started"]
    return float(used + order["lease"] - time.time())
