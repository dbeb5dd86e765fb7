"""Reads kerbside-proxy's counters: a GET of /metrics and the Prometheus text format, as far as counters and gauges go.

A series exists only after its first increment, so an absent one counts as 0.
"""

from __future__ import annotations

import re

from ..core import local_http
from ..core.errors import LaneError, one_line
from ..core.layout import ADDRESS

LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
LINE = re.compile(
    rf"^(?P<name>[A-Za-z_:][\w:]*)(?:\{{(?P<labels>(?:{LABEL.pattern},?)*)\}})?\s+(?P<value>\S+)(?:\s+-?\d+)?$"
)


def parse(text: str) -> dict[str, float]:
    """The values of all series in a Prometheus text, each series as one word: its name and its sorted labels, as in
    "kerbside_proxy_bytes_relayed_total{direction=client_to_server}". Raises ValueError for a line that is not in that
    format.
    """
    values: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.match(line.strip())
        if not match:
            raise ValueError(f"line {number}, {one_line(line, 80)!r}, is not in the Prometheus text format")
        labels = ",".join(f"{name}={value}" for name, value in sorted(LABEL.findall(match["labels"] or "")))
        values[match["name"] + (f"{{{labels}}}" if labels else "")] = float(match["value"])
    return values


def scrape(port: int, limit: float = 5) -> dict[str, float]:
    """The proxy's counters (see `parse`).

    Raises LaneError (component proxy) when they cannot be read.
    """
    try:
        status, body = local_http.get(port, "/metrics", limit)
        if status == 200:
            return parse(body)
        why = f"the answer was {status}"
    except (local_http.NoAnswer, ValueError) as error:
        why = str(error)
    problem = f"kerbside-proxy's counters on http://{ADDRESS}:{port}/metrics cannot be read: {why}"
    raise LaneError("counters_unreadable", "proxy", problem, "look at logs/daemon.log")
