"""What the relay of the faults does to SPICE's messages, and to which."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from spice_relay import IMAGES, Relay, change

DISPLAY, INPUTS, MAIN = 2, 3, 1
KEY = (True, INPUTS, 101, b"\x02\0\0\0")


def draw(kind: str, clips: int = 0) -> tuple[bool, int, int, bytes]:
    """A copied picture, packed like this, behind a clip of so many rectangles (0: none)."""
    clip = b"\0" if not clips else struct.pack("<BI", 1, clips) + bytes(16 * clips)
    head = bytes(20) + clip
    return False, DISPLAY, 304, head + struct.pack("<I", len(head) + 4) + struct.pack("<QB", 7, IMAGES[kind]) + bytes(9)


@pytest.mark.parametrize("clips", [0, 1, 3])
def test_only_images_of_the_named_kind_are_spoiled(clips: int) -> None:
    wrong = change({"channel": "display", "to": "client", "images": ["quic", "lz"], "flip": 1})
    for kind in IMAGES:
        message = draw(kind, clips)
        assert (wrong(*message) != [message[3]]) == (kind in ("quic", "lz"))
    assert wrong(False, DISPLAY, 314, bytes(40)) == [bytes(40)]


def test_only_surfaces_of_the_named_size_are_lost() -> None:
    wrong = change({"channel": "display", "to": "client", "types": [314], "size": [1280, 720], "drop": True})
    for size, left in (((1280, 720), 0), ((720, 1280), 1)):
        assert len(wrong(False, DISPLAY, 314, struct.pack("<III", 0, *size))) == left


def test_a_session_is_left_alone_until_so_many_keys_were_pressed_in_it() -> None:
    wrong = change({"channel": "display", "to": "client", "drop": True, "typed": 2})
    kept: list[Any] = []
    for message in (KEY, draw("lz"), KEY, draw("lz"), (False, MAIN, 103, bytes(4)), draw("lz")):
        kept.append(len(wrong(*message)))
    assert kept == [1, 1, 1, 0, 1, 1]


def test_a_port_is_free_as_soon_as_its_relay_is_closed() -> None:
    first = Relay(1, change({"channel": "main", "to": "client", "drop": True}))
    socket.create_connection(("127.0.0.1", first.port)).close()  # a thread accepts by now
    first.close()
    Relay(1, change({"channel": "main", "to": "client", "drop": True}), first.port).close()
