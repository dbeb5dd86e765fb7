"""Boots the built-in guest under qemu (TCG) and talks to it: QMP on one side, the agent's protocol on the other.

For the agent's protocol the port's other end is a plain socket here instead of a SPICE server, so that a test can send
what no client would. Layouts: spice-protocol's vd_agent.h; docs/guests.md has the numbers used here.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.proc_stat import processor_seconds
from pocket_machine import GUEST, Machine

pytestmark = pytest.mark.slow

DEVICE = "-device virtio-serial-pci"
CHARDEV = "-chardev spicevmc,id=vdagent,name=vdagent"
PORT = "-device virtserialport,chardev=vdagent,name=com.redhat.spice.0"
SCREEN = "-vga std"


BRIDGE = "-device pcie-root-port,id=bridge -device virtio-serial-pci,bus=bridge,disable-legacy=off"
OTHER = "-chardev null,id=other -device virtserialport,chardev=other,name=other"
NO_DEVICE = "agent: no virtio-serial device, so no agent"
NO_PORT = "agent: the virtio-serial device has no port com.redhat.spice.0, so no agent"
MODERN = "agent: FAILED, the virtio-serial device has no legacy interface; give it disable-legacy=off"
SECOND = "agent: FAILED, com.redhat.spice.0 is port 2, expected port 1; put it first"
NO_SCREEN = ["screen: FAILED, NoGraphics", "pocket-sextant 1.0: not ready, there is no screen"]
READY, SHOWN, OPEN = GUEST["banner"], "screen: 1280x800", "agent: port open"
BOOTS: dict[str, tuple[str, list[str]]] = {
    "no device": (SCREEN, [SHOWN, NO_DEVICE, READY]),
    "a modern device": (f"{SCREEN} {DEVICE},disable-legacy=on {CHARDEV} {PORT}", [SHOWN, MODERN, READY]),
    "a second port": (f"{SCREEN} {DEVICE} {OTHER} {CHARDEV} {PORT}", [SHOWN, SECOND, READY]),
    "behind a bridge": (f"{SCREEN} {BRIDGE} {CHARDEV} {PORT}", [SHOWN, OPEN, READY]),
    "no port and no screen": (f"-vga none {DEVICE}", [NO_SCREEN[0], NO_PORT, NO_SCREEN[1]]),
}


@pytest.mark.parametrize(("options", "account"), BOOTS.values(), ids=BOOTS)
def test_what_is_missing_is_said_on_the_serial_port(tmp_path: Path, options: str, account: list[str]) -> None:
    with contextlib.closing(Machine(tmp_path, options)) as machine:
        assert machine.account() == account
        if "spicevmc" in options:
            assert machine.port_open() == (OPEN in account)


CLIENT, SERVER = 1, 2
MONITORS_CONFIG, REPLY, CLIPBOARD, ANNOUNCE, GRAB, REQUEST, DISCONNECTED = 2, 3, 4, 6, 7, 8, 13
RYLL = 0x67  # the capabilities that ryll 0.3.0 announces
SELECTION = bytes(4)
TEXT = struct.pack("<I", 1)


class Client:
    """The host's end of the agent's port."""

    def __init__(self, machine: Machine, path: Path) -> None:
        self.machine = machine
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.chunk_sizes: list[int] = []

    @staticmethod
    def message(kind: int, body: bytes, protocol: int = 1) -> bytes:
        return struct.pack("<IIQI", protocol, kind, 0, len(body)) + body

    @staticmethod
    def chunks(data: bytes, port: int = CLIENT, size: int = 2048) -> Iterator[bytes]:
        for at in range(0, len(data), size):
            part = data[at : at + size]
            yield struct.pack("<II", port, len(part)) + part

    def send(self, kind: int, body: bytes = b"", **options: int) -> None:
        self.socket.sendall(b"".join(self.chunks(self.message(kind, body), **options)))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.socket.recv(count - len(data)) or pytest.fail("the port's socket was closed")
        return data

    def receive(self) -> tuple[int, bytes]:
        """Type and body of the next message."""
        data, self.chunk_sizes = b"", []
        while len(data) < 20 or len(data) < 20 + struct.unpack_from("<I", data, 16)[0]:
            port, size = struct.unpack("<II", self._exactly(8))
            assert port == CLIENT
            self.chunk_sizes.append(size)
            data += self._exactly(size)
        protocol, kind, unused, size = struct.unpack_from("<IIQI", data)
        assert (protocol, unused, len(data)) == (1, 0, 20 + size)
        return kind, data[20:]

    def announce(self, capabilities: int = RYLL) -> tuple[int, bytes]:
        self.send(ANNOUNCE, struct.pack("<II", 1, capabilities))
        return self.receive()

    def paste(self, text: bytes) -> bytes:
        """Offer a text, give it when asked, and return what the guest offers in turn."""
        self.send(GRAB, SELECTION + TEXT)
        assert self.receive() == (REQUEST, SELECTION + TEXT)
        self.send(CLIPBOARD, SELECTION + TEXT + text)
        assert self.receive() == (GRAB, SELECTION + TEXT)
        self.send(REQUEST, SELECTION + TEXT)
        kind, body = self.receive()
        assert (kind, body[:8]) == (CLIPBOARD, SELECTION + TEXT)
        return body[8:]

    def resize(self, width: int, height: int) -> tuple[int, bytes]:
        self.send(MONITORS_CONFIG, struct.pack("<IIIIIii", 1, 0, height, width, 32, 0, 0))
        return self.receive()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One machine for the tests below; each leaves it with its port open, 1280x800, night, watch stopped, no text."""
    folder = tmp_path_factory.mktemp("pocket")
    agent = f"-chardev socket,id=vdagent,path={folder}/agent,server=on,wait=off"
    with contextlib.closing(Machine(folder, f"{SCREEN} {DEVICE} {agent} {PORT}")) as one:
        assert one.account() == [SHOWN, OPEN, READY]
        yield one


