"""The way to Redis: commands go out in one write, replies come back in order."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import hiredis
import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from engine.errors import AccessError, StateError, TransientError

Command = Sequence[bytes | str | int]
_pack: Callable[[Any], bytes] = cast("Any", hiredis.pack_command)  # its stub allows one argument only
_CONNECT_TIMEOUT_S = 2.0
_WORDS = {"TimeoutError": "no reply in time", "ConnectionError": "the connection broke"}
# Replies of these are wanted as they come, as from ServerLink; the cluster client would make them over.
_PLAIN_REPLIES = (
    *("CONFIG GET", "CONFIG", "HGETALL", "INFO", "PING"),
    *("SCAN", "TIME", "ZMSCORE", "ZRANGE", "ZSCAN"),
)
# Where a command names the key that decides about its node: the first argument, unless it is listed here.
_KEY_PLACES = {
    "ACL": None,
    "EVAL": 3,
    "EVALSHA": 3,
    "SCAN": 3,
    "CONFIG": None,
    "INFO": None,
    "PING": None,
    "TIME": None,
}
#: How long a server that hung up at once is listened to.
_LISTEN_S = 1.0
_GONE = (RedisError, RedisClusterException, OSError, TimeoutError)
_TRANSIENT = (ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
# TLS alerts and errors that name a wrong certificate, or a peer that does not speak TLS.
_TLS_REASONS = (
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV13_ALERT_CERTIFICATE",
    "SSLV3_ALERT",
    "WRONG_VERSION",
    "RECORD_LAYER",
)
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


async def open_link(url: str, timeout_s: float, options: Mapping[str, Any] | None = None) -> Link:
    """Connect to a server, or to the cluster that it is part of.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: how long one exchange may take.
        options: user, password and certificates, as redis-py calls them.

    Returns:
        The link.

    Raises:
        AccessError: if the server refuses our login, or either side the other's certificate.
        TransientError: if the server does not answer.
    """
    link = ServerLink(url, timeout_s, options or {})
    try:
        (info,) = await link.send([("INFO", "cluster")])
    except BaseException:
        await link.close()
        raise
    if isinstance(info, bytes) and b"cluster_enabled:1" in info:
        await link.close()
        return ClusterLink(url, timeout_s, options or {})
    return link


class ServerLink:
    """One connection, made when first needed and again after a failure.

    redis-py's own pipeline costs 50 µs more a round trip (a retry wrapper, a task for the time-out), so
    its connection is used directly.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: how long one exchange may take.
        options: user, password and certificates, as redis-py calls them.
    """

    def __init__(self, url: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            **options,
            protocol=2,
            redis_connect_func=self._connected,
            socket_timeout=None,  # the exchange as a whole is timed here
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the worker decides about retries
        )
        self._transport: asyncio.Transport | None = None
        self._connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s
        self._url = url
        self._has_answered = False
        self._listens = False
        self._turn = asyncio.Lock()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """See `Link`."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._exchange(commands)
            except _GONE as error:
                agreed = self._has_answered or (self._transport is not None and _is_a(error, TimeoutError))
                await self._hang_up()
                why = error if agreed else await self._reason_to_hang_up(error)
                raise no_answer(self._url, why, agreed=agreed) from error
            except BaseException:
                # Replies may still be on their way: the next command must not read them.
                await self._hang_up()
                raise

    async def close(self) -> None:
        """See `Link`."""
        await self._hang_up()  # every reply is in, or nobody waits for it
        await self._client.aclose()
        await asyncio.sleep(0)  # a connection that was cut is closed in the loop's next turn

    async def _hang_up(self) -> None:
        """Cut the connection: redis-py lets go of it, but over TLS a farewell waits for the other side's."""
        await self._connection.disconnect(nowait=True)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _reason_to_hang_up(self, error: BaseException) -> BaseException:
        """Return why the server hung up at once: over TLS, connect again and listen.

        What it has against our certificate it says behind the handshake, and then it closes the connection;
        where we have sent something meanwhile, that is lost.
        """
        if not (self._url.startswith("rediss:") and _hung_up(error)):
            return error
        self._listens = True
        try:
            async with asyncio.timeout(_LISTEN_S):
                await self._connection.connect()
        except _GONE as told:
            return told if _tls_error(told) is not None else error
        finally:
            self._listens = False
            await self._hang_up()
        return error

    async def _connected(self, connection: Any) -> None:
        self._transport = connection._writer.transport  # noqa: SLF001 - there is no other way to it
        if self._listens:
            await connection._reader.read(1)  # noqa: SLF001
        else:
            await connection.on_connect()

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
        self._has_answered = True
        return replies


