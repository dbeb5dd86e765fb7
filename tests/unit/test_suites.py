"""Suites as they are played: the parts that judge do so."""

from __future__ import annotations

import base64
import hmac
import re
import time
from dataclasses import replace
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import engine, latency, plan, selection, tokens, witnesses
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.core.errors import LaneError
from cryptography import x509
from PIL import Image
from suite_lane import GOOD, MISSING, Lane, changed, check, played, read, says


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


def kept(lane: Lane) -> str:
    """The guest's serial log of a failed suite."""
    return lane.log("serial-mine-pocket")


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([{"serial": {"line": "key: a"}}, {"serial": {"line": "key: b"}}], None),
        ([{"serial": {"line": "key: b"}}, {"serial": {"line": "key: a"}}], "serial_line_missing"),  # in this order
        ([{"serial": {"match": "^key: ", "count": 3}}], None),
        ([{"serial": {"match": "^key: ", "count": 4}}], "serial_line_missing"),
        ([{"serial": {"line": "before"}}], "serial_line_missing"),  # said before the check began
        ([{"serial": {"line": "key:"}}], "serial_line_missing"),  # a line is a whole line
        ([{"serial": {"never": "^line"}}], None),
        ([{"serial": {"never": "^key"}}], "serial_line_unexpected"),
        ([{"later": {}}, {"serial": {"never": "^later", "seconds": 20}, "within": 20}], "serial_line_unexpected"),
    ],
)
def test_the_serial_port_is_read_from_where_the_check_began(lane: Lane, steps: list[dict[str, Any]], code: str | None) -> None:
    Path(lane.place.serial_log).write_text("before\r\n")
    later = plan.Actor({}, lambda *_: Timer(0.1, says(lane, "later").play).start())
    actors = {"say": says(lane, "key: a", "key: b", "key: c"), "later": later}
    (entry,) = played(lane, check({"say": {}}, *({"within": 0.05, **step} for step in steps)), actors=actors)
    assert entry["detail"].get("code") == code
    assert entry["result"] == ("fail" if code else "pass")
    assert code is None or (entry["detail"]["component"] == "guest" and entry["detail"]["evidence"].startswith(kept(lane)))


def test_a_client_that_was_connected_directly_to_qemu_serves_no_other_check(lane: Lane) -> None:
    culprit = {"instead_of": "guest", "blame": "proxy", "steps": [{"connect": {"direct": True}}]}
    first, second = played(lane, check(MISSING, if_failed=[culprit]), {**check({"send_key": {"key": "a"}}), "name": "two", "client": "shared"})
    assert (first["detail"]["component"], second["result"]) == ("proxy", "pass")
    direct, through = [one for one in lane.did if one[0] == "connect"]
    assert direct[2]["port"] == "17904" and through[2] == lane.keys
    assert lane.did.index(("stop", "ryll")) < lane.did.index(through)


def test_a_check_that_lacks_an_earlier_step_asks_nobody_who_is_to_blame(lane: Lane) -> None:
    culprit = {"instead_of": "guest", "blame": "proxy", "steps": [{"connect": {"direct": True}}]}
    lacking = {**check({"digest": {"than": "m"}}, if_failed=[culprit]), "name": "two"}
    _, second = played(lane, check(MISSING, {"digest": {}, "register": "m"}), lacking)
    assert second["result"] == "not run" and not [one for one in lane.did if one[0] == "connect"]


def test_a_line_that_comes_later_is_waited_for_and_a_port_begun_anew_is_read_from_its_beginning(lane: Lane) -> None:
    serial = Path(lane.place.serial_log)
    serial.write_text("before, and many words more\r\n")
    assert played(lane, check({"serial": {"line": "before, and many words more"}, "within": 0.02}))[0]["detail"]["code"] == "serial_line_missing"
    later = plan.Actor({}, lambda *_: Timer(0.05, says(lane, "key: a").play).start())
    anew = plan.Actor({}, lambda *_: serial.write_text("key: b\r\n"))
    steps = ({"later": {}}, {"serial": {"line": "key: a"}}, {"anew": {}}, {"serial": {"line": "key: b"}})
    (entry,) = played(lane, check(*steps), actors={"later": later, "anew": anew})
    assert entry["result"] == "pass", entry
    assert entry["detail"]["witnesses"] == ["serial: key: a", "serial: key: b"]


