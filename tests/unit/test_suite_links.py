"""The suites' bare SPICE connections, with a link whose peer behaves as a test says."""

import contextlib
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks.suites import latency
from ansible.module_utils.lane.checks.suites import links as bare_links
from ansible.module_utils.lane.checks.suites.engine import Unmet
from ansible.module_utils.lane.protocols.spice_link import Link, LinkClosed, LinkRefused
from suite_lane import PASSED, TICKET, FakeLink, does, entry_of, fake_lane, gives, outcome

lane = fake_lane

CONSOLE = {"console": {}, "register": "c"}


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> type[FakeLink]:
    class Mine(FakeLink):
        pass

    monkeypatch.setattr(FakeLink, "kept", [])
    monkeypatch.setattr(bare_links, "Link", Mine)
    monkeypatch.setattr(latency, "Link", Mine)
    monkeypatch.setattr(latency.random, "uniform", lambda *_: 0.0)
    return Mine


@pytest.mark.parametrize(
    ("options", "port", "ca", "did"),
    [
        ({}, 17900, "CA", [("link", 1, "", 0)]),
        ({"console": "c"}, 17900, "CA", [("link", 1, "token", 0)]),
        ({"console": "c", "password": "p", "channel": "display"}, 17900, "CA", [("link", 2, "p", 0)]),
        ({"to": "plain"}, 17901, None, [("link", 1, "", 0)]),
        ({"to": "qemu"}, 17904, None, [("link", 1, TICKET, 0)]),
        ({"as_far_as": "tcp"}, 17900, None, []),
        ({"as_far_as": "tls"}, 17900, "CA", []),
        ({"as_far_as": "hello", "channel": "inputs"}, 17900, "CA", [("hello", 3)]),
    ],
)
def test_a_link_is_opened_as_far_as_asked(lane, links, options, port, ca, did):
    assert outcome(lane, CONSOLE, {"link": options}, actors=gives("console", {"password": "token"})) == PASSED
    (made,) = links.kept
    assert (made.port, made.ca, made.did, made.open) == (port, ca, did, False)


def test_a_registered_link_stays_open_until_the_end_of_the_suite(lane, links):
    states: list[bool] = []
    look = does(lambda: states.extend(one.open for one in links.kept))
    display = {"link": {"channel": "display", "main": "m"}, "register": "d"}
    steps = ({"link": {}}, {"link": {}, "register": "m"}, display, {"look": {}})
    assert outcome(lane, *steps, actors={"look": look}) == PASSED
    assert states == [False, True, True] and not any(one.open for one in links.kept)
    assert links.kept[2].did == [("link", 2, "", 77)]


WRONG, LET_IN = ("link_wrong", "proxy"), ("client_not_refused", "proxy")


@pytest.mark.parametrize(
    ("peer", "step", "failure"),
    [
        ({"connecting": LinkClosed("x")}, {"link": {}}, WRONG),
        ({"linking": LinkClosed("x")}, {"link": {}}, WRONG),
        ({"linking": TimeoutError("x")}, {"link": {}}, WRONG),
        ({"linking": LinkRefused(7)}, {"link": {}}, ("client_refused", "kerbside")),
        ({"linking": LinkRefused(7)}, {"link": {}, "blame": "proxy"}, WRONG),
        ({"linking": LinkRefused(7)}, {"link": {"to": "qemu"}}, WRONG),
        ({"linking": LinkRefused(5)}, {"link": {}}, WRONG),
        ({"linking": LinkRefused(7)}, {"link": {"refused": 7}}, PASSED),
        ({}, {"link": {"refused": 7}}, LET_IN),
        ({}, {"link": {"refused": 7}, "register": "x"}, LET_IN),
    ],
)
def test_links_that_fail(lane, links, peer, step, failure):
    for name, error in peer.items():
        setattr(links, name, error)
    detail = entry_of(lane, step)["detail"]
    assert (detail.get("code"), detail.get("component")) == failure
    assert detail.get("evidence") == (None if failure == PASSED else lane.log("daemon"))
    assert not any(one.open for one in links.kept)