class ClusterLink:
    """A Redis Cluster that has answered already; the commands of one call go to their nodes at the same time.

    Args:
        url: address of any node.
        timeout_s: how long one exchange may take.
        options: user, password and certificates, as redis-py calls them.
    """

    def __init__(self, url: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        self._url = url
        self._client = RedisCluster.from_url(
            url,
            **options,
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
            raise no_answer(self._url, error, agreed=True) from error
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, ResponseError):
                if isinstance(reply, _GONE):
                    raise no_answer(self._url, reply, agreed=True) from reply
                raise reply
        return replies

    async def close(self) -> None:
        """See `Link`."""
        await self._client.aclose()
        # After a failure redis-py (8.1) takes itself for closed and leaves its connections open.
        for nodes in ("nodes_cache", "startup_nodes"):
            await self._client.nodes_manager.aclose(nodes)

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


def no_answer(url: str, error: BaseException, *, agreed: bool = False) -> AccessError | TransientError:
    """What to raise when an exchange failed: waiting helps, unless credentials or certificates are wrong.

    Args:
        url: of the server; the text has its host and port, and no password.
        error: of redis-py or below.
        agreed: whether client and port agree about TLS, as is known where it has answered before.
    """
    address = address_of(url)
    if isinstance(error, AuthenticationError):
        return AccessError(f"redis at {address!r} refuses our login; check redis.user and redis.password")
    if isinstance(error, NoPermissionError):
        return _lacks(error)
    tls = _tls_error(error)
    if tls is not None:
        text = f"redis at {address!r}: no TLS connection: {tls}"
        return AccessError(f"{text}; check redis.url (rediss://?), redis.ca_file and redis.certificate_file")
    hint = "" if agreed else _tls_hint(url, error)
    return TransientError(f"redis at {address!r} does not answer: {_reason(error)}{hint}")


def _tls_hint(url: str, error: BaseException) -> str:
    """Return a hint where client and port may differ about TLS; a server may just be starting, or hang, too.

    A port that wants TLS hangs up on who does not speak it, one that wants a certificate on who shows none of
    its authority (its alert is often lost: TLS 1.3 lets us send before it has looked). A port without TLS
    takes our first record for the beginning of a command and waits for the rest.
    """
    if not url.startswith("rediss:"):
        wants = "; it is starting, or its port wants TLS (redis.url begins with rediss:// then)"
        return wants if _hung_up(error) else ""
    if _hung_up(error):
        return "; does it ask for a certificate? check redis.certificate_file and redis.key_file"
    hangs = "; it hangs, or its port is one without TLS (redis.url begins with redis:// then)"
    return hangs if _is_a(error, TimeoutError) else ""


def _hung_up(error: BaseException) -> bool:
    return _is_a(error, ConnectionResetError) or "closed by server" in str(error)


def _reason(error: BaseException) -> str:
    """Say in words why there was no answer; redis-py's own text would repeat the address."""
    if "closed by server" in str(error):
        return "it closed the connection"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "there is no such host"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        if isinstance(cause, OSError) and "Connect call failed" in str(cause):  # at each of its addresses
            return "connection refused"
        cause = cause.__cause__ or cause.__context__
    kind = type(error).__name__
    return _WORDS.get(kind, kind)


def _is_a(error: BaseException, kind: type[BaseException]) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _tls_error(error: BaseException) -> str | None:
    """Return what TLS says of a certificate or of a peer that does not speak it; else None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, ssl.SSLError) and (cause.reason or "").startswith(_TLS_REASONS):
            return str(cause.reason).lower().replace("_", " ")
        cause = cause.__cause__ or cause.__context__
    return None


def _lacks(error: NoPermissionError) -> AccessError:
    return AccessError(
        f"redis: this user lacks a right: {error}; `engage redis acl` writes those of each role"
    )


def checked(reply: Any) -> Any:
    """Return a reply unless the server refused the command.

    Args:
        reply: one of `Link.send`.

    Returns:
        The reply.

    Raises:
        TransientError: if the server cannot carry it out now.
        AccessError: if our user may not.
        StateError: if it never will.
    """
    if not isinstance(reply, ResponseError):
        return reply
    if isinstance(reply, NoPermissionError):
        raise _lacks(reply)
    if isinstance(reply, _TRANSIENT) or str(reply).startswith(_TRANSIENT_TEXTS):
        raise TransientError(f"redis cannot carry out a command now: {reply}")
    raise StateError(f"redis refused a command: {reply}")
