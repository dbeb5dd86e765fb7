"""Holds the built-in guest's source, image and record together, and tests what writes the image."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import disk_image, guest_build, guests
from prepared import fails, only_index

FIXTURES = Path(__file__).parents[2] / "fixtures"
SOURCE = FIXTURES / "pocket-sextant"
ENTRIES = yaml.safe_load((FIXTURES / "guests.yml").read_text())["guests"]
REBUILD = "run ansible-playbook playbooks/rebuild_guest.yml and commit what it names"


def pocket(folder: Path = FIXTURES) -> guest_build.Guest:
    return guest_build.Guest.read("pocket", str(folder / "pocket-sextant"), str(folder / "guests.yml"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of fixtures/ to change."""
    shutil.copytree(FIXTURES, tmp_path / "fixtures")
    return tmp_path / "fixtures"


def cache_dir() -> Path:
    """Where the playbook keeps the compiler (lane_cache_dir), so that it is installed once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kerbside-lane"


def raw(image: Path) -> bytes:
    """What a guest sees of a qcow2, as qemu's own reader has it."""
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", image], check=True)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, f"{image}.raw"], check=True)
    return Path(f"{image}.raw").read_bytes()


def program_in(volume: bytes) -> bytes:
    """EFI/BOOT/BOOTX64.EFI of a FAT12 volume, found by the boot sector's numbers and followed along its chain."""
    reserved, fats, root_entries = struct.unpack_from("<HBH", volume, 14)
    fat_sectors = struct.unpack_from("<H", volume, 22)[0]
    root = (reserved + fats * fat_sectors) * 512
    tables = [volume[(reserved + i * fat_sectors) * 512 :][: fat_sectors * 512] for i in range(fats)]
    assert tables[0] == tables[1]

    def read(cluster: int) -> bytes:
        data = b""
        while cluster < 0xFF8:
            data += volume[root + root_entries * 32 + (cluster - 2) * 512 :][:512]
            pair = int.from_bytes(tables[0][cluster * 3 // 2 :][:2], "little")
            cluster = pair >> 4 if cluster & 1 else pair & 0xFFF
        return data

    listing, size = volume[root:][: root_entries * 32], 0
    for name in (b"EFI        ", b"BOOT       ", b"BOOTX64 EFI"):
        found = next(listing[at : at + 32] for at in range(0, len(listing), 32) if listing[at : at + 11] == name)
        cluster, size = struct.unpack_from("<HI", found, 26)
        listing = read(cluster) if size or name != b"BOOTX64 EFI" else b""
    return listing[:size]


def test_source_and_image_are_those_that_are_recorded():
    assert pocket().as_recorded(), REBUILD


def test_the_image_is_what_these_writers_make_of_its_program(tmp_path):
    image = tmp_path / "pocket.qcow2"
    shutil.copy(FIXTURES / "pocket.qcow2", image)
    program = program_in(raw(image))
    assert program[:2] == b"MZ"
    assert disk_image.qcow2(disk_image.boot_volume(program)) == image.read_bytes(), REBUILD


@pytest.mark.slow
def test_a_rebuild_elsewhere_gives_the_same_bytes_and_writes_what_differs(copied):
    with (copied / "pocket-sextant" / "main.zig").open("a") as source:
        source.write("// a comment changes no program\n")
    image = copied / "pocket.qcow2"
    image.unlink()
    first = guest_build.rebuild(pocket(copied), cache_dir())
    assert first["files"] == [str(image), str(copied / "guests.yml")]
    assert image.read_bytes() == (FIXTURES / "pocket.qcow2").read_bytes(), REBUILD
    assert pocket(copied).as_recorded()
    digest = guest_build.source_digest(copied / "pocket-sextant")
    record = (FIXTURES / "guests.yml").read_text().replace(ENTRIES["pocket"]["source_sha256"], digest)
    assert (copied / "guests.yml").read_text() == record, "nothing else changed"
    second = guest_build.rebuild(pocket(copied), cache_dir())
    assert (second["changed"], second["files"]) == (False, [])
    assert not guest_build.rebuild(pocket(copied), cache_dir(), check=True)["changed"]


@pytest.mark.slow
def test_a_mistake_in_the_source_is_told_in_the_compilers_words(copied):
    source = copied / "pocket-sextant"
    (source / "font.zig").write_text("pub const width = nonsense;\n")
    with fails("guest_build_failed", "lane", "font.zig:1:19: error: "):
        guest_build.rebuild(pocket(copied), cache_dir())


def test_a_change_of_source_or_image_alone_is_seen(copied):
    record = (copied / "guests.yml").read_bytes()
    for file in ("pocket-sextant/main.zig", "pocket-sextant/requirements.txt", "pocket.qcow2"):
        whole = (copied / file).read_bytes()
        assert pocket(copied).as_recorded()
        (copied / file).write_bytes(whole + b"\n")
        assert guest_build.rebuild(pocket(copied), copied / "cache", check=True)["changed"], file
        (copied / file).write_bytes(whole)
    (copied / "pocket.qcow2").unlink()
    assert not pocket(copied).as_recorded()
    assert (copied / "guests.yml").read_bytes() == record


def test_a_wheel_with_another_hash_is_refused(tmp_path, monkeypatch):
    (only_index(tmp_path, monkeypatch) / "ziglang-0.17.1-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "requirements.txt").write_text(f"ziglang==0.17.1 --hash=sha256:{'0' * 64}\n")
    with fails("wrong_hash"):
        guest_build.compiler(tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("guest-compiler-*"))


def test_every_guest_says_what_the_lane_needs():
    for name in ENTRIES:
        entry = guests.entry(ENTRIES, name)
        assert entry["format"] == "qcow2" and "smoke" in entry["scenarios"] and entry["description"]
        assert len(entry["sha256"]) == 64
    assert {name: entry["agent"] for name, entry in ENTRIES.items()} == {"pocket": True, "uncalibrated": False}


@pytest.mark.parametrize(
    ("guest", "text", "words"),
    [
        ("none", None, "guest none has no image in "),
        ("uncalibrated", None, "guest uncalibrated has no source_sha256 in "),
        ("pocket", "guests: [", "guests.yml cannot be read: "),
        ("pocket", "[1]", "it has no mapping `guests`"),
        ("pocket", "", "it has no mapping `guests`"),
        ("pocket", "guests: {pocket: {}}", "pocket"),
    ],
)
def test_a_record_that_cannot_be_used_is_told(copied, guest, text, words):
    if text is not None:
        (copied / "guests.yml").write_text(text)
    with pytest.raises(LaneError, match=words) as failure:
        guest_build.Guest.read(guest, str(SOURCE), str(copied / "guests.yml"))
    assert failure.value.code == "guest_entry_invalid"


def test_missing_source_and_record_are_told(tmp_path):
    with fails("guest_build_failed", "lane", "there is no main.zig in "):
        guest_build.source_digest(tmp_path)
    with fails("guest_entry_invalid", "lane", "guests.yml cannot be read: "):
        pocket(tmp_path)


@pytest.mark.parametrize("size", [1, 512, 513, 100_001])
def test_a_program_is_read_back_from_the_volume(tmp_path, size):
    program = bytes(1 + i % 255 for i in range(size))
    image = tmp_path / "image"
    image.write_bytes(disk_image.qcow2(disk_image.boot_volume(program)))
    assert program_in(raw(image)) == program


def test_the_largest_program_fits_and_one_byte_more_does_not():
    room = (2048 - 1 - 2 * 7 - 1 - 2) * 512
    assert program_in(disk_image.boot_volume(b"\xa5" * room)) == b"\xa5" * room
    with pytest.raises(LaneError, match="takes 2033 clusters of 512 bytes, and the volume has 2032"):
        disk_image.boot_volume(b"\xa5" * (room + 1))


def test_qcow2_keeps_any_pattern_of_empty_clusters(tmp_path):
    # three L2 tables, the last one short
    blocks = [bytes(4096) if i % 3 else bytes([i % 256]) * 4096 for i in range(1100)]
    image = tmp_path / "image"
    image.write_bytes(disk_image.qcow2(b"".join(blocks)))
    assert raw(image) == b"".join(blocks)
    assert image.stat().st_size < 4096 * 400


@pytest.mark.parametrize("length", [4095, 4096 * 2048])
def test_qcow2_refuses_what_it_cannot_hold(length):
    with pytest.raises(ValueError, match="do not suit clusters of 4096"):
        disk_image.qcow2(b"x" * length)
