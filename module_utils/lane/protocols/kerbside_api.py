"""Get a console.vv from kerbside's REST API and check that it is the one the lane needs.

Sources: facts/kerbside.md 4 (REST) and 6 (the .vv).
"""

from __future__ import annotations

import configparser
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import local_http
from ..core.errors import legacy_error, one_line
from ..core.private_dir import write_private

POLL = 0.05
#: Seconds for one answer. That programs of the lane go on running is seen beside it (process.watched): a frozen database would have the API wait for 30.
PATIENCE = 12
#: These keys of a .vv are secret; everything else may be shown.
SECRET_KEYS = ("password",)


@dataclass(frozen=True)
class Expected:
    """What the .vv has to say. spice_port is qemu's own: nothing in the file may point there."""

    host: str
    tls_port: int
    spice_port: int
    host_subject: str
    ca_file: str


def get(address: str, port: int, path: str, token_file: str, limit: float) -> str:
    """The body of GET path with the bearer token of a file.

    Waits up to `limit` seconds while kerbside does not know the console yet (404 with its own words). Asks the address itself, whatever http_proxy says.
    Raises LaneError (component kerbside) with the answer's words for everything else.
    """
    expected = f"a console.vv from http://{address}:{port}{path}"
    try:
        token = Path(token_file).read_text(encoding="ascii").strip()
    except OSError as error:
        raise legacy_error("kerbside", f"a bearer token in {token_file}", f"{error.strerror}", "logs/token.log") from None
    end = time.monotonic() + limit
    while True:
        status, body = _request(address, port, path, token, expected)
        if status == 200:
            return body
        words = _words(body)
        if status != 404 or words not in ("console not found", "source not found") or time.monotonic() > end:
            raise legacy_error("kerbside", expected, f"the answer was {status}: {words}", "logs/daemon.log" if status == 404 else "logs/api.log")
        time.sleep(POLL)


def _request(address: str, port: int, path: str, token: str, expected: str) -> tuple[int, str]:
    accept = "application/x-virt-viewer, application/json"
    try:
        return local_http.get(address, port, path, PATIENCE, Authorization=f"Bearer {token}", Accept=accept)
    except local_http.NoAnswer as error:
        raise legacy_error("kerbside", expected, str(error), "logs/api.log") from None


def _words(body: str) -> str:
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
        raise legacy_error("kerbside", "console.vv to be a [virt-viewer] file", f"it is not: {type(error).__name__}", "logs/api.log") from None


def check(keys: dict[str, str], expected: Expected) -> None:
    """Raise LaneError (component kerbside) unless the .vv points at the proxy, with the lane's CA and subject, and never at qemu."""
    ca = Path(expected.ca_file).read_text(encoding="ascii").strip()
    wanted = {"type": "spice", "host": expected.host, "tls-port": str(expected.tls_port), "host-subject": expected.host_subject}
    for name in ("port", "tls-port"):
        if keys.get(name) == str(expected.spice_port):
            raise legacy_error(
                "kerbside", f"{name}={expected.tls_port} of kerbside-proxy in console.vv", f"it is {keys[name]}, qemu's own port", "logs/api.log"
            )
    for name, value in wanted.items():
        if keys.get(name) != value:
            raise legacy_error("kerbside", f"{name}={value} in console.vv", f"it says {keys.get(name, 'nothing')!r}", "handover/console.json")
    if keys.get("ca", "").replace("\\n", "\n").strip() != ca:
        raise legacy_error("kerbside", "the lane's own CA in console.vv", "it carries another one", expected.ca_file)
    if not keys.get("password"):
        raise legacy_error("kerbside", "a console token as the password in console.vv", "there is none", "logs/api.log")


def keep(text: str, keys: dict[str, str], file: str) -> dict[str, Any]:
    """Write the .vv for ryll (0600) and return what may be shown of it."""
    write_private(file, text.encode())
    return {name: ("(kept back)" if name in SECRET_KEYS else value) for name, value in keys.items() if name != "ca"}
