"""What the steps of one session share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .client import Client
from .private import Secrets

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class Kept:
    """What a registered step left for later ones: the newest event before it, a picture, a size in pixels."""

    event: int
    picture: Image | None = None
    size: tuple[int, int] | None = None


@dataclass
class Stage:
    """One session. secrets: texts that may not be shown. connect_wait: seconds to wait for the socket. taken: the last
    picture that a step judged.
    """

    client: Client
    client_name: str
    secrets: Secrets
    connect_wait: float = 0.0
    kept: dict[str, Kept] = field(default_factory=dict)
    acted: bool = False
    taken: Image | None = None
