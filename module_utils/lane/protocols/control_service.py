"""kerbside's control service, which its proxy asks about each connection: whether it answers, and what."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..core import command, secrets
from ..core.errors import LaneError, one_line
from ..core.layout import Layout

#: ryll's words when nobody answered it. The proxy answers only after kerbside has answered the proxy.
WAITED = re.compile(r"(?:link handshake|authentication) .*did not complete within")
TIMEOUT = 3
ALLOWED = re.compile(r"ALLOWED (\S+) (\d+) (\d+) ([0-9a-f]{64})")
#: Played by the Python of kerbside's environment: asks whom a token lets in. argv: the socket, and a file with the
#: token (without: one that there never was). Says what gRPC reports, or ALLOWED, address, two ports and the ticket's
#: SHA-256.
QUERY = f"""
import hashlib, sys, grpc
from kerbside.rpc import kerbside_pb2 as messages, kerbside_pb2_grpc as services
token = open(sys.argv[2]).read() if sys.argv[2:] else "none"
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    proxy = services.KerbsideProxyStub(channel)
    request = messages.AuthorizeConnectionRequest(token=token, connection_ref="none", channel_type="main")
    try:
        reply = proxy.AuthorizeConnection(request, timeout={TIMEOUT})
        if reply.HasField("target"):
            ticket = hashlib.sha256(reply.target.ticket.encode()).hexdigest()
            host = reply.target.hypervisor_ip or reply.target.hypervisor
            print("ALLOWED", host, reply.target.insecure_port, reply.target.secure_port, ticket)
            proxy.DeregisterChannel(messages.DeregisterChannelRequest(connection_ref="none"), timeout={TIMEOUT})
    except grpc.RpcError as error:
        print(error.code().name)
"""


@dataclass(frozen=True)
class Target:
    """Where the control service sends its proxy. ticket: the SHA-256 of qemu's SPICE ticket, in hex."""

    host: str
    port: int
    tls_port: int
    ticket: str

    def has(self, ticket: str) -> bool:
        return self.ticket == hashlib.sha256(ticket.encode()).hexdigest()


def ask(python: str, lane_dir: str, mark: str | None = None) -> Target | str:
    """Where the control service sends who has the newest token that kerbside handed out, or gRPC's word for why it does
    not answer; "" if it lets nobody in, or cannot be asked.
    """
    said = _ask(python, lane_dir, mark)
    if found := ALLOWED.fullmatch(said):
        return Target(found[1], int(found[2]), int(found[3]), found[4])
    return {"DEADLINE_EXCEEDED": f"DEADLINE_EXCEEDED after {TIMEOUT} s", "UNAVAILABLE": "UNAVAILABLE"}.get(said, "")


def _ask(python: str, lane_dir: str, mark: str | None) -> str:
    token = secrets.newest(lane_dir, "console_token")
    argv = [python, "-c", QUERY, Layout(lane_dir).grpc_socket, *([str(token)] if token else [])]
    try:
        done = command.run(argv, command.environment(mark), 5 * TIMEOUT, "kerbside's control service", component="lane")
    except LaneError:
        return ""
    return "" if done.status else one_line(done.out)
