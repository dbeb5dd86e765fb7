"""The module ryll_session as Ansible runs it: its documentation, check mode, its results and its secrets."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.protocols.ryll.keys import SCANCODES, chord
from ansible.module_utils.lane.protocols.ryll.steps import AROUND, VERBS, Option
from ansible.module_utils.testing import patch_module_args
from control_peer import Peer, Ryll
from control_play import ROOT, H

from library import ryll_session

Run = Callable[..., dict[str, Any]]


#: docs/steps.md: verb ("" for what stands beside it) -> option -> type, default, what it does
Rows = dict[str, list[str]]
STEPS: dict[str, Rows] = {}
for section in f"## \n{(ROOT / 'docs/steps.md').read_text(encoding='utf-8')}".split("## ")[1:]:
    lines = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    STEPS[section.splitlines()[0].strip()] = {cells[0].strip("`"): cells[1:] for cells in lines}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The module with these options: what it prints; what it writes to the system's log is `logged` in that."""
    logged: list[str] = []
    # where tests of Ansible's own side are collected it would be true
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    log = "ansible.module_utils.basic.AnsibleModule.log"
    monkeypatch.setattr(log, lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"))

    def run(**args: Any) -> dict[str, Any]:
        logged.clear()
        with patch_module_args({"socket": "/none/r.sock", "steps": [H]} | args), pytest.raises(SystemExit):
            ryll_session.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found | {"logged": logged}

    return run


def test_a_failure_keeps_the_transcript_and_names_who(run):
    step = {"await": {"agent": True}, "name": "agent", "blame": "guest", "within": 0.1}
    with Peer(Ryll()) as peer:
        result = run(socket=peer.path, steps=[H, step, {"status": {}}])
    assert result["failed"] is True
    words = "guest: step 2 of 3 (agent): not within 0.1 s: the agent connected; last seen: agent not connected"
    assert result["msg"].startswith(words)
    expected = {"component": "guest", "check": "agent", "code": "ryll_unmet", "cause": "", "evidence": None}
    assert result["lane_failure"] | {"cause": ""} == expected
    assert [entry["result"] for entry in result["transcript"]] == ["ok", "failed", "skipped"]
    assert "exception" not in result


@pytest.mark.parametrize("step", [{"status": {}}, {"await": {"size": "9x9"}, "within": 0.01}], ids=["green", "red"])
def test_dropped_events_become_a_warning(step, run):
    ryll = Ryll()
    vars(ryll)["on_status"] = lambda c, r, p: (
        c.event("dropped", count=1),
        c.event("dropped", count=2),
        Ryll.on_status(ryll, c, r, p),
    )
    with Peer(ryll) as peer:
        result = run(socket=peer.path, steps=[H, step])
    assert "ryll dropped 3 events because they were not read in time" in str(result["warnings"])


def test_check_mode_tells_and_touches_nothing(run):
    """Without a socket, without a directory for the picture: as on a bare machine."""
    steps = [H, {"type": {"text": "x"}, "name": "type it"}, {"screenshot": {"file": "/none/s.png"}}]
    result = run(steps=steps, _ansible_check_mode=True, transcript_file="/none/t")
    assert result["changed"] is True
    assert result["would"] == ["1. hello", "2. type it (`type`)", "3. screenshot"]
    assert run(steps=[{"status": {}}], _ansible_check_mode=True)["failed"] is True


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("lane: the steps are nothing", {"steps": None}),
    ("lane: the steps are a text", {"steps": '[{"type": {"text": "sesame"}, "private": true}]'}),
    ("lane: step 2 has the unknown key 'statsu'", {"steps": [H, {"statsu": {}}]}),
    ("lane: socket is ", {"socket": "/r\0"}),
    ("Unsupported parameters for ", {"stpes": []}),
]


@pytest.mark.parametrize(("words", "args"), WRONG)
@pytest.mark.parametrize("check", [True, False])
def test_wrong_options_are_told_in_one_sentence(words, args, check, run):
    result = run(_ansible_check_mode=check, **args)
    assert result["failed"] is True
    code = result.get("lane_failure", {}).get("code")
    assert code == ("ryll_input" if words.startswith("lane: ") else None)
    assert words in result["msg"]
    assert "\n" not in result["msg"]
    assert "exception" not in result
    assert "sesame" not in str(result)


@pytest.mark.parametrize("good", [True, False])
def test_a_private_text_is_in_no_result_and_no_log(good, run):
    ryll = Ryll()
    private = {"type": {"text": "sesame", "delay_ms": 0} | ({} if good else {"x": 1}), "private": True}
    with Peer(ryll) as peer:
        result = run(socket=peer.path, steps=[H, private, {"type": {"text": "open"}}])
    assert (result.get("failed", False), result.get("changed", False)) == (not good, good)
    assert len(ryll.keys) == (10 if good else 0)
    assert "open" in str(result["invocation"])
    assert "open" in str(result["logged"])
    assert "sesame" not in str(result)


TYPES = {
    "int": "int",
    "number": "float",
    "bool": "bool",
    "path": "path",
    "dict": "dict",
    "region": "dict",
    "scancode": "int",
    "names": "list of str",
    "regions": "list of dict",
    "keys": "list of str",
}  # of the others: str


def assert_same(documented: Rows, options: dict[str, Option], place: str) -> None:
    assert set(documented) == set(options), place
    for name, option in options.items():
        kind, default, words = documented[name]
        choices = ", ".join(f"`{choice}`" for choice in option.choices)
        usual = "" if option.default is None else f"`{yaml.safe_dump(option.default).splitlines()[0]}`"
        expected = choices or TYPES.get(option.kind, "str"), "required" if option.required else usual.replace("'", "")
        assert (kind, default) == expected, f"{place}{name}"
        assert words, f"{place}{name}"


def test_the_page_of_the_steps_describes_them_all():
    assert set(STEPS) == {"", *VERBS}
    assert_same(STEPS[""], AROUND, "")
    for name, verb in VERBS.items():
        assert_same(STEPS[name], verb.options, f"{name}.")


def test_every_key_that_the_documentation_names_is_one():
    names = re.search(r"Others: (.*)$", STEPS["send_key"]["key"][-1])
    listed = {name for part in names[1].split(", ") for name in part.split(" to ")}
    assert {"esc", "f12", "kp_9", "wake"} <= listed
    assert {code for name in listed for code in chord(name)} <= set(SCANCODES.values())
    plain = set("abcdefghijklmnopqrstuvwxyz0123456789") | set("=[];'`\\,./") | {"minus"}
    ranges = {f"f{n}" for n in range(1, 13)} | {f"kp_{n}" for n in range(10)}
    assert {code for name in listed | plain | ranges for code in chord(name)} == set(SCANCODES.values())


def test_what_comes_back_is_documented(run, tmp_path):
    documented = yaml.safe_load(ryll_session.RETURN)
    file = tmp_path / "t.json"
    with Peer(Ryll()) as peer:
        good = run(socket=peer.path)
        bad = run(socket=peer.path, steps=[H, {"stats": {"marks": 9}}], transcript_file=str(file))
    rehearsed = run(_ansible_check_mode=True)
    assert rehearsed["changed"] is False
    usual = {"changed", "failed", "msg", "warnings", "invocation", "logged", "lane_failure"}
    assert set(documented) == (set(good) | set(bad) | set(rehearsed)) - usual
    assert set(good["transcript"][0]) == set(documented["transcript"]["contains"])
    assert json.loads(file.read_text())["transcript"] == bad["transcript"]
