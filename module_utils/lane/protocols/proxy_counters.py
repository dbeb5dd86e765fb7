"""Reads kerbside-proxy's counters: a GET of /metrics and the Prometheus text format, as far as counters and gauges go.

A series exists only after its first increment, so an absent one counts as 0.
"""

from __future__ import annotations

import re

from ..core import local_http
from ..core.errors import LaneError, one_line

LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
LINE = re.compile(
    rf"^(?P<name>[A-Za-z_:][\w:]*)(?:\{{(?P<labels>(?:{LABEL.pattern},?)*)\}})?\s+(?P<value>\S+)(?:\s+-?\d+)?$"
)

#: A series: its name and its labels as sorted pairs.
Series = tuple[str, tuple[tuple[str, str], ...]]


def parse(text: str) -> dict[Series, float]:
    """The values of all series in a Prometheus text. Raises ValueError for a line that is not in that format."""
    values: dict[Series, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.match(line.strip())
        if not match:
            raise ValueError(f"line {number}, {one_line(line, 80)!r}, is not in the Prometheus text format")
        labels = tuple(sorted(LABEL.findall(match["labels"] or "")))
        values[match["name"], labels] = float(match["value"])
    return values


def scrape(address: str, port: int, limit: float = 5) -> dict[str, float]:
    """The proxy's counters, flat: {"kerbside_proxy_bytes_relayed_total{direction=client_to_server}": 96.0}.

    Asks the address itself, whatever http_proxy says. Raises LaneError (component proxy) when they cannot be read.
    """
    url = f"http://{address}:{port}/metrics"
    try:
        status, body = local_http.get(address, port, "/metrics", limit)
        if status == 200:
            return {flat(name, labels): value for (name, labels), value in parse(body).items()}
        why = f"the answer was {status}"
    except (local_http.NoAnswer, ValueError) as error:
        why = str(error)
    raise LaneError(
        "counters_unreadable",
        "proxy",
        f"kerbside-proxy's counters on {url} cannot be read: {why}",
        "look at logs/daemon.log",
    )


def flat(name: str, labels: tuple[tuple[str, str], ...] = ()) -> str:
    """A series as one word."""
    return name + ("{" + ",".join(f"{k}={v}" for k, v in labels) + "}" if labels else "")