@pytest.mark.parametrize(
    ("text", "step", "cause", "line"),
    [
        ("\nx: a\nx: b\n", {"line": "no"}, "did not say 'no' within .* s; its last line is 'x: b'", 3),
        ("\nx: a\nx: b\n", {"match": "^n"}, "did not say a line with '\\^n' within .* s; its last line is 'x: b'", 3),
        ("", {"line": "no"}, "did not say 'no' within .* s; it said nothing in that time", 1),
    ],
)
def test_a_missing_line_is_said_with_the_last_one(lane: Lane, text: str, step: dict[str, str], cause: str, line: int) -> None:
    write = plan.Actor({}, lambda *_: Path(lane.place.serial_log).write_text(text))
    (entry,) = played(lane, check({"write": {}}, {"serial": step, "within": 0.02}), actors={"write": write})
    assert re.fullmatch(rf"step 2 \(serial\): the guest's serial port {cause}", entry["detail"]["cause"])
    assert entry["detail"]["evidence"] == f"{kept(lane)}:{line}"
    assert Path(kept(lane)).read_text() == text, "the next start of the guest begins the other one anew"


@pytest.mark.parametrize(
    ("name", "more", "component"), [("daemon", {}, "kerbside"), ("qemu", {}, "qemu"), ("ryll", {}, "lane"), ("daemon", {"blame": "guest"}, "guest")]
)
def test_a_log_is_its_programs_own_unless_the_step_blames_another(lane: Lane, name: str, more: dict[str, str], component: str) -> None:
    (entry,) = played(lane, check({"log": {"of": name, "line": "x"}, "within": 0.02, **more}))
    assert (entry["detail"]["code"], entry["detail"]["component"]) == ("log_line_missing", component)


def test_the_counters_that_are_wrong_are_said_and_late_ones_awaited(lane: Lane) -> None:
    counts = iter([0.0, 0.0])
    vars(lane)["counters"] = lambda: {"kerbside_proxy_a": next(counts, 1.0), "kerbside_proxy_b": 2.0}
    step = {"counters": {"grow": {"a": 1, "b": 0}, "now": {"a": 1, "b": 2}}}
    assert played(lane, check({**step, "within": 20}))[0]["result"] == "pass"
    (entry,) = played(lane, check({**step, "within": 0.02}))
    assert entry["detail"]["cause"].endswith("of the proxy's counters a grew by 0 and not 1")
    (entry,) = played(lane, check({"counters": {"now": {"a": 1, "b": 3}}, "within": 0.02}))
    assert entry["detail"]["cause"].endswith("of the proxy's counters b is 2 and not 3")


def test_the_number_of_lines_is_said_where_several_are_awaited(lane: Lane) -> None:
    step = {"serial": {"match": "^key", "count": 2}, "within": 0.02}
    assert (
        "said a line with '^key' 1 times and not 2 within" in played(lane, check({"say": {}}, step), actors={"say": says(lane, "key: a")})[0]["detail"]["cause"]
    )
    (entry,) = played(lane, check({"say": {}}, step), actors={"say": says(lane, "key: a", "key: b")})
    assert entry["detail"]["witnesses"] == ["serial: key: b (2 of them)"]


@pytest.mark.parametrize(("wanted", "good"), [(2, True), (1, False), (">1", True), (">2", False), (">=2", True), ("<3", True), ("<2", False)])
def test_counters_are_compared_with_the_moment_before(lane: Lane, wanted: object, good: bool) -> None:
    lane.counted = {"kerbside_proxy_denied_total": 5.0}

    def deny(*_: Any) -> None:
        lane.counted["kerbside_proxy_denied_total"] += 2

    actors = {"deny": plan.Actor({}, deny)}
    (entry,) = played(lane, check({"deny": {}}, {"counters": {"grow": {"denied_total": wanted}}, "within": 0.05}), actors=actors)
    assert (entry["result"] == "pass") is good
    assert good or entry["detail"]["component"] == "proxy"


def test_series_are_summed_over_the_labels_that_are_not_named() -> None:
    series = {f"kerbside_proxy_v_total{{action={action},rule=size_cap}}": number for action, number in (("enforced", 2.0), ("observed", 3.0))}
    assert witnesses.value(series, "v_total") == 5
    assert witnesses.value(series, "v_total{action=observed}") == 3
    assert witnesses.value(series, "v_total{rule=other}") == 0
    assert witnesses.value(series, "v") == 0


