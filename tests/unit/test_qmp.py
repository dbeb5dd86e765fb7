"""The QMP client against a peer that answers, refuses, hangs, hangs up or talks nonsense."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.protocols import qmp

GREETING = b'{"QMP": {"version": {"qemu": {"major": 9, "minor": 1, "micro": 2}}, "capabilities": ["oob"]}}\r\n'
Peer = Callable[[Callable[[socket.socket], None]], socket.socket]


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Gives a socket whose other end the test's handler serves in a thread."""
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def start(handler: Callable[[socket.socket], None]) -> socket.socket:
        ours, theirs = socket.socketpair()
        sockets.extend((ours, theirs))
        threads.append(threading.Thread(target=handler, args=(theirs,), daemon=True))
        threads[-1].start()
        return ours

    yield start
    for end in sockets:
        end.close()
    for thread in threads:
        thread.join(2)


def answering(replies: dict[str, list[bytes]]) -> Callable[[socket.socket], None]:
    """A peer that greets, grants qmp_capabilities, and sends these pieces for a command; @ID stands for the request's id. Then it waits."""

    def serve(end: socket.socket) -> None:
        end.sendall(GREETING)
        for line in end.makefile("rb"):
            request = json.loads(line)
            for piece in replies.get(request["execute"], [b'{"return": {}, "id": @ID}\n']):
                end.sendall(piece.replace(b"@ID", str(request["id"]).encode()))
                time.sleep(0.01)

    return serve


def test_a_whole_conversation_with_split_lines_events_and_a_late_answer(peer: Peer) -> None:
    pieces = [
        b'{"event": "RTC_CHA',
        b'NGE"}\n\n{"return": {"stale": 1}, "id": 0}\r\n',
        b'{"return": {"status": "runn',
        b'ing"}, "id": @ID}\r\n{"event": "STOP"}\n',
    ]
    with qmp.Qmp(peer(answering({"query-status": pieces})), "test", 2) as client:
        assert client.version == "9.1.2"
        assert client.execute("query-status") == {"status": "running"}
        assert client.event({"STOP"}, 1) == {"event": "STOP"}
        assert client.event({"RTC_CHANGE"}, 0.05) is None  # it came before STOP and was let go with it


def test_a_refusal_keeps_the_peers_words(peer: Peer) -> None:
    refusal = b'{"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}, "id": @ID}\n'
    with qmp.Qmp(peer(answering({"nope": [refusal]})), "test", 2) as client:
        with pytest.raises(
            qmp.QmpRefused, match=r"qemu: expected qemu to carry out nope, but it refused: The command nope has not been found \(CommandNotFound\)"
        ) as got:
            client.execute("nope")
        assert got.value.error_class == "CommandNotFound"
        assert client.execute("query-status") == {}


def hold(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.recv(1)


@pytest.mark.parametrize(
    ("handler", "error", "words"),
    [
        (hold, qmp.QmpTimeout, "expected qemu's greeting, but nothing came within the limit"),
        (lambda end: end.close(), qmp.QmpClosed, "expected qemu's greeting, but qemu closed the connection"),
        (lambda end: (end.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), hold(end)), qmp.QmpGarbage, "this came: SSH-2.0-OpenSSH_9.2"),
        (lambda end: (end.sendall(b"\xff\xfe\n"), hold(end)), qmp.QmpGarbage, "expected qemu's greeting, but this came"),
        (lambda end: (end.sendall(b"[1]\n"), hold(end)), qmp.QmpGarbage, r"this came: \[1\]"),
        (lambda end: (end.sendall(b"[" * 20000 + b"\n"), hold(end)), qmp.QmpGarbage, "this came"),
        (lambda end: (end.sendall(b'{"hello": 1}\n'), hold(end)), qmp.QmpGarbage, '{"hello": 1}'),
        (answering({"qmp_capabilities": [b'{"odd": 1}\n']}), qmp.QmpGarbage, "expected qemu to answer qmp_capabilities, but this came"),
        (answering({"qmp_capabilities": []}), qmp.QmpTimeout, "expected qemu to answer qmp_capabilities, but nothing came"),
    ],
)
def test_a_peer_that_is_no_qmp_costs_no_more_than_the_limit(
    peer: Peer, handler: Callable[[socket.socket], None], error: type[qmp.QmpError], words: str
) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=words) as got:
        qmp.Qmp(peer(handler), "the socket", 0.3)
    assert time.monotonic() - began < 1
    assert got.value.component == "qemu"
    assert str(got.value).endswith("look at the socket")


def test_a_line_without_an_end_is_cut_short(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "MAX_LINE", 100_000)

    def pour(end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                end.sendall(b"x" * 65536)

    with pytest.raises(qmp.QmpGarbage, match="a line longer than 100000 bytes came"):
        qmp.Qmp(peer(pour), "test", 2)


def test_a_peer_that_hangs_up_later(peer: Peer) -> None:
    def leave(end: socket.socket) -> None:
        end.sendall(GREETING)
        end.recv(1000)
        end.sendall(b'{"return": {}, "id": 1}\n')
        end.recv(1000)
        end.close()

    client = qmp.Qmp(peer(leave), "test", 2)
    with pytest.raises(qmp.QmpClosed, match="expected qemu to answer quit, but qemu closed the connection"):
        client.execute("quit")
    with pytest.raises(qmp.QmpClosed):
        client.execute("query-status")


def test_connect_says_when_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(qmp.QmpClosed, match=r"expected qemu to accept on its QMP socket .*none, but No such file or directory"):
        qmp.Qmp.connect(str(tmp_path / "none"), 1)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(qmp.QmpClosed, match="Connection refused"):
            qmp.Qmp.connect(str(path), 1)
        server.listen()
        with pytest.raises(qmp.QmpTimeout, match="expected qemu's greeting"):
            qmp.Qmp.connect(str(path), 0.2)
