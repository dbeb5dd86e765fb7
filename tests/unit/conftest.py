"""Keeps the lanes of unit tests apart from those of other checkouts' tests on this machine: they have fixed numbers."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import pytest
from lane_numbers import hold
from lanes import TestLane, claimed_lane

IDS = (96, 97, 98)
LIMIT = 300  #: seconds; other tests hold them for one test at a time


@contextmanager
def holding() -> Iterator[None]:
    """Hold the numbers."""
    with ExitStack() as held:
        end = time.monotonic() + LIMIT
        for number in IDS:
            while (one := hold(number)) is None:
                assert time.monotonic() < end, (
                    f"lane {number} is used by another test, or somebody keeps it running (./lane ps)"
                )
                time.sleep(0.05)
            held.enter_context(one)
        yield


@pytest.fixture(autouse=True)
def held(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Hold the numbers while a test of a module that claims lanes itself runs; whether they are held."""
    claims = bool({"claimed_lane", "options"} & set(vars(request.module)))
    with holding() if claims else nullcontext():
        yield claims


@pytest.fixture
def lane(held: bool) -> Iterator[TestLane]:
    """A claimed lane; whatever runs in it at the end is killed."""
    with nullcontext() if held else holding(), claimed_lane() as found:
        yield found
