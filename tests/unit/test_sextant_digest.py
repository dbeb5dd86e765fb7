"""Uncalibrated Sextant's digest: read from its picture, and compared with the pixels and with what the guest drains."""

import struct
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import google_crc32c
import pytest
import zxingcpp
from ansible.module_utils.lane.checks import second_look, sextant_digest
from ansible.module_utils.lane.checks.suites import pictures, sextant
from ansible.module_utils.lane.protocols.ryll.errors import Refused
from PIL import Image
from suite_lane import PASSED, SOON, Lane, Monitor, entry_of, fake_lane, gives, outcome, says

lane = fake_lane


DRAIN = [
    "t=550 type=keypress unicode=000d scancode=0000",
    "t=550 type=transition from=awaiting to=booting",
    "t=600 type=mode_switch requested=640x480 applied=640x480",
    "t=750 type=line row=0",
    "t=900 type=bootloader_decision choice=ignore attempt=1",
    "t=950 type=paste len=23 correct=true",
    "t=990 type=keypress unicode=000d scancode=0000",
    "type=refresh_stats count=62 total_ms=7147 mean_us=115288 max_us=181174 p99_us=175960",
]
#: The rolling hashes of these lines without the last key, computed from the layout that facts and upstream describe.
VALUES = {
    0x11: struct.pack("<BBQHH", 1, 12, 550, 0x0D, 0),
    0x13: struct.pack("<BBQBB", 3, 10, 550, 0, 1),
    0x17: struct.pack("<BBQHHHH", 7, 16, 600, 640, 480, 640, 480),
    0x12: struct.pack("<BBQH", 2, 10, 750, 0),
    0x14: struct.pack("<BBQBI", 4, 13, 900, 1, 1),
    0x15: struct.pack("<BBQHB", 5, 11, 950, 23, 1),
}


def drained(lane: Lane, said: list[str], **options: Any) -> dict[str, Any]:
    """The detail of a check that compares these lines of the guest with a digest of DRAIN."""
    digest = SimpleNamespace(hashes={tag: google_crc32c.value(packet) for tag, packet in VALUES.items()})
    actors = {**gives("digest", {"digest": digest}), "say": says(lane, *said)}
    steps = ({"digest": {}, "register": "last"}, {"say": {}}, {"drain": {"equals": "last", **options}})
    return entry_of(lane, *steps, actors=actors)["detail"]


def between(line: str) -> list[str]:
    return [*DRAIN[:2], line, *DRAIN[2:]]


DRAINS: dict[str, tuple[list[str], str | None]] = {
    "equal": (DRAIN, None),
    "another value": ([line.replace("row=0", "row=1") for line in DRAIN], "drain_differs"),
    "another time": ([line.replace("t=750", "t=751") for line in DRAIN], "drain_differs"),
    "one more at the beginning": ([DRAIN[0], *DRAIN], "drain_differs"),
    "one more at the end": ([*DRAIN[:-1], "t=995 type=line row=1", DRAIN[-1]], "drain_differs"),
    "one less": (DRAIN[:3] + DRAIN[4:], "drain_differs"),
    "no end": (DRAIN[:-1], "drain_unreadable"),
    "more after its end": ([*DRAIN, DRAIN[0]], "drain_unreadable"),
    "an unknown type": (between("t=5 type=song row=1"), "drain_unreadable"),
    "a value missing": (between("t=5 type=line"), "drain_unreadable"),
    "two values": (between("t=5 type=line row=1=2"), "drain_unreadable"),
}


@pytest.mark.parametrize(("lines", "code"), DRAINS.values(), ids=DRAINS)
def test_the_drain_has_to_be_the_story_that_the_digest_tells(lane, lines, code):
    detail = drained(lane, lines)
    assert detail.get("code") == code, detail
    summary = "drain: 7 events: 2 keypress, 1 line, 1 transition, 1 bootloader_decision, 1 paste, 1 mode_switch"
    assert code or detail["witnesses"][-1] == summary


@pytest.mark.parametrize(
    ("wanted", "code"), [(["type=paste len=23"], None), (["type=paste", "type=song"], "drain_differs")]
)
def test_lines_that_the_drain_has_to_have(lane, wanted, code):
    assert drained(lane, DRAIN, lines=wanted).get("code") == code


