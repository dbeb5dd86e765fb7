"""kerbside's control service, which its proxy asks about each connection: whether it answers, and what."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..core import command, secrets
from ..core.errors import LaneError
from ..core.layout import Layout
from ..core.private_dir import write_private

#: ryll's words when nobody answered it. The proxy answers only after kerbside has answered the proxy.
WAITED = re.compile(r"(?:link handshake|authentication) .*did not complete within")
#: gRPC's words, in a traceback of Python, for a service that answers nobody.
SILENT = re.compile(r"StatusCode\.(DEADLINE_EXCEEDED|UNAVAILABLE)")
TIMEOUT = 3
#: Played by the Python of kerbside's environment. argv: a file with socket, token, limit, and a channel that is to be
#: registered meanwhile, or null. Prints what the proxy would be told, or null when nobody is let in; with a channel,
#: also what kerbside's API lists of it, at the URL `sessions` with these headers.
QUERY = """
import json, sys, urllib.request, uuid, grpc
from kerbside.rpc import kerbside_pb2 as messages, kerbside_pb2_grpc as services
asked = json.load(open(sys.argv[1]))
channel, limit, reference = asked["channel"], asked["limit"], str(uuid.uuid4())
with grpc.insecure_channel("unix:" + asked["socket"]) as connection:
    proxy = services.KerbsideProxyStub(connection)
    if channel:
        proxy.RegisterChannel(messages.RegisterChannelRequest(**channel, connection_ref=reference), timeout=limit)
    request = {"token": asked["token"], "connection_ref": reference, "channel_type": "main", "client_ip": "127.0.0.1"}
    reply = proxy.AuthorizeConnection(messages.AuthorizeConnectionRequest(**request), timeout=limit)
    if channel:
        try:
            listing = urllib.request.Request(asked["sessions"], headers=asked["headers"])
            sessions = json.load(urllib.request.urlopen(listing, timeout=limit))
        except OSError as error:  # 400: kerbside 0.8.0 cannot list a channel that nobody was let in on, whosever it is
            sessions = None if getattr(error, "code", 0) == 400 else {}
    proxy.DeregisterChannel(messages.DeregisterChannelRequest(connection_ref=reference), timeout=limit)
names = "hypervisor hypervisor_ip insecure_port secure_port ticket ca_cert host_subject source uuid session_id".split()
target = {name: getattr(reply.target, name) for name in names} if reply.HasField("target") else None
if target:
    policy = reply.firewall_policy
    target["mode"] = messages.FirewallPolicy.Mode.Name(policy.mode)
    target["channels"] = sorted(policy.permitted_channels)
if target and channel:
    listed = (sessions or {}).get(target["session_id"], {}).get("channels", [])
    mine = [one for one in listed if one["connection_ref"] == reference] if sessions is not None else [channel]
    target["channel"] = {name: one[name] for one in mine for name in channel}
print(json.dumps(target))
"""


def query(python: str, lane_dir: str, mark: str | None, token: str, limit: float, **more: Any) -> command.Done:
    """Run QUERY about a token. limit: seconds for each answer; more: the channel, and how to list it.

    Raises LaneError (kerbside) when it cannot be run, or does not come to its end.
    """
    question = Path(lane_dir, "secrets", "question")
    asked = {"socket": Layout(lane_dir).grpc_socket, "token": token, "limit": limit, "channel": None, **more}
    write_private(question, json.dumps(asked).encode())
    try:
        argv, env = [python, "-c", QUERY, str(question)], command.environment(mark)
        return command.run(argv, env, 5 * limit, "kerbside's answer to its proxy", component="kerbside")
    finally:
        question.unlink()


def answer(done: command.Done) -> dict[str, Any] | None:
    """What QUERY printed: its last line, because what it imports of kerbside may print, too."""
    found: dict[str, Any] | None = json.loads(done.out.splitlines()[-1])
    return found


def ask(python: str, lane_dir: str, mark: str | None = None) -> dict[str, Any] | str:
    """What the control service tells its proxy about the newest token that kerbside handed out, or gRPC's word for why
    it does not answer; "" if it lets nobody in, or cannot be asked.
    """
    token = secrets.newest(lane_dir, "console_token")
    try:
        done = query(python, lane_dir, mark, token.read_text() if token else "none", TIMEOUT)
    except (LaneError, OSError):
        return ""
    if silent := SILENT.search(done.err):
        return f"DEADLINE_EXCEEDED after {TIMEOUT} s" if silent[1] == "DEADLINE_EXCEEDED" else silent[1]
    return "" if done.status else answer(done) or ""
