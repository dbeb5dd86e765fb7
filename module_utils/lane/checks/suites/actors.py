"""All actors that a step of a suite can address, by name."""

from __future__ import annotations

from . import authorize, control, gtk, latency, links, pictures, sextant, slow_links, witnesses
from .plan import Actor

ACTORS: dict[str, Actor] = {
    **witnesses.ACTORS,
    **authorize.ACTORS,
    **control.ACTORS,
    **pictures.ACTORS,
    **links.ACTORS,
    **sextant.ACTORS,
    **latency.ACTORS,
    **slow_links.ACTORS,
    **gtk.ACTORS,
}
