"""Secrets are found in whatever form and wrapping, and what is no secret is not."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import random
import struct
import subprocess
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.evidence import secret_scan
from ansible.module_utils.lane.evidence.secret_scan import Canary
from lanes import TestLane, claimed_lane

SECRET = b"0123456789abcdef0123456789abcdef01234567"
CANARY = Canary("spice_ticket", SECRET)


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def found(data: bytes) -> list[tuple[str, int]]:
    return [(form, line) for _, form, line in secret_scan.search(data, [CANARY])]


def packed_zip(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/daemon.log", data)
    return out.getvalue()


def packed_tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("daemon.log")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def png_with(kind: bytes, body: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return secret_scan.PNG + head + chunk(kind, body) + chunk(b"IDAT", zlib.compress(bytes(4))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("form", "leak"),
    [
        ("plain", SECRET),
        ("hex", SECRET.hex().encode()),
        ("hex", SECRET.hex().upper().encode()),
        ("hex", SECRET.hex(":").encode()),
        ("percent-encoded", "".join(f"%{b:02x}" for b in SECRET).encode()),
        ("percent-encoded", "".join(f"%{b:02X}" for b in SECRET).encode()),
        ("base64", base64.b64encode(SECRET)),
        ("base64", base64.b64encode(b"x" + SECRET + b"yz")),
        ("base64", base64.b64encode(b"user:" + SECRET + b"!")),
        ("base64", base64.encodebytes(b"some words before it " + SECRET)),
        ("plain", SECRET[:11] + b"\n    " + SECRET[11:]),
        ("plain", json.dumps({"log": f"{SECRET[:30].decode()}\n{SECRET[30:].decode()}"}).encode()),
    ],
)
def test_every_form(form: str, leak: bytes) -> None:
    assert found(b"one\ntwo\nthree " + leak + b" four\nfive\n") == [(form, 3)]
    assert found(b"one\ntwo\nthree " + leak.replace(b"5", b"_").replace(b"N", b"_") + b" four\n") == []


@pytest.mark.parametrize("shift", range(6))
def test_base64_with_anything_around_it(shift: int) -> None:
    random.seed(shift)
    value = random.randbytes(32)  # a key: with + and / in it
    around = random.randbytes(shift) + value + random.randbytes(7)
    for text in (base64.b64encode(around), base64.urlsafe_b64encode(around), base64.encodebytes(around)):
        assert [form for _, form, _ in secret_scan.search(text, [Canary("key", value)])] == ["base64"]


def test_a_url_encoded_secret_with_other_letters() -> None:
    canary = Canary("password", b"a b/c+d%e&f=g")
    encoded = urllib.parse.quote(canary.value.decode(), safe="").encode()
    plus = urllib.parse.quote_plus(canary.value.decode()).lower().encode()
    for text in (encoded, plus):
        assert [form for _, form, _ in secret_scan.search(b"GET /?p=" + text, [canary])] == ["percent-encoded"]


@pytest.mark.parametrize(
    ("inside", "pack"),
    [
        ("inner/daemon.log", packed_zip),
        ("", packed_tar),
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
        ("gzip", lambda data: gzip.compress(packed_tar(data))),
        ("inner/daemon.log/gzip", lambda data: packed_zip(gzip.compress(packed_tar(data)))),
        ("zTXt", lambda data: png_with(b"zTXt", b"Comment\0\0" + zlib.compress(data))),
        ("iTXt", lambda data: png_with(b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(data))),
        ("", lambda data: png_with(b"tEXt", b"Comment\0" + data)),
        ("", lambda data: png_with(b"iTXt", b"Comment\0\0\0en\0\0" + data)),
        ("gzip", lambda data: gzip.compress(data + " ".join(str(random.random()) for _ in range(400)).encode())[:-300]),
        ("gzip/bzip2", lambda data: gzip.compress(bz2.compress(data))),
    ],
)
def test_every_wrapping(tmp_path: Path, inside: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "bundle").write_bytes(pack(b"words\n" + SECRET + b"\n"))
    (leak,) = secret_scan.find_leaks(tmp_path, [CANARY])
    assert (leak.path, leak.inside, leak.form, leak.canary) == ("bundle", inside, "plain", CANARY)
    (tmp_path / "bundle").write_bytes(pack(b"words\n" + SECRET[::-1] + b"\n"))
    assert secret_scan.find_leaks(tmp_path, [CANARY]) == []


def test_a_file_that_unpacks_to_too_much_is_not_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_scan, "LARGEST", 1 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(2 << 20)))
    (leak,) = secret_scan.find_leaks(tmp_path, [CANARY])
    assert leak.canary is None
    assert "was not searched" in str(leak)


def test_names_of_files_and_targets_of_links(tmp_path: Path) -> None:
    (tmp_path / f"log-{SECRET.decode()}.txt").write_text("")
    os.symlink(f"/nowhere/{SECRET.decode()}", tmp_path / "link")
    leaks = secret_scan.find_leaks(tmp_path, [CANARY])
    assert [(leak.path, leak.inside) for leak in leaks] == [("link", ""), ("log-(spice_ticket).txt", "its name")]
    assert SECRET.decode() not in str(leaks[1])


def test_the_secrets_of_a_run_are_all_known(lane: TestLane) -> None:
    Path(lane.dir, "secrets/bearer_token").write_text("aaaaaaaaaaaa.bbbbbbbbbbbbbbbb.cccccccccccccccccc\n")
    Path(lane.dir, "secrets/init.sql").write_text("select 1 from mysql.user;")
    secret_scan.register(lane.dir, "console_token", "first-console-token")
    secret_scan.register(lane.dir, "console_token", "second-console-token")
    key = f"{lane.dir}/tls/proxy-key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key], check=True, capture_output=True)
    known = {c.name: c.value for c in secret_scan.of_lane(lane.dir)}
    assert sorted(known) == [
        "api_seed",
        "bearer_token",
        "bearer_token's signature",
        "console_token-1",
        "console_token-2",
        "spice_ticket",
        "tls/proxy-key.pem",
    ]
    assert known["bearer_token's signature"] == b"cccccccccccccccccc"
    assert known["console_token-2"] == b"second-console-token"
    assert len(known["tls/proxy-key.pem"]) == 32
    other_forms = [
        Path(key).read_bytes(),
        json.dumps(Path(key).read_text()).encode(),
        *(
            subprocess.run(["openssl", *command, "-in", key], check=True, capture_output=True).stdout
            for command in (["pkey", "-text", "-noout"], ["ec"], ["pkey", "-outform", "DER"])
        ),
    ]
    for text in other_forms:
        assert [c.name for c, _, _ in secret_scan.search(text, secret_scan.of_lane(lane.dir))] == ["tls/proxy-key.pem"], text
    public = subprocess.run(["openssl", "pkey", "-pubout", "-in", key], check=True, capture_output=True).stdout
    assert list(secret_scan.search(public, secret_scan.of_lane(lane.dir))) == []


def test_a_file_with_a_leak_is_held_back_and_says_why(lane: TestLane) -> None:
    secret = Path(lane.dir, "secrets/api_seed").read_text()
    logs = Path(lane.artifacts, "logs")
    logs.mkdir()
    (logs / "api.log").write_text(f"one\ntwo\nseed={secret}\n")
    (logs / "qemu.log").write_text("sound\n")
    (leak,) = secret_scan.hold_back(lane.dir, Path(lane.artifacts))
    assert str(leak) == f"logs/api.log:3 (plain: api_seed, {secret[:2]}...)"
    assert sorted(p.name for p in logs.iterdir()) == ["api.log.held-back", "qemu.log"]
    note = (logs / "api.log.held-back").read_text()
    assert "logs/api.log:3 (plain: api_seed" in note
    assert secret not in note
    assert secret_scan.hold_back(lane.dir, Path(lane.artifacts)) == []


def test_masked_values_keep_their_shape(lane: TestLane) -> None:
    secret = Path(lane.dir, "secrets/api_seed").read_text()
    values = {"msg": f"it said {secret} and {secret.encode().hex()}", "number": 1.5, "list": [None, True]}
    assert secret_scan.masked(lane.dir, values) == {**values, "msg": "it said (api_seed) and (api_seed)"}
    assert secret_scan.masked("/no/such/lane", values) is values
