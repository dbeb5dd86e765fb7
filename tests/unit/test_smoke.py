"""The smoke check of one guest, with a qemu and a ryll of the tests."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.checks import outside_checks, second_look, smoke
from ansible.module_utils.lane.core import check_report
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.session import Settings
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import Connection, Peer, Ryll, monitor
from lanes import HELD, TestLane

ROOT = Path(__file__).parents[2]
Change = Callable[[Ryll, "Qemu", Connection], None]
STATUS = {"name": "status", "await": {"surfaces": 1}, "within": 1, "blame": "guest"}
SUBSCRIBED = [{"hello": {}}, {"subscribe": {"events": ["agent_connected", "dropped"]}}]
NO_SURFACES = [{"hello": {}}, {**STATUS, "await": {"surfaces": 2}, "within": 0.1}]


class Qemu:
    """qemu's monitor, as a handler for Peer: it knows whether the guest has the agent's port open."""

    def __init__(self, agent: bool) -> None:
        self.open = agent

    def __call__(self, connection: Connection) -> None:
        monitor(lambda request: {"return": self.ports()})(connection)

    def ports(self) -> list[dict[str, Any]]:
        ports = {"serial0": not self.open, "vdagent": self.open}
        return [{"label": name, "frontend-open": is_open} for name, is_open in ports.items()]


@pytest.fixture
def lane(lane: TestLane, monkeypatch: pytest.MonkeyPatch) -> TestLane:
    monkeypatch.setattr(outside_checks, "CHECKS", {name: lambda context: {} for name in ("banner", "path")})
    return lane


def context(lane: TestLane, **more: Any) -> outside_checks.Context:
    return outside_checks.Context(lane.dir, lane.run, "x", 1, 1, 2, 3, **more)


def check(
    lane: TestLane, agent: bool, change: Change | None = None, steps: Any = (*SUBSCRIBED, STATUS), **peer: Any
) -> Any:
    """Play the smoke check of a guest that promises an agent or none.

    change: what happens between the steps and the last look.
    """
    ryll, qemu = Ryll(), Qemu(agent)
    ryll.agent = agent
    vars(ryll).update(peer)
    seen: list[Connection] = []
    usual = ryll.on_subscribe
    vars(ryll)["on_subscribe"] = lambda c, r, p: (seen.append(c), usual(c, r, p))
    with Peer(qemu) as machine, Peer(ryll) as control:
        if change:
            outside_checks.CHECKS["path"] = lambda context: change(ryll, qemu, *seen[:1]) or {}
        lane.link(qmp=machine.path, ryll=control.path)
        where = context(lane, limit=5.0)
        planned = smoke.Plan(agent, plan(list(steps)), ["banner", "path"], Settings(control.path))
        return smoke.run(planned, where)


def fail(code: str, component: str) -> Any:
    raise LaneError(code, component, "it is wrong")


def events(*states: bool) -> Change:
    def tell(ryll: Ryll, qemu: Qemu, connection: Connection) -> None:
        for state in states:
            connection.event("agent_connected", connected=state)
        ryll.agent = qemu.open = states[-1]

    return tell


def silently(ryll: bool, qemu: bool) -> Change:
    def change(r: Ryll, q: Qemu, c: Connection) -> None:
        r.agent, q.open = ryll, qemu

    return change


def late(ryll: Ryll, qemu: Qemu, connection: Connection) -> None:
    ryll.agent = False
    Timer(0.1, lambda: setattr(ryll, "agent", True)).start()


@pytest.mark.parametrize(
    ("agent", "change"),
    # an agent that was open before the client came is reported once; ryll may see it a moment after the guest
    [(True, None), (False, None), (True, events(True)), (True, late)],
    ids=["agent", "no agent", "a late event", "a late ryll"],
)
def test_an_agent_that_stays_as_promised_passes(lane, agent, change):
    entries, failure, notices = check(lane, agent, change)
    assert (failure, notices) == (None, [])
    assert [(entry["name"], entry["result"]) for entry in entries] == [("banner", "pass"), ("path", "pass")]


def dropping(ryll: Ryll, qemu: Qemu, connection: Connection) -> None:
    connection.event("dropped", count=2)


SIX = ", ".join(["gone", "connected"] * 3)
WRONG: dict[str, tuple[bool, Change, str, str]] = {
    "the agent goes for good": (True, events(False), "agent_changed", "check: gone; look"),
    "the agent flaps": (True, events(*[False, True] * 4), "agent_changed", f"check: {SIX}; look"),
    "the agent comes twice": (True, events(True, True), "agent_changed", "check: connected, connected; look"),
    "an agent that nobody promised": (False, events(True), "agent_changed", "check: connected; look"),
    "an agent that comes and goes": (False, events(True, False), "agent_changed", "check: connected, gone; look"),
    "the port closes without an event": (True, silently(False, False), "agent_changed", "is closed on the guest's"),
    "the port opens without an event": (False, silently(True, True), "agent_changed", "is open, though"),
    "only ryll sees no agent": (True, silently(False, True), "agent_not_seen", "ryll sees no agent, though"),
    "only ryll sees an agent": (False, silently(True, False), "agent_not_seen", "ryll sees an agent, though"),
    "ryll drops events": (True, dropping, "agent_events_dropped", "ryll dropped 2 events"),
}


@pytest.mark.parametrize(("agent", "change", "code", "words"), WRONG.values(), ids=WRONG)
def test_an_agent_that_does_not_stay_as_promised_fails_the_check_status(lane, agent, change, code, words):
    entries, failure, _ = check(lane, agent, change)
    component = "guest" if code == "agent_changed" else "ryll"
    assert (failure.code, failure.component, failure.check) == (code, component, "status")
    assert words in failure.cause
    assert [entry["name"] for entry in entries] == ["banner", "path", "status"]
    assert (entries[-1]["result"], entries[-1]["seconds"], entries[-1]["detail"]["code"]) == ("fail", 0, code)


def test_without_the_check_status_the_agent_is_not_looked_at(lane):
    assert check(lane, True, events(False), SUBSCRIBED)[1] is None


def test_a_failed_step_lets_the_other_checks_be_made_without_waiting(lane):
    waits: list[tuple[bool, float]] = []
    for name in ("banner", "path"):
        outside_checks.CHECKS[name] = lambda context: waits.append((context.wait, context.limit)) or {}
    assert check(lane, True, steps=NO_SURFACES, on_hello=None)[1].code == "ryll_refused"
    entries, failure, _ = check(lane, True, steps=NO_SURFACES)
    assert (failure.code, failure.component, failure.check) == ("ryll_unmet", "guest", "status")
    assert [entry["name"] for entry in entries] == ["banner", "path"]
    assert waits == [(False, smoke.QUERY_TIMEOUT)] * 4


@pytest.mark.parametrize("agent", [True, False])
def test_a_guest_without_an_agent_has_to_show_its_banner_first(lane, agent):
    clients: list[object] = []
    outside_checks.CHECKS["banner"] = lambda context: fail("guest_no_banner", "guest")
    outside_checks.CHECKS["path"] = lambda context: clients.append(context.client) or {}
    entries, failure, _ = check(lane, agent)
    assert failure.code == "guest_no_banner"
    assert sorted((entry["name"], entry["result"]) for entry in entries) == [("banner", "fail"), ("path", "pass")]
    assert [client is not None for client in clients] == [agent]


def test_a_program_of_the_lane_that_is_lost_ends_the_steps(lane):
    lane.start(lane.program("api", f"{HELD}exit 3"))
    lane.release(0.3)
    failure = check(lane, True, steps=[NO_SURFACES[0], {**NO_SURFACES[1], "within": 20}])[1]
    assert (failure.code, failure.component) == ("program_ended", "kerbside")


#: (code, component) of a failure.
Failure = tuple[str, str]
DIFFERS, SESSION_DROPPED = ("picture_differs", "ryll"), ("session_dropped", "proxy")
#: A failure; whether ryll has a picture, or the end of its log when it has ended; whether the second ryll's picture is
#: right, look by look; and the failure after that look, None where there is no reason for one.
LOOKS: dict[str, tuple[Failure, bool | str | None, list[bool], Failure | None]] = {
    "a picture that is right without the proxy": (DIFFERS, True, [True], ("picture_differs", "proxy")),
    "and a moment later": (("digest_crc_wrong", "ryll"), True, [False, True], ("digest_crc_wrong", "proxy")),
    "a picture that is wrong without the proxy": (DIFFERS, True, [False], DIFFERS),
    "a picture that the guest draws": (("picture_differs", "guest"), True, [True], None),
    "another failure of ryll": (("picture_unstable", "ryll"), True, [True], None),
    "no surface": (("ryll_unmet", "guest"), False, [], SESSION_DROPPED),
    "no surface, blamed on ryll": (("ryll_unmet", "ryll"), False, [], SESSION_DROPPED),
    "no surface, blamed on another": (("ryll_unmet", "kerbside"), False, [], None),
    "another failure without a surface": (("ryll_refused", "ryll"), False, [], None),
    "a surface": (("ryll_unmet", "guest"), True, [], None),
    "ended before its session began": (("ryll_process", "ryll"), f"x\n{smoke.DROPPED}", [], SESSION_DROPPED),
    "ended otherwise": (("ryll_process", "ryll"), "x\ny", [], None),
    "never started": (("ryll_process", "ryll"), None, [], None),
}


@pytest.mark.parametrize(("failed", "shows", "right", "after"), LOOKS.values(), ids=LOOKS)
def test_what_the_same_ryll_shows_without_the_proxy_is_the_proxys_fault(lane, monkeypatch, failed, shows, right, after):
    looks, answers = [], list(right)
    monkeypatch.setattr(second_look, "direct", lambda *where: looks.append(where[2:]) or nullcontext("the second ryll"))
    monkeypatch.setattr(second_look, "SETTLE", 30 if True in right else 0.1)

    def truth(context: Any, client: Any) -> bool:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(outside_checks, "shows_the_truth", truth)
    ryll = Ryll()
    ryll.surfaces = shows is True
    if isinstance(shows, str):
        lane.start(lane.program("ryll", f"echo '{shows}'", oneshot=True))
    with Peer(ryll) as control:
        lane.link(ryll=control.path if isinstance(shows, bool) else f"{lane.dir}/none")
        where = context(lane)
        error = LaneError(*failed, "it is wrong", "look", check="frames", evidence="x.png")
        found = smoke.looked_again(error, where)
    assert (found.code, found.component) == (after or failed)
    assert (found.check, found.fix, found.evidence) == ("frames", "look", "x.png")
    assert found.problem.endswith("either") == (right == [False])
    assert looks == ([("ryll", 3)] if after else [])


def test_the_entry_of_the_first_failure_says_what_the_second_look_found(lane, monkeypatch):
    checks = {
        "banner": lambda context: {},
        "frames": lambda context: fail("picture_differs", "ryll"),
        "path": lambda context: fail("proxy_not_connected", "ryll"),
    }
    monkeypatch.setattr(outside_checks, "CHECKS", checks)
    monkeypatch.setattr(second_look, "direct", lambda *_: nullcontext())
    monkeypatch.setattr(outside_checks, "shows_the_truth", lambda context, client: True)
    planned = smoke.Plan(True, [], list(checks), None)
    entries, failure, _ = smoke.run(planned, context(lane))
    assert failure is not None and failure.component == "proxy"
    assert [entry["detail"].get("component") for entry in entries] == [None, "proxy", "ryll"]


def test_reports_of_another_guest_of_this_command_are_kept_under_its_name(lane, monkeypatch):
    report, picture = Path(lane.dir, "logs/smoke.json"), Path(lane.dir, "screenshot.png")
    for command, guest, kept in (("c1", "other", True), ("c0", "other", False), ("c1", "g", False)):
        monkeypatch.setenv("LANE_COMMAND_ID", command)
        picture.write_bytes(b"its picture")
        Path(lane.dir, "screendump.png").touch()
        files = [str(picture), "screendump.png", "difference.png", "x.txt"]  # one is gone
        check_report.write(report, {"suite": "smoke", "guest": guest, "checks": [], "files": files})
        monkeypatch.setenv("LANE_COMMAND_ID", "c1")
        smoke.set_aside(lane.dir, "g", [report, Path(lane.dir, "logs/none.json")])
        assert report.exists() is not kept
        if kept:
            moved = json.loads(Path(lane.dir, "logs/smoke-other.json").read_text())
            assert (moved["guest"], moved["command_id"]) == ("other", "c1")
            kinds = ("screenshot", "screendump", "difference")
            assert moved["files"] == [*(f"pictures/{kind}-other.png" for kind in kinds), "x.txt"]
            assert Path(lane.dir, "pictures").stat().st_mode & 0o777 == 0o700
            assert Path(lane.dir, "pictures/screenshot-other.png").read_bytes() == b"its picture"
        assert picture.exists() is not kept


def test_the_full_plan_and_the_choices_name_the_same_checks():
    names = ("lane/defaults/main.yml", "smoke/meta/argument_specs.yml")
    default, specs = (yaml.safe_load((ROOT / "roles" / name).read_text(encoding="utf-8")) for name in names)
    assert default["lane_checks"] == specs["argument_specs"]["main"]["options"]["smoke_checks"]["choices"]


def test_a_machine_that_stops_this_program_for_a_moment_hides_no_change_of_the_agent(lane, monkeypatch):
    usual = Client._message

    def late(client: Client, until: float) -> Any:
        time.sleep(0.06)
        return usual(client, until)

    monkeypatch.setattr(Client, "_message", late)
    failure = check(lane, True, events(False, True))[1]
    assert "check: gone, connected; look" in failure.cause