@pytest.mark.parametrize(
    ("step", "peer", "code"),
    [
        ({"send": {"link": "l", "type": 5}}, {}, None),
        ({"send": {"link": "l", "type": 5}}, {"ends": True}, "link_wrong"),
        ({"send": {"link": "l", "type": 5, "then": "closed"}}, {"ends": True}, None),
        ({"send": {"link": "l", "type": 5, "then": "closed"}}, {}, "link_wrong"),
        ({"send": {"link": "l", "type": 5, "then": "closed"}}, {"sending": LinkClosed("x")}, None),
        ({"send": {"link": "l", "type": 5}}, {"sending": LinkClosed("x")}, "link_wrong"),
        ({"closed": {"link": "l"}}, {"ends": True}, None),
        ({"closed": {"link": "l"}}, {}, "link_wrong"),
        ({"open": {"link": "l"}}, {}, None),
        ({"open": {"link": "l"}}, {"ends": True}, "link_wrong"),
    ],
)
def test_a_peer_stays_or_hangs_up_as_it_has_to(lane, links, step, peer, code):
    for name, value in peer.items():
        setattr(links, name, value)
    assert outcome(lane, {"link": {}, "register": "l"}, step)[0] == code


def test_a_message_is_sent_as_given(lane, links):
    sent = [
        {"send": {"link": "l", "type": 5, **more}}
        for more in ({"hex": "00ff", "says": 9}, {"bytes": 3, "before": "01"}, {})
    ]
    assert outcome(lane, {"link": {"as_far_as": "tls"}, "register": "l"}, *sent) == PASSED
    pieces = bare_links.PIECES
    assert links.kept[0].did == [
        ("send", 5, b"\0\xff", 9, b"", pieces),
        ("send", 5, bytes(3), None, b"\1", pieces),
        ("send", 5, b"", None, b"", pieces),
    ]


def test_a_link_comes_from_the_address_that_is_given(lane, links):
    assert outcome(lane, {"link": {"from": "127.0.0.2"}}, {"link": {}}) == PASSED
    assert [one.source for one in links.kept] == ["127.0.0.2", ""]


def test_a_link_says_what_it_can_do(lane, links):
    assert outcome(lane, {"link": {"capabilities": 3}}, {"link": {}}) == PASSED
    assert [one.capabilities for one in links.kept] == [3, 11]


def test_a_message_in_pieces_is_the_same_message():
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = Link(server.getsockname()[1], None, source="127.0.0.2")
        peer, (address, _) = server.accept()
        with peer, mine:
            sending = threading.Thread(target=mine.send, args=(5, b"body", None, b"12", (3, 5)))
            sending.start()
            first = peer.recv(100)
            sending.join()
            rest = peer.recv(100)
    assert (address, first, first + rest) == ("127.0.0.2", b"12\5", b"12\5\0\4\0\0\0body")


@pytest.mark.parametrize(("proxied", "code"), [(3.0, None), (3.1, "latency_ratio")])
def test_the_ratio_of_the_fastest_medians_is_the_gate(lane, monkeypatch, proxied, code):
    turns = {False: iter([[1.0] * 5, [2.0] * 5]), True: iter([[proxied] * 5, [60.0] * 5])}
    monkeypatch.setattr(latency, "acknowledgements", lambda play, through, rounds: next(turns[through]))
    detail = entry_of(lane, {"acknowledged": {"turns": 2, "rounds": 5, "most": 3}})["detail"]
    assert detail.get("code") == code
    assert code or "p50 3000.00 ms, p95 60000.00 ms" in detail["witnesses"][0]


def test_an_acknowledgement_is_waited_for_after_four_movements(lane, links):
    play: Any = SimpleNamespace(lane=lane)
    found = latency.acknowledgements(play, True, 2)
    main, inputs = links.kept
    assert len(found) == 2 and all(0 <= one < 5 for one in found)
    assert (main.port, main.ca, main.did) == (17900, "CA", [("link", 1, "good", 0)])
    assert inputs.did == [("link", 3, "good", 77), *([("send", 111, bytes(10), None)] * 4 + ["receive"] * 2) * 2]
    latency.acknowledgements(play, False, 1)
    assert (links.kept[2].port, links.kept[2].ca, links.kept[2].did) == (17904, None, [("link", 1, TICKET, 0)])
    latency.acknowledgements(play, False, 1, port=9)
    assert links.kept[4].port == 9
    links.sending = LinkClosed("x")
    assert outcome(lane, {"acknowledged": {}}) == WRONG
    for proxied, words in ((True, "through the proxy"), (False, "directly to qemu")):
        with pytest.raises(Unmet, match=words):
            latency.acknowledgements(play, proxied, 1)


