"""`./lane matrix FILE`: see tools/fleet.py."""

from tools.fleet import main

__all__ = ("main",)
