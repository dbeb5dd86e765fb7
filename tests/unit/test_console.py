"""console.vv and the proxy's counters: what may be answered, and every way in which it can be wrong."""

import json
import socket
import time
from pathlib import Path

import pytest
from ansible.module_utils.lane.protocols import kerbside_api, proxy_counters
from http_api import api
from prepared import fails

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


def check(folder: Path, **changes: str | None) -> None:
    """Check a file with these changes."""
    ca = folder / "ca.pem"
    ca.write_text(CA + "\n")
    wanted = {"tls_port": 17900, "spice_port": 17904, "host_subject": GOOD["host-subject"]}
    kerbside_api.check(kerbside_api.parse(vv(**changes)), ca_file=str(ca), **wanted)


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("eyJ0\n")
    return str(tmp_path / "token")


def test_the_file_is_fetched_with_the_token_and_without_a_proxy(token, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with api(lambda n, auth: (200, auth)) as port:
        assert kerbside_api.get(port, "/c", token, 1) == "Bearer eyJ0"


def test_a_console_that_is_not_known_yet_is_waited_for(token):
    unknown = json.dumps({"error": "console not found", "status": 404})
    with api(lambda n, auth: (200, "ok") if n > 3 else (404, unknown)) as port:
        assert kerbside_api.get(port, "/c", token, 5) == "ok"


@pytest.mark.parametrize(
    ("status", "body", "limit", "words", "log"),
    [
        (404, '{"error": "console not found", "status": 404}', 0.2, "404: console not found", "daemon"),
        # told at once
        (401, '{"error": "Signature has expired", "status": 401}', 99, "401: Signature has expired", "api"),
        (404, "<html>Not Found</html>", 99, "404: <html>Not Found</html>", "daemon"),
        (500, "server error", 99, "500: server error", "api"),
    ],
)
def test_answers_without_a_file(token, status, body, limit, words, log):
    begun = time.monotonic()
    with api(lambda n, auth: (status, body)) as port, fails("api_refused", "kerbside", words) as caught:
        kerbside_api.get(port, "/c", token, limit)
    assert time.monotonic() - begun < 60
    assert caught.value.evidence == f"logs/{log}.log"


def test_nobody_there_and_no_token(token):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for file, code in ((token, "api_silent"), ("/no/such", "token_missing")):
        with fails(code, "kerbside"):
            kerbside_api.get(port, "/c", file, 1)


def test_a_good_file_passes(tmp_path):
    check(tmp_path)


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
def test_every_wrong_key_is_named(tmp_path, changes, words):
    with fails("console_wrong", "kerbside", words) as caught:
        check(tmp_path, **changes)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "garbage", "[other]\na=b\n", "[virt-viewer]\na=1\na=2\n"])
def test_what_is_no_vv_file(text):
    with fails("console_malformed", "kerbside"):
        kerbside_api.parse(text)


def test_the_password_is_not_shown_and_the_file_is_private(tmp_path):
    file = tmp_path / "console.vv"
    kerbside_api.write(str(file), GOOD)
    assert file.stat().st_mode & 0o777 == 0o600 and file.read_text() == vv()
    shown = {name: value for name, value in GOOD.items() if name != "ca"} | {"password": "(withheld)"}
    assert kerbside_api.shown(kerbside_api.parse(vv())) == shown


# --- the proxy's counters -------------------------------------------------------------------------

METRICS = """# HELP kerbside_proxy_authorized_total x
# TYPE kerbside_proxy_authorized_total counter
kerbside_proxy_authorized_total 4

kerbside_proxy_bytes_relayed_total{direction="client_to_server"} 312
verdicts{rule="size_cap",channel="main",path="a,b\\"}"} 1 1795437121000
"""
VALUES = {
    "kerbside_proxy_authorized_total": 4,
    "kerbside_proxy_bytes_relayed_total{direction=client_to_server}": 312,
    'verdicts{channel=main,path=a,b\\"},rule=size_cap}': 1,
}


@pytest.mark.parametrize("line", ["<html>", "name{a=b} 1", "name", 'name{a="b" 1'])
def test_other_text_is_refused_with_its_line(line):
    with pytest.raises(ValueError, match="line 2, "):
        proxy_counters.parse(f"ok 1\n{line}\n")


def test_the_counters_that_the_proxy_has():
    with api(lambda n, auth: (200, METRICS if n == 1 else "")) as port:
        assert [proxy_counters.scrape(port) for _ in range(2)] == [VALUES, {}]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "", "the answer was 404"),
        (200, "<html>", "line 1, '<html>', is not in the Prometheus text format"),
    ],
)
def test_counters_that_cannot_be_read(status, body, words):
    with api(lambda n, auth: (status, body)) as port, fails("counters_unreadable", "proxy", words):
        proxy_counters.scrape(port)


def test_counters_behind_a_closed_port():
    with fails("counters_unreadable", "proxy", "refused"):
        proxy_counters.scrape(1)
