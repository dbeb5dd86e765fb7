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


@pytest.mark.parametrize(
    ("harm", "code", "words"),
    [
        ("cut", "firmware_mismatch", "they have 1048576 and 540672 bytes"),
        ("mixed", "firmware_mismatch", "they have 3653632 and 131072 bytes"),
        ("no vars", "firmware_unreadable", "V4 cannot be read: No such file or directory"),
        ("no code", "firmware_unreadable", "C4 cannot be read: No such file or directory"),
    ],
)
def test_a_pair_that_does_not_belong_together_or_cannot_be_read_is_refused(
    pairs: list[tuple[str, str]], harm: str, code: str, words: str
) -> None:
    given, variables = (Path(path) for path in pairs[0])
    firmware.check_code(str(given))
    if harm == "cut":
        given.write_bytes(b"\0" * (1 << 20))
    elif harm == "mixed":
        variables = Path(pairs[1][1])
    else:
        (variables if harm == "no vars" else given).unlink()
    with pytest.raises(LaneError) as failed:
        firmware.check_code(str(given)) if harm == "no code" else firmware.find_pair([(str(given), str(variables))])
    assert (failed.value.code, failed.value.component) == (code, "firmware")
    assert words in failed.value.problem
