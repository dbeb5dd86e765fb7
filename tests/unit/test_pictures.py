"""Pictures, and the check `frames` against a qemu and a ryll of the tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.checks import outside_checks, picture_compare, shot
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.programs import records
from ansible.module_utils.lane.protocols.ryll.client import Client
from ansible.module_utils.lane.protocols.ryll.errors import Malformed
from ansible.module_utils.lane.protocols.ryll.pictures import FAR, Region, compare, one_colour, read, to_png
from control_peer import Connection, Peer, Ryll, monitor, png, rgba
from lanes import TestLane
from PIL import Image
from prepared import fails


def noise(x: int, y: int) -> tuple[int, int, int]:
    return (x * 7 + y * 13) % 190, (x * y) % 190, (x * 31 + y * y) % 190


def drawn(width: int = 100, height: int = 100) -> Image.Image:
    return read("rgba", rgba(width, height, noise), width, height)


def changed(picture: Image.Image, pixels: int, levels: int = 0, channels: int = 3) -> Image.Image:
    """The same picture whose first pixels are off by so many levels in so many channels."""
    other = picture.copy()
    for number in range(pixels):
        at = (number % picture.width, number // picture.width)
        colour = picture.getpixel(at)
        assert isinstance(colour, tuple)
        other.putpixel(at, tuple(level + (levels if channel < channels else 0) for channel, level in enumerate(colour)))
    return other


def test_a_png_and_an_rgba_of_one_picture_are_equal():
    found = read("png", png(17, 9, noise), 17, 9)
    assert found.tobytes() == b"".join(bytes(noise(x, y)) for y in range(9) for x in range(17))
    assert compare(found, read("rgba", rgba(17, 9, noise), 17, 9)).accepted(False)
    assert read("png", to_png(found), 17, 9) == found


GOOD = png(8, 4, noise)
BAD: dict[str, tuple[str, bytes]] = {
    "nothing": ("png", b""),
    "no PNG": ("png", b"GIF89a" + bytes(50)),
    "another size": ("png", png(4, 8, noise)),
    "cut in the pixels": ("png", GOOD[:70]),
    "cut before the end chunk": ("png", GOOD[:-12]),
    "a wrong checksum": ("png", GOOD[:-20] + bytes([GOOD[-20] ^ 1]) + GOOD[-19:]),
    "rgba that is too short": ("rgba", bytes(127)),
    "rgba that is too long": ("rgba", bytes(129)),
}


@pytest.mark.parametrize(("kind", "data"), BAD.values(), ids=BAD)
def test_what_is_not_a_whole_picture_is_malformed(kind, data):
    with pytest.raises(Malformed):
        read(kind, data, 8, 4)


@pytest.mark.parametrize("spot", [(0, 0), (7, 3)])
@pytest.mark.parametrize("colour", [(0, 2, 255), (1, 1, 255), (1, 2, 254)])
def test_one_pixel_in_one_channel_makes_two_colours_and_a_difference(spot, colour):
    plain = Image.new("RGB", (8, 4), (1, 2, 255))
    other = plain.copy()
    other.putpixel(spot, colour)
    assert (one_colour(plain), one_colour(other)) == ("#0102ff", None)
    difference = compare(other, plain)
    assert (difference.compared, difference.differing, difference.far) == (32, 1, 0)
    assert not difference.accepted(False)
    assert difference.picture.getpixel(spot) == 255
    assert compare(other, plain, [Region(*spot, 1, 1)]).accepted(False)
    assert compare(plain, plain).accepted(False)


def test_a_mask_covers_exactly_its_region():
    painted = drawn()
    painted.paste((255, 255, 255), (60, 40, 75, 48))
    found = [compare(painted, drawn(), [Region(60, 40, width, 8)]).differing for width in (14, 15)]
    assert (compare(painted, drawn()).differing, found) == (15 * 8, [8, 0])


@pytest.mark.parametrize(
    ("pixels", "levels", "channels", "far", "explained"),
    [
        (10_000, 4, 3, 0, True),  # a mean of exactly LOSSY_MEAN
        (10_000, 5, 3, 0, False),
        (50, FAR + 1, 1, 50, True),  # exactly 0.5 % are far off
        (51, FAR + 1, 1, 51, False),
        (51, FAR, 3, 0, True),  # FAR itself is not far
    ],
)
def test_what_a_lossy_compression_explains(pixels, levels, channels, far, explained):
    difference = compare(changed(drawn(), pixels, levels, channels), drawn())
    assert (difference.differing, difference.far, difference.lossy) == (pixels, far, explained)
    assert difference.mean == pytest.approx(pixels * levels * channels / 30_000)
    assert difference.accepted(True) is explained
    assert not difference.accepted(False)


def test_what_moves_between_two_pictures_is_not_compared():
    before, after = drawn(), changed(drawn(), 250, 3)
    difference = compare(changed(drawn(), 251, 30), after, still=(before, after))
    assert (difference.compared, difference.differing) == (9750, 1)
    assert difference.mean == pytest.approx(30 / 9750)


def test_too_little_that_stands_still_and_several_sizes_say_nothing():
    whole, small = drawn(), drawn(50, 100)
    enough, little = (changed(whole, moving, 9) for moving in (9500, 9501))
    assert picture_compare.same_moment(whole, whole, enough) is not None
    for pictures in ((whole, whole, little), (small, whole, whole), (whole, small, whole), (whole, whole, small)):
        assert picture_compare.same_moment(*pictures) is None


def ppm(picture: Image.Image) -> bytes:
    return b"P6\n%d %d\n255\n" % picture.size + picture.tobytes()


@pytest.mark.parametrize("data", [b"", b"P5\n8 4\n255\n" + bytes(32), b"P6\n8 4\n255\n" + bytes(95), b"\x89PNG"])
def test_what_is_no_ppm_is_qemus_fault(data):
    with fails("qemu_bad_screendump", "qemu"):
        picture_compare.read_screendump(data)
    assert picture_compare.read_screendump(ppm(drawn())).tobytes() == drawn().tobytes()


class Qemu:
    """qemu's monitor, as a handler for Peer."""

    def __init__(self, *dumps: Image.Image | None) -> None:
        self.status = "running"
        self.channels: list[dict[str, int]] = [{"channel-type": 1}, {"channel-type": 2}]
        self.dumps = list(dumps)

    def __call__(self, connection: Connection) -> None:
        monitor(self.answer)(connection)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["execute"] == "screendump":
            dump = self.dumps.pop(0) if len(self.dumps) > 1 else self.dumps[0]
            if dump is None:
                return {"error": {"class": "GenericError", "desc": "no console"}}
            if dump.width:
                Path(request["arguments"]["filename"]).write_bytes(ppm(dump))
        return {"return": {"status": self.status, "channels": self.channels}}


