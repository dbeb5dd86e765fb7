"""Actors that need a whole picture or a large text: the clipboard's limit, what ryll shows against what qemu draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import LaneError
from ...core.private_dir import write_private
from ...protocols.qmp import Qmp
from ...protocols.ryll import pictures, shots
from .. import second_look
from ..outside_checks import screendump
from ..picture_compare import size
from .conversation import CLIENT_LIMIT
from .engine import Play, Unmet
from .plan import LOOK_LIMIT, Actor, Option, Step
from .witnesses import value

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...protocols.ryll.client import Client

#: Seconds between two attempts to find both pictures equal: what is drawn travels through qemu's refresh, the proxy
#: and ryll's decoder.
AGAIN = 0.1
TO_CLIENT = "bytes_relayed_total{direction=server_to_client}"
#: Bytes that the other channels may get while the guest draws; 8 to 36 were seen.
OTHER_CHANNELS = 200
LETTERS = "abcdefghij"


def _text(size: int) -> str:
    return (LETTERS * (size // len(LETTERS) + 1))[:size]


def clipboard(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    play.talk(step.client).do({"clipboard_set": {"text": _text(options["bytes"])}})
    return f"{options['bytes']} bytes offered"


def clipboard_is(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """The client's clipboard holds that text as the guest gives it back: in capitals."""
    found = play.talk(step.client).stage.client.request("clipboard_get", {}, deadline).get("text")
    if found != _text(options["bytes"]).upper():
        problem = f"the clipboard holds {len(found or '')} bytes that are not the {options['bytes']} expected ones"
        raise Unmet("clipboard_wrong", problem)
    return f"{len(found)} bytes, in capitals"


def shown(play: Play, client: str) -> Image:
    """What ryll shows."""
    return shown_by(play.talk(client).stage.client)


def shown_by(client: Client) -> Image:
    return shots.now(client, time.monotonic() + CLIENT_LIMIT)


def drawn(play: Play, qmp: Qmp) -> Image:
    """What qemu draws."""
    return screendump(play.lane.place.lane_dir, qmp)


def spoiled(
    play: Play, client: str, code: str, problem: str, evidence: str, right: Callable[[Image], bool]
) -> LaneError:
    """The failure of a picture that is wrong though qemu's is right: ryll's or, after a second look, the proxy's."""
    error = LaneError(code, "ryll", problem, evidence=evidence)
    return look_again(play, client, error, lambda direct: right(shown_by(direct)))


def look_again(play: Play, client: str, error: LaneError, right: Callable[[Client], bool]) -> LaneError:
    """A client's failure: the proxy's when the same ryll does it right without the proxy."""
    place = play.lane.place
    return second_look.blame(error, place.lane_dir, play.lane.run, client, place.spice_port, right)


def equal(mine: Image, truth: Image) -> bool:
    return mine.size == truth.size and mine.tobytes() == truth.tobytes()  # == compares the classes of files as well


def same_picture(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Both pictures are equal, pixel by pixel, while nothing moves; or they are not until the end (`differs`)."""
    with play.lane.qmp() as qmp:
        while True:
            mine, truth = shown(play, step.client), drawn(play, qmp)
            if equal(mine, truth):
                if options["differs"]:
                    raise Unmet("picture_equal", "ryll shows what qemu draws")
                if colour := pictures.one_colour(mine):
                    raise Unmet("picture_empty", f"qemu and ryll both show nothing but {colour}")
                return f"{size(mine)}, equal to qemu's screendump"
            if time.monotonic() >= deadline:
                break
            time.sleep(AGAIN)
    if options["differs"]:
        return f"not equal for {step.limit:g} s"
    for picture, name in ((mine, "shown"), (truth, "drawn")):
        write_private(Path(play.lane.place.logs_dir, f"suite-{play.suite.name}-{name}.png"), pictures.to_png(picture))
    problem = f"{size(mine)} and not {size(truth)}" if mine.size != truth.size else str(pictures.compare(mine, truth))
    problem = f"ryll does not show what qemu draws: {problem}"
    evidence = f"{play.lane.place.logs_dir}/suite-{play.suite.name}-shown.png"
    raise spoiled(play, step.client, "picture_differs", problem, evidence, lambda picture: equal(picture, truth))


def relayed(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """What the proxy counted as relayed to the client since then is what the client's display got, but for a few
    bytes of other channels. The first of two such steps waits until neither number grows any more: what the proxy has
    passed on is not yet ryll's.
    """
    last = None
    before = play.value(options["than"]) if options["than"] else {"proxy": 0.0, "client": 0.0}
    while True:
        stats = play.talk(step.client).stage.client.request("stats", {}, time.monotonic() + CLIENT_LIMIT)
        seen = {"client": stats["display"]["bytes_in"], "proxy": value(play.lane.counters(), TO_CLIENT)}
        relayed, got = seen["proxy"] - before["proxy"], seen["client"] - before["client"]
        if not options["than"] and (seen == last or time.monotonic() >= deadline):
            return seen
        last = seen
        if options["than"] and 0 <= relayed - got <= OTHER_CHANNELS and got > 0:
            return {**seen, "shown": f"{relayed:.0f} bytes relayed, {got} of them for the display"}
        if options["than"] and time.monotonic() >= deadline:
            problem = f"the proxy counted {relayed:.0f} bytes to the client, whose display got {got}"
            raise Unmet("relayed_bytes_differ", problem)
        time.sleep(AGAIN)


ACTORS: dict[str, Actor] = {
    "clipboard": Actor({"bytes": Option("size", required=True)}, clipboard, "ryll"),
    "clipboard_is": Actor({"bytes": Option("size", required=True)}, clipboard_is, "guest"),
    "relayed": Actor({"than": Option("word", refers=("relayed",))}, relayed, "proxy", "daemon", limit=LOOK_LIMIT),
    "same_picture": Actor({"differs": Option("truth", False)}, same_picture, "ryll"),
}
