"""A connection to Redis that sends commands in one write and gives the replies back in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from engine.errors import StateError, TransientError

Command = Sequence[bytes | str | int]
_CONNECT_TIMEOUT_S = 2.0
_TRANSIENT = (ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
_TRANSIENT_TEXTS = ("BUSY", "LOADING", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED")


class Link:
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
        self._turn = asyncio.Lock()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and read their replies.

        Args:
            commands: names and arguments.

        Returns:
            A reply for each, a `ResponseError` for one that the server refused.

        Raises:
            TransientError: if the server does not answer; it is unknown what it carried out.
        """
        if not commands:
            return []
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._exchange(commands)
            except (RedisError, OSError, TimeoutError) as error:
                await self._connection.disconnect(nowait=True)
                raise TransientError(f"redis does not answer: {type(error).__name__}") from error
            except BaseException:
                # Replies may still be on their way: the next command must not read them.
                await self._connection.disconnect(nowait=True)
                raise

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect()
        await self._client.aclose()

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies


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
