"""The scenarios of docs/ryll_session.md fail where the guest does not do its part; tests/playbooks/test_scenarios.py
plays them on the real ryll.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.protocols.ryll.pictures import to_png
from control_peer import Connection, Ryll, shot
from control_play import ROOT, fail
from PIL import Image

PAGE = (ROOT / "docs/ryll_session.md").read_text(encoding="utf-8")
SCENARIOS: list[dict[str, Any]] = [
    yaml.safe_load(block)[0] for block in re.findall(r"<!-- scenario -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
]


class Guest(Ryll):
    """With the habits of the built-in guest: F2 and F3 close and open the agent's port."""

    def __init__(self) -> None:
        super().__init__()
        self.agent = True
        self.shade = lambda: len(self.keys) & 255

    def on_screenshot(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        """A picture of two colours, the lower one by the number of keys, quickly made."""
        width, height = self.size
        picture = Image.new("RGB", self.size, (1, 2, 3))
        picture.paste((9, 9, self.shade()), (0, height // 2, width, height))
        connection.accept(request, shot(width, height, to_png(picture)))

    def on_send_key(self, connection: Connection, request: dict[str, Any], params: dict[str, Any]) -> None:
        super().on_send_key(connection, request, params)
        if params["scancode"] in (0x3C, 0x3D):
            self.agent = params["scancode"] == 0x3D
            self.tell(connection, "agent_connected", connected=self.agent)


def deaf(guest: Guest) -> None:
    """Takes keys and draws, but its picture stays the same."""
    guest.shade = lambda: 0


def echo(guest: Guest) -> None:
    """Has an agent, but the clipboard never reaches the guest."""
    vars(guest)["on_clipboard_set"] = lambda c, r, p: c.accept(r, {})


def rigid(guest: Guest) -> None:
    """Says yes to a size and keeps its own."""
    vars(guest)["on_resize"] = lambda c, r, p: c.accept(r, {"width": p["width"], "height": p["height"]})


@pytest.mark.parametrize(
    ("number", "fault", "step"),
    [(0, deaf, "the picture has changed"), (1, echo, "the guest answers"), (2, rigid, "the surface follows")],
)
def test_a_scenario_is_red_when_the_guest_fails(number: int, fault: Any, step: str, tmp_path: Path) -> None:
    assert len(SCENARIOS) == 3
    guest = Guest()
    fault(guest)
    text = yaml.safe_dump(SCENARIOS[number]["ryll_session"]["steps"]).replace("{{ pictures }}", str(tmp_path))
    steps = [one | ({"within": 0.1} if one.get("name") == step else {}) for one in yaml.safe_load(text)]
    failed = fail(guest, *steps)
    assert (failed.component, failed.check) == ("guest", step)
