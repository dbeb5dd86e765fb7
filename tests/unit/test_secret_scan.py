"""Secrets are found in whatever form, what is no secret is not, and a file with one is withheld and blamed on whoever wrote it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import subprocess
import tarfile
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import secrets
from ansible.module_utils.lane.core.secrets import Secret
from ansible.module_utils.lane.evidence import secret_scan
from lanes import TestLane

VALUE = b"0123456789abcdef0123456789abcdef01234567"
TICKET = Secret("spice_ticket", VALUE)


def found(data: bytes) -> list[tuple[str, int]]:
    return [(form, line) for _, form, line in secret_scan.search(data, [TICKET])]


@pytest.mark.parametrize(
    ("form", "leak"),
    [
        ("plain", VALUE),
        ("hex", VALUE.hex().encode()),
        ("hex", VALUE.hex().upper().encode()),
        ("hex", VALUE.hex(":").encode()),
        ("percent-encoded", "".join(f"%{b:02x}" for b in VALUE).encode()),
        ("percent-encoded", "".join(f"%{b:02X}" for b in VALUE).encode()),
        ("base64", base64.b64encode(VALUE)),
        ("base64", base64.b64encode(b"x" + VALUE + b"yz")),
        ("base64", base64.b64encode(b"user:" + VALUE + b"!")),
        ("base64", base64.encodebytes(b"some words before it " + VALUE)),
        ("plain", VALUE[:11] + b"\n    " + VALUE[11:]),
        ("plain", json.dumps({"log": f"{VALUE[:30].decode()}\n{VALUE[30:].decode()}"}).encode()),
    ],
)
def test_every_form(form: str, leak: bytes) -> None:
    assert found(b"one\ntwo\nthree " + leak + b" four\nfive\n") == [(form, 3)]
    assert found(b"one\ntwo\nthree " + leak.replace(b"5", b"_").replace(b"N", b"_") + b" four\n") == []


def test_the_line_of_a_secret_counts_the_breaks_before_it() -> None:
    broken = VALUE[:11] + b"\\n" + VALUE[11:]
    assert found(VALUE) == found(broken) == [("plain", 1)]
    assert found(b"\n\n" + VALUE) == [("plain", 3)]
    assert found(b"a\n\nb\n" + VALUE[:20] + b"\n" + VALUE[20:]) == [("plain", 4)]
    assert found(VALUE[:20] + b"\n" + VALUE[20:] + b"\n\nc") == [("plain", 1)]
    assert found(b"a\nb\n" + VALUE[1:]) == []


@pytest.mark.parametrize("offset", range(8))
def test_the_shortest_secret_is_found_wherever_it_begins(offset: int) -> None:
    shortest = Secret("api_seed", VALUE[: secrets.SHORTEST])
    text = b"." * offset + shortest.value + b"."
    for written in (text, text.replace(b"2", b"2\n").replace(b"5", b"5\n")):
        assert [form for _, form, _ in secret_scan.search(written, [shortest])] == ["plain"]
    assert list(secret_scan.search(text.replace(b"3", b"4"), [shortest])) == []


def test_what_shares_no_block_with_a_text_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bytes] = []
    monkeypatch.setattr(secret_scan, "_find", lambda data, folded, needle: looked.append(needle) or -1)
    assert list(secret_scan.search(b"." * 99, [TICKET])) == [] and looked == []
    assert list(secret_scan.search(b"." * 99 + VALUE, [TICKET])) == [] and VALUE in looked


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize(("value", "around"), [(b"ninecharacters", (b"\\", b".")), (b"ends-it\\", (b".", b"n"))])
def test_a_secret_whose_end_and_neighbour_look_like_a_break(
    value: bytes, around: tuple[bytes, bytes], offset: int
) -> None:
    text = b"." * offset + around[0] + value + around[1]
    assert [form for _, form, _ in secret_scan.search(text, [Secret("seed", value)])] == ["plain"]


@pytest.mark.parametrize("value", [b"ab cd ef gh", rb"ab\nc\nd\ne"])
def test_a_secret_with_a_break_in_it_is_found_as_it_is(value: bytes) -> None:
    assert [form for _, form, _ in secret_scan.search(b"it is " + value, [Secret("seed", value)])] == ["plain"]


def test_links_are_not_followed_and_the_note_is_readable(lane: TestLane) -> None:
    artifacts = Path(lane.artifacts)
    artifacts.mkdir(exist_ok=True)
    ticket = Path(lane.dir, "secrets/spice_ticket").read_text()
    (artifacts / "x.log").write_text(ticket)
    os.symlink(Path(lane.dir, "secrets/spice_ticket"), artifacts / "link")
    assert [(leak.path, leak.line) for leak in secret_scan.withhold(lane.dir, artifacts)] == [("x.log", 1)]
    assert (artifacts / "x.log.withheld").stat().st_mode & 0o777 == 0o644
    assert (artifacts / "link").is_symlink()


@pytest.mark.parametrize("shift", range(6))
def test_base64_with_anything_around_it(shift: int) -> None:
    random.seed(shift)
    value = random.randbytes(32)  # a key: with + and / in it
    around = random.randbytes(shift) + value + random.randbytes(7)
    for text in (base64.b64encode(around), base64.urlsafe_b64encode(around), base64.encodebytes(around)):
        assert [form for _, form, _ in secret_scan.search(text, [Secret("key", value)])] == ["base64"]


def test_a_url_encoded_secret_with_other_letters() -> None:
    secret = Secret("password", b"a b/c+d%e&f=g")
    encoded = urllib.parse.quote(secret.value.decode(), safe="").encode()
    plus = urllib.parse.quote_plus(secret.value.decode()).lower().encode()
    for text in (encoded, plus):
        assert [form for _, form, _ in secret_scan.search(b"GET /?p=" + text, [secret])] == ["percent-encoded"]


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


@pytest.mark.parametrize("pack", [gzip.compress, packed_zip, lambda data: gzip.compress(packed_tar(data))])
def test_a_compressed_file_is_withheld_unread(lane: TestLane, pack: Callable[[bytes], bytes]) -> None:
    Path(lane.artifacts, "bundle").write_bytes(pack(b"words\n"))
    leaks = secret_scan.withhold(lane.dir, Path(lane.artifacts))
    failure = secret_scan.failure(lane.dir, leaks)
    assert (failure.code, failure.component, failure.evidence) == ("secret_unsearched", "artifacts", "bundle.withheld")
    assert [leak.line for leak in leaks] == [1]
    assert not Path(lane.artifacts, "bundle").exists()


def test_a_tar_file_is_searched(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(packed_tar(b"words\n" + VALUE))
    assert [leak.secret for leak in secret_scan.find_leaks(tmp_path, [TICKET])] == [TICKET]


def test_names_of_files_are_searched(tmp_path: Path) -> None:
    (tmp_path / f"log-{VALUE.decode()}.txt").write_text("")
    os.symlink("/nowhere", tmp_path / "link")
    (leak,) = secret_scan.find_leaks(tmp_path, [TICKET])
    assert str(leak) == "log-(spice_ticket).txt:1 (its name, plain: spice_ticket, 01...)"


def test_the_secrets_of_a_run_are_all_known(lane: TestLane) -> None:
    Path(lane.dir, "secrets/bearer_token").write_text("aaaaaaaaaaaa.bbbbbbbbbbbbbbbb.cccccccccccccccccc\n")
    Path(lane.dir, "secrets/init.sql").write_text("select 1 from mysql.user;")
    secrets.register(lane.dir, "console_token", "first-console-token")
    secrets.register(lane.dir, "console_token", "second-console-token")
    key = f"{lane.dir}/tls/proxy-key.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key],
        check=True,
        capture_output=True,
    )
    known = {c.name: c.value for c in secrets.of_lane(lane.dir)}
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
        assert [c.name for c, _, _ in secret_scan.search(text, secrets.of_lane(lane.dir))] == ["tls/proxy-key.pem"], (
            text
        )
    public = subprocess.run(["openssl", "pkey", "-pubout", "-in", key], check=True, capture_output=True).stdout
    assert list(secret_scan.search(public, secrets.of_lane(lane.dir))) == []


@pytest.mark.parametrize(
    ("file", "name", "component", "code", "problem"),
    [
        ("daemon.log", "spice_ticket", "kerbside", "secret_in_log", "kerbside wrote its SPICE ticket to daemon.log"),
        ("serial.log", "spice_ticket", "guest", "secret_in_log", "guest wrote its SPICE ticket to serial.log"),
        (
            "ansible.log",
            "api_seed",
            "artifacts",
            "secret_in_artifacts",
            "the artifacts hold a secret of the run: logs/ansible.log:3 (plain: api_seed, ",
        ),
    ],
)
def test_a_leak_is_blamed_on_who_wrote_the_file_and_the_file_is_withheld(
    lane: TestLane, file: str, name: str, component: str, code: str, problem: str
) -> None:
    lane.start(lane.program("daemon", "exec sleep 60"))
    value = Path(lane.dir, "secrets", name).read_text()
    logs = Path(lane.artifacts, "logs")
    logs.mkdir()
    (logs / file).write_text(f"one\ntwo\nx={value}\n")
    (logs / "qemu.log").write_text("sound\n")
    failure = secret_scan.failure(lane.dir, secret_scan.withhold(lane.dir, Path(lane.artifacts)))
    assert (failure.component, failure.code, failure.evidence) == (component, code, f"logs/{file}.withheld")
    assert failure.problem.startswith(problem)
    assert value not in failure.cause
    assert sorted(p.name for p in logs.iterdir()) == sorted([f"{file}.withheld", "qemu.log"])
    note = (logs / f"{file}.withheld").read_text()
    assert f"logs/{file}:3 (plain: {name}, {value[:2]}...)" in note
    assert value not in note
    assert secret_scan.withhold(lane.dir, Path(lane.artifacts)) == []


PACKED = secret_scan.Leak("x.gz", 1, "", None)
OF_GUEST = secret_scan.Leak("logs/serial.log", 1, "plain", TICKET)
OF_NOBODY = secret_scan.Leak("other.txt", 1, "plain", TICKET)


@pytest.mark.parametrize(
    ("leaks", "code"),
    [
        ([OF_NOBODY, OF_GUEST], "secret_in_log"),
        ([PACKED, OF_GUEST], "secret_in_log"),
        ([PACKED, OF_NOBODY], "secret_unsearched"),
        ([secret_scan.Leak("logs/serial.log", 1, "", None)], "secret_unsearched"),
        ([OF_NOBODY, PACKED], "secret_in_artifacts"),
    ],
)
def test_a_program_that_wrote_a_secret_comes_first(tmp_path: Path, leaks: list[secret_scan.Leak], code: str) -> None:
    assert secret_scan.failure(str(tmp_path), leaks).code == code


@pytest.mark.parametrize(
    ("name", "words"),
    [("api_seed", "API seed"), ("console_token-2", "console token"), ("tls/ca-key.pem", "private key tls/ca-key.pem")],
)
def test_the_name_of_a_secret_in_a_sentence(name: str, words: str) -> None:
    assert Secret(name, VALUE).words == words


def test_masked_values_keep_their_shape(lane: TestLane) -> None:
    secret = Path(lane.dir, "secrets/api_seed").read_text()
    values = {"msg": f"it said {secret} and {secret.encode().hex()}", "number": 1.5, "list": [None, True]}
    assert secrets.masked(lane.dir, values) == {**values, "msg": "it said (api_seed) and (api_seed)"}
    assert secrets.masked("/no/such/lane", values) is values
