"""console.vv: what the API may answer, and every way in which the file can be wrong. The API is a real HTTP server."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols import kerbside_api
from http_api import api

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
GOOD = {
    "type": "spice",
    "host": "127.0.0.1",
    "port": "17901",
    "tls-port": "17900",
    "password": "s3cret",
    "ca": CA.replace("\n", "\\n"),
    "host-subject": "C=US,O=Kerbside CI,CN=x",
}


def vv(**changes: str | None) -> str:
    keys = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return "[virt-viewer]\n" + "".join(f"{name}={value}\n" for name, value in keys.items() if value is not None)


@pytest.fixture
def expected(tmp_path: Path) -> kerbside_api.Expected:
    (tmp_path / "ca.pem").write_text(CA + "\n")
    return kerbside_api.Expected("127.0.0.1", 17900, 17904, GOOD["host-subject"], str(tmp_path / "ca.pem"))


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("eyJ0\n")
    return str(tmp_path / "token")


def test_the_file_is_fetched_with_the_token_whatever_the_proxy_variables_say(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with api(lambda n, auth: (200, auth)) as port:
        assert kerbside_api.get("127.0.0.1", port, "/c", token, 1) == "Bearer eyJ0"


def test_a_console_that_is_not_known_yet_is_waited_for(token: str) -> None:
    unknown = json.dumps({"error": "console not found", "status": 404})
    with api(lambda n, auth: (200, "ok") if n > 3 else (404, unknown)) as port:
        assert kerbside_api.get("127.0.0.1", port, "/c", token, 5) == "ok"
    with (
        api(lambda n, auth: (404, unknown)) as port,
        pytest.raises(LaneError, match="404: console not found") as caught,
    ):
        kerbside_api.get("127.0.0.1", port, "/c", token, 0.2)
    assert (caught.value.code, caught.value.component, caught.value.evidence) == (
        "api_refused",
        "kerbside",
        "logs/daemon.log",
    )


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, '{"error": "Signature has expired", "status": 401}', "401: Signature has expired"),
        (404, "<html>Not Found</html>", "404: <html>Not Found</html>"),
        (500, "server error", "500: server error"),
    ],
)
def test_other_answers_are_told_at_once(token: str, status: int, body: str, words: str) -> None:
    begun = time.monotonic()
    with api(lambda n, auth: (status, body)) as port, pytest.raises(LaneError, match=words):
        kerbside_api.get("127.0.0.1", port, "/c", token, 10)
    assert time.monotonic() - begun < 6


def test_nobody_there_and_no_token(token: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for file, code in ((token, "api_silent"), ("/no/such", "token_missing")):
        with pytest.raises(LaneError) as caught:
            kerbside_api.get("127.0.0.1", port, "/c", file, 1)
        assert (caught.value.code, caught.value.component) == (code, "kerbside")


def test_a_good_file_passes(expected: kerbside_api.Expected) -> None:
    kerbside_api.check(kerbside_api.parse(vv()), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": "17904"}, "port in console.vv is 17904, qemu's own"),
        ({"tls_port": "17904"}, "tls-port in console.vv is 17904, qemu's own"),
        ({"tls_port": "5900"}, "tls-port in console.vv is '5900', not '17900'"),
        ({"tls_port": None}, "is 'missing', not '17900'"),
        ({"host": "192.0.2.1"}, "host in console.vv is '192.0.2.1', not '127.0.0.1'"),
        ({"type": "vnc"}, "type in console.vv is 'vnc', not 'spice'"),
        ({"host_subject": "CN=y"}, "host-subject in console.vv is 'CN=y', not 'C=US,O=Kerbside CI,CN=x'"),
        ({"ca": "other"}, "carries another CA"),
        ({"password": ""}, "no console token"),
    ],
)
def test_every_wrong_key_is_named(expected: kerbside_api.Expected, changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(LaneError, match=re.escape(words)) as caught:
        kerbside_api.check(kerbside_api.parse(vv(**changes)), expected)
    assert (caught.value.code, caught.value.component) == ("console_wrong", "kerbside")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "garbage", "[other]\na=b\n", "[virt-viewer]\na=1\na=2\n"])
def test_what_is_no_vv_file(text: str) -> None:
    with pytest.raises(LaneError) as caught:
        kerbside_api.parse(text)
    assert (caught.value.code, caught.value.component) == ("console_malformed", "kerbside")


def test_what_is_shown_holds_no_password_and_the_file_is_private(tmp_path: Path) -> None:
    file = str(tmp_path / "console.vv")
    shown = kerbside_api.keep(vv(), kerbside_api.parse(vv()), file)
    assert "s3cret" not in json.dumps(shown)
    assert shown["tls-port"] == "17900"
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert Path(file).read_text() == vv()
