"""The actor that reads kerbside's audit, and compares what the API tells of it with what the database holds."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import Any

from ...core import command
from ...core.errors import LaneError, one_line
from ...protocols import kerbside_api
from .engine import Play, Unmet
from .plan import LOOK_LIMIT, Actor, Option, Step
from .stage import ANSWER

POLL = 0.05
#: Rows that are asked for; of more the newest are shown.
ROWS = 1000
FIELDS = ("session_id", "channel", "node", "pid", "message")
#: Seconds by which API and database may date a row differently, and by which a row may be outside of the run.
SAME_TIME = 0.01
CLOCK = 60.0
#: Played by the Python of kerbside's environment, which has a database driver. argv: socket, file with the password,
#: source, uuid.
QUERY = """
import json, sys, pymysql
password = open(sys.argv[2]).read()
base = pymysql.connect(unix_socket=sys.argv[1], user="kerbside", password=password, database="kerbside")
query = "SELECT session_id, channel, node, pid, message, CAST(UNIX_TIMESTAMP(timestamp) AS DOUBLE) FROM auditevents"
with base, base.cursor() as cursor:
    cursor.execute(query + " WHERE source = %s AND uuid = %s ORDER BY timestamp", sys.argv[3:])
    print(json.dumps(cursor.fetchall()))
"""


def audit(play: Play, step: Step, options: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The console's audit as the API tells it; same_in_database: row by row what the database holds, and nothing of the
    session twice.
    """
    place = play.lane.place
    source, uuid = (f"suite-{of}", play.lane.machines.uuid(of)) if (of := options["of"]) else (place.source, place.uuid)
    headers = kerbside_api.headers(play.lane.token())
    path = f"/console/{source}/{uuid}/audit?limit={ROWS}"
    while True:
        status, body, _ = play.lane.request("GET", path, headers)
        if status != 200:
            raise Unmet("api_answer_wrong", f"GET {path} was answered with {status}", play.lane.log("api"))
        answer = json.loads(body)
        rows = [row for row in answer["audit"] if options["session"] in (None, row["session_id"])]
        messages = [row["message"] for row in rows]
        if not (what := _wrong(messages, answer["total"], play, options)):
            break
        if time.monotonic() >= deadline:
            last = f"; the last is {one_line(messages[-1], 120)!r}" if messages else ""
            raise Unmet("audit_wrong", f"kerbside's audit {what} among {len(rows)} rows{last}")
        time.sleep(POLL)
    if not options["same_in_database"]:
        return {"total": answer["total"], "shown": f"{len(rows)} rows"}
    stored = _stored(play, source, uuid)
    if problem := _differ(answer, stored, play.lane.run.started):
        raise Unmet("audit_wrong", problem)
    _refuse_twice([row for row in stored if options["session"] and row[0] == options["session"]])
    return {"total": answer["total"], "shown": f"{len(stored)} rows by the API and in the database"}


def _wrong(messages: list[str], total: int, play: Play, options: dict[str, Any]) -> str:
    grown = total - play.value(options["than"])["total"] if options["than"] else 0
    if missing := [one for one in options["has"] or [] if not any(re.search(one, message) for message in messages)]:
        return f"has no {missing[0]!r}"
    if present := [one for one in options["has_not"] or [] if any(re.search(one, message) for message in messages)]:
        return f"has {present[0]!r}"
    return f"grew by {grown} and not {options['grown_by']} rows" if options["grown_by"] not in (None, grown) else ""


def _stored(play: Play, source: str, uuid: str) -> list[list[Any]]:
    """The audit's rows in the database, by their times: FIELDS, and seconds since 1970."""
    place = play.lane.place
    argv = [place.database_python, "-c", QUERY, place.database_socket, place.database_password_file, source, uuid]
    env = command.environment(play.lane.run.mark)
    done = command.run(argv, env, ANSWER, "the audit's rows in the database", component="database")
    if done.status:
        problem = f"the audit cannot be read from the database: {one_line(done.said, 200)}"
        raise LaneError("suite_database_silent", "database", problem)
    rows: list[list[Any]] = json.loads(done.out)
    return rows


def _differ(answer: dict[str, Any], stored: list[list[Any]], started: float) -> str:
    """How the API's audit is not the newest rows of the database, in their order; "" if it is. started: of the run."""
    shown = [[row.get(name) for name in FIELDS] for row in answer["audit"]]
    kept = stored[-ROWS:]
    there = [row[:-1] for row in kept]
    if shown != there and Counter(map(tuple, shown)) == Counter(map(tuple, there)):
        return "the API shows the audit's rows in another order than that of their times"
    numbers = f"reports {answer['total']} audit rows and shows {len(shown)}, the database holds {len(stored)}"
    if shown != there or answer["total"] != len(stored):
        differ = [names for one, two in zip(shown, there, strict=False) if (names := _unequal(one, two))]
        return f"the API {numbers}; they are not the same" + (f": the first differs in {differ[0]}" if differ else "")
    for row, one in zip(answer["audit"], kept, strict=True):
        said, message = row.get("timestamp"), one_line(str(row["message"]), 120)
        if not isinstance(said, (int, float)) or abs(said - one[-1]) > SAME_TIME:
            return f"the API dates the audit row {message!r} {said}, the database {one[-1]}"
        if not started - CLOCK <= said <= time.time() + CLOCK:
            return f"the audit row {message!r} is dated {said}, which is not in this run"
    return ""


def _unequal(one: list[Any], other: list[Any]) -> str:
    return ", ".join(name for name, a, b in zip(FIELDS, one, other, strict=True) if a != b)


def _refuse_twice(rows: list[list[Any]]) -> None:
    """Nothing is told twice of one connection (pid) of a session. What all of a connection's rows are is kerbside's
    doing; if some stand once, the proxy reported the others twice.
    """
    counts = Counter(tuple(row[:-1]) for row in rows)
    twice = next((row for row, number in counts.items() if number > 1), None)
    if twice is None:
        return
    once = any(number == 1 for row, number in counts.items() if row[3] == twice[3])
    component = "proxy" if twice[3] and once else "kerbside"
    problem = f"kerbside's audit holds {one_line(twice[-1], 120)!r} {counts[twice]} times of one connection"
    raise LaneError("audit_wrong", component, problem)


ACTORS: dict[str, Actor] = {
    "audit": Actor(
        {
            "has": Option("patterns"),
            "has_not": Option("patterns"),
            "session": Option("text"),
            "of": Option("word", refers=("consoles",)),
            "grown_by": Option("whole"),
            "than": Option("word", refers=("audit",)),
            "same_in_database": Option("truth", False),
        },
        audit,
        "kerbside",
        "daemon",
        limit=LOOK_LIMIT,
    ),
}
