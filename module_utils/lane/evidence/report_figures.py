"""What report.html shows as figures: each guest's screen, how it differs from qemu's, the pictures of a suite's
checks, and latencies as a plot.
"""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import bounded, check_report

ROOM = 160_000  #: bytes of all pictures that are shown in the page; those that do not fit are only linked
LARGEST = 8 << 20  #: bytes of a picture that is read
WIDE, STRIP = 900, 300  #: pixels that a screen, and a picture of a strip, are scaled down to
KINDS = {
    "screenshot": "as ryll sees it through kerbside",
    "screendump": "the same moment, as qemu itself drew it",
    "difference": "white where the two differ",
}


@dataclass(frozen=True)
class Picture:
    """name: the file below the artifacts; words: about it; url: the picture itself, scaled down, or "" where there
    is no room for it.
    """

    name: str
    words: str
    url: str


@dataclass(frozen=True)
class Screen:
    """The pictures of one guest: screenshot and, where they differ, screendump and difference."""

    guest: str
    pictures: dict[str, Picture]

    @property
    def compared(self) -> bool:
        """Whether ryll's picture and qemu's can be laid over each other."""
        return {"screenshot", "screendump"} <= {kind for kind, picture in self.pictures.items() if picture.url}


class Room:
    """Reads pictures into the page until it is full."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self.left = ROOM

    def take(self, name: str, words: str, width: int) -> Picture | None:
        """The picture of that name; None where there is no such file."""
        file = bounded.open_regular(self.artifacts / name)
        if file is None:
            return None
        with file:
            data = file.read(LARGEST)
        url = ""
        for kind, made in (("webp", small(data, width)), ("png", data)):
            if made and len(made) <= self.left:
                self.left -= len(made)
                url = f"data:image/{kind};base64,{base64.b64encode(made).decode()}"
                break
        return Picture(name, words, url)


def small(data: bytes, width: int) -> bytes | None:
    """A picture in few bytes; None without Pillow, or for what is no picture that it can read."""
    try:
        from PIL import Image, WebPImagePlugin  # noqa: F401 - with it Pillow does not load all its plugins to save one
    except ImportError:  # plain ansible-playbook without requirements.txt
        return None
    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGB")
        picture.thumbnail((width, 2 * width))
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=70)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return out.getvalue()


def screens(room: Room, guests: list[str]) -> list[Screen]:
    """The guests' pictures, in the order in which they were checked.

    The smoke check gives those of earlier guests names with the guest in them.
    """
    last = check_report.last_guest(room.artifacts, guests)
    found = []
    for guest in dict.fromkeys([*guests, last]):
        pictures = {}
        for kind, words in KINDS.items():
            name = check_report.picture(kind, "" if guest == last else guest)
            if picture := room.take(name, f"{guest}: {words}", WIDE):
                pictures[kind] = picture
        if pictures:
            found.append(Screen(guest, pictures))
    return found


def strips(room: Room, checks: list[dict[str, Any]]) -> dict[str, list[Picture]]:
    """suite on guest -> the pictures that its checks kept, in order."""
    found: dict[str, list[Picture]] = {}
    for check in checks:
        name = str(check["detail"].get("picture"))
        if re.fullmatch(r"pictures/[\w.-]+\.png", name) and (picture := room.take(name, str(check["name"]), STRIP)):
            found.setdefault(f"{check['suite']} on {check['guest'] or 'no guest'}", []).append(picture)
    return found


# --- latencies --------------------------------------------------------------------------------------

LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 44, 12, 560, 150  #: the drawing area, in units of the SVG
DASHES = ("", "7 4", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Plot:
    """A distribution for each series, on a logarithmic scale of time.

    lines: (name, points of the polyline, dashes, median and 95th percentile in words); ticks: (x, words).
    """

    check: str
    lines: list[tuple[str, str, str, str]]
    ticks: list[tuple[float, str]]


def plots(checks: list[dict[str, Any]]) -> list[Plot]:
    """The latencies that checks measured (detail.latency: name -> milliseconds at evenly spaced percentiles, from the
    least to the most).
    """
    return [_plot(check["name"], check["detail"]["latency"]) for check in checks if "latency" in check["detail"]]


def _plot(check: str, series: dict[str, list[float]]) -> Plot:
    every = [value for values in series.values() for value in values]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    high = max(high, low + 1)

    def x(value: float) -> float:
        return round(LEFT + PLOT_WIDTH * (math.log10(value) - low) / (high - low), 1)

    lines = []
    for number, (name, values) in enumerate(series.items()):
        points = " ".join(
            f"{x(value)},{round(TOP + PLOT_HEIGHT * (1 - index / (len(values) - 1)), 1)}"
            for index, value in enumerate(values)
        )
        half, most = (values[round(part * (len(values) - 1))] for part in (0.5, 0.95))
        words = f"half within {half:.3g} ms and 95 % within {most:.3g} ms"
        lines.append((name, points, DASHES[number % len(DASHES)], words))
    return Plot(check, lines, [(x(10.0**power), f"{10.0**power:g} ms") for power in range(low, high + 1)])
