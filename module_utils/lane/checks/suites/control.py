"""Actors that do something to the lane: connect and stop clients, ask kerbside's API, read its audit."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

from ...core import command, local_http
from ...core.errors import LaneError, one_line
from ...core.private_dir import write_private
from ...programs import records
from ...programs.program import filled
from ...protocols import kerbside_api
from . import tokens
from .engine import Play, Unmet
from .plan import Actor, Option, Step
from .stage import ANSWER, read_text, refuse_ticket
from .witnesses import tail, whole_lines

POLL = 0.05
#: Seconds between two looks at the serial port while a burst of keys is typed.
WINDOW_POLL = 0.002
AUDIT_ROWS = 1000
JSON = "application/json"
#: Characters of a value of an answer that is shown: tokens are longer.
SHORT = 24
#: Played by the Python of kerbside's environment, which has a database driver. argv: socket, file with the password,
#: uuid.
AUDIT_QUERY = """
import json, sys, pymysql
password = open(sys.argv[2]).read()
base = pymysql.connect(unix_socket=sys.argv[1], user="kerbside", password=password, database="kerbside")
query = "SELECT session_id, channel, message FROM auditevents WHERE uuid = %s ORDER BY timestamp"
with base, base.cursor() as cursor:
    cursor.execute(query, (sys.argv[3],))
    print(json.dumps(cursor.fetchall()))
"""


def console(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """A new console.vv. Registers its token (password), the same with one letter changed (changed) and in
    other case (swapped), and the session's id."""
    keys = play.lane.console(options["of"])
    password, session = keys.get("password", ""), keys.get("title", "")[-12:]
    changed = password[:-1] + ("0" if password[-1:] != "0" else "1")
    words = {"session": session, "password": password, "changed": changed, "swapped": password.swapcase()}
    return {"keys": keys, **words, "shown": f"session {session}"}


def keys_of(play: Play, options: dict[str, Any]) -> dict[str, str]:
    """The keys of a console.vv: of a step `console` or of a new one, after they were edited."""
    keys = play.value(options["console"])["keys"] if options["console"] else play.lane.console()
    edited = {**keys, **(options["edit"] or {})}
    return {key: str(value) for key, value in edited.items() if value is not None}


