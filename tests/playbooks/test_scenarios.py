"""ryll_session on the real ryll, through the real proxy, to the built-in guest: every verb and event, the page's scenarios, and a ryll that is ill."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.control.client import Client

ROOT = Path(__file__).parents[2]
UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"
SCENARIOS = [
    yaml.safe_load(block)[0]
    for block in re.findall(r"<!-- scenario -->\n```yaml\n(.*?)```", (ROOT / "docs/ryll_session.md").read_text(encoding="utf-8"), re.DOTALL)
]
pytestmark = pytest.mark.slow


def fresh_ryll(lane) -> list[dict]:
    """Tasks that connect a new ryll through the proxy, one that pastes as keystrokes."""
    console = {
        "lane_dir": "{{ lane_dir }}",
        "api_port": "{{ lane_api_port }}",
        "metrics_port": "{{ lane_metrics_port }}",
        "tls_port": "{{ lane_proxy_port }}",
        "spice_port": "{{ lane_spice_port }}",
        "source": "{{ lane_console_source }}",
        "uuid": "{{ lane_console_uuid }}",
        "token_file": "{{ lane_token_file }}",
        "host_subject": "{{ lane_host_subject_text }}",
        "ca_file": "{{ lane_tls_ca_file }}",
        "file": "{{ lane_console_file }}",
        "counters_file": "{{ lane_counters_file }}",
    }
    ryll = {
        "name": "ryll",
        "component": "ryll",
        "argv": [
            json.loads((lane.dir / "handover/ryll.json").read_text())["path"],
            *("--headless", "--enable-paste-as-keystrokes", "--file", "{{ lane_console_file }}", "--control-socket", "{{ lane_control_socket }}"),
        ],
        "log": "{{ lane_logs_dir }}/ryll.log",
        "stop_signal": "INT",
        "ready": {"socket": "{{ lane_control_socket }}"},
    }
    return [
        {"name": "Fetch", "kerbside_console": console},
        {"name": "Start", "lane_process": {"lane_dir": "{{ lane_dir }}", "state": "restarted", "programs": [ryll]}},
    ]


def session(*steps: dict, name: str = "Play", **more: object) -> dict:
    """A task that plays steps."""
    return {"name": name, "ryll_session": {"socket": "{{ lane_control_socket }}", "connect_within": 10, "steps": [{"hello": {}}, *steps], **more}}


@pytest.fixture
def up(lane):
    """A lane that is up."""
    played = lane.run("playbooks/lane.yml", "--tags", UP)
    assert played.rc == 0, played
    return lane


def test_scenarios_verbs_and_events(up, tmp_path):
    """One lane for all of it: bringing it up takes longer than the sessions."""
    played = up.run([*fresh_ryll(up), *SCENARIOS], ryll_socket="{{ lane_control_socket }}", pictures=str(tmp_path))
    assert played.rc == 0, played
    for scenario in SCENARIOS:
        transcript = played.result(scenario["name"])["transcript"]
        assert [entry["result"] for entry in transcript] == ["ok"] * len(scenario["ryll_session"]["steps"])
    assert (tmp_path / "after.png").read_bytes() != (tmp_path / "before.png").read_bytes()

    steps = [
        {"status": {}, "register": "status"},
        {"await": {"surfaces": 1, "marks": 1, "agent": True}, "within": 20},
        {"stats": {"marks": 1}},
        {
            "subscribe": {
                "events": ["latency", "agent_connected", "paste_completed", "paste_failed", "dropped", "surface_drawn", "clipboard_changed", "input_rtt"]
            }
        },
        {"send_key": {"keys": ["a", "left", "shift-b"]}, "register": "keys"},
        {"expect_event": {"event": "surface_drawn", "since": "keys"}},
        {"type": {"text": "Typed: 100%\n"}},
        {"paste": {"text": "pasted\n"}, "register": "paste"},
        {"paste": {"text": "gr\u00fc\u00df", "wait": False}, "register": "foreign"},
        {"expect_event": {"event": "paste_failed", "since": "foreign"}},
        {"clipboard_set": {"text": f"fresh {time.time_ns()}"}, "register": "clip"},
        {"expect_event": {"event": "clipboard_changed", "since": "clip"}},
        {"clipboard_get": {}, "register": "answer"},
        {"unsubscribe": {"events": ["surface_drawn"]}},
        {"send_key": {"key": "f2"}, "register": "closed"},
        {"expect_event": {"event": "agent_connected", "since": "closed", "fields": {"connected": False}}},
        {"send_key": {"key": "f3"}},
        {"await": {"agent": True}, "within": 5},
        {"resize": {"width": 801, "height": 601}, "register": "wanted"},
        {"await": {"size_as": "wanted"}, "within": 20},
        {"screenshot": {"format": "rgba", "size": "800x600", "not_one_colour": True, "settle": 5}},
        {"screenshot": {"surface_id": 7}, "refused": "no_such_surface"},
        {"call": {"method": "status", "params": {}}},
        {"call": {"method": "no_such_verb", "params": {}}, "refused": "unknown_method"},
        {"expect_event": {"event": "latency"}, "within": 25},
        {"reconnect": {}},
        {"screenshot": {}},
        {"subscribe": {"events": ["surface_drawn", "dropped"]}},
        {"pause": {"seconds": 0.5}},
        {"quiet": {"event": "surface_drawn", "seconds": 0.5}},
        {"pause": {"seconds": 0.1}},
    ]
    played = up.run([session(*steps)])
    assert played.rc == 0, played
    result = played.result("Play")
    assert result["changed"]
    assert [entry["result"] for entry in result["transcript"]] == ["ok"] * (1 + len(steps))
    assert result["registered"]["answer"]["text"].startswith("FRESH ")
    serial = (up.dir / "logs/serial.log").read_text(errors="replace")
    assert "line: " in serial
    assert "Typed: 100%" in serial
    assert "pasted" in serial

    with Client(str(up.dir / "ryll.sock")) as first:
        first.connect(time.monotonic() + 5)
        first.hello("first", time.monotonic() + 5)
        task = {"ryll_session": {"socket": "{{ lane_control_socket }}", "steps": [{"hello": {}}]}, "name": "Second"}
        played = up.run([task])
        assert "another client is connected" in played.failures[0] or "busy" in played.failures[0], played
        refused = {"ryll_session": {"socket": "{{ lane_control_socket }}", "steps": [{"hello": {}, "refused": "busy"}]}, "name": "Refused"}
        assert up.run([refused]).rc == 0


def test_a_ryll_that_falls_ill_in_mid_step_is_told_at_once(up):
    serial = up.dir / "logs/serial.log"
    ills = {signal.SIGSTOP: r"to go on running, but it is stopped", signal.SIGKILL: r"to go on running, but|to keep the connection, but"}
    for typed, (number, words) in zip("!?", ills.items(), strict=True):
        fresh = up.run(fresh_ryll(up))
        assert fresh.rc == 0, fresh
        pid = fresh.result("Start")["programs"]["ryll"]["pid"]
        moment = []

        def hurt(mark: bytes, number: int, pid: int, moment: list[float]) -> None:
            while mark not in serial.read_bytes():  # what the step before the last types
                time.sleep(0.05)
            moment.append(time.time())
            os.kill(pid, number)

        threading.Thread(target=hurt, args=(f"key: {typed}".encode(), number, pid, moment), daemon=True).start()
        played = up.run([session({"type": {"text": typed}}, {"name": "never", "await": {"surfaces": 9}, "within": 40}, pid=pid)])
        assert played.rc == 2
        result = played.result("Play")
        assert re.search(words, result["msg"]), result["msg"]
        assert result["lane_failure"]["component"] == "ryll"
        never = result["transcript"][-1]
        assert (never["name"], never["result"]) == ("never", "failed")
        assert never["started"] + never["seconds"] - moment[0] < 2
