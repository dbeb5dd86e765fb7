"""Pictures: whole or not, of the size that was announced, one colour or not, equal or not."""

from __future__ import annotations

import hashlib
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import Malformed, TimedOut
from ansible.module_utils.lane.protocols.ryll.png import Region, alike, look
from control_peer import chunk, header, png, rgba

START = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")


def never() -> None:
    """A tick that lets the work go on."""


def noise(x: int, y: int) -> tuple[int, int, int]:
    dice = random.Random(x * 1000 + y)
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)


def rows(width: int, height: int, method: int = 0) -> bytes:
    return (bytes([method]) + bytes(4 * width)) * height


def build(data: bytes, width: int = 8, height: int = 4) -> bytes:
    return START + header(width, height) + chunk(b"IDAT", data) + END


@pytest.mark.parametrize("method", range(5))
def test_every_row_filter_gives_the_pixels_back(method: int) -> None:
    plain = b"".join(bytes(noise(x, y)) for y in range(9) for x in range(17))
    found = look(("png", png(17, 9, noise, method)), 17, 9, never)
    assert found.digest == hashlib.sha256(plain).hexdigest()
    assert found.one_colour is None
    assert look(("rgba", rgba(17, 9, noise)), 17, 9, never) == found


def test_rgb_without_alpha_is_read_as_well() -> None:
    data = START + header(2, 1, colour=2) + chunk(b"IDAT", zlib.compress(b"\0\1\2\3\1\2\3")) + END
    assert look(("png", data), 2, 1, never).one_colour == "#010203"


def test_pixel_data_may_be_cut_into_chunks_anywhere() -> None:
    packed = zlib.compress(b"".join(b"\0" + bytes(noise(x, y)[0] for x in range(400)) for y in range(100)))
    pieces = b"".join(chunk(b"IDAT", packed[at : at + 7]) + chunk(b"IDAT", b"") for at in range(0, len(packed), 7))
    assert look(("png", START + header(100, 100) + chunk(b"tEXt", b"a") + pieces + END), 100, 100, never).one_colour is None


def test_one_colour_is_found_and_named_whatever_alpha_does() -> None:
    assert look(("png", png(8, 4, lambda x, y: (1, 2, 255))), 8, 4, never, digest=False).one_colour == "#0102ff"
    assert look(("rgba", bytes([1, 2, 3, 4, 1, 2, 3, 5])), 2, 1, never).one_colour == "#010203"


@pytest.mark.parametrize("spot", [(0, 0), (7, 0), (0, 3), (7, 3)])
@pytest.mark.parametrize("channel", range(3))
def test_one_other_pixel_anywhere_is_seen(spot: tuple[int, int], channel: int) -> None:
    def pixels(x: int, y: int) -> tuple[int, ...]:
        return tuple(1 if (x, y) == spot and one == channel else 0 for one in range(3))

    assert look(("png", png(8, 4, pixels, 2)), 8, 4, never, digest=False).one_colour is None


def test_a_region_is_looked_at_alone() -> None:
    shot = ("png", png(8, 4, lambda x, y: (9, 9, 9) if 2 <= x < 5 and 1 <= y < 3 else noise(x, y), 4))
    assert look(shot, 8, 4, never, Region(2, 1, 3, 2)).one_colour == "#090909"
    assert look(shot, 8, 4, never, Region(2, 1, 4, 2)).one_colour is None
    assert look(shot, 8, 4, never, Region(2, 0, 3, 2)).one_colour is None
    other = ("rgba", rgba(8, 4, lambda x, y: (9, 9, 9)))
    assert look(shot, 8, 4, never, Region(2, 1, 3, 2)).digest == look(other, 8, 4, never, Region(2, 1, 3, 2)).digest


def changed(x: int, y: int) -> tuple[int, int, int]:
    return (1, 2, 3) if (x, y) == (6, 2) else noise(x, y)