def refuses(*_: Any) -> Any:
    raise LaneError("client_refused", "kerbside", "the client ryll was not let in")


def test_checks_after_a_failed_one_are_made_and_what_it_registers_is_missing(lane: Lane) -> None:
    actors = {"note": plan.Actor({}, lambda *_: {"session": "S"})}
    first = check(MISSING, {"note": {}, "register": "noted"})
    second = {**check({"log": {"of": "daemon", "never": "{noted.session}"}}), "name": "two"}
    entries = played(lane, first, second, {**check({"wait": {"seconds": 0.01}}), "name": "three"}, actors=actors)
    assert [entry["result"] for entry in entries] == ["fail", "not run", "pass"]
    assert entries[1]["detail"]["code"] == "suite_step_missing"


def test_a_suite_that_cannot_begin_has_an_entry_for_each_check(lane: Lane) -> None:
    def settle(*_: Any) -> None:
        raise LaneError("suite_guest_not_up", "guest", "no banner came")

    lane.settle = settle  # type: ignore[method-assign]
    entries = played(lane, check(MISSING), {**check(MISSING), "name": "two"})
    assert [(entry["name"], entry["result"]) for entry in entries] == [("one", "fail"), ("two", "not run")]
    assert entries[0]["detail"]["code"] == "suite_guest_not_up" and [entry["seconds"] for entry in entries] == [0, 0]


def test_tokens_are_forged_as_asked() -> None:
    good = tokens.forged("x." + tokens._part({"sub": "lane", "exp": 5}) + ".y", "seed", {})
    assert tokens.claims(good) == {"sub": "lane", "exp": 5}
    for change in ({"other_seed": True}, {"alg": "none"}, {"set": {"nbf": 600}}, {"drop": ["sub"]}):
        assert tokens.forged(good, "seed", change) != good
    assert tokens.forged(good, "seed", {"alg": "none"}).endswith(".")
    assert "sub" not in tokens.claims(tokens.forged(good, "seed", {"drop": ["sub"]}))
    assert "BEGIN CERTIFICATE-----\\n" in tokens.other_ca() and "\n" not in tokens.other_ca()
    for change, seed in (({}, "seed"), ({"other_seed": True}, "seed-other")):
        text, _, signature = tokens.forged(good, "seed", change).rpartition(".")
        made = hmac.new(seed.encode(), text.encode(), "sha256").digest()
        assert signature == base64.urlsafe_b64encode(made).decode().rstrip("=")
    for size in range(9):
        assert tokens.claims("x." + tokens._part({"a": "b" * size}) + ".y") == {"a": "b" * size}


def test_only_a_ca_may_sign_certificates() -> None:
    ca, server, _ = tokens.server_certificate("CN=x")
    for text, may in ((ca, True), (server, False), (tokens.other_ca.__wrapped__().replace("\\n", "\n"), True)):
        found = x509.load_pem_x509_certificate(text.encode()).extensions.get_extension_for_class(x509.BasicConstraints)
        assert (found.critical, found.value.ca) == (True, may)


def test_a_file_that_a_step_saw_begin_is_read_from_its_beginning(lane: Lane) -> None:
    actors = {"say": says(lane, "key: a")}
    steps = ({"wait": {"seconds": 0.001}, "register": "m"}, {"say": {}}, {"serial": {"line": "key: a"}}, {"serial": {"line": "key: a", "since": "m"}})
    (entry,) = played(lane, check(*steps), actors=actors)
    assert entry["result"] == "pass", entry


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        ("/{k.uuid}", "/{uuid of k}"),
        ("/{d.session}", "/S"),
        ("/{d.uuid}", "/"),
        ("/{t}", "/text"),
        ("/{uuid}/{proxy_port}", "/UUID/17900"),
        ("/{ticket}", "/the-ticket"),
    ],
)
def test_a_text_is_filled_with_what_is_known(lane: Lane, path: str, filled: str) -> None:
    values = {"dict": {"session": "S"}, "text": "text"}
    actors = {name: plan.Actor({}, lambda *_, name=name: values[name]) for name in values}
    steps = ({"dict": {}, "register": "d"}, {"text": {}, "register": "t"}, {"api": {"path": path}})
    more = {"machines": [{"name": "m"}], "consoles": [{"name": "k", "machine": "m"}]}
    lane.machines.consoles = {"k": {}}
    (entry,) = played(lane, check(*steps), actors=actors, **more)
    assert entry["result"] == "pass", entry
    asked = [one[2] for one in lane.did if one[0] == "request"]
    assert asked == [filled.replace("{uuid of k}", lane.machines.uuid("k"))]


