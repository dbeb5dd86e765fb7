"""Whether the picture that came through the proxy is the one that qemu draws.

qemu's own screendump (QMP, ppm) does not depend on SPICE: it is what the guest's display device holds. It is taken before and after ryll's
screenshot; what is the same in both stood still meanwhile, and only that is compared, so that a clock or a cursor is no difference.
On loopback SPICE packs pictures without loss and the two are equal, byte for byte (docs/diagnosis.md).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from ..core.errors import legacy_error

#: What lossy packing explains (docs/diagnosis.md, where it was measured): the mean over all channels, in levels of 0 to 255, ...
LOSSY_MEAN = 4.0
#: ... and the share of the pixels that are off by more than FAR levels in a channel, at sharp edges.
FAR = 64
LOSSY_FAR = 0.005
#: Less of a picture that stands still than this share says nothing about it.
LEAST_STILL = 0.05


@dataclass(frozen=True)
class Picture:
    """width and height in pixels; rgb: 3 bytes a pixel, rows from the top left."""

    width: int
    height: int
    rgb: bytes

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def one_colour(self) -> str | None:
        """Its only colour as "#rrggbb", or None."""
        return f"#{self.rgb[:3].hex()}" if self.rgb == self.rgb[:3] * (self.width * self.height) else None


@dataclass(frozen=True)
class Difference:
    """compared: pixels that stood still; of: all pixels; other: how many of them differ; mean: of all their channels, in levels; far: over FAR levels off."""

    compared: int
    of: int
    other: int
    mean: float
    far: int

    @property
    def explained(self) -> bool:
        """True when lossy packing alone can have made it."""
        return self.mean <= LOSSY_MEAN and self.far <= LOSSY_FAR * self.compared

    def __str__(self) -> str:
        return f"{self.other} of {self.compared} pixels differ, by {self.mean:.1f} of 255 levels in the mean, {self.far} of them by more than {FAR}"


def from_ppm(data: bytes) -> Picture:
    """A picture of netpbm's format P6 with 255 levels, as QMP's screendump writes it. Raises LaneError (qemu)."""
    head = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    if head is None:
        raise legacy_error("qemu", "qemu's screendump to be a PPM file (P6, 255 levels)", f"it begins with {data[:20]!r}")
    width, height = int(head[1]), int(head[2])
    rgb = data[head.end() :]
    if len(rgb) != 3 * width * height:
        raise legacy_error("qemu", f"qemu's screendump to hold {width}x{height} pixels", f"it holds {len(rgb)} bytes of them")
    return Picture(width, height, rgb)


def from_rgba(width: int, height: int, data: bytes) -> Picture:
    """A picture of 4 bytes a pixel, as ryll's `screenshot` in the format rgba; alpha is not looked at. Raises LaneError (ryll)."""
    if len(data) != 4 * width * height:
        raise legacy_error("ryll", f"ryll's screenshot to hold {width}x{height} pixels", f"it holds {len(data)} bytes of them")
    rgb = bytearray(data)
    del rgb[3::4]
    return Picture(width, height, bytes(rgb))


def png(picture: Picture) -> bytes:
    """The picture as a PNG file (8 bits a channel, no filter; RFC 2083)."""
    stride = 3 * picture.width
    rows = b"".join(b"\0" + picture.rgb[at : at + stride] for at in range(0, len(picture.rgb), stride))
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks)


def compare(shown: Picture, before: Picture, after: Picture) -> Difference:
    """How `shown` differs from the two dumps around it, where these agree with each other. All three have one size, else ValueError."""
    if not shown.size == before.size == after.size:
        raise ValueError(f"{shown.size}, {before.size}, {after.size}")
    pixels = shown.width * shown.height
    if before.rgb == after.rgb == shown.rgb:
        return Difference(pixels, pixels, 0, 0.0, 0)
    compared = other = total = far = 0
    stride = 3 * shown.width
    for at in range(0, len(shown.rgb), stride):
        mine, first, last = (p.rgb[at : at + stride] for p in (shown, before, after))
        if mine == first == last:
            compared += shown.width
            continue
        for x in range(0, stride, 3):
            pixel, truth = mine[x : x + 3], first[x : x + 3]
            if truth != last[x : x + 3]:
                continue
            compared += 1
            if pixel != truth:
                off = [abs(a - b) for a, b in zip(pixel, truth, strict=True)]
                other += 1
                total += sum(off)
                far += max(off) > FAR
    return Difference(compared, pixels, other, total / (3 * compared) if compared else 0.0, far)
