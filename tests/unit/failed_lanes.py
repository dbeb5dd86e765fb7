"""Stand-ins for the parts of a lane that has failed, for the tests of the diagnosis."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.module_utils.lane.core.codes import CODES
from ansible.module_utils.lane.evidence import diagnosis
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


def explain(
    lane: TestLane, component: str = "ryll", check: str | None = "status", cause: str = "it failed", **more: Any
) -> tuple[dict, str | None]:
    """The blame after the diagnosis, and the rule that decided."""
    blame = {
        "component": component,
        "phase": "smoke",
        "check": check,
        "cause": cause,
        "evidence": None,
        "code": "check_failed",
        **more,
    }
    found, notes = diagnosis.explain(lane.dir, blame)
    assert found["code"] in CODES
    assert notes["first"]["component"] == component
    return found, notes["rule"]


@contextmanager
def qemu(
    lane: TestLane, status: str = "running", agent: bool = True, port: int = 17914, connection: int = 0
) -> Iterator[None]:
    """A stand-in for qemu that answers on the lane's QMP socket, and a program of that name."""
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


def daemon(lane: TestLane) -> program.Program:
    """A stand-in for kerbside's daemon, which has a child of the proxy's name."""
    shutil.copy("/bin/sleep", f"{lane.dir}/tmp/kerbside-proxy")
    return lane.program(
        "daemon",
        f"tmp/kerbside-proxy 60 & until grep -q kerbside /proc/$!/comm; do :; done; echo up; {FOREVER}",
        ready=Ready(log="up"),
    )


def whole(lane: TestLane, *others: program.Program) -> None:
    """Stand-ins for all programs that a check needs."""
    parts = {"database": "database", "api": "kerbside"}
    lane.start(*(lane.program(name, FOREVER, component=part) for name, part in parts.items()), daemon(lane), *others)


def ryll(lane: TestLane) -> program.Program:
    return lane.program("ryll", FOREVER, component="ryll")


def report(lane: TestLane, **checks: dict) -> None:
    entries = [{"name": name, "result": "fail", "seconds": 0.1, "detail": detail} for name, detail in checks.items()]
    Path(lane.dir, "logs/outside.json").write_text(json.dumps({"command_id": "1", "checks": entries}))


def await_end(lane: TestLane, name: str) -> None:
    entry = records.record(lane.dir, name)
    until = time.monotonic() + 10
    while entry and entry.exit_status(lane.dir) is None and time.monotonic() < until:
        time.sleep(0.02)
