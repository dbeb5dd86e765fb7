"""Valid conversations, cut and changed at random: never a hang, never a traceback, always one sentence."""

from __future__ import annotations

import base64
import json
import re
import time
from itertools import pairwise
from typing import Any

from ansible.module_utils.lane.protocols.ryll import jsonline, png
from ansible.module_utils.lane.protocols.ryll.errors import ControlError, Malformed, SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import HELLO, STATUS, Connection, Peer
from control_peer import png as make_png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHOT = {"width": 8, "height": 4, "format": "png"}
PICTURE = make_png(8, 4, lambda x, y: (x, y, 7), 4)
SEEN = png.look(("png", PICTURE), 8, 4, lambda: None)
LIMIT = 0.05  # of a step whose answer was changed, and may never come
STEPS: list[dict[str, Any]] = [
    {"hello": {}},
    {"subscribe": {"events": ["latency", "dropped"]}},
    {"status": {}},
    {"clipboard_get": {}},
    {"stats": {"marks": 1}},
    {"screenshot": {"not_one_colour": True}, "register": "shot"},
    {"await": {"agent": False, "surfaces": 1}},
    {"send_key": {"key": "a"}},
    {"paste": {"text": "abc"}},
    {"expect_event": {"event": "latency"}},
    {"screenshot": {"same_as": "shot"}},
    {"pause": {"seconds": 0.01}},
]
PASTED = {"event": "paste_completed", "data": {"request_id": 12, "chars_sent": 3}}
SHOT_RESULT = SHOT | {"data_base64": base64.b64encode(PICTURE).decode()}
RESULTS: list[dict[str, Any]] = [
    HELLO, {"subscribed": ["latency", "dropped"]}, STATUS, {"text": "caf\u00e9 \u0000"}, {"display": {"channel_id": 0, "marks_received": 3}},
    STATUS, SHOT_RESULT, STATUS, STATUS, {}, {"subscribed": ["paste_completed", "paste_failed"]}, {}, STATUS, SHOT_RESULT, STATUS,
]  # fmt: skip
# The other side of that conversation: what is sent after each request.
ANSWERS: list[list[dict[str, Any]]] = [[{"id": number, "ok": True, "result": result}] for number, result in enumerate(RESULTS, 1)]
ANSWERS[2].insert(0, {"event": "latency", "data": {"sample_ms": 15000.1005859375, "wallclock_us": 1795424970680526}})
ANSWERS[3].insert(0, {"event": "dropped", "data": {"count": 4711}})
ANSWERS[11].append(PASTED)
QUICK = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["id", "ok", "event", "data"]), inner, max_size=3),
    max_leaves=6,
)


def talk(answers: list[list[bytes]], good: bool = False, closes: bool = False) -> None:
    """Play STEPS against a peer that sends these pieces after each request; it ends well or with one sentence, and in time.

    closes: the peer ends the connection after its last piece.
    """

    def serve(c: Connection) -> None:
        for pieces in answers:
            c.file.readline()
            for piece in pieces:
                c.raw(piece)
        if not closes:
            c.wait()

    with Peer(serve) as peer:
        began = time.monotonic()
        sentence = ""
        try:
            result = run(Settings(peer.path, max_line_bytes=1 << 16), plan(STEPS, 10 if good else LIMIT))
        except SessionFailed as failed:
            result, sentence = failed.result, str(failed)
        assert time.monotonic() - began < len(STEPS) * LIMIT + 5
        assert [entry["index"] for entry in result["transcript"]] == list(range(1, len(STEPS) + 1))
        if sentence:
            assert not good, sentence
            assert re.match(r"ryll: step \d+ of 12 \(\w+\) expected .*, but ", sentence)
            assert sentence.isprintable()
            assert [entry["result"] for entry in result["transcript"]].count("failed") == 1
        else:
            assert [entry["result"] for entry in result["transcript"]] == ["ok"] * len(STEPS)
        json.dumps(result, ensure_ascii=False).encode()


def stream(answers: list[Any]) -> bytes:
    return b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


PLACES = st.lists(st.integers(0, 2000), max_size=8)


@QUICK
@given(PLACES)
def test_a_valid_conversation_may_be_cut_into_any_pieces(places: list[int]) -> None:
    talk([cut(stream(answers), places) for answers in ANSWERS], good=True)


