"""The role tls: what is in the certificates, that their keys are private, and that a second run changes nothing."""

import stat
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

TAGS = ("--tags", "tls")


def test_the_certificates_hold_what_ryll_and_the_proxy_check(lane):
    lane.good("playbooks/lane.yml", *TAGS, tls_hours=2)
    folder = lane.dir / "tls"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("ca.pem", "ca-key.pem", "proxy.pem", "proxy-key.pem"), 0o600)
    ca, proxy = (x509.load_pem_x509_certificate((folder / name).read_bytes()) for name in ("ca.pem", "proxy.pem"))
    proxy.verify_directly_issued_by(ca)
    assert proxy.version is ca.version is x509.Version.v3
    assert [(part.oid._name, part.value) for part in proxy.subject] == [
        ("countryName", "US"),
        ("organizationName", "Kerbside CI"),
        ("commonName", f"kerbside-lane-{lane.id}"),
    ]
    extensions = {extension.oid._name: extension for extension in (*ca.extensions, *proxy.extensions)}
    constraints = [one.extensions.get_extension_for_class(x509.BasicConstraints).value for one in (ca, proxy)]
    assert [(one.ca, one.path_length) for one in constraints] == [(True, 0), (False, None)]
    assert extensions["keyUsage"].critical and extensions["keyUsage"].value.key_cert_sign
    names = proxy.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    [usage] = proxy.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert usage == ExtendedKeyUsageOID.SERVER_AUTH
    for certificate in (ca, proxy):
        assert timedelta(0) < certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=2)
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    again = lane.run("playbooks/lane.yml", *TAGS, tls_hours=2)
    assert (again.rc, again.changed) == (0, 0), again
    other = lane.run("playbooks/lane.yml", *TAGS, lane_host_subject="CN=other")
    assert (other.rc, other.changed) == (0, 1), other
    (folder / "ca-key.pem").unlink()
    whole = lane.run("playbooks/lane.yml", *TAGS, lane_host_subject="CN=other")
    assert (whole.rc, whole.changed) == (0, 1), whole


def test_a_subject_that_is_none(lane):
    refused = lane.run("playbooks/lane.yml", *TAGS, lane_host_subject="kerbside")
    assert refused.rc == 2
    assert lane.result["blame"]["code"] == "bad_input"
