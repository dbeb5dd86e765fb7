"""The proxy's counters."""

from __future__ import annotations

import pytest
from ansible.module_utils.lane.protocols import proxy_counters
from http_api import api
from prepared import fails

TEXT = """# HELP kerbside_proxy_authorized_total x
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
def test_other_text_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 2, "):
        proxy_counters.parse(f"ok 1\n{line}\n")


def test_the_counters_that_the_proxy_has() -> None:
    with api(lambda n, auth: (200, TEXT if n == 1 else "")) as port:
        assert [proxy_counters.scrape("127.0.0.1", port) for _ in range(2)] == [VALUES, {}]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "", "the answer was 404"),
        (200, "<html>", "line 1, '<html>', is not in the Prometheus text format"),
    ],
)
def test_counters_that_cannot_be_read(status: int, body: str, words: str) -> None:
    with api(lambda n, auth: (status, body)) as port, fails("counters_unreadable", "proxy", words):
        proxy_counters.scrape("127.0.0.1", port)


def test_counters_behind_a_closed_port() -> None:
    with fails("counters_unreadable", "proxy", "refused"):
        proxy_counters.scrape("127.0.0.1", 1)
