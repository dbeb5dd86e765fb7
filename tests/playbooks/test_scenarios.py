"""ryll_session on the real ryll, through the real proxy, to the built-in guest.

Every verb and event, and the page's scenarios. A ryll that falls ill is in the fault catalogue.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.protocols.ryll.client import Client
from control_peer import Peer, Ryll
from whole_lanes import ROOT

UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"
PAGE = (ROOT / "docs/ryll_session.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- scenario -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
SCENARIOS = [yaml.safe_load(block)[0] for block in BLOCKS]
pytestmark = pytest.mark.slow


def fresh_ryll(lane) -> list[dict]:
    """The tasks of the role smoke that connect a new ryll through the proxy; this one pastes as keystrokes."""
    files = [ROOT / f"roles/smoke/{part}/main.yml" for part in ("defaults", "tasks")]
    defaults, [smoke] = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    fetch, start = smoke["block"]
    start["lane_process"]["programs"][0]["argv"].append("--enable-paste-as-keystrokes")
    program = json.loads((lane.dir / "handover/ryll.json").read_text())["path"]
    given = {**defaults, "smoke_console_fetched": False, "smoke_ryll": program}
    return [{**task, "vars": given} for task in (fetch, start)]


def examples(pictures: Path) -> list[dict]:
    """The module's own, on the lane's socket."""
    module = (ROOT / "library/ryll_session.py").read_text(encoding="utf-8")
    text = re.search(r'EXAMPLES = r"""\n(.*?)"""', module, re.DOTALL)[1]
    text = text.replace("/tmp/lane/ryll.sock", "'{{ lane_dir }}/ryll.sock'")
    return yaml.safe_load(text.replace("/tmp/lane", str(pictures)))


def session(*steps: dict, socket: str = "{{ lane_dir }}/ryll.sock", **more: object) -> dict:
    """A task that plays steps."""
    given = {"socket": socket, "connect_within": 10, "steps": [{"hello": {}}, *steps], **more}
    return {"name": "Play", "ryll_session": given}


@pytest.fixture(scope="module")
def up(lane_of_module):
    """A lane that is up; each test starts a new ryll on it."""
    lane_of_module.good("playbooks/lane.yml", "--tags", UP)
    return lane_of_module


def test_scenarios_verbs_and_events(up, tmp_path):
    played = up.good(
        [*fresh_ryll(up), *SCENARIOS, *examples(tmp_path)],
        ryll_socket="{{ lane_dir }}/ryll.sock",
        pictures=str(tmp_path),
        guest_password="Aa1!",
    )
    for scenario in SCENARIOS:
        transcript = played.result(scenario["name"])["transcript"]
        assert [entry["result"] for entry in transcript] == ["ok"] * len(scenario["ryll_session"]["steps"])
    assert (tmp_path / "after.png").read_bytes() != (tmp_path / "before.png").read_bytes()

    events = ["latency", "agent_connected", "paste_completed", "paste_failed"]
    events += ["dropped", "surface_drawn", "clipboard_changed", "input_rtt"]
    steps = [
        {"status": {}, "register": "status"},
        {"await": {"surfaces": 1, "marks": 1, "agent": True}, "within": 20},
        {"stats": {"marks": 1}},
        {"subscribe": {"events": events}},
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
    played = up.good([session(*steps)])
    result = played.result("Play")
    assert result["changed"]
    assert [entry["result"] for entry in result["transcript"]] == ["ok"] * (1 + len(steps))
    assert result["registered"]["answer"]["text"].startswith("FRESH ")
    serial = (up.dir / "logs/serial.log").read_text(errors="replace")
    assert [word for word in ("line: ", "Typed: 100%", "pasted") if word not in serial] == []

    with Client(str(up.dir / "ryll.sock")) as first:
        first.connect(time.monotonic() + 5)
        first.hello("first", time.monotonic() + 5)
        second = {**session(), "name": "Second", "ignore_errors": True}
        refused = session(steps=[{"hello": {}, "refused": "busy"}])
        played = up.good([second, refused])
        assert "another client is connected" in played.failures[0] or "busy" in played.failures[0], played


def test_ryll_tells_what_it_dropped_while_nobody_read(up):
    """The one event that no session brings about, since it reads all the time. The guest draws for each key."""
    up.good(fresh_ryll(up))
    until = time.monotonic() + 60
    with Client(str(up.dir / "ryll.sock")) as client, open(up.dir / "logs/serial.log", "rb") as serial:
        serial.seek(0, os.SEEK_END)
        client.connect(until)
        client.hello("test", until)
        client.subscribe(["surface_drawn", "dropped"], until)
        number = client.ask("paste", {"text": "abcdefgh\n" * 80, "char_delay_ms": 10}, until)
        lines = 0
        while lines < 70 and time.monotonic() < until:  # some 900 draws, of which ryll keeps about 530
            time.sleep(0.05)
            lines += serial.read().count(b"line: ")
        client.answer("paste", number, until)
        client.pump(until, lambda: client.events.dropped_by_server > 0)
        assert client.events.dropped_by_server > 100
        assert client.events.seen["surface_drawn"] > 100


def test_a_private_text_is_in_nothing_that_ansible_says(lane):
    """With all that it can be made to say; against a peer of the tests, which says back what it was told."""
    ryll = Ryll()
    ryll.on_clipboard_set = lambda c, r, p: (
        c.event("latency", echo=p["text"]),
        c.refuse(r, "bad_params", f"no room for {p['text']}"),
    )
    private = {"type": {"text": "sesame one\n", "delay_ms": 0}, "private": True}
    shown = {"type": {"text": "open", "delay_ms": 0}}
    refused = {"clipboard_set": {"text": "sesame two\n"}, "private": True}
    misplaced = {"type": {"text": "sesame four", "private": True}}
    with Peer(ryll) as peer:
        tasks = [session(*steps, socket=peer.path) for steps in ([misplaced], [private, shown], [private, refused])]
        played = lane.run([{**task, "ignore_errors": True} for task in tasks], "-vvv", "--diff")
    assert [one["event"] for one in played.results()] == ["failed", "ok", "failed"], played
    said = json.dumps(played.events) + played.text + played.stderr
    assert "open" in said
    assert "invocation" in said
    assert "sesame" not in said
