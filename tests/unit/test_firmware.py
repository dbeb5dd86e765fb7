"""OVMF's pair: found, preferred, and refused when the two do not belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import firmware

SIZES = {"C4": 3653632, "V4": 540672, "C2": 1966080, "V2": 131072}


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[str, str]]:
    """Both families, as large as Debian 12's."""
    for name, size in SIZES.items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    return [(str(tmp_path / "C4"), str(tmp_path / "V4")), (str(tmp_path / "C2"), str(tmp_path / "V2"))]


def test_the_larger_family_is_preferred_and_the_smaller_one_taken(pairs: list[tuple[str, str]]) -> None:
    assert firmware.find_pair(pairs) == firmware.Pair(*pairs[0], 4 << 20)
    Path(pairs[0][0]).unlink()
    assert firmware.find_pair(pairs) == firmware.Pair(*pairs[1], 2 << 20)
    Path(pairs[1][0]).unlink()
    assert firmware.find_pair(pairs) is None


def test_a_code_cut_to_one_mebibyte_is_named(pairs: list[tuple[str, str]]) -> None:
    with open(pairs[0][0], "r+b") as file:
        file.truncate(1 << 20)
    with pytest.raises(LaneError, match=r"^firmware: .*one family, 4 MiB or 2 MiB together .*C4.*, but they have 1048576 and 540672 bytes: one is cut"):
        firmware.find_pair(pairs)


def test_two_families_do_not_mix(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(LaneError, match="they have 3653632 and 131072 bytes"):
        firmware.check_pair(pairs[0][0], pairs[1][1])


def test_a_code_without_vars_is_named(pairs: list[tuple[str, str]]) -> None:
    Path(pairs[0][1]).unlink()
    with pytest.raises(LaneError, match=r"^firmware: expected OVMF's VARS at .*V4, but the system said: No such file or directory"):
        firmware.find_pair(pairs)


def test_firmware_that_cannot_be_read_is_the_firmwares_fault(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"code")
    firmware.check_code(str(tmp_path / "code"))
    with pytest.raises(LaneError, match=r"firmware: expected OVMF.s code /no/such, but the system said: No such file"):
        firmware.check_code("/no/such")
