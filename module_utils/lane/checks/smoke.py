"""The smoke check of one guest: what ryll sees (its steps), what is seen from outside, and that the agent was as
promised all the while.

ryll's connection stays open until the last check, subscribed to the events of the agent, so that an agent which comes
or goes in between is seen.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import check_report
from ..core.errors import LaneError
from ..programs import loss, records
from ..protocols.qmp import Qmp
from ..protocols.ryll import session
from ..protocols.ryll.client import Client
from ..protocols.ryll.replies import Status
from ..protocols.ryll.steps import Step
from . import outside_checks, second_look
from .outside_checks import Context

SUITE = "smoke"
PICTURES = ("screenshot.png", "screendump.png", "difference.png")
#: The check that the agent's last look belongs to.
AGENT_CHECK = "status"
AGENT_EVENT = "agent_connected"
#: Failures of a ryll that got nothing: it saw no surface, or ended.
NO_SESSION = ("ryll_unmet", "ryll_process")
DROPPED = "main channel dropped before SessionInitialized"
#: Failures by a picture that ryll or the proxy has spoiled.
SPOILED = ("picture_differs", "digest_crc_wrong")
#: Seconds for each answer after a failure; healthy programs answer within milliseconds.
QUERY_TIMEOUT = 1.0
#: Seconds until ryll has to know what qemu knows of the agent's port; it takes 4 ms.
AGENT_SETTLE = 0.5


@dataclass(frozen=True)
class Plan:
    """What to check. steps: those of ryll; outside: names of the checks from outside; agent: whether the guest promises
    one; session: None when there is no ryll to talk to, so that only what can be seen without waiting is checked.
    """

    agent: bool
    steps: list[Step]
    outside: list[str]
    session: session.Settings | None


def run(plan: Plan, context: Context) -> tuple[list[dict[str, Any]], LaneError | None, list[str]]:
    """Run every check, also after one has failed, then without waiting.

    Returns the entries of the checks from outside, the first failure, and notices.
    """
    names, failures, notices = list(plan.outside), [], []
    entries: list[dict[str, Any]] = []

    def check(some: list[str]) -> None:
        found, failure = outside_checks.run_checks(context, some)
        entries.extend(found)
        failures.extend([failure] if failure else [])

    def after_steps(client: Client) -> None:
        context.client = client
        check(names)
        if any(step.name == AGENT_CHECK for step in plan.steps):
            try:
                agent_kept(context, client, plan.agent)
            except LaneError as error:
                error.check = AGENT_CHECK
                failures.append(error)
                detail = outside_checks.failure(error)
                entries.append({"name": AGENT_CHECK, "result": "fail", "seconds": 0.0, "detail": detail})
        context.client = None

    # The open agent port shows that a guest has drawn its picture. One without an agent shows it by its banner only.
    if plan.session and not plan.agent and "banner" in names:
        names.remove("banner")
        check(["banner"])
    if plan.session and not failures:
        try:
            # ryll itself is watched by its pid
            with loss.watched(context.lane_dir, {"ryll"}) if plan.steps else nullcontext():
                played = session.run(plan.session, plan.steps, lambda stage: after_steps(stage.client))
            notices += played["notices"]
        except LaneError as error:
            notices += error.result.get("notices", [])
            failures.append(error)
    if left := [name for name in plan.outside if name not in [entry["name"] for entry in entries]]:
        context.wait, context.limit, context.client = False, QUERY_TIMEOUT, None
        check(left)
    failure = failures[0] if failures else None
    if failure:
        failure = looked_again(failure, context)
        for entry in entries:
            if entry["name"] == failure.check and entry["result"] == "fail":
                entry["detail"] = outside_checks.failure(failure)
    return entries, failure, notices


def looked_again(failure: LaneError, context: Context) -> LaneError:
    """The failure of a picture that is wrong or missing as whose it is, else as it was."""
    where = (context.lane_dir, context.run, "ryll", context.spice_port)
    if failure.code in SPOILED and failure.component == "ryll":
        return second_look.blame(failure, *where, lambda client: outside_checks.shows_the_truth(context, client))
    if failure.code in NO_SESSION and failure.component in ("ryll", "guest") and sees_nothing(context):
        return second_look.blame(failure, *where, lambda client: True, "session_dropped")
    return failure


def sees_nothing(context: Context) -> bool:
    """Whether ryll works and has no surface, or has ended because its session did not begin."""
    try:
        with Client(context.control_socket) as ryll:
            deadline = time.monotonic() + QUERY_TIMEOUT
            ryll.open("kerbside-lane", deadline)
            return not Status.read(ryll.request("status", {}, deadline)).surfaces
    except LaneError:
        entry = records.record(context.lane_dir, "ryll")
        return entry is not None and any(DROPPED in line for line in entry.log_lines())


def agent_kept(context: Context, client: Client, promised: bool) -> None:
    """Raise LaneError (guest, or ryll for what only ryll says) unless the agent was as promised since the session
    began, and still is.
    """
    client.drain()
    changes = [event.data.get("connected") for event in client.events.kept if event.name == AGENT_EVENT]
    if changes not in ([], [True]) if promised else changes:
        shown = ", ".join("connected" if change is True else "gone" for change in changes[-6:])
        problem = f"the guest's agent came and went during the check: {shown}"
        raise LaneError("agent_changed", "guest", problem, "look at logs/serial.log")
    if dropped := client.events.dropped_by_server:
        problem = f"ryll dropped {dropped} events, so that a change of the agent may have been missed"
        raise LaneError("agent_events_dropped", "ryll", problem, "look at logs/ryll.log")
    deadline = time.monotonic() + context.limit
    with Qmp.connect(context.qmp_socket, context.limit) as qmp:
        chardevs = qmp.execute("query-chardev")
    if promised not in [entry.get("frontend-open") for entry in chardevs if entry.get("label") == "vdagent"]:
        said = "closed on the guest's side" if promised else "open, though the guest promises no agent"
        problem = f"at the end of the check the agent's port is {said} (query-chardev)"
        raise LaneError("agent_changed", "guest", problem, "look at logs/serial.log")
    settled = time.monotonic() + AGENT_SETTLE
    while Status.read(client.request("status", {}, deadline)).agent_connected != promised:
        if time.monotonic() > settled:
            seen, port = ("no agent", "open") if promised else ("an agent", "closed")
            problem = f"at the end of the check ryll sees {seen}, though the guest has its port {port} (query-chardev)"
            raise LaneError("agent_not_seen", "ryll", problem, "look at logs/ryll.log")
        client.pump(time.monotonic() + 0.02)


def set_aside(lane_dir: str, guest: str, reports: list[Path]) -> None:
    """Give reports and pictures of another guest that this command has checked before names with that guest in them."""
    for file in reports:
        report = check_report.read(file)
        other = report.get("guest")
        if not other or other == guest or report.get("command_id") != check_report.command_id():
            continue
        files = []
        for name in report.get("files", []):
            picture = Path(lane_dir, name)
            mine = os.path.relpath(picture, lane_dir) in PICTURES
            files.append(check_report.picture(picture.stem, other) if mine else name)
            if mine and picture.exists():
                Path(lane_dir, "pictures").mkdir(mode=0o700, exist_ok=True)
                picture.replace(Path(lane_dir, files[-1]))
        check_report.write(file.with_name(f"{file.stem}-{other}.json"), report | {"files": files})
        file.unlink()
