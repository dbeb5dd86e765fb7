"""Comparing what came through the proxy with what qemu draws: equal, explained by lossy packing, or wrong."""

from __future__ import annotations

import pytest
from ansible.module_utils.lane.checks import picture_compare
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.protocols.ryll import png

WIDTH, HEIGHT = 64, 40


def picture(change: dict[int, tuple[int, int, int]] | None = None, shift: int = 0) -> picture_compare.Picture:
    """A picture with all kinds of pixels; `change` gives other colours to pixels by their number, `shift` moves every channel."""
    rgb = bytearray(min(255, (n * 7 + n // 191) % 200 + shift) for n in range(3 * WIDTH * HEIGHT))
    for number, colour in (change or {}).items():
        rgb[3 * number : 3 * number + 3] = bytes(colour)
    return picture_compare.Picture(WIDTH, HEIGHT, bytes(rgb))


def test_a_ppm_and_an_rgba_of_one_picture_are_equal() -> None:
    whole = picture()
    rgba = b"".join(whole.rgb[n : n + 3] + b"\xff" for n in range(0, len(whole.rgb), 3))
    dumped = picture_compare.from_ppm(b"P6\n64 40\n255\n" + whole.rgb)
    shown = picture_compare.from_rgba(WIDTH, HEIGHT, rgba)
    assert dumped == shown == whole
    difference = picture_compare.compare(shown, dumped, dumped)
    assert (difference.other, difference.compared, difference.explained) == (0, WIDTH * HEIGHT, True)


def test_a_picture_as_png_is_the_same_picture() -> None:
    whole = picture()
    rgba = b"".join(whole.rgb[n : n + 3] + b"\xff" for n in range(0, len(whole.rgb), 3))
    assert png.alike(("png", picture_compare.png(whole)), ("rgba", rgba), WIDTH, HEIGHT, lambda: None)


@pytest.mark.parametrize("data", [b"", b"P5\n64 40\n255\n", b"P6\n64 40\n65535\n" + bytes(64 * 40 * 6), b"P6\n64 40\n255\n" + bytes(5), b"\x89PNG"])
def test_what_is_no_ppm_is_qemus_fault(data: bytes) -> None:
    with pytest.raises(LaneError) as caught:
        picture_compare.from_ppm(data)
    assert caught.value.component == "qemu"


def test_a_short_screenshot_is_rylls_fault() -> None:
    with pytest.raises(LaneError, match=r"^ryll: .* 64x40 pixels, but it holds 7 bytes"):
        picture_compare.from_rgba(WIDTH, HEIGHT, bytes(7))


def test_what_moves_between_the_dumps_is_not_compared() -> None:
    clock = dict.fromkeys(range(100), (255, 0, 0))
    hand = dict.fromkeys(range(100), (0, 255, 0))
    difference = picture_compare.compare(picture(dict.fromkeys(range(100), (0, 0, 255))), picture(clock), picture(hand))
    assert (difference.compared, difference.of, difference.other) == (WIDTH * HEIGHT - 100, WIDTH * HEIGHT, 0)
    assert difference.explained


def test_small_errors_everywhere_are_explained_and_larger_ones_are_not() -> None:
    whole = picture()
    assert picture_compare.compare(picture(shift=3), whole, whole).explained
    wrong = picture_compare.compare(picture(shift=6), whole, whole)
    assert not wrong.explained
    assert str(wrong) == "2560 of 2560 pixels differ, by 6.0 of 255 levels in the mean, 0 of them by more than 64"


def test_a_block_that_is_missing_is_not_explained_although_the_mean_is_small() -> None:
    whole = picture(dict.fromkeys(range(60), (250, 250, 250)))
    difference = picture_compare.compare(picture(dict.fromkeys(range(60), (0, 0, 0))), whole, whole)
    assert difference.far == 60
    assert not difference.explained


def test_one_colour_is_seen() -> None:
    assert picture_compare.Picture(2, 2, b"\x08\x12\x26" * 4).one_colour == "#081226"
    assert picture().one_colour is None


def test_pictures_of_two_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="64x40, 2x2, 64x40"):
        picture_compare.compare(picture(), picture_compare.Picture(2, 2, bytes(12)), picture())
