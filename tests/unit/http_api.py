"""A real HTTP server on a loopback port, for clients under test."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def api(answer: Callable[[int, str | None], tuple[int, str]], ids: list[str | None] | None = None) -> Iterator[int]:
    """A server whose n-th answer is answer(n, authorization). ids: the id of each request is added to it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if ids is not None:
                ids.append(self.headers["X-Request-Id"])
            status, body = answer(len(asked), self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
