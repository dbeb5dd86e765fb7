"""Actors for Uncalibrated Sextant: the digest that it draws as a QR code, and the drain that it writes to its
serial port at the end.

Both tell of the same events: the digest holds a rolling CRC32C for each kind of event, and the drain every event
itself.
"""

from __future__ import annotations

import re
import struct
import time
from typing import Any

import google_crc32c

from ...core.errors import LaneError
from ...protocols.ryll.errors import Refused
from .. import sextant_digest
from ..picture_compare import size
from .engine import Play, Unmet
from .pictures import drawn, shown, spoiled
from .plan import Actor, Option, Step
from .witnesses import tail, whole_lines

POLL = 0.05
NO_SURFACE = "no_such_surface"  #: ryll's refusal of a screenshot
#: What a picture taken in the middle of a refresh can look like, and the seconds in which one has to be whole.
MID_REFRESH, SETTLE = ("digest_crc_wrong", "digest_missing"), 2.0
#: Events by their name in the drain: tag, and how the value is packed after the time stamp (facts of Sextant's
#: digest, schema 2).
EVENTS: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "keypress": (0x01, "HH", ("unicode", "scancode")),
    "line": (0x02, "H", ("row",)),
    "transition": (0x03, "BB", ("from", "to")),
    "bootloader_decision": (0x04, "BI", ("choice", "attempt")),
    "paste": (0x05, "HB", ("len", "correct")),
    "bootloader_timeout": (0x06, "", ()),
    "mode_switch": (0x07, "HHHH", ("requested_w", "requested_h", "applied_w", "applied_h")),
    "mode_cycle": (0x08, "IB", ("count", "interrupted")),
}
NAMES = {tag: name for name, (tag, _, _) in EVENTS.items()}
#: The tag of a kind's rolling hash is this much above the kind's own.
HASH = 0x10
#: Words that the drain has for numbers, each at the place of its number.
LISTED = ("awaiting booting parked", "recover ignore anyway", "false true", "no yes")
WORDS = {word: number for words in LISTED for number, word in enumerate(words.split())}
HEXADECIMAL = ("unicode", "scancode")
DRAIN = re.compile(r"^(?:t=(\d+) )?type=(\w+)(.*)$")
#: Kinds of which one more event may come after the last picture: the key that ends the story, and the scene that it
#: leads to.
AFTER_LAST = ("keypress", "transition")


def fields(tag: int, value: bytes) -> dict[str, Any]:
    """An event of the digest by the names that the drain has for its parts."""
    name = NAMES.get(tag)
    if name is None or len(value) != struct.calcsize("<Q" + EVENTS[name][1]):
        return {"kind": f"unknown {tag:#x}"}
    stamp, *parts = struct.unpack("<Q" + EVENTS[name][1], value)
    return {"kind": name, "t": stamp, **dict(zip(EVENTS[name][2], parts, strict=True))}


def _hash(digest: Any, kind: str) -> int:
    return int(digest.hashes.get(EVENTS[kind][0] + HASH, 0))


def _problem(picture: Any, before: Any, options: dict[str, Any]) -> tuple[Any, tuple[str, str] | None]:
    """The digest of a picture, and the code and words of what is wrong with it."""
    try:
        found = sextant_digest.read(picture)
    except sextant_digest.BadDigest as error:
        return error.digest, (error.code, str(error))
    if before and found.frame < before.frame:
        return found, ("digest_of_the_past", f"the frame counter went from {before.frame} back to {found.frame}")
    still = [kind for kind in options["moved"] or [] if _hash(found, kind) == (_hash(before, kind) if before else 0)]
    changed = [kind for kind in options["same"] or [] if before and _hash(found, kind) != _hash(before, kind)]
    wanted = options["event"]
    if still:
        what = f"no new {still[0]}"
    elif changed:
        what = f"a new {changed[0]}"
    elif wanted is not None and not any(wanted.items() <= fields(*event).items() for event in found.events):
        last = f" but {fields(*found.events[-1])}" if found.events else ""
        what = f"no event {wanted}{last}"
    elif options["size"] not in (None, size(picture)):
        what = f"a picture of {size(picture)}"
    else:
        return found, None
    return found, ("digest_not_moved", f"the digest tells of {what} (frame {found.frame})")


def _look(play: Play, client: str, before: Any, options: dict[str, Any]) -> tuple[Any, Any, tuple[str, str] | None]:
    """What ryll shows, its digest and what is wrong with it. Between two sizes there may be no surface."""
    try:
        picture = shown(play, client)
    except Refused as error:
        if error.refusal != NO_SURFACE:
            raise
        return None, None, ("digest_missing", "ryll shows no picture at all")
    return picture, *_problem(picture, before, options)


