"""console.vv: what the API may answer, and every way in which the file can be wrong. The API is a real HTTP server."""

from __future__ import annotations

import json
import os
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


def test_the_file_is_fetched_with_the_token_whatever_the_proxy_variables_say(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with api(lambda n, auth: (200, auth)) as port:
        assert kerbside_api.get("127.0.0.1", port, "/c", token, 1) == "Bearer eyJ0"


def test_a_console_that_is_not_known_yet_is_waited_for(token: str) -> None:
    unknown = json.dumps({"error": "console not found", "status": 404})
    with api(lambda n, auth: (200, "ok") if n > 3 else (404, unknown)) as port:
        assert kerbside_api.get("127.0.0.1", port, "/c", token, 5) == "ok"
    words = r"kerbside: .* but the answer was 404: console not found; look at logs/daemon"
    with api(lambda n, auth: (404, unknown)) as port, pytest.raises(LaneError, match=words):
        kerbside_api.get("127.0.0.1", port, "/c", token, 0.2)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, '{"error": "Signature has expired", "status": 401}', "401: Signature has expired; look at logs/api.log"),
        (404, "<html>Not Found</html>", "404: <html>Not Found</html>"),
        (500, "server error", "500: server error"),
    ],
)
def test_other_answers_are_told_at_once(token: str, status: int, body: str, words: str) -> None:
    begun = time.monotonic()
    with api(lambda n, auth: (status, body)) as port, pytest.raises(LaneError, match=words):
        kerbside_api.get("127.0.0.1", port, "/c", token, 10)
    assert time.monotonic() - begun < 2


def test_nobody_there_and_no_token(token: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(LaneError, match=r"but the request ended with \[Errno 111\] Connection refused"):
        kerbside_api.get("127.0.0.1", port, "/c", token, 1)
    with pytest.raises(LaneError, match=r"expected a bearer token in /no/such, but No such file or directory"):
        kerbside_api.get("127.0.0.1", port, "/c", "/no/such", 1)


def test_a_good_file_passes(expected: kerbside_api.Expected) -> None:
    kerbside_api.check(kerbside_api.parse(vv()), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": "17904"}, r"in console\.vv, but it is 17904, qemu's own port"),
        ({"tls_port": "17904"}, r"expected tls-port=17900 of kerbside-proxy in console\.vv, but it is 17904, qemu's own port"),
        ({"tls_port": "5900"}, r"expected tls-port=17900 in console\.vv, but it says '5900'"),
        ({"tls_port": None}, r"but it says 'nothing'"),
        ({"host": "192.0.2.1"}, r"expected host=127\.0\.0\.1 in console\.vv, but it says '192\.0\.2\.1'"),
        ({"type": "vnc"}, r"expected type=spice"),
        ({"host_subject": "CN=y"}, r"expected host-subject=C=US,O=Kerbside CI,CN=x in console\.vv, but it says 'CN=y'"),
        ({"ca": "other"}, r"expected the lane's own CA in console\.vv, but it carries another one"),
        ({"password": ""}, r"expected a console token as the password in console\.vv, but there is none"),
    ],
)
def test_every_wrong_key_is_named(expected: kerbside_api.Expected, changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(LaneError, match=words) as caught:
        kerbside_api.check(kerbside_api.parse(vv(**changes)), expected)
    assert caught.value.component == "kerbside"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "garbage", "[other]\na=b\n", "[virt-viewer]\na=1\na=2\n"])
def test_what_is_no_vv_file(text: str) -> None:
    with pytest.raises(LaneError, match=r"expected console\.vv to be a \[virt-viewer\] file"):
        kerbside_api.parse(text)


def test_what_is_shown_holds_no_password_and_the_file_is_private(tmp_path: Path) -> None:
    file = str(tmp_path / "console.vv")
    shown = kerbside_api.keep(vv(), kerbside_api.parse(vv()), file)
    assert "s3cret" not in json.dumps(shown)
    assert shown["tls-port"] == "17900"
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert Path(file).read_text() == vv()