@pytest.mark.parametrize(
    ("kind", "values", "packet"),
    [
        ("keypress", {"unicode": "0041", "scancode": "001e"}, struct.pack("<BBQHH", 1, 12, 9, 0x41, 0x1E)),
        ("transition", {"from": "parked", "to": "awaiting"}, struct.pack("<BBQBB", 3, 10, 9, 2, 0)),
        ("bootloader_decision", {"choice": "recover", "attempt": "2"}, struct.pack("<BBQBI", 4, 13, 9, 0, 2)),
        ("bootloader_decision", {"choice": "anyway", "attempt": "2"}, struct.pack("<BBQBI", 4, 13, 9, 2, 2)),
        ("paste", {"len": "3", "correct": "false"}, struct.pack("<BBQHB", 5, 11, 9, 3, 0)),
        ("bootloader_timeout", {}, struct.pack("<BBQ", 6, 8, 9)),
        ("mode_cycle", {"count": "3", "interrupted": "yes"}, struct.pack("<BBQIB", 8, 13, 9, 3, 1)),
        ("mode_cycle", {"count": "3", "interrupted": "no"}, struct.pack("<BBQIB", 8, 13, 9, 3, 0)),
    ],
)
def test_a_line_of_the_drain_is_packed_as_the_guest_hashes_it(kind, values, packet):
    assert sextant.packed(9, kind, values) == packet


def test_an_event_of_the_digest_has_the_names_of_the_drain():
    sizes = {"requested_w": 640, "requested_h": 480, "applied_w": 640, "applied_h": 480}
    assert sextant.fields(7, VALUES[0x17][2:]) == {"kind": "mode_switch", "t": 600, **sizes}
    assert sextant.fields(9, b"") == {"kind": "unknown 0x9"}


def digest(hashes: int = 8, events: bytes = b"", schema: int = 2, more: bytes = b"", frame: int = 7) -> bytes:
    records = b"".join(struct.pack("<BBI", 0x11 + number, 4, number) for number in range(hashes))
    count = hashes + events.count(b"\x02\x0a")
    return b"SXDG" + struct.pack("<BIB", schema, frame, count) + records + events + more + struct.pack("<I", 99)


def raw(record: bytes) -> bytes:
    """A digest of one record."""
    return b"SXDG" + struct.pack("<BIB", 2, 7, 1) + record + bytes(4)


def screen(width: int, height: int, corner: tuple[int, int], data: bytes) -> Image.Image:
    """A picture with this digest in the region with that upper left corner."""
    made = zxingcpp.create_barcode(data, zxingcpp.BarcodeFormat.QRCode, options="ecLevel=L,version=5")
    code = zxingcpp.write_barcode_to_image(made, scale=4, add_quiet_zones=False)
    x, y = corner
    picture = Image.new("RGB", (width, height), (90, 120, 200))
    picture.paste((255, 255, 255), (x, y, x + 180, y + 180))
    picture.paste(Image.frombytes("L", code.shape, bytes(memoryview(code))).convert("RGB"), (x + 16, y + 16))
    return picture


@pytest.mark.parametrize(
    ("size", "corner", "there"),
    [
        ((640, 480), (460, 300), True),
        ((640, 480), (440, 280), True),
        ((200, 190), (10, 5), True),
        ((800, 600), (400, 200), False),
    ],
)
def test_a_digest_is_read_from_the_lower_right_of_the_screen(size, corner, there):
    found = sextant_digest.decode(screen(*size, corner, digest()))
    assert (found and (found.frame, found.corner)) == ((7, corner) if there else None)
    assert sextant_digest.decode(Image.new("RGB", size)) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (digest(events=VALUES[0x12]), None),
        (b"https://example.org", "not a digest"),
        (digest(schema=3), "schema is 3"),
        (digest(hashes=7), "7 hashes"),
        (digest(more=b"\0"), "1 bytes too many"),
        (digest()[:-10] + digest()[-4:], "cut off"),
        (raw(b"\x12\x02\0\0"), "hash 0x12 has 2 bytes"),
        (raw(b"\x02\xc8\0\0"), "cut off"),
        (raw(b""), "cut off"),
        (b"SXDG", "4 bytes are not a digest"),
        (b"SXDG\2" + bytes(9), "0 hashes"),
    ],
)
def test_a_digest_is_parsed_whole_or_not_at_all(data, problem):
    if problem is None:
        found = sextant_digest.parse(data, (1, 2))
        assert (found.frame, found.crc, found.corner, found.hashes[0x12]) == (7, 99, (1, 2), 1)
        assert sextant.fields(*found.events[0])["row"] == 0
    else:
        with pytest.raises(sextant_digest.BadDigest, match=problem):
            sextant_digest.parse(data, (0, 0))


