"""Keeps the lanes of unit tests apart from those of other checkouts' tests on this machine: they have fixed numbers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

IDS = (96, 97, 98)
LIMIT = 300  #: seconds; the others hold them for one test at a time


@pytest.fixture(autouse=True)
def lanes_of_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold the numbers while a test of a module that claims lanes runs, by the same names as tests/playbooks/conftest.py does."""
    with ExitStack() as held:
        end = time.monotonic() + LIMIT
        for number in IDS if {"claimed_lane", "wish"} & set(vars(request.module)) else ():
            claim = held.enter_context(socket.socket(socket.AF_UNIX))
            while True:
                try:
                    claim.bind(f"\0kerbside-lane-test-{number}")
                    break
                except OSError:
                    assert time.monotonic() < end, f"lane {number} is in use by another test for {LIMIT} s"
                    time.sleep(0.05)
        yield
