"""The language of steps: every mistake is reported with the number of its step, before anything starts."""

from __future__ import annotations

import math
import time
from datetime import date
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps
from ansible.module_utils.lane.protocols.ryll.pictures import Region
from ansible.module_utils.lane.protocols.ryll.private import hide
from ansible.module_utils.lane.protocols.ryll.steps import VERBS, plan

HELLO: dict[str, Any] = {"hello": {}}


def after_hello(*steps: object) -> list[object]:
    return [HELLO, *steps]


SUBSCRIBED = {"subscribe": {"events": ["latency"]}}
SHOT = {"screenshot": {}, "register": "one"}
BAD: dict[str, tuple[object, str]] = {
    "no list": ({"hello": {}}, "the steps are a mapping, not a list"),
    "nothing": (None, "the steps are nothing"),
    "empty": ([], "the steps are empty"),
    "no mapping": (["hello"], "step 1 is 'hello', not a mapping with a verb"),
    "no verb": ([{"name": "x"}], "step 1 has no verb"),
    "two verbs": ([{"hello": {}, "status": {}}], "has hello and status"),
    "unknown verb": ([HELLO, {"helo": {}}], "step 2 has the unknown key 'helo'"),
    "a key that is no text": ([{1: {}}], "unknown key 1"),
    "options that are none": ([{"hello": 3}], "step 1 (hello) gives `hello` 3, not a mapping"),
    "unknown option": (
        [{"hello": {"version": "1.0"}}],
        "step 1 (hello), `hello`, has the unknown option 'version'; known: protocol_version",
    ),
    "an option in the wrong place": (
        after_hello({"await": {"agent": True, "within": 3}}),
        "'within' (it belongs beside the verb, not below it)",
    ),
    "no options at all": (after_hello({"status": {"x": 1}}), "unknown option 'x'; known: none"),
    "missing option": (after_hello({"type": {}}), "step 2 (type), `type`, lacks `text`"),
    "null for a required option": (after_hello({"type": {"text": None}}), "lacks `text`"),
    "the step's own name": (after_hello({"type": {}, "name": "log in"}), "step 2 (log in), `type`,"),
    "a name that is none": ([{"hello": {}, "name": "a\nb"}], "wrong `name`"),
    "no whole number": (after_hello({"await": {"surfaces": 1.5}}), "wrong `surfaces`: 1.5 is not a whole number"),
    "a truth value for a number": (
        after_hello({"await": {"surfaces": True}}),
        "wrong `surfaces`: True is not a whole number",
    ),
    "too small": (after_hello({"await": {"surfaces": 0}}), "wrong `surfaces`: it is 0, not from 1 to 1000"),
    "too large": (
        after_hello({"resize": {"width": 16385, "height": 1}}),
        "wrong `width`: it is 16385, not from 1 to 16384",
    ),
    "open end": (after_hello({"await": {"marks": 0}}), "wrong `marks`: it is 0, not from 1 or more"),
    "no number": ([{"hello": {}, "within": "soon"}], "wrong `within`: 'soon' is not a number"),
    "not finite": ([{"hello": {}, "within": math.nan}], "wrong `within`: nan is not a number"),
    "for ever": ([{"hello": {}, "within": math.inf}], "wrong `within`: inf is not a number"),
    "no time at all": ([{"hello": {}, "within": 0}], "wrong `within`: it is 0, not from 0.001 to 86400"),
    "more than a day": ([{"hello": {}, "within": 86401}], "wrong `within`: it is 86401, not from"),
    "no truth value": (after_hello({"await": {"agent": "maybe"}}), "wrong `agent`: 'maybe' is not true or false"),
    "no component": ([{"hello": {}, "blame": "me"}], "wrong `blame`: 'me' is none of guest, qemu,"),
    "no choice": (after_hello({"screenshot": {"format": "jpeg"}}), "wrong `format`: 'jpeg' is none of png, rgba"),
    "no size": (after_hello({"await": {"size": "big"}}), "wrong `size`: 'big' is not a size"),
    "no condition": (
        after_hello({"await": {}}),
        "gives `await` none; it needs at least one of agent, surfaces, size, size_as, marks",
    ),
    "relative path": (after_hello({"screenshot": {"file": "a.png"}}), "wrong `file`: 'a.png' is not an absolute path"),
    "a path with a NUL": (after_hello({"screenshot": {"file": "/a\0b"}}), "wrong `file`"),
    "no region": (after_hello({"screenshot": {"region": {"x": 1}}}), "wrong `region`"),
    "empty region": (
        after_hello({"screenshot": {"region": {"x": 0, "y": 0, "width": 0, "height": 1}}}),
        "wrong `region`",
    ),
    "masks that are none": (after_hello({"screenshot": {"masks": {"x": 1}}}), "wrong `masks`"),
    "a mask that is none": (after_hello({"screenshot": {"masks": [{"x": 1}]}}), "wrong `masks`"),
    "a difference of nothing": (
        after_hello({"screenshot": {"difference": "/d.png"}}),
        "has a `difference` without `equals`",
    ),
    "no key": (
        after_hello({"send_key": {"key": "retrun"}}),
        "wrong `key`: 'retrun' in 'retrun' is not the name of a key",
    ),
    "no keys": (after_hello({"send_key": {"keys": []}}), "wrong `keys`"),
    "key and code": (
        after_hello({"send_key": {"key": "a", "scancode": 1}}),
        "key and scancode; it needs exactly one of key, keys, scancode",
    ),
    "neither key nor code": (after_hello({"send_key": {}}), "none; it needs exactly one of"),
    "swapped scancode": (
        after_hello({"send_key": {"scancode": 0x4BE0}}),
        "the prefix belongs in the high byte, as in 0xE04B",
    ),
    "scancode in words": (
        after_hello({"send_key": {"scancode": "left"}}),
        "wrong `scancode`: 'left' is not a set 1 make code",
    ),
    "text that no keyboard has": (
        after_hello({"type": {"text": "a\u00e9"}}),
        "wrong `text`: character 2 is not on a US keyboard",
    ),
    "too much text": (
        after_hello({"clipboard_set": {"text": "x" * 104857601}}),
        "has 104857601 bytes; the most is 104857600",
    ),
    "too much to type": (after_hello({"type": {"text": "x" * 100_001}}), "has 100001 characters; the most is 100000"),
    "no text": (after_hello({"paste": {"text": 5}}), "wrong `text`: 5 is not a text"),
    "no names": (after_hello({"subscribe": {"events": "latency"}}), "wrong `events`"),
    "no fields": (
        after_hello(SUBSCRIBED, {"expect_event": {"event": "latency", "fields": [1]}}),
        "wrong `fields`: a list is not a mapping",
    ),
    "fields with strange keys": (
        after_hello(SUBSCRIBED, {"expect_event": {"event": "latency", "fields": {1: 2}}}),
        "wrong `fields`",
    ),
    "parameters that JSON has not": (
        after_hello({"call": {"method": "m", "params": {"n": math.nan}}}),
        "wrong `params`",
    ),
    "parameters with a date": (
        after_hello({"call": {"method": "m", "params": {"n": date(2026, 1, 1)}}}),
        "wrong `params`",
    ),
    "a refused hello": (
        [{"hello": {}, "refused": "busy"}, {"status": {}}],
        "step 2 (status) has no `hello` step before it",
    ),
    "no hello": ([{"status": {}}], "step 1 (status) has no `hello` step before it"),
    "the same register twice": (after_hello(SHOT, SHOT), "registers 'one', which an earlier step registered"),
    "since what": (
        after_hello(SUBSCRIBED, {"quiet": {"event": "latency", "seconds": 1, "since": "x"}}),
        "'x' is not the registered name of a step",
    ),
    "same as later": (
        after_hello({"screenshot": {"same_as": "one"}}, SHOT),
        "'one' is not the registered name of a screenshot step",
    ),
    "same as no picture": (
        after_hello({"status": {}, "register": "s"}, {"screenshot": {"same_as": "s"}}),
        "not the registered name of a screenshot",
    ),
    "same as a refused one": (
        after_hello(
            {"screenshot": {}, "register": "s", "refused": "no_such_surface"}, {"screenshot": {"same_as": "s"}}
        ),
        "not the registered name of a screenshot",
    ),
    "size as what": (
        after_hello({"status": {}, "register": "s"}, {"await": {"size_as": "s"}}),
        "name of a resize or screenshot step",
    ),
    "not subscribed": (after_hello({"expect_event": {"event": "latency"}}), "has no `subscribe` to latency before it"),
    "unsubscribed": (
        after_hello(
            SUBSCRIBED, {"unsubscribe": {"events": ["latency"]}}, {"quiet": {"event": "latency", "seconds": 1}}
        ),
        "step 4 (quiet) has no `subscribe` to latency",
    ),
    "a refused subscription": (
        after_hello(SUBSCRIBED | {"refused": "bad_params"}, {"quiet": {"event": "latency", "seconds": 1}}),
        "no `subscribe`",
    ),
    "unsubscribed what was not subscribed": (
        after_hello(SUBSCRIBED, {"unsubscribe": {"events": ["latency", "dropped"]}}),
        "no `subscribe` to dropped",
    ),
    "subscription not kept": (
        after_hello(SUBSCRIBED, {"reconnect": {"resubscribe": False}}, {"quiet": {"event": "latency", "seconds": 1}}),
        "step 4 (quiet) has no `subscribe`",
    ),
    "a paste without an end": (
        after_hello({"paste": {"text": "x", "wait": False}}, {"expect_event": {"event": "paste_completed"}}),
        "no `subscribe`",
    ),
    "longer than its limit": (
        [{"pause": {"seconds": 5}, "within": 5}],
        "a `within` of 5, which is not above its 5 seconds",
    ),
    "private without a text": ([{"hello": {}, "private": True}], "is private, but `hello` has no text to hide"),
}


