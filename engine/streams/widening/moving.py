"""The commands that move customers between partitions in Redis; no worker may run meanwhile.

Every command may be given again: whoever is ended in the middle begins anew and goes on where it stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from engine.errors import StateError
from engine.streams.partition import partition_of
from engine.streams.store.contract import META_FORMAT
from engine.streams.store.link import ClusterLink, Command, Link, checked

_PAGE = 1000
_OFFSET = b"o:"

# Like an acquisition: what a worker that still runs sends from now on is refused. And it writes down
# that the state is being moved, so that none can acquire it; what there was is copied first.
_MARK = b"""#!lua
local epoch, sequence = string.match(redis.call('GET', KEYS[1]) or '0 0', '^(%d+) (%d+)$')
local now = redis.call('TIME')
local fence = string.format('%.0f %s', math.max(epoch + 1, now[1] * 1000000 + now[2]), sequence)
redis.call('SET', KEYS[1], fence)
redis.call('COPY', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'format', ARGV[1], 'partitions', ARGV[2])
return fence
"""


class Meta(msgspec.Struct, frozen=True):
    """What a partition held besides its customers before the move.

    Args:
        offsets: next offset to read, by topic.
        clock_ms: stream time as stored; empty for a new partition.
        fields: the worker's small values.
        current_ids: ids of recent events.
        previous_ids: the generation before.
    """

    offsets: Mapping[str, int]
    clock_ms: bytes
    fields: Mapping[str, bytes]
    current_ids: bytes
    previous_ids: bytes


class Moving:
    """Reads and moves the state of all partitions.

    Args:
        link: the way to Redis.
        prefix: start of every key.
    """

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    def _key(self, partition: int, name: str) -> bytes:
        return f"{{{self._prefix}:{partition}}}:{name}".encode()

    async def _all(self, commands: Iterable[Command]) -> list[Any]:
        return [checked(reply) for reply in await self._link.send(list(commands))]

    async def written(self, partitions: int) -> list[str]:
        """Return, by partition, with how many partitions it was written; empty where it does not tell."""
        replies = await self._all(
            ("HGET", self._key(number, "meta"), "partitions") for number in range(partitions)
        )
        return [(reply or b"").decode() for reply in replies]

    async def note(self) -> bytes | None:
        """Read the note of the move under way, or None."""
        (reply,) = await self._all([("GET", f"{self._prefix}:widening")])
        found: bytes | None = reply
        return found

    async def leave_note(self, note: bytes) -> None:
        """Leave a note of the move under way."""
        await self._all([("SET", f"{self._prefix}:widening", note)])

    async def trainer(self) -> tuple[bytes | None, bytes | None]:
        """Return the trainer's state and who holds its lock."""
        keys = (f"{self._prefix}:trainer", f"{self._prefix}:trainer:lock")
        state, holder = await self._all(("GET", key) for key in keys)
        return state, holder

    async def set_trainer(self, state: bytes) -> None:
        """Write the trainer's state."""
        await self._all([("SET", f"{self._prefix}:trainer", state)])

    async def offsets(self, partitions: int) -> dict[tuple[str, int], int]:
        """Return the durable offsets by topic and partition."""
        replies = await self._all(("HGETALL", self._key(number, "meta")) for number in range(partitions))
        return {
            (name[2:].decode(), number): int(value)
            for number, reply in enumerate(replies)
            for name, value in _pairs(reply)
            if name.startswith(_OFFSET)
        }

    async def mark(self, partition: int, mark: str) -> None:
        """Take a partition from whoever has it and write down that it is being moved."""
        keys = [self._key(partition, name) for name in ("fence", "meta", "before")]
        await self._all([("EVAL", _MARK, len(keys), *keys, META_FORMAT, mark)])

    async def before(self, partition: int) -> Meta:
        """Return what a marked partition held before the move."""
        reply, current, previous = await self._all(
            [
                ("HGETALL", self._key(partition, "before")),
                ("GET", self._key(partition, "ids:0")),
                ("GET", self._key(partition, "ids:1")),
            ]
        )
        values = dict(_pairs(reply))
        return Meta(
            {name[2:].decode(): int(value) for name, value in values.items() if name[:2] == _OFFSET},
            values.get(b"clock_ms", b""),
            {name[2:].decode(): value for name, value in values.items() if name[:2] == b"f:"},
            current or b"",
            previous or b"",
        )

    async def write(self, partition: int, meta: Meta) -> None:
        """Write what a partition holds besides its customers; the mark stays."""
        values: list[bytes | str | int] = []
        for topic, offset in meta.offsets.items():
            values += (f"o:{topic}", offset)
        for name, value in meta.fields.items():
            values += (f"f:{name}", value)
        if meta.clock_ms:
            values += ("clock_ms", meta.clock_ms)
        commands: list[Command] = [("HSET", self._key(partition, "meta"), *values)] if values else []
        for name, ids in (("ids:0", meta.current_ids), ("ids:1", meta.previous_ids)):
            if ids:
                commands.append(("SET", self._key(partition, name), ids))
        await self._all(commands)

    async def finish(self, partitions: int) -> None:
        """Write down how many partitions there are now, then remove what the move needed."""
        numbers = range(partitions)
        await self._all(("HSET", self._key(number, "meta"), "partitions", partitions) for number in numbers)
        await self.tidy(partitions)

    async def tidy(self, partitions: int) -> None:
        """Remove what the move needed; workers may have started."""
        await self._all([("DEL", f"{self._prefix}:widening")])
        await self._all(("DEL", self._key(number, "before")) for number in range(partitions))

    async def customers(self, partitions: int) -> AsyncIterator[tuple[int, list[bytes]]]:
        """Go through all customers a page at a time: the partition they lie in, and their ids."""
        patterns = [f"{{{self._prefix}:*}}:c:*"]
        if isinstance(self._link, ClusterLink):  # each node knows its own keys only
            patterns = [f"{{{self._prefix}:{number}}}:c:*" for number in range(partitions)]
        start = len(self._prefix) + 2
        for pattern in patterns:
            cursor = b"0"
            while True:
                ((cursor, keys),) = await self._all([("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)])
                found: dict[int, list[bytes]] = {}
                for key in keys:
                    number, _, customer = key[start:].partition(b"}:c:")
                    found.setdefault(int(number), []).append(customer)
                for number, names in found.items():
                    yield number, names
                if cursor == b"0":
                    break

    async def states(self, partition: int, customers: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return customers with their states; those that are not there any more are left out."""
        (values,) = await self._all([("MGET", *self._states(partition, customers))])
        return [pair for pair in zip(customers, values, strict=True) if pair[1] is not None]

    async def timers(self, partition: int) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """Go through a partition's timers a page at a time: customer and due instant."""
        cursor = b"0"
        key = self._key(partition, "timers")
        while True:
            ((cursor, found),) = await self._all([("ZSCAN", key, cursor, "COUNT", _PAGE)])
            yield _pairs(found)
            if cursor == b"0":
                return

    async def move_states(self, partition: int, states: Mapping[bytes, bytes], partitions: int) -> None:
        """Write states where they belong among so many partitions, read them back, and remove them here.

        Raises:
            StateError: Redis does not give back what was written.
        """
        if not states:
            return
        targets: dict[int, list[bytes]] = {}
        for customer in states:
            targets.setdefault(partition_of(customer, partitions), []).append(customer)
        writes: list[Command] = []
        for number, names in targets.items():
            pairs = zip(self._states(number, names), (states[name] for name in names), strict=True)
            writes.append(("MSET", *itertools.chain.from_iterable(pairs)))
        await self._all(writes)
        back = await self._all(("MGET", *self._states(number, names)) for number, names in targets.items())
        for names, values in zip(targets.values(), back, strict=True):
            if values != [states[name] for name in names]:
                raise StateError("redis gives back other states than were written; nothing was removed")
        await self._all([("DEL", *self._states(partition, list(states)))])

    async def move_timers(self, partition: int, timers: Mapping[bytes, bytes], partitions: int) -> None:
        """Write timers where they belong among so many partitions, read them back, and remove them here.

        Raises:
            StateError: Redis does not give back what was written.
        """
        if not timers:
            return
        targets: dict[int, list[bytes]] = {}
        for customer in timers:
            targets.setdefault(partition_of(customer, partitions), []).append(customer)
        writes: list[Command] = []
        for number, names in targets.items():
            pairs = itertools.chain.from_iterable((timers[name], name) for name in names)
            writes.append(("ZADD", self._key(number, "timers"), *pairs))
        await self._all(writes)
        back = await self._all(
            ("ZMSCORE", self._key(number, "timers"), *names) for number, names in targets.items()
        )
        for names, values in zip(targets.values(), back, strict=True):
            found = [None if value is None else float(value) for value in values]
            if found != [float(timers[name]) for name in names]:
                raise StateError("redis gives back other timers than were written; nothing was removed")
        await self._all([("ZREM", self._key(partition, "timers"), *timers)])

    def _states(self, partition: int, customers: Sequence[bytes]) -> list[bytes]:
        start = self._key(partition, "c:")
        return [start + customer for customer in customers]


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