def test_the_pixels_crc_leaves_the_digest_out():
    pixels = bytes(range(250)) * (3 * 200 * 190 // 250)
    inside, outside = bytearray(pixels), bytearray(pixels)
    inside[3 * (5 * 200 + 10)] ^= 1
    outside[3 * (4 * 200 + 10)] ^= 1
    plain = b"".join(
        bytes((pixels[3 * at + 2], pixels[3 * at + 1], pixels[3 * at], 0))
        for at in range(200 * 190)
        if not (10 <= at % 200 < 190 and 5 <= at // 200 < 185)
    )
    pictures = [Image.frombytes("RGB", (200, 190), bytes(each)) for each in (pixels, inside, outside)]
    equal = [sextant_digest.crc(picture, (10, 5)) == google_crc32c.value(plain) for picture in pictures]
    assert equal == [True, True, False]


EVENT = (2, struct.pack("<QH", 7, 3))


def digest_at(frame: int, **hashes: int) -> Any:
    """A digest with these rolling hashes, by kind, and an event of its first one."""
    tags = {sextant.EVENTS[kind][0] + 0x10: value for kind, value in hashes.items()}
    return SimpleNamespace(frame=frame, hashes=tags, crc=frame, corner=(0, 0), events=[EVENT])


Screens = dict[str, list[Any]]


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch, lane: Lane) -> Screens:
    """What ryll shows and qemu draws, in turn: digests, BadDigest or None; the pixels of a frame below 0 are wrong."""
    turns: Screens = {"shown": [], "drawn": [], "direct": []}

    def take(name: str) -> Any:
        shows = turns[name].pop(0) if len(turns[name]) > 1 else turns[name][0]
        return SimpleNamespace(size=(8, 4), width=8, height=4, shows=shows, save=lambda *_, **__: None)

    def decode(picture: Any) -> Any:
        if isinstance(picture.shows, Exception):
            raise picture.shows
        return picture.shows

    lane.monitor = Monitor(None)
    monkeypatch.setattr(sextant, "SETTLE", 0.5)
    monkeypatch.setattr(sextant, "shown", lambda *_: take("shown"))
    monkeypatch.setattr(sextant, "drawn", lambda *_: take("drawn"))
    monkeypatch.setattr(pictures, "shown_by", lambda client: take("direct"))
    monkeypatch.setattr(sextant_digest, "decode", decode)
    monkeypatch.setattr(sextant_digest, "crc", lambda picture, corner: abs(picture.shows.frame))
    return turns


FIRST = digest_at(5, line=1, paste=2)
NOTHING = SimpleNamespace(**{**vars(FIRST), "events": []})
DIGESTS: dict[str, tuple[list[Any], dict[str, Any], str | None]] = {
    "as it was": ([FIRST], {}, None),
    "of a later frame": ([digest_at(6, line=1, paste=2)], {"same": ["line", "paste"]}, None),
    "of an earlier frame": ([digest_at(4, line=1, paste=2)], {}, "digest_of_the_past"),
    "moved": ([digest_at(6, line=9, paste=2)], {"moved": ["line"], "same": ["paste"]}, None),
    "moved in the end": ([FIRST, digest_at(6, line=9)], {"moved": ["line"]}, None),
    "not moved": ([FIRST], {"moved": ["line"]}, "digest_not_moved"),
    "moved where it must not": ([digest_at(6, line=1, paste=3)], {"same": ["paste"]}, "digest_not_moved"),
    "with the event": ([FIRST], {"event": {"kind": "line", "row": 3}}, None),
    "with all of the event": ([FIRST], {"event": {"kind": "line", "t": 7, "row": 3}}, None),
    "without the event": ([FIRST], {"event": {"kind": "line", "row": 4}}, "digest_not_moved"),
    "without any event": ([NOTHING], {"event": {"kind": "line", "row": 4}}, "digest_not_moved"),
    "of the size": ([FIRST], {"size": "8x4"}, None),
    "of another size": ([FIRST], {"size": "4x8"}, "digest_not_moved"),
    "none": ([None], {}, "digest_missing"),
    "cut": ([sextant_digest.BadDigest("cut")], {}, "digest_missing"),
    "of other pixels": ([digest_at(-6, line=1, paste=2)], {}, "digest_crc_wrong"),
}


@pytest.mark.parametrize(("after", "options", "code"), DIGESTS.values(), ids=DIGESTS)
def test_a_digest_tells_of_what_has_to_have_happened(lane, screens, after, options, code):
    screens["shown"], screens["drawn"] = [FIRST, *after], [after[-1]]
    step = {"digest": {"than": "first", **options}, **(SOON if code else {"within": 5})}
    assert outcome(lane, {"digest": {}, "register": "first"}, step) == (code, code and "guest")


def test_without_an_earlier_digest_any_event_is_new(lane, screens):
    screens["shown"] = screens["drawn"] = [digest_at(5, line=1)]
    assert outcome(lane, {"digest": {"moved": ["line"], "same": ["paste"]}, **SOON}) == PASSED
    assert outcome(lane, {"digest": {"moved": ["paste"]}, **SOON})[0] == "digest_not_moved"


@pytest.mark.parametrize(
    ("direct", "component"), [(digest_at(6), "proxy"), (digest_at(-6), "ryll")], ids=["right", "wrong"]
)
def test_a_digest_that_is_right_without_the_proxy_is_the_proxys_fault(lane, screens, monkeypatch, direct, component):
    monkeypatch.setattr(second_look, "direct", lambda *_: nullcontext())
    monkeypatch.setattr(second_look, "SETTLE", 0.1)
    screens["shown"], screens["drawn"], screens["direct"] = [digest_at(-6)], [digest_at(6)], [direct]
    assert outcome(lane, {"digest": {}, **SOON}) == ("digest_crc_wrong", component)


@pytest.mark.parametrize(("draws", "component"), [(None, "guest"), (digest_at(-6), "guest"), (FIRST, "proxy")])
def test_a_guest_that_draws_no_sound_digest_is_at_fault_whatever_was_asked(lane, screens, draws, component):
    screens["shown"], screens["drawn"] = [FIRST, draws], [draws]
    step = {"digest": {"than": "first", "moved": ["line"]}, "blame": "proxy", **SOON}
    assert outcome(lane, {"digest": {}, "register": "first"}, step)[1] == component


def test_a_picture_of_qemu_in_the_middle_of_a_refresh_says_nothing(lane, screens):
    screens["shown"], screens["drawn"] = [digest_at(-6)], [digest_at(-6), sextant_digest.BadDigest("cut"), digest_at(7)]
    assert outcome(lane, {"digest": {}, **SOON}) == ("digest_crc_wrong", "ryll")
    screens["drawn"] = [digest_at(7), digest_at(8, line=1)]  # a whole one that tells of nothing new is the guest's
    assert outcome(lane, {"digest": {"moved": ["line"]}, **SOON}) == ("digest_crc_wrong", "guest")


def test_between_two_sizes_ryll_has_no_surface(lane, screens, monkeypatch):
    refusals: list[Refused] = []
    take = sextant.shown

    def shown(*_: Any) -> Any:
        if refusals:
            raise refusals.pop(0)
        return take()

    monkeypatch.setattr(sextant, "shown", shown)
    screens["shown"] = screens["drawn"] = [digest_at(6)]
    none, broken = (Refused("screenshot", code, "no") for code in ("no_such_surface", "internal_error"))
    for some, within, failure in (
        ([none] * 2, 5, PASSED),
        ([none] * 99, 0.01, ("digest_missing", "ryll")),
        ([broken], 5, ("ryll_refused", "ryll")),
    ):
        refusals[:] = some
        assert outcome(lane, {"digest": {}, "within": within}) == failure


def test_a_kind_of_events_settles(lane, screens):
    screens["shown"] = [digest_at(1, line=1), digest_at(2, line=2), digest_at(3, line=2), digest_at(4, line=2, paste=1)]
    entry = entry_of(lane, {"settled": {"kind": "line", "seconds": 0.1}, "within": 10})
    assert entry["result"] == "pass" and entry["seconds"] >= 0.1
    assert "frame 4 of 8x4, 1 events" in entry["detail"]["witnesses"][0]
    for seconds in (0.05, 5):
        screens["shown"] = [digest_at(number, line=number) for number in range(1, 20_000)]
        failure = outcome(lane, {"settled": {"kind": "line", "seconds": seconds}, "within": 0.1})
        assert failure == ("digest_not_moved", "guest")
