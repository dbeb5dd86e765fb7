"""Get a console.vv from kerbside's REST API and check that it is the one the lane needs.

The file is in the format of virt-viewer (man 1 remote-viewer, "CONNECTION FILE").
"""

from __future__ import annotations

import configparser
import json
import time
from pathlib import Path

from ..core import local_http
from ..core.errors import LaneError, one_line
from ..core.layout import ADDRESS
from ..core.private_dir import write_private

CONSOLE_TYPES = "application/x-virt-viewer, application/json"  #: media types of console.vv, and of why there is none
POLL = 0.05
#: Seconds for one answer. Whether the lane's programs run is watched meanwhile (process.watched): a frozen database
#: makes the API wait for 30.
ANSWER_LIMIT = 12


def get(port: int, path: str, token_file: str, limit: float) -> str:
    """The body of GET path with the bearer token of a file.

    Waits up to `limit` seconds while kerbside does not know the console yet (404 with its own words). Raises LaneError
    (component kerbside) with the answer's words for everything else.
    """
    try:
        token = Path(token_file).read_text(encoding="ascii").strip()
    except OSError as error:
        problem = f"the bearer token {token_file} cannot be read: {error.strerror}"
        raise LaneError("token_missing", "kerbside", problem, "look at logs/token.log") from None
    end = time.monotonic() + limit
    while True:
        status, body = _request(port, path, token)
        if status == 200:
            return body
        reason = _reason(body)
        if status != 404 or reason not in ("console not found", "source not found") or time.monotonic() > end:
            answer = f"{status}: {reason} (http://{ADDRESS}:{port}{path})"
            problem = f"kerbside's API refused to hand out console.vv: {answer}"
            log = f"logs/{'daemon' if status == 404 else 'api'}.log"
            raise LaneError("api_refused", "kerbside", problem, f"look at {log}", evidence=log)
        time.sleep(POLL)


def headers(token: str, accept: str = "application/json") -> dict[str, str]:
    """The headers of a request with this bearer token, for an answer of these media types."""
    return {"Authorization": f"Bearer {token}", "Accept": accept}


def _request(port: int, path: str, token: str) -> tuple[int, str]:
    try:
        return local_http.get(port, path, ANSWER_LIMIT, **headers(token, CONSOLE_TYPES))
    except local_http.NoAnswer as error:
        problem, log = f"kerbside's API on http://{ADDRESS}:{port}: {error}", "logs/api.log"
        raise LaneError("api_silent", "kerbside", problem, f"look at {log}", evidence=log) from None


def _reason(body: str) -> str:
    try:
        return one_line(str(json.loads(body)["error"]), 200)
    except (ValueError, KeyError, TypeError):
        return one_line(body, 120)


def parse(text: str) -> dict[str, str]:
    """The keys of a .vv file's [virt-viewer] section. Raises LaneError (component kerbside) when it has none."""
    parser = configparser.RawConfigParser(strict=True)
    try:
        parser.read_string(text)
        return dict(parser["virt-viewer"])
    except (configparser.Error, KeyError) as error:
        problem = f"console.vv is not a [virt-viewer] file ({type(error).__name__})"
        raise LaneError("console_malformed", "kerbside", problem, "look at logs/api.log") from None


def check(keys: dict[str, str], *, tls_port: int, spice_port: int, host_subject: str, ca_file: str) -> None:
    """Raise LaneError (component kerbside) unless the .vv points at the proxy, with the lane's CA and subject, and
    never at qemu's own spice_port.
    """

    def require(holds: bool, problem: str, fix: str) -> None:
        if not holds:
            raise LaneError("console_wrong", "kerbside", problem, fix)

    for name in ("port", "tls-port"):
        problem = f"{name} in console.vv is {spice_port}, qemu's own port, not the proxy's {tls_port}"
        require(keys.get(name) != str(spice_port), problem, "look at logs/api.log")
    required = {"type": "spice", "host": ADDRESS, "tls-port": str(tls_port), "host-subject": host_subject}
    for name, value in required.items():
        problem = f"{name} in console.vv is {keys.get(name, 'missing')!r}, not {value!r}"
        require(keys.get(name) == value, problem, "look at handover/console.json")
    ca = Path(ca_file).read_text(encoding="ascii").strip()
    same = keys.get("ca", "").replace("\\n", "\n").strip() == ca
    require(same, "console.vv carries another CA than the lane's", f"compare it with {ca_file}")
    require(bool(keys.get("password")), "console.vv has no console token as its password", "look at logs/api.log")


def qemu_keys(port: int, ticket: str) -> dict[str, str]:
    """The keys of a .vv that leads to qemu itself."""
    return {"type": "spice", "host": ADDRESS, "port": str(port), "password": ticket}


def write(file: str, keys: dict[str, str]) -> None:
    """Write a .vv with these keys (0600)."""
    write_private(file, ("[virt-viewer]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())).encode())


def shown(keys: dict[str, str]) -> dict[str, str]:
    """What may be shown of a .vv."""
    return {name: "(withheld)" if name == "password" else value for name, value in keys.items() if name != "ca"}