@pytest.fixture
def client(shared: Machine) -> Iterator[Client]:
    """A fresh stream: the guest closes and opens its port once a client is there, and forgets what was half sent."""
    made = Client(shared, shared.folder / "agent")
    before = len(shared.serial())
    shared.press("f2", "f3")
    shared.said("agent: port open", before)
    yield made
    made.socket.close()


def test_capabilities_are_answered_not_volunteered(client: Client) -> None:
    kind, body = client.announce()
    assert (kind, struct.unpack("<II", body)) == (ANNOUNCE, (0, 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 8))
    client.send(ANNOUNCE, struct.pack("<II", 0, RYLL))
    assert client.paste("Ägypten, grüß 12 ß!".encode()) == "ÄGYPTEN, GRüß 12 ß!".encode()  # the next message


def test_without_the_selection_capability_bodies_have_no_selection(client: Client) -> None:
    client.announce(RYLL & ~(1 << 6))
    client.send(GRAB, TEXT)
    assert client.receive() == (REQUEST, TEXT)
    client.send(CLIPBOARD, TEXT + b"plain")
    assert client.receive() == (GRAB, TEXT)
    client.send(REQUEST, TEXT)
    assert client.receive() == (CLIPBOARD, TEXT + b"PLAIN")


def test_the_longest_text_goes_both_ways_in_chunks(client: Client) -> None:
    client.announce()
    text = bytes(ord("a") + i % 26 for i in range(65536))
    assert client.paste(text) == text.upper()
    assert max(client.chunk_sizes) == 2048
    assert sum(client.chunk_sizes) == 20 + 8 + 65536


@pytest.mark.parametrize("size", [65537, 3_000_000])
def test_a_longer_text_is_refused_and_the_stream_goes_on(client: Client, size: int) -> None:
    client.announce()
    before = len(client.machine.serial())
    client.send(CLIPBOARD, SELECTION + TEXT + b"x" * size)
    client.machine.said(f"clipboard: refused {size} bytes, the most is 65536", before, 30)
    assert client.paste(b"after") == b"AFTER"


@pytest.mark.parametrize("size", [1, 7, 10])
def test_chunks_may_be_small_and_the_servers_between_them(client: Client, size: int) -> None:
    client.announce()
    parts = list(client.chunks(client.message(GRAB, SELECTION + TEXT), size=size))
    mouse = next(client.chunks(client.message(1, bytes(13)), port=SERVER))
    client.socket.sendall(parts[0] + mouse + struct.pack("<II", CLIENT, 0) + b"".join(parts[1:]))
    assert client.receive() == (REQUEST, SELECTION + TEXT)


PNG = struct.pack("<I", 2)


