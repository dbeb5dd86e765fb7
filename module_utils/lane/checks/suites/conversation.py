"""What a suite says to one of its clients."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from ...core.errors import LaneError
from ...programs import records
from ...protocols.ryll import steps as ryll_steps
from ...protocols.ryll.client import Client
from ...protocols.ryll.private import Secrets
from ...protocols.ryll.ryll_process import Watch
from ...protocols.ryll.stage import Kept, Stage
from ...protocols.ryll.verbs import play
from .plan import prelude

#: Seconds for an answer of ryll.
CLIENT_LIMIT = 10.0


class Conversation:
    """One connection to a client's control socket, with the steps of ryll_session."""

    def __init__(self, lane_dir: str, client: str, socket: str, log: str, slowness: float) -> None:
        entry = records.record(lane_dir, client)
        pid = entry.pid if entry else None
        if pid is None:
            how = records.ended_how(entry.last_status(lane_dir)) if entry else "was not started"
            raise LaneError("suite_client_gone", "ryll", f"the client {client} {how}", evidence=log)
        self.watch, self.slowness = Watch(pid), slowness
        self.stage = Stage(Client(socket, watch=self.watch), "kerbside-lane", Secrets([]), connect_wait=2.0)

    def open(self, events: Collection[str] = ()) -> None:
        """Say hello and subscribe."""
        for step in ryll_steps.plan(prelude(events)):
            self.play(step)

    def play(self, step: ryll_steps.Step) -> dict[str, Any]:
        step = replace(step, limit=step.limit * self.slowness)
        return play(self.stage, step, time.monotonic() + step.limit)

    def do(self, step: dict[str, Any]) -> dict[str, Any]:
        """Play a step that is given as a suite or ryll_session has it."""
        return self.play(ryll_steps.plan([{"hello": {}}, step])[-1])

    def subscribe(self, events: Iterable[str]) -> None:
        """Begin to keep these events, and forget those of before."""
        client = self.stage.client
        client.drain()
        client.events.kept.clear()
        if missing := [event for event in events if event not in client.subscribed]:
            client.subscribe(missing, time.monotonic() + CLIENT_LIMIT)

    def mark(self, name: str) -> None:
        """Let later steps name this moment in `since`."""
        self.stage.client.drain()
        self.stage.kept[name] = Kept(self.stage.client.events.last)

    def close(self) -> None:
        self.stage.client.close()
        self.watch.close()
