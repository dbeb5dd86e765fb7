"""Lanes take turns in coming up: as many at a time as there are processors for them.

To boot a guest and to import kerbside three times is work for all processors. Eight lanes that do so at once on two of them only take each other's caches
(docs/performance.md). A turn is an abstract unix socket that is bound: it belongs to one process at a time, ends with it however it ends, and leaves no file.
It is a courtesy among lanes: who had to wait too long comes up all the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from .workdir import hold_name

NAME = "kerbside-lane-turn-{}"
#: Seconds until a lane goes on without a turn: what others at work need in the worst case of their own limits is longer, and no reason to be red.
LIMIT = 120.0


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def take(turns: int, limit: float = LIMIT, waiting: Callable[[], None] = lambda: None) -> socket.socket | None:
    """Wait for one of so many turns; it lasts until the socket is closed. None when there was none within `limit` seconds. `waiting` is called once."""
    return hold_name([NAME.format(number) for number in range(turns)], limit, waiting)
