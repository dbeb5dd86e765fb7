"""Temporary: replaced by the lane's own decoder."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import google_crc32c
import zxingcpp
from PIL import Image

SIDE = 180
KINDS = {1: "keypress", 2: "line", 3: "transition", 4: "bootloader_decision", 5: "paste", 6: "bootloader_timeout", 7: "mode_switch", 8: "mode_cycle"}


@dataclass(frozen=True)
class Digest:
    frame: int
    hashes: dict[int, int]
    events: list[tuple[int, bytes]]
    crc: int
    corner: tuple[int, int]


def crc(picture: Any, corner: tuple[int, int]) -> int:
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    r, g, b = image.split()
    bgrx = Image.merge("RGBX", (b, g, r, Image.new("L", image.size, 0))).tobytes()
    stride, total = 4 * picture.width, 0
    left, top = corner
    total = google_crc32c.extend(total, bgrx[: top * stride])
    for row in range(top, top + SIDE):
        total = google_crc32c.extend(total, bgrx[row * stride : row * stride + 4 * left])
        total = google_crc32c.extend(total, bgrx[row * stride + 4 * (left + SIDE) : (row + 1) * stride])
    return google_crc32c.extend(total, bgrx[(top + SIDE) * stride :])


def decode(picture: Any) -> Digest | None:
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    left, top = max(0, picture.width - 260), max(0, picture.height - 260)
    box = image.crop((left, top, picture.width, picture.height))
    for code in zxingcpp.read_barcodes(box):
        data = code.bytes
        if data[:4] != b"SXDG" or data[4] != 2:
            continue
        (frame,) = struct.unpack_from("<I", data, 5)
        at, hashes, events = 10, {}, []
        for _ in range(data[9]):
            tag, size = data[at], data[at + 1]
            if size == 4 and 0x11 <= tag <= 0x18:
                (hashes[tag],) = struct.unpack_from("<I", data, at + 2)
            else:
                events.append((tag, data[at + 2 : at + 2 + size]))
            at += 2 + size
        return Digest(frame, hashes, events, struct.unpack("<I", data[-4:])[0], (left + code.position.top_left.x - 16, top + code.position.top_left.y - 16))
    return None
