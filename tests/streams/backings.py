"""What stands behind a store in the contract tests: a server in memory or a real one, both able to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass
class Loss:
    """Whether the next reply is to be lost, whichever relay it comes through."""

    wanted: bool = False


class Relay:
    """Passes everything on to a server on 127.0.0.1, and can swallow a reply.

    Args:
        server_port: where the server listens.
        loss: asks for a reply to be lost.
    """

    def __init__(self, server_port: int, loss: Loss) -> None:
        self._server_port = server_port
        self._loss = loss
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen on a port, by default any free one; return which."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return int(self._listening.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        assert self._listening is not None
        self._listening.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:  # the server is down, and so is the way to it
            writer.close()
            return
        for task in (
            asyncio.create_task(self._pump(reader, to_server, replies=False)),
            asyncio.create_task(self._pump(from_server, writer, replies=True)),
        ):
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool) -> None:
        try:
            while data := await source.read(1 << 16):
                if replies and self._loss.wanted:
                    self._loss.wanted = False
                    break
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side went away: so does the other
        finally:
            sink.close()


class ServerBacking:
    """Several stores on one real server, or on the cluster that it is a node of, reached through relays.

    Args:
        nodes: the server, or every node of the cluster.
        announced: the ports that the nodes of a cluster tell to clients; a relay listens on each.
    """

    def __init__(self, nodes: Sequence[ValkeyServer | RedisServer], announced: Sequence[int] = (0,)) -> None:
        self.nodes = nodes
        self.clients = [redis.Redis.from_url(node.url) for node in nodes]
        self._announced = announced
        self._loss = Loss()
        self._relays = [Relay(node.ports[0], self._loss) for node in nodes]
        self._port = 0

    async def start(self) -> None:
        """Start the relays."""
        ports = [await relay.start(port) for relay, port in zip(self._relays, self._announced, strict=True)]
        self._port = ports[0]

    async def stop(self) -> None:
        """Stop the relays."""
        for relay, client in zip(self._relays, self.clients, strict=True):
            await relay.stop()
            client.close()

    @property
    def is_cluster(self) -> bool:
        """Whether these are the nodes of a cluster."""
        return len(self.nodes) > 1

    def keys(self, pattern: str) -> list[bytes]:
        """Return the keys that match, of all nodes."""
        return [key for client in self.clients for key in client.scan_iter(pattern)]

    def new_store(self) -> Store:
        """See `Backing`."""
        return RedisStore(f"redis://127.0.0.1:{self._port}/0")

    def dump(self) -> Any:
        """See `Backing`."""
        return [{key: client.dump(key) for key in client.scan_iter()} for client in self.clients]

    def restore(self, dump: Any) -> None:
        """See `Backing`."""
        for client, values in zip(self.clients, dump, strict=True):
            client.flushall()
            for key, value in values.items():
                client.restore(key, 0, value)

    def lose_next_reply(self) -> None:
        """See `Backing`."""
        self._loss.wanted = True
