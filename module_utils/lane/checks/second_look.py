"""Who spoiled a picture: a second ryll, connected directly to qemu, tells the proxy from ryll."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..core.errors import LaneError
from ..core.layout import Layout
from ..core.private_dir import Run
from ..programs import records
from ..programs.start import start
from ..programs.stop import stop
from ..protocols import kerbside_api
from ..protocols.ryll import steps
from ..protocols.ryll.client import Client
from ..protocols.ryll.private import Secrets
from ..protocols.ryll.stage import Stage
from ..protocols.ryll.verbs import play

NAME = "ryll_direct"
LIMIT = 15.0  #: seconds for the second ryll to start
SHOWN = 5.0  #: seconds until it shows a picture
SETTLE = 2.0  #: seconds until its picture has to be right
AGAIN = 0.1


def blame(
    error: LaneError,
    lane_dir: str,
    run: Run,
    client: str,
    spice_port: int,
    right: Callable[[Client], bool],
    code: str = "",
) -> LaneError:
    """The failure as the proxy's when the same ryll shows the right picture without the proxy, else as it was, with
    what was seen.

    client: the program whose picture was wrong or missing. It loses its session, because qemu serves one client at a
    time. right: whether a client shows what it has to show. code: of the proxy's failure, if not the same.
    """
    component, seen = "proxy", "shows it right"
    try:
        with direct(lane_dir, run, client, spice_port) as ryll:
            until = time.monotonic() + SETTLE
            while not right(ryll):
                if time.monotonic() > until:
                    code, component, seen = error.code, error.component, "does not show it right either"
                    break
                time.sleep(AGAIN)
    except LaneError:
        return error
    problem = f"{error.problem}; a new ryll, connected directly to qemu, {seen}"
    return LaneError(code or error.code, component, problem, error.fix, check=error.check, evidence=error.evidence)


@contextmanager
def direct(lane_dir: str, run: Run, client: str, spice_port: int) -> Iterator[Client]:
    """A connection to a ryll that was started as `client` was, but with qemu's own port and ticket.

    Raises LaneError.
    """
    like = records.described(lane_dir, client)
    if like is None:
        raise LaneError("program_missing", "lane", f"{client} was not started by this lane", "run ./lane smoke")
    file, socket = os.path.join(lane_dir, f"{NAME}.vv"), os.path.join(lane_dir, f"{NAME}.sock")
    ticket = Path(Layout(lane_dir).ticket_file).read_text(encoding="ascii")
    kerbside_api.write(file, kerbside_api.qemu_keys(spice_port, ticket))
    argv = list(like.argv)
    for option, value in (("--file", file), ("--control-socket", socket)):
        argv[argv.index(option) + 1] = value
    log = os.path.join(os.path.dirname(like.log), f"{NAME}.log")
    program = replace(like, name=NAME, argv=tuple(argv), log=log, ready=replace(like.ready, socket=socket), limit=LIMIT)
    try:
        start(lane_dir, run, [program], restart=True)
        with Client(socket) as ryll:
            stage = Stage(ryll, "kerbside-lane", Secrets([]))
            for step in steps.plan([{"hello": {}}, {"await": {"surfaces": 1, "marks": 1}, "within": SHOWN}]):
                play(stage, step, time.monotonic() + step.limit)
            yield ryll
    finally:
        if entry := records.record(lane_dir, NAME):
            stop(run, [entry], 5)
            records.remove(lane_dir, [NAME])
