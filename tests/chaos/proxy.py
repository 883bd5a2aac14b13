"""A TCP proxy for one link: it can delay what goes through, hold it, or cut every connection."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 65_536
_MAX_CHUNKS = 64  # on their way in one direction of a connection; then the sender waits
_STOP_TIMEOUT_S = 5.0


class Proxy:
    """Listens on a free port and passes on to a server on this machine.

    Attributes:
        target: the server's port; may be set after the start, before the first connection.
        delay_s: how long each direction takes, s.
    """

    def __init__(self, target: int = 0, delay_s: float = 0.0) -> None:
        self.target = target
        self.delay_s = delay_s
        self._listener = socket.create_server((HOST, 0))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._over = asyncio.Event()
        self._refusing = False
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """Break all connections, and each new one at once."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._break)

    def hold(self) -> None:
        """Let nothing through; connections stay open, as when a switch is dead."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def mend(self, delay_s: float = 0.0) -> None:
        """Let everything through again.

        Args:
            delay_s: how long each direction takes from now on, s.
        """
        self._refusing, self.delay_s = False, delay_s
        self._loop.call_soon_threadsafe(self._flowing.set)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_STOP_TIMEOUT_S)
        self._listener.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._listener)
        await self._over.wait()
        server.close()
        self._break()

    def _break(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            back, beyond = await asyncio.open_connection(HOST, self.target)
            self._open.add(beyond)
            ways = [asyncio.create_task(self._pass(*way)) for way in ((reader, beyond), (back, writer))]
            _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in pending:
                way.cancel()
            await asyncio.wait(ways)
        except OSError:
            pass  # the server is down: so is the connection
        finally:
            for each in (writer, beyond):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one direction on until one side is gone."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_CHUNKS)

        async def read() -> None:
            with suppress(OSError):
                while chunk := await reader.read(_CHUNK):
                    await chunks.put((self._loop.time() + self.delay_s, chunk))
            await chunks.put((0.0, b""))

        reading = asyncio.create_task(read())
        try:
            while True:
                due_s, chunk = await chunks.get()
                if not chunk:
                    return
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return
        finally:
            reading.cancel()
