"""Pictures: whether a screenshot is whole, what it shows, and whether two are equal, pixel by pixel.

Pillow does the work; alpha never counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import Malformed

if TYPE_CHECKING:  # importing it takes 15 ms: only tasks that handle pictures pay that
    from PIL.Image import Image

#: What a lossy compression may do to a picture (docs/smoke.md, where it was measured): the mean difference over all
#: channels, in levels of 0 to 255, ...
LOSSY_MEAN = 4.0
#: ... and the share of the pixels that differ by more than FAR levels in a channel, at sharp edges.
FAR = 64
LOSSY_FAR = 0.005


@dataclass(frozen=True)
class Region:
    """A part of a picture, in pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge, as Pillow has them."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def inside(self, width: int, height: int) -> bool:
        return self.x + self.width <= width and self.y + self.height <= height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.x}+{self.y}"


@dataclass(frozen=True)
class Difference:
    """How two pictures differ. compared: pixels that were compared; differing: how many of them are not equal; mean:
    the difference over all their channels, in levels; far: how many differ by more than FAR levels in a channel;
    picture: white where they differ, black elsewhere.
    """

    compared: int
    differing: int
    mean: float
    far: int
    picture: Image

    @property
    def lossy(self) -> bool:
        """Whether a lossy compression alone can have made the difference."""
        return self.mean <= LOSSY_MEAN and self.far <= LOSSY_FAR * self.compared

    def accepted(self, lossy: bool) -> bool:
        """Whether the pictures count as equal: no pixel differs or, where a lossy compression was asked for, no more
        than that explains.
        """
        return self.lossy if lossy else self.differing == 0

    def __str__(self) -> str:
        return (
            f"{self.differing} of {self.compared} pixels differ, by {self.mean:.1f} of 255 levels on average, "
            f"{self.far} of them by more than {FAR}"
        )


def read(kind: str, data: bytes, width: int, height: int) -> Image:
    """A screenshot ("png" or "rgba") of width x height as RGB. Raises Malformed when it is not a whole picture of that
    size.
    """
    from PIL import Image

    if kind == "rgba":
        if len(data) != 4 * width * height:
            raise Malformed(f"a picture of {width}x{height} in RGBA has {len(data)} bytes, not {4 * width * height}")
        return Image.frombytes("RGBA", (width, height), data).convert("RGB")
    try:
        opened = Image.open(io.BytesIO(data), formats=["PNG"])
        if opened.size == (width, height):
            opened.verify()  # the checksum of every chunk, which decoding alone does not look at
            return Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Malformed(f"a picture is not a whole PNG ({error})") from None
    raise Malformed(f"a picture is a PNG of {opened.size[0]}x{opened.size[1]}, not {width}x{height} as announced")


def read_file(path: str) -> Image:
    """A picture of one's own as RGB. Raises OSError when it cannot be read."""
    from PIL import Image

    with Image.open(path) as opened:
        return opened.convert("RGB")


def one_colour(picture: Image) -> str | None:
    """The picture's only colour as "#rrggbb", or None when it has several."""
    found = picture.getcolors(1)
    return f"#{picture.tobytes()[:3].hex()}" if found else None


def compare(
    one: Image,
    other: Image,
    masks: Iterable[Region] = (),
    still: tuple[Image, Image] | None = None,
    region: Region | None = None,
) -> Difference:
    """Compare two pictures of one size, or a region of them, except inside the masks.

    still: two pictures of the same size; where these differ from each other, something moved, and nothing is compared.
    """
    from PIL import Image, ImageChops

    channels = ImageChops.difference(one, other)
    compared = Image.new("L", one.size, 0 if region else 255)
    if region:
        compared.paste(255, region.box)
    if still:
        compared = ImageChops.invert(_any(ImageChops.difference(*still)))
    for mask in masks:
        compared.paste(0, mask.box)
    channels.paste((0, 0, 0), mask=ImageChops.invert(compared))
    differing = _any(channels)
    count = _white(compared)
    total = sum(level % 256 * number for level, number in enumerate(channels.histogram()))
    mean = total / (3 * count) if count else 0.0
    return Difference(count, _white(differing), mean, _white(_any(channels, FAR)), differing)


def to_png(picture: Image) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _any(channels: Image, above: int = 0) -> Image:
    """White where any channel is above this level, black elsewhere."""
    from PIL import ImageChops

    red, green, blue = channels.split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue).point(
        [255 * (level > above) for level in range(256)]
    )


def _white(mask: Image) -> int:
    return mask.histogram()[255]
