"""X.509 certificates with ECDSA keys: a CA, and a server's certificate that it has signed."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from .errors import LaneError

#: What a CA's key may do: sign certificates, and nothing else (RFC 5280, 4.2.1.3).
_OTHER_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("crl_sign", "encipher_only", "decipher_only"),
)
_Extension = tuple[x509.ExtensionType, bool]  # and whether it is critical


class Issued(NamedTuple):
    """A CA and a server, as PEM."""

    ca: bytes
    ca_key: bytes
    server: bytes
    server_key: bytes


def subject_name(text: str) -> x509.Name:
    """A subject such as C=US,O=Kerbside CI,CN=name, in this order, which is the reverse of RFC 4514's.

    Raises LaneError for an attribute without a value, or one that RFC 4514 does not name.
    """
    try:
        return x509.Name.from_rfc4514_string(",".join(reversed(re.split(r"(?<!\\),", text))))
    except ValueError:
        problem = f"{text!r} is no subject of a certificate"
        raise LaneError("bad_input", "lane", problem, "write it as C=US,O=name,CN=name") from None


def issue(ca_subject: str, subject: str, address: str, life: timedelta) -> Issued:
    """A new CA and the certificate of a server at this IP address, both valid from now on for `life`."""
    ca_name, ca_key, key = subject_name(ca_subject), _new_key(), _new_key()
    signs = x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(_OTHER_USES, False))
    ca_extensions: list[_Extension] = [(x509.BasicConstraints(True, 0), True), (signs, True)]
    ca = _signed(ca_name, ca_key.public_key(), ca_name, ca_key, life, ca_extensions)
    extensions: list[_Extension] = [
        (x509.BasicConstraints(False, None), False),
        (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
    server = _signed(subject_name(subject), key.public_key(), ca_name, ca_key, life, extensions)
    return Issued(ca, _pem(ca_key), server, _pem(key))


def is_for(certificate: bytes, subject: str, address: str) -> bool:
    """Whether a PEM certificate has this subject and this IP address and is still valid."""
    found = x509.load_pem_x509_certificate(certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        found.subject == subject_name(subject)
        and names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(address)]
        and found.not_valid_after_utc > datetime.now(UTC)
    )


def expired(certificate: bytes, ca_key: bytes) -> bytes:
    """A PEM certificate with the same names, extensions and key, which was valid until yesterday."""
    old, key = x509.load_pem_x509_certificate(certificate), serialization.load_pem_private_key(ca_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    extensions = [(extension.value, extension.critical) for extension in old.extensions]
    begun = old.not_valid_before_utc - timedelta(days=2)
    return _signed(old.subject, old.public_key(), old.issuer, key, timedelta(days=1), extensions, begun)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    none = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)


def _signed(
    subject: x509.Name,
    key: CertificatePublicKeyTypes,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: timedelta,
    extensions: list[_Extension],
    begun: datetime | None = None,
) -> bytes:
    begun = begun or datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), begun, begun + life)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
