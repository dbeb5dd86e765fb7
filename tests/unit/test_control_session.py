"""The session as a whole: its limits, its transcript, its settings."""

import json
import math
import re
import stat
import subprocess
import sys
import time
from typing import Any

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll import session
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps, SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import STATUS, Connection, Peer, Ryll
from control_play import PRESS, ROOT, SUBSCRIBE, H, dancing, fail, play, ryll, seen, silent_after_status


def test_pause_before_hello_just_waits():
    assert play(Ryll(), {"pause": {"seconds": 0.1}}, H)["transcript"][0]["seconds"] >= 0.1


def test_reconnect_says_hello_and_subscribes_again():
    made, drawn = Ryll(), {"expect_event": {"event": "surface_drawn"}}
    result = play(made, H, SUBSCRIBE, {"unsubscribe": {"events": ["latency"]}}, {"reconnect": {}}, PRESS, drawn)
    assert made.asked[:5] == ["hello", "subscribe", "unsubscribe", "hello", "subscribe"]
    assert seen(result, 3) == {"protocol_version": "1.5", "subscribed": ["surface_drawn", "dropped"]}
    play(made, H, SUBSCRIBE, {"reconnect": {"resubscribe": False}}, {"status": {}})
    assert made.asked[-2:] == ["hello", "status"]
    # also when the peer ended the connection
    play([lambda c: c.hello(), Ryll()], H, {"reconnect": {}}, {"status": {}})


def test_what_comes_after_the_steps_has_their_connection():
    found: list[Any] = []
    with Peer(ryll(agent=True)) as peer:
        run(Settings(peer.path), plan([H]), then=lambda stage: found.append(stage.client.status(time.monotonic() + 5)))
        assert found[0].agent_connected is True
        with pytest.raises(SessionFailed):
            run(Settings(peer.path), plan([H, {"stats": {"marks": 9}}]), then=found.append)
    assert len(found) == 1


def test_the_session_has_a_limit():
    failed = fail(silent_after_status, H, {"status": {}}, {"status": {}, "within": 30}, limit=0.3)
    assert failed.code == "ryll_timeout" and "limit of 0.3 s ended the step" in failed.problem
    failed = fail(Ryll(), H, {"await": {"agent": True}, "blame": "guest", "within": 30}, limit=0.3)
    assert (failed.component, failed.code) == ("guest", "ryll_unmet")
    assert "limit of 0.3 s ended the step" in failed.problem


def test_a_step_that_earlier_ones_left_no_time_for_is_not_tried(monkeypatch):
    class Clock:
        """The session's clock, which jumps ahead while ryll answers `status`."""

        ahead = 0.0
        time = staticmethod(time.time)

        def monotonic(self) -> float:
            return time.monotonic() + self.ahead

    def on_status(c: Connection, request: Any, params: Any) -> None:
        clock.ahead = 60.0
        c.accept(request, STATUS)

    clock = Clock()
    made = ryll(on_status=on_status)
    monkeypatch.setattr(session, "time", clock)
    failed = fail(made, H, {"status": {}}, {"status": {}}, limit=30)
    assert "limit of 30 s is too short: 0.0 s are left for this step" in failed.problem
    assert (failed.component, failed.code) == ("lane", "ryll_timeout")
    assert failed.cause.startswith("step 3 of 3 (status)")
    assert made.asked == ["hello", "status"]


@pytest.mark.parametrize(
    "step", [{"pause": {"seconds": 3}}, {"quiet": {"event": "latency", "seconds": 3}}], ids=["pause", "quiet"]
)
def test_a_wait_that_the_session_has_no_time_for_is_refused(step):
    """A `quiet` that was cut short would prove nothing."""
    failed = fail(Ryll(), H, SUBSCRIBE, step | {"blame": "guest"}, limit=2)
    assert re.search(r"[12]\.\d s are left for this step", failed.problem)
    assert (failed.component, failed.kind) == ("lane", "timeout")
    assert failed.result["transcript"][2]["seconds"] < 1


def test_the_transcript_is_written_in_any_case(tmp_path, monkeypatch):
    monkeypatch.delenv("LANE_COMMAND_ID", raising=False)
    file = tmp_path / "t.json"
    result = play(Ryll(), H, transcript_file=str(file))
    assert json.loads(file.read_text()) == {"command_id": "", "files": [], **result}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    failed = fail(Ryll(), H, {"stats": {"marks": 5}, "blame": "guest"}, {"status": {}}, transcript_file=str(file))
    written = json.loads(file.read_text())
    assert [entry["result"] for entry in written["transcript"]] == ["ok", "failed", "skipped"]
    assert written["transcript"] == failed.result["transcript"]
    unmet = {"problem": "ryll counts 1 drawn marks, not 5", "kind": "unmet", "code": "ryll_unmet"}
    assert written["transcript"][1]["seen"] == unmet
    assert (written["component"], written["cause"]) == ("guest", failed.cause)


