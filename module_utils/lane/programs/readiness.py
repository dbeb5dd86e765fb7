"""What shows that a program is ready, and probes for it that run in threads."""

from __future__ import annotations

import re
import socket
import urllib.parse
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..core import local_http
from ..lifecycle import proc

#: Seconds that a program has for an answer once it has accepted; then the probe is repeated.
ANSWER = 1.0
#: Seconds to wait for a probe; nearly every one is done by then.
PROBE_WAIT = 0.005


@dataclass(frozen=True)
class Ready:
    """How a program shows that it is ready: one of port, socket, http and log; without any, it was started."""

    port: int | None = None  #: this program's own process group listens there
    socket: str | None = None  #: a unix socket accepts
    greeting: bool = False  #: with socket: and sends something without being asked, as a database does
    http: str | None = None  #: a GET of this URL is answered with 200, by this program's own process group
    log: str | None = None  #: a regular expression that matches in its log

    def __str__(self) -> str:
        """What the program has to do, after "did not" or "has to"."""
        if self.port:
            return f"listen on port {self.port}"
        if self.socket:
            return f"accept on {self.socket}"
        if self.http:
            return f"answer 200 on {self.http}"
        if self.log:
            return f"write {self.log!r} to its log"
        return "start"

    @property
    def tcp_port(self) -> int | None:
        """The port that its process group has to listen on, if any."""
        return self.port or (urllib.parse.urlsplit(self.http).port or 80 if self.http else None)

    def shown(self, group: int, lines: Callable[[], list[str]]) -> bool:
        """Whether the process group shows it now; lines returns those of its log. May take ANSWER seconds."""
        if self.tcp_port:
            return _listens(group, self.tcp_port) and (not self.http or _answers(self.http))
        if self.socket:
            return _accepts(self.socket, self.greeting)
        if self.log:
            pattern = re.compile(self.log)
            return any(pattern.search(line) for line in lines())
        return proc.program_of(group) is not None


class Probes:
    """Run one readiness probe per program in a thread, so that a slow probe does not delay the others: gunicorn accepts
    long before its worker answers.
    """

    def __init__(self, programs: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=programs, thread_name_prefix="probe")
        self._pending: dict[str, Future[bool]] = {}

    def end(self) -> None:
        """Start no other probe, and do not wait for those that run."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def shown(self, name: str, probe: Callable[[], bool]) -> bool:
        """Whether a probe has found this program ready. Starts one if none is running."""
        if name not in self._pending:
            self._pending[name] = self._pool.submit(probe)
        try:
            shown = self._pending[name].result(PROBE_WAIT)
        except TimeoutError:
            return False
        del self._pending[name]
        return shown


def _listens(group: int, port: int) -> bool:
    """Whether this very group listens there. Connects first: to find the owner takes reading all sockets of the
    machine.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    return proc.group_listens(group, port)


def _accepts(path: str, greeting: bool) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER)
        try:
            probe.connect(path)
            return not greeting or bool(probe.recv(1))
        except OSError:
            return False


def _answers(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    try:
        status, _ = local_http.get(parts.port or 80, parts.path or "/", ANSWER, Accept="application/json")
        return status == 200
    except local_http.NoAnswer:
        return False
