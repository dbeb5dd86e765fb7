"""Writes the disk of a UEFI guest: a FAT12 volume with one program, in a qcow2 file.

Both formats are written here rather than by mtools and qemu-img, because those put their own version or their defaults
into the file: here the same program gives the same bytes on every machine. The layouts are Microsoft's FAT
specification (fatgen103) and QEMU's docs/interop/qcow2.txt; docs/guests.md says what was tried with the result.
"""

from __future__ import annotations

import struct

from ..core.errors import LaneError

SECTOR = 512
RESERVED_SECTORS = 1
FATS = 2
ROOT_ENTRIES = 16
DIRECTORY = 0x10
ARCHIVE = 0x20
#: 1 January 2000, 00:00: the date of every entry.
DATE = (2000 - 1980) << 9 | 1 << 5 | 1
#: What FAT12 can number, less the two that are taken and the range kept for marks.
MOST_CLUSTERS = 4084


def boot_volume(program: bytes, sectors: int = 2048) -> bytes:
    """A FAT12 volume of `sectors` sectors of 512 bytes, one sector a cluster, with `program` as EFI/BOOT/BOOTX64.EFI.

    Raises LaneError (component lane) when the program does not fit.
    """
    fat_sectors = -(-(sectors * 3 // 2 + 3) // SECTOR)
    first_data = RESERVED_SECTORS + FATS * fat_sectors + ROOT_ENTRIES * 32 // SECTOR
    clusters = sectors - first_data
    needed = 2 + -(-len(program) // SECTOR)
    if needed > clusters or clusters > MOST_CLUSTERS:
        problem = f"the program takes {needed} clusters of {SECTOR} bytes, and the volume has {clusters}"
        raise LaneError("guest_build_failed", "lane", problem, "make it smaller")
    fat = [0xFF8, 0xFFF, 0xFFF, 0xFFF, *range(5, 2 + needed), 0xFFF]
    data = directory(entry(b".", 2, DIRECTORY), entry(b"..", 0, DIRECTORY), entry(b"BOOT", 3, DIRECTORY))
    data += directory(
        entry(b".", 3, DIRECTORY), entry(b"..", 2, DIRECTORY), entry(b"BOOTX64 EFI", 4, ARCHIVE, len(program))
    )
    data += program
    head = boot_sector(sectors, fat_sectors)
    table = packed(fat).ljust(fat_sectors * SECTOR, b"\0")
    root = entry(b"POCKET", 0, 0x08) + entry(b"EFI", 2, DIRECTORY)
    volume = head + table * FATS + root.ljust(ROOT_ENTRIES * 32, b"\0") + data
    return volume.ljust(sectors * SECTOR, b"\0")


def boot_sector(sectors: int, fat_sectors: int) -> bytes:
    """The first sector: the volume's measures, a fixed serial number, no boot code."""
    measures = struct.pack("<3s8sHBHB", b"\xeb\x3c\x90", b"POCKET  ", SECTOR, 1, RESERVED_SECTORS, FATS)
    measures += struct.pack("<HHBHHHII", ROOT_ENTRIES, sectors, 0xF8, fat_sectors, 32, 2, 0, 0)
    measures += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x53585431, b"POCKET".ljust(11), b"FAT12".ljust(8))
    return measures.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def entry(name: bytes, cluster: int, attributes: int, size: int = 0) -> bytes:
    """A directory entry of 32 bytes; `name` is in the 8.3 form without its point."""
    return struct.pack("<11sBBBHHHHHHHI", name.ljust(11), attributes, 0, 0, 0, DATE, DATE, 0, 0, DATE, cluster, size)


def directory(*entries: bytes) -> bytes:
    """A directory that fills one cluster."""
    return b"".join(entries).ljust(SECTOR, b"\0")


def packed(numbers: list[int]) -> bytes:
    """12 bit numbers, two in three bytes."""
    pairs = zip(numbers[::2], [*numbers[1::2], 0], strict=False)
    return b"".join((low | high << 12).to_bytes(3, "little") for low, high in pairs)


def qcow2(raw: bytes, cluster_bits: int = 12) -> bytes:
    """A qcow2 version 3 file holding `raw`, without the clusters that are all zero.

    The clusters are: header, refcount table, refcount block, L1 table, L2 tables, data. `raw` is a whole number of
    clusters and small enough for one refcount block of 16 bit counts (8 MiB with clusters of 4 KiB), else ValueError.
    """
    size = 1 << cluster_bits
    blocks = [raw[at : at + size] for at in range(0, len(raw), size)]
    per_table = size // 8
    tables = -(-len(blocks) // per_table)
    kept = [block for block in blocks if any(block)]
    total = 4 + tables + len(kept)
    if len(raw) % size or total > size // 2 or tables > per_table:
        raise ValueError(f"{len(raw)} bytes do not suit clusters of {size}")
    copied = 1 << 63
    places = iter(range(4 + tables, total))
    l2 = [copied | next(places) * size if any(block) else 0 for block in blocks]
    l1 = [copied | (4 + table) * size for table in range(tables)]
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, cluster_bits, len(raw))
    header += struct.pack(">IIQQI", 0, tables, 3 * size, 1 * size, 1)
    header += struct.pack(">IQQQQII", 0, 0, 0, 0, 0, 4, 104)
    parts = [
        header,
        struct.pack(">Q", 2 * size),
        struct.pack(f">{total}H", *[1] * total),
        struct.pack(f">{tables}Q", *l1),
    ]
    parts += [
        struct.pack(f">{len(part)}Q", *part)
        for part in (l2[at : at + per_table] for at in range(0, len(l2), per_table))
    ]
    return b"".join(part.ljust(size, b"\0") for part in [*parts, *kept])
