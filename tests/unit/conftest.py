"""Keeps the lanes of unit tests apart from those of other checkouts' tests on this machine: they have fixed numbers."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lane_numbers import hold
from lanes import TestLane, claimed_lane

IDS = (96, 97, 98)
LIMIT = 300  #: seconds; other tests hold them for one test at a time


@pytest.fixture(autouse=True)
def lanes_of_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold the numbers while a test of a module that claims lanes runs."""
    with ExitStack() as held:
        end = time.monotonic() + LIMIT
        for number in IDS if {"TestLane", "claimed_lane", "options"} & set(vars(request.module)) else ():
            while (one := hold(number)) is None:
                assert time.monotonic() < end, (
                    f"lane {number} is used by another test, or somebody keeps it running (./lane ps)"
                )
                time.sleep(0.05)
            held.enter_context(one)
        yield


@pytest.fixture
def lane(lanes_of_unit_tests: None) -> Iterator[TestLane]:
    """A claimed lane; whatever runs in it at the end is killed. A module that takes it imports TestLane."""
    with claimed_lane() as found:
        yield found
