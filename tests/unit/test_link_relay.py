"""The relay for slow links, between real sockets, and the steps of a suite that use it."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import latency, plan
from ansible.module_utils.lane.protocols.link_relay import LinkRelay
from suite_lane import PASSED, asked, does, entry_of, fake_lane, gives, outcome

lane = fake_lane

LINK: dict[str, Any] = {"link_relay": {"delay_ms": 10, "mbit": 50}, "register": "l"}


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""

    def answer(peer: socket.socket) -> None:
        with peer:
            while data := peer.recv(65536):
                peer.sendall(data)

    def serve() -> None:
        try:
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(echo: int) -> Iterator[Any]:
    made = []

    def make(delay: float = 0, rate: float = 1e8, to: int = echo) -> LinkRelay:
        made.append(LinkRelay(to, delay, rate))
        return made[-1]

    yield make
    for one in made:
        one.close()


def connected(relay: LinkRelay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=20)


def ended(peer: socket.socket) -> bool:
    """Whether the connection ends, with a reset or without."""
    try:
        return peer.recv(9) == b""
    except ConnectionResetError:
        return True


def received(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := peer.recv(65536)):
        data += piece
    return data


def test_every_byte_comes_there_and_back_in_order_and_the_end_after_them(relay):
    text = bytes(range(256)) * 800
    with connected(relay(delay=0.005)) as one, connected(relay(delay=0.005)) as other:
        for peer in (one, other):
            threading.Thread(
                target=lambda peer=peer: (peer.sendall(text), peer.shutdown(socket.SHUT_WR)), daemon=True
            ).start()
        assert received(one, len(text) + 1) == received(other, len(text) + 1) == text


def test_a_message_waits_for_the_delay_each_way(relay):
    with connected(relay(delay=0.05)) as peer:
        begun = time.monotonic()
        peer.sendall(b"x")
        assert peer.recv(9) == b"x" and time.monotonic() - begun >= 0.1


def test_all_connections_share_the_rate(relay):
    slow, size = relay(rate=8e5), 15_000  # 0.15 s for each
    with connected(slow) as one, connected(slow) as other:
        begun = time.monotonic()
        for peer in (one, other):
            peer.sendall(bytes(size))
        assert len(received(one, size)) == len(received(other, size)) == size
        assert time.monotonic() - begun >= 0.95 * 2 * 8 * size / 8e5


def test_where_nobody_listens_the_connection_ends(relay):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with connected(relay(to=port)) as peer:
        assert ended(peer)


def test_its_end_ends_its_connections_its_port_and_its_thread(relay):
    before, one = threading.active_count(), relay()
    with connected(one) as peer:
        peer.sendall(b"x")
        assert peer.recv(9) == b"x"
        one.close()
        one.close()
        assert ended(peer)
    with pytest.raises(ConnectionRefusedError):
        connected(one)
    assert "link_relay" not in [thread.name for thread in threading.enumerate()]
    assert threading.active_count() <= before + 1


# --- the steps of a suite ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "delay", "rate"),
    [({"delay_ms": 10, "mbit": 50}, 0.02, 50e6), ({"mbit": 0.1}, 0, 1e5), ({"delay_ms": 2000, "mbit": 1000}, 4, 1e9)],
)
def test_a_link_tells_how_slow_it_is(lane, options, delay, rate):
    known: list[Any] = []
    look = plan.Actor({}, lambda play, *_: known.append(play.value("l")))
    entry = entry_of(lane, {"link_relay": options, "register": "l"}, {"look": {}}, actors={"look": look})
    assert (known[0]["delay"], known[0]["rate"]) == (delay, rate)
    words = f"link_relay: {1000 * delay:g} ms there and back, {options['mbit']:g} Mbit/s"
    assert entry["detail"]["witnesses"][0] == words


def test_a_client_is_led_through_the_link_which_ends_with_the_suite(lane, echo):
    seen: list[bytes] = []
    object.__setattr__(lane.place, "proxy_port", echo)

    def look(play: Any, *_: Any) -> None:
        with socket.create_connection(("127.0.0.1", int(play.known("l.port"))), timeout=20) as peer:
            peer.sendall(b"x")
            seen.append(peer.recv(9))

    steps = (LINK, {"connect": {"edit": {"tls-port": "{l.port}"}}}, {"look": {}})
    assert outcome(lane, *steps, actors={"look": plan.Actor({}, look)}) == PASSED
    ((_, _, keys, _),) = asked(lane, "connect")
    assert seen == [b"x"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(keys["tls-port"])), timeout=20)


WRONG = ("link_relay_wrong", "lane")


@pytest.mark.parametrize(("away", "failure"), [(6.0, PASSED), (7.0, PASSED), (5.0, PASSED), (7.2, WRONG), (4.8, WRONG)])
def test_a_link_whose_delay_is_off_is_blamed_itself(lane, monkeypatch, away, failure):
    ports: list[int | None] = []

    def turn(play: Any, proxied: bool, rounds: int, port: int | None) -> list[float]:
        assert proxied
        ports.append(port)
        return [away if port else 1.0] * rounds

    monkeypatch.setattr(latency, "acknowledgements", turn)
    link = gives("link_relay", {"port": 7, "delay": 5.0, "rate": 1e6})
    step = {"acknowledged": {"through": "l", "turns": 2, "rounds": 5}}
    detail = entry_of(lane, LINK, step, actors=link)["detail"]
    assert (detail.get("code"), detail.get("component")) == failure
    assert ports == [None, 7, None, 7]
    assert failure != PASSED or list(detail["latency"]) == ["over the slow link", "through kerbside"]


@pytest.mark.parametrize(("sent", "failure"), [(1000, PASSED), (100_000, WRONG)])
def test_a_link_that_is_faster_than_its_rate_is_blamed_itself(lane, sent, failure):
    series = "kerbside_proxy_bytes_relayed_total{direction=server_to_client}"
    lane.counted = {series: 500_000.0}

    def send() -> None:
        lane.counted = {series: 500_000.0 + sent}
        time.sleep(0.01)  # at 1 Mbit/s 1000 bytes take 8 ms

    steps = (LINK, {"send_all": {}, "register": "began"}, {"paced": {"link": "l", "since": "began"}})
    actors = {"send_all": does(send), **gives("link_relay", {"port": 7, "delay": 0, "rate": 1e6})}
    assert outcome(lane, *steps, actors=actors) == failure
