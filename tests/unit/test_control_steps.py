"""The language of steps: every mistake is reported with the number of its step, before anything starts."""

import math
from datetime import date
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps
from ansible.module_utils.lane.protocols.ryll.pictures import Region
from ansible.module_utils.lane.protocols.ryll.private import hide
from ansible.module_utils.lane.protocols.ryll.steps import VERBS, Step, plan

HELLO: dict[str, Any] = {"hello": {}}
SUBSCRIBED = {"subscribe": {"events": ["latency"]}}
SHOT = {"screenshot": {}, "register": "one"}
STATUS = {"status": {}, "register": "s"}
LATENCY = {"event": "latency", "seconds": 1}


def after_hello(*steps: object) -> list[Step]:
    return plan([HELLO, *steps])[1:]


#: (words of the message, the whole list)
BAD_LISTS: list[tuple[str, object]] = [
    ("the steps are a mapping, not a list", {"hello": {}}),
    ("the steps are nothing", None),
    ("the steps are empty", []),
    ("step 1 is 'hello', not a mapping with a verb", ["hello"]),
    ("step 1 has no verb", [{"name": "x"}]),
    ("has hello and status", [{"hello": {}, "status": {}}]),
    ("unknown key 1", [{1: {}}]),
    ("step 1 (hello) gives `hello` 3, not a mapping", [{"hello": 3}]),
    ("step 1 (hello), `hello`, has the unknown option 'v'; known: protocol_version", [{"hello": {"v": "1.0"}}]),
    ("wrong `name`", [{"hello": {}, "name": "a\nb"}]),
    ("wrong `within`: 'soon' is not a number", [{"hello": {}, "within": "soon"}]),
    ("wrong `within`: nan is not a number", [{"hello": {}, "within": math.nan}]),
    ("wrong `within`: it is 0, not from 0.001 to 86400", [{"hello": {}, "within": 0}]),
    ("wrong `within`: it is 86401, not from 0.001 to 86400", [{"hello": {}, "within": 86401}]),
    ("wrong `blame`: 'me' is none of guest, qemu,", [{"hello": {}, "blame": "me"}]),
    ("step 2 (status) has no `hello` step before it", [{"hello": {}, "refused": "busy"}, {"status": {}}]),
    ("step 1 (status) has no `hello` step before it", [{"status": {}}]),
    ("a `within` of 5, which is not above its 5 seconds", [{"pause": {"seconds": 5}, "within": 5}]),
    ("is private, but `hello` has no text to hide", [{"hello": {}, "private": True}]),
]
#: (words of the message, the steps after hello)
BAD: list[tuple[str, list[dict[str, Any]]]] = [
    ("step 2 has the unknown key 'helo'", [{"helo": {}}]),
    ("'within' (it belongs beside the verb, not below it)", [{"await": {"agent": True, "within": 3}}]),
    ("unknown option 'x'; known: none", [{"status": {"x": 1}}]),
    ("step 2 (type), `type`, lacks `text`", [{"type": {}}]),
    ("step 2 (log in), `type`,", [{"type": {}, "name": "log in"}]),
    ("wrong `surfaces`: 1.5 is not a whole number", [{"await": {"surfaces": 1.5}}]),
    ("wrong `surfaces`: True is not a whole number", [{"await": {"surfaces": True}}]),
    ("wrong `surfaces`: it is 0, not from 1 to 1000", [{"await": {"surfaces": 0}}]),
    ("wrong `width`: it is 16385, not from 1 to 16384", [{"resize": {"width": 16385, "height": 1}}]),
    ("wrong `marks`: it is 0, not from 1 or more", [{"await": {"marks": 0}}]),
    ("wrong `interval`: True is not a number", [{"await": {"marks": 1, "interval": True}}]),
    ("wrong `agent`: 'maybe' is not true or false", [{"await": {"agent": "maybe"}}]),
    ("wrong `format`: 'jpeg' is none of png, rgba", [{"screenshot": {"format": "jpeg"}}]),
    ("wrong `size`: 'big' is not a size", [{"await": {"size": "big"}}]),
    ("`await` none; it needs at least one of agent, surfaces, size, size_as, marks", [{"await": {}}]),
    ("wrong `file`: 'a.png' is not an absolute path", [{"screenshot": {"file": "a.png"}}]),
    ("wrong `file`", [{"screenshot": {"file": "/a\0b"}}]),
    ("wrong `region`", [{"screenshot": {"region": "all"}}]),
    ("wrong `region`", [{"screenshot": {"region": {"x": 1}}}]),
    ("wrong `region`", [{"screenshot": {"region": {"x": 0, "y": 0, "width": 0, "height": 1}}}]),
    ("wrong `region`", [{"screenshot": {"region": {"x": 0, "y": -1, "width": 1, "height": 1}}}]),
    ("wrong `masks`", [{"screenshot": {"masks": {"x": 1}}}]),
    ("wrong `masks`", [{"screenshot": {"masks": [{"x": 1}]}}]),
    ("has a `difference` without `equals`", [{"screenshot": {"difference": "/d.png"}}]),
    ("wrong `key`: 'retrun' in 'retrun' is not the name of a key", [{"send_key": {"key": "retrun"}}]),
    ("wrong `keys`", [{"send_key": {"keys": []}}]),
    ("key and scancode; it needs exactly one of key, keys, scancode", [{"send_key": {"key": "a", "scancode": 1}}]),
    ("none; it needs exactly one of", [{"send_key": {}}]),
    ("the prefix belongs in the high byte, as in 0xE04B", [{"send_key": {"scancode": 0x4BE0}}]),
    ("wrong `scancode`: 'left' is not a set 1 make code", [{"send_key": {"scancode": "left"}}]),
    ("wrong `text`: character 2 is not on a US keyboard", [{"type": {"text": "a\u00e9"}}]),
    ("has 104857601 bytes; the most is 104857600", [{"clipboard_set": {"text": "x" * 104857601}}]),
    ("has 100001 characters; the most is 100000", [{"type": {"text": "x" * 100_001}}]),
    ("wrong `text`: 5 is not a text", [{"paste": {"text": 5}}]),
    ("wrong `events`", [{"subscribe": {"events": "latency"}}]),
    ("wrong `fields`: a list is not a mapping", [SUBSCRIBED, {"expect_event": {"event": "latency", "fields": [1]}}]),
    ("wrong `fields`", [SUBSCRIBED, {"expect_event": {"event": "latency", "fields": {1: 2}}}]),
    ("wrong `params`", [{"call": {"method": "m", "params": {"n": math.nan}}}]),
    ("wrong `params`", [{"call": {"method": "m", "params": {"n": date(2026, 1, 1)}}}]),
    ("registers 'one', which an earlier step registered", [SHOT, SHOT]),
    ("'x' is not the registered name of a step", [SUBSCRIBED, {"quiet": LATENCY | {"since": "x"}}]),
    ("'one' is not the registered name of a screenshot step", [{"screenshot": {"same_as": "one"}}, SHOT]),
    ("'s' is not the registered name of a screenshot step", [STATUS, {"screenshot": {"same_as": "s"}}]),
    (
        "not the registered name of a screenshot",
        [SHOT | {"refused": "no_such_surface"}, {"screenshot": {"same_as": "one"}}],
    ),
    ("name of a resize or screenshot step", [STATUS, {"await": {"size_as": "s"}}]),
    ("has no `subscribe` to latency before it", [{"expect_event": {"event": "latency"}}]),
    (
        "step 4 (quiet) has no `subscribe` to latency",
        [SUBSCRIBED, {"unsubscribe": {"events": ["latency"]}}, {"quiet": LATENCY}],
    ),
    ("no `subscribe`", [SUBSCRIBED | {"refused": "bad_params"}, {"quiet": LATENCY}]),
    ("no `subscribe` to dropped", [SUBSCRIBED, {"unsubscribe": {"events": ["latency", "dropped"]}}]),
    ("step 4 (quiet) has no `subscribe`", [SUBSCRIBED, {"reconnect": {"resubscribe": False}}, {"quiet": LATENCY}]),
    ("no `subscribe`", [{"paste": {"text": "x", "wait": False}}, {"expect_event": {"event": "paste_completed"}}]),
]


