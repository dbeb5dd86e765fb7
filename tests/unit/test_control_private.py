"""Private texts are in no transcript, message or log."""

import json
import re
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from control_peer import Connection, Ryll
from control_play import H, Handler, dancing, fail, play, ryll, seen

SECRET = "open sesame 42"


def leaky(c: Connection) -> None:
    """Repeats what it was sent wherever it can."""
    c.hello()
    for request in c.requests():
        text = str(request["params"])
        c.event("latency", echo=text)
        if request["method"] == "subscribe":
            c.accept(request, {"subscribed": request["params"]["events"]})
        else:
            c.refuse(request, "bad_params", f"cannot do {text}")


def pasting(clipboard: str, answer: str, end: str, **data: Any) -> Ryll:
    made = ryll(clipboard=clipboard)
    vars(made)["on_paste"] = lambda c, r, p: (
        c.accept(r, {"text": answer}),
        made.tell(c, end, request_id=r["id"], **data),
    )
    return made


PRIVATE: list[dict[str, Any]] = [
    {"type": {"text": SECRET, "delay_ms": 0}},
    {"paste": {"text": SECRET}},
    {"clipboard_set": {"text": SECRET}},
    {"clipboard_get": {"equals": SECRET}},
    {"call": {"method": "paste", "params": {"text": SECRET}, "result": {"text": SECRET}}},
]
PEERS: dict[str, Handler] = {
    "good": pasting(SECRET, SECRET, "paste_completed", chars_sent=14),
    "other": pasting("quite " + SECRET, SECRET + "!", "paste_failed", reason=SECRET),
    "leaky": leaky,
    "failing": lambda c: (c.hello(), c.request()),
    "garbage": lambda c: (c.hello(), c.raw(b"garbage " + SECRET.encode() + b"\n")),
}


@pytest.mark.parametrize("step", PRIVATE, ids=lambda step: next(iter(step)))
@pytest.mark.parametrize("kind", PEERS)
def test_a_private_text_is_nowhere(step, kind, tmp_path):
    file, log = tmp_path / "t.json", tmp_path / "ryll.log"
    log.write_text(f"inputs: got {SECRET}\n")
    step = step | {"private": True, "register": "r"}
    try:
        result = play(PEERS[kind], H, step, transcript_file=str(file), log_file=str(log))
        assert kind != "good" or "(private" in str(seen(result))
    except SessionFailed as failed:
        assert kind != "good"
        result = failed.result | {"msg": str(failed), "failure": failed.as_dict()}
    for place in (json.dumps(result), file.read_text()):
        assert "sesame" not in place


def test_a_private_text_is_searched_for_by_its_lines_and_in_quotes(tmp_path):
    """A password is typed with its line end; whoever repeats it may leave that out, or put it in quotes."""
    file, log = tmp_path / "t.json", tmp_path / "ryll.log"
    log.write_text("typing sesame\n")

    def serve(c: Connection) -> None:
        c.hello()
        for request in c.requests():
            c.event("latency", echo="got sesame", quoted=repr('se"sa\\me'), json=json.dumps('se"sa\\me'))
            if request["method"] == "clipboard_get":
                return
            c.accept(request, {"text": "sesame"})

    steps = [
        H,
        {"clipboard_set": {"text": "sesame\n"}, "private": True},
        {"clipboard_set": {"text": 'se"sa\\me\n'}, "private": True},
        {"clipboard_get": {}},
    ]
    failed = fail(serve, *steps, transcript_file=str(file), log_file=str(log))
    assert 'its log ends with "typing (private, 6 characters)"' in str(failed)
    data = [list(event["data"].values()) for event in failed.result["events"]]
    assert len(data) == 3 and not re.search("se|me", str(data))  # neither a beginning nor an end of it
    for place in (json.dumps(failed.result), file.read_text(), str(failed)):
        assert "sesame" not in place
        assert "sa\\" not in place


def test_a_private_text_is_hidden_before_its_step_and_where_the_guest_sends_it():
    long = "sesame " * 50
    made = ryll(clipboard=SECRET)
    hidden = {"text": "(private, 14 characters)", "characters": 14}
    assert seen(play(made, H, {"clipboard_get": {}}, {"clipboard_set": {"text": SECRET}, "private": True}), 1) == hidden
    result = play(ryll(clipboard=SECRET), H, {"clipboard_get": {}, "private": True}, {"clipboard_get": {}})
    assert seen(result, 1) == seen(result, 2) == hidden
    failed = fail(made, H, {"clipboard_set": {"text": long}, "private": True}, {"clipboard_get": {"equals": "other"}})
    assert "holds (private, 350 characters), not (private, 5 characters)" in failed.problem
    made = pasting("", "", "paste_failed", reason="no " + long)
    failed = fail(made, H, {"clipboard_set": {"text": long}, "private": True}, {"paste": {"text": "x"}})
    assert failed.cause.endswith("ryll could not paste the text (paste_failed)")
    assert "sesame" not in json.dumps(failed.result)
    # without private the peer is quoted
    assert 'bad_params: "cannot do' in fail(leaky, H, {"clipboard_set": {"text": "x"}}).cause


def test_every_text_of_a_private_answer_is_hidden():
    made = dancing(lambda p: {"texts": ["sesame", "sesame street", {"a": ["pin", "xy", 1]}]})
    made.clipboard = "sesame street, pin, xy"  # two characters would match ordinary words
    result = play(made, H, {"call": {"method": "dance"}, "private": True}, {"clipboard_get": {}})
    assert seen(result, 1) == {"result": "(private)"}
    assert seen(result)["text"] == "(private, 13 characters), (private, 3 characters), xy"
