"""Suite files: ours are sound, a bad one is named by its place, and what a file says counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.checks.suites import plan, selection
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.core.errors import LaneError
from suite_lane import GOOD, GUESTS, changed, read

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "roles/suites/files").glob("*.yml"))
#: Steps that see something; each check has to have two of them.
WITNESSES = set(ACTORS) - {"burst", "console", "wait", "stop", "clipboard"} | {
    "expect_event",
    "quiet",
    "await",
    "clipboard_get",
    "screenshot",
}
FAULTS = yaml.safe_load((ROOT / "tests/faults/suites.yml").read_text(encoding="utf-8"))["faults"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_own_suites_have_two_witnesses_for_each_check_and_a_fault(path: Path) -> None:
    suite = plan.read(str(path), path.read_text(encoding="utf-8"), ACTORS, GUESTS)
    assert suite.name == path.stem and suite.description
    caught = {name for fault in FAULTS if fault["suite"] == suite.name for name in fault["expect"]}
    for one in suite.checks:
        seen = [step for step in one.steps if step.actor in WITNESSES]
        assert len(seen) >= 2 or (len(seen) == 1 and seen[0].actor in ("digest", "settled")), (
            one.name
        )  # a digest is two: its pixels and what it tells
    assert caught <= {one.name for one in suite.checks}


LINK = {"link": {}, "register": "l"}


def test_the_page_names_every_suite_every_check_and_every_actor() -> None:
    page = (ROOT / "docs/suites.md").read_text(encoding="utf-8")
    example = page.split("<!-- suite -->\n```yaml\n")[1].split("```")[0]
    assert plan.read("/tmp/mine.yml", example, ACTORS, GUESTS).name == "mine"
    for path in FILES:
        suite = plan.read(str(path), path.read_text(encoding="utf-8"), ACTORS, GUESTS)
        assert f"| {suite.name} |" in page
        assert suite.name in ("picture", "modes") or all(f"`{check.name}`" in page for check in suite.checks)
    assert [actor for actor in ACTORS if f"`{actor}:" not in page and f"`{actor}`" not in page] == []


def one_step(step: Any, **more: Any) -> dict[str, Any]:
    return changed(checks=[{"name": "one", "steps": [step], **more}])


@pytest.mark.parametrize(
    ("suite", "place"),
    [
        ("suite: [", "/my/suite.yml:1: it is not YAML"),
        ("[]", "/my/suite.yml:1: it is not a mapping"),
        (changed(guests=["nobody"]), "there is no guest 'nobody'"),
        (changed(speed=1), "'speed' is not one of"),
        (changed(kerbside={"MODE": 1}), "kerbside"),
        (changed(checks=[]), "`checks` is not a list"),
        (
            changed(consoles=[{"name": "c", "machine": "m"}]),
            "console c: `machine` is not the name of one of `machines`",
        ),
        (changed(checks=GOOD["checks"] * 2), "two checks are named one"),
        (changed(suite="My"), "`suite` is not a name"),
        (changed(suite=1), "`suite` is not a name"),
        (changed(guests=[]), "`guests` is not a list of texts"),
        (changed(guests="pocket"), "`guests` is not a list of texts"),
        (changed(boots="yes"), "`boots` is not true or false"),
        (changed(checks={}), "`checks` is not a list"),
        (changed(ryll=[1]), "`ryll` is not a list of texts"),
        (changed(machines={}), "`machines` is not a list of at most 3"),
        (changed(machines=[{"name": name} for name in "abcd"]), "`machines` is not a list of at most 3"),
        (changed(machines=[{"name": name, "tls": True} for name in "abc"]), "`machines` need more than 5 ports"),
        (one_step({"remove_console": {"of": "c"}}), "`of` is 'c', which no consoles step before it registered"),
        (one_step({"remove_console": {}}), "`of` is missing"),
        (
            changed(
                machines=[{"name": "m"}],
                consoles=[{"name": "c", "machine": "m"}],
                checks=[{"name": "one", "steps": [{"move_console": {"of": "c", "to": "c"}}]}],
            ),
            "step 1 (move_console): `to` is 'c', which no machines step before it registered",
        ),
        (changed(machines=[{"name": "A"}]), "machines: `name` is not a name"),
        (changed(machines=[{"name": 1}]), "machines: `name` is not a name"),
        (changed(machines=[{"tls": True}]), "`name` is missing"),
        (changed(machines=[{"name": "a", "devices": "x"}]), "`devices` is not a list of texts"),
        (
            changed(machines=[{"name": "a"}], consoles=[{"name": f"c{n}", "machine": "a"} for n in range(21)]),
            "list of at most 20",
        ),
        ({"suite": "mine", "guests": ["pocket"]}, "`checks` is missing"),
        (changed(checks=["x"]), "check 1: it is not a mapping"),
        (changed(checks=[{"name": "N", "steps": []}]), "check 1: `name` is not a name"),
        (changed(checks=[{"name": 1, "steps": []}]), "check 1: `name` is not a name"),
        (changed(checks=[*GOOD["checks"], {"name": "two", "steps": []}]), "check two: `steps` is not a list"),
        (changed(checks=[{"name": "one", "steps": "x"}]), "`steps` is not a list"),
        (changed(checks=[{"name": "one", "steps": ["x"]}]), "step 1: it is not a mapping such as"),
        (changed(checks=[{"name": "one", "steps": [{"wait": {"seconds": 1}}, {}]}]), "step 2: it has none of"),
        (one_step({"wait": {"seconds": 1}}, slow="yes"), "`slow` is not true or false"),
        (one_step({"wait": {"seconds": 1}}, events=["a", 1]), "`events` is not a list of texts"),
        (one_step({"wait": {"seconds": 1}}, kerbside={"OTHER": 1}), "its settings are named KERBSIDE_SOMETHING"),
        (one_step({"wait": {"seconds": 1}}, expected_failure={"code": "task_failed"}), "`reason` is missing"),
        (one_step({"wait": {"seconds": 1}}, if_failed=[{"blame": "ryll", "steps": []}]), "`instead_of` is missing"),
        (
            one_step({"wait": {"seconds": 1}}, if_failed=[{"instead_of": "x", "blame": "ryll", "steps": []}]),
            "`instead_of` is not one of",
        ),
        (one_step({"wait": {"seconds": 1}, "client": "A"}), "`client` is not a name"),
        (one_step({"wait": {"seconds": 1}, "client": 1}), "`client` is not a name"),
        (one_step({"wait": {"seconds": 1}, "since": 1}), "'since' is not one of blame, client"),
        (one_step({"wait": {"seconds": 1}, "register": "A"}), "`register` is not a name"),
        (one_step({"wait": {"seconds": 1}, "register": 1}), "`register` is not a name"),
        (one_step({"wait": {"seconds": 1}, "within": 3601}), "`within` is not a number of seconds"),
        (one_step({"wait": {"seconds": 1}, "within": True}), "`within` is not a number of seconds"),
        (one_step({"wait": {"seconds": 1}, "within": "1"}), "`within` is not a number of seconds"),
        (one_step({"wait": {"seconds": 0}}), "`seconds` is not a number above 0"),
        (one_step({"wait": {}}), "`seconds` is missing"),
        (one_step({"wait": None}), "`seconds` is missing"),
        (one_step({"wait": [1]}), "it is not a mapping"),
        (one_step({"hello": {}, "blame": "nobody"}), "wrong `blame`"),
        (one_step({"api": {"path": ""}}), "`path` is not a text of one line"),
        (one_step({"api": {"path": "a\nb"}}), "`path` is not a text of one line"),
        (one_step({"api": {"path": "/x", "method": "HEAD"}}), "`method` is not GET or POST"),
        (one_step({"api": {"path": "/x", "token": 1}}), "`token` is not a text"),
        (one_step({"api": {"path": "/x", "status": -1}}), "`status` is not a whole number"),
        (one_step({"api": {"path": "/x", "status": True}}), "`status` is not a whole number"),
        (one_step({"api": {"path": "/x", "retry": 1}}), "`retry` is not true or false"),
        (one_step({"api": {"path": "/x", "match": 1}}), "`match` is not a regular expression"),
        (one_step({"api": {"path": "/x", "jwt": []}}), "`jwt` is not a mapping"),
        (one_step({"api": {"path": "/x", "jwt": {"set": [{"a": "{gone.x}"}]}}}), "{gone.x} is not one of"),
        (one_step({"audit": {"has": []}}), "`has` is not a list of texts"),
        (one_step({"audit": {"has": [1]}}), "`has` is not a list of texts"),
        (one_step({"connect": {"options": "x"}}), "`options` is not a list"),
        (one_step({"counters": {"grow": {}}}), "`grow` is not a mapping of counters"),
        (one_step({"audit": {"than": "x"}}), "`than` is 'x', which no audit step before it registered"),
        (
            changed(checks=[{"name": "one", "steps": [LINK, {"send": {"link": "l", "type": 1, "hex": "f"}}]}]),
            "is not bytes as hexadecimal",
        ),
        (one_step({"serial": {"line": "x", "match": "y"}}), "it does not have exactly one of line, match, never"),
        (one_step({"serial": {"line": "x"}}, client="many"), "check one: `client` is not shared, fresh or none"),
        (
            one_step({"serial": {"line": "x"}}, expected_failure={"code": "nonsense", "reason": "x"}),
            "`code` is not a code",
        ),
        (one_step({"serial": {"line": "x"}, "wait": {"seconds": 1}}), "check one: step 1: it has serial and wait"),
        (one_step({"serial": {"lime": "x"}}), "check one: step 1 (serial): 'lime' is not one of"),
        (one_step({"serial": {}}), "step 1 (serial): it does not have exactly one of line, match, never"),
        (one_step({"serial": {"match": "("}}), "step 1 (serial): `match` is not a regular expression"),
        (one_step({"counters": {"grow": {"denied_total": "much"}}}), "`grow` is not a mapping of counters"),
        (one_step({"counters": {"grow": {"denied_total": 1}, "since": "never"}}), "`since` is 'never', which no"),
        (one_step({"api": {"path": "/session/{token.session}"}}), "{token.session} is not one of"),
        (one_step({"serial": {"line": "x"}, "blame": "nobody"}), "`blame` is not one of"),
        (one_step({"serial": {"line": "x"}, "within": 0}), "`within` is not a number of seconds"),
        (one_step({"send_key": {"key": "no such key"}}), "check one: step 1: "),
        (one_step({"type": {"text": "x"}, "client": "second"}), "no `connect` before it starts the client 'second'"),
        (one_step({"serial": {"lime": "x"}}), "(did you mean line?)"),
        (one_step({"sreenshot": {}}), "(did you mean screenshot?)"),
        (one_step({"expect_event": {"event": "paste_completed", "since": "later"}}), "check one: step 1: "),
    ],
)
def test_a_bad_file_is_named_by_its_place(suite: Any, place: str) -> None:
    with pytest.raises(LaneError) as caught:
        read(suite)
    assert caught.value.code == "suite_file_invalid" and caught.value.component == "lane"
    assert str(caught.value.cause).startswith("/my/suite.yml:") and place in caught.value.cause


WRITTEN = """\
suite: mine
guests: [pocket]
ryll: []
checks:
  - name: one
    client: shared
    steps:
      - wait: {seconds: 1}
        name: first
      - serial:
          line: x
          count: 2
        within: 2
      - console: {}
        register: c
  - name: two
    steps:
      - screenshot: {}
