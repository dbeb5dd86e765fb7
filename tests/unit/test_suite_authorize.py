"""What kerbside hands out to its proxy, asked by a program in the place of kerbside's Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import authorize, machines
from ansible.module_utils.lane.core.errors import LaneError
from suite_lane import TICKET, Lane, check, outcome, played, read, suite_of

MACHINES = {
    "machines": [{"name": "secured", "tls": True}, {"name": "plain"}],
    "consoles": [
        {"name": "good", "machine": "secured", "ca": "right"},
        {"name": "wrong_ca", "machine": "secured", "ca": "other", "host_subject": "CN=other"},
        {"name": "bare", "machine": "plain"},
    ],
}
FIREWALL = {"mode": "ENFORCE", "channels": []}
#: Answers with what is in the file `reply`, and notes what it was asked.
KERBSIDE = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
(here / "asked").write_text(pathlib.Path(sys.argv[3]).read_text())
sys.exit(here.joinpath("reply").read_text() if here.joinpath("fails").exists() else print(here.joinpath("reply").read_text()))
"""


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    made = Lane(tmp_path)
    suite = read(suite_of({"name": "one", "steps": [{"wait": {"seconds": 1}}]}, **MACHINES))
    made.machines = machines.Machines(made.place, suite)
    made.machines.programs()  # makes tickets and certificates
    Path(made.place.database_python).write_text(KERBSIDE)
    Path(made.place.database_python).chmod(0o700)
    return made


def told(lane: Lane, of: str | None) -> dict[str, Any]:
    """What kerbside hands out when all is well."""
    if of is None:
        return FIREWALL | {
            "hypervisor_ip": "127.0.0.1",
            "insecure_port": 17904,
            "ticket": TICKET,
            "secure_port": 0,
            "ca_cert": "",
            "host_subject": "",
        }
    source = lane.machines.source(of)
    console = {"secure_port": 0, "host_subject": "", **source["consoles"][0]}
    names = ("hypervisor_ip", "insecure_port", "secure_port", "ticket", "host_subject")
    return FIREWALL | {**{name: console[name] for name in names}, "ca_cert": source.get("ca_cert", "")}


def asked(lane: Lane, reply: Any, of: str | None, wrong: bool) -> tuple[str | None, str | None]:
    Path(lane.place.lane_dir, "reply").write_text(reply if isinstance(reply, str) else json.dumps(reply))
    step = {"handed_out": {"console": "token", **({"wrong": True} if wrong else {}), **({"of": of} if of else {})}}
    return outcome(lane, {"console": {}, "register": "token"}, step, **MACHINES)


def test_whose_token_it_is_has_to_be_said(lane: Lane) -> None:
    with pytest.raises(LaneError, match="`console` is missing"):
        outcome(lane, {"handed_out": {}}, **MACHINES)


def test_a_machine_has_tls_where_the_suite_asks_for_it(lane: Lane) -> None:
    assert ["tls-port=" in " ".join(program.argv) for program in lane.machines.programs()] == [True, False]


@pytest.mark.parametrize(
    ("reply", "words"),
    [({}, "what its sources and settings say"), ({"ticket": "x", "ca_cert": "y"}, "another ticket, ca_cert")],
)
def test_the_parts_that_differ_are_named_and_their_values_are_not(
    lane: Lane, reply: dict[str, str], words: str
) -> None:
    Path(lane.place.lane_dir, "reply").write_text(json.dumps({**told(lane, "good"), **reply}))
    steps = (
        {"console": {}, "register": "token"},
        {"handed_out": {"console": "token", "of": "good", "wrong": bool(reply)}},
    )
    (entry,) = played(lane, check(*steps), **MACHINES)
    assert entry["detail"]["witnesses"][-1] == f"handed_out: kerbside hands out {words}"


@pytest.mark.parametrize("of", [None, "good", "wrong_ca", "bare"])
def test_what_kerbside_hands_out_is_what_its_sources_say(lane: Lane, of: str | None) -> None:
    right = told(lane, of)
    assert asked(lane, right, of, wrong=False) == (None, None)
    assert asked(lane, right, of, wrong=True) == ("suite_not_handed_out", "kerbside")
    question = json.loads(Path(lane.place.lane_dir, "asked").read_text())
    assert question["token"] == "good" and question["socket"] == f"{lane.place.lane_dir}/grpc/api.sock"
    assert not Path(lane.place.lane_dir, "secrets/suite_question").exists()  # it held the token


@pytest.mark.parametrize(
    "name", ["hypervisor_ip", "insecure_port", "secure_port", "ticket", "ca_cert", "host_subject", "mode", "channels"]
)
def test_each_part_that_differs_is_wrong(lane: Lane, name: str) -> None:
    other = {**told(lane, "good"), name: "another"}
    assert asked(lane, other, "good", wrong=False) == ("suite_not_handed_out", "kerbside")
    assert asked(lane, other, "good", wrong=True) == (None, None)


def test_another_token_can_be_asked_about(lane: Lane) -> None:
    Path(lane.place.lane_dir, "reply").write_text("null")
    step = {"handed_out": {"console": "token", "password": "forged", "wrong": True}}
    assert outcome(lane, {"console": {}, "register": "token"}, step, **MACHINES) == (None, None)
    assert json.loads(Path(lane.place.lane_dir, "asked").read_text())["token"] == "forged"


def test_a_token_that_is_denied_hands_out_nothing(lane: Lane) -> None:
    assert asked(lane, None, "good", wrong=False) == ("suite_not_handed_out", "kerbside")
    assert asked(lane, None, "good", wrong=True) == (None, None)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_kerbside_that_does_not_answer_has_said_nothing_wrong(lane: Lane, wrong: bool) -> None:
    Path(lane.place.lane_dir, "fails").touch()
    assert asked(lane, "no channel", "good", wrong) == ("suite_not_handed_out", "kerbside")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, FIREWALL),
        ({"KERBSIDE_FIREWALL_MODE": "enforce"}, FIREWALL),
        ({"KERBSIDE_FIREWALL_MODE": "warn"}, {"mode": "WARN_ONLY", "channels": []}),
        ({"KERBSIDE_FIREWALL_PERMITTED_CHANNELS": "inputs,main"}, {"mode": "ENFORCE", "channels": [1, 3]}),
    ],
)
def test_the_firewall_is_what_kerbsides_settings_say(settings: dict[str, str], told: dict[str, Any]) -> None:
    assert authorize.firewall(settings) == told
