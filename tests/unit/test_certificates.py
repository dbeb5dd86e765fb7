"""Certificates: that a changed or expired one is made anew, and what is no subject.

tests/playbooks/test_tls.py looks at what is in them.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible.module_utils.lane.checks.suites import tokens
from ansible.module_utils.lane.core import certificates
from cryptography import x509
from prepared import fails

SUBJECT = "C=US,O=Kerbside CI,CN=x"
ADDRESS = "127.0.0.1"
HOUR = timedelta(hours=1)


def test_the_subject_keeps_its_order():
    parts = [(part.rfc4514_attribute_name, part.value) for part in certificates.subject_name(r"C=US,O=A\, B,CN=x")]
    assert parts == [("C", "US"), ("O", "A, B"), ("CN", "x")]  # as ryll compares them


@pytest.mark.parametrize("subject", ["kerbside", "CN", "NONE=x"])
def test_what_is_no_subject(subject):
    with fails("bad_input", "lane"):
        certificates.subject_name(subject)


@pytest.mark.parametrize(
    ("life", "subject", "address", "fits"),
    [
        (HOUR, SUBJECT, ADDRESS, True),
        (timedelta(seconds=1), SUBJECT, ADDRESS, True),
        (timedelta(0), SUBJECT, ADDRESS, False),
        (HOUR, "O=Kerbside CI,C=US,CN=x", ADDRESS, False),
        (HOUR, SUBJECT, "127.0.0.2", False),
    ],
)
def test_for_whom_a_certificate_is(life, subject, address, fits):
    made = certificates.issue("CN=ca", SUBJECT, ADDRESS, life)
    assert certificates.is_for(made.server, subject, address) is fits


def test_a_certificate_whose_time_is_over_is_the_same_but_for_that(tmp_path):
    made = certificates.issue("CN=ca", SUBJECT, ADDRESS, HOUR)
    (tmp_path / "tls").mkdir()
    for name, content in (("proxy.pem", made.server), ("ca-key.pem", made.ca_key)):
        (tmp_path / "tls" / name).write_bytes(content)
    path = Path(tokens.expired_certificate(str(tmp_path)))
    late, good, ca = (x509.load_pem_x509_certificate(one) for one in (path.read_bytes(), made.server, made.ca))
    late.verify_directly_issued_by(ca)
    assert (late.subject, late.public_key()) == (good.subject, good.public_key())
    assert list(late.extensions) == list(good.extensions)
    now = datetime.now(UTC)
    assert now - timedelta(days=3) < late.not_valid_before_utc < late.not_valid_after_utc < now


def test_another_ca_as_a_console_file_carries_it():
    text = tokens.other_ca()
    assert "\n" not in text
    ca = x509.load_pem_x509_certificate(text.replace("\\n", "\n").encode())
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
