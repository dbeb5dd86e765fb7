"""The part of the keeper that waits as long as the lane runs.

It imports little; keeper_end is imported when there is something to do.
"""

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
    """Run as a keeper: argv is the descriptor for "ready", and the run_state.Order as JSON."""
    ready, order = int(sys.argv[1]), json.loads(sys.argv[2])
    try:
        # only root may: when memory runs out, the kernel kills the keeper last
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-900")
    except OSError:
        pass
    # removed by their owners on an interrupt; open files stay readable
    files = [_opened(order["timeline"]), _opened(order["ansible_log"])]
    cause, asked = wait(order, ready)
    if asked and not os.path.lexists(order["lane_dir"]):
        return  # teardown sent it and waits for this end: nothing to do, so nothing to import

    from . import keeper_end

    keeper_end.act(order, cause, asked, *files)


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
        words = f"{one['name']} (pid {one['pid']}) was killed or ended"
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
    beat, since = order["heartbeat"], time.monotonic()
    beaten = _changed(order, "heartbeat")
    while True:
        left = None if order["watched"] else _lease_left(order)
        if left is not None and left <= 0:
            return f"its lease of {order['lease']:g} s was over", False
        if beat:
            if (now := _changed(order, "heartbeat")) != beaten:
                beaten, since = now, time.monotonic()
            if time.monotonic() - since >= beat:
                words = "ansible-playbook on the other machine ended or lost its connection"
                return f"{words} (no heartbeat for {beat:g} s)", False
            left = beat / 8
        events = poll.poll(None if left is None else left * 1000 + 1)
        ends = [names[descriptor] for descriptor, _ in events if descriptor in names]
        if ends:
            return ends[0], False
        if events:
            return "its keeper got SIGTERM, as from ./lane down", True


def _lease_left(order: dict[str, Any]) -> float:
    """Seconds, counted from the last use of the lane, which touches run.json, or from the start of the run."""
    used = _changed(order, "run.json") or order["started"]
    return float(used + order["lease"] - time.time())


def _changed(order: dict[str, Any], name: str) -> float:
    """When a file of the lane was last touched; 0 without it."""
    try:
        return os.stat(os.path.join(order["lane_dir"], name)).st_mtime
    except OSError:
        return 0.0
