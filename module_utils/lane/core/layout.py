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


class Layout:
    """The files of the lane in lane_dir."""

    address = ADDRESS

    def __init__(self, lane_dir: str) -> None:
        self.lane_dir = lane_dir

    @property
    def logs_dir(self) -> str:
        """The logs of the lane's programs, and the reports of its checks."""
        return f"{self.lane_dir}/logs"

    @property
    def serial_log(self) -> str:
        """The guest's serial port as a file."""
        return f"{self.logs_dir}/serial.log"

    @property
    def qmp_socket(self) -> str:
        """qemu's monitor."""
        return f"{self.lane_dir}/qmp.sock"

    @property
    def database_socket(self) -> str:
        return f"{self.lane_dir}/db.sock"

    @property
    def control_socket(self) -> str:
        """ryll's."""
        return f"{self.lane_dir}/ryll.sock"

    @property
    def grpc_socket(self) -> str:
        """kerbside's control service, which its proxy asks."""
        return f"{self.lane_dir}/grpc/api.sock"

    @property
    def sockets(self) -> tuple[str, ...]:
        """All of them."""
        return self.qmp_socket, self.database_socket, self.control_socket, self.grpc_socket

    @property
    def ca_file(self) -> str:
        """The certificate of this run's CA."""
        return f"{self.lane_dir}/tls/ca.pem"

    @property
    def ticket_file(self) -> str:
        """qemu's SPICE ticket."""
        return f"{self.lane_dir}/secrets/spice_ticket"

    @property
    def seed_file(self) -> str:
        """The seed of kerbside's tokens."""
        return f"{self.lane_dir}/secrets/api_seed"

    @property
    def database_password_file(self) -> str:
        """kerbside's password for its database."""
        return f"{self.lane_dir}/secrets/database_password"

    @property
    def token_file(self) -> str:
        """The bearer token for kerbside's REST API."""
        return f"{self.lane_dir}/secrets/bearer_token"

    @property
    def console_file(self) -> str:
        """What ryll connects with."""
        return f"{self.lane_dir}/console.vv"

    @property
    def counters_file(self) -> str:
        """The proxy's counters when console.vv was fetched, as JSON."""
        return f"{self.lane_dir}/counters-before.json"


def claimed_ports(lane_dir: str) -> dict[str, int]:
    """The ports that the lane was claimed with: proxy_port, proxy_plain_port, api_port, metrics_port and spice_port.

    Raises LaneError (lane) when run.json does not have them.
    """
    path = Path(lane_dir, RUN_FILE)
    try:
        return {name.removeprefix("lane_"): int(port) for name, port in read_state(path)["ports"].items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(path, f"{type(error).__name__}: {error}") from None
