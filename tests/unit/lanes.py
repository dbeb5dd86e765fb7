"""A lane of the unit tests' own: a short private directory with a run in it, cleaned of its processes at the end."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.lane.core.private_dir import Run
from ansible.module_utils.lane.lifecycle import claim, proc
from ansible.module_utils.lane.programs import program, start, stop

#: A script that begins with it goes on when the test says so, however long its start takes on a busy machine.
HELD = "until [ -e released ]; do sleep 0.02; done; "


@dataclass
class TestLane:
    """lane_dir, its run, and the artifacts beside it."""

    __test__ = False
    dir: str
    artifacts: str
    run: Run

    def program(self, name: str, script: str, **more: object) -> program.Program:
        """A shell script as a program of this lane."""
        values = {"argv": ("/bin/sh", "-c", script), "log": f"{self.dir}/logs/{name}.log", "limit": 5.0, **more}
        return program.Program(**{"name": name, "component": "kerbside", **values})

    def start(self, *programs: program.Program, **more: bool) -> dict:
        """Start programs in it."""
        Path(self.dir, "released").unlink(missing_ok=True)
        return start.start(self.dir, self.run, list(programs), **more)

    def link(self, **sockets: str) -> None:
        """Have the sockets of peers stand for those of the lane's programs, by name: qmp, ryll."""
        for name, path in sockets.items():
            Path(self.dir, f"{name}.sock").unlink(missing_ok=True)
            Path(self.dir, f"{name}.sock").symlink_to(path)

    def release(self, after: float = 0.0) -> None:
        """Let the programs whose scripts begin with HELD go on, in `after` seconds."""
        timer = threading.Timer(after, Path(self.dir, "released").touch)
        timer.daemon = True
        timer.start()


def options(base: str, **more: object) -> claim.Options:
    """How a test lane is claimed."""
    place = {"lane_dir": f"{base}/l", "artifacts_dir": f"{base}/artifacts"}
    values = {"lane_id": 98, **place, "ports": {}, "fresh": True, **more}
    return claim.Options(**values)


@contextmanager
def claimed_lane() -> Iterator[TestLane]:
    """A claimed lane; whatever runs in it at the end is killed."""
    base = tempfile.mkdtemp(prefix="lt-", dir="/tmp")
    try:
        _, run = claim.claim(options(base))
        yield TestLane(f"{base}/l", f"{base}/artifacts", run)
    finally:
        if groups := {p.group for p in proc.marked(98)}:
            stop.end_groups(groups, signal.SIGKILL, 5)
        shutil.rmtree(base)