@pytest.mark.parametrize(
    ("actor", "measure", "most"), [("acknowledged", "acknowledgements", 20.0), ("key_to_serial", "serial_lines", 4.0)]
)
def test_what_is_judged_when_a_suite_names_no_ratio(lane, monkeypatch, actor, measure, most):
    for ratio, failure in ((most, PASSED), (most + 0.5, ("latency_ratio", "proxy"))):
        seconds = {True: ratio, False: 1.0}
        monkeypatch.setattr(latency, measure, lambda play, through, rounds, seconds=seconds: [seconds[through]])
        assert outcome(lane, {actor: {}}) == failure


@pytest.mark.parametrize(
    ("said", "failure"), [(["key: y", "key: x"], PASSED), (["key: y"], ("serial_line_missing", "proxy"))]
)
def test_a_key_is_sent_and_its_line_awaited(lane, links, monkeypatch, said, failure):
    serial = Path(lane.place.serial_log)
    serial.write_text("key: x\r\n")  # of before

    def send(link: FakeLink, kind: int, body: bytes) -> None:
        link.did.append(("send", kind, body))
        if kind == 102:
            with serial.open("a") as file:
                file.write("".join(f"{line}\r\n" for line in said))

    links.send = send
    monkeypatch.setattr(latency, "LONGEST", 0.05)
    detail = entry_of(lane, {"key_to_serial": {"turns": 1, "keys": 2, "most": 1000}})["detail"]
    assert (detail.get("code"), detail.get("component")) == failure
    assert links.kept[1].did[1:3] == [("send", 101, b"\x2d\0\0\0"), ("send", 102, b"\xad\0\0\0")]
    ports = [one.port for one in links.kept]
    if failure == PASSED:
        assert ports == [17904, 17904, 17900, 17900]
        assert list(detail["latency"]) == ["through kerbside", "directly to qemu"]
    else:
        assert ports == [17904, 17904]


def test_a_key_whose_line_comes_later_is_waited_for(lane, monkeypatch):
    looks = iter(["", "", "key: x\r\n", "", "key: x\r\n"])
    Path(lane.place.serial_log).touch()
    keyboard = SimpleNamespace(send=lambda *_: None)
    monkeypatch.setattr(latency, "inputs_of", lambda play, proxied: contextlib.nullcontext(keyboard))
    monkeypatch.setattr(latency, "tail", lambda path, at: next(looks))
    assert len(latency.serial_lines(SimpleNamespace(lane=lane), True, 2)) == 2
    assert not list(looks)


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("proxied", "failure"), [(0.3125, PASSED), (0.3126, ("latency_ratio", "proxy"))])
def test_the_lower_quartiles_of_keys_to_draw_are_compared(lane, links, monkeypatch, proxied, failure):
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    # the second of seven is the lower quartile; what is less and what is more does not count
    takes = iter([0.0625, proxied, *[9.0] * 5, 0.0625, 0.125, *[0.25] * 5])
    lane.talk.on_play = lambda step: clock.sleep(next(takes) if getattr(step, "verb", "") == "send_key" else 0.0)
    first, then = {"key_to_draw": {"keys": 7}, "register": "proxied"}, {"key_to_draw": {"keys": 7, "than": "proxied"}}
    assert outcome(lane, {"connect": {}}, first, then) == failure
    assert not list(takes)


@pytest.mark.parametrize(("options", "way"), [({}, "through kerbside"), ({"direct": True}, "directly to qemu")])
def test_a_key_is_pressed_and_its_picture_awaited(lane, links, options, way):
    entry = entry_of(lane, {"connect": options}, {"key_to_draw": {"keys": 2}})
    assert list(entry["detail"]["latency"]) == [way]
    did = [one if isinstance(one, tuple) else getattr(one, "verb", one) for one in lane.talk.did]
    once = [("subscribe", ()), "send_key", "expect_event"]
    assert did[-8:-1] == [("subscribe", ("surface_drawn",)), *once * 2]
