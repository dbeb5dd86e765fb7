"""Whether kerbside's control service, which its proxy asks about each connection, answers anybody."""

from __future__ import annotations

import re

from ..core import command
from ..core.errors import LaneError, one_line
from ..core.layout import Layout

#: ryll's words when nobody answered it. The proxy answers only after kerbside has answered the proxy.
WAITED = re.compile(r"(?:link handshake|authentication) .*did not complete within")
TIMEOUT = 3
#: Played by the Python of kerbside's environment: asks whom a token that there never was lets in. argv: the socket.
QUERY = f"""
import sys, grpc
from kerbside.rpc import kerbside_pb2 as messages, kerbside_pb2_grpc as services
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    request = messages.AuthorizeConnectionRequest(token="none", connection_ref="none", channel_type="main")
    try:
        services.KerbsideProxyStub(channel).AuthorizeConnection(request, timeout={TIMEOUT})
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
            print(error.code().name)
"""


def silence(python: str, lane_dir: str, mark: str | None = None) -> str:
    """gRPC's word for why the control service does not answer; "" if it does, or if it cannot be asked."""
    argv = [python, "-c", QUERY, Layout(lane_dir).grpc_socket]
    try:
        done = command.run(argv, command.environment(mark), 5 * TIMEOUT, "kerbside's control service", component="lane")
    except LaneError:
        return ""
    return "" if done.status else one_line(done.out)
