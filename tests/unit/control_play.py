"""Steps that are played against a ryll of the tests, and handlers that several tests share."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.session import Settings, run
from ansible.module_utils.lane.protocols.ryll.steps import plan
from control_peer import METHODS, STATUS, Connection, Peer, Ryll, png, shot, sized

ROOT = Path(__file__).parents[2]
Handler = Callable[[Connection], object]
H: dict[str, Any] = {"hello": {}}
BUSY = 3.0  #: times longer than on an idle machine


def play(
    handler: Handler | Sequence[Handler], *steps: object, step_limit: float = 5.0, **settings: Any
) -> dict[str, Any]:
    """Play the steps; several handlers are for one connection each."""
    with Peer(*(handler if isinstance(handler, Sequence) else [handler])) as peer:
        return run(Settings(peer.path, **settings), plan(list(steps), step_limit))


def fail(handler: Handler | Sequence[Handler], *steps: object, **settings: Any) -> SessionFailed:
    with pytest.raises(SessionFailed) as caught:
        play(handler, *steps, **settings)
    transcript = caught.value.result["transcript"]
    assert [entry["index"] for entry in transcript] == list(range(1, len(steps) + 1))
    at = [entry["result"] for entry in transcript].index("failed")
    assert [entry["result"] for entry in transcript] == ["ok"] * at + ["failed"] + ["skipped"] * (len(steps) - at - 1)
    assert "\n" not in str(caught.value)
    return caught.value


def seen(result: dict[str, Any], number: int = -1) -> dict[str, Any]:
    return result["transcript"][number]["seen"]


def ryll(**changed: Any) -> Ryll:
    """A ryll that is changed: attributes, and methods as functions of connection, request and parameters."""
    made = Ryll()
    vars(made).update(changed)
    return made


def dancing(answer: Callable[[Any], dict[str, Any]]) -> Ryll:
    """A ryll with one more verb."""
    return ryll(on_dance=lambda c, r, p: c.accept(r, answer(p)), methods=[*METHODS, "dance"])


def without(verb: str) -> Ryll:
    return ryll(methods=[name for name in METHODS if name != verb])


def silent_after_status(c: Connection) -> None:
    c.hello()
    c.accept(c.request(), STATUS)
    c.wait()


def shots(*found: tuple[int, int, bytes], form: str = "png", surfaces: list[tuple[int, int]] | None = None) -> Handler:
    """A ryll that gives these pictures (width, height, data) in turn, and these surface sizes to status, the last of
    each for ever.
    """

    def serve(c: Connection) -> None:
        c.hello()
        sizes, left = list(surfaces or [(8, 4)]), list(found)
        for request in c.requests():
            if request["method"] == "status":
                c.accept(request, sized(*(sizes.pop(0) if len(sizes) > 1 else sizes[0])))
            else:
                c.accept(request, shot(*(left.pop(0) if len(left) > 1 else left[0]), form))

    return serve


SUBSCRIBE = {"subscribe": {"events": ["surface_drawn", "latency", "dropped"]}}


def events_after_subscribe(*events: tuple[str, dict[str, Any]], later: float = 0.0) -> Handler:
    def serve(c: Connection) -> None:
        c.hello()
        request = c.request()
        c.accept(request, {"subscribed": request["params"]["events"]})
        time.sleep(later)
        for name, data in events:
            c.event(name, **data)
        for request in c.requests():
            c.accept(request, STATUS)

    return serve


def steep(x: int, y: int) -> tuple[int, int, int]:
    return x, y, 0


FLAT, STEEP = png(8, 4, lambda x, y: (1, 2, 3)), png(8, 4, steep)
PRESS: dict[str, Any] = {"send_key": {"key": "a"}}
SHOT: dict[str, Any] = {"screenshot": {}, "register": "a"}