@pytest.mark.parametrize(("steps", "words"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_reported_in_one_sentence(steps: object, words: str) -> None:
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
def test_no_mistake_tells_a_private_text(step: dict[str, Any]) -> None:
    with pytest.raises(BadSteps) as caught:
        plan(after_hello(step))
    assert "sesame" not in str(caught.value)


def test_what_templates_give_as_text_is_converted() -> None:
    steps = plan(
        after_hello(
            {"await": {"agent": "yes", "surfaces": "2", "size": " 8x4 "}, "within": "30"},
            {"send_key": {"key": 1}},
            {"send_key": {"scancode": "0xE04B"}},
            {"screenshot": {"region": {"x": "1", "y": 2, "width": 3, "height": 4}}},
            {"await": {"agent": "off"}},
        )
    )
    assert (steps[1].options["agent"], steps[1].options["surfaces"], steps[1].options["size"], steps[1].limit) == (
        True,
        2,
        (8, 4),
        30.0,
    )
    assert steps[2].options["key"] == (2,)
    assert steps[3].options["scancode"] == (0xE04B,)
    assert steps[4].options["region"] == Region(1, 2, 3, 4)
    assert steps[5].options["agent"] is False


def test_a_verb_without_options_may_stand_alone() -> None:
    assert [step.verb for step in plan([{"hello": None}, {"status": None}])] == ["hello", "status"]


def test_a_step_has_its_own_limit_or_the_common_one() -> None:
    steps = plan(
        [HELLO, {"status": {}, "within": 3}, {"pause": {"seconds": 20}}, {"pause": {"seconds": 20}, "within": 21}],
        step_limit=7,
    )
    assert [step.limit for step in steps] == [7, 3, 27, 21]


@pytest.mark.parametrize("limit", [0, -1, 86401, math.nan, math.inf])
def test_a_common_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(BadSteps, match=r"step_limit is .*, not from 0\.001 to 86400"):
        plan([HELLO], limit)


def test_only_these_verbs_act_on_the_guest() -> None:
    assert {name for name, verb in VERBS.items() if verb.acts} == {
        "send_key",
        "type",
        "paste",
        "clipboard_set",
        "resize",
    }
    assert [step.acts for step in plan([{"call": {"method": "x"}}, {"call": {"method": "x", "acts": True}}])] == [
        False,
        True,
    ]


def test_private_texts_are_hidden_from_logs_whatever_the_list_is_like() -> None:
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


def test_a_long_list_is_checked_in_little_time() -> None:
    steps = [HELLO, {"subscribe": {"events": ["latency"]}, "register": "first"}]
    steps += [
        {"quiet": {"event": "latency", "seconds": 1, "since": "first"}, "register": f"r{n}", "name": "the same"}
        for n in range(10_000)
    ]
    began = time.thread_time()
    assert len(plan(steps)) == 10_002
    assert time.thread_time() - began < 9  # seconds; 1 on an idle machine


def test_a_paste_brings_its_own_subscription() -> None:
    ended = {"expect_event": {"event": "paste_completed"}}
    assert len(plan(after_hello({"paste": {"text": "x"}}, ended))) == 3


def test_a_clipboard_text_of_the_most_length_is_taken() -> None:
    assert len(plan(after_hello({"clipboard_set": {"text": "x" * 104857600}}))[1].options["text"]) == 104857600
