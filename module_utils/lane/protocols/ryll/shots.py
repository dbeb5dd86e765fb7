"""The step `screenshot`: pictures until one is as wanted, and what is wrong with it otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.private_dir import write_private
from .errors import BadSteps, Malformed, Unmet
from .pictures import Difference, compare, one_colour, read, read_file, to_png
from .replies import Shot, Surface
from .stage import Stage
from .steps import Step

if TYPE_CHECKING:
    from PIL.Image import Image

    from .client import Client

#: Seconds between two pictures of a step that waits for the right one.
SETTLE_INTERVAL = 0.05


def screenshot(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    """Take pictures until one is as wanted, for `settle` seconds: a new surface is black until the guest has drawn on
    it.
    """
    settled = min(deadline, time.monotonic() + step.options["settle"])
    while True:
        try:
            return _judge(stage, step, deadline)
        except Unmet:
            if time.monotonic() + SETTLE_INTERVAL >= settled:
                raise
        stage.client.pump(time.monotonic() + SETTLE_INTERVAL)


def now(client: Client, deadline: float) -> Image:
    """What the first surface shows at this moment."""
    shot = Shot.read(client.request("screenshot", {"surface_id": 0, "format": "rgba"}, deadline))
    return read("rgba", shot.data, shot.width, shot.height)


def _judge(stage: Stage, step: Step, deadline: float) -> dict[str, Any]:
    options = step.options
    shot, picture = _still(stage, step, deadline) if options["until_still"] else _take(stage, options, deadline)
    stage.taken = picture
    file = options["file"]
    if file:
        write_private(file, shot.data)
    seen: dict[str, Any] = {"format": shot.format, "width": shot.width, "height": shot.height, "bytes": len(shot.data)}
    seen["one_colour"] = one_colour(picture.crop(options["region"].box) if options["region"] else picture)
    seen |= {"file": file} if file else {}
    where = f"the region {options['region']}" if options["region"] else "the picture"
    fix = f"look at {file}" if file else ""
    if options["not_one_colour"] and seen["one_colour"]:
        raise Unmet(f"{where} has only one colour, {seen['one_colour']}", fix)
    for key in ("same_as", "differs_from"):
        if options[key]:
            other = stage.kept[options[key]].picture
            assert other is not None  # `plan` saw to it that the step took a picture
            difference = _difference(picture, other, options)
            if (difference is None) != (key == "same_as"):
                how = f"not equal to that of {options[key]!r}: {difference}"
                raise Unmet(f"{where} is {how if difference else f'the same as that of {options[key]!r}'}", fix)
            seen[key] = options[key]
    if options["equals"]:
        _equals(picture, options, where, fix)
        seen["equals"] = options["equals"]
    if step.register:
        stage.kept[step.register].picture = picture
        stage.kept[step.register].size = picture.size
    return seen


def _equals(picture: Image, options: dict[str, Any], where: str, fix: str) -> None:
    """Raise Unmet unless the picture equals the PNG of `equals`; `difference` then shows where it does not."""
    path = options["equals"]
    try:
        reference = read_file(path)
    except OSError as error:
        raise BadSteps(f"the reference picture {path} cannot be read: {error.strerror or error}") from None
    if options["difference"]:
        Path(options["difference"]).unlink(missing_ok=True)
    if (wrong := _difference(picture, reference, options)) is None:
        return
    if options["difference"] and isinstance(wrong, Difference):
        write_private(options["difference"], to_png(wrong.picture))
        fix = f"look at {options['difference']}"
    raise Unmet(f"{where} is not equal to {path}: {wrong}", fix)


def _difference(one: Image, other: Image, options: dict[str, Any]) -> Difference | str | None:
    """How two pictures differ in the region and outside the masks; None when they count as equal."""
    if one.size != other.size:
        return f"it is {one.width}x{one.height}, not {other.width}x{other.height}"
    found = compare(one, other, options["masks"], region=options["region"])
    return None if found.accepted(options["lossy"]) else found


def _still(stage: Stage, step: Step, deadline: float) -> tuple[Shot, Image]:
    """The first picture that has not changed for `until_still` seconds, in the region and outside the masks.

    Raises Unmet at the deadline.
    """
    options = step.options
    shot, picture = _take(stage, options, deadline)
    since, changes = time.monotonic(), 0
    while time.monotonic() - since < options["until_still"]:
        if time.monotonic() + SETTLE_INTERVAL >= deadline:
            never = f"the picture never stood still for {options['until_still']:g} s within {step.limit:g} s"
            raise Unmet(f"{never}; it changed {changes} times")
        stage.client.pump(time.monotonic() + SETTLE_INTERVAL)
        shot, newer = _take(stage, options, deadline)
        if _difference(newer, picture, {**options, "lossy": False}) is not None:
            since, changes = time.monotonic(), changes + 1
        picture = newer
    return shot, picture


def _take(stage: Stage, options: dict[str, Any], deadline: float) -> tuple[Shot, Image]:
    """A whole picture of the size of its surface."""
    shot, surface = _shoot(stage, options["surface_id"], options["format"], deadline)
    width, height = options["size"] or (surface.width, surface.height)
    if (shot.width, shot.height) != (width, height):
        whose = "as wanted" if options["size"] else "as its surface"
        raise Unmet(f"the picture is {shot.width}x{shot.height}, not {width}x{height} {whose}")
    if options["region"] and not options["region"].inside(shot.width, shot.height):
        raise Unmet(f"the region {options['region']} is not inside the picture, which is {shot.width}x{shot.height}")
    return shot, read(shot.format, shot.data, shot.width, shot.height)


def _shoot(stage: Stage, surface_id: int, form: str, deadline: float) -> tuple[Shot, Surface]:
    """A picture and the surface that it shows; when the surface's size changed meanwhile, both are taken again."""
    while True:
        surface = stage.client.status(deadline).surface(surface_id)
        shot = Shot.read(stage.client.request("screenshot", {"surface_id": surface_id, "format": form}, deadline))
        if shot.format != form:
            raise Malformed(f"ryll sent a picture of another format than {form}", sample=shot.format)
        if surface == stage.client.status(deadline).surface(surface_id) or time.monotonic() >= deadline:
            if surface is None:
                raise Unmet(f"ryll gave a picture of surface {surface_id}, which its status does not list")
            return shot, surface
