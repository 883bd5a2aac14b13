"""Records in the order they were appended, across the topics of a partition number that lags behind.

What takes a customer out of a journey often lies in another topic than what brought them in. Up to date, a
worker has both in order, as they come. With a backlog it gets one topic's sooner than another's, and an order
that comes before the cart it empties is lost on the journey
(docs/decisions/014-topics-are-merged-while-behind.md).
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, Message

from engine.streams.kafka import TopicPartition, named
from engine.streams.reach import Reach

logger = logging.getLogger(__name__)

#: What is held back over all partitions; a partition that holds its part of it is not fetched from.
HELD_BYTES = 64 * 2**20
#: What a record takes besides its value.
RECORD_BYTES = 1_000
#: A topic that has something unread and hands out nothing is waited for so long: its leader may be away.
PATIENCE_S = 30.0
#: No record and no answer of any broker came for so long: then the link was away, and no patience ran.
SILENCE_S = 5.0
TOLD = 5  # partitions named in one line of the log


@dataclass(slots=True)
class _Queue:
    """What is held back of one partition.

    Args:
        records: in order, each with when it was appended, ms, as far as its sender is to be believed.
        size: bytes of memory.
    """

    records: deque[tuple[int, Message]] = field(default_factory=deque)
    size: int = 0

    def add(self, record: Message, now_ms: int) -> None:
        """Take a record in."""
        # a sender's clock that is ahead must not hold its topic back for longer than the others need
        self.records.append((min(record.timestamp()[1], now_ms), record))
        self.size += len(record) + RECORD_BYTES

    def give(self) -> Message:
        """Hand the first one out."""
        _, record = self.records.popleft()
        self.size -= len(record) + RECORD_BYTES
        return record


class Merge:
    """Holds back, where a partition number lags behind, what came after what is unread in another topic.

    `begin` and `forget` may be called in the middle of a rebalance, `take` by the thread that polls alone.

    Args:
        reach: knows how far each partition is read.
        most: records to hand out at once.
        now_s: a clock that never goes back.

    Attributes:
        further: whether a partition that was behind is less so, after the last `take`.
        more: whether more could be handed out at once.
    """

    def __init__(self, reach: Reach, most: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._reach = reach
        self._most = most
        self._now_s = now_s
        self._assigned: set[TopicPartition] = set()
        self._queues: dict[int, dict[TopicPartition, _Queue]] = {}
        self._paused: set[TopicPartition] = set()
        self._awaited_s: dict[TopicPartition, float] = {}
        self._left: set[TopicPartition] = set()  # not waited for any more
        self._heard_s = now_s()
        self.further = self.more = False

    def begin(self, starts: Mapping[TopicPartition, int]) -> None:
        """Reading begins, or goes on elsewhere: what is held of it is read again.

        Args:
            starts: next offset of each partition; negative = its first record.
        """
        self._assigned.update(starts)
        self._drop(starts)
        self._reach.begin(starts)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are not read any more."""
        gone = frozenset(partitions)
        self._assigned -= gone
        self._paused -= gone
        self._drop(gone)
        self._reach.forget(gone)

    def awaited(self) -> dict[TopicPartition, float]:
        """Return which topics hand out nothing though they are not known to be read, and for how long, s.

        May be called from any thread. The others of their number wait for them for `PATIENCE_S`.
        """
        now_s = self._now_s()
        return {place: now_s - since_s for place, since_s in self._awaited_s.copy().items()}

    def take(
        self,
        consumer: Consumer,
        polled: Sequence[Message],
        poll_more: Callable[[Consumer], Sequence[Message]],
    ) -> list[Message]:
        """Take what a poll brought; return what is to be worked on now.

        Args:
            consumer: the one that was polled.
            polled: in order per partition.
            poll_more: polls again, without waiting. While most of what comes is held back it is asked for
                more: in batches of little each record costs more.

        Returns:
            records in order per partition, and where a partition number lags behind, per number.
        """
        records: list[Message] = []
        self.further = False
        while True:
            self._take(consumer, polled, records)
            if not self._queues or len(records) >= self._most // 2:
                return records
            polled = poll_more(consumer)
            if not polled:
                return records

    def _take(self, consumer: Consumer, polled: Sequence[Message], records: list[Message]) -> None:
        self._hear(polled)
        records += self._add(polled)
        held = {
            place: queue.records[0][1].offset()
            for queues in self._queues.values()
            for place, queue in queues.items()
        }
        self.further |= self._reach.look(consumer, held)
        unread = self._reach.lagging()
        if unread or self._awaited_s:
            self._await(unread)
        if held:
            self._release(unread, records)
        self.more = bool(self._queues) and len(records) >= self._most
        if held or self._paused:
            self._balance(consumer)

    def _hear(self, polled: Sequence[Message]) -> None:
        """Begin to wait anew where the link was away: then nobody could hand out anything."""
        heard_s = self._now_s() if polled else self._reach.answered_s
        if heard_s - self._heard_s > SILENCE_S:
            self._awaited_s.clear()
        self._heard_s = max(self._heard_s, heard_s)

    def _add(self, polled: Sequence[Message]) -> list[Message]:
        """Queue what lags behind; return the rest."""
        lagging = self._reach.lagging()
        if not lagging and not self._queues:
            return list(polled)
        now_ms = time.time_ns() // 1_000_000
        through = []
        for record in polled:
            number = record.partition()
            if number not in lagging and number not in self._queues:
                through.append(record)
                continue
            queues = self._queues.setdefault(number, {})
            queues.setdefault((record.topic(), number), _Queue()).add(record, now_ms)
        return through

    def _await(self, unread: Mapping[int, set[TopicPartition]]) -> None:
        """Note what hands out nothing though it is not known to be read, and who was waited for enough."""
        now_s = self._now_s()
        held = {place for queues in self._queues.values() for place in queues}
        silent = {place for places in unread.values() for place in places} - held
        self._awaited_s = {place: self._awaited_s.get(place, now_s) for place in silent}
        left = {place for place, since_s in self._awaited_s.items() if now_s - since_s >= PATIENCE_S}
        if fresh := sorted(left - self._left):
            logger.warning(
                "%s%s hand out nothing and are not known to be read: the other topics go on without them",
                ", ".join(f"{topic}/{number}" for topic, number in fresh[:TOLD]),
                f" and {len(fresh) - TOLD} more" if len(fresh) > TOLD else "",
            )
        self._left = left

    def _release(self, unread: Mapping[int, set[TopicPartition]], records: list[Message]) -> None:
        """Append what is next in each partition number, as long as it is known to be."""
        for number, queues in list(self._queues.items()):
            awaited = unread.get(number, set()) - self._left
            if awaited <= queues.keys():
                self._merge(queues, awaited, records)
            if not queues:
                del self._queues[number]

    def _merge(
        self,
        queues: dict[TopicPartition, _Queue],
        awaited: Collection[TopicPartition],
        records: list[Message],
    ) -> None:
        """Append the records of one partition number in order, until one that is awaited has no more."""
        heads = [(queue.records[0][0], place) for place, queue in queues.items()]
        heapq.heapify(heads)
        while heads and len(records) < self._most:
            place = heads[0][1]
            queue = queues[place]
            records.append(queue.give())
            if queue.records:
                heapq.heapreplace(heads, (queue.records[0][0], place))
                continue
            del queues[place]
            if place in awaited:
                return
            heapq.heappop(heads)

    def _balance(self, consumer: Consumer) -> None:
        """Fetch nothing more from partitions that hold much back; fetch again from those that hold little."""
        bound = HELD_BYTES // max(1, len(self._assigned))
        sizes = {place: queue.size for queues in self._queues.values() for place, queue in queues.items()}
        full = {place for place, size in sizes.items() if size > bound} - self._paused
        low = {place for place in self._paused if sizes.get(place, 0) < bound // 2}
        if full:
            consumer.pause(named(full))
        if low:
            consumer.resume(named(low))
            self._reach.doubt(low)
        self._paused = (self._paused | full) - low

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for place in partitions:
            self._awaited_s.pop(place, None)
            if queues := self._queues.get(place[1]):
                queues.pop(place, None)
                if not queues:
                    del self._queues[place[1]]