@QUICK
@given(st.data(), PLACES)
def test_bytes_changed_at_random(data: st.DataObject, places: list[int]) -> None:
    answers = [bytearray(stream(one)) for one in ANSWERS]
    for _ in range(data.draw(st.integers(1, 3))):
        wrong = data.draw(st.sampled_from(answers))
        at = data.draw(st.integers(0, max(0, len(wrong) - 1)))
        kind = data.draw(st.sampled_from(["change", "remove", "insert", "repeat", "cut"]))
        if kind == "change" and wrong:
            wrong[at] = data.draw(st.integers(0, 255))
        elif kind == "remove":
            del wrong[at : at + data.draw(st.integers(1, 20))]
        elif kind == "insert":
            wrong[at:at] = data.draw(st.binary(max_size=20))
        elif kind == "repeat":
            wrong[at:at] = wrong[at : at + data.draw(st.integers(1, 200))]
        else:
            del wrong[at + 1 :]
    talk([cut(bytes(one), places) for one in answers])


CHANGES = st.lists(st.sampled_from(["drop", "repeat", "move", "swap", "flood", "join"]), min_size=1, max_size=4)


@QUICK
@given(st.data(), CHANGES, st.booleans())
def test_lines_dropped_repeated_moved_and_flooded(data: st.DataObject, changes: list[str], closes: bool) -> None:
    answers = [[stream([one]) for one in answer] for answer in ANSWERS]

    def place() -> tuple[list[bytes], int]:
        group = data.draw(st.sampled_from([group for group in answers if group]))
        return group, data.draw(st.integers(0, len(group) - 1))

    for change in changes:
        group, at = place()
        other, there = place()
        if change == "drop":
            del group[at]
        elif change == "repeat":
            other.insert(there, group[at])
        elif change == "move":
            other.insert(there, group.pop(at))
        elif change == "swap":
            group[at], other[there] = other[there], group[at]
        elif change == "flood":
            group.insert(at, stream([{"event": "latency", "data": {}}]) * data.draw(st.integers(1, 3000)))
        else:
            group[at] = group[at].rstrip(b"\n")
    talk(answers, closes=closes)


@QUICK
@given(st.integers(0, len(ANSWERS) - 1), st.integers(0, 2000), st.booleans())
def test_a_conversation_that_breaks_off_anywhere(number: int, at: int, closes: bool) -> None:
    answers = [[stream(one)] for one in ANSWERS[: number + 1]]
    whole = answers[-1][0]
    answers[-1] = [whole[: at % len(whole)]]
    talk(answers, closes=closes)


@QUICK
@given(st.data())
def test_values_changed_at_random(data: st.DataObject) -> None:
    answers = json.loads(json.dumps(ANSWERS))
    place: Any = data.draw(st.sampled_from(answers))
    key: Any = data.draw(st.integers(0, len(place) - 1))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
    place[key] = data.draw(VALUES)
    talk([[stream(one)] for one in answers])


@QUICK
@given(st.permutations(ANSWERS))
def test_answers_in_another_order(answers: list[list[Any]]) -> None:
    talk([[stream(one)] for one in answers], good=answers == ANSWERS)


@settings(QUICK, max_examples=200)
@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_an_object_or_a_sentence(line: bytes) -> None:
    found: object = {}
    try:
        found = jsonline.decode(line)
    except Malformed as refusal:
        found = str(refusal)
    assert isinstance(found, dict) or (isinstance(found, str) and found.isprintable())


@settings(QUICK, max_examples=200)
@given(st.data())
def test_any_picture_is_whole_or_a_sentence(data: st.DataObject) -> None:
    wrong = bytearray(PICTURE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wrong) - 1))
        if data.draw(st.booleans()):
            wrong[at] = data.draw(st.integers(0, 255))
        else:
            wrong[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
    refused = ""
    try:
        found = png.look(("png", bytes(wrong)), 8, 4, lambda: None)
    except Malformed as refusal:
        refused = str(refusal)
    assert refused.isprintable()
    assert refused or found == SEEN


KEYS = st.sampled_from(["hello", "status", "await", "type", "call", "name", "within", "private"])


@settings(QUICK, max_examples=200)
@given(VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_any_list_of_steps_is_a_plan_or_a_sentence(raw: Any) -> None:
    told = "lane: it is a plan"
    try:
        plan(raw)
    except ControlError as refusal:
        told = str(refusal)
    assert told.isprintable()
    assert told.startswith("lane: ")
