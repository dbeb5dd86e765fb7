"""Secrets are found in whatever form, and a file with one is withheld and blamed on whoever wrote it."""

import base64
import io
import json
import random
import shutil
import subprocess
import tarfile
import urllib.parse
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import secrets
from ansible.module_utils.lane.core.secrets import Secret
from ansible.module_utils.lane.evidence import secret_scan

VALUE = b"0123456789abcdef0123456789abcdef01234567"
TICKET = Secret("spice_ticket", VALUE)


def found(data: bytes, secret: Secret = TICKET) -> list[tuple[str, int]]:
    return [(form, line) for _, form, line in secret_scan.search(data, [secret])]


@pytest.mark.parametrize(
    ("form", "leak"),
    [
        ("plain", VALUE),
        ("hex", VALUE.hex().encode()),
        ("hex", VALUE.hex().upper().encode()),
        ("hex", VALUE.hex(":").encode()),
        ("percent-encoded", "".join(f"%{b:02x}" for b in VALUE).encode()),
        ("percent-encoded", "".join(f"%{b:02X}" for b in VALUE).encode()),
        ("base64", base64.encodebytes(b"some words before it " + VALUE)),
        ("plain", VALUE[:11] + b"\n    " + VALUE[11:]),
        ("plain", json.dumps({"log": f"{VALUE[:30].decode()}\n{VALUE[30:].decode()}"}).encode()),
    ],
)
def test_every_form(form, leak):
    assert found(b"one\ntwo\nthree " + leak + b" four\nfive\n") == [(form, 3)]
    assert found(b"one\ntwo\nthree " + leak.replace(b"5", b"_").replace(b"N", b"_") + b" four\n") == []


def test_the_line_of_a_secret_counts_the_breaks_before_it():
    broken = VALUE[:11] + b"\\n" + VALUE[11:]
    assert found(VALUE) == found(broken) == [("plain", 1)]
    assert found(b"\n\n" + VALUE) == [("plain", 3)]
    assert found(b"a\n\nb\n" + VALUE[:20] + b"\n" + VALUE[20:]) == [("plain", 4)]
    assert found(VALUE[:20] + b"\n" + VALUE[20:] + b"\n\nc") == [("plain", 1)]
    assert found(b"a\nb\n" + VALUE[1:]) == []


@pytest.mark.parametrize("offset", range(8))
def test_the_shortest_secret_is_found_wherever_it_begins(offset):
    shortest = Secret("api_seed", VALUE[: secrets.SHORTEST])
    text = b"." * offset + shortest.value + b"."
    for written in (text, text.replace(b"2", b"2\n").replace(b"5", b"5\n")):
        assert found(written, shortest) == [("plain", 1)]
    assert found(text.replace(b"3", b"4"), shortest) == []


def test_what_shares_no_block_with_a_text_is_not_looked_for(monkeypatch):
    looked: list[bytes] = []
    monkeypatch.setattr(secret_scan, "_find", lambda data, folded, needle: looked.append(needle) or -1)
    assert found(b"." * 99) == [] and looked == []
    assert found(b"." * 99 + VALUE) == [] and VALUE in looked


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        (b"\\", b"ninecharacters", b"."),
        (b".", b"ends-it\\", b"n"),
        (b"it", b"ab cd ef gh", b""),
        (b"", rb"a\nc\nd\nef", b""),
    ],
)
def test_a_secret_with_breaks_in_or_beside_it_is_found(before, value, after, offset):
    assert found(b"." * offset + before + value + after, Secret("seed", value)) == [("plain", 1)]


def test_links_are_not_followed_and_the_note_is_readable(lane):
    artifacts, ticket = Path(lane.artifacts), Path(lane.dir, "secrets/spice_ticket")
    (artifacts / "x.log").write_text(ticket.read_text())
    (artifacts / "link").symlink_to(ticket)
    assert [(leak.path, leak.line) for leak in secret_scan.withhold(lane.dir, artifacts)] == [("x.log", 1)]
    assert (artifacts / "x.log.withheld").stat().st_mode & 0o777 == 0o644
    assert (artifacts / "link").is_symlink()


@pytest.mark.parametrize("shift", range(6))
def test_base64_with_anything_around_it(shift):
    random.seed(shift)
    value = random.randbytes(32)  # a key: with + and / in it
    around = random.randbytes(shift) + value + random.randbytes(7)
    for text in (base64.b64encode(around), base64.urlsafe_b64encode(around), base64.encodebytes(around)):
        assert found(text, Secret("key", value)) == [("base64", 1)]


def test_a_url_encoded_secret_with_other_letters():
    value = "a b/c+d%e&f=g"
    for text in (urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value).lower()):
        assert found(f"GET /?p={text}".encode(), Secret("password", value.encode())) == [("percent-encoded", 1)]