def _problem_of_qemu(play: Play, before: Any, options: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with qemu's own picture. One taken in the middle of a refresh says nothing."""
    until = time.monotonic() + SETTLE
    with play.lane.qmp() as qmp:
        while problem := _problem(drawn(play, qmp), before, options)[1]:
            if problem[0] not in MID_REFRESH or time.monotonic() >= until:
                return problem
            time.sleep(POLL)
    return None


def digest(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """A picture whose digest fits its pixels, and tells what it has to; pictures taken in the middle of a refresh
    are passed over.

    When qemu's own picture is right and ryll's is not, the failure is ryll's. When qemu's has no digest that fits
    either, it is the guest's, whatever the step is about.
    """
    before = play.value(options["than"])["digest"] if options["than"] else None
    while True:
        picture, found, problem = _look(play, step.client, before, options)
        if problem is None:
            shown = f"frame {found.frame} of {size(picture)}, {len(found.events)} events"
            return {"digest": found, "picture": picture, "shown": shown}
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL)
    drawn_so = _problem_of_qemu(play, before, options)
    if drawn_so is None:
        words, log = f"{problem[1]}, but that of qemu's own picture is right", play.lane.log(step.client)

        def right(seen: Any) -> bool:
            return _problem(seen, before, options)[1] is None

        raise spoiled(play, step.client, problem[0], words, log, right)
    if drawn_so[0] in MID_REFRESH:
        code, words = drawn_so
        raise LaneError(code, "guest", f"{words}, and that is qemu's own picture", evidence=play.lane.place.serial_log)
    raise Unmet(*problem, play.lane.place.serial_log)


def settled(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """A digest whose hash of one kind of events has not changed for a while: what the guest had to do of that kind
    is done.
    """
    last, since = None, time.monotonic()
    while True:
        result = digest(play, step, dict.fromkeys(ACTORS["digest"].options), deadline)
        now = _hash(result["digest"], options["kind"])
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since >= options["seconds"]:
            return result
        if time.monotonic() >= deadline:
            problem = f"there are still new events {options['kind']} after {step.limit:g} s"
            raise Unmet("digest_not_moved", problem, play.lane.place.serial_log)


def _value(name: str, text: str) -> int:
    return WORDS[text] if text in WORDS else int(text, 16 if name in HEXADECIMAL else 10)


def packed(stamp: int, kind: str, values: dict[str, str]) -> bytes:
    """The bytes that the rolling hash of this kind runs over, for one line of the drain."""
    tag, form, names = EVENTS[kind]
    for side in ("requested", "applied"):
        if "x" in values.get(side, ""):
            values[f"{side}_w"], values[f"{side}_h"] = values[side].split("x")
    body = struct.pack("<Q" + form, stamp, *(_value(name, values[name]) for name in names))
    return bytes((tag, len(body))) + body


def hashes(events: list[bytes]) -> list[int]:
    """The rolling hash before the first event and after each one."""
    found = [0]
    for event in events:
        found.append(int(google_crc32c.extend(found[-1], event)))
    return found


def drain(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Every rolling hash of the last digest, computed anew from the drain.

    Every line of the drain has to be one that is understood.
    """
    path = play.lane.place.serial_log
    lines = [line for _, line in whole_lines(tail(path, 0)) if line.startswith(("t=", "type="))]
    events: dict[str, list[bytes]] = {kind: [] for kind in EVENTS}
    count, ended = 0, False
    for line in lines:
        found = DRAIN.match(line)
        values = dict(part.split("=", 1) for part in found[3].split()) if found else {}
        if found and found[2] == "refresh_stats":
            ended = True
            continue
        try:
            assert found is not None and not ended
            events[found[2]].append(packed(int(found[1]), found[2], values))
            count += 1
        except (AssertionError, KeyError, ValueError, struct.error):
            raise Unmet("drain_unreadable", f"the drain has a line that is none: {line[:120]!r}", path) from None
    if not ended:
        raise Unmet("drain_unreadable", f"the drain of {len(lines)} lines does not end with refresh_stats", path)
    last = play.value(options["equals"])["digest"]
    parts = []
    for kind, packets in events.items():
        rolling = hashes(packets)
        if _hash(last, kind) not in rolling[-2 if kind in AFTER_LAST else -1 :]:
            drained = f"the rolling hash of the {len(packets)} events {kind} in the drain is {rolling[-1]:#x}"
            raise Unmet("drain_differs", f"{drained}, but {_hash(last, kind):#x} in the last digest", path)
        parts += [f"{len(packets)} {kind}"] if packets else []
    if missing := [part for part in options["lines"] or [] if not any(part in line for line in lines)]:
        raise Unmet("drain_differs", f"the drain has no line with {missing[0]!r}", path)
    return f"{count} events: {', '.join(parts)}"


ACTORS: dict[str, Actor] = {
    "digest": Actor(
        {
            "than": Option("word", refers=("digest", "settled")),
            "moved": Option("texts"),
            "same": Option("texts"),
            "event": Option("mapping"),
            "size": Option("word"),
        },
        digest,
        "guest",
    ),
    "settled": Actor(
        {"kind": Option("word", required=True, choices=tuple(EVENTS)), "seconds": Option("number", 0.8)},
        settled,
        "guest",
    ),
    "drain": Actor(
        {"equals": Option("word", required=True, refers=("digest", "settled")), "lines": Option("texts")},
        drain,
        "guest",
    ),
}
