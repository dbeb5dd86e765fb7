"""The way to the socket and the lines over it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps, Closed, Malformed, TimedOut, Unreachable
from ansible.module_utils.lane.protocols.ryll.wire import Wire
from control_peer import Connection, Peer

HERE = Path(__file__).parents[2]


@contextlib.contextmanager
def connected(path: str, **settings: int) -> Iterator[Wire]:
    wire = Wire(path, **settings)  # type: ignore[arg-type]
    wire.connect(time.monotonic() + 5)
    try:
        yield wire
    finally:
        wire.close()


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def unreachable(path: str, patience: float = 0.0) -> str:
    began = time.monotonic()
    wire = Wire(path)
    with pytest.raises(Unreachable) as caught:
        wire.connect(soon(), patience)
    assert patience <= time.monotonic() - began < patience + 0.5
    assert not wire.connected
    return str(caught.value)


def test_no_socket(tmp_path: Path) -> None:
    assert unreachable(f"{tmp_path}/r.sock") == f"ryll: expected ryll's control socket at {tmp_path}/r.sock, but nothing is there"


def test_no_socket_after_some_patience(tmp_path: Path) -> None:
    assert unreachable(f"{tmp_path}/r.sock", 0.2).endswith("nothing is there after 0.2 s")


def test_no_directory(tmp_path: Path) -> None:
    assert unreachable(f"{tmp_path}/none/r.sock").endswith("nothing is there")


def test_a_dead_socket_file(tmp_path: Path) -> None:
    path = f"{tmp_path}/r.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert unreachable(path).endswith("nobody listens on the socket that is there")


def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    path.write_text("x")
    assert f"what is there is not a socket; look at {path}" in unreachable(str(path))


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    assert "the system said Not a directory" in unreachable(f"{tmp_path}/f/r.sock")


def test_a_queue_that_nobody_serves(tmp_path: Path) -> None:
    path = f"{tmp_path}/r.sock"
    with socket.socket(socket.AF_UNIX) as idle, contextlib.ExitStack() as full:
        idle.bind(path)
        idle.listen(0)
        for _ in range(2):
            link = full.enter_context(socket.socket(socket.AF_UNIX))
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(path)
        assert "the socket's queue is full and nobody accepts" in unreachable(path)


def test_no_permission(tmp_path: Path) -> None:
    """As another user when the tests run as root, for root may do everything."""
    path = f"{tmp_path}/r.sock"
    code = (
        "import sys, time, ansible.module_utils\n"
        f"ansible.module_utils.__path__.append({str(HERE / 'module_utils')!r})\n"
        "from ansible.module_utils.lane.protocols.ryll.errors import Unreachable\n"
        "from ansible.module_utils.lane.protocols.ryll.wire import Wire\n"
        "import os\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"try: Wire({path!r}).connect(time.monotonic() + 1)\n"
        "except Unreachable as error: print(error)\n"
    )
    for folder in [tmp_path, *tmp_path.parents[:2]]:
        folder.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(path)
        closed.listen()
        os.chmod(path, 0)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.strip() == f"ryll: expected ryll's control socket at {path}, but the system said Permission denied; look at {path}", done.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/" + "x" * 107, "expected a socket path of at most 107 bytes, but /xxx"),
        ("/" + "ä" * 54, "has 109"),
        ("", "it is empty"),
        ("/a\0b", "it holds a NUL character"),
    ],
)
def test_a_path_that_no_socket_can_have(path: str, words: str) -> None:
    with pytest.raises(BadSteps) as caught:
        Wire(path)
    assert words in str(caught.value)


def test_the_longest_path_works(tmp_path: Path) -> None:
    with Peer(lambda c: c.wait()) as peer:
        path = f"{peer.folder}/".ljust(107, "x")
        os.rename(peer.path, path)
        with connected(path) as wire:
            assert wire.connected


def test_a_socket_that_appears_later_is_awaited(tmp_path: Path) -> None:
    path = f"{tmp_path}/r.sock"
    late = socket.socket(socket.AF_UNIX)

    def appear() -> None:
        time.sleep(0.15)
        late.bind(path)
        time.sleep(0.1)
        late.listen()

    thread = threading.Thread(target=appear)
    thread.start()
    wire = Wire(path)
    wire.connect(soon(), patience=5)
    assert wire.connected
    thread.join()
    wire.close()
    late.close()


def lines(*pieces: bytes, count: int, pause: float = 0.0) -> list[bytes | None]:
    def serve(connection: Connection) -> None:
        for piece in pieces:
            connection.raw(piece)
            time.sleep(pause)
        connection.wait()

    with Peer(serve) as peer, connected(peer.path) as wire:
        return [wire.line(soon()) for _ in range(count)]


def test_a_line_in_single_bytes() -> None:
    assert lines(*(bytes([byte]) for byte in b"hello world\nx\n"), count=2, pause=0.002) == [b"hello world", b"x"]


def test_many_lines_in_one_packet() -> None:
    assert lines(b"a\nb\n\nc\n", count=4) == [b"a", b"b", b"", b"c"]


def test_a_long_line_comes_whole() -> None:
    assert lines(b"x" * (8 << 20) + b"\ny\n", count=2) == [b"x" * (8 << 20), b"y"]


def test_silence_ends_at_the_deadline() -> None:
    with Peer(lambda c: c.wait()) as peer, connected(peer.path) as wire:
        began = time.monotonic()
        assert wire.line(soon(0.2)) is None
        assert 0.2 <= time.monotonic() - began < 0.3


def test_a_deadline_that_has_passed_still_takes_what_is_there() -> None:
    with Peer(lambda c: (c.raw(b"a\nb\n"), c.wait())) as peer, connected(peer.path) as wire:
        assert wire.line(soon()) == b"a"
        assert wire.line(0.0) == b"b"
        assert wire.line(0.0) is None


def test_bytes_without_end_do_not_outlive_the_deadline() -> None:
    def drip(connection: Connection) -> None:
        while True:
            connection.raw(b"x")

    with Peer(drip) as peer, connected(peer.path) as wire:
        began = time.monotonic()
        assert wire.line(soon(0.3)) is None
        assert time.monotonic() - began < 0.4
        assert wire.unfinished > 0


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_without_end_is_cut_off(end: bytes) -> None:
    def flood(connection: Connection) -> None:
        for _ in range(64):
            connection.raw(b"x" * (1 << 20))
        connection.raw(end)

    with Peer(flood) as peer, connected(peer.path, max_line_bytes=1 << 20) as wire:
        tracemalloc.start()
        with pytest.raises(Malformed, match="expected lines of at most 1048576 bytes, but one is longer"):
            wire.line(soon())
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
        tracemalloc.stop()


CHILD = """
import re, sys, time
sys.path.insert(0, sys.argv[1])
from lane.protocols.ryll.client import Client
from lane.protocols.ryll.errors import Malformed
def most():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = most()
deadline = time.monotonic() + 30
with Client(sys.argv[2]) as client:
    client.connect(deadline)
    try:
        told = len(client.request("clipboard_get", {}, deadline)["text"])
    except Malformed as error:
        told = error.expected
