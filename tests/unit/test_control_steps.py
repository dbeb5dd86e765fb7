"""The language of steps: every mistake is told with the number of its step, before anything starts."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps
from ansible.module_utils.lane.protocols.ryll.png import Region
from ansible.module_utils.lane.protocols.ryll.private import hide
from ansible.module_utils.lane.protocols.ryll.steps import VERBS, plan

HELLO: dict[str, Any] = {"hello": {}}


def after_hello(*steps: object) -> list[object]:
    return [HELLO, *steps]


SUBSCRIBED = {"subscribe": {"events": ["latency"]}}
SHOT = {"screenshot": {}, "register": "one"}
BAD: dict[str, tuple[object, str]] = {
    "no list": ({"hello": {}}, "expected a list of at least one step, but it is a mapping"),
    "nothing": (None, "expected a list of at least one step, but it is nothing"),
    "empty": ([], "expected a list of at least one step, but it is empty"),
    "no mapping": (["hello"], "expected step 1 to be a mapping with a verb, such as `hello: {}`, but it is 'hello'"),
    "no verb": ([{"name": "x"}], "expected step 1 to hold exactly one verb"),
    "two verbs": ([{"hello": {}, "status": {}}], "but it holds hello and status"),
    "unknown verb": ([HELLO, {"helo": {}}], "expected step 2 to hold a verb (hello, status,"),
    "a key that is no text": ([{1: {}}], "but it holds 1"),
    "options that are none": ([{"hello": 3}], "expected step 1 (hello) to give `hello` a mapping of options, but it gives 3"),
    "unknown option": ([{"hello": {"version": "1.0"}}], "expected step 1 (hello), `hello`, to use protocol_version, but it uses 'version'"),
    "an option in the wrong place": (
        after_hello({"await": {"agent": True, "within": 3}}),
        "but it uses 'within'; it belongs beside the verb, not below it",
    ),
    "no options at all": (after_hello({"status": {"x": 1}}), "`status`, to use no options, but it uses 'x'"),
    "missing option": (after_hello({"type": {}}), "expected step 2 (type), `type`, to give `text`, but it does not"),
    "null for a required option": (after_hello({"type": {"text": None}}), "to give `text`, but it does not"),
    "the step's own name": (after_hello({"type": {}, "name": "log in"}), "expected step 2 (log in), `type`,"),
    "a name that is none": ([{"hello": {}, "name": "a\nb"}], "to give `name` a printable text of 1 to 200 characters"),
    "no whole number": (after_hello({"await": {"surfaces": 1.5}}), "to give `surfaces` a whole number, but it is 1.5"),
    "a truth value for a number": (after_hello({"await": {"surfaces": True}}), "to give `surfaces` a whole number, but it is True"),
    "too small": (after_hello({"await": {"surfaces": 0}}), "to give `surfaces` from 1 to 1000, but it is 0"),
    "too large": (after_hello({"resize": {"width": 16385, "height": 1}}), "to give `width` from 1 to 16384, but it is 16385"),
    "open end": (after_hello({"await": {"marks": 0}}), "to give `marks` from 1 or more, but it is 0"),
    "no number": ([{"hello": {}, "within": "soon"}], "to give `within` a number, but it is 'soon'"),
    "not finite": ([{"hello": {}, "within": math.nan}], "to give `within` a number, but it is nan"),
    "no double": ([{"hello": {}, "within": 10**400}], "to give `within` a number, but it is a whole number of many digits"),
    "more digits than Python prints": (after_hello({"await": {"surfaces": 10**5000}}), "to give `surfaces` from 1 to 1000, but it is a whole number of many"),
    "no time at all": ([{"hello": {}, "within": 0}], "to give `within` from 0.001 to 86400, but it is 0"),
    "time that runs backwards": ([{"hello": {}, "within": -3}], "to give `within` from 0.001 to 86400, but it is -3"),
    "more than a day": ([{"hello": {}, "within": 1e9}], "to give `within` from 0.001 to 86400, but it is 1000000000.0"),
    "for ever": ([{"hello": {}, "within": math.inf}], "to give `within` a number, but it is inf"),
    "no truth value": (after_hello({"await": {"agent": "maybe"}}), "to give `agent` true or false, but it is 'maybe'"),
    "no component": ([{"hello": {}, "blame": "me"}], "to give `blame` one of guest, qemu,"),
    "no choice": (after_hello({"screenshot": {"format": "jpeg"}}), "to give `format` one of png, rgba, but it is 'jpeg'"),
    "no size": (after_hello({"await": {"size": "big"}}), "to give `size` a size such as 1280x800, but it is 'big'"),
    "no condition": (after_hello({"await": {}}), "to give `await` at least one of agent, surfaces, size, size_as, marks, but it gives none"),
    "relative path": (after_hello({"screenshot": {"file": "a.png"}}), "to give `file` an absolute path, but it is 'a.png'"),
    "a path of half a pair": (after_hello({"screenshot": {"file": "/a\ud800"}}), "to give `file` an absolute path"),
    "a path with a NUL": (after_hello({"screenshot": {"file": "/a\0b"}}), "to give `file` an absolute path, but it is '/a\\x00b'"),
    "a path longer than the system's": (after_hello({"screenshot": {"file": "/" + "x" * 4096}}), "to give `file` an absolute path"),
    "no region": (after_hello({"screenshot": {"region": {"x": 1}}}), "to give `region` x, y, width and height in pixels"),
    "empty region": (after_hello({"screenshot": {"region": {"x": 0, "y": 0, "width": 0, "height": 1}}}), "to give `region` x, y,"),
    "no key": (after_hello({"send_key": {"key": "retrun"}}), "to give `key` the name of a key, such as enter, f2 or ctrl-alt-delete, but 'retrun' in"),
    "no keys": (after_hello({"send_key": {"keys": []}}), "to give `keys` a list of names of keys, but it is a list"),
    "key and code": (after_hello({"send_key": {"key": "a", "scancode": 1}}), "exactly one of key, keys, scancode, but it gives key and scancode"),
    "neither key nor code": (after_hello({"send_key": {}}), "exactly one of key, keys, scancode, but it gives none"),
    "swapped scancode": (after_hello({"send_key": {"scancode": 0x4BE0}}), "the prefix belongs in the high byte, as in 0xE04B"),
    "scancode in words": (after_hello({"send_key": {"scancode": "left"}}), "to give `scancode` a set 1 make code, but it is 'left'"),
    "text that no keyboard has": (after_hello({"type": {"text": "aé"}}), "to give `text` characters of a US keyboard, but character 2 is not on it"),
    "half a surrogate pair": (after_hello({"clipboard_set": {"text": "\ud800"}}), "to give `text` a text, but it is '\\ud800'"),
    "too much text": (after_hello({"clipboard_set": {"text": "x" * 104857601}}), "a text of at most 104857600 bytes, but it has 104857601"),
    "too much to type": (after_hello({"type": {"text": "x" * 100_001}}), "to give `text` a text of at most 100000 characters, but it has 100001"),
    "no text": (after_hello({"paste": {"text": 5}}), "to give `text` a text, but it is 5"),
    "no names": (after_hello({"subscribe": {"events": "latency"}}), "to give `events` a list of names, but it is 'latency'"),
    "no fields": (after_hello(SUBSCRIBED, {"expect_event": {"event": "latency", "fields": [1]}}), "to give `fields` a mapping, but it is a list"),
    "fields with strange keys": (after_hello(SUBSCRIBED, {"expect_event": {"event": "latency", "fields": {1: 2}}}), "to give `fields` a mapping"),
    "parameters that JSON has not": (after_hello({"call": {"method": "m", "params": {"n": math.nan}}}), "to give `params` values that JSON can express"),
    "parameters of half a pair": (after_hello({"call": {"method": "m", "params": {"n": "\ud800"}}}), "to give `params` text that can be written as UTF-8"),
    "a refused hello": ([{"hello": {}, "refused": "busy"}, {"status": {}}], "expected step 2 (status) to come after a `hello` step, but there is none before"),
    "no hello": ([{"status": {}}], "expected step 1 (status) to come after a `hello` step, but there is none before it"),
    "the same register twice": (after_hello(SHOT, SHOT), "expected step 3 (screenshot) to register a name of its own, but 'one' was registered before"),
    "since what": (
        after_hello(SUBSCRIBED, {"quiet": {"event": "latency", "seconds": 1, "since": "x"}}),
        "the registered name of a step before it, but 'x' is none",
    ),
    "same as later": (after_hello({"screenshot": {"same_as": "one"}}, SHOT), "the registered name of a screenshot step before it, but 'one' is none"),
    "same as no picture": (after_hello({"status": {}, "register": "s"}, {"screenshot": {"same_as": "s"}}), "of a screenshot step before it, but 's' is none"),
    "same as a refused one": (
        after_hello({"screenshot": {}, "register": "s", "refused": "no_such_surface"}, {"screenshot": {"same_as": "s"}}),
        "of a screenshot step before it, but 's' is none",
    ),
    "size as what": (after_hello({"status": {}, "register": "s"}, {"await": {"size_as": "s"}}), "of a resize or screenshot step before it"),
    "not subscribed": (after_hello({"expect_event": {"event": "latency"}}), "to come after a `subscribe` to latency, but there is none before it"),
    "unsubscribed": (
        after_hello(SUBSCRIBED, {"unsubscribe": {"events": ["latency"]}}, {"quiet": {"event": "latency", "seconds": 1}}),
        "expected step 4 (quiet) to come after a `subscribe` to latency",
    ),
    "a refused subscription": (
        after_hello(SUBSCRIBED | {"refused": "bad_params"}, {"quiet": {"event": "latency", "seconds": 1}}),
        "expected step 3 (quiet) to come after a `subscribe` to latency",
    ),
    "unsubscribed what was not subscribed": (
        after_hello(SUBSCRIBED, {"unsubscribe": {"events": ["latency", "dropped"]}}),
        "expected step 3 (unsubscribe) to come after a `subscribe` to dropped",
    ),
    "subscription not kept": (
        after_hello(SUBSCRIBED, {"reconnect": {"resubscribe": False}}, {"quiet": {"event": "latency", "seconds": 1}}),
        "expected step 4 (quiet) to come after a `subscribe` to latency",
    ),
    "longer than its limit": ([{"pause": {"seconds": 5}, "within": 5}], "expected step 1 (pause) to have a limit above its 5 seconds, but `within` is 5"),
    "private without a text": ([{"hello": {}, "private": True}], "expected step 1 (hello) without `private`, but `hello` has no text to hide"),
    "an endless integer in digits": ([{"hello": {}, "within": "9" * 5000}], "to give `within` a number, but it is '999"),
}


@pytest.mark.parametrize(("steps", "words"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_told_in_one_sentence(steps: object, words: str) -> None:
    with pytest.raises(BadSteps) as caught:
        plan(steps)
    assert words in str(caught.value)
    assert caught.value.component == "lane"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "step",
    [
        {"type": {"text": "sesame ö"}, "private": True},
        {"type": {"text": ["sesame"]}, "private": True},
        {"type": "sesame", "private": True},
        {"paste": {"text": "sesame", "char_delay_ms": -1}, "private": True},
        {"clipboard_set": {"text": "sesame\ud800"}, "private": True},
        {"clipboard_get": {"equals": "sesame\ud800"}, "private": "yes"},
        {"call": {"method": "m", "params": {"sesame\ud800": "sesame\ud800"}}, "private": True},
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
    assert (steps[1].options["agent"], steps[1].options["surfaces"], steps[1].options["size"], steps[1].limit) == (True, 2, (8, 4), 30.0)
    assert steps[2].options["key"] == (2,)
    assert steps[3].options["scancode"] == (0xE04B,)
    assert steps[4].options["region"] == Region(1, 2, 3, 4)
    assert steps[5].options["agent"] is False


def test_a_verb_without_options_may_stand_alone() -> None:
    assert [step.verb for step in plan([{"hello": None}, {"status": None}])] == ["hello", "status"]


def test_a_step_has_its_own_limit_or_the_common_one() -> None:
    steps = plan([HELLO, {"status": {}, "within": 3}, {"pause": {"seconds": 20}}, {"pause": {"seconds": 20}, "within": 21}], step_limit=7)
    assert [step.limit for step in steps] == [7, 3, 27, 21]


@pytest.mark.parametrize("limit", [0, -1, 86401, math.nan, math.inf])
def test_a_common_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(BadSteps, match="expected step_limit above 0 and up to 86400 seconds, but it is"):
        plan([HELLO], limit)


def test_only_these_verbs_act_on_the_guest() -> None:
    assert {name for name, verb in VERBS.items() if verb.acts} == {"send_key", "type", "paste", "clipboard_set", "resize"}
    assert [step.acts for step in plan([{"call": {"method": "x"}}, {"call": {"method": "x", "acts": True}}])] == [False, True]


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
    steps += [{"quiet": {"event": "latency", "seconds": 1, "since": "first"}, "register": f"r{n}", "name": "the same"} for n in range(10_000)]
    began = time.thread_time()
    assert len(plan(steps)) == 10_002
    assert time.thread_time() - began < 3
    with pytest.raises(BadSteps, match=r"expected step 10003 \(status\) to register a name of its own, but 'first' was registered before"):
        plan([*steps, {"status": {}, "register": "first"}])


def test_a_paste_brings_its_own_subscription() -> None:
    ended = {"expect_event": {"event": "paste_completed"}}
    plan(after_hello({"paste": {"text": "x"}}, ended))
    with pytest.raises(BadSteps, match="to come after a `subscribe` to paste_completed"):
        plan(after_hello({"paste": {"text": "x", "wait": False}}, ended))


def test_a_clipboard_text_of_the_most_length_is_taken() -> None:
    assert len(plan(after_hello({"clipboard_set": {"text": "x" * 104857600}}))[1].options["text"]) == 104857600
