"""JSON lines over a unix socket, for both of their users: ryll's control socket and qemu's monitor."""

import contextlib
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.protocols import qmp
from ansible.module_utils.lane.protocols.json_lines import Lines
from ansible.module_utils.lane.protocols.ryll.errors import Closed, Malformed, TimedOut, Unreachable, failed
from control_peer import Connection, Peer
from prepared import fails

BUSY = 3.0  #: times longer than on an idle machine


def lines(path: str, **settings: int) -> Lines:
    return Lines(path, "ryll", failed, **settings)


@contextlib.contextmanager
def connected(serve: Callable[[Connection], object], **settings: int) -> Iterator[Lines]:
    """A connection to a peer that serves like this."""
    with Peer(serve) as peer, contextlib.closing(lines(peer.path, **settings)) as made:
        made.connect(soon())
        yield made


def soon(seconds: float = 15.0) -> float:
    return time.monotonic() + seconds


def dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


UNREACHABLE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "nothing": (lambda path: None, "r.sock", "it does not exist"),
    "no directory": (lambda path: None, "none/r.sock", "it does not exist"),
    "a dead socket": (dead, "r.sock", "nothing listens on it"),
    "a file": (lambda path: path.write_text("x"), "r.sock", "it is not a socket"),
    "a path through a file": (lambda path: path.parent.write_text("x"), "file/r.sock", "Not a directory"),
}


@pytest.mark.parametrize(("make", "name", "words"), UNREACHABLE.values(), ids=UNREACHABLE)
@pytest.mark.parametrize("connect_wait", [0.0, 0.2])
def test_a_socket_that_cannot_be_reached(tmp_path, make, name, words, connect_wait):
    make(tmp_path / name)
    made = lines(str(tmp_path / name))
    began = time.monotonic()
    with pytest.raises(Unreachable, match=words) as caught:
        made.connect(soon(), connect_wait)
    waits = connect_wait if words in ("it does not exist", "nothing listens on it") else 0
    assert time.monotonic() - began >= waits
    assert (" after 0.2 s" in str(caught.value)) is (waits > 0)
    assert caught.value.code == "ryll_unreachable" and not made.connected


def test_a_queue_that_nothing_serves(tmp_path):
    path = f"{tmp_path}/r.sock"
    with socket.socket(socket.AF_UNIX) as idle, contextlib.ExitStack() as full:
        idle.bind(path)
        idle.listen(0)
        for _ in range(2):
            link = full.enter_context(socket.socket(socket.AF_UNIX))
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(path)
        with pytest.raises(Unreachable, match="its queue is full and nothing accepts"):
            lines(path).connect(soon())


def test_a_socket_that_appears_later_is_awaited(tmp_path):
    path = f"{tmp_path}/".ljust(107, "x")
    with socket.socket(socket.AF_UNIX) as late, contextlib.closing(lines(path)) as made:
        steps = [threading.Timer(0.15, late.bind, [path]), threading.Timer(0.25, late.listen)]
        for step in steps:
            step.start()
        made.connect(soon(), connect_wait=10)
        assert made.connected
        for step in steps:
            step.join()


def received(*pieces: bytes, count: int, pause: float = 0.0, **settings: int) -> list[object]:
    def serve(connection: Connection) -> None:
        for piece in pieces:
            connection.raw(piece)
            time.sleep(pause)
        connection.wait()

    with connected(serve, **settings) as made:
        return [made.receive(soon()) for _ in range(count)]


