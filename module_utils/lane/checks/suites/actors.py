"""All actors that a step of a suite can address, by name."""

from __future__ import annotations

from . import (
    audit,
    authorize,
    commands,
    control,
    gtk,
    latency,
    links,
    pictures,
    resources,
    sextant,
    slow_links,
    socket_lines,
    witnesses,
)
from .plan import Actor

ACTORS: dict[str, Actor] = {
    **witnesses.ACTORS,
    **audit.ACTORS,
    **authorize.ACTORS,
    **control.ACTORS,
    **commands.ACTORS,
    **pictures.ACTORS,
    **links.ACTORS,
    **sextant.ACTORS,
    **latency.ACTORS,
    **resources.ACTORS,
    **slow_links.ACTORS,
    **socket_lines.ACTORS,
    **gtk.ACTORS,
}