@pytest.mark.parametrize(("words", "steps"), [*BAD_LISTS, *((words, [HELLO, *steps]) for words, steps in BAD)])
def test_a_mistake_is_reported_in_one_sentence(words, steps):
    with pytest.raises(BadSteps) as caught:
        plan(steps)
    assert words in str(caught.value)
    assert (caught.value.code, caught.value.component) == ("ryll_input", "lane")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "step",
    [
        {"type": {"text": "sesame ö"}, "private": True},
        {"type": {"text": ["sesame"]}, "private": True},
        {"type": "sesame", "private": True},
        {"paste": {"text": "sesame", "char_delay_ms": -1}, "private": True},
        {"clipboard_get": {"equals": ["sesame"]}, "private": "yes"},
        {"call": {"method": "m", "params": {"sesame": math.nan}}, "private": True},
        {"type": {"text": "sesame", "private": True}},
    ],
)
def test_no_mistake_tells_a_private_text(step):
    with pytest.raises(BadSteps) as caught:
        after_hello(step)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (
            {"await": {"agent": "yes", "surfaces": "2", "size": " 8x4 ", "interval": "1.5"}},
            {"agent": True, "surfaces": 2, "size": (8, 4), "interval": 1.5},
        ),
        ({"await": {"agent": "off"}}, {"agent": False}),
        ({"send_key": {"key": 1}}, {"key": (2,)}),
        ({"send_key": {"scancode": "0xE04B"}}, {"scancode": (0xE04B,)}),
        (
            {"screenshot": {"region": {"x": "1", "y": 2, "width": 3, "height": 4}, "masks": []}},
            {"region": Region(1, 2, 3, 4), "masks": []},
        ),
    ],
)
def test_what_templates_give_as_text_is_converted(step, options):
    (planned,) = after_hello(step)
    assert planned.options.items() >= options.items()


