"""One line of the control socket: what is refused, with which words, and how fast."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps, Malformed
from ansible.module_utils.lane.protocols.ryll.jsonline import MOST_VALUES, decode, encode

BAD = {
    "not JSON": (b"hello", "it is not JSON at character 1"),
    "cut": (b'{"id":1', "it is not JSON at character 8"),
    "empty": (b"", "it is not JSON at character 1"),
    "two values": (b"{}{}", "it is not JSON at character 3"),
    "a list": (b"[1]", "it holds JSON that is not an object"),
    "a number": (b"1", "it holds JSON that is not an object"),
    "null": (b"null", "it holds JSON that is not an object"),
    "bad UTF-8": (b'{"a":"\xff"}', "byte 7 of it is not UTF-8"),
    "UTF-8 cut": (b'{"a":"\xe2\x82', "byte 7 of it is not UTF-8"),
    "NUL": (b'{"a":"\0"}', "it holds a NUL byte"),
    "deep lists": (b"[" * 100_000, "it is nested deeper than 32 levels"),
    "deep objects": (b'{"a":' * 33 + b"1" + b"}" * 33, "it is nested deeper than 32 levels"),
    "many values": (b'{"a":[' + b"1," * MOST_VALUES + b"1,1]}", f"it holds more than {MOST_VALUES} values"),
    "many lists": (b'{"a":[' + b"[],[]," * MOST_VALUES + b"[]]}", f"it holds more than {MOST_VALUES} values"),
    "the same key twice": (b'{"id":1,"id":2}', "a key stands in it twice"),
    "the same key twice, deeper": (b'{"a":{"b":1,"\\u0062":2}}', "a key stands in it twice"),
    "NaN": (b'{"a":NaN}', "it holds NaN"),
    "Infinity": (b'{"a":-Infinity}', "it holds -Infinity"),
    "a huge integer": (b'{"a":' + b"9" * 5000 + b"}", "a number in it has 5000 digits"),
    "a long fraction": (b'{"a":0.' + b"1" * 5000 + b"}", "a number in it has 5002 characters"),
    "a huge exponent": (b'{"a":1e999}', "the number 1e999 in it is too large"),
    "half a surrogate pair": (b'{"a":"\\uD800"}', "a text in it has half of a surrogate pair"),
}


@pytest.mark.parametrize(("line", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_refused_in_words(line: bytes, words: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(line)
    assert caught.value.got == words
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 620


GOOD = {
    b'{"a":1}': {"a": 1},
    b' {"a":1}\r': {"a": 1},
    b'{"a":"\\u0000"}': {"a": "\0"},
    b'{"a":"\\ud83d\\ude00"}': {"a": "\U0001f600"},
    b'{"a":-9223372036854775808}': {"a": -9223372036854775808},
    b'{"a":15000.1005859375}': {"a": 15000.1005859375},
    b'{"a":' * 32 + b"1" + b"}" * 32: None,
    b'{"a":"' + b"[{" * 5000 + b'"}': {"a": "[{" * 5000},
    b'{"a":"' + b"," * (MOST_VALUES + 1) + b'"}': {"a": "," * (MOST_VALUES + 1)},
    b'{"a":"' + b'\\"[' * 50 + b'"}': {"a": '"[' * 50},
}


@pytest.mark.parametrize("line", GOOD)
def test_a_good_line_is_read(line: bytes) -> None:
    found = decode(line)
    assert found == GOOD[line] or GOOD[line] is None


HEAVY = {
    "quotes and backslashes without end": b'{"a":"' + b'\\"' * (8 << 20),
    "a text without end in deep lists": b"[" * 40 + b'"' + b'\\"' * (8 << 20),
    "opening quotes only": b'"' * (16 << 20),
    "backslashes": b"[" * 40 + b"\\" * (16 << 20),
    "brackets in pairs": b"{" + b"[]," * (5 << 20),
    "short texts without end": b'{"a":[' + b"[]," * 40 + b'""' * (8 << 20),
    "ends of texts that look escaped": b'{"a":[' + b"[]," * 40 + rb'\"\\"' * (3 << 20),
    "ends of lists": b'{"a":[' + b"[]," * 40 + b"]" * (16 << 20),
    "commas and short texts": b'{"a":[' + b'"",' * (5 << 20),
    "one long text": b'{"a":"' + b"x" * (16 << 20) + b'"',
    "one long word": b"x" * (16 << 20),
}


@pytest.mark.parametrize("line", HEAVY.values(), ids=HEAVY.keys())
def test_a_heavy_line_costs_little(line: bytes) -> None:
    tracemalloc.start()
    began = time.thread_time()
    with pytest.raises(Malformed):
        decode(line)
    assert time.thread_time() - began < 3
    assert tracemalloc.get_traced_memory()[1] < 4 * len(line)
    tracemalloc.stop()


def test_a_long_text_with_one_character_of_elsewhere_is_held_twice_at_most() -> None:
    """Python takes four bytes for each character of such a text."""
    line = b'{"a":"\\ud83d\\ude00' + b"x" * (4 << 20) + b'"}'
    tracemalloc.start()
    assert len(decode(line)["a"]) == (4 << 20) + 1
    assert tracemalloc.get_traced_memory()[1] < 8 * len(line)
    tracemalloc.stop()


def test_what_is_sent_is_one_line() -> None:
    assert encode({"id": 1, "params": {"text": "a\nbä"}}) == b'{"id":1,"params":{"text":"a\\nb\xc3\xa4"}}\n'


@pytest.mark.parametrize(
    ("value", "words"), [("\ud800", "half of a surrogate pair"), (float("nan"), "cannot be written as JSON"), ({1}, "cannot be written as JSON")]
)
def test_what_cannot_be_sent_is_the_callers_fault(value: object, words: str) -> None:
    with pytest.raises(BadSteps, match=words) as caught:
        encode({"a": value})
    assert caught.value.component == "lane"
