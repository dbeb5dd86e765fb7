"""Actions of the catalogue that make something wrong: a guest, a certificate."""

import base64
import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from ansible.module_utils.lane.prepare import disk_image, guest_build
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from place import Place


def guests(place: Place, given: dict[str, Any]) -> None:
    """A guests.yml of its own in the scratch folder: the entry of pocket with other fields, and its image as `image`
    says.

    image: whole (a copy), missing, text, changed (one byte of it), empty (a qcow2 without content), or a list of [file,
    old, new]: built from changed source.
    """
    entry = yaml.safe_load(place.guests_file.read_text())["guests"]["pocket"]
    image, kind = place.scratch / "pocket.qcow2", given.get("image", "whole")
    data = (place.guests_file.parent / entry["image"]).read_bytes()
    if isinstance(kind, list):
        source = place.scratch / "source"
        shutil.copytree(place.guests_file.parent / "pocket-sextant", source)
        for name, old, new in kind:
            text = (source / name).read_text()
            if text.count(old) != 1:
                raise LookupError(f"{name} has {text.count(old)} times {old!r}")
            (source / name).write_text(text.replace(old, new))
        data = disk_image.qcow2(disk_image.boot_volume(guest_build.compile_program(source, place.cache_dir)))
        entry["sha256"] = None
    elif kind == "text":
        data = b"this is no disk image\n"
    elif kind == "changed":
        data = data[:-1] + bytes([data[-1] ^ 1])
    elif kind == "empty":
        data = disk_image.qcow2(bytes(1 << 20))
        entry["sha256"] = None
    if kind != "missing":
        image.write_bytes(data)
    (place.scratch / "guests.yml").write_text(json.dumps({"guests": {"pocket": entry | given.get("entry", {})}}))


def certificate(place: Place, given: dict[str, Any]) -> None:
    """proxy.pem and proxy-key.pem in the scratch folder: signed by the lane's CA for the lane's subject, but for what
    `wrong` says.

    wrong: expired, issuer (another CA), subject, version (X.509 v1), key (that of another certificate), unreadable (the
    key), empty (the certificate).
    """
    wrong = given["wrong"]
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate((place.lane_dir / "tls/ca.pem").read_bytes())
    signer: Any = serialization.load_pem_private_key((place.lane_dir / "tls/ca-key.pem").read_bytes(), None)
    if wrong == "issuer":
        signer = ec.generate_private_key(ec.SECP256R1())
    name = "another" if wrong == "subject" else f"kerbside-lane-{place.lane_id}"
    parts = ((NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Kerbside CI"), (NameOID.COMMON_NAME, name))
    now = datetime.now(UTC)
    end = now - timedelta(hours=1) if wrong == "expired" else now + timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in parts]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(end)
    )
    if wrong != "version":
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = builder.sign(signer, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM) if wrong != "version" else version_1(made, signer)
    (place.scratch / "proxy.pem").write_bytes(pem)
    held = ec.generate_private_key(ec.SECP256R1()) if wrong == "key" else key
    text = held.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place.scratch / "proxy-key.pem").write_bytes(text)
    if wrong == "unreadable":
        (place.scratch / "proxy-key.pem").chmod(0)
    if wrong == "empty":
        (place.scratch / "proxy.pem").write_bytes(b"")


def version_1(made: x509.Certificate, signer: Any) -> bytes:
    """The certificate without its version field, which makes it X.509 v1 (RFC 5280, 4.1.2.1), and signed anew."""

    def der(tag: int, body: bytes) -> bytes:
        size = len(body)
        number = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([size]) if size < 128 else bytes([0x80 | len(number)]) + number
        return bytes([tag]) + length + body

    old = made.tbs_certificate_bytes
    start = 2 if old[1] < 128 else 2 + (old[1] & 0x7F)
    body = old[start:]
    if body[:2] != b"\xa0\x03":
        raise ValueError("no version field")
    inside = der(0x30, body[5:])
    whole = made.public_bytes(serialization.Encoding.DER)
    start = 2 if whole[1] < 128 else 2 + (whole[1] & 0x7F)
    after = whole[start + len(old) :]  # the algorithm's identifier, then the signature
    algorithm = after[: 2 + after[1]]
    signature = signer.sign(inside, ec.ECDSA(hashes.SHA256()))
    data = der(0x30, inside + algorithm + der(0x03, b"\0" + signature))
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"