FORMS = [("png", method) for method in range(5)] + [("rgba", 0)]


@pytest.mark.parametrize("one", FORMS)
@pytest.mark.parametrize("other", FORMS)
def test_pictures_are_compared_whatever_their_filters(one: tuple[str, int], other: tuple[str, int]) -> None:
    def made(form: tuple[str, int], pixels: Callable[[int, int], tuple[int, int, int]]) -> tuple[str, bytes]:
        return form[0], png(8, 4, pixels, form[1]) if form[0] == "png" else rgba(8, 4, pixels)

    whole, spot, rest = None, Region(6, 2, 1, 1), Region(0, 0, 6, 4)
    for region, same in ((whole, False), (spot, False), (rest, True)):
        assert alike(made(one, noise), made(other, noise), 8, 4, never, region) is True
        assert alike(made(one, noise), made(other, changed), 8, 4, never, region) is same


def test_alpha_makes_no_difference() -> None:
    assert alike(("rgba", bytes([1, 2, 3, 4])), ("rgba", bytes([1, 2, 3, 5])), 1, 1, never)


WHOLE = png(8, 4, noise)
BOMB = zlib.compress(bytes(100 << 20), 9)
PACKED = zlib.compress(rows(8, 4))
BAD = {
    "nothing": (b"", "it does not begin with the PNG signature"),
    "not a PNG": (b"GIF89a" + bytes(100), "it does not begin with the PNG signature"),
    "signature only": (START, "it is cut after 8 bytes, before its end chunk"),
    "cut in a chunk": (WHOLE[:60], "it is cut after 60 bytes, within a chunk IDAT of"),
    "cut before the end chunk": (WHOLE[:-12], "before its end chunk"),
    "cut in the end chunk": (WHOLE[:-1], "before its end chunk"),
    "more after the end": (WHOLE + b"x", "1 more bytes follow"),
    "checksum": (WHOLE[:45] + bytes([WHOLE[45] ^ 1]) + WHOLE[46:], "the checksum of its chunk IDAT at byte 33 is wrong"),
    "no chunk name": (START + struct.pack(">I4sI", 0, b"\x01\x02\x03\x04", 0), "at byte 12 there is no chunk name"),
    "a chunk longer than all": (START + struct.pack(">I4sI", 1 << 31, b"IHDR", 0), "within a chunk IHDR of 2147483648"),
    "no header": (START + END, "the first chunk is another"),
    "short header": (START + chunk(b"IHDR", b"12") + END, "the first chunk is another"),
    "another size": (png(4, 8, noise), "its header says 4x8"),
    "16 bit": (START + header(8, 4, depth=16) + END, "this one has depth 16, colour type 6, interlace 0"),
    "palette": (START + header(8, 4, colour=3) + END, "this one has depth 8, colour type 3, interlace 0"),
    "interlaced": (START + header(8, 4, interlace=1) + END, "this one has depth 8, colour type 6, interlace 1"),
    "unknown critical chunk": (START + header(8, 4) + chunk(b"NEWS", b"") + chunk(b"IDAT", zlib.compress(rows(8, 4))) + END, "a critical chunk NEWS"),
    "two headers": (START + header(8, 4) + header(8, 4) + END, "a critical chunk IHDR"),
    "no pixel data": (START + header(8, 4) + END, "there is none"),
    "empty pixel data": (build(b""), "its data ends in row 0"),
    "pixel data in two places": (
        START + header(8, 4) + chunk(b"IDAT", b"a") + chunk(b"tEXt", b"") + chunk(b"IDAT", b"b") + END,
        "other chunks stand between",
    ),
    "chunks without end": (START + header(8, 4) + chunk(b"tEXt", b"") * 20_000 + chunk(b"IDAT", PACKED) + END, "it has more"),
    "not zlib": (build(b"not zlib at all"), "row 0 of 4 cannot"),
    "damaged zlib": (build(zlib.compress(rows(8, 4))[:-1] + b"!"), "row 3 of 4 cannot"),
    "damaged zlib end": (START + header(8, 4) + chunk(b"IDAT", PACKED[:-1]) + chunk(b"IDAT", b"!") + END, "their end cannot"),
    "zlib cut": (build(zlib.compress(rows(8, 4), 0)[:50]), "its data ends in row 1"),
    "rows missing": (build(zlib.compress(rows(8, 3))), "its data ends in row 3"),
    "half a row": (build(zlib.compress(rows(8, 4)[:-9])), "its data ends in row 3"),
    "a row more": (build(zlib.compress(rows(8, 5))), "there is more pixel data than that"),
    "bytes more": (build(zlib.compress(rows(8, 4) + b"\0")), "there is more pixel data than that"),
    "a bomb": (build(BOMB), "there is more pixel data than that"),
    "unfinished zlib": (build(zlib.compress(rows(8, 4))[:-4]), "the end of its pixel data is missing"),
    "bytes after zlib": (build(zlib.compress(rows(8, 4)) + b"more"), "there is"),
    "a chunk after zlib": (START + header(8, 4) + chunk(b"IDAT", zlib.compress(rows(8, 4))) + chunk(b"IDAT", b"x") + END, "there is"),
    "unknown row filter": (build(zlib.compress(rows(8, 4, 5))), "row 0 has filter 5"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("digest", [True, False])
def test_a_bad_png_is_refused_in_words(data: bytes, words: str, digest: bool) -> None:
    with pytest.raises(Malformed) as caught:
        look(("png", data), 8, 4, never, digest=digest)
    assert words in caught.value.got


def test_rgba_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match=r"expected 128 bytes of RGBA for 8x4, but 127 came"):
        look(("rgba", bytes(127)), 8, 4, never)


@pytest.mark.parametrize("cut", range(0, len(WHOLE), 5))
def test_a_png_cut_anywhere_is_not_whole(cut: int) -> None:
    with pytest.raises(Malformed):
        look(("png", WHOLE[:cut]), 8, 4, never, digest=False)


def test_a_bomb_that_announces_its_size_stays_small_and_ends_at_the_deadline() -> None:
    """16384 x 16384 pixels are 1 GiB unpacked; the data is 1 MiB."""
    row = b"\1" + bytes(4 * 16384)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(500)) + packer.flush()
    until = time.monotonic() + 0.3

    def tick() -> None:
        if time.monotonic() > until:
            raise TimedOut("the end", "the time was over")

    tracemalloc.start()
    with pytest.raises(TimedOut):
        look(("png", build(data, 16384, 16384)), 16384, 16384, tick)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert time.monotonic() < until + 1


def test_chunks_without_end_take_little() -> None:
    data = START + header(8, 4) + chunk(b"tEXt", b"") * 1_000_000 + chunk(b"IDAT", PACKED) + END
    tracemalloc.start()
    began = time.thread_time()
    with pytest.raises(Malformed, match="expected a PNG of at most 20000 chunks, but it has more"):
        look(("png", data), 8, 4, never)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert time.thread_time() - began < 1


def test_a_large_chunk_that_nobody_needs_is_passed_over() -> None:
    data = START + header(8, 4) + chunk(b"zTXt", b"x" * (8 << 20)) + chunk(b"IDAT", PACKED) + END
    tracemalloc.start()
    assert look(("png", data), 8, 4, never).one_colour == "#000000"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_full_screen_is_read_in_well_under_a_second() -> None:
    """1280x800 with the row filters that ryll's encoder uses, mostly "up"; the lane waits for this in every run."""
    width, height = 1280, 800
    line = bytes([2]) + random.Random(2).randbytes(4 * width)
    data = START + header(width, height) + chunk(b"IDAT", zlib.compress(line * height, 1)) + END
    began = time.monotonic()
    look(("png", data), width, height, never)
    assert time.monotonic() - began < 1
