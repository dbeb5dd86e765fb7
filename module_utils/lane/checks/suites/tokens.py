"""Bearer tokens and certificates that kerbside and its clients have to refuse."""

from __future__ import annotations

import base64
import datetime
import functools
import hmac
import json
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


def _name(subject: str) -> x509.Name:
    """A subject such as C=US,O=Kerbside CI,CN=name, in this order, which is the reverse of RFC 4514's."""
    return x509.Name.from_rfc4514_string(",".join(reversed(subject.split(","))))


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, ca: bool
) -> str:
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def server_certificate(subject: str) -> tuple[str, str, str]:
    """A new CA's certificate, and a server's certificate and key that it has signed, as PEM."""
    ca_key, key = _key(), _key()
    ca = _certificate("CN=suite CA", ca_key, "CN=suite CA", ca_key, ca=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ca, _certificate(subject, key, "CN=suite CA", ca_key, ca=False), secret.decode()


@functools.cache
def other_ca() -> str:
    """The certificate of a CA that has signed nothing here, as a console.vv carries it."""
    key = _key()
    return _certificate("CN=another CA", key, "CN=another CA", key, ca=True).replace("\n", "\\n")
