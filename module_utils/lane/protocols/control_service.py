"""Whether kerbside's control service, which its proxy asks about each connection, answers anybody."""

from __future__ import annotations

import re

from ..core import command, secrets
from ..core.errors import LaneError, one_line
from ..core.layout import Layout

#: ryll's words when nobody answered it. The proxy answers only after kerbside has answered the proxy.
WAITED = re.compile(r"(?:link handshake|authentication) .*did not complete within")
TIMEOUT = 3
#: Played by the Python of kerbside's environment: asks whom a token lets in. argv: the socket, and a file with the
#: token (without: one that there never was). Says what gRPC reports, or ALLOWED.
QUERY = f"""
import sys, grpc
from kerbside.rpc import kerbside_pb2 as messages, kerbside_pb2_grpc as services
token = open(sys.argv[2]).read() if sys.argv[2:] else "none"
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    proxy = services.KerbsideProxyStub(channel)
    request = messages.AuthorizeConnectionRequest(token=token, connection_ref="none", channel_type="main")
    try:
        if proxy.AuthorizeConnection(request, timeout={TIMEOUT}).HasField("target"):
            print("ALLOWED")
            proxy.DeregisterChannel(messages.DeregisterChannelRequest(connection_ref="none"), timeout={TIMEOUT})
    except grpc.RpcError as error:
        print(error.code().name)
"""


def silence(python: str, lane_dir: str, mark: str | None = None) -> str:
    """gRPC's word for why the control service does not answer; "" if it does, or if it cannot be asked."""
    said = {"DEADLINE_EXCEEDED": f"DEADLINE_EXCEEDED after {TIMEOUT} s", "UNAVAILABLE": "UNAVAILABLE"}
    return said.get(_ask(python, lane_dir, mark), "")


def allows(python: str, lane_dir: str) -> bool:
    """Whether the control service lets in who has the newest token that kerbside handed out."""
    return _ask(python, lane_dir, None) == "ALLOWED"


def _ask(python: str, lane_dir: str, mark: str | None) -> str:
    token = secrets.newest(lane_dir, "console_token")
    argv = [python, "-c", QUERY, Layout(lane_dir).grpc_socket, *([str(token)] if token else [])]
    try:
        done = command.run(argv, command.environment(mark), 5 * TIMEOUT, "kerbside's control service", component="lane")
    except LaneError:
        return ""
    return "" if done.status else one_line(done.out)