def test_kerbside_is_started_anew_only_for_a_check_with_other_settings(lane: Lane) -> None:
    step = {"wait": {"seconds": 0.001}}
    settings = [{}, {"KERBSIDE_A": "1"}, {"KERBSIDE_A": "1"}, {}]
    played(lane, *({**check(step, kerbside=each), "name": f"n{number}"} for number, each in enumerate(settings)))
    assert [one if one == "forget" else one[1] for one in lane.did if one == "forget" or one[0] == "configure"] == [
        "forget",
        {"KERBSIDE_A": "1"},
        "forget",
        {},
        "forget",
    ]


@pytest.mark.parametrize(
    ("clients", "connected"),
    [(("shared", "shared"), 1), (("shared", "fresh"), 2), (("none", "none"), 0), (("none", "shared"), 1)],
)
def test_a_client_is_shared_or_fresh(lane: Lane, clients: tuple[str, str], connected: int) -> None:
    step = {"wait": {"seconds": 0.001}, "register": "w"}
    played(lane, *({**check(step, client=client, events=["latency"]), "name": client + str(number)} for number, client in enumerate(clients)))
    assert sum(one[0] == "connect" for one in lane.did) == connected
    subscribed = [one[1] for one in lane.talk.did if one[0] == "subscribe"]
    assert all("latency" in events and "agent_connected" in events for events in subscribed)
    assert lane.talk.did.count(("mark", "w")) == sum(client != "none" for client in clients)


def test_a_check_without_a_client_does_not_talk_to_one_that_another_left(lane: Lane) -> None:
    """Its session may end any time: whom the check lets in takes the console."""
    lane.running.append("ryll")
    (entry,) = played(lane, check({"wait": {"seconds": 0.001}, "register": "w"}, client="none"))
    assert (entry["result"], lane.talk.did) == ("pass", [])


def test_a_client_that_has_ended_is_not_talked_to_in_the_next_check(lane: Lane) -> None:
    end = plan.Actor({}, lambda *_: lane.running.clear())
    first, second = check({"end": {}}, client="shared"), {**check({"wait": {"seconds": 0.001}}), "name": "two"}
    played(lane, first, second, actors={"end": end})
    assert [one if one == "close" else one[0] for one in lane.talk.did] == ["subscribe", "subscribe", "close"]


def test_counters_are_read_only_for_who_compares_them(lane: Lane) -> None:
    read_at: list[int] = []
    vars(lane)["counters"] = lambda: read_at.append(1) or {}
    played(lane, check({"wait": {"seconds": 0.001}, "register": "w"}, {"serial": {"never": "x", "seconds": 0.01, "since": "w"}}))
    assert not read_at
    played(lane, check({"wait": {"seconds": 0.001}, "register": "w"}, {"counters": {"now": {"x": 0}, "since": "w"}}))
    assert len(read_at) == 3  # at the beginning of the check, at its first step and by the comparison


def test_a_file_that_is_no_log_is_not_measured(lane: Lane) -> None:
    for name in ("a.log", "b.json"):
        Path(lane.place.logs_dir, name).write_text("x")
    assert engine.Play(lane, read(GOOD), ACTORS)._mark(False).sizes == {f"{lane.place.logs_dir}/a.log": 1}  # type: ignore[arg-type]


def test_only_a_failure_has_the_next_suite_boot_the_guest_anew(lane: Lane) -> None:
    for step, noted in (({"wait": {"seconds": 0.001}}, 0), (MISSING, 1)):
        lane.did.clear()
        (entry,) = played(lane, check(step))
        assert lane.did.count("note_failure") == noted and lane.did[-1] == "stop_machines"
        assert (entry["suite"], entry["guest"], entry["name"]) == ("mine", "pocket", "one") and entry["started"] > 0


def test_a_slow_check_is_left_out_unless_asked_for() -> None:
    suite = read(changed(checks=[check(MISSING), {**check(MISSING, slow=True), "name": "two"}]))
    assert [[one.name for one in selection.chosen(suite, slow)] for slow in (False, True)] == [["one"], ["one", "two"]]
    assert selection.plays({"a": read(changed(checks=[check(MISSING, slow=True)]))}, slow=False) == []


