"""OVMF's two files, CODE and VARS: where distributions keep them, and whether two of them belong together.

OVMF is built for a flash of 4 MiB (CODE 3,653,632 + VARS 540,672 bytes) or 2 MiB (1,966,080 + 131,072); the sizes of a pair add up to
exactly that. Seen on Debian 12 (both) and Debian 13 (4 MiB only); qemu refuses or misplaces what does not fit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..core.errors import legacy_error

MIB = 1 << 20
#: (CODE, VARS), the preferred one first. Debian 12 and 13 and Ubuntu 24.04 name them so (their package ovmf).
PAIRS = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)


@dataclass(frozen=True)
class Pair:
    """A CODE and the VARS of its size family; size is the family's flash in bytes."""

    code: str
    vars: str
    size: int

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def find_pair(candidates: Sequence[tuple[str, str]] = PAIRS) -> Pair | None:
    """The first pair that is there, checked; None when there is no CODE at all.

    Raises LaneError (component firmware) when the CODE that is found has no VARS, or the two are not one family.
    """
    for code, variables in candidates:
        if os.path.exists(code):
            return check_pair(code, variables)
    return None


def check_code(code: str) -> None:
    """Raises LaneError (component firmware) when OVMF's code cannot be read: qemu, which would say so as well, is not to blame for it."""
    _size(code, f"OVMF's code {code}", "the role deps")


def check_pair(code: str, variables: str) -> Pair:
    """The two as a Pair. Raises LaneError (component firmware) when one cannot be read or their sizes do not make one flash."""
    sizes = [_size(path, f"OVMF's {name} at {path}", f"the package that owns {code}") for path, name in ((code, "CODE"), (variables, "VARS"))]
    total = sum(sizes)
    if total not in (4 * MIB, 2 * MIB):
        raise legacy_error(
            "firmware",
            f"OVMF's CODE and VARS of one family, 4 MiB or 2 MiB together ({code}, {variables})",
            f"they have {sizes[0]} and {sizes[1]} bytes: one is cut or of another family",
            f"ls -lL {code} {variables}; reinstall the package that owns them",
        )
    return Pair(code, variables, total)


def _size(path: str, expected: str, look: str) -> int:
    """The bytes of a file that can be read."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise legacy_error("firmware", expected, f"the system said: {error.strerror}", look) from None
