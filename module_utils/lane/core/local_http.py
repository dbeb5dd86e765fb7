"""HTTP from this machine itself, without any proxy that the environment may name."""

from __future__ import annotations

import http.client
import uuid
from typing import NamedTuple

from .errors import one_line
from .layout import ADDRESS

MAX_BYTES = 1 << 20
#: How the id of each request begins, which kerbside writes into its log: the report tells the lane's requests by it.
REQUEST_ID = "kerbside-lane-"


class Answer(NamedTuple):
    """status, body, and its media type without parameters ("text/html")."""

    status: int
    body: str
    type: str


class NoAnswer(Exception):
    """No HTTP answer; the text is a clause that says why."""


def get(port: int, path: str, limit: float, **headers: str) -> tuple[int, str]:
    """Status and body of the answer to a GET; see request."""
    return request("GET", port, path, limit, **headers)[:2]


def request(method: str, port: int, path: str, limit: float, body: str | None = None, **headers: str) -> Answer:
    """The answer, with the first MiB of its body. Raises NoAnswer when there is none within `limit` seconds."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=limit)
    try:
        given = {"X-Request-Id": f"{REQUEST_ID}{uuid.uuid4()}", **headers}
        connection.request(method, path, body, given)
        with connection.getresponse() as answer:
            text = answer.read(MAX_BYTES).decode("utf-8", errors="replace")
            return Answer(answer.status, text, answer.getheader("Content-Type", "").partition(";")[0].strip())
    except TimeoutError:
        raise NoAnswer(f"no answer within {limit:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"the request failed: {one_line(str(error)) or type(error).__name__}") from None
    finally:
        connection.close()
