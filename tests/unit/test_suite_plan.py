"""Suite files: ours are sound, a bad one is named by its place, and what a file says counts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.checks.suites import plan, selection
from ansible.module_utils.lane.checks.suites.actors import ACTORS
from ansible.module_utils.lane.checks.suites.kinds import KINDS
from ansible.module_utils.lane.core.errors import LaneError
from prepared import fails
from suite_lane import CONSOLE_K, GOOD, GUESTS, NAP, changed, read, suite_of

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
def test_our_own_suites_have_two_witnesses_for_each_check_and_a_fault(path):
    suite = plan.read(str(path), path.read_text(encoding="utf-8"), ACTORS, GUESTS)
    assert suite.name == path.stem and suite.description
    caught = {name for fault in FAULTS if fault["suite"] == suite.name for name in fault["expect"]}
    for one in suite.checks:
        seen = [step for step in one.steps if step.actor in WITNESSES]
        alone = [step for step in seen if step.actor in ("digest", "settled")]  # two: its pixels and what it tells
        assert len(seen) >= 2 or alone, one.name
    assert caught <= {one.name for one in suite.checks}


def test_the_page_names_every_suite_every_check_and_every_actor():
    page = (ROOT / "docs/suites.md").read_text(encoding="utf-8")
    example = page.split("<!-- suite -->\n```yaml\n")[1].split("```")[0]
    assert plan.read("/tmp/mine.yml", example, ACTORS, GUESTS).name == "mine"
    for path in FILES:
        suite = plan.read(str(path), path.read_text(encoding="utf-8"), ACTORS, GUESTS)
        assert f"| {suite.name} |" in page
        assert suite.name in ("picture", "modes") or all(f"`{check.name}`" in page for check in suite.checks)
    assert [actor for actor in ACTORS if f"`{actor}:" not in page and f"`{actor}`" not in page] == []


def refused(suite: Any) -> str:
    """Why a suite file is refused."""
    with pytest.raises(LaneError) as caught:
        read(suite)
    assert caught.value.code == "suite_file_invalid" and caught.value.component == "lane"
    assert caught.value.cause.startswith("/my/suite.yml:")
    return caught.value.cause


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("suite: [", "/my/suite.yml:1: it is not YAML"),
        ("suite: a\nchecks: []\nchecks: []", "/my/suite.yml:3: the key checks is there twice"),
        ("suite: a\nchecks:\n  - {name: a, name: b}", "/my/suite.yml:3: the key name is there twice"),
        ("[" * 5000 + "]" * 5000, "/my/suite.yml:1: it is nested too deeply"),
        ("suite: a\nspeed: .inf", "/my/suite.yml:2: .inf is not"),
        ("suite: a\n-.INF: 1", "/my/suite.yml:2: -.INF is not"),
        ("suite: 2020-13-45", "/my/suite.yml:1: YAML cannot read a value in it (month"),
        ("suite: " + "9" * 5000, "/my/suite.yml:1: YAML cannot read a value"),
        ("[]", "/my/suite.yml:1: it is not a mapping"),
        ({"suite": "mine", "guests": ["pocket"]}, "`checks` is missing"),
        ({"suite": "mine", "checks": GOOD["checks"]}, "`guests` is missing"),
        (changed(speed=1), "'speed' is not one of"),
        (changed(suite="My"), "`suite` is not a name"),
        (changed(guests=["nobody"]), "there is no guest 'nobody'; fixtures/guests.yml has pocket, uncalibrated"),
        (changed(kerbside={"MODE": 1}), "`kerbside` has 'MODE'"),
        (changed(machines=[{"name": name, "tls": True} for name in "abc"]), "`machines` need more than 5 ports"),
        (changed(machines=[{"name": "A"}]), "machines: `name` is not a name"),
        (changed(machines=[{"tls": True}]), "`name` is missing"),
        (changed(consoles=[{"name": "k"}]), "console k: `machine` is not the name of one of `machines`"),
        (changed(checks=["x"]), "check 1: it is not a mapping"),
        (changed(checks=GOOD["checks"] * 2), "two checks are named one"),
        (changed(checks=[{"name": "N", "steps": []}]), "check 1: `name` is not a name"),
        (changed(checks=[*GOOD["checks"], {"name": "two", "steps": []}]), "check two: `steps` is not a list"),
        (changed(checks=[{"name": "one"}]), "check one: `steps` is missing"),
        (changed(checks=[{"name": "one", "steps": ["x"]}]), "step 1: it is not a mapping such as"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(suite, words):
    assert words in refused(suite)


def culprit(**more: Any) -> dict[str, Any]:
    return {"if_failed": [{"instead_of": "guest", "blame": "ryll", "steps": [NAP], **more}]}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"client": "many"}, "check one: `client` is not shared, fresh or none"),
        ({"kerbside": {"OTHER": 1}}, "its settings are named KERBSIDE_SOMETHING"),
        ({"kerbside": {"KERBSIDE_A": "{b}"}}, "{b} is not one of source, uuid"),
        ({"expected_failure": {"code": "task_failed"}}, "check one: expected_failure: `reason` is missing"),
        ({"expected_failure": {"reason": "x"}}, "`code` is missing"),
        ({"if_failed": [{"blame": "ryll", "steps": []}]}, "check one: if_failed: `instead_of` is missing"),
        (culprit(steps=[{}]), "if_failed: step 1: it has none of"),
    ],
)
def test_a_check_that_is_wrong(more, words):
    assert words in refused(suite_of({"name": "one", "steps": [NAP], **more}))


#: Before the step: a link `l`, a machine `m` and its console `k`.
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({}, "check one: step 2: it has none of"),
        ({"serial": {"line": "x"}, **NAP}, "check one: step 2: it has serial and wait"),
        ({"sreenshot": {}}, "(did you mean screenshot?)"),
        ({**NAP, "client": "A"}, "`client` is not a name"),
        ({**NAP, "since": 1}, "'since' is not one of blame, client, name, register, within"),
        ({**NAP, "register": "A"}, "`register` is not a name"),
        ({**NAP, "within": 0}, "`within` is not a number of seconds"),
        ({"type": {"text": "x"}, "client": "second"}, "no `connect` before it starts the client 'second'"),
        ({"hello": {}, "blame": "nobody"}, "wrong `blame`"),
        ({"send_key": {"key": "no such key"}}, "check one: step 2: "),
        ({"expect_event": {"event": "paste_completed", "since": "later"}}, "check one: step 2: "),
        ({"wait": None}, "`seconds` is missing"),
        ({"wait": [1]}, "it is not a mapping"),
        (
            {"serial": {"lime": "x"}},
            "'lime' is not one of count, line, match, never, seconds, since (did you mean line?)",
        ),
        (
            {"serial": {"line": "x", "match": "y"}},
            "step 2 (serial): it does not have exactly one of line, match, never",
        ),
        ({"serial": {}}, "step 2 (serial): it does not have exactly one of line, match, never"),
        ({"serial": {"match": "("}}, "step 2 (serial): `match` is not a regular expression"),
        ({"api": {"path": "/x", "method": "HEAD"}}, "`method` is not GET or POST"),
        ({"api": {"path": "/x", "jwt": {"set": {"a": ["{gone.x}"]}}}}, "{gone.x} is not one of"),
        ({"audit": {"than": "l"}}, "`than` is 'l', which no audit step before it registered"),
        ({"counters": {"grow": {"a": 1}, "since": "never"}}, "`since` is 'never', which no step before it registered"),
        ({"file": {"name": "x", "bytes": 1, "program": "y"}}, "exactly one of bytes, program"),
        ({"acknowledged": {"through": "l"}}, "no link_relay step before it registered"),
        ({"paced": {"link": "l", "since": "l"}}, "no link_relay step before it registered"),
        ({"remove_console": {"of": "c"}}, "`of` is 'c', which no consoles step before it registered"),
        ({"move_console": {"of": "k", "to": "k"}}, "`to` is 'k', which no machines step before it registered"),
    ],
)
def test_a_step_that_is_wrong(step, words):
    assert words in refused(suite_of({"name": "one", "steps": [{"link": {}, "register": "l"}, step]}, **CONSOLE_K))


#: For each kind of value some that it takes, and some that it does not take.
TAKES: dict[str, tuple[list[Any], list[Any]]] = {
    "text": (["", "a\nb"], [1, None]),
    "word": (["a b"], ["", "a\nb", 1]),
    "name": (["a_1"], ["", "A", "1", 1]),
    "component": (["guest", "ryll"], ["nobody", 1]),
    "code": (["task_failed"], ["nonsense", 1]),
    "client": (["shared", "fresh", "none"], ["many"]),
    "texts": ([["a"]], [[], ["a", 1], "a"]),
    "any_texts": ([[], ["a"]], [["a", 1], "a"]),
    "pattern": (["^a"], ["(", 1]),
    "patterns": ([["a"]], [[], ["["], "a"]),
    "holds": ([{"(": [{"a": "b"}]}, 1, None], [{"a": [{"b": "["}]}]),
    "program": ([["sh", "/x"]], [["/bin/sh"], [], ["sh", 1]]),
    "path": (["/", "/a?b=1"], ["", "a", "/a b", "/ü", "/a\n", None]),
    "file": (["a-1.x"], ["", ".a", "../a", "ü", 1]),
    "claims": ([{}, {"set": {"a": 1}, "drop": ["b"], "alg": "none"}], [[], {"x": 1}, {"set": 5}, {"drop": [1]}]),
    "whole": ([0, 1], [-1, True, 1.0, "1"]),
    "size": ([0, 100 << 20], [-1, 1 + (100 << 20), True]),
    "number": ([0.1, 1e6], [0, 1e6 + 1, True, "1"]),
    "limit": ([0.1, 3600], [0, 3601, True, "1"]),
    "delay": ([0, 2000], [-1, 2001, float("nan"), True]),
    "rate": ([0.1, 1000], [0.09, 1001, "10"]),
    "hex": (["00fF", 12], ["", "f", "fg"]),
    "truth": ([True, False], [1, "yes"]),
    "mapping": ([{}], [[]]),
    "list": ([[]], [{}]),
    "checks": ([["x"]], [[], "x"]),
    "steps": ([["x"], [["x"]]], [[], ["x", []]]),
    "machines": ([[], [{}] * 3], [[{}] * 4]),
    "consoles": ([[], [{}] * 20], [[{}] * 21]),
    "growth": ([{"a": 1, "b": ">=2", "c": "< 3"}], [{}, {"a": "much"}, {"a": -1}, [1]]),
    "cases": ([[{}], [{"run": ["a"], "exits": 0}]], [[], [1], [{"strange": 1}], [{"exits": "x"}], {"says": ["a"]}]),
    "any": ([None, []], []),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_value_of_each_kind_can_be(kind):
    taken, refused = TAKES[kind]
    fits = KINDS[kind][1]
    assert [value for value in taken if not fits(value)] + [value for value in refused if fits(value)] == []


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
def test_a_mistake_is_named_by_its_line(was, now, line):
    assert WRITTEN.count(was) == 1
    assert refused(WRITTEN.replace(was, now)).startswith(f"/my/suite.yml:{line}: ")


def test_what_a_suite_file_need_not_say():
    suite = read(
        suite_of({"name": "one", "steps": [{"wait": {"seconds": 1}}, {"hello": {}}]}, machines=[{"name": "m"}])
    )
    (one,) = suite.checks
    assert (suite.boots, suite.ryll, suite.kerbside, suite.consoles, suite.description) == (False, (), {}, [], "")
    assert [machine["tls"] for machine in suite.machines] == [False]
    assert (one.slow, one.client, one.expected_failure) == (False, "shared", None)
    assert (one.events, one.culprits) == (plan.EVENTS, [])
    wait, hello = one.steps
    assert (wait.limit, wait.name, wait.client, wait.number, wait.ryll) == (10.0, "wait", "ryll", 1, None)
    assert (hello.limit, hello.number) == (10.0, 2) and hello.ryll


@pytest.mark.parametrize(
    ("step", "limit"),
    [
        ({"serial": {"line": "x"}}, 5.0),
        ({"api": {"path": "/"}}, 5.0),
        ({"audit": {}}, 5.0),
        ({"relayed": {}}, 5.0),
        ({"command": {"run": ["kerbside"]}}, 30.0),
        ({"stop": {}}, 10.0),
        ({"serial": {"line": "x"}, "within": 7}, 7.0),
    ],
)
def test_each_kind_of_step_has_a_limit_of_its_own_unless_it_says_another(step, limit):
    assert read(suite_of({"name": "one", "steps": [step]})).checks[0].steps[0].limit == limit


def test_machines_may_have_all_ports():
    machines = [{"name": "a", "tls": True}, {"name": "b", "tls": True}, {"name": "c"}]
    assert len(read(changed(machines=machines)).machines) == 3


def test_what_a_suite_file_says_counts():
    nap = {"wait": {"seconds": 0.5}, "within": 3600, "register": "w", "client": "second", "name": "a nap"}
    steps = [{"connect": {}, "client": "second"}, nap, {"log": {"of": "api", "line": "x", "since": "w"}}]
    more = {"slow": True, "client": "none", "events": ["latency"], "kerbside": {"KERBSIDE_A": 1}}
    given = {"boots": True, "ryll": ["--x"], "kerbside": {"KERBSIDE_B": True}, "description": "what"}
    suite = read(suite_of({"name": "one", "steps": steps, **more}, **given, machines=[{"name": "a"}, {"name": "b"}]))
    (one,) = suite.checks
    assert (suite.boots, suite.ryll, suite.kerbside) == (True, ("--x",), {"KERBSIDE_B": "True"})
    assert (suite.description, [each["name"] for each in suite.machines]) == ("what", ["a", "b"])
    assert (one.slow, one.client, one.kerbside) == (True, "none", {"KERBSIDE_A": "1"})
    assert one.events == (*plan.EVENTS, "latency")
    step = one.steps[1]
    assert (step.limit, step.register, step.client, step.name) == (3600.0, "w", "second", "a nap")


def test_a_list_among_the_steps_stands_for_its_steps():
    nap, ask = {"wait": {"seconds": 1}}, {"status": {}}
    (one,) = read(suite_of({"name": "one", "steps": [nap, [nap, ask], nap]})).checks
    assert [(step.number, step.actor) for step in one.steps] == [(1, "wait"), (2, "wait"), (3, "status"), (4, "wait")]
    assert "check one: step 2: " in refused(suite_of({"name": "one", "steps": [nap, [[nap]]]}))
    assert "check one: `steps`" in refused(suite_of({"name": "one", "steps": [nap, []]}))


def test_a_check_without_a_client_starts_the_one_that_its_steps_ask():
    connect, ask = {"connect": {}}, {"expect_event": {"event": "agent_connected"}}
    check = {"name": "one", "client": "none"}
    before = {"name": "before", "steps": [connect]}
    assert "no `connect` before it" in refused(changed(checks=[before, {**check, "steps": [NAP, ask]}]))
    assert read(changed(checks=[before, {**check, "steps": [NAP, connect, ask]}]))
    assert read(changed(checks=[{**check, "steps": [NAP]}, {"name": "after", "steps": [ask]}]))


def test_suites_are_chosen_by_name_and_played_guest_by_guest():
    guests = {"a": GUESTS, "b": GUESTS[:1], "c": GUESTS[1:]}
    suites = [read(changed(suite=name, guests=list(each))) for name, each in guests.items()]
    assert list(selection.named(suites, ["c", "a"])) == ["c", "a"]
    assert list(selection.named([read(GOOD)], ["/my/suite.yml"])) == ["mine"]
    played = selection.plays(selection.named(suites, ["all"]), slow=False)
    assert [(one["suite"], one["guest"], one["last"]) for one in played] == [
        ("a", "pocket", False),
        ("b", "pocket", False),
        ("a", "uncalibrated", False),
        ("c", "uncalibrated", True),
    ]
    twice = [*suites, suites[0]]
    for given, names, code in ((suites, ["d"], "suite_unknown"), (twice, ["all"], "suite_file_invalid")):
        with fails(code, "lane"):
            selection.named(given, names)


def test_suites_for_which_kerbside_is_started_anew_are_the_last_of_all():
    settings = {"kerbside": {"KERBSIDE_A": 1}}
    given: dict[str, Any] = {
        "a": settings,
        "b": {"checks": [{"name": "one", "steps": [NAP], **settings}]},
        "c": CONSOLE_K,
        "d": {"machines": [{"name": "one"}]},
    }
    suites = [read(changed(suite=name, **more)) for name, more in given.items()]
    assert list(selection.named(suites, ["all"])) == ["d", "a", "b", "c"]
    assert list(selection.named(suites, ["a", "d"])) == ["a", "d"]