def test_lines_arrive_whole_however_they_are_cut():
    assert received(*(bytes([byte]) for byte in b'{"a":1}\n{}\n'), count=2, pause=0.001) == [{"a": 1}, {}]
    assert received(b'{"a":1}\r\n\n \n{"a":"\\u0000"}\n', count=2) == [{"a": 1}, {"a": "\0"}]
    assert received(b'{"a":"' + b"x" * (8 << 20) + b'"}\n{}\n', count=2) == [{"a": "x" * (8 << 20)}, {}]
    assert received(b'{"a":"' + b"x" * 1016 + b'"}\n', count=1, max_line_bytes=1024) == [{"a": "x" * 1016}]


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"\x1b[31mhello there", "not JSON at character 1"),
    "cut": (b'{"id":1', "not JSON at character 8"),
    "a list": (b"[1,2]", "not a JSON object"),
    "bad UTF-8": (b'{"a":"\xff"}', "byte 7 is not UTF-8"),
    "a huge number": (b'{"a":' + b"9" * 5000 + b"}", "cannot be read"),
    "deep nesting": (b"[" * 100_000, "cannot be read"),
    "a line that is too long": (b'{"a":"' + b"x" * 200_000 + b'"}', "a line of more than 150000 bytes"),
}


@pytest.mark.parametrize(("line", "words"), BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_used(line, words):
    with pytest.raises(Malformed, match=words) as caught:
        received(line + b"\n", count=1, max_line_bytes=150_000)
    assert len(str(caught.value)) <= 620 and str(caught.value).isprintable()


def test_silence_and_bytes_without_end_last_until_the_deadline():
    def drip(connection: Connection) -> None:
        while True:
            connection.raw(b"x")

    for handler in (lambda c: c.wait(), drip):
        with connected(handler) as made:
            began, cpu = time.monotonic(), time.process_time()
            assert made.receive(soon(0.3)) is None
            assert 0.3 <= time.monotonic() - began < 0.4 * BUSY
            if handler is not drip:
                assert time.process_time() - cpu < 0.03 * BUSY
            assert (made.unfinished > 0) is (handler is drip)


def test_a_deadline_that_has_passed_still_takes_what_is_there():
    with connected(lambda c: (c.raw(b'{"a":1}\n{"a":2}\n'), c.wait())) as made:
        assert [made.receive(soon()), made.receive(0.0), made.receive(0.0)] == [{"a": 1}, {"a": 2}, None]


def shout(connection: Connection) -> None:
    while True:
        connection.raw(b"y" * (1 << 16))


def test_a_peer_that_never_reads_costs_the_limit_and_a_flood_from_it_little_memory():
    tracemalloc.start()
    with connected(shout, max_line_bytes=1 << 20) as made:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"ryll does not read its socket: \d+ of \d+ bytes are left"):
            made.send({"a": "x" * (16 << 20)}, soon(0.5))
        assert 0.5 <= time.monotonic() - began < 1 * BUSY
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 90 << 20


def test_an_end_is_reported_after_the_last_line():
    with connected(lambda c: c.raw(b'{"a":1}\nb')) as made:
        assert made.receive(soon()) == {"a": 1}
        with pytest.raises(Closed, match="in the middle of a line, 1 bytes after the last whole one"):
            made.receive(soon())
    with connected(lambda c: c.raw(b"{}\n")) as made:  # closing with unread bytes resets a unix connection
        made.send({"a": "x" * 100}, soon())
        assert made.receive(soon()) == {}
        with pytest.raises(Closed, match=r"ryll closed the connection$"):
            made.receive(soon())


def test_both_sides_may_write_at_once():
    """ryll stalls a client that sends without reading; so the client reads while it sends."""

    def shout_first(connection: Connection) -> None:
        connection.raw(b'{"a":"' + b"y" * (4 << 20) + b'"}\n')
        assert len(connection.file.readline()) > 4 << 20
        connection.raw(b'{"done":1}\n')
        connection.wait()

    with connected(shout_first) as made:
        made.send({"a": "x" * (4 << 20)}, soon())
        assert made.receive(soon()) == {"a": "y" * (4 << 20)}
        assert made.receive(soon()) == {"done": 1}


def test_what_a_closing_peer_said_is_still_read():
    with connected(lambda c: c.raw(b'{"busy":1}\n')) as made:
        while not made.ready():
            time.sleep(0.01)
        time.sleep(0.05)
        for _ in range(3):
            made.send({}, soon())
        assert made.receive(soon()) == {"busy": 1}
    made = lines("/tmp/none")
    assert not made.ready()
    with pytest.raises(Closed, match="there is no connection"):
        made.send({}, soon())


