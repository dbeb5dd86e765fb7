"""Pictures as they come from `screenshot`: whether they are whole, of the announced size, and what is in them.

PNG as in the W3C recommendation (https://www.w3.org/TR/png-3/), of which ryll 0.3.0 sends 8 bit RGBA, not interlaced; 8 bit RGB is
read as well. Memory stays at the compressed bytes and a few rows, whatever a picture claims; `tick` is called between rows and may
raise to end the work at a deadline.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import NoReturn

from .errors import Malformed

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: More than a line of 64 MiB needs for pixel data in pieces of 4 KiB, and few enough to hold them all.
MOST_CHUNKS = 20_000
_CHANNELS = {2: 3, 6: 4}
_FEED = 1 << 14  # bytes given to zlib at a time; what it leaves over is copied for each row


@dataclass(frozen=True)
class Region:
    """A part of a picture, in pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Pixels:
    """What the pixels of a picture, or of a region of it, show. Alpha is not looked at.

    digest: SHA-256 over the RGB bytes, rows from the top, or "" when it was not asked for. one_colour: its only colour as "#rrggbb", or None.
    """

    digest: str
    one_colour: str | None


def look(shot: tuple[str, bytes], width: int, height: int, tick: Callable[[], None], region: Region | None = None, digest: bool = True) -> Pixels:
    """Read a picture, given as its format ("png" or "rgba") and bytes, to its end.

    Raises Malformed when it is not a whole picture of width x height.
    """
    part = region or Region(0, 0, width, height)
    total = hashlib.sha256()
    colour: bytes | None = None
    several = False
    row = bytes(3 * width)
    for number, (method, filtered) in enumerate(_rows(shot, width, height)):
        tick()
        if number >= part.y + part.height or (several and not digest):
            continue  # only its wholeness matters from here on, and `_rows` sees to that
        row = _unfilter(method, filtered, row)
        if number < part.y:
            continue
        rgb = row[3 * part.x : 3 * (part.x + part.width)]
        colour = colour or rgb[:3]
        several = several or rgb != colour * part.width
        if digest:
            total.update(rgb)
    single = None if several or colour is None else f"#{colour.hex()}"
    return Pixels(total.hexdigest() if digest else "", single)


def alike(one: tuple[str, bytes], other: tuple[str, bytes], width: int, height: int, tick: Callable[[], None], region: Region | None = None) -> bool:
    """Whether two pictures of width x height have the same pixels, in the region if one is given. Alpha is not looked at.

    As long as two pictures were the same so far, rows under the same filter are the same exactly when their filtered bytes are, so that mostly
    nothing has to be unfiltered.
    """
    if region is None:
        for (method, row), (other_method, other_row) in zip(_rows(one, width, height), _rows(other, width, height), strict=True):
            tick()
            if method != other_method:
                break
            if row != other_row:
                return False
        else:
            return True
    return look(one, width, height, tick, region).digest == look(other, width, height, tick, region).digest


def _rows(shot: tuple[str, bytes], width: int, height: int) -> Iterator[tuple[int, bytes]]:
    """The rows as (filter method, filtered RGB bytes). Filters work on each channel by itself, so alpha can be left out before they are undone."""
    kind, data = shot
    channels, rows = _png_rows(data, width, height) if kind == "png" else (4, _rgba_rows(data, width, height))
    for method, row in rows:
        bare = bytearray(row)
        if channels == 4:
            del bare[3::4]
        yield method, bytes(bare)


def _rgba_rows(data: bytes, width: int, height: int) -> Iterator[tuple[int, bytes]]:
    if len(data) != 4 * width * height:
        _broken(f"{4 * width * height} bytes of RGBA for {width}x{height}", f"{len(data)} came")
    for at in range(0, len(data), 4 * width):
        yield 0, data[at : at + 4 * width]


