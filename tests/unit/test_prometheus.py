"""The proxy's counters."""

from __future__ import annotations

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols import proxy_counters
from http_api import api

TEXT = """# HELP kerbside_proxy_authorized_total x
# TYPE kerbside_proxy_authorized_total counter
kerbside_proxy_authorized_total 4
kerbside_proxy_bytes_relayed_total{direction="client_to_server"} 312
kerbside_proxy_firewall_verdicts_total{rule="size_cap",channel="main",path="a,b\\"}"} 1 1795437121000
"""


def test_series_with_and_without_labels() -> None:
    values = proxy_counters.parse(TEXT)
    assert values["kerbside_proxy_authorized_total", ()] == 4
    assert values["kerbside_proxy_bytes_relayed_total", (("direction", "client_to_server"),)] == 312
    assert len(values) == 3


def test_an_empty_body_is_no_series() -> None:
    assert proxy_counters.parse("") == {}


@pytest.mark.parametrize("line", ["<html>", "name{a=b} 1", "name", 'name{a="b" 1'])
def test_other_text_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 2, "):
        proxy_counters.parse(f"ok 1\n{line}\n")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "", "the answer was 404"),
        (200, "<html>", "line 1, '<html>', is not in the Prometheus text format"),
        (200, TEXT, ""),
    ],
)
def test_scrape(status: int, body: str, words: str) -> None:
    with api(lambda n, auth: (status, body)) as port:
        if not words:
            assert (
                proxy_counters.scrape("127.0.0.1", port)[
                    "kerbside_proxy_bytes_relayed_total{direction=client_to_server}"
                ]
                == 312
            )
            return
        with pytest.raises(LaneError, match=words) as caught:
            proxy_counters.scrape("127.0.0.1", port)
        assert (caught.value.code, caught.value.component) == ("counters_unreadable", "proxy")


def test_scrape_of_a_port_that_is_closed() -> None:
    with api(lambda n, auth: (200, "")) as port:
        pass
    with pytest.raises(LaneError) as caught:
        proxy_counters.scrape("127.0.0.1", port, 1)
    assert (caught.value.code, caught.value.component) == ("counters_unreadable", "proxy")
