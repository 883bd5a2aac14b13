"""The store on Redis 7 or Valkey 8 and later: one round trip to read, one to write."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Self

from redis.exceptions import NoScriptError

from engine.errors import StateError
from engine.link_settings import RedisSettings
from engine.streams.security.links import redis_options
from engine.streams.store.contract import (
    META_FORMAT,
    PartitionMeta,
    PartitionWrite,
    StoreHealth,
    refuse_layout,
)
from engine.streams.store.link import Command, Link, checked, open_link
from engine.streams.store.ownership import Ownership, Verdict
from engine.streams.store.scripts import ACQUIRE, COMMIT

_DEFAULT_TIMEOUT_S = 5.0
_SCAN_PAGE = 1000
_CONFIG_NAMES = ("appendfsync",)


class RedisStore:
    """A store on a Redis server or cluster.

    All keys of a partition carry it as their hash tag: `{PREFIX:PARTITION}:fence`, `:meta`, `:timers`,
    `:ids:0` (current), `:ids:1` (previous) and `:c:CUSTOMER`.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        prefix: start of every key.
        timeout_s: how long one round trip may take.
        options: user, password and certificates, as redis-py calls them.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "engage",
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._options = options or {}
        self._link: Link | None = None
        self._prefix = prefix
        self._ownership = Ownership()

    @classmethod
    def of(cls, settings: RedisSettings) -> Self:
        """Return the store that the settings name.

        Args:
            settings: the section `redis`.
        """
        return cls(settings.url, settings.prefix, settings.timeout_ms / 1000, redis_options(settings))

    async def acquire(self, partition: int, partitions: int = 0) -> PartitionMeta:
        """See `Store`."""
        keys = self._partition_keys(partition)
        (reply,) = await self._run(ACQUIRE, [(len(keys), *keys, META_FORMAT, partitions)])
        if isinstance(reply, bytes):
            what, _, written = reply.decode().partition(" ")
            if what == "partitions":
                refuse_layout(written, partitions)
            raise StateError(f"partition {partition} has meta format {written}, known is {META_FORMAT}")
        fence, meta, current_ids, previous_ids = reply
        values = dict(zip(meta[::2], meta[1::2], strict=True))
        epoch, sequence = _parse_fence(fence)
        self._ownership.take(partition, epoch, sequence)
        return PartitionMeta(
            partition=partition,
            epoch=epoch,
            offsets={key[2:].decode(): int(value) for key, value in values.items() if key[:2] == b"o:"},
            clock_ms=int(values.get(b"clock_ms", 0)),
            fields={key[2:].decode(): value for key, value in values.items() if key[:2] == b"f:"},
            current_ids=current_ids or b"",
            previous_ids=previous_ids or b"",
        )

    def release(self, partition: int) -> None:
        """See `Store`."""
        self._ownership.release(partition)

    async def load(self, reads: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes | None]]:
        """See `Store`."""
        self._ownership.require(reads)
        commands: list[Command] = []
        for partition, customers in reads.items():
            start = self._state_start(partition)
            states = [start + customer for customer in customers]
            commands.append(("MGET", self._key(partition, b"fence"), *states))
        replies = [checked(reply) for reply in await self._send(commands)]
        found: dict[int, list[bytes | None]] = dict(zip(reads, replies, strict=True))
        # The fence came first in each reply: it goes, the states stay.
        self._ownership.check({number: _parse_fence(values.pop(0)) for number, values in found.items()})
        return found

    async def commit(self, writes: Sequence[PartitionWrite]) -> None:
        """See `Store`."""
        sent = self._ownership.start(writes)
        replies = await self._run(COMMIT, [self._commit_call(write, sequence) for write, sequence in sent])
        verdicts = {write.partition: Verdict(reply) for (write, _), reply in zip(sent, replies, strict=True)}
        self._ownership.finish(writes, verdicts)

    async def due(self, partition: int, until_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """See `Store`."""
        key = self._key(partition, b"timers")
        reply = await self._one("ZRANGE", key, "-inf", until_ms, "BYSCORE", "LIMIT", 0, limit, "WITHSCORES")
        return [(customer, int(float(due))) for customer, due in zip(reply[::2], reply[1::2], strict=True)]

    async def get(self, partition: int, customer: bytes) -> bytes | None:
        """See `Store`."""
        value: bytes | None = await self._one("GET", self._state_start(partition) + customer)
        return value

    async def customers(self, partition: int) -> AsyncIterator[bytes]:
        """See `Store`; goes through all keys of the server, so it is for tools only."""
        start = self._state_start(partition)
        cursor = b"0"
        while True:
            cursor, keys = await self._one("SCAN", cursor, "MATCH", start + b"*", "COUNT", _SCAN_PAGE)
            for key in keys:
                yield key[len(start) :]
            if cursor == b"0":
                return

    async def field(self, partition: int, name: str) -> bytes | None:
        """Read one of the worker's small values without owning the partition; for tools."""
        value: bytes | None = await self._one("HGET", self._key(partition, b"meta"), f"f:{name}")
        return value

    async def check_layout(self, partitions: int) -> None:
        """See `Store`."""
        keys = [self._key(number, b"meta") for number in range(partitions)]
        for reply in await self._send([("HGET", key, "partitions") for key in keys]):
            written = checked(reply)
            if written is not None and written != b"%d" % partitions:
                refuse_layout(written.decode(), partitions)

    async def ping(self) -> None:
        """See `Store`."""
        await self._one("PING")

    async def check_rights(self) -> None:
        """Check that our user may run scripts on the store's keys, as every write does; change nothing.

        Raises:
            ConfigError: it may not.
        """
        await self._one("EVAL", "return 1", 1, self._key(0, b"fence"))

    async def configuration(self) -> dict[str, str]:
        """Return settings that health does not tell; none where we may not ask (managed servers, roles).

        For tools only: the right to read settings is the right to read the server's own passwords.
        """
        (reply,) = await self._send([("CONFIG", "GET", *_CONFIG_NAMES)])
        found = reply if isinstance(reply, list) else []
        return {key.decode(): value.decode() for key, value in zip(found[::2], found[1::2], strict=True)}

    async def reads_back(self) -> bool | None:
        """Tell whether the server reads its append-only file back when it starts; None where we may not ask.

        Many versions judge what is in it by the rights of the user `default`, whether that is on or off.
        """
        (reply,) = await self._send([("ACL", "DRYRUN", "default", "SET", self._key(0, b"meta"), "")])
        return None if isinstance(reply, Exception) else bool(reply == b"OK")

    async def health(self) -> StoreHealth:
        """See `Store`."""
        replies = await self._send([("INFO",), ("TIME",)])
        info = _parse_info(checked(replies[0]))
        seconds, microseconds = checked(replies[1])
        return StoreHealth(
            server="valkey" if "valkey_version" in info else "redis",
            version=info.get("valkey_version", info.get("redis_version", "")),
            role=info.get("role", ""),
            cluster=info.get("cluster_enabled") == "1",
            clock_ms=int(seconds) * 1000 + int(microseconds) // 1000,
            used_memory_bytes=int(info.get("used_memory", 0)),
            max_memory_bytes=int(info.get("maxmemory", 0)),
            dataset_bytes=int(info.get("used_memory_dataset", 0)),
            keys=_keys(info),
            eviction_policy=info.get("maxmemory_policy"),
            evicted_keys=int(info.get("evicted_keys", 0)),
            aof_enabled=info.get("aof_enabled") == "1",
            aof_write_ok=info.get("aof_last_write_status", "ok") == "ok",
        )

    async def close(self) -> None:
        """See `Store`."""
        if self._link is not None:
            await self._link.close()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        if self._link is None:
            self._link = await open_link(self._url, self._timeout_s, self._options)
        return await self._link.send(commands)

    def _key(self, partition: int, name: bytes) -> bytes:
        return b"{%s:%d}:%s" % (self._prefix.encode(), partition, name)

    def _state_start(self, partition: int) -> bytes:
        return self._key(partition, b"c:")

    def _partition_keys(self, partition: int) -> list[bytes]:
        tag = b"{%s:%d}:" % (self._prefix.encode(), partition)
        return [tag + name for name in (b"fence", b"meta", b"timers", b"ids:0", b"ids:1")]

    def _commit_call(self, write: PartitionWrite, sequence: int) -> Command:
        """Return keys and arguments of the commit script."""
        start = self._state_start(write.partition)
        keys = self._partition_keys(write.partition)
        erased: list[bytes] = []
        states: list[bytes] = []
        for customer, state in write.states.items():
            if state is None:
                erased.append(start + customer)
            else:
                keys.append(start + customer)
                states.append(state)
        due: list[bytes | int] = []
        done: list[bytes] = []
        for customer, due_ms in write.timers.items():
            if due_ms is None:
                done.append(customer)
            else:
                due += (due_ms, customer)
        meta = _meta_arguments(write)
        keys += erased
        counts = (len(states), len(due), len(done), len(meta))
        head = (write.epoch, sequence, sequence + 1, write.ids, int(write.rotate_ids), *counts)
        return (len(keys), *keys, *head, *states, *due, *done, *meta)

    async def _one(self, *command: bytes | str | int) -> Any:
        (reply,) = await self._send([command])
        return checked(reply)

    async def _run(self, script: bytes, calls: Sequence[Command]) -> list[Any]:
        """Run a script several times in one round trip (two when the server has not seen it yet)."""
        name = _script_name(script)
        replies = await self._send([("EVALSHA", name, *call) for call in calls])
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await self._send([("EVAL", script, *calls[index]) for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return [checked(reply) for reply in replies]


def _script_name(script: bytes) -> str:
    return hashlib.sha1(script, usedforsecurity=False).hexdigest()


def _parse_fence(text: bytes | None) -> tuple[int, int]:
    """Return epoch and sequence; zeros when the server holds none."""
    if text is None:
        return 0, 0
    epoch, sequence = text.split()
    return int(epoch), int(sequence)


def _meta_arguments(write: PartitionWrite) -> list[bytes | str | int]:
    arguments: list[bytes | str | int] = []
    for topic, offset in write.offsets.items():
        arguments += (f"o:{topic}", offset)
    for name, value in write.fields.items():
        arguments += (f"f:{name}", value)
    if write.clock_ms is not None:
        arguments += ("clock_ms", write.clock_ms)
    return arguments


def _keys(info: Mapping[str, str]) -> int:
    """Return the keys of all databases: `db0:keys=5,expires=0,…`."""
    databases = (value for name, value in info.items() if name.startswith("db") and name[2:].isdigit())
    return sum(int(value.partition("keys=")[2].partition(",")[0] or 0) for value in databases)


def _parse_info(text: bytes) -> dict[str, str]:
    lines: Iterable[str] = text.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
