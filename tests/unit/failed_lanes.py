"""Stand-ins for the parts of a lane that has failed, for the tests of the diagnosis."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.lane.core.codes import CODES
from ansible.module_utils.lane.core.private_dir import hand_over
from ansible.module_utils.lane.evidence import diagnosis
from ansible.module_utils.lane.lifecycle import run_state
from ansible.module_utils.lane.programs import program, records
from ansible.module_utils.lane.programs.readiness import Ready
from control_peer import Peer, monitor
from lanes import TestLane

FOREVER = "exec sleep 60"


def stamp(seconds: float = 0.0) -> str:
    """The proxy's and ryll's time stamp, `seconds` from now."""
    at = time.time() + seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}Z"


def write(lane: TestLane, name: str, *lines: str) -> None:
    """Lines at the end of a program's log."""
    with open(f"{lane.dir}/logs/{name}.log", "a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


class Explained(NamedTuple):
    """The rule that decided, and the blame after it."""

    rule: str | None
    component: str
    code: str
    cause: str
    evidence: str


def explain(
    lane: TestLane, component: str = "ryll", check: str | None = "status", cause: str = "it failed", **more: Any
) -> Explained:
    """What the diagnosis makes of a failure that was reported like this."""
    blame = {"component": component, "check": check, "cause": cause, "phase": "smoke", "code": "check_failed"}
    found, notes = diagnosis.explain(lane.dir, {**blame, "evidence": None, **more})
    assert found["code"] in CODES
    assert notes["first"]["component"] == component
    return Explained(notes["rule"], found["component"], found["code"], found["cause"], found["evidence"])


@contextmanager
def complete(lane: TestLane, *others: program.Program, **answers: Any) -> Iterator[None]:
    """Stand-ins for all programs that a check needs, and others; answers: those of qemu's monitor."""
    hand_over(lane.dir, "guest", {"name": "pocket", "banner": "guest: ready"})
    with _qemu(lane, **answers):
        parts = {"database": "database", "api": "kerbside"}
        programs = [lane.program(name, FOREVER, component=part) for name, part in parts.items()]
        lane.start(*programs, _daemon(lane), *others)
        yield


@contextmanager
def _qemu(
    lane: TestLane, status: str = "running", agent: bool = True, port: int = 17914, connection: int = 0
) -> Iterator[None]:
    """A program named qemu, and a stand-in for qemu's monitor on the lane's socket."""
    lane.start(lane.program("qemu", FOREVER, component="qemu"))
    channels = [{"channel-type": 1, "connection-id": connection}] if connection else []
    answers = {
        "qmp_capabilities": {},
        "query-status": {"status": status, "running": status == "running"},
        "query-chardev": [{"label": "vdagent", "filename": "spicevmc", "frontend-open": agent}],
        "query-spice": {"enabled": True, "port": port, "channels": channels},
    }
    socket = Path(lane.dir, "qmp.sock")
    with Peer(monitor(lambda request: {"return": answers[request["execute"]]})) as peer:
        socket.symlink_to(peer.path)
        try:
            yield
        finally:
            socket.unlink()


def _daemon(lane: TestLane) -> program.Program:
    """A stand-in for kerbside's daemon, which has a child of the proxy's name."""
    shutil.copy("/bin/sleep", f"{lane.dir}/tmp/kerbside-proxy")
    return lane.program(
        "daemon",
        f"tmp/kerbside-proxy 60 & until grep -q kerbside /proc/$!/comm; do :; done; echo up; {FOREVER}",
        ready=Ready(log="up"),
    )


def ryll(lane: TestLane) -> program.Program:
    return lane.program("ryll", FOREVER, component="ryll")


def report(lane: TestLane, **checks: dict) -> None:
    """What the checks from outside reported."""
    entries = [{"name": name, "result": "fail", "seconds": 0.1, "detail": detail} for name, detail in checks.items()]
    Path(lane.dir, "logs/outside.json").write_text(json.dumps({"command_id": "1", "checks": entries}))


def kill(lane: TestLane, name: str) -> None:
    """End a program as `kill -9` does."""
    entry = records.record(lane.dir, name)
    os.kill(entry.pid, signal.SIGKILL)
    await_end(lane, name)


def await_end(lane: TestLane, name: str) -> None:
    entry = records.record(lane.dir, name)
    run_state.until(lambda: entry.exit_status(lane.dir) is not None, 10)
