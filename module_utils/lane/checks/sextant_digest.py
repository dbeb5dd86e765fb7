"""The digest that Uncalibrated Sextant draws on its screen as a QR code, and the CRC32C of the pixels around it.

Layout: a QR code of version 5 on 180x180 pixels, 16 of them quiet on each side. Its bytes are SXDG, the schema (2), the
frame counter (u32), the number of records, and then the records as tag, length and value: rolling CRC32C hashes with
the tags 0x11 to 0x18, one for each kind of event, and the newest events. The last four bytes are the CRC32C of all
pixels outside of the 180x180 region, each as blue, green, red, 0. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import google_crc32c
import zxingcpp
from PIL import Image

MAGIC, SCHEMA = b"SXDG", 2
#: Pixels of the region's side, and of its quiet margin.
SIDE, MARGIN = 180, 16
#: The QR code is within this distance of the lower right corner; a smaller picture is read faster.
CORNER = 260
HASHES = range(0x11, 0x19)


class BadDigest(Exception):
    """What is wrong with a picture's digest; the text is a clause. code: one of core.codes; digest: as far as it could
    be read.
    """

    def __init__(self, problem: str, code: str = "digest_missing", digest: Digest | None = None) -> None:
        super().__init__(problem)
        self.code = code
        self.digest = digest


@dataclass(frozen=True)
class Digest:
    """hashes: rolling hash by tag; events: tag and value, oldest first; crc: of the pixels; corner: the region's upper
    left.
    """

    frame: int
    hashes: dict[int, int]
    events: list[tuple[int, bytes]]
    crc: int
    corner: tuple[int, int]


def read(picture: Image.Image) -> Digest:
    """The digest of a picture that has the pixels of which the digest tells. Raises BadDigest."""
    try:
        found = decode(picture)
    except BadDigest as error:
        raise BadDigest(f"the picture's digest cannot be used: {error}") from None
    if found is None:
        raise BadDigest("the picture shows no QR code with a digest")
    seen = crc(picture, found.corner)
    if seen != found.crc:
        said = f"its digest (frame {found.frame}) says {found.crc:08x}"
        raise BadDigest(f"the picture's pixels have CRC32C {seen:08x}, but {said}", "digest_crc_wrong", found)
    return found


def decode(picture: Image.Image) -> Digest | None:
    """The digest of a picture, or None when it shows no QR code. Raises BadDigest."""
    left, top = max(0, picture.width - CORNER), max(0, picture.height - CORNER)
    for code in zxingcpp.read_barcodes(picture.crop((left, top, picture.width, picture.height))):
        at = code.position.top_left
        return parse(code.bytes, (left + at.x - MARGIN, top + at.y - MARGIN))
    return None


def parse(data: bytes, corner: tuple[int, int]) -> Digest:
    """The digest of a QR code's bytes. Raises BadDigest."""
    if data[:4] != MAGIC or len(data) < 14:
        raise BadDigest(f"its {len(data)} bytes are not a digest")
    if data[4] != SCHEMA:
        raise BadDigest(f"its schema is {data[4]} and not {SCHEMA}")
    hashes: dict[int, int] = {}
    events: list[tuple[int, bytes]] = []
    at, end = 10, len(data) - 4
    for _ in range(data[9]):
        if at + 2 + data[at + 1] > end:
            raise BadDigest("it is cut off within a record")
        tag, value = data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + len(value)
        if tag not in HASHES:
            events.append((tag, value))
        elif len(value) == 4:
            (hashes[tag],) = struct.unpack("<I", value)
        else:
            raise BadDigest(f"its hash {tag:#x} has {len(value)} bytes")
    if at != end or set(hashes) != set(HASHES):
        raise BadDigest(f"it has {len(hashes)} hashes and {end - at} bytes too many")
    return Digest(struct.unpack_from("<I", data, 5)[0], hashes, events, struct.unpack_from("<I", data, end)[0], corner)


def crc(picture: Image.Image, corner: tuple[int, int]) -> int:
    """The CRC32C of the pixels outside of the region, as the guest computes it."""
    red, green, blue = picture.convert("RGB").split()
    pixels = Image.merge("RGBX", (blue, green, red, Image.new("L", red.size, 0))).tobytes()
    stride, (left, top) = 4 * picture.width, corner
    total = google_crc32c.value(pixels[: top * stride])
    for row in range(top, top + SIDE):
        total = google_crc32c.extend(total, pixels[row * stride : row * stride + 4 * left])
        total = google_crc32c.extend(total, pixels[row * stride + 4 * (left + SIDE) : (row + 1) * stride])
    return int(google_crc32c.extend(total, pixels[(top + SIDE) * stride :]))
