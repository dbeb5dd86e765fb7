"""Lane ids for the tests, 60 to 99: one running test holds each, and a lane that somebody keeps is left alone."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ansible.module_utils.lane.lifecycle import proc

IDS = range(60, 100)  # lane 0 and its neighbours belong to people


def in_use(number: int) -> bool:
    """Whether a lane of this number is there that no test holds: its processes, or its directory in the usual place."""
    return bool(proc.marked(number)) or os.path.lexists(f"/tmp/kerbside-lane-{number}")


def hold(number: int) -> socket.socket | None:
    """Hold a number until the socket is closed, also against tests of other checkouts; None when it is not free."""
    held = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        held.bind(f"\0kerbside-lane-test-{number}")  # an abstract name (unix(7)): free again when this process ends
        if not in_use(number):
            return held
    held.close()
    return None


@contextmanager
def lane_ids(count: int) -> Iterator[list[int]]:
    """Neighbouring lane ids that nothing else uses."""
    for first in IDS[: len(IDS) + 1 - count]:
        with ExitStack() as held:
            numbers = range(first, first + count)
            sockets = [one for number in numbers if (one := hold(number))]
            for one in sockets:
                held.enter_context(one)
            if len(sockets) == count:
                yield [*numbers]
                return
    raise AssertionError(f"{count} neighbouring lane ids of {IDS} are not free")
