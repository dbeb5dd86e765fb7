"""The module ryll_session as Ansible runs it: its documentation, check mode, its results and its secrets."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.protocols.ryll import session
from ansible.module_utils.lane.protocols.ryll.keys import SCANCODES, chord
from ansible.module_utils.lane.protocols.ryll.steps import AROUND, VERBS, Option, plan
from ansible.module_utils.testing import patch_module_args
from control_peer import Peer, Ryll

ROOT = Path(__file__).parents[2]
H: dict[str, Any] = {"hello": {}}


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = load("library/ryll_session.py")
FRAGMENT = load("plugins/doc_fragments/ryll_steps.py").ModuleDocFragment
STEP: dict[str, Any] = yaml.safe_load(FRAGMENT.DOCUMENTATION)["options"]["steps"]["suboptions"]


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **args: Any) -> dict[str, Any]:
    """What the module prints; what it writes to the system's log goes to `logged` in it."""
    logged: list[str] = []
    monkeypatch.setattr(
        "ansible.module_utils._internal.is_controller", False
    )  # where tests of Ansible's own side are collected it would be true
    monkeypatch.setattr(
        "ansible.module_utils.basic.AnsibleModule.log",
        lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"),
    )
    with patch_module_args(args), pytest.raises(SystemExit):
        MODULE.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found | {"logged": logged}


