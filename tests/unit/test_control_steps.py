"""The language of steps: every mistake is reported with the number of its step, before anything starts."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps
from ansible.module_utils.lane.protocols.ryll.pictures import Region
from ansible.module_utils.lane.protocols.ryll.private import hide
from ansible.module_utils.lane.protocols.ryll.steps import VERBS, plan

HELLO: dict[str, Any] = {"hello": {}}


def after(*steps: object) -> list[object]:
    """These steps after hello."""
    return [HELLO, *steps]


SUBSCRIBED: dict[str, Any] = {"subscribe": {"events": ["latency"]}}
SHOT = {"screenshot": {}, "register": "one"}
LATENCY, PASTED = {"event": "latency"}, {"expect_event": {"event": "paste_completed"}}
QUIET, SINCE_X = ({"quiet": {**LATENCY, "seconds": 1, **more}} for more in ({}, {"since": "x"}))
STATUS_S, SAME_AS_S = {"status": {}, "register": "s"}, {"screenshot": {"same_as": "s"}}
LEFT, RECONNECT = {"unsubscribe": {"events": ["latency"]}}, {"reconnect": {"resubscribe": False}}
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
    "unknown option": ([{"hello": {"x": "1.0"}}], "step 1 (hello), `hello`, has the unknown option 'x'; known: pro"),
    "a misplaced option": (after({"await": {"agent": True, "within": 3}}), "(it belongs beside the verb, not below"),
    "no options at all": (after({"status": {"x": 1}}), "unknown option 'x'; known: none"),
    "missing option": (after({"type": {}}), "step 2 (type), `type`, lacks `text`"),
    "null for a required option": (after({"type": {"text": None}}), "lacks `text`"),
    "the step's own name": (after({"type": {}, "name": "log in"}), "step 2 (log in), `type`,"),
    "a name that is none": ([{"hello": {}, "name": "a\nb"}], "wrong `name`"),
    "no whole number": (after({"await": {"surfaces": 1.5}}), "wrong `surfaces`: 1.5 is not a whole number"),
    "a truth value as number": (after({"await": {"surfaces": True}}), "wrong `surfaces`: True is not a whole number"),
    "too small": (after({"await": {"surfaces": 0}}), "wrong `surfaces`: 0 is not from 1 to 1000"),
    "too large": (after({"resize": {"width": 16385, "height": 1}}), "wrong `width`: 16385 is not from 1 to 16384"),
    "open end": (after({"await": {"marks": 0}}), "wrong `marks`: 0 is not from 1 or more"),
    "no number": ([{"hello": {}, "within": "soon"}], "wrong `within`: 'soon' is not a number"),
    "not finite": ([{"hello": {}, "within": math.nan}], "wrong `within`: nan is not a number"),
    "for ever": ([{"hello": {}, "within": math.inf}], "wrong `within`: inf is not a number"),
    "no time at all": ([{"hello": {}, "within": 0}], "wrong `within`: 0 is not from 0.001 to 86400"),
    "more than a day": ([{"hello": {}, "within": 86401}], "wrong `within`: 86401 is not from"),
    "no truth value": (after({"await": {"agent": "maybe"}}), "wrong `agent`: 'maybe' is not true or false"),
    "no component": ([{"hello": {}, "blame": "me"}], "wrong `blame`: 'me' is none of guest, qemu,"),
    "no choice": (after({"screenshot": {"format": "jpeg"}}), "wrong `format`: 'jpeg' is none of png, rgba"),
    "no size": (after({"await": {"size": "big"}}), "wrong `size`: 'big' is not a size"),
    "no condition": (after({"await": {}}), "none; it needs at least one of agent, surfaces, size, size_as, marks"),
    "relative path": (after({"screenshot": {"file": "a.png"}}), "wrong `file`: 'a.png' is not an absolute path"),
    "a path with a NUL": (after({"screenshot": {"file": "/a\0b"}}), "wrong `file`"),
    "a path longer than the system's": (after({"screenshot": {"file": "/" + "x" * 4096}}), "wrong `file`"),
    "no region": (after({"screenshot": {"region": {"x": 1}}}), "wrong `region`"),
    "no area": (after({"screenshot": {"region": {"x": 0, "y": 0, "width": 0, "height": 1}}}), "wrong `region`"),
    "masks that are none": (after({"screenshot": {"masks": {"x": 1}}}), "wrong `masks`"),
    "a mask that is none": (after({"screenshot": {"masks": [{"x": 1}]}}), "wrong `masks`"),
    "a difference": (after({"screenshot": {"difference": "/d.png"}}), "has a `difference` without `equals`"),
    "no key": (after({"send_key": {"key": "retrun"}}), "wrong `key`: 'retrun' in 'retrun' is not the name of a key"),
    "no keys": (after({"send_key": {"keys": []}}), "wrong `keys`"),
    "key and code": (after({"send_key": {"key": "a", "scancode": 1}}), "it needs exactly one of key, keys, scancode"),
    "neither key nor code": (after({"send_key": {}}), "none; it needs exactly one of"),
    "swapped bytes": (after({"send_key": {"scancode": 0x4BE0}}), "the prefix belongs in the high byte, as in 0xE04B"),
    "scancode in words": (after({"send_key": {"scancode": "left"}}), "wrong `scancode`: 'left' is not a set 1 make"),
    "text without a key": (after({"type": {"text": "a\u00e9"}}), "wrong `text`: character 2 is not on a US keyboard"),
    "too much text": (after({"clipboard_set": {"text": "x" * 104857601}}), "104857601 bytes; the most is 104857600"),
    "too much to type": (after({"type": {"text": "x" * 100_001}}), "has 100001 characters; the most is 100000"),
    "no text": (after({"paste": {"text": 5}}), "wrong `text`: 5 is not a text"),
    "no names": (after({"subscribe": {"events": "latency"}}), "wrong `events`"),
    "no fields": (after(SUBSCRIBED, {"expect_event": LATENCY | {"fields": [1]}}), "wrong `fields`: a list is not a"),
    "fields with strange keys": (after(SUBSCRIBED, {"expect_event": LATENCY | {"fields": {1: 2}}}), "wrong `fields`"),
    "parameters that JSON has not": (after({"call": {"method": "m", "params": {"n": math.nan}}}), "wrong `params`"),
    "a refused hello": ([HELLO | {"refused": "busy"}, {"status": {}}], "step 2 (status) has no `hello` step before it"),
    "no hello": ([{"status": {}}], "step 1 (status) has no `hello` step before it"),
    "the same register twice": (after(SHOT, SHOT), "registers 'one', which an earlier step registered"),
    "since what": (after(SUBSCRIBED, SINCE_X), "'x' is not the registered name of a step"),
    "same as later": (after({"screenshot": {"same_as": "one"}}, SHOT), "'one' is not the registered name of a screen"),
    "same as no picture": (after(STATUS_S, SAME_AS_S), "not the registered name of a screenshot"),
    "same as a refused one": (after(SHOT | {"register": "s", "refused": "busy"}, SAME_AS_S), "not the registered name"),
    "size as what": (after(STATUS_S, {"await": {"size_as": "s"}}), "name of a resize or screenshot step"),
    "not subscribed": (after({"expect_event": {"event": "latency"}}), "has no `subscribe` to latency before it"),
    "unsubscribed": (after(SUBSCRIBED, LEFT, QUIET), "step 4 (quiet) has no `subscribe` to latency"),
    "a refused subscription": (after(SUBSCRIBED | {"refused": "bad_params"}, QUIET), "no `subscribe`"),
    "unsubscribed another": (after(SUBSCRIBED, {"unsubscribe": {"events": ["latency", "dropped"]}}), "`subscribe` to"),
    "subscription not kept": (after(SUBSCRIBED, RECONNECT, QUIET), "step 4 (quiet) has no `subscribe`"),
    "a paste without an end": (after({"paste": {"text": "x", "wait": False}}, PASTED), "no `subscribe`"),
    "longer than its limit": ([{"pause": {"seconds": 5}, "within": 5}], "`within` of 5, which is not above its 5 sec"),
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
        plan(after(step))
    assert "sesame" not in str(caught.value)


def test_what_templates_give_as_text_is_converted() -> None:
    steps = plan(
        after(
            {"await": {"agent": "yes", "surfaces": "2", "size": " 8x4 "}, "within": "30"},
            {"send_key": {"key": 1}},
            {"send_key": {"scancode": "0xE04B"}},
            {"screenshot": {"region": {"x": "1", "y": 2, "width": 3, "height": 4}}},
            {"await": {"agent": "off"}},
        )
    )
    given = steps[1].options
    assert (given["agent"], given["surfaces"], given["size"], steps[1].limit) == (True, 2, (8, 4), 30.0)
    assert steps[2].options["key"] == (2,)
    assert steps[3].options["scancode"] == (0xE04B,)
    assert steps[4].options["region"] == Region(1, 2, 3, 4)
    assert steps[5].options["agent"] is False


def test_a_verb_without_options_may_stand_alone() -> None:
    assert [step.verb for step in plan([{"hello": None}, {"status": None}])] == ["hello", "status"]


def test_a_step_has_its_own_limit_or_the_common_one() -> None:
    pause = {"pause": {"seconds": 20}}
    steps = plan([HELLO, {"status": {}, "within": 3}, pause, pause | {"within": 21}], step_limit=7)
    assert [step.limit for step in steps] == [7, 3, 27, 21]


@pytest.mark.parametrize("limit", [0, -1, 86401, math.nan, math.inf])
def test_a_common_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(BadSteps, match=r"step_limit is .*; it has to be above 0 and at most 86400 seconds"):
        plan([HELLO], limit)


def test_only_these_verbs_act_on_the_guest() -> None:
    acting = {name for name, verb in VERBS.items() if verb.acts}
    assert acting == {"send_key", "type", "paste", "clipboard_set", "resize"}
    calls = [{"call": {"method": "x"}}, {"call": {"method": "x", "acts": True}}]
    assert [step.acts for step in plan(calls)] == [False, True]


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
    quiet = {"quiet": {"event": "latency", "seconds": 1, "since": "first"}, "name": "the same"}
    steps += [{**quiet, "register": f"r{n}"} for n in range(10_000)]
    began = time.thread_time()
    assert len(plan(steps)) == 10_002
    assert time.thread_time() - began < 9  # seconds; 1 on an idle machine


def test_a_paste_brings_its_own_subscription() -> None:
    ended = {"expect_event": {"event": "paste_completed"}}
    assert len(plan(after({"paste": {"text": "x"}}, ended))) == 3


def test_a_clipboard_text_of_the_most_length_is_taken() -> None:
    assert len(plan(after({"clipboard_set": {"text": "x" * 104857600}}))[1].options["text"]) == 104857600