@pytest.mark.parametrize(
    ("kind", "body", "protocol", "line"),
    [
        (GRAB, SELECTION + TEXT, 9, "agent: a message of protocol 9 came, expected 1; it is dropped"),
        (99, b"what", 1, "agent: message of type 99 ignored"),
        (ANNOUNCE, bytes(4), 1, "agent: ANNOUNCE_CAPABILITIES with 4 bytes is too short; it is dropped"),
        (GRAB, b"abc", 1, "agent: CLIPBOARD_GRAB with 3 bytes is too short; it is dropped"),
        (GRAB, SELECTION + PNG, 1, "clipboard: the client offers no text"),
        (REQUEST, SELECTION, 1, "agent: CLIPBOARD_REQUEST with 4 bytes is too short; it is dropped"),
        (CLIPBOARD, b"", 1, "agent: CLIPBOARD with 0 bytes is too short; it is dropped"),
        (CLIPBOARD, SELECTION + PNG + b"png", 1, "clipboard: content of type 2 ignored"),
        (MONITORS_CONFIG, bytes(28), 1, "agent: MONITORS_CONFIG with 28 bytes is too short; it is dropped"),
    ],
)
def test_a_message_that_makes_no_sense_is_told_and_dropped(
    client: Client, kind: int, body: bytes, protocol: int, line: str
) -> None:
    client.announce()
    before = len(client.machine.serial())
    client.socket.sendall(b"".join(client.chunks(client.message(kind, body, protocol))))
    client.machine.said(line, before)
    assert client.paste(b"still here") == b"STILL HERE"


def test_a_client_that_leaves_takes_its_capabilities_along(client: Client) -> None:
    client.announce()
    before = len(client.machine.serial())
    client.send(DISCONNECTED)
    client.machine.said("agent: the client left", before)
    client.send(GRAB, TEXT)
    assert client.receive() == (REQUEST, TEXT)


def test_the_screen_takes_the_size_that_is_asked_for_if_the_firmware_offers_it(client: Client) -> None:
    client.announce()
    machine = client.machine
    before = machine.picture()
    well, ill = (struct.pack("<II", MONITORS_CONFIG, error) for error in (1, 2))
    assert client.resize(1024, 768) == (REPLY, well)
    assert machine.picture()[:2] == (1024, 768)
    serial = len(machine.serial())
    assert client.resize(1000, 696) == (REPLY, ill)
    machine.said("screen: 1000x696 refused (NotOffered), it stays 1024x768", serial)
    assert machine.picture()[:2] == (1024, 768)
    for width, height in ((2560, 1600), (640, 480), (1280, 800), (1280, 800)):
        assert client.resize(width, height) == (REPLY, well)
        assert machine.picture()[:2] == (width, height)
    assert machine.picture() == before


def test_the_guest_offers_a_text_of_its_own(client: Client) -> None:
    client.announce()
    client.machine.press("f4")
    assert client.receive() == (GRAB, SELECTION + TEXT)
    client.send(REQUEST, SELECTION + TEXT)
    assert client.receive() == (CLIPBOARD, SELECTION + TEXT + b"guest says hi")


def test_the_picture_has_its_colour_bars_where_they_are_promised(shared: Machine) -> None:
    width, _, pixels = shared.picture()
    places = [((660 * width) + 72 + 48 * bar + 24) * 3 for bar in range(8)]
    colours = "ffffff ffff00 00ffff 00ff00 ff00ff ff0000 0000ff 000000"
    assert [pixels[at : at + 3].hex() for at in places] == colours.split()


def test_typing_is_shown_and_told_and_enter_tells_the_line(shared: Machine) -> None:
    empty, before = shared.picture(), len(shared.serial())
    shared.press("h", "shift-i", "spc", "7", "x", "backspace", "tab", "left")
    shared.said("key: scan code 0x4, character 0x0", before)
    shared.until(lambda: shared.picture() != empty, "typed letters on the screen")
    shared.press("ret")
    shared.said("line: hI 7", before)
    keys = ["h", "I", "space", "7", "x", "backspace", "tab", "scan code 0x4, character 0x0"]
    assert shared.serial()[before:].splitlines() == [*(f"key: {key}" for key in keys), "line: hI 7"]
    shared.until(lambda: shared.picture() == empty, "empty line on the screen")


@pytest.mark.parametrize(
    ("key", "changed", "back"),
    [("f5", "screen: day", "screen: night"), ("f7", "watch: running", "watch: stopped")],
    ids=["day and night", "the watch"],
)
def test_a_key_changes_the_picture_and_changes_it_back(shared: Machine, key: str, changed: str, back: str) -> None:
    first, before = shared.picture(), len(shared.serial())
    shared.press(key)
    shared.said(changed, before)
    shared.until(lambda: shared.picture() != first, "another picture")
    shared.press(key)
    shared.said(back, before)
    assert shared.picture() == first


def test_an_idle_guest_leaves_the_processor_alone(shared: Machine) -> None:
    before = processor_seconds(shared.process.pid)
    time.sleep(2)
    used = processor_seconds(shared.process.pid) - before
    assert used < 1, "a guest that polls without a rest takes 2 s of 2"


def test_the_guest_switches_itself_off(shared: Machine) -> None:
    shared.press("f6")
    assert shared.process.wait(10) == 0
    assert shared.serial().endswith("key: F6\npower: off\n")
