"""What stands behind a store in the contract tests: a server in memory or a real one, both able to fail."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import redis

from engine.streams.local.stack import RedisServer, ValkeyServer
from engine.streams.store.contract import Store
from engine.streams.store.memory import MemoryServer, MemoryStore
from engine.streams.store.redis import RedisStore


class Backing(Protocol):
    """What stands behind the stores of one test."""

    def new_store(self) -> Store:
        """Make one more store on the same server."""

    def dump(self) -> Any:
        """Copy everything the server holds."""

    def restore(self, dump: Any) -> None:
        """Go back to a dump."""

    def lose_next_reply(self) -> None:
        """Let the next call be carried out and its reply be lost."""


class MemoryBacking:
    """Several stores on one server in memory."""

    def __init__(self) -> None:
        self.server = MemoryServer()

    def new_store(self) -> Store:
        """See `Backing`."""
        return MemoryStore(self.server)

    def dump(self) -> Any:
        """See `Backing`."""
        return self.server.dump()

    def restore(self, dump: Any) -> None:
        """See `Backing`."""
        self.server.restore(dump)

    def lose_next_reply(self) -> None:
        """See `Backing`."""
        self.server.lose_reply = True


class ServerBacking:
    """Several stores on one real server, reached through a relay that can swallow a reply."""

    def __init__(self, server: ValkeyServer | RedisServer) -> None:
        self.server = server
        self.client = redis.Redis.from_url(server.url)
        self._lose_reply = False
        self._address = ""
        self._relay: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the relay."""
        self._relay = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._address = f"127.0.0.1:{self._relay.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop the relay."""
        assert self._relay is not None
        self._relay.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server.ports[0])
        for task in (
            asyncio.create_task(self._pump(reader, to_server, replies=False)),
            asyncio.create_task(self._pump(from_server, writer, replies=True)),
        ):
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool) -> None:
        try:
            while data := await source.read(1 << 16):
                if replies and self._lose_reply:
                    self._lose_reply = False
                    break
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side went away: so does the other
        finally:
            sink.close()

    def new_store(self) -> Store:
        """See `Backing`."""
        return RedisStore(f"redis://{self._address}/0")

    def dump(self) -> Any:
        """See `Backing`."""
        return {key: self.client.dump(key) for key in self.client.scan_iter()}

    def restore(self, dump: Any) -> None:
        """See `Backing`."""
        self.client.flushall()
        for key, value in dump.items():
            self.client.restore(key, 0, value)

    def lose_next_reply(self) -> None:
        """See `Backing`."""
        self._lose_reply = True
