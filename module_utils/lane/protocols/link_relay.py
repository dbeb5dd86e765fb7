"""A slow network link in user space: a TCP relay on loopback that delays what it passes on, and limits its rate.

It passes bytes on as they are and knows nothing of SPICE. It runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading

from ..core.layout import ADDRESS

#: Bytes that are passed on at once, as in one frame of an Ethernet.
PIECE = 1460
#: Bytes that are read ahead for each connection; then its sender has to wait.
QUEUE = 64 << 10
#: Seconds of sending that are planned ahead, so that a late wake-up leaves no gap.
AHEAD = 0.01
#: Seconds for the thread to start and to end.
LIMIT = 10.0


class LinkRelay:
    """Listens on a free port and passes everything on to another one, and back.

    delay: seconds each way; rate: bits per second each way.
    """

    def __init__(self, to: int, delay: float, rate: float) -> None:
        self.to, self.delay, self.rate = to, delay, rate
        # epoll would round each wait up to whole milliseconds
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        #: When each direction, which all connections share, has sent what it was given.
        self._free = {"up": 0.0, "down": 0.0}
        self._connections: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, ADDRESS, 0, limit=QUEUE))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="link_relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections, and the thread."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(LIMIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # the transports end in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until both sides have ended it or one broke it."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            there, back = await asyncio.open_connection(ADDRESS, self.to, limit=QUEUE)
            writers.append(back)
            await asyncio.gather(self._pass(reader, back, "up"), self._pass(there, writer, "down"))
        except (OSError, asyncio.CancelledError):
            for one in writers:
                one.transport.abort()  # that tells the other side
        finally:
            self._connections.discard(task)
            for one in writers:
                one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        """Each piece is sent when the link is free, for as long as its bits take, and arrives `delay` later."""
        while data := await reader.read(PIECE):
            now = self._loop.time()
            self._free[way] = max(self._free[way], now) + 8 * len(data) / self.rate
            self._loop.call_at(self._free[way] + self.delay, _write, writer, data)
            await asyncio.sleep(max(0.0, self._free[way] - now - AHEAD))
            await writer.drain()
        await asyncio.sleep(max(0.0, self._free[way] - self._loop.time()) + self.delay)
        with contextlib.suppress(OSError):
            writer.write_eof()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)
