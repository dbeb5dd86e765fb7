"""Whether the picture that came through the proxy is the one that qemu draws, pixel by pixel.

qemu's own screendump (QMP, PPM) does not depend on SPICE: it is what the guest's display device holds. It is taken
before and after ryll's screenshot. A pixel that is the same in both did not change meanwhile, and only such pixels are
compared, so that a clock or a cursor is no difference.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ..core.errors import LaneError
from ..protocols.ryll.pictures import Difference, compare

if TYPE_CHECKING:
    from PIL.Image import Image

#: Less of a picture that stands still than this share says nothing about it.
LEAST_STILL = 0.05


def read_screendump(data: bytes) -> Image:
    """A picture of netpbm's format P6 with 255 levels, as QMP's screendump writes it. Raises LaneError (qemu)."""
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data), formats=["PPM"])
        if picture.mode != "RGB":
            raise ValueError(f"its pixels are {picture.mode}")
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problem = f"qemu's screendump is not a whole PPM picture ({error})"
        raise LaneError("qemu_bad_screendump", "qemu", problem, "look at logs/qemu.log") from None
    return picture


def size(picture: Image) -> str:
    return f"{picture.width}x{picture.height}"


def same_moment(shown: Image, before: Image, after: Image) -> Difference | None:
    """How ryll's picture differs from the two screendumps around it; None when sizes differ or too little stood still
    to say.
    """
    if not shown.size == before.size == after.size:
        return None
    difference = compare(shown, after, still=(before, after))
    return difference if difference.compared >= LEAST_STILL * shown.width * shown.height else None
