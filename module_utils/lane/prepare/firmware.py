"""Find OVMF's two files, CODE and VARS, and check that they belong together.

OVMF is built for a flash of 4 MiB (CODE 3,653,632 + VARS 540,672 bytes) or 2 MiB (1,966,080 + 131,072); the sizes of a
pair add up to exactly that. Seen on Debian 12 (both) and Debian 13 (4 MiB only); qemu refuses or misplaces what does
not fit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import LaneError

MIB = 1 << 20
#: (CODE, VARS), the preferred one first. Debian 12 and 13 and Ubuntu 24.04 name them so (their package ovmf).
PAIRS = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)


@dataclass(frozen=True)
class Pair:
    """A CODE and the VARS that belongs to it."""

    code: str
    vars: str


def find_pair(candidates: Sequence[tuple[str, str]] = PAIRS) -> Pair | None:
    """The first pair whose CODE exists, or None.

    Raises LaneError (firmware) when one of its files cannot be read or their sizes do not make one flash.
    """
    found = next((pair for pair in candidates if os.path.exists(pair[0])), None)
    if found is None:
        return None
    code, variables = found
    sizes = _size(code, "CODE"), _size(variables, "VARS")
    if sum(sizes) not in (4 * MIB, 2 * MIB):
        problem = (
            f"OVMF's CODE {code} and VARS {variables} do not make a flash of 4 MiB or 2 MiB: they have {sizes[0]} and "
            f"{sizes[1]} bytes"
        )
        fix = "reinstall the package that owns them; one is truncated or of another build"
        raise LaneError("firmware_mismatch", "firmware", problem, fix)
    return Pair(code, variables)


def check_code(code: str) -> None:
    """Raise LaneError (firmware) when OVMF's code cannot be read; qemu would say so too, but is not to blame."""
    _size(code, "CODE")


def _size(path: str, name: str) -> int:
    """The bytes of a file that can be read."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        problem = f"OVMF's {name} {path} cannot be read: {error.strerror}"
        fix = "install it (the role deps does) or name another file"
        raise LaneError("firmware_unreadable", "firmware", problem, fix) from None
