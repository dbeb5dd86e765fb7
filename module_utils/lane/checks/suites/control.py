"""Actors that do something to the lane: connect and stop clients, ask kerbside's API."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any

from ...core import local_http
from ...core.errors import LaneError, one_line
from ...core.private_dir import write_private
from ...programs import records
from ...programs.program import filled
from ...protocols import kerbside_api
from . import tokens
from .engine import Play, Unmet
from .pictures import look_again
from .plan import LOOK_LIMIT, Actor, Option, Step
from .stage import read_text, refuse_ticket
from .witnesses import tail, whole_lines

POLL = 0.05
#: Seconds between two looks at the serial port while a burst of keys is typed.
WINDOW_POLL = 0.002
JSON = "application/json"
#: Characters of a value of an answer that is shown: tokens are longer.
SHORT = 24


def console(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """A new console.vv. Registers its token (password), the same with one letter changed (changed) and in
    other case (swapped), the session's id, and the CA as the file has it."""
    keys = play.lane.console(options["of"])
    password, session = keys.get("password", ""), keys.get("title", "")[-12:]
    changed = password[:-1] + ("0" if password[-1:] != "0" else "1")
    words = {"session": session, "password": password, "changed": changed, "swapped": password.swapcase()}
    return {"keys": keys, **words, "ca": keys.get("ca", ""), "shown": f"session {session}"}


def keys_of(play: Play, options: dict[str, Any]) -> dict[str, str]:
    """The keys of a console.vv: of a step `console` or of a new one, after they were edited."""
    keys = play.value(options["console"])["keys"] if options["console"] else play.lane.console()
    edited = {**keys, **(options["edit"] or {})}
    return {key: str(value) for key, value in edited.items() if value is not None}


