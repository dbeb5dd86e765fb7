"""Bad input gets a clear error before anything starts: all that is wrong at once, in one sentence, and the machine as it was."""

from __future__ import annotations

from typing import Any

FIRST = "Check the inputs of all roles before anything starts"


def test_whatever_is_wrong_is_told_at_once_before_anything_starts(lane: Any) -> None:
    wrong = {"kvm_probe_policy": "sometimes", "kerbside_start_limit": "soon", "kerbsid_origin": "0.8.0", "tls_colour": "blue", "kerbside_environment": 3}
    played = lane.run("playbooks/lane.yml", **wrong)
    failed = played.result(FIRST)
    assert [result["task"] for result in played.results()][-1] == FIRST, "something ran after it"
    assert failed["lane_failure"]["component"] == "environment"
    for words in (
        "there is no variable kerbsid_origin (perhaps kerbside_origin is meant)",
        "there is no variable tls_colour;",
        "value of kvm_probe_policy must be one of: auto, require, never, got: sometimes",
        "argument 'kerbside_start_limit' is of type str, not float",
        "argument 'kerbside_environment' is of type int, not dict",
    ):
        assert words in failed["msg"]
    assert played.text.endswith(f"LANE FAIL {failed['msg']}")
    assert "\n" not in failed["msg"]
    assert not lane.dir.exists()
    assert not lane.artifacts.exists()


def test_names_of_the_users_own_are_let_through(lane: Any) -> None:
    played = lane.run("playbooks/lane.yml", "--tags", "deps", "--check", my_colour="blue", ansible_remote_tmp="/tmp")
    assert played.rc == 0, played