def _png_rows(data: bytes, width: int, height: int) -> tuple[int, Iterator[tuple[int, bytes]]]:
    """Bytes for each pixel, and the rows as (filter method, filtered bytes); the iterator raises at the end what only shows there."""
    chunks = list(islice(_chunks(data), MOST_CHUNKS + 1))
    if len(chunks) > MOST_CHUNKS:
        _broken(f"a PNG of at most {MOST_CHUNKS} chunks", "it has more")
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        _broken("a PNG that begins with its header", "the first chunk is another")
    seen_width, seen_height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if (seen_width, seen_height) != (width, height):
        _broken(f"a PNG of {width}x{height} as announced", f"its header says {seen_width}x{seen_height}")
    if depth != 8 or colour not in _CHANNELS or compression or filtering or interlace:
        _broken("a PNG of 8 bit RGB or RGBA, not interlaced", f"this one has depth {depth}, colour type {colour}, interlace {interlace}")
    kinds = [kind for kind, _ in chunks]
    if strange := [kind for kind in kinds[1:-1] if kind != b"IDAT" and not kind[0] & 0x20]:
        _broken("a PNG of known chunks", f"there is a critical chunk {strange[0].decode('ascii')}")
    at = [number for number, kind in enumerate(kinds) if kind == b"IDAT"]
    if not at or at[-1] - at[0] != len(at) - 1:
        _broken("the PNG's pixel data in one piece", "there is none" if not at else "other chunks stand between")
    return _CHANNELS[colour], _inflate([body for kind, body in chunks if kind == b"IDAT"], _CHANNELS[colour] * width, height)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks from IHDR to IEND, each with a right checksum."""
    if not data.startswith(SIGNATURE):
        _broken("a PNG", "it does not begin with the PNG signature")
    view = memoryview(data)
    at = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if len(data) - at < 12:
            _broken("a whole PNG", f"it is cut after {len(data)} bytes, before its end chunk")
        size = int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if not (kind.isascii() and kind.isalpha()):
            _broken("a PNG made of chunks", f"at byte {at + 4} there is no chunk name")
        if size > len(data) - at - 12:
            _broken("a whole PNG", f"it is cut after {len(data)} bytes, within a chunk {kind.decode('ascii')} of {size}")
        body = view[at + 8 : at + 8 + size]
        if zlib.crc32(view[at + 4 : at + 8 + size]) != int.from_bytes(view[at + 8 + size : at + 12 + size], "big"):
            _broken("a whole PNG", f"the checksum of its chunk {kind.decode('ascii')} at byte {at} is wrong")
        yield kind, body
        at += 12 + size
    if at != len(data):
        _broken("the PNG to end with its end chunk", f"{len(data) - at} more bytes follow")


def _inflate(bodies: list[memoryview], stride: int, height: int) -> Iterator[tuple[int, bytes]]:
    """Exactly `height` rows of 1 + stride bytes; never holds more than two rows of what it unpacked."""
    source = zlib.decompressobj()
    feed = (body[at : at + _FEED] for body in bodies for at in range(0, len(body), _FEED))
    rest: bytes | memoryview = b""
    for number in range(height):
        row = b""
        while len(row) <= stride:
            try:
                piece = source.decompress(rest, stride + 1 - len(row))
            except zlib.error as error:
                _broken("a PNG whose pixels can be unpacked", f"row {number} of {height} cannot ({error})")
            row += piece
            rest = source.unconsumed_tail
            if not piece and not rest:
                rest = next(feed, b"")
                if not rest or source.eof:
                    _broken(f"{height} rows of pixels in the PNG", f"its data ends in row {number}")
        if row[0] > 4:
            _broken("a PNG with known row filters", f"row {number} has filter {row[0]}")
        yield row[0], row[1:]
    _nothing_left(source, rest, feed, height)


def _nothing_left(source: zlib._Decompress, rest: bytes | memoryview, feed: Iterator[memoryview], height: int) -> None:
    """The compressed data ends, with a right checksum of its own, where the last row ends."""
    while not source.eof:
        try:
            more = source.decompress(rest, 1)
        except zlib.error as error:
            _broken("a PNG whose pixels can be unpacked", f"their end cannot ({error})")
        if more:
            _broken(f"{height} rows of pixels in the PNG", "there is more pixel data than that")
        rest = source.unconsumed_tail or next(feed, b"")
        if not rest and not source.eof:
            _broken("a whole PNG", "the end of its pixel data is missing")
    if source.unused_data or any(feed):
        _broken("nothing after the PNG's pixel data", "there is")


def _unfilter(method: int, row: bytes, above: bytes) -> bytes:
    """Undo one row's filter (PNG, section 9: 0 none, 1 sub, 2 up, 3 average, 4 Paeth) over three channels."""
    if method == 0:
        return row
    if method == 2:
        return _up(row, above)
    done = bytearray(row)
    for channel in range(3):
        done[channel::3] = _UNDO[method](row[channel::3], above[channel::3])
    return bytes(done)


def _sub(row: bytes, _: bytes) -> bytes:
    return bytes(map((255).__and__, accumulate(row)))


def _up(row: bytes, above: bytes) -> bytes:
    """Add two rows byte by byte without carry, all at once as one large number."""
    if not any(row):
        return above
    a, b = int.from_bytes(row, "big"), int.from_bytes(above, "big")
    low = int.from_bytes(b"\x7f" * len(row), "big")
    return (((a & low) + (b & low)) ^ ((a ^ b) & ~low)).to_bytes(len(row), "big")


def _average(row: bytes, above: bytes) -> bytes:
    left = 0
    done = bytearray()
    for value, up in zip(row, above, strict=True):
        left = (value + ((left + up) >> 1)) & 255
        done.append(left)
    return bytes(done)


def _paeth(row: bytes, above: bytes) -> bytes:
    """The neighbour (left, up, corner) that is nearest to left + up - corner, the first of those as near."""
    left = corner = 0
    done = bytearray()
    for value, up in zip(row, above, strict=True):
        by_left, by_up = up - corner, left - corner
        by_corner = abs(by_left + by_up)
        by_left, by_up = abs(by_left), abs(by_up)
        if by_left > by_up or by_left > by_corner:
            left = up if by_up <= by_corner else corner
        left = (value + left) & 255
        corner = up
        done.append(left)
    return bytes(done)


_UNDO = {1: _sub, 3: _average, 4: _paeth}


def _broken(expected: str, got: str) -> NoReturn:
    raise Malformed(expected, got)
