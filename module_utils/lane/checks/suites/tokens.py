"""Bearer tokens and certificates that kerbside and its clients have to refuse."""

from __future__ import annotations

import base64
import functools
import hmac
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...core import certificates
from ...core.private_dir import write_private

#: Claims that are points of time; a suite gives them in seconds from now.
TIMES = ("exp", "nbf", "iat")


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def claims(token: str) -> dict[str, Any]:
    """What a JSON web token (RFC 7519) says."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def forged(token: str, seed: str, change: dict[str, Any]) -> str:
    """The token with other claims, signed anew. change: set and drop (claims), alg (none: unsigned), other_seed."""
    new = {key: int(time.time()) + value if key in TIMES else value for key, value in change.get("set", {}).items()}
    said = {key: value for key, value in {**claims(token), **new}.items() if key not in change.get("drop", ())}
    alg = change.get("alg", "HS256")
    text = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": alg, "typ": "JWT"}, said))
    if alg == "none":
        return f"{text}."
    key = f"{seed}-other" if change.get("other_seed") else seed
    return f"{text}.{_part(hmac.digest(key.encode(), text.encode(), 'sha256'))}"


def expired_certificate(lane_dir: str) -> str:
    """The path of an expired copy of the proxy's certificate, signed by the lane's CA."""
    folder = Path(lane_dir, "tls")
    certificate, ca_key = ((folder / name).read_bytes() for name in ("proxy.pem", "ca-key.pem"))
    write_private(folder / "expired.pem", certificates.expired(certificate, ca_key))
    return str(folder / "expired.pem")


@functools.cache
def other_ca() -> str:
    """The certificate of a CA that has signed nothing here, as a console.vv carries it."""
    made = certificates.issue("CN=another CA", "CN=none", "127.0.0.1", timedelta(days=1))
    return made.ca.decode().replace("\n", "\\n")