def connect(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    place = play.lane.place
    if options["direct"]:
        keys = kerbside_api.qemu_keys(place.address, place.spice_port, read_text(place.ticket_file))
    else:
        keys = keys_of(play, options)
    wanted = play.suite.ryll if options["options"] is None else tuple(options["options"])
    if options["refused"] is None:
        play.connect(step.client, keys, wanted, options["direct"])
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
    authorization = {} if token == "none" else {"Authorization": f"Bearer {token}"}
    return {"Accept": options["accept"], **authorization}


def api(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """A GET is repeated until its answer is as wanted; anything else is sent once."""
    method, path = options["method"], options["path"]
    headers = _headers(play, options)
    while True:
        answer = play.lane.request(method, path, headers, options["json"], options["shows_ticket"])
        problem = _wrong(answer, options)
        if not problem:
            return f"{method} {path}: {answer.status}"
        if method != "GET" or not options["retry"] or time.monotonic() >= deadline:
            raise Unmet("api_answer_wrong", f"{method} {path} was answered {problem}")
        time.sleep(POLL)


def _wrong(answer: local_http.Answer, options: dict[str, Any]) -> str:
    status, body, kind = answer
    if status != options["status"]:
        return f"with {status} and not {options['status']}"
    wanted = options["type"] or (JSON if options["holds"] is not None else kind)
    if kind != wanted:
        return f"as {kind or 'nothing'} and not as {wanted}"
    if options["match"] is not None and not re.search(options["match"], body):
        return f"without {options['match']!r}"  # the body is not shown: some answers hold tokens
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
    of these, and of anything else that its text matches a regular expression.
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
    text = found if isinstance(found, str) else json.dumps(found)
    shown = repr(text) if len(text) <= SHORT else f"{len(text)} characters"
    return "" if re.fullmatch(str(wanted), text) else f"with a {place} that is not {wanted!r} but {shown}"


def audit(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The console's audit as the API tells it; same_in_database: with the sessions, channels and messages of the rows
    in the database, in any order.
    """
    place = play.lane.place
    source, uuid = (f"suite-{of}", play.lane.machines.uuid(of)) if (of := options["of"]) else (place.source, place.uuid)
    headers = {"Authorization": f"Bearer {play.lane.token()}", "Accept": "application/json"}
    path = f"/console/{source}/{uuid}/audit?limit={AUDIT_ROWS}"
    while True:
        status, body, _ = play.lane.request("GET", path, headers)
        if status != 200:
            raise Unmet("api_answer_wrong", f"GET {path} was answered with {status}", play.lane.log("api"))
        answer = json.loads(body)
        rows = [row for row in answer["audit"] if options["session"] in (None, row["session_id"])]
        messages = [row["message"] for row in rows]
        missing = [one for one in options["has"] or [] if not any(re.search(one, message) for message in messages)]
        present = [one for one in options["has_not"] or [] if any(re.search(one, message) for message in messages)]
        grown = answer["total"] - play.value(options["than"])["total"] if options["than"] else 0
        what = ""
        if missing:
            what = f"has no {missing[0]!r}"
        elif present:
            what = f"has {present[0]!r}"
        elif options["grown_by"] not in (None, grown):
            what = f"grew by {grown} and not {options['grown_by']} rows"
        if not what:
            break
        if time.monotonic() >= deadline:
            last = f"; the last is {one_line(messages[-1], 120)!r}" if messages else ""
            raise Unmet("audit_wrong", f"kerbside's audit {what} among {len(rows)} rows{last}")
        time.sleep(POLL)
    if not options["same_in_database"]:
        return {"total": answer["total"], "shown": f"{len(rows)} rows"}
    stored = _stored(play, uuid)
    shown = sorted((row["session_id"] or "", row["channel"] or "", row["message"]) for row in answer["audit"])
    if answer["total"] != len(stored) or (len(shown) < AUDIT_ROWS and shown != stored):
        api = f"the API reports {answer['total']} audit rows and shows {len(shown)}"
        raise Unmet("audit_wrong", f"{api}, the database holds {len(stored)}; they are not the same")
    return {"total": answer["total"], "shown": f"{len(stored)} rows by the API and in the database"}


def _stored(play: Play, uuid: str) -> list[tuple[str, str, str]]:
    place = play.lane.place
    argv = [place.database_python, "-c", AUDIT_QUERY, place.database_socket, place.database_password_file, uuid]
    env = command.environment(play.lane.run.mark)
    done = command.run(argv, env, ANSWER, "the audit's rows in the database", component="database")
    if done.status:
        problem = f"the audit cannot be read from the database: {one_line(done.said, 200)}"
        raise LaneError("suite_database_silent", "database", problem)
    return sorted((row[0] or "", row[1] or "", row[2]) for row in json.loads(done.out))


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
            "options": Option("list"),
            "refused": Option("pattern"),
            "exits": Option("whole", 1),
        },
        connect,
        "proxy",
    ),
    "file": Actor(
        {"name": Option("word", required=True), "bytes": Option("whole"), "program": Option("text")},
        file,
        one_of=("bytes", "program"),
    ),
    "stop": Actor({}, stop, "ryll"),
    "api": Actor(
        {
            "method": Option("word", "GET", choices=("GET", "POST", "PUT", "DELETE")),
            "path": Option("word", required=True),
            "token": Option("text", "good"),
            "jwt": Option("mapping"),
            "accept": Option("word", JSON),
            "type": Option("word"),
            "status": Option("whole", 200),
            "match": Option("pattern"),
            "never": Option("pattern"),
            "holds": Option("any"),
            "retry": Option("truth", True),
            "json": Option("mapping"),
            "shows_ticket": Option("truth", False),
        },
        api,
        "kerbside",
        "api",
    ),
    "audit": Actor(
        {
            "has": Option("texts"),
            "has_not": Option("texts"),
            "session": Option("text"),
            "of": Option("word", refers=("consoles",)),
            "grown_by": Option("whole"),
            "than": Option("word", refers=("audit",)),
            "same_in_database": Option("truth", False),
        },
        audit,
        "kerbside",
        "daemon",
    ),
}