"""


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ("- screenshot: {}", "- screenshot", 18),
        ("- screenshot: {}", "- sreenshot: {}", 18),
        ("- screenshot: {}", "- type: {txt: x}", 18),
        ("- screenshot: {}", "- serial: {line: '{c.session}'}\n        client: later", 19),
        ("- screenshot: {}", "- link: {console: d}", 18),
        ("- screenshot: {}", "- type: {text: 'a", 19),
        ("[pocket]", "[pocket, nobody]", 2),
        ("ryll: []", "rill: []", 3),
        ("ryll: []", "ryll: 1", 3),
        ("ryll: []", "kerbside:\n  KERBSIDE_A: 1\n  OTHER: 2", 5),
        ("ryll: []", "machines:\n  - {name: a}\n  - name: B", 5),
        ("client: shared", "client: many", 6),
        ("client: shared", "expected_failure:\n      reason: r\n      code: nonsense", 8),
        ("count: 2", "cuont: 2", 12),
        ("count: 2", "count: many", 12),
        ("within: 2", "within: later", 13),
        ("within: 2", "blame: nobody", 13),
        ("register: c", "register: C", 15),
        ("name: two", "name: one", 16),
        ("name: two", "client: none", 16),
    ],
)
def test_a_mistake_is_named_by_its_line(was: str, now: str, line: int) -> None:
    assert WRITTEN.count(was) == 1
    with pytest.raises(LaneError) as caught:
        read(WRITTEN.replace(was, now))
    assert caught.value.cause.startswith(f"/my/suite.yml:{line}: "), caught.value.cause


def test_what_a_suite_file_need_not_say() -> None:
    suite = read({**GOOD, "checks": [{"name": "one", "steps": [{"wait": {"seconds": 1}}, {"hello": {}}]}]})
    (one,) = suite.checks
    assert (suite.boots, suite.ryll, suite.kerbside, suite.machines, suite.description) == (False, (), {}, [], "")
    assert (one.slow, one.client, one.expected_failure, one.events, one.culprits) == (
        False,
        "shared",
        None,
        plan.EVENTS,
        [],
    )
    wait, hello = one.steps
    assert (wait.limit, wait.name, wait.client, wait.number, wait.ryll) == (10.0, "wait", "ryll", 1, None)
    assert (hello.limit, hello.number) == (10.0, 2) and hello.ryll


@pytest.mark.parametrize(
    ("delay", "mbit", "right"),
    [(0, 1000, True), (2000, 0.1, True), (-1, 1, False), (2001, 1, False), (0, 0.09, False), (0, 1001, False)],
)
def test_how_slow_a_link_can_be(delay: float, mbit: float, right: bool) -> None:
    suite = one_step({"link_relay": {"delay_ms": delay, "mbit": mbit}, "register": "link"})
    if right:
        read(suite)
    else:
        with pytest.raises(LaneError, match=r"number of (milliseconds up to 2000|Mbit/s from 0[.]1 to 1000)"):
            read(suite)


def test_machines_may_have_all_ports() -> None:
    machines = [{"name": "a", "tls": True}, {"name": "b", "tls": True}, {"name": "c"}]
    assert len(read(changed(machines=machines)).machines) == 3


def test_what_a_suite_file_says_counts() -> None:
    nap = {"wait": {"seconds": 0.5}, "within": 3600, "register": "w", "client": "second", "name": "a nap"}
    steps = [{"connect": {}, "client": "second"}, nap, {"log": {"of": "api", "line": "x", "since": "w"}}]
    more = {"slow": True, "client": "none", "events": ["latency"], "kerbside": {"KERBSIDE_A": 1}}
    given = {
        "boots": True,
        "ryll": ["--x"],
        "kerbside": {"KERBSIDE_B": True},
        "machines": [{"name": "a"}, {"name": "b"}],
    }
    suite = read(changed(**given, checks=[{"name": "one", "steps": steps, **more}]))
    (one,) = suite.checks
    assert (suite.boots, suite.ryll, suite.kerbside, [each["name"] for each in suite.machines]) == (
        True,
        ("--x",),
        {"KERBSIDE_B": "True"},
        ["a", "b"],
    )
    assert (one.slow, one.client, one.events, one.kerbside) == (
        True,
        "none",
        (*plan.EVENTS, "latency"),
        {"KERBSIDE_A": "1"},
    )
    assert (one.steps[1].limit, one.steps[1].register, one.steps[1].client, one.steps[1].name) == (
        3600.0,
        "w",
        "second",
        "a nap",
    )


def test_suites_are_chosen_by_name_and_played_guest_by_guest() -> None:
    suites = [
        read(changed(suite=name, guests=list(guests)))
        for name, guests in (("a", GUESTS), ("b", GUESTS[:1]), ("c", GUESTS[1:]))
    ]
    assert list(selection.named(suites, ["c", "a"])) == ["c", "a"]
    assert list(selection.named([read(changed(suite="mine"))], ["/my/suite.yml"])) == ["mine"]
    played = selection.plays(selection.named(suites, ["all"]), slow=False)
    assert [(one["suite"], one["guest"], one["last"]) for one in played] == [
        ("a", "pocket", False),
        ("b", "pocket", False),
        ("a", "uncalibrated", False),
        ("c", "uncalibrated", True),
    ]
    tokens = [{"name": "one", "steps": [{"wait": {"seconds": 1}}], "kerbside": {"KERBSIDE_A": 1}}]
    consoles = {"machines": [{"name": "m"}], "consoles": [{"name": "c", "machine": "m"}]}
    anew: dict[str, dict[str, Any]] = {"a": {"kerbside": {"KERBSIDE_A": 1}}, "b": {"checks": tokens}, "c": consoles}
    mixed = [
        read(changed(suite=name, **given)) for name, given in {**anew, "d": {"machines": [{"name": "one"}]}}.items()
    ]
    assert list(selection.named(mixed, ["all"])) == ["d", "a", "b", "c"]  # kerbside is started anew for the others
    assert list(selection.named(mixed, ["a", "d"])) == ["a", "d"]
    for wrong, code in (
        (lambda: selection.named(suites, ["d"]), "suite_unknown"),
        (lambda: selection.named([*suites, suites[0]], ["all"]), "suite_file_invalid"),
    ):
        with pytest.raises(LaneError) as caught:
            wrong()
        assert caught.value.code == code