print(told, (most() - before) >> 10)
"""


@pytest.mark.parametrize(("size", "told", "most"), [(0, "lines of at most 67108864 bytes", 80), ((64 << 20) - 100, str((64 << 20) - 100), 220)])
def test_the_longest_line_takes_what_the_page_says(size: int, told: str, most: int) -> None:
    """In MiB, by the whole process: a line without end, and a whole one of the most length."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.raw(b'{"id":1,"ok":true,"result":{"text":"')
        sent = 0
        while not size or sent < size:
            sent += 1 << 20
            connection.raw(b"x" * ((1 << 20) if not size or sent <= size else size % (1 << 20)))
        connection.raw(b'"}}\n')
        connection.wait()

    with Peer(serve) as peer:
        command = [sys.executable, "-c", CHILD, str(HERE / "module_utils"), peer.path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said, _, grown = done.stdout.strip().rpartition(" ")
    assert said == told, done.stderr
    assert 60 < int(grown) < most


def test_a_line_of_exactly_the_most_length_passes() -> None:
    with Peer(lambda c: (c.raw(b"x" * 1024 + b"\n" + b"y" * 1025 + b"\n"), c.wait())) as peer, connected(peer.path, max_line_bytes=1024) as wire:
        assert wire.line(soon()) == b"x" * 1024
        with pytest.raises(Malformed):
            wire.line(soon())


def test_the_end_is_told_after_the_last_line() -> None:
    with Peer(lambda c: c.raw(b"a\nb")) as peer, connected(peer.path) as wire:
        assert wire.line(soon()) == b"a"
        with pytest.raises(Closed, match="it closed it in mid-line, 1 bytes after the last whole line"):
            wire.line(soon())


def test_a_reset_is_an_end() -> None:
    """Closing with unread bytes resets a unix connection."""
    with Peer(lambda c: c.raw(b"a\n")) as peer, connected(peer.path) as wire:
        wire.send(b"x" * 100, soon())
        assert wire.line(soon()) == b"a"
        with pytest.raises(Closed, match=r"it closed it$"):
            wire.line(soon())


def test_a_peer_that_does_not_read_is_told_at_the_deadline() -> None:
    ready = threading.Event()
    with Peer(lambda c: ready.wait(5)) as peer, connected(peer.path) as wire:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"expected ryll to read its control socket, but it left \d+ of 16777216 bytes unread"):
            wire.send(bytes(16 << 20), soon(0.2))
        assert time.monotonic() - began < 0.4
        ready.set()


def test_both_sides_may_write_at_once() -> None:
    """ryll stalls a client that sends without reading; so the client reads while it sends."""

    def shout_first(connection: Connection) -> None:
        connection.raw(b"y" * (4 << 20) + b"\n")
        assert len(connection.file.readline()) == (4 << 20) + 1
        connection.raw(b"done\n")
        connection.wait()

    with Peer(shout_first) as peer, connected(peer.path) as wire:
        wire.send(b"x" * (4 << 20) + b"\n", soon())
        assert wire.line(soon()) == b"y" * (4 << 20)
        assert wire.line(soon()) == b"done"


def test_a_peer_that_writes_and_never_reads_does_not_fill_the_memory() -> None:
    def shout(connection: Connection) -> None:
        while True:
            connection.raw(b"y" * (1 << 16))

    with Peer(shout) as peer, connected(peer.path, max_line_bytes=1 << 20) as wire:
        tracemalloc.start()
        with pytest.raises(TimedOut):
            wire.send(bytes(16 << 20), soon(0.3))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        tracemalloc.stop()


def test_what_a_closing_peer_said_is_still_read() -> None:
    with Peer(lambda c: c.raw(b"busy\n")) as peer, connected(peer.path) as wire:
        while not wire.ready():
            time.sleep(0.01)
        time.sleep(0.05)
        for _ in range(3):
            wire.send(b"x\n", soon())
        assert wire.line(soon()) == b"busy"


def test_without_a_connection_everything_says_so() -> None:
    wire = Wire("/tmp/none")
    with pytest.raises(Closed, match="there is none"):
        wire.send(b"x", soon())
    assert not wire.ready()


def test_waiting_costs_no_processor_time() -> None:
    with Peer(lambda c: c.wait()) as peer, connected(peer.path) as wire:
        before = time.process_time()
        assert wire.line(soon(0.5)) is None
        assert time.process_time() - before < 0.03
