"""Writes the disk of a UEFI guest: a FAT12 volume with one program, in a qcow2 file.

Both formats are written here rather than by mtools and qemu-img, because those put their own version or their defaults
into the file: here the same program gives the same bytes on every machine. The layouts are Microsoft's FAT
specification (fatgen103) and QEMU's docs/interop/qcow2.txt; docs/guests.md says what was tried with the result.
"""

from __future__ import annotations

import struct

from ..core.errors import LaneError

SECTOR = 512
#: Sectors of the volume; one is a cluster, and FAT12 can number all of them.
SECTORS = 2048
RESERVED_SECTORS = 1
FATS = 2
FAT_SECTORS = -(-(SECTORS * 3 // 2 + 3) // SECTOR)
ROOT_ENTRIES = 16
DIRECTORY = 0x10
ARCHIVE = 0x20
#: 1 January 2000, 00:00: the date of every entry.
DATE = (2000 - 1980) << 9 | 1 << 5 | 1
#: Bytes of a cluster of qcow2, as a power of 2.
CLUSTER_BITS = 12


def boot_volume(program: bytes) -> bytes:
    """A FAT12 volume with `program` as EFI/BOOT/BOOTX64.EFI. Raises LaneError (lane) when the program does not fit."""
    clusters = SECTORS - RESERVED_SECTORS - FATS * FAT_SECTORS - ROOT_ENTRIES * 32 // SECTOR
    needed = 2 + -(-len(program) // SECTOR)
    if needed > clusters:
        problem = f"the program takes {needed} clusters of {SECTOR} bytes, and the volume has {clusters}"
        raise LaneError("guest_build_failed", "lane", problem, "make it smaller")
    fat = [0xFF8, 0xFFF, 0xFFF, 0xFFF, *range(5, 2 + needed), 0xFFF]
    data = directory(entry(b".", 2, DIRECTORY), entry(b"..", 0, DIRECTORY), entry(b"BOOT", 3, DIRECTORY))
    file = entry(b"BOOTX64 EFI", 4, ARCHIVE, len(program))
    data += directory(entry(b".", 3, DIRECTORY), entry(b"..", 2, DIRECTORY), file) + program
    table = packed(fat).ljust(FAT_SECTORS * SECTOR, b"\0")
    root = entry(b"POCKET", 0, 0x08) + entry(b"EFI", 2, DIRECTORY)
    volume = boot_sector() + table * FATS + root.ljust(ROOT_ENTRIES * 32, b"\0") + data
    return volume.ljust(SECTORS * SECTOR, b"\0")


def boot_sector() -> bytes:
    """The first sector: the volume's measures, a fixed serial number, no boot code."""
    measures = struct.pack("<3s8sHBHB", b"\xeb\x3c\x90", b"POCKET  ", SECTOR, 1, RESERVED_SECTORS, FATS)
    measures += struct.pack("<HHBHHHII", ROOT_ENTRIES, SECTORS, 0xF8, FAT_SECTORS, 32, 2, 0, 0)
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


def qcow2(raw: bytes) -> bytes:
    """A qcow2 version 3 file holding `raw`, without the clusters that are all zero.

    The clusters are: header, refcount table, refcount block, L1 table, L2 tables, data. `raw` is a whole number of
    clusters and small enough for one refcount block of 16 bit counts (8 MiB), else ValueError.
    """
    size = 1 << CLUSTER_BITS
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
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, len(raw))
    header += struct.pack(">IIQQI", 0, tables, 3 * size, 1 * size, 1)
    header += struct.pack(">IQQQQII", 0, 0, 0, 0, 0, 4, 104)
    counts = struct.pack(f">{total}H", *[1] * total)
    parts = [header, struct.pack(">Q", 2 * size), counts, struct.pack(f">{tables}Q", *l1)]
    l2_tables = struct.pack(f">{len(l2)}Q", *l2).ljust(tables * size, b"\0")
    return b"".join([*(part.ljust(size, b"\0") for part in parts), l2_tables, *kept])