def test_a_session_is_played(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ryll = Ryll()
    with Peer(ryll) as peer:
        result = run(
            capsys,
            monkeypatch,
            socket=peer.path,
            steps=[H, {"send_key": {"key": "a"}, "register": "r"}],
            client_name="me",
        )
    assert result["changed"] is True
    assert [entry["result"] for entry in result["transcript"]] == ["ok", "ok"]
    assert ryll.keys == [(0x1E, "press")]


def test_a_failure_keeps_the_transcript_and_names_who(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Peer(Ryll()) as peer:
        step = {"await": {"agent": True}, "name": "agent", "blame": "guest", "within": 0.1}
        result = run(capsys, monkeypatch, socket=peer.path, steps=[H, step, {"status": {}}])
    assert result["failed"] is True
    assert result["msg"].startswith(
        "guest: step 2 of 3 (agent): not within 0.1 s: the agent connected; last seen: agent not connected"
    )
    expected = {"component": "guest", "check": "agent", "code": "ryll_unmet", "cause": "", "evidence": None}
    assert result["lane_failure"] | {"cause": ""} == expected
    assert [entry["result"] for entry in result["transcript"]] == ["ok", "failed", "skipped"]
    assert "exception" not in result


def test_dropped_events_become_a_warning_green_and_red(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ryll = Ryll()
    ryll.on_status = lambda c, r, p: (c.event("dropped", count=3), Ryll.on_status(ryll, c, r, p))  # type: ignore[method-assign]
    for step in ({"status": {}}, {"await": {"size": "9x9"}, "within": 0.01}):
        with Peer(ryll) as peer:
            result = run(capsys, monkeypatch, socket=peer.path, steps=[H, step])
        assert "ryll dropped 3 events because they were not read in time" in str(result["warnings"])


def test_a_bad_list_is_the_lanes_fault_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ryll = Ryll()
    with Peer(ryll) as peer:
        result = run(capsys, monkeypatch, socket=peer.path, steps=[H, {"statsu": {}}])
    assert result["msg"].startswith("lane: step 2 has the unknown key 'statsu'")
    assert result["lane_failure"]["code"] == "ryll_input"
    assert ryll.asked == []


def test_check_mode_tells_and_touches_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a socket, without a directory for the picture: as on a bare machine."""
    steps = [H, {"type": {"text": "x"}, "name": "type it"}, {"screenshot": {"file": "/none/s.png"}}]
    result = run(
        capsys, monkeypatch, socket="/none/r.sock", steps=steps, _ansible_check_mode=True, transcript_file="/none/t"
    )
    assert result["changed"] is True
    assert result["would"] == ["1. hello", "2. type it (`type`)", "3. screenshot"]
    bad = run(capsys, monkeypatch, socket="/none/r.sock", steps=[{"status": {}}], _ansible_check_mode=True)
    assert bad["failed"] is True


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": ({"steps": None}, "lane: the steps are nothing"),
    "steps as a text": ({"steps": '[{"type": {"text": "sesame"}, "private": true}]'}, "lane: the steps are a text"),
    "a socket that is no path": ({"socket": "/r\0"}, "lane: socket is "),
    "an unknown option": ({"stpes": []}, "Unsupported parameters for "),
}


@pytest.mark.parametrize(("args", "words"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("check", [True, False])
def test_wrong_options_are_told_in_one_sentence(
    args: dict[str, Any], words: str, check: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(capsys, monkeypatch, **{"socket": "/none/r.sock", "steps": [H], "_ansible_check_mode": check} | args)
    assert result["failed"] is True
    assert words in result["msg"]
    assert "\n" not in result["msg"]
    assert "exception" not in result
    assert "sesame" not in str(result)


@pytest.mark.parametrize("good", [True, False])
def test_a_private_text_is_in_no_result_and_no_log(
    good: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ryll = Ryll()
    steps = [
        H,
        {"type": {"text": "sesame", "delay_ms": 0} | ({} if good else {"x": 1}), "private": True},
        {"type": {"text": "open"}},
    ]
    with Peer(ryll) as peer:
        result = run(capsys, monkeypatch, socket=peer.path, steps=steps)
    assert result.get("failed", False) is not good
    assert len(ryll.keys) == (10 if good else 0)
    assert result["logged"]
    assert "open" in str(result["invocation"])
    assert "open" in str(result["logged"])
    assert "sesame" not in str(result)


TYPES = {
    "str": "str", "text": "str", "keyboard_text": "str", "int": "int", "number": "float", "bool": "bool", "path": "path", "dict": "dict",
    "names": "list", "regions": "list", "size": "str", "region": "dict", "key": "str", "keys": "list", "scancode": "int",
}  # fmt: skip


def same(documented: dict[str, Any], option: Option, place: str) -> None:
    assert documented["type"] == TYPES[option.kind], place
    assert documented.get("required", False) == option.required, place
    assert documented.get("default") == option.default, place
    assert tuple(documented.get("choices", ())) == option.choices, place
    assert documented["description"], place


def test_the_documentation_describes_the_language_whole() -> None:
    assert set(STEP) == set(VERBS) | set(AROUND)
    for name, option in AROUND.items():
        same(STEP[name], option, name)
    for name, verb in VERBS.items():
        assert STEP[name]["type"] == "dict"
        documented = STEP[name].get("suboptions", {})
        assert set(documented) == set(verb.options), name
        for key, option in verb.options.items():
            same(documented[key], option, f"{name}.{key}")


def test_every_key_that_the_documentation_names_is_one() -> None:
    names = re.search(r"Others: (.*)\.$", " ".join(STEP["send_key"]["suboptions"]["key"]["description"]))
    assert names
    listed = {name for part in names[1].split(", ") for name in part.split(" to ")}
    assert {"esc", "f12", "kp_9", "wake"} <= listed
    assert {code for name in listed for code in chord(name)} <= set(SCANCODES.values())
    plain = set("abcdefghijklmnopqrstuvwxyz0123456789") | set("=[];'`\\,./") | {"minus"}
    ranges = {f"f{n}" for n in range(1, 13)} | {f"kp_{n}" for n in range(10)}
    assert {code for name in listed | plain | ranges for code in chord(name)} == set(SCANCODES.values())


def test_the_examples_can_be_played(tmp_path: Path) -> None:
    ryll = Ryll()
    ryll.agent = True
    ryll.pixels = lambda x, y: (x & 255, 0, len(ryll.keys))
    usual = ryll.on_status
    ryll.on_status = lambda c, r, p: usual(c, r, p) if "hello" in ryll.asked else c.refuse(r, "no_hello_yet")  # type: ignore[method-assign]
    tasks = yaml.safe_load(
        MODULE.EXAMPLES.replace("/tmp/lane/", f"{tmp_path}/").replace("{{ guest_password }}", "open sesame")
    )
    for task in tasks:
        assert task["name"]
        if "ryll_session" in task:
            given = task["ryll_session"]
            ryll.asked.clear()
            ryll.size = (64, 32)
            with Peer(ryll) as peer:
                played = session.run(session.Settings(peer.path), plan(given["steps"]))
            assert [entry["result"] for entry in played["transcript"]] == ["ok"] * len(given["steps"])
            assert "sesame" not in str(played)


def test_what_comes_back_is_documented(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    documented = yaml.safe_load(MODULE.RETURN)
    file = tmp_path / "t.json"
    with Peer(Ryll()) as peer:
        good = run(capsys, monkeypatch, socket=peer.path, steps=[H])
        bad = run(capsys, monkeypatch, socket=peer.path, steps=[H, {"stats": {"marks": 9}}], transcript_file=str(file))
    rehearsed = run(capsys, monkeypatch, socket="/x", steps=[H], _ansible_check_mode=True)
    assert rehearsed["changed"] is False
    usual = {"changed", "failed", "msg", "warnings", "invocation", "logged", "lane_failure"}
    assert set(documented) == (set(good) | set(bad) | set(rehearsed)) - usual
    assert set(good["transcript"][0]) == set(documented["transcript"]["contains"])
    assert json.loads(file.read_text())["transcript"] == bad["transcript"]