def test_a_verb_without_options_may_stand_alone():
    assert [step.verb for step in plan([{"hello": None}, {"status": None}])] == ["hello", "status"]


def test_a_step_has_its_own_limit_or_the_common_one():
    pause = {"pause": {"seconds": 20}}
    steps = plan([HELLO, {"status": {}, "within": "3"}, pause, pause | {"within": 21}], step_limit=7)
    assert [step.limit for step in steps] == [7, 3, 27, 21]


@pytest.mark.parametrize("limit", [0, 86401, math.nan])
def test_a_common_limit_that_is_none_is_refused(limit):
    with pytest.raises(BadSteps, match=r"step_limit is .*, not from 0\.001 to 86400"):
        plan([HELLO], limit)


def test_only_these_verbs_act_on_the_guest():
    acting = {name for name, verb in VERBS.items() if verb.acts}
    assert acting == {"send_key", "type", "paste", "clipboard_set", "resize"}
    calls = plan([{"call": {"method": "x"}}, {"call": {"method": "x", "acts": True}}])
    assert [step.acts for step in calls] == [False, True]


def test_private_texts_are_hidden_from_logs_whatever_the_list_is_like():
    step = {"call": {"method": "m", "params": {"a": ["sesame", 1]}}, "private": "yes", "name": "n"}
    assert hide([step, {"type": {"text": "open"}}, "x"]) == [
        {
            "call": {"method": "(private, 1 characters)", "params": {"a": ["(private, 6 characters)", "(private)"]}},
            "private": "yes",
            "name": "n",
        },
        {"type": {"text": "open"}},
        "x",
    ]
    assert hide([{"type": "sesame", "private": 1}]) == [{"type": "(private, 6 characters)", "private": 1}]
    assert hide("anything") == "(private, 8 characters)"
    pin = {"type": {"text": 123456, "delay_ms": None}, "private": True}
    assert hide([pin]) == [pin | {"type": {"text": "(private)", "delay_ms": None}}]
    misplaced = {"type": {"text": "sesame", "private": True}}
    assert hide([misplaced]) == [{"type": {"text": "(private, 6 characters)", "private": True}}]
    assert hide([{"hello": {}}, {"status": None}]) == [{"hello": {}}, {"status": None}]


def test_a_paste_brings_its_own_subscription():
    assert len(after_hello({"paste": {"text": "x"}}, {"expect_event": {"event": "paste_completed"}})) == 2


def test_a_clipboard_text_of_the_most_length_is_taken():
    assert len(after_hello({"clipboard_set": {"text": "x" * 104857600}})[0].options["text"]) == 104857600