# --- qemu's monitor -----------------------------------------------------------------------------------------------


GREETING = {"QMP": {"version": {"qemu": {"major": 9, "minor": 1, "micro": 2}}, "capabilities": ["oob"]}}


def monitor(replies: dict[str, list[bytes]]) -> Callable[[Connection], None]:
    """Greets, and answers a command with these pieces, where @ID stands for the request's id, or else its arguments."""

    def serve(c: Connection) -> None:
        c.send({"event": "SPICE_INITIALIZED"})
        c.send(GREETING)
        for request in c.requests():
            echo = json.dumps({"return": request["arguments"], "id": request["id"]}).encode() + b"\n"
            for piece in replies.get(request["execute"], [echo]):
                c.raw(piece.replace(b"@ID", str(request["id"]).encode()))

    return serve


def test_a_whole_conversation_with_split_lines_events_and_a_late_answer():
    status = [
        b'{"event": "RTC_CHA',
        b'NGE"}\n\n{"return": {"stale": 1}, "id": 0}\r\n',
        b'{"return": {"status": "runn',
        b'ing"}, "id": @ID}\r\n{"event": "STOP"}\n',
    ]
    refusal = b'{"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}, "id": @ID}\n'
    with Peer(monitor({"query-status": status, "nope": [refusal]})) as peer, qmp.Qmp.connect(peer.path, 10) as client:
        assert client.version == "9.1.2"
        assert client.event({"SPICE_INITIALIZED"}, 0.05)  # it came before the greeting
        assert client.execute("query-status") == {"status": "running"}
        assert client.event({"STOP"}, 5) == {"event": "STOP"}
        assert client.event({"RTC_CHANGE"}, 0.05) is None  # it came before STOP and was dropped with it
        with pytest.raises(qmp.QmpRefused, match=r"nope has not been found \(CommandNotFound\)") as caught:
            client.execute("nope")
        assert (caught.value.code, caught.value.component) == ("qmp_refused", "qemu")
        assert client.execute("cont", {"a": 1}) == {"a": 1}


QEMUS: dict[str, tuple[Callable[[Connection], object], str]] = {
    "silent": (lambda c: c.wait(), "qmp_timeout"),
    "gone": (lambda c: None, "qmp_closed"),
    "something else": (lambda c: (c.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), c.wait()), "qmp_garbage"),
    "no greeting": (lambda c: (c.send({"hello": 1}), c.wait()), "qmp_garbage"),
    "silent later": (monitor({"qmp_capabilities": []}), "qmp_timeout"),
    "no answer": (monitor({"qmp_capabilities": [b'{"id": 1}\n']}), "qmp_garbage"),
    "gone later": (lambda c: (c.send(GREETING), c.request()), "qmp_closed"),
    "refusing": (monitor({"qmp_capabilities": [b'{"error": "no"}\n']}), "qmp_refused"),
}


@pytest.mark.parametrize(("handler", "code"), QEMUS.values(), ids=QEMUS)
def test_a_peer_that_is_not_a_good_qemu_costs_no_more_than_the_limit(handler, code):
    began = time.monotonic()
    with Peer(handler) as peer, fails(code, "qemu"):
        qmp.Qmp.connect(peer.path, 0.5)
    assert time.monotonic() - began < 1 * BUSY


def test_a_monitor_over_a_socket_pair(monkeypatch):
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=monitor({"flood": [b"x" * 200_000]}), args=(Connection(theirs),), daemon=True)
    thread.start()
    monkeypatch.setattr(qmp, "MAX_LINE", 100_000)
    with qmp.Qmp(ours, "a qemu of the tests", 10) as client:
        with pytest.raises(qmp.QmpError, match="more than 100000 bytes") as caught:
            client.execute("flood")
        assert caught.value.code == "qmp_garbage"
    theirs.close()
    thread.join(5)