def packed(kind: str, data: bytes) -> bytes:
    """An archive with a file of this content. kind: zip, or tar and how it is compressed."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("daemon.log", data)
    else:
        with tarfile.open(fileobj=out, mode=f"w:{kind}") as tar:
            member = tarfile.TarInfo("daemon.log")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_a_compressed_file_is_withheld_unread(lane, kind):
    bundle = Path(lane.artifacts, "bundle")
    bundle.write_bytes(packed(kind, b"words\n"))
    (leak,) = secret_scan.withhold(lane.dir, Path(lane.artifacts))
    failure = secret_scan.failure(lane.dir, [leak])
    assert (failure.code, failure.component, failure.evidence) == ("secret_unsearched", "artifacts", "bundle.withheld")
    assert leak.line == 1 and not bundle.exists()


def test_without_the_secrets_of_a_run_nothing_is_kept(lane):
    shutil.rmtree(f"{lane.dir}/secrets")
    kept = Path(lane.artifacts, "daemon.log")
    kept.write_text("words")
    leaks = secret_scan.withhold(lane.dir, Path(lane.artifacts))
    assert secret_scan.failure(lane.dir, leaks).code == "secret_unsearched"
    assert "daemon.log" in [leak.path for leak in leaks] and not kept.exists()


def test_a_tar_file_is_searched(tmp_path):
    (tmp_path / "bundle").write_bytes(packed("", b"words\n" + VALUE))
    assert [leak.secret for leak in secret_scan.find_leaks(tmp_path, [TICKET])] == [TICKET]


def test_names_of_files_are_searched(tmp_path):
    (tmp_path / f"log-{VALUE.decode()}.txt").write_text("")
    (tmp_path / "link").symlink_to("/nowhere")
    (leak,) = secret_scan.find_leaks(tmp_path, [TICKET])
    assert str(leak) == "log-(spice_ticket).txt:1 (its name, plain: spice_ticket, 01...)"


def test_the_newest_secret_of_a_name(lane):
    assert secrets.newest(lane.dir, "console_token") is None
    for number in range(11):
        secrets.register(lane.dir, "console_token", f"token {number}")
    assert secrets.newest(lane.dir, "console_token").read_text() == "token 10"


def test_the_secrets_of_a_run_are_all_known(lane):
    parts = ("a" * 12, "b" * 16, "c" * 18)
    Path(lane.dir, "secrets/bearer_token").write_text(f"{'.'.join(parts)}\n")
    Path(lane.dir, "secrets/init.sql").write_text("select 1 from mysql.user;")
    secrets.register(lane.dir, "console_token", "first-console-token")
    secrets.register(lane.dir, "console_token", "second-console-token")
    key = Path(lane.dir, "tls/proxy-key.pem")

    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout

    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key))
    known = {c.name: c.value for c in secrets.of_lane(lane.dir)}
    assert sorted(known) == [
        "api_seed",
        "bearer_token",
        "bearer_token's signature",
        "console_token-1",
        "console_token-2",
        "database_password",
        "spice_ticket",
        "tls/proxy-key.pem",
    ]
    assert known["bearer_token's signature"] == parts[2].encode()
    assert known["console_token-2"] == b"second-console-token"
    words = {secret.words for secret in secrets.of_lane(lane.dir)}
    assert {"API seed", "console token", "private key tls/proxy-key.pem"} <= words
    assert len(known["tls/proxy-key.pem"]) == 32
    texts = [key.read_bytes(), json.dumps(key.read_text()).encode()]
    for command in (["pkey", "-text", "-noout"], ["ec"], ["pkey", "-outform", "DER"]):
        texts.append(openssl(*command, "-in", str(key)))
    for text in texts:
        leaks = secret_scan.search(text, secrets.of_lane(lane.dir))
        assert [secret.name for secret, _, _ in leaks] == ["tls/proxy-key.pem"], text
    public = openssl("pkey", "-pubout", "-in", str(key))
    assert list(secret_scan.search(public, secrets.of_lane(lane.dir))) == []


def test_a_line_of_the_proxy_in_the_daemons_log_is_the_proxys(lane):
    lane.start(lane.program("daemon", "exec sleep 60"))
    log = Path(lane.artifacts, "logs/daemon.log")
    log.parent.mkdir()
    value = Path(lane.dir, "secrets/spice_ticket").read_text()
    log.write_text(f"{{}}\n2026-11-23T09:05:19.598524Z DEBUG kerbside_proxy::session: asked token={value}\n{{}}\n")
    failure = secret_scan.failure(lane.dir, secret_scan.withhold(lane.dir, Path(lane.artifacts)))
    assert (failure.component, failure.code) == ("proxy", "secret_in_log")


PACKED = secret_scan.Leak("x.gz", 1, "", None)
PACKED_LOG = secret_scan.Leak("logs/serial.log", 1, "", None)
OF_GUEST = secret_scan.Leak("logs/serial.log", 1, "plain", TICKET)
OF_NOBODY = secret_scan.Leak("other.txt", 1, "plain", TICKET)


@pytest.mark.parametrize(
    ("leaks", "code"),
    [
        ([PACKED, OF_NOBODY, OF_GUEST], "secret_in_log"),
        ([PACKED, OF_NOBODY], "secret_unsearched"),
        ([PACKED_LOG], "secret_unsearched"),
        ([OF_NOBODY, PACKED], "secret_in_artifacts"),
    ],
)
def test_a_program_that_wrote_a_secret_comes_first(tmp_path, leaks, code):
    assert secret_scan.failure(str(tmp_path), leaks).code == code


def test_masked_values_keep_their_shape(lane):
    secret = Path(lane.dir, "secrets/api_seed").read_text()
    values = {"msg": f"it said {secret} and {secret.encode().hex()}", "number": 1.5, "list": [None, True]}
    assert secrets.masked(lane.dir, values) == {**values, "msg": "it said (api_seed) and (api_seed)"}
    assert secrets.masked("/no/such/lane", values) is values