def test_the_last_judged_picture_and_what_was_measured_are_kept_for_the_report(lane: Lane) -> None:
    figures = iter([[1.0, 2.0], [3.0, 4.0], [5.0]])
    actors = {
        "look": plan.Actor({}, lambda *_: {"shown": "seen", "picture": Image.new("RGB", (4, 3), "red"), "latency": {"": next(figures)}}),
        "connect": plan.Actor({"direct": plan.Option("truth", False)}, lambda *_: ""),
    }
    steps = ({"connect": {}}, {"look": {}}, {"connect": {"direct": True}}, {"look": {}})
    entry, other = played(lane, check(*steps), {**check({"look": {}}), "name": "two"}, actors=actors)
    assert entry["result"] == other["result"] == "pass", entry
    assert entry["detail"]["latency"] == {"through kerbside": [1.0, 2.0], "directly to qemu": [3.0, 4.0]}
    picture = Path(lane.place.lane_dir, entry["detail"]["picture"])
    assert picture.parent.name == "pictures" and picture.read_bytes().startswith(b"\x89PNG")
    assert picture.parent.stat().st_mode & 0o7777 == 0o700 and other["detail"]["picture"] != entry["detail"]["picture"]


RED = {"width": 2, "height": 1, "format": "rgba", "data_base64": base64.b64encode(b"\xff\0\0\xff" * 2).decode()}


@pytest.mark.parametrize(
    ("judged", "screen", "kept"),
    [("blue", RED, (0, 0, 255)), (None, RED, (255, 0, 0)), (None, None, None)],
    ids=["of a screenshot step", "at the failure", "ryll shows nothing"],
)
def test_a_failed_check_has_the_picture_that_it_judged_or_what_the_client_shows(lane: Lane, judged: str | None, screen: Any, kept: Any) -> None:
    def play(step: Any) -> Any:
        lane.talk.stage.taken = Image.new("RGB", (2, 1), judged) if judged else None
        return {}

    lane.talk.on_play = play
    lane.talk.answers = {"screenshot": screen} if screen else {}
    (entry,) = played(lane, check({"screenshot": {}}, MISSING, client="fresh"))
    assert entry["result"] == "fail", entry
    assert ("picture" in entry["detail"]) == bool(kept)
    if kept:
        with Image.open(Path(lane.place.lane_dir, entry["detail"]["picture"])) as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == kept


def test_a_program_that_died_is_seen_although_every_step_is_as_wanted(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = SimpleNamespace(error=lambda: LaneError("program_ended", "qemu", "qemu was killed by SIGSEGV"))
    monkeypatch.setattr(engine, "lost", lambda lane_dir, apart: [gone])
    (entry,) = played(lane, check({"wait": {"seconds": 0.01}}))
    assert (entry["result"], entry["detail"]["component"], entry["detail"]["code"]) == ("fail", "qemu", "program_ended")


def test_a_failed_check_names_the_steps_that_were_not_reached(lane: Lane) -> None:
    wait = {"wait": {"seconds": 0.01}}
    for steps, later in (([wait, MISSING, wait, {**wait, "name": "a nap"}], ["3 wait", "4 a nap"]), ([wait, MISSING], None)):
        assert played(lane, check(*steps))[0]["detail"].get("not_reached") == later


def test_no_step_of_a_check_is_reached_without_its_client(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "connect", refuses)
    (entry,) = played(lane, check({"wait": {"seconds": 0.01}}, MISSING, client="fresh"))
    assert entry["detail"]["not_reached"] == ["1 wait", "2 serial"]


def test_limits_of_steps_grow_with_the_machines_slowness(lane: Lane) -> None:
    lefts: list[float] = []
    limits: list[float] = []
    look = lambda play, step, options, deadline: (lefts.append(deadline - time.monotonic()), limits.append(step.limit))  # noqa: E731
    actors = {"look": plan.Actor({}, look)}
    for place in (lane.place, replace(lane.place, slowness=100.0)):
        lane.place = place
        played(lane, check({"look": {}, "within": 30}), actors=actors)
    assert 0 < lefts[0] <= 30 < 100 < lefts[1] <= 3000 and limits == [30, 3000]


def test_percentiles_go_from_the_least_to_the_most() -> None:
    assert latency._percentiles([number / 1000 for number in range(101)])[::10] == [0.0, 50.0, 100.0]
