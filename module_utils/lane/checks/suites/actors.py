"""All actors that a step of a suite can address, by name."""

from __future__ import annotations

from . import authorize, commands, control, gtk, latency, links, pictures, sextant, slow_links, witnesses
from .plan import Actor

ACTORS: dict[str, Actor] = {
    **witnesses.ACTORS,
    **authorize.ACTORS,
    **control.ACTORS,
    **commands.ACTORS,
    **pictures.ACTORS,
    **links.ACTORS,
    **sextant.ACTORS,
    **latency.ACTORS,
    **slow_links.ACTORS,
    **gtk.ACTORS,
}
