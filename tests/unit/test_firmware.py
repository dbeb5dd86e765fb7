"""OVMF's pair: found, preferred, and refused when the two do not belong together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils.lane.prepare import firmware
from prepared import fails

SIZES = {"C4": 3653632, "V4": 540672, "C2": 1966080, "V2": 131072}


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[str, str]]:
    """Both families, as large as Debian 12's."""
    for name, size in SIZES.items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    return [(str(tmp_path / "C4"), str(tmp_path / "V4")), (str(tmp_path / "C2"), str(tmp_path / "V2"))]


def test_the_larger_family_is_preferred_and_the_smaller_one_taken(pairs: list[tuple[str, str]]) -> None:
    assert firmware.find_pair(pairs) == firmware.Pair(*pairs[0])
    Path(pairs[0][0]).unlink()
    assert firmware.find_pair(pairs) == firmware.Pair(*pairs[1])
    Path(pairs[1][0]).unlink()
    assert firmware.find_pair(pairs) is None


def test_a_pair_that_does_not_belong_together_is_refused(pairs: list[tuple[str, str]]) -> None:
    code, variables = pairs[0]
    with fails("firmware_mismatch", "firmware", "they have 3653632 and 131072 bytes"):
        firmware.find_pair([(code, pairs[1][1])])
    os.truncate(code, 1 << 20)
    with fails("firmware_mismatch", "firmware", "they have 1048576 and 540672 bytes"):
        firmware.find_pair([(code, variables)])


def test_what_cannot_be_read_is_refused(pairs: list[tuple[str, str]]) -> None:
    code, variables = pairs[0]
    firmware.check_code(code)
    os.unlink(variables)
    with fails("firmware_unreadable", "firmware", "V4 cannot be read: No such file or directory"):
        firmware.find_pair(pairs)
    os.unlink(code)
    with fails("firmware_unreadable", "firmware", "C4 cannot be read: No such file or directory"):
        firmware.check_code(code)