def connect(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    place = play.lane.place
    if options["direct"]:
        keys = kerbside_api.qemu_keys(place.spice_port, read_text(place.ticket_file))
    else:
        keys = keys_of(play, options)
    wanted = play.suite.ryll if options["options"] is None else tuple(options["options"])
    if options["refused"] is None:
        try:
            play.connect(step.client, keys, wanted, options["direct"])
        except LaneError as error:
            if options["direct"] or options["console"] or error.component != "ryll":
                raise
            raise look_again(play, step.client, error, lambda direct: True) from None
        return f"{step.client} shows the guest's picture"
    play.hang_up(step.client)
    play.lane.stop(step.client)
    ended, done = play.lane.refused(step.client, keys, wanted, max(0.1, deadline - time.monotonic()))
    said, last = f"{done.out}\n{done.err}", one_line(done.said, 200)
    refuse_ticket(place, said, "ryll", "ryll's output")
    if not ended:
        problem = f"ryll was not refused but still ran after {step.limit:g} s; its last words: {last}"
        raise Unmet("client_not_refused", problem, play.lane.log("daemon"))
    if done.status != options["exits"]:
        problem = f"ryll ended with status {done.status} and not {options['exits']}: {last}"
        raise Unmet("client_not_refused", problem)
    if not (found := re.search(options["refused"], said)):
        raise Unmet("client_refused_otherwise", f"ryll was refused, but not with {options['refused']!r}: {last}")
    return f"ryll ended with {done.status}: {one_line(found[0], 100)}"


def stop(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    play.hang_up(step.client)
    play.lane.stop(step.client)
    return f"{step.client} stopped"


def end_program(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Ask a program of the lane to end. Whoever looks at it next has to expect that it does."""
    entry = records.record(play.lane.place.lane_dir, options["name"])
    if entry is None or (pid := entry.pid) is None:
        raise LaneError("program_not_running", "lane", f"{options['name']} does not run, so it cannot be asked to end")
    os.kill(pid, signal.SIGTERM)
    return f"{options['name']} was sent SIGTERM"


def file(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """A file in the lane's directory: an empty one of that size, such as the disk that a client brings along, or a
    program that says `text`.
    """
    path = os.path.join(play.lane.place.lane_dir, "tmp", options["name"])
    text, mode = options["program"], 0o600 if options["program"] is None else 0o700
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as made:
        made.write((text or "").encode())
        made.truncate(options["bytes"])
    return {"path": path}


def burst(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Type a text as fast as the guest takes it: a window of keys, then the next when the guest has reported all of
    them on its serial port.

    qemu's keyboard holds 16 bytes, two or more for each key, and drops what is too much: without windows a busy
    machine would lose keys.
    """
    text, pattern = options["text"] * options["times"], re.compile(options["line"])
    path = play.lane.place.serial_log
    start = play.file_since(path, None)
    for at in range(0, len(text), options["window"]):
        piece = text[at : at + options["window"]]
        play.talk(step.client).do({"type": {"text": piece, "delay_ms": 0}})
        wanted = at + len(piece)
        while (reported := sum(1 for _, line in whole_lines(tail(path, start)) if pattern.search(line))) < wanted:
            if time.monotonic() >= deadline:
                raise Unmet("serial_line_missing", f"the guest reported {reported} of {wanted} keys", path)
            time.sleep(WINDOW_POLL)
        if reported > wanted:
            raise Unmet("serial_line_unexpected", f"the guest reported {reported} of {wanted} keys", path)
    return f"{len(text)} keys in windows of {options['window']}"


def _headers(play: Play, options: dict[str, Any]) -> dict[str, str]:
    token = play.lane.token() if options["token"] == "good" else options["token"]
    if options["jwt"] is not None:
        token = tokens.forged(play.lane.token(), read_text(play.lane.place.seed_file), options["jwt"])
    return {"Accept": options["accept"]} if token == "none" else kerbside_api.headers(token, options["accept"])


def api(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """A GET is repeated until its answer is as wanted; anything else is sent once."""
    method, path = options["method"], options["path"]
    headers = _headers(play, options)
    while True:
        answer = play.lane.request(method, path, headers, options["json"], options["shows_ticket"])
        problem = _wrong(answer, options, step.options["match"])
        if not problem:
            return f"{method} {path}: {answer.status}"
        if method != "GET" or not options["retry"] or time.monotonic() >= deadline:
            raise Unmet("api_answer_wrong", f"{method} {path} was answered {problem}")
        time.sleep(POLL)


def _wrong(answer: local_http.Answer, options: dict[str, Any], shown: str | None) -> str:
    """How an answer is not as wanted; "" if it is. shown: the pattern as the suite has it, without secrets."""
    status, body, kind = answer
    if status != options["status"]:
        return f"with {status} and not {options['status']}"
    wanted = options["type"] or (JSON if options["holds"] is not None else kind)
    if kind != wanted:
        return f"as {kind or 'nothing'} and not as {wanted}"
    if options["match"] is not None and not re.search(options["match"], body):
        return f"without {shown!r}"  # the body is not shown: some answers hold tokens
    if options["never"] is not None and re.search(options["never"], body):
        return f"with {options['never']!r}"
    if options["holds"] is not None:
        try:
            return lacking(options["holds"], json.loads(body), "the answer")
        except ValueError:
            return "with what is no JSON"
    return ""


def lacking(wanted: Any, found: Any, place: str) -> str:
    """What an answer lacks, in words; "" for nothing. Of a mapping these keys are wanted, of a list an entry like each
    of these, of a text that it matches a regular expression, and of anything else the same value of the same type.
    """
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if not isinstance(found, dict) or key not in found:
                has = f", which has {', '.join(map(str, found)) or 'nothing'}" if isinstance(found, dict) else ""
                return f"without {key} in {place}{has}"
            if problem := lacking(value, found[key], key):
                return problem
        return ""
    if isinstance(wanted, list):
        for value in wanted:
            entries = found if isinstance(found, list) else []
            problems = [lacking(value, one, f"an entry of {place}") for one in entries]
            if all(problems):
                seen = f" among {len(problems)}; the last is {problems[-1]}" if problems else "; there is none at all"
                return f"without an entry of {place} like {json.dumps(value)}{seen}"
        return ""
    if not isinstance(wanted, str):
        same = type(found) is type(wanted) and found == wanted
        return "" if same else f"with a {place} that is not {json.dumps(wanted)} but {json.dumps(found)[:SHORT]}"
    text = found if isinstance(found, str) else json.dumps(found)
    shown = repr(text) if len(text) <= SHORT else f"{len(text)} characters"
    return "" if re.fullmatch(wanted, text) else f"with a {place} that is not {wanted!r} but {shown}"


def edit_sources(play: Play) -> None:
    """Write the sources as the suite's machines have them now, for kerbside to reread.

    From then on the daemon does not run with what it was started with: whoever starts programs next, even after this
    command was killed, starts it anew, with the sources that it is to have.
    """
    lane = play.lane
    entry = records.record(lane.place.lane_dir, "daemon")
    if entry is None:
        raise LaneError("program_not_running", "lane", "kerbside's daemon was not started, so nobody rereads sources")
    entry.digest = ""
    entry.save(lane.place.lane_dir)
    for path, source in lane.kerbside("daemon", lane.settings).secret_files.items():
        write_private(path, filled(*source).encode())


def remove_console(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Take a console of the suite out of kerbside's sources, which are reread within a minute."""
    play.lane.machines.removed.add(options["of"])
    edit_sources(play)
    return f"{options['of']} is no longer in sources.yaml"


def move_console(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Have a console of the suite lead to another machine, in kerbside's sources."""
    play.lane.machines.consoles[options["of"]]["machine"] = options["to"]
    edit_sources(play)
    return f"{options['of']} leads to {options['to']} in sources.yaml"


_CONSOLE = Option("word", required=True, refers=("consoles",))
ACTORS: dict[str, Actor] = {
    "remove_console": Actor({"of": _CONSOLE}, remove_console),
    "move_console": Actor({"of": _CONSOLE, "to": Option("word", required=True, refers=("machines",))}, move_console),
    "burst": Actor(
        {
            "text": Option("word", required=True),
            "times": Option("whole", 1),
            "window": Option("whole", 6),
            "line": Option("pattern", "^key: "),
        },
        burst,
        "guest",
    ),
    "console": Actor({"of": Option("word", refers=("consoles",))}, console, "kerbside"),
    "connect": Actor(
        {
            "console": Option("word", refers=("console",)),
            "edit": Option("mapping"),
            "direct": Option("truth", False),
            "options": Option("any_texts"),
            "refused": Option("pattern"),
            "exits": Option("whole", 1),
        },
        connect,
        "proxy",
    ),
    "file": Actor(
        {"name": Option("file", required=True), "bytes": Option("size"), "program": Option("text")},
        file,
        one_of=("bytes", "program"),
    ),
    "stop": Actor({}, stop, "ryll"),
    "end_program": Actor({"name": Option("word", required=True)}, end_program),
    "api": Actor(
        {
            "method": Option("word", "GET", choices=("GET", "POST", "PUT", "DELETE")),
            "path": Option("path", required=True),
            "token": Option("text", "good"),
            "jwt": Option("claims"),
            "accept": Option("word", JSON),
            "type": Option("word"),
            "status": Option("whole", 200),
            "match": Option("pattern"),
            "never": Option("pattern"),
            "holds": Option("holds"),
            "retry": Option("truth", True),
            "json": Option("mapping"),
            "shows_ticket": Option("truth", False),
        },
        api,
        "kerbside",
        "api",
        limit=LOOK_LIMIT,
    ),
}