@contextmanager
def scene(lane: TestLane, qemu: Qemu, ryll: Ryll, **more: Any) -> Iterator[outside_checks.Context]:
    with Peer(qemu) as machine, Peer(ryll) as control:
        lane.link(qmp=machine.path, ryll=control.path)
        yield outside_checks.Context(lane.dir, lane.run, "", 1, 1, 2, 3, **{"wait": False, **more})


def showing(picture: Image.Image) -> Ryll:
    ryll = Ryll()
    ryll.size = picture.size
    ryll.pixels = lambda x, y: picture.getpixel((x, y))
    return ryll


def kept(lane: TestLane) -> list[str]:
    return sorted(path.name for path in Path(lane.dir).glob("*.png"))


def test_equal_frames_pass_and_are_kept(lane):
    Path(lane.dir, "difference.png").write_bytes(b"of an earlier check")
    with scene(lane, Qemu(drawn()), showing(drawn())) as context:
        equal = {"compared": 10_000, "differing": 0, "mean": 0.0}
        assert outside_checks.frames(context) == {"status": "running", "size": "100x100", **equal}
    assert kept(lane) == context.files == ["screenshot.png"]


def test_a_ryll_that_is_late_has_some_time(lane):
    with scene(lane, Qemu(*[changed(drawn(), 9, 9)] * 2, drawn()), showing(drawn()), wait=True) as context:
        assert outside_checks.frames(context)["differing"] == 0
    with scene(lane, Qemu(drawn(50, 50), drawn()), showing(drawn())) as context:  # the size changed: taken again
        assert outside_checks.frames(context)["size"] == "100x100"


def test_a_guest_that_is_late_has_some_time(lane):
    qemu, ryll = Qemu(BLACK, BLACK, drawn()), showing(drawn())
    ryll.pixels = lambda x, y: noise(x, y) if len(qemu.dumps) == 1 else (0, 0, 0)
    with scene(lane, qemu, ryll, wait=True) as context:
        assert outside_checks.frames(context)["differing"] == 0


@pytest.mark.parametrize("equal", [True, False])
def test_a_second_client_shows_the_truth_when_its_picture_is_qemus(lane, equal):
    qemu = Qemu(changed(drawn(), int(not equal), 9))
    with scene(lane, qemu, showing(drawn())) as context, Client(context.control_socket) as client:
        client.open("second", time.monotonic() + 30)
        assert outside_checks.shows_the_truth(context, client) is equal


