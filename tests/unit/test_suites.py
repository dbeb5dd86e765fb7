"""Suites as they are played: the parts that judge do so."""

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
from ansible.module_utils.lane.checks.suites.stage import Place
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.programs.loss import Lost
from PIL import Image
from prepared import fails
from suite_lane import (
    CONSOLE_K,
    GOOD,
    MISSING,
    NAP,
    PASSED,
    Lane,
    asked,
    changed,
    check,
    does,
    entry_of,
    fake_lane,
    outcome,
    played,
    read,
    says,
    token,
)

lane = fake_lane

DIRECT = {"instead_of": "guest", "blame": "proxy", "steps": [{"connect": {"direct": True}}]}


def two(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A second check."""
    return {**check(*steps, **more), "name": "two"}


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
        ([{"later": {}}, {"serial": {"never": "^later", "seconds": 20}}], "serial_line_unexpected"),
    ],
)
def test_the_serial_port_is_read_from_where_the_check_began(lane, steps, code):
    Path(lane.place.serial_log).write_text("before\r\n")
    actors = {
        "say": says(lane, "key: a", "key: b", "key: c"),
        "later": does(Timer(0.1, says(lane, "later").play).start),
    }
    entry = entry_of(lane, {"say": {}}, *({"within": 0.05, **step} for step in steps), actors=actors)
    detail = entry["detail"]
    assert (detail.get("code"), entry["result"]) == (code, "fail" if code else "pass")
    assert code is None or (detail["component"] == "guest" and detail["evidence"].startswith(kept(lane)))


def test_a_client_that_was_connected_directly_to_qemu_serves_no_other_check(lane):
    key = two({"send_key": {"key": "a"}}, client="shared")
    first, second = played(lane, check(MISSING, if_failed=[DIRECT]), key)
    assert (first["detail"]["component"], second["result"]) == ("proxy", "pass")
    direct, through = asked(lane, "connect")
    assert direct[2]["port"] == "17904" and through[2] == lane.keys
    assert lane.did.index(("stop", "ryll")) < lane.did.index(through)


def test_a_check_that_lacks_an_earlier_step_asks_nobody_who_is_to_blame(lane):
    lacking = two({"digest": {"than": "m"}}, if_failed=[DIRECT])
    _, second = played(lane, check(MISSING, {"digest": {}, "register": "m"}), lacking)
    assert second["result"] == "not run" and not asked(lane, "connect")


def test_a_line_that_comes_later_is_waited_for_and_a_port_begun_anew_is_read_from_its_beginning(lane):
    serial = Path(lane.place.serial_log)
    serial.write_text("before, and many words more\r\n")
    later = does(Timer(0.05, says(lane, "key: a").play).start)
    anew = does(lambda: serial.write_text("key: b\r\nkey: c\r\n"))
    two_keys = {"serial": {"match": "^key", "count": 2}}
    steps = ({"later": {}}, {"serial": {"line": "key: a"}}, {"anew": {}}, two_keys)
    entry = entry_of(lane, *steps, actors={"later": later, "anew": anew})
    assert entry["result"] == "pass", entry
    assert entry["detail"]["witnesses"] == ["serial: key: a", "serial: key: c (2 of them)"]


@pytest.mark.parametrize(
    ("text", "step", "cause", "line"),
    [
        ("\nx: a\nx: b\n", {"match": "^n"}, "did not say a line with '\\^n' within .* s; its last line is 'x: b'", 3),
        ("x\nlin", {"line": "x: c"}, ".* s; its last line is 'lin', which it has not ended", 1),
        ("", {"line": "no"}, "did not say 'no' within .* s; it said nothing in that time", 1),
    ],
)
def test_a_missing_line_is_said_with_the_last_one(lane, text, step, cause, line):
    write = does(lambda: Path(lane.place.serial_log).write_text(text))
    detail = entry_of(lane, {"write": {}}, {"serial": step, "within": 0.02}, actors={"write": write})["detail"]
    assert re.fullmatch(rf"step 2 \(serial\): the guest's serial port {cause}", detail["cause"])
    assert detail["evidence"] == f"{kept(lane)}:{line}"
    assert Path(kept(lane)).read_text() == text, "the next start of the guest begins the other one anew"


@pytest.mark.parametrize(
    ("name", "more", "component"),
    [("daemon", {}, "kerbside"), ("qemu", {}, "qemu"), ("ryll", {}, "lane"), ("daemon", {"blame": "guest"}, "guest")],
)
def test_a_log_is_its_programs_own_unless_the_step_blames_another(lane, name, more, component):
    step = {"log": {"of": name, "line": "x"}, "within": 0.02, **more}
    assert outcome(lane, step) == ("log_line_missing", component)


def test_the_counters_that_are_wrong_are_said_and_late_ones_awaited(lane):
    counts = iter([0.0, 0.0])
    vars(lane)["counters"] = lambda: {"kerbside_proxy_a": next(counts, 1.0), "kerbside_proxy_b": 2.0}
    step = {"counters": {"grow": {"a": 1, "b": 0}, "now": {"a": 1, "b": 2}}}
    good = entry_of(lane, {**step, "within": 20})
    assert good["detail"]["witnesses"] == ["counters: a +1, b +0, a is 1, b is 2"]
    for wrong, said in ((step, "a grew by 0 and not 1"), ({"counters": {"now": {"a": 1, "b": 3}}}, "b is 2 and not 3")):
        detail = entry_of(lane, {**wrong, "within": 0.02})["detail"]
        assert detail["cause"].endswith(f"of the proxy's counters {said}")
        assert detail["evidence"] == lane.log("daemon")


@pytest.mark.parametrize(
    ("wanted", "good"), [(2, True), (1, False), (">1", True), (">2", False), (">=2", True), ("<3", True), ("<2", False)]
)
def test_counters_are_compared_with_the_moment_before(lane, wanted, good):
    name = "kerbside_proxy_denied_total"
    lane.counted = {name: 5.0}
    deny = does(lambda: lane.counted.update({name: lane.counted[name] + 2}))
    counters = {"counters": {"grow": {"denied_total": wanted}}, "within": 0.05}
    found = outcome(lane, {"deny": {}}, counters, actors={"deny": deny})
    assert found == (PASSED if good else ("counter_wrong", "proxy"))


def test_series_are_summed_over_the_labels_that_are_not_named():
    counts = {"enforced": 2.0, "observed": 3.0}
    series = {f"kerbside_proxy_v_total{{action={one},rule=size_cap}}": count for one, count in counts.items()}
    wanted = {"v_total": 5, "v_total{action=observed}": 3, "v_total{rule=other}": 0, "v": 0}
    assert {name: witnesses.value(series, name) for name in wanted} == wanted


def test_checks_after_a_failed_one_are_made_and_what_it_registers_is_missing(lane):
    first = check(MISSING, {"note": {}, "register": "noted"})
    second, third = two({"log": {"of": "daemon", "never": "{noted.session}"}}), {**check(NAP), "name": "three"}
    entries = played(lane, first, second, third, actors={"note": does(lambda: {"session": "S"})})
    assert [entry["result"] for entry in entries] == ["fail", "not run", "pass"]
    assert entries[1]["detail"]["code"] == "suite_step_missing"


def test_a_suite_that_cannot_begin_has_an_entry_for_each_check(lane):
    def settle(*_: Any) -> None:
        raise LaneError("suite_guest_not_up", "guest", "no banner came")

    vars(lane)["settle"] = settle
    entries = played(lane, check(MISSING), two(MISSING))
    assert [(one["name"], one["result"], one["seconds"]) for one in entries] == [
        ("one", "fail", 0),
        ("two", "not run", 0),
    ]
    assert entries[0]["detail"]["code"] == "suite_guest_not_up" and entries[1]["detail"] == {}


def test_tokens_are_forged_as_asked():
    good = tokens.forged(token(sub="lane", exp=5), "seed", {})
    assert tokens.claims(good) == {"sub": "lane", "exp": 5}
    assert tokens.forged(good, "seed", {"alg": "none"}).endswith(".")
    assert tokens.claims(tokens.forged(good, "seed", {"drop": ["sub"]})) == {"exp": 5}
    soon = tokens.claims(tokens.forged(good, "seed", {"set": {"nbf": 600, "sub": 7}}))
    assert abs(soon["nbf"] - time.time() - 600) < 100 and soon["sub"] == 7
    for change, seed in (({}, "seed"), ({"other_seed": True}, "seed-other")):
        text, _, signature = tokens.forged(good, "seed", change).rpartition(".")
        made = hmac.new(seed.encode(), text.encode(), "sha256").digest()
        assert signature == base64.urlsafe_b64encode(made).decode().rstrip("=")
    for size in range(9):
        assert tokens.claims(token(a="b" * size)) == {"a": "b" * size}


def test_a_file_that_a_step_saw_begin_is_read_from_its_beginning(lane):
    line, marked = {"serial": {"line": "key: a"}}, {"serial": {"line": "key: a", "since": "m"}}
    steps = ({**NAP, "register": "m"}, {"say": {}}, line, marked)
    assert outcome(lane, *steps, actors={"say": says(lane, "key: a")}) == PASSED


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        ("/{k.uuid}", "/{uuid of k}"),
        ("/{d.session}", "/S"),
        ("/{d.uuid}", "/"),
        ("/{t}", "/text"),
        ("/{uuid}/{proxy_port}", "/UUID/17900"),
        ("/{ticket}", "/the-ticket"),
        ("/{other_ca}", "/{other ca}"),
    ],
)
def test_a_text_is_filled_with_what_is_known(lane, path, filled):
    actors = {"dict": does(lambda: {"session": "S"}), "text": does(lambda: "text")}
    steps = ({"dict": {}, "register": "d"}, {"text": {}, "register": "t"}, {"api": {"path": path}})
    lane.machines.consoles = {"k": {}}
    assert outcome(lane, *steps, actors=actors, **CONSOLE_K) == PASSED
    filled = filled.replace("{uuid of k}", lane.machines.uuid("k")).replace("{other ca}", tokens.other_ca())
    assert [one[2] for one in asked(lane, "request")] == [filled]


@pytest.mark.parametrize(
    ("mine", "other"), [("C=US,O=A,CN=b", "C=US,O=Other A,CN=b"), ("C=US,CN=b", "C=US,CN=b,O=Other")]
)
def test_another_subject_is_another_whatever_the_lanes_is(lane, mine, other):
    lane.place = replace(lane.place, host_subject=mine)
    assert outcome(lane, {"api": {"path": "/{other_subject}"}}) == PASSED
    assert [one[2] for one in asked(lane, "request")] == [f"/{other}"]


def test_kerbside_is_started_anew_only_for_a_check_with_other_settings(lane):
    settings: list[dict[str, str]] = [{}, {"KERBSIDE_A": "{uuid}"}, {"KERBSIDE_A": "{uuid}"}, {}]
    played(lane, *({**check(NAP, kerbside=each), "name": f"n{number}"} for number, each in enumerate(settings)))
    did = [one if one == "forget" else one[1] for one in lane.did if one == "forget" or one[0] == "configure"]
    assert did == ["forget", {"KERBSIDE_A": lane.place.uuid}, "forget", {}, "forget"]


def test_the_settings_of_a_suite_hold_values_of_the_lane_from_its_beginning(lane):
    [entry] = played(lane, check(NAP), kerbside={"KERBSIDE_A": "{uuid}"})
    assert (entry["result"], lane.settings) == ("pass", {"KERBSIDE_A": lane.place.uuid})
    assert not [one for one in lane.did if one[0] == "configure"]


@pytest.mark.parametrize(
    ("clients", "connected"),
    [(("shared", "shared"), 1), (("shared", "fresh"), 2), (("none", "none"), 0), (("none", "shared"), 1)],
)
def test_a_client_is_shared_or_fresh(lane, clients, connected):
    first, second = (check({**NAP, "register": "w"}, client=client, events=["latency"]) for client in clients)
    played(lane, first, {**second, "name": "two"})
    assert len(asked(lane, "connect")) == connected
    subscribed = [one[1] for one in lane.talk.did if one[0] == "subscribe"]
    assert all({"latency", "agent_connected"} <= set(events) for events in subscribed)
    assert lane.talk.did.count(("mark", "w")) == sum(client != "none" for client in clients)


def test_a_check_without_a_client_does_not_talk_to_one_that_another_left(lane):
    """Its session may end any time: whom the check lets in takes the console."""
    lane.running.append("ryll")
    assert outcome(lane, {**NAP, "register": "w"}) == PASSED and lane.talk.did == []


def test_a_client_that_has_ended_is_not_talked_to_in_the_next_check(lane):
    played(lane, check({"end": {}}, client="shared"), two(NAP), actors={"end": does(lane.running.clear)})
    assert [one if one == "close" else one[0] for one in lane.talk.did] == ["subscribe", "subscribe", "close"]


def test_counters_are_read_only_for_who_compares_them(lane):
    read_at: list[int] = []
    vars(lane)["counters"] = lambda: read_at.append(1) or {}
    marked = {**NAP, "register": "w"}
    entry_of(lane, marked, {"serial": {"never": "x", "seconds": 0.01, "since": "w"}})
    assert not read_at
    entry_of(lane, marked, {"counters": {"now": {"x": 0}, "since": "w"}})
    assert len(read_at) == 3  # at the beginning of the check, at its first step and by the comparison


def test_a_file_that_is_no_log_is_not_measured(lane):
    for name in ("a.log", "b.json"):
        Path(lane.place.logs_dir, name).write_text("x")
    sizes = engine.Play(lane, read(GOOD), ACTORS)._mark(False).sizes
    assert sizes == {f"{lane.place.logs_dir}/a.log": 1}


def test_only_a_failure_has_the_next_suite_boot_the_guest_anew(lane):
    for step, noted in ((NAP, 0), (MISSING, 1)):
        lane.did.clear()
        entry = entry_of(lane, step)
        assert lane.did.count("note_failure") == noted and lane.did[-1] == "stop_machines"
        assert (entry["suite"], entry["guest"], entry["name"]) == ("mine", "pocket", "one") and entry["started"] > 0


def test_a_slow_check_is_left_out_unless_asked_for():
    suite = read(changed(checks=[check(MISSING), two(MISSING, slow=True)]))
    assert [[one.name for one in selection.chosen(suite, slow)] for slow in (False, True)] == [["one"], ["one", "two"]]
    with fails("suites_not_played", "lane"):
        selection.plays({"a": read(changed(checks=[check(MISSING, slow=True)]))}, slow=False)


def test_the_last_judged_picture_and_what_was_measured_are_kept_for_the_report(lane):
    figures, red = iter([{"a": [1.0]}, {"b": [2.0]}, {}]), Image.new("RGB", (4, 3), "red")
    look = does(lambda: {"shown": "seen", "picture": red, "latency": next(figures)})
    first, second = played(lane, check({"look": {}}, {"look": {}}), two({"look": {}}), actors={"look": look})
    assert first["detail"]["latency"] == {"a": [1.0], "b": [2.0]} and "latency" not in second["detail"]
    picture = Path(lane.place.lane_dir, first["detail"]["picture"])
    assert picture.parent.name == "pictures" and picture.read_bytes().startswith(b"\x89PNG")
    assert picture.parent.stat().st_mode & 0o7777 == 0o700
    assert second["detail"]["picture"] != first["detail"]["picture"]


RED = {"width": 2, "height": 1, "format": "rgba", "data_base64": base64.b64encode(b"\xff\0\0\xff" * 2).decode()}


@pytest.mark.parametrize(
    ("judged", "screen", "kept"),
    [("blue", RED, (0, 0, 255)), (None, RED, (255, 0, 0)), (None, None, None)],
    ids=["of a screenshot step", "at the failure", "ryll shows nothing"],
)
def test_a_failed_check_has_the_picture_that_it_judged_or_what_the_client_shows(lane, judged, screen, kept):
    def play(step: Any) -> Any:
        lane.talk.stage.taken = Image.new("RGB", (2, 1), judged) if judged else None
        return {}

    lane.talk.on_play = play
    lane.talk.answers = {"screenshot": screen} if screen else {}
    (entry,) = played(lane, check({"screenshot": {}}, MISSING, client="fresh"))
    assert entry["result"] == "fail" and ("picture" in entry["detail"]) == bool(kept)
    if kept:
        with Image.open(Path(lane.place.lane_dir, entry["detail"]["picture"])) as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == kept


@pytest.mark.parametrize(
    ("name", "code", "component", "status", "said", "wanted"),
    [
        ("qemu", "program_ended", "qemu", 139, "", ("program_ended", "qemu")),
        ("qemu", "program_ended", "qemu", 0, "", ("guest_ended", "guest")),
        ("qemu", "program_broken", "firmware", None, "", ("program_broken", "firmware")),
        ("qemu", "program_broken", "firmware", None, "BdsDxe: starting Boot0001\n", ("guest_exception", "guest")),
        ("daemon", "program_ended", "kerbside", 1, "", ("program_ended", "kerbside")),
        ("daemon", "program_ended", "kerbside", 1, "Rust proxy child died with exit code -9", ("proxy_ended", "proxy")),
    ],
)
def test_a_program_that_died_is_seen_although_every_step_is_as_wanted(
    lane, monkeypatch, name, code, component, status, said, wanted
):
    Path(lane.place.serial_log).write_text(said)
    program = SimpleNamespace(name=name, exit_status=lambda lane_dir: status, log_lines=lambda: [said])
    vars(program).update(counters={}, evidence="x.log:1")
    gone = Lost(program, code, component, "it does not work: why", 0, "x.log:1")  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "lost", lambda lane_dir, apart: [gone])
    assert outcome(lane, NAP) == wanted


def test_a_failed_check_names_the_steps_that_were_not_reached(lane, monkeypatch):
    later = entry_of(lane, NAP, MISSING, NAP, {**NAP, "name": "a nap"})
    assert later["detail"]["not_reached"] == ["3 wait", "4 a nap"]
    assert "not_reached" not in entry_of(lane, NAP, MISSING)["detail"]

    def refuse(*_: Any) -> Any:
        raise LaneError("client_refused", "kerbside", "the client ryll was not let in")

    monkeypatch.setattr(lane, "connect", refuse)
    (entry,) = played(lane, check(NAP, MISSING, client="fresh"))
    assert entry["detail"]["not_reached"] == ["1 wait", "2 serial"]


def test_limits_of_steps_grow_with_the_machines_slowness(lane):
    seen: list[tuple[float, float]] = []
    look = plan.Actor({}, lambda play, step, options, deadline: seen.append((deadline - time.monotonic(), step.limit)))
    for slowness in (1.0, 100.0):
        lane.place = replace(lane.place, slowness=slowness)
        entry_of(lane, {"look": {}, "within": 30}, actors={"look": look})
    (first, short), (second, long) = seen
    assert 0 < first <= 30 < 100 < second <= 3000 and (short, long) == (30, 3000)


def test_percentiles_go_from_the_least_to_the_most():
    assert latency._percentiles([number / 1000 for number in range(101)])[::10] == [0.0, 50.0, 100.0]


def test_numbers_of_a_place_may_be_texts():
    made = Place.of(dict.fromkeys(Place.__annotations__, "7"))
    assert (made.proxy_port, made.boot_limit, made.uuid) == (7, 7.0, "7") and isinstance(made.boot_limit, float)
