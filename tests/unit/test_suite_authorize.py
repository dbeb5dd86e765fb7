"""What kerbside hands out to its proxy, asked by a program in the place of kerbside's Python."""

import http.server
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.module_utils.lane.checks.suites import authorize, machines
from ansible.module_utils.lane.protocols import control_service
from suite_lane import NAP, TICKET, Lane, check, entry_of, read, suite_of

MACHINES = {
    "machines": [{"name": "secured", "tls": True}, {"name": "plain"}],
    "consoles": [
        {"name": "good", "machine": "secured", "ca": "right"},
        {"name": "wrong_ca", "machine": "secured", "ca": "other", "host_subject": "CN=other"},
        {"name": "bare", "machine": "plain"},
    ],
}
SESSION = "abcdefghijkl"
FIREWALL = {"mode": "ENFORCE", "channels": []}
#: Answers with what is in the file `reply`, and notes what it was asked.
KERBSIDE = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
(here / "asked").write_text(pathlib.Path(sys.argv[3]).read_text())
reply = (here / "reply").read_text()
sys.exit(reply if (here / "fails").exists() else print("imported", reply, sep="\\n"))
"""


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    made = Lane(tmp_path)
    made.run.lane_id = 1
    made.keys["title"] = f"one via proxy session ID {SESSION}"
    made.machines = machines.Machines(made.place, read(suite_of(check(NAP), **MACHINES)))
    made.machines.programs()  # makes tickets and certificates
    Path(made.place.database_python).write_text(KERBSIDE)
    Path(made.place.database_python).chmod(0o700)
    return made


def good_reply(lane: Lane, of: str | None) -> dict[str, Any]:
    """What kerbside hands out when all is well."""
    source: dict[str, Any] = lane.machines.source(of) if of else {"source": lane.place.source}
    qemu = {"uuid": lane.place.uuid, "hypervisor_ip": "127.0.0.1", "insecure_port": 17904, "ticket": TICKET}
    console = {"secure_port": 0, "host_subject": "", **(source["consoles"][0] if of else qemu)}
    names = ("uuid", "hypervisor_ip", "insecure_port", "secure_port", "ticket", "host_subject")
    more = {"source": source["source"], "session_id": SESSION, "channel": {"node": "lane-1", **authorize.CHANNEL}}
    return {**FIREWALL, **{name: console[name] for name in names}, "ca_cert": source.get("ca_cert", ""), **more}


def handed_out(lane: Lane, reply: Any, of: str | None = "good", **more: Any) -> dict[str, Any]:
    """The detail of a check with this step. reply: what kerbside says."""
    Path(lane.place.lane_dir, "reply").write_text(reply if isinstance(reply, str) else json.dumps(reply))
    step = {"handed_out": {"console": "token", **more, **({"of": of} if of else {})}}
    return entry_of(lane, {"console": {}, "register": "token"}, step, **MACHINES)["detail"]


def code(lane: Lane, reply: Any, of: str | None = "good", **more: Any) -> str | None:
    return handed_out(lane, reply, of, **more).get("code")


WRONG = "suite_not_handed_out"


def test_a_machine_has_tls_where_the_suite_asks_for_it(lane):
    assert ["tls-port=" in " ".join(program.argv) for program in lane.machines.programs()] == [True, False]


@pytest.mark.parametrize(
    ("reply", "words"),
    [({}, "what its sources and settings say"), ({"ticket": "x", "ca_cert": "y"}, "another ticket, ca_cert")],
)
def test_the_parts_that_differ_are_named_and_their_values_are_not(lane, reply, words):
    detail = handed_out(lane, {**good_reply(lane, "good"), **reply}, wrong=bool(reply))
    assert detail["witnesses"][-1] == f"handed_out: kerbside hands out {words}"


@pytest.mark.parametrize("of", [None, "good", "wrong_ca", "bare"])
def test_what_kerbside_hands_out_is_what_its_sources_say(lane, of):
    right = good_reply(lane, of)
    assert code(lane, right, of) is None
    detail = handed_out(lane, right, of, wrong=True)
    assert (detail["code"], detail["component"], detail["evidence"]) == (WRONG, "kerbside", lane.log("daemon"))
    question = json.loads(Path(lane.place.lane_dir, "asked").read_text())
    assert question["token"] == "good" and question["socket"] == f"{lane.place.lane_dir}/grpc/api.sock"
    assert not Path(lane.place.lane_dir, "secrets/question").exists()  # it held the token


PARTS = (
    *("hypervisor_ip", "insecure_port", "secure_port", "ticket", "ca_cert", "host_subject"),
    *("source", "uuid", "session_id", "mode", "channels", "channel"),
)


@pytest.mark.parametrize("name", PARTS)
def test_each_part_that_differs_is_wrong(lane, name):
    other = {**good_reply(lane, "good"), name: "another"}
    assert (code(lane, other), code(lane, other, wrong=True)) == (WRONG, None)


def test_a_token_that_is_denied_hands_out_nothing(lane):
    assert (code(lane, None), code(lane, None, wrong=True)) == (WRONG, None)
    assert code(lane, None, password="forged", wrong=True) is None
    assert json.loads(Path(lane.place.lane_dir, "asked").read_text())["token"] == "forged"


@pytest.mark.parametrize("wrong", [False, True])
def test_a_kerbside_that_does_not_answer_has_said_nothing_wrong(lane, wrong):
    Path(lane.place.lane_dir, "fails").touch()
    assert code(lane, "no channel", wrong=wrong) == WRONG


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, FIREWALL),
        ({"KERBSIDE_FIREWALL_MODE": "enforce"}, FIREWALL),
        ({"KERBSIDE_FIREWALL_MODE": "warn"}, {"mode": "WARN_ONLY", "channels": []}),
        ({"KERBSIDE_FIREWALL_PERMITTED_CHANNELS": "inputs,main"}, {"mode": "ENFORCE", "channels": [1, 3]}),
    ],
)
def test_the_firewall_is_what_kerbsides_settings_say(settings, expected):
    assert authorize.firewall(settings) == expected


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a process of its own closes its files at its end
@pytest.mark.parametrize(("status", "listed"), [(400, True), (500, False)])
def test_a_list_that_kerbside_cannot_give_says_nothing_of_the_channel(tmp_path, monkeypatch, capsys, status, listed):
    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None: ...

    names = "hypervisor hypervisor_ip insecure_port secure_port ticket ca_cert host_subject source uuid".split()
    rpc = MagicMock()
    reply = rpc.kerbside_pb2_grpc.KerbsideProxyStub.return_value.AuthorizeConnection.return_value
    reply.target = SimpleNamespace(session_id=SESSION, **dict.fromkeys(names, ""))
    reply.firewall_policy.permitted_channels = []
    rpc.kerbside_pb2.FirewallPolicy.Mode.Name.return_value = "ENFORCE"
    for name, module in {"grpc": MagicMock(), "kerbside": MagicMock(), "kerbside.rpc": rpc}.items():
        monkeypatch.setitem(sys.modules, name, module)
    with http.server.HTTPServer(("127.0.0.1", 0), Api) as api:
        threading.Thread(target=api.handle_request, daemon=True).start()
        sessions = f"http://127.0.0.1:{api.server_port}/session"
        asked = {"socket": "", "token": "", "limit": 5, "channel": authorize.CHANNEL, "headers": {}}
        (tmp_path / "asked").write_text(json.dumps({**asked, "sessions": sessions}))
        monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path / "asked")])
        exec(control_service.QUERY, {})
    assert json.loads(capsys.readouterr().out)["channel"] == (authorize.CHANNEL if listed else {})
