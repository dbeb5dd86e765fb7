"""Get a console.vv from kerbside's REST API and check that it is the one the lane needs.

The file is in the format of virt-viewer (man 1 remote-viewer, "CONNECTION FILE").
"""

from __future__ import annotations

import configparser
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import local_http
from ..core.errors import LaneError, one_line
from ..core.private_dir import write_private

POLL = 0.05
#: Seconds for one answer. Whether the lane's programs run is watched meanwhile (process.watched): a frozen database
#: makes the API wait for 30.
ANSWER_LIMIT = 12
#: These keys of a .vv are secret; everything else may be shown.
SECRET_KEYS = ("password",)


@dataclass(frozen=True)
class Expected:
    """What the .vv has to contain. spice_port is qemu's own: nothing in the file may point there."""

    host: str
    tls_port: int
    spice_port: int
    host_subject: str
    ca_file: str


def get(address: str, port: int, path: str, token_file: str, limit: float) -> str:
    """The body of GET path with the bearer token of a file.

    Waits up to `limit` seconds while kerbside does not know the console yet (404 with its own words). Asks the address
    itself, whatever http_proxy says. Raises LaneError (component kerbside) with the answer's words for everything else.
    """
    try:
        token = Path(token_file).read_text(encoding="ascii").strip()
    except OSError as error:
        raise LaneError(
            "token_missing",
            "kerbside",
            f"the bearer token {token_file} cannot be read: {error.strerror}",
            "look at logs/token.log",
        ) from None
    end = time.monotonic() + limit
    while True:
        status, body = _request(address, port, path, token)
        if status == 200:
            return body
        reason = _reason(body)
        if status != 404 or reason not in ("console not found", "source not found") or time.monotonic() > end:
            problem = (
                f"kerbside's API refused to hand out console.vv: {status}: {reason} (http://{address}:{port}{path})"
            )
            log = f"logs/{'daemon' if status == 404 else 'api'}.log"
            raise LaneError("api_refused", "kerbside", problem, f"look at {log}", evidence=log)
        time.sleep(POLL)


def _request(address: str, port: int, path: str, token: str) -> tuple[int, str]:
    accept = "application/x-virt-viewer, application/json"
    try:
        return local_http.get(address, port, path, ANSWER_LIMIT, Authorization=f"Bearer {token}", Accept=accept)
    except local_http.NoAnswer as error:
        problem, log = f"kerbside's API on http://{address}:{port}: {error}", "logs/api.log"
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
        raise LaneError(
            "console_malformed",
            "kerbside",
            f"console.vv is not a [virt-viewer] file ({type(error).__name__})",
            "look at logs/api.log",
        ) from None


def check(keys: dict[str, str], expected: Expected) -> None:
    """Raise LaneError (component kerbside) unless the .vv points at the proxy, with the lane's CA and subject, and
    never at qemu.
    """

    def wrong(problem: str, fix: str) -> LaneError:
        return LaneError("console_wrong", "kerbside", problem, fix)

    ca = Path(expected.ca_file).read_text(encoding="ascii").strip()
    required = {
        "type": "spice",
        "host": expected.host,
        "tls-port": str(expected.tls_port),
        "host-subject": expected.host_subject,
    }
    for name in ("port", "tls-port"):
        if keys.get(name) == str(expected.spice_port):
            raise wrong(
                f"{name} in console.vv is {keys[name]}, qemu's own port, not the proxy's {expected.tls_port}",
                "look at logs/api.log",
            )
    for name, value in required.items():
        if keys.get(name) != value:
            raise wrong(
                f"{name} in console.vv is {keys.get(name, 'missing')!r}, not {value!r}", "look at handover/console.json"
            )
    if keys.get("ca", "").replace("\\n", "\n").strip() != ca:
        raise wrong("console.vv carries another CA than the lane's", f"compare it with {expected.ca_file}")
    if not keys.get("password"):
        raise wrong("console.vv has no console token as its password", "look at logs/api.log")


def qemu_keys(address: str, port: int, ticket: str) -> dict[str, str]:
    """The keys of a .vv that leads to qemu itself."""
    return {"type": "spice", "host": address, "port": str(port), "password": ticket}


def write(file: str, keys: dict[str, str]) -> None:
    """Write a .vv with these keys (0600)."""
    write_private(file, ("[virt-viewer]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())).encode())


def keep(text: str, keys: dict[str, str], file: str) -> dict[str, Any]:
    """Write the .vv for ryll (0600) and return what may be shown of it."""
    write_private(file, text.encode())
    return {name: ("(withheld)" if name in SECRET_KEYS else value) for name, value in keys.items() if name != "ca"}
