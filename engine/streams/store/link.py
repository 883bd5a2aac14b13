"""The way to Redis: commands go out in one write, replies come back in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import hiredis
import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from engine.errors import StateError, TransientError

Command = Sequence[bytes | str | int]
_pack: Callable[[Any], bytes] = cast("Any", hiredis.pack_command)  # its stub allows one argument only
_CONNECT_TIMEOUT_S = 2.0
# Replies of these are wanted as they come, as from ServerLink; the cluster client would make them over.
_PLAIN_REPLIES = (
    *("CONFIG GET", "CONFIG", "HGETALL", "INFO", "PING"),
    *("SCAN", "TIME", "ZMSCORE", "ZRANGE", "ZSCAN"),
)
# Where a command names the key that decides about its node: the first argument, unless it is listed here.
_KEY_PLACES = {"EVAL": 3, "EVALSHA": 3, "SCAN": 3, "CONFIG": None, "INFO": None, "PING": None, "TIME": None}
_GONE = (RedisError, RedisClusterException, OSError, TimeoutError)
_TRANSIENT = (ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
_TRANSIENT_TEXTS = ("BUSY", "LOADING", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED")


class Link(Protocol):
    """Sends commands and gives their replies back."""

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and read their replies.

        Args:
            commands: names and arguments.

        Returns:
            A reply for each, a `ResponseError` for one that the server refused.

        Raises:
            TransientError: if a server does not answer; it is unknown what was carried out.
        """

    async def close(self) -> None:
        """Close the connection."""


async def open_link(url: str, timeout_s: float) -> Link:
    """Connect to a server, or to the cluster that it is part of.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: how long one exchange may take.

    Returns:
        The link.

    Raises:
        TransientError: if the server does not answer.
    """
    link = ServerLink(url, timeout_s)
    try:
        (info,) = await link.send([("INFO", "cluster")])
    except BaseException:
        await link.close()
        raise
    if isinstance(info, bytes) and b"cluster_enabled:1" in info:
        await link.close()
        return ClusterLink(url, timeout_s)
    return link


class ServerLink:
    """One connection, made when first needed and again after a failure.

    redis-py's own pipeline costs 50 µs more a round trip (a retry wrapper, a task for the time-out), so
    its connection is used directly.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: how long one exchange may take.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,  # the exchange as a whole is timed here
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the worker decides about retries
        )
        self._connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s
        self._address = address_of(url)
        self._turn = asyncio.Lock()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """See `Link`."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._exchange(commands)
            except _GONE as error:
                await self._connection.disconnect(nowait=True)
                raise _no_answer(self._address, error) from error
            except BaseException:
                # Replies may still be on their way: the next command must not read them.
                await self._connection.disconnect(nowait=True)
                raise

    async def close(self) -> None:
        """See `Link`."""
        await self._connection.disconnect()
        await self._client.aclose()

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        # hiredis packs ten times faster than redis-py's asyncio connection.
        packed = b"".join([_pack(tuple(command)) for command in commands])
        await connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies


class ClusterLink:
    """A Redis Cluster; the commands of one call go to their nodes at the same time.

    Args:
        url: address of any node.
        timeout_s: how long one exchange may take.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._address = address_of(url)
        self._client = RedisCluster.from_url(
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        for name in _PLAIN_REPLIES:
            self._client.response_callbacks.pop(name, None)
            self._client.result_callbacks.pop(name, None)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """See `Link`."""
        try:
            await self._client.initialize()
            replies = await asyncio.gather(*map(self._send_one, commands), return_exceptions=True)
        except _GONE as error:
            raise _no_answer(self._address, error) from error
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, ResponseError):
                if isinstance(reply, _GONE):
                    raise _no_answer(self._address, reply) from reply
                raise reply
        return replies

    async def close(self) -> None:
        """See `Link`."""
        await self._client.aclose()

    async def _send_one(self, command: Command) -> Any:
        place = _KEY_PLACES.get(str(command[0]), 1)
        client = self._client
        node = (
            client.get_default_node()
            if place is None
            else client.get_node_from_key(cast("str", command[place]))
        )
        if node is None:
            raise ClusterDownError("no node serves the key")
        return await client.execute_command(*command, target_nodes=node)


def address_of(url: str) -> str:
    """Return host and port, or the socket's path: the rest of the URL may hold a password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def _no_answer(address: str, error: BaseException) -> TransientError:
    return TransientError(f"redis at {address!r} does not answer: {type(error).__name__}")


def checked(reply: Any) -> Any:
    """Return a reply unless the server refused the command.

    Args:
        reply: one of `Link.send`.

    Returns:
        The reply.

    Raises:
        TransientError: if the server cannot carry it out now.
        StateError: if it never will.
    """
    if not isinstance(reply, ResponseError):
        return reply
    if isinstance(reply, _TRANSIENT) or str(reply).startswith(_TRANSIENT_TEXTS):
        raise TransientError(f"redis cannot carry out a command now: {reply}")
    raise StateError(f"redis refused a command: {reply}")
