"""The actor that runs programs of kerbside's to their end, beside those that the lane keeps running."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...core import command, secrets
from ...core.errors import one_line
from ...core.private_dir import write_private
from . import tokens
from .engine import Play, Unmet
from .kinds import CASE
from .plan import Actor, Option, Step
from .stage import read_text, refuse_ticket

LIMIT = 30.0  #: seconds for kerbside to start and to end
SOURCES = "KERBSIDE_SOURCES_PATH"
SOCKET = "KERBSIDE_API_SOCKET_PATH"
#: A JSON web token, which is a secret.
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
#: What kerbside imports of others: nine tenths of the time that a start of it takes.
MODULES = (
    "alembic.command alembic.config click flask flask_jwt_extended flask_request_id flask_restful grpc jwt pymysql "
    "pydantic_settings requests sqlalchemy.dialects.mysql.pymysql sqlalchemy.ext.declarative sqlalchemy.orm "
    "webargs.flaskparser yaml shakenfist_utilities.api google.protobuf.runtime_version "
    "google.protobuf.symbol_database concurrent.futures.thread"
).split()
#: Played by the Python of kerbside's environment. argv: a file with `modules`, and `cases`, each of which becomes a
#: process of its own as soon as these are imported. Says their statuses.
PROGRAM = """
import gc, importlib, json, os, runpy, sys
asked = json.load(open(sys.argv[1]))
for name in asked["modules"]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # this kerbside does without it
gc.freeze()
running = []
for case in asked["cases"]:
    child = os.fork()
    if child:
        running.append(child)
        continue
    output = os.open(case["output"], os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(case["env"])
    sys.argv = case["argv"]
    if os.path.basename(sys.argv[0]) == "python":
        exec(sys.argv[2], {"__name__": "__main__"})
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit()
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in running]))
"""


def run(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Run the program, or once for each of `cases`, all at the same time. Registers the last line of the (first)
    output.
    """
    cases = [{**options, **case} for case in options["cases"] or [{}]]
    lane_dir = Path(play.lane.place.lane_dir)
    base = play.lane.described["daemon"].environment(play.lane.run, str(lane_dir))
    with ExitStack() as stack:
        asked = []
        for number, case in enumerate(cases):
            given = {**(options["settings"] or {}), **(case["settings"] or {})}
            if (text := _sources(case, base)) is not None:
                given[SOURCES] = _written(stack, lane_dir / "secrets" / f"command_sources{number}", text)
            # a socket of its own, or the running daemon's would be taken from it
            env = {**base, SOCKET: str(lane_dir / "tmp" / f"command{number}" / "api.sock"), **given}
            env = {name: str(value) for name, value in env.items() if value is not None}
            output = _written(stack, lane_dir / "secrets" / f"command_output{number}", "")
            path = Path(play.lane.place.database_python).with_name(case["run"][0])
            asked.append({"argv": [str(path), *case["run"][1:]], "env": env, "output": output})
        file = _written(stack, lane_dir / "secrets" / "command", json.dumps({"cases": asked, "modules": MODULES}))
        argv = [play.lane.place.database_python, "-c", PROGRAM, file]
        limit = deadline - time.monotonic()
        done = command.run(argv, base, limit, " ".join(options["run"]), component="kerbside", cwd=str(lane_dir))
        if done.status:
            raise Unmet("suite_command_ended", f"`{' '.join(options['run'])}` was not run: {one_line(done.said, 200)}")
        said = [read_text(str(one["output"])) for one in asked]
    for case, status, text in zip(cases, json.loads(done.out.splitlines()[-1]), said, strict=True):
        _judge(play, case, status, text)
        if case["claims"] is not None:
            _compare_claims(_last(text), case["claims"])
        if case["private"] is not None:
            _require_private(case["private"])
    return {"out": _last(said[0]), "shown": f"{one_line(' '.join(options['run']), 60)} ended as expected"}


def _last(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def _sources(case: dict[str, Any], base: dict[str, str]) -> str | None:
    """The text of another sources.yaml than the lane's."""
    if case["add_sources"] is not None:
        return read_text(base[SOURCES]) + str(case["add_sources"])
    return None if case["sources"] is None else str(case["sources"])


def _written(stack: ExitStack, path: Path, text: str) -> str:
    """A file that only its owner can read, for as long as it is needed."""
    write_private(path, text.encode())
    stack.callback(path.unlink)
    return str(path)


def _judge(play: Play, case: dict[str, Any], status: int, said: str) -> None:
    """The program has ended and spoken as it has to, and no secret of the lane is in what it said."""
    what = one_line(" ".join(case["run"]), 60)
    for token in TOKEN.findall(said):
        secrets.register(play.lane.place.lane_dir, "bearer_token", token)
    refuse_ticket(play.lane.place, said, "kerbside", f"the output of `{what}`")
    last = one_line(TOKEN.sub("(token)", command.Done(status, said, "").said), 300)
    if status != case["exits"]:
        raise Unmet("suite_command_ended", f"`{what}` ended with status {status} and not {case['exits']}: {last}")
    if missing := [one for one in case["says"] or [] if not re.search(one, said)]:
        raise Unmet("suite_command_said", f"`{what}` did not say {missing[0]!r}, but: {last}")
    if present := [one for one in case["never"] or [] if re.search(one, said)]:
        raise Unmet("suite_command_said", f"`{what}` said {present[0]!r}")


def _compare_claims(token: str, wanted: dict[str, Any]) -> None:
    """The token says what is wanted; minutes: how long it is good for."""
    if not TOKEN.fullmatch(token):
        raise Unmet("suite_command_token", "the last line of the output is not a token")
    found = tokens.claims(token)
    if {"exp", "iat"} <= found.keys():
        found["minutes"] = (found["exp"] - found["iat"]) / 60
    if wrong := [name for name, value in wanted.items() if found.get(name) != value]:
        problem = f"the token says {wrong[0]}={found.get(wrong[0])!r}, not {wanted[wrong[0]]!r}"
        raise Unmet("suite_command_token", problem)


def _require_private(path: str) -> None:
    """A file with a token and nothing else, that nobody but its owner can read or write."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise Unmet("suite_command_private", f"{path} cannot be looked at: {error.strerror}") from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) != 0o600:
        raise Unmet("suite_command_private", f"{path} has mode {stat.filemode(mode)} and not -rw-------")
    if not TOKEN.fullmatch(read_text(path)):
        raise Unmet("suite_command_token", f"{path} does not hold a token alone")


ACTORS: dict[str, Actor] = {
    "command": Actor(
        {
            **{name: Option(kind) for name, kind in CASE.items()},
            "run": Option(CASE["run"], required=True),
            "exits": Option(CASE["exits"], 0),
            "cases": Option("cases"),
        },
        run,
        "kerbside",
        limit=LIMIT,
    )
}
