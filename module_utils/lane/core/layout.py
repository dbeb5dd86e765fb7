"""Where the parts of a lane are: the files below lane_dir that more than one of them uses, and its ports.

The roles name the same files where a program is given one (roles/*/vars, roles/smoke/tasks).
"""

from __future__ import annotations

from pathlib import Path

from .private_dir import RUN_FILE, broken, read_state

#: All programs of a lane listen on this address only.
ADDRESS = "127.0.0.1"
#: The secrets that are made with the lane; the bearer token is kerbside's to make.
SECRETS = ("spice_ticket", "api_seed", "database_password")


class _Below:
    """The absolute path of a file below lane_dir, as an attribute of a Layout."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, lane: Layout, owner: type) -> str:
        return f"{lane.lane_dir}/{self.path}"


class Layout:
    """The files of the lane in lane_dir."""

    address = ADDRESS
    logs_dir = _Below("logs")  #: the logs of the lane's programs, and the reports of its checks
    serial_log = _Below("logs/serial.log")  #: the guest's serial port as a file
    qmp_socket = _Below("qmp.sock")  #: qemu's monitor
    database_socket = _Below("db.sock")
    control_socket = _Below("ryll.sock")  #: ryll's
    grpc_socket = _Below("grpc/api.sock")  #: kerbside's control service, which its proxy asks
    ca_file = _Below("tls/ca.pem")  #: the certificate of this run's CA
    ticket_file = _Below("secrets/spice_ticket")  #: qemu's SPICE ticket
    seed_file = _Below("secrets/api_seed")  #: the seed of kerbside's tokens
    database_password_file = _Below("secrets/database_password")  #: kerbside's password for its database
    token_file = _Below("secrets/bearer_token")  #: for kerbside's REST API
    console_file = _Below("console.vv")  #: what ryll connects with
    counters_file = _Below("counters-before.json")  #: the proxy's counters when console.vv was fetched

    def __init__(self, lane_dir: str) -> None:
        self.lane_dir = lane_dir

    @property
    def sockets(self) -> tuple[str, ...]:
        """All of them."""
        return self.qmp_socket, self.database_socket, self.control_socket, self.grpc_socket


def claimed_ports(lane_dir: str) -> dict[str, int]:
    """The ports that the lane was claimed with: proxy_port, proxy_plain_port, api_port, metrics_port and spice_port.

    Raises LaneError (lane) when run.json does not have them.
    """
    path = Path(lane_dir, RUN_FILE)
    try:
        return {name.removeprefix("lane_"): int(port) for name, port in read_state(path)["ports"].items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(path, f"{type(error).__name__}: {error}") from None
