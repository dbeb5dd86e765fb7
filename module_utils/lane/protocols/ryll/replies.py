"""ryll's answers as values whose shape was checked."""

from __future__ import annotations

import binascii
import math
from dataclasses import dataclass
from typing import Any

from .errors import Malformed

#: The largest side that ryll's own `resize` allows; a surface beyond it is not believed.
MOST_PIXELS = 16384
_KINDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    float: "a number",
    type(None): "null",
}


def take(found: dict[str, Any], key: str, kind: type, place: str) -> Any:
    """found[key] when it is exactly of this kind (true is no whole number). Raises Malformed naming place and key."""
    if key not in found:
        raise Malformed(f"`{key}` is missing in {place}")
    value = found[key]
    if type(value) is not kind:
        raise Malformed(f"`{key}` in {place} is {_KINDS[type(value)]}, not {_KINDS[kind]}")
    return value


def whole(found: dict[str, Any], key: str, place: str, least: int = 0, most: float = math.inf) -> int:
    """A whole number from least to most."""
    value: int = take(found, key, int, place)
    if not least <= value <= most:
        raise Malformed(f"`{key}` in {place} is {value}, not from {least} to {most}")
    return value


def names(found: dict[str, Any], key: str, place: str) -> tuple[str, ...]:
    """A list of texts."""
    value = take(found, key, list, place)
    if not all(isinstance(name, str) for name in value):
        raise Malformed(f"`{key}` in {place} is not a list of texts")
    return tuple(value)


@dataclass(frozen=True)
class Hello:
    """What the server is and can do."""

    server_name: str
    protocol_version: str
    methods: tuple[str, ...]
    events: tuple[str, ...]

    @classmethod
    def read(cls, result: dict[str, Any]) -> Hello:
        """Raises Malformed for a wrong shape, and when the protocol's major version is not 1 (any minor will do)."""
        place = "the answer to `hello`"
        version = take(result, "protocol_version", str, place)
        if not version.startswith("1."):
            raise Malformed(f"this ryll speaks protocol {version}, not major version 1")
        return cls(
            take(result, "server_name", str, place),
            version,
            names(result, "supported_methods", place),
            names(result, "supported_events", place),
        )


@dataclass(frozen=True)
class Surface:
    """One surface; width and height in pixels, 0 to MOST_PIXELS."""

    channel_id: int
    surface_id: int
    width: int
    height: int


@dataclass(frozen=True)
class Status:
    """What ryll knows of its session. spice_connected proves nothing: it is true before any link exists."""

    spice_connected: bool
    agent_connected: bool
    surfaces: tuple[Surface, ...]

    @classmethod
    def read(cls, result: dict[str, Any]) -> Status:
        place = "the answer to `status`"
        surfaces = []
        for entry in take(result, "surfaces", list, place):
            if not isinstance(entry, dict):
                raise Malformed(f"`surfaces` in {place} is not a list of objects: one is {_KINDS[type(entry)]}")
            where = f"a surface in {place}"
            ids = [whole(entry, key, where) for key in ("channel_id", "surface_id")]
            sides = [whole(entry, key, where, 0, MOST_PIXELS) for key in ("width", "height")]
            surfaces.append(Surface(*ids, *sides))
        spice, agent = (take(result, key, bool, place) for key in ("spice_connected", "agent_connected"))
        return cls(spice, agent, tuple(surfaces))

    def surface(self, surface_id: int) -> Surface | None:
        return next((one for one in self.surfaces if one.surface_id == surface_id), None)


@dataclass(frozen=True)
class Shot:
    """A screenshot as it came: width and height in pixels as ryll says, format "png" or "rgba", data not decoded."""

    width: int
    height: int
    format: str
    data: bytes

    @classmethod
    def read(cls, result: dict[str, Any]) -> Shot:
        place = "the answer to `screenshot`"
        text: str = take(result, "data_base64", str, place)
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise Malformed(f"`data_base64` in {place} is not base64 ({error})") from None
        return cls(
            whole(result, "width", place, 1, MOST_PIXELS),
            whole(result, "height", place, 1, MOST_PIXELS),
            take(result, "format", str, place),
            data,
        )


def marks(result: dict[str, Any]) -> int:
    """Marks that the display channel has drawn so far, out of the answer to `stats`; 0 while there is no such
    channel.
    """
    if result.get("display") is None:
        return 0
    return whole(take(result, "display", dict, "the answer to `stats`"), "marks_received", "`display` of `stats`")