def test_a_session_that_takes_no_picture_leaves_none_of_an_earlier_one(tmp_path):
    file, picture = tmp_path / "t.json", tmp_path / "s.png"
    picture.write_bytes(b"of an earlier session")
    fail(Ryll(), H, {"stats": {"marks": 5}}, {"screenshot": {"file": str(picture)}}, transcript_file=str(file))
    assert not picture.exists()
    assert json.loads(file.read_text())["files"] == [str(picture)]


def test_files_that_cannot_be_written_are_the_machines_fault(tmp_path):
    file = tmp_path / "t.json"
    file.mkdir()
    failed = fail(Ryll(), H, {"stats": {"marks": 5}}, transcript_file=str(file))
    assert failed.code == "ryll_unmet"
    assert failed.result["notices"] == [f"the transcript could not be written to {file}: Is a directory"]
    with pytest.raises(LaneError) as caught:
        play(Ryll(), H, transcript_file=str(file))
    assert (caught.value.code, caught.value.component) == ("session_file_unwritten", "environment")
    assert [entry["result"] for entry in caught.value.result["transcript"]] == ["ok"]
    failed = fail(Ryll(), H, {"screenshot": {"file": str(file)}})
    assert (failed.code, failed.component, failed.kind) == ("session_file_unwritten", "environment", "environment")


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("limit is 0, not from 0.001 to 86400", {"limit": 0}),
    ("limit is nan", {"limit": math.nan}),
    ("limit is inf", {"limit": math.inf}),
    ("connect_within is -1, not from 0 to 86400", {"connect_within": -1}),
    ("max_line_bytes is 1023, not from 1024 to 67108864", {"max_line_bytes": 1023}),
    ("max_line_bytes is 67108865", {"max_line_bytes": (64 << 20) + 1}),
    ("pid is 0, not from 1 or more", {"pid": 0}),
    ("transcript_file is 't.json'", {"transcript_file": "t.json"}),
    ("the directory of /none/t.json", {"transcript_file": "/none/t.json"}),
    ("socket is 'r.sock'", {"socket": "r.sock"}),
    ("socket is '/r", {"socket": "/r\0"}),
    ("socket is '/xxx", {"socket": "/" + "x" * 107}),
]


@pytest.mark.parametrize(("words", "settings"), SETTINGS)
def test_a_wrong_setting_is_refused_before_anything_starts(words, settings):
    made = Ryll()
    with Peer(made) as peer, pytest.raises(BadSteps) as caught:
        run(Settings(**{"socket": peer.path, **settings}), plan([H]))
    assert words in caught.value.problem
    assert (caught.value.code, caught.value.component) == ("ryll_input", "lane")
    assert made.asked == []


def test_a_directory_for_a_picture_is_checked_before_anything_starts():
    made = Ryll()
    with Peer(made) as peer, pytest.raises(BadSteps, match=r"/none/s\.png"):
        run(Settings(peer.path), plan([H, {"screenshot": {"file": "/none/s.png"}}]))
    assert made.asked == []


def test_large_answers_are_cut_in_the_transcript():
    result = play(ryll(clipboard="x" * 100_000), H, {"clipboard_get": {"equals": "x" * 100_000}})
    assert seen(result, 1)["text"] == "x" * 65536 + "... (100000 characters)"
    made = dancing(lambda p: {str(n): "x" * 60_000 for n in range(20)})
    shown = seen(play(made, H, {"call": {"method": "dance", "result": {"19": "x" * 60_000}}}))
    assert re.fullmatch(r"\(120\d{4} characters\)", shown["..."])


def test_the_page_shows_how_to_use_it_from_plain_python():
    """Its block, in a Python without site-packages, and so without Ansible."""
    page = (ROOT / "docs/ryll_session.md").read_text(encoding="utf-8")
    found = re.search(r"## From plain Python\n.*?```python\n(.*?)```", page, re.DOTALL)
    path = {"PYTHONPATH": str(ROOT / "module_utils")}
    with Peer(Ryll()) as peer:
        command = [sys.executable, "-S", "-c", found[1].replace("/tmp/lane/ryll.sock", peer.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "1.5",
        str(STATUS["surfaces"]),
        "ryll: step 2 of 2 (stats): ryll counts 1 drawn marks, not 1000000",
    ]