@pytest.mark.parametrize("script", ["exec sleep 60", "exit 0", None])
def test_a_shot_is_of_a_ryll_that_runs_or_else_of_qemu(lane, script):
    file = Path(lane.dir, "shot.png")
    if script:
        lane.start(lane.program("ryll", script, oneshot=script == "exit 0"))
        while script == "exit 0" and records.record(lane.dir, "ryll").running(lane.run):
            time.sleep(0.01)
    with Peer(Qemu(drawn(50, 50))) as machine, Peer(showing(drawn())) as control:
        Path(lane.dir, "qmp.sock").symlink_to(machine.path)
        Path(lane.dir, "ryll.sock").symlink_to(control.path)
        line = shot.take(lane.dir, file)
    side, whose = 50, "by qemu itself (ryll is not running)"
    if script == "exec sleep 60":
        side, whose = 100, "by ryll, through kerbside"
    assert line == f"{side}x{side}, {whose}" and file.stat().st_mode & 0o7777 == 0o644
    assert read("png", file.read_bytes(), side, side).tobytes() == drawn(side, side).tobytes()


BLACK, NOTHING = Image.new("RGB", (100, 100)), Image.new("RGB", (0, 0))
OTHER, NEXT = changed(drawn(), 1, 1), changed(drawn(), 10_000, 1)
NO_DISPLAY = {"channels": [{"channel-type": 1}]}
SIZES = "their sizes are 50x50, 100x100, 50x50"
# what qemu draws, what ryll shows, what else qemu says, and the code, component and words of the failure
WRONG: dict[str, tuple[list[Image.Image | None], Image.Image, dict[str, Any], str, str, str]] = {
    "one pixel": ([drawn()], OTHER, {}, "picture_differs", "ryll", "1 of 10000 pixels differ"),
    "no display channel": ([drawn()], BLACK, NO_DISPLAY, "picture_differs", "proxy", "pixels differ"),
    "an empty guest": ([BLACK], drawn(), {}, "picture_differs", "guest", "pixels differ"),
    "both empty": ([BLACK], BLACK, {}, "guest_one_colour", "guest", "both show nothing but #000000"),
    "a paused guest": ([drawn()], drawn(), {"status": "paused"}, "guest_not_running", "guest", "QMP says paused"),
    "a broken machine": ([drawn()], drawn(), {"status": "internal-error"}, "guest_not_running", "qemu", "internal"),
    "a full disk": ([drawn()], drawn(), {"status": "io-error"}, "guest_not_running", "qemu", "io-error"),
    "no console": ([None], drawn(), {}, "qemu_no_picture", "qemu", "qemu refused the screendump: no console"),
    "no screendump": ([NOTHING], drawn(), {}, "qemu_no_picture", "qemu", "qemu wrote no screendump"),
    "late, when nobody waits": ([OTHER, OTHER, drawn()], drawn(), {}, "picture_differs", "ryll", "1 of 10000"),
    "nothing stands still": ([drawn(), NEXT] * 4, drawn(), {}, "picture_unstable", "ryll", "too little of the picture"),
    "another size": ([drawn(50, 50)], drawn(), {}, "picture_unstable", "ryll", SIZES),
}


@pytest.mark.parametrize(("dumps", "shown", "more", "code", "component", "words"), WRONG.values(), ids=WRONG)
def test_wrong_frames(lane, dumps, shown, more, code, component, words):
    qemu = Qemu(*dumps)
    vars(qemu).update(more)
    with scene(lane, qemu, showing(shown)) as context, fails(code, component, words):
        outside_checks.frames(context)
    pictures = {
        "picture_differs": ["difference.png", "screendump.png", "screenshot.png"],
        "guest_one_colour": ["screenshot.png"],
    }
    assert kept(lane) == pictures.get(code, [])
    assert not list(Path(lane.dir, "tmp").glob("*.ppm"))


def test_a_lossy_compression_has_to_be_asked_for(lane):
    shown = changed(drawn(), 5000, 4)
    with scene(lane, Qemu(drawn()), showing(shown), lossy=True) as context:
        assert outside_checks.frames(context)["differing"] == 5000
    words = r"5000 of 10000 pixels differ, by 2\.0 of 255 levels on average"
    with scene(lane, Qemu(drawn()), showing(shown)) as context, pytest.raises(LaneError, match=words):
        outside_checks.frames(context)
    assert context.files == ["screenshot.png", "screendump.png", "difference.png"]
