"""From Kafka records to steps of events: decode, merge, drop repeats, set the broken aside.

A *step* is what the pipeline takes at once. On the live clock the records of a partition go in the order they
came. On the replay clock the topics of a partition are merged by (event time, topic, offset), and a record is
held back until every other topic of its partition has shown a record or a watermark: so the order, and with
it every result, is a function of the log alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Message

from engine.errors import InvalidEvent
from engine.events import EVENT_TYPES, DeadLetterReason, Event, Family, event_key
from engine.pipeline.waves import EventRow
from engine.streams.partition import partition_of
from engine.streams.wire.codec import Decode
from engine.streams.wire.watermark import END_OF_STREAM_MS, watermark_ms

MAX_STEP_SPAN_MS = (
    5 * 86_400_000
)  # of stream time on the replay clock; the global purchase rate looks back from it
_CODES = {name: kind.code for name, kind in EVENT_TYPES.items()}
_INVALID_MS = -1  # a broken record has no time: it leaves the merge as soon as it heads its topic

TopicPartition = tuple[str, int]
_JSON_START = ord("{")
_NO_ID = 2**64 - 1  # all bits the other way round: the place of an id, and no event's
_PLACES = 65_536  # customers whose partition is remembered; to work it out takes some 2 µs
_LIVE = "live"  # name of the one queue on the live clock


@dataclass(slots=True)
class DeadRecord:
    """A record for the dead letters and why."""

    record: Message
    reason: str
    detail: str
    exception: str = ""


@dataclass(slots=True)
class Step:
    """One unit of work: everything that is made durable together.

    Args:
        events: rows in order; rows of one partition keep their order.
        dead: records that can't be processed.
        offsets: next offset to read for each topic and partition touched.
        ids: keys of the new event ids for each partition, in order.
        rotate: partitions whose older generation of ids is dropped after this step.
        clock_ms: the partitions' stream time after this step.
        records: how many records the step covers, watermarks and repeats included.
        duplicates: how many were repeats.
        late: how many were older than the stream time, on the replay clock.
        oldest: the first record taken from each partition; live clock only.
        newest: the last one of each topic and partition touched, on both clocks.
        answers_s: how long each inquiry answered in this step had waited, s.
    """

    events: list[EventRow] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    ids: dict[int, list[int]] = field(default_factory=dict)
    rotate: set[int] = field(default_factory=set)
    clock_ms: dict[int, int] = field(default_factory=dict)
    records: int = 0
    duplicates: int = 0
    late: int = 0
    oldest: dict[int, Message] = field(default_factory=dict)
    newest: dict[TopicPartition, Message] = field(default_factory=dict)
    answers_s: list[float] = field(default_factory=list)

    def without(self, partitions: Collection[int]) -> Step:
        """Return the step without some partitions."""
        return Step(
            events=[row for row in self.events if row.partition not in partitions],
            dead=[letter for letter in self.dead if letter.record.partition() not in partitions],
            offsets={key: offset for key, offset in self.offsets.items() if key[1] not in partitions},
            ids={number: ids for number, ids in self.ids.items() if number not in partitions},
            rotate=self.rotate.difference(partitions),
            clock_ms={number: clock for number, clock in self.clock_ms.items() if number not in partitions},
            records=self.records,
            duplicates=self.duplicates,
            late=self.late,
            oldest={number: record for number, record in self.oldest.items() if number not in partitions},
            newest={key: record for key, record in self.newest.items() if key[1] not in partitions},
        )


class _Item(msgspec.Struct, gc=False):
    """A decoded record waiting for its turn."""

    time_ms: int
    record: Any  # a `confluent_kafka.Message`
    event: Event | None = None
    dead: DeadRecord | None = None


class RecentIds:
    """The last event ids of a partition, in two generations.

    At least `remembered` ids are known at any time. The generations turn over at an exact count, never at a
    batch's end, so which repeats are found does not depend on how the log was cut into batches.
    """

    def __init__(self, current: bytes, previous: bytes, remembered: int) -> None:
        self._current = set(np.frombuffer(current, "<u8").tolist())
        self._previous = set(np.frombuffer(previous, "<u8").tolist())
        self._remembered = remembered

    def add(self, key: int) -> bool:
        """Remember an id; False when it was known."""
        if key in self._current or key in self._previous:
            return False
        self._current.discard(key ^ _NO_ID)  # read again after a kill, it has its place already
        self._current.add(key)
        return True

    def forget(self, key: int) -> int:
        """Forget an id whose event had no effect, and return what keeps its place.

        The place stays taken: when a generation is full must not depend on where the steps ended.
        """
        for ids in (self._current, self._previous):
            if key in ids:
                ids.remove(key)
                ids.add(key ^ _NO_ID)
        return key ^ _NO_ID

    @property
    def room(self) -> int:
        """How many ids may be added until `full` is to be looked at; at least one."""
        return max(1, self._remembered - len(self._current))

    @property
    def full(self) -> bool:
        """Whether the current generation must turn over now."""
        return len(self._current) >= self._remembered

    def rotate(self) -> None:
        """Make the current generation the previous one."""
        self._previous = self._current
        self._current = set()


class _Partition:
    """The queues of one partition: one on the live clock, one for each topic on the replay clock."""

    def __init__(self, number: int, topics: Iterable[str], clock_ms: int, ids: RecentIds) -> None:
        self.number = number
        self.queues: dict[str, deque[_Item]] = {topic: deque() for topic in topics}
        self.ended: set[str] = set()
        self.clock_ms = clock_ms
        self.ids = ids

    @property
    def waiting(self) -> int:
        """How many records are queued."""
        return sum(map(len, self.queues.values()))

    def next_queue(self, start_ms: int) -> deque[_Item] | None:
        """Return the queue whose head is next, if it lies within a step's span of `start_ms` (0 = any)."""
        queue = self.merged()
        if queue and start_ms and start_ms + MAX_STEP_SPAN_MS < queue[0].time_ms < END_OF_STREAM_MS:
            return None
        return queue

    def merged(self) -> deque[_Item] | None:
        """Return the queue whose head is next on the replay clock; None while a topic is silent."""
        best: deque[_Item] | None = None
        best_ms = END_OF_STREAM_MS
        for topic, queue in self.queues.items():
            if not queue:
                if topic in self.ended:
                    continue
                return None
            if queue[0].time_ms < best_ms or best is None:
                best, best_ms = queue, queue[0].time_ms
        return best


class Intake:
    """Turns polled records into steps.

    Args:
        topics: event topics and their families, in merge order.
        decode: the codec's decoder.
        replay: whether the replay clock is on.
        ids_remembered: how many event ids a partition remembers at least.

    Attributes:
        partitions: how many each topic has. An event in another one than its customer's is set aside then: a
            customer has one worker and one state. 0 = wherever an event lies is right.
    """

    def __init__(
        self, topics: Mapping[str, Family], decode: Decode, *, replay: bool, ids_remembered: int
    ) -> None:
        self._topics = dict(topics)
        self._decode = decode
        self._replay = replay
        self._remembered = ids_remembered
        self.partitions = 0
        self._partitions: dict[int, _Partition] = {}
        self._undecoded: list[Message] = []

    def assign(self, partition: int, clock_ms: int, current_ids: bytes, previous_ids: bytes) -> None:
        """Take a partition over, with what the store knew of it."""
        ids = RecentIds(current_ids, previous_ids, self._remembered)
        names = self._topics if self._replay else (_LIVE,)
        self._partitions[partition] = _Partition(partition, names, clock_ms, ids)

    def revoke(self, partition: int) -> None:
        """Forget a partition and everything held back for it."""
        self._partitions.pop(partition, None)

    def forget(self, partition: int, key: int) -> int:
        """Forget the id of an event that had no effect; sent again, it counts. Return what has its place."""
        return self._partitions[partition].ids.forget(key)

    def clock_ms(self, partition: int) -> int:
        """Return the stream time of an assigned partition, ms."""
        return self._partitions[partition].clock_ms

    def waiting(self, partition: int) -> int:
        """Count the records of an assigned partition that have not been worked on."""
        return self._partitions[partition].waiting

    def held(self) -> dict[TopicPartition, int]:
        """Count the records held back, by topic and partition (replay clock)."""
        return {
            (topic, number): len(queue)
            for number, part in self._partitions.items()
            for topic, queue in part.queues.items()
        }

    def silent(self) -> list[TopicPartition]:
        """List the topics that hold others back: no record, no watermark (replay clock)."""
        if not self._replay:
            return []
        return [
            (topic, number)
            for number, part in self._partitions.items()
            if any(part.queues.values())
            for topic, queue in part.queues.items()
            if not queue and topic not in part.ended
        ]

    def add(self, records: Iterable[Message], now_ms: int) -> None:
        """Decode records and queue them; those of partitions that are not ours are dropped.

        Raises:
            TransientError: the schema registry does not answer; call again, without records, to go on.
        """
        decode, topics, replay, partitions = self._decode, self._topics, self._replay, self._partitions
        pending, count = self._undecoded, self.partitions
        pending.extend(records)
        done = 0
        try:
            for record in pending:
                part = partitions.get(record.partition())
                if part is not None:
                    topic = record.topic()
                    item = _decoded(record, decode, topics[topic], now_ms)
                    if count and item.event is not None:
                        item = _in_its_place(item, item.event.customer_id, count)
                    part.queues[topic if replay else _LIVE].append(item)
                done += 1
        finally:
            del pending[:done]

    def step(self, max_events: int, now_ms: int) -> Step | None:
        """Take the next step, or None when nothing can go on.

        Args:
            max_events: most events in the step, over all partitions.
            now_ms: the wall clock; the live clock's `now` for every row.
        """
        step = Step()
        partitions = [part for part in self._partitions.values() if part.waiting]
        shares = _shares([part.waiting for part in partitions], max_events)
        for part, share in zip(partitions, shares, strict=True):
            if not self._replay:
                step.oldest[part.number] = part.queues[_LIVE][0].record
            self._take(part, step, share, now_ms)
        return step if step.records or step.clock_ms else None

    def _take(self, part: _Partition, step: Step, share: int, now_ms: int) -> None:
        """Move up to `share` events of one partition into the step."""
        events, number, replay, ids = step.events, part.number, self._replay, part.ids
        new_ids: list[int] = []
        newest: dict[str, Message] = {}
        live_queue, start_ms = None if replay else part.queues[_LIVE], part.clock_ms
        room = min(share, ids.room)
        while room:
            start_ms = start_ms or part.clock_ms
            queue = part.next_queue(start_ms) if live_queue is None else live_queue
            if not queue:
                break
            item = queue.popleft()
            record = item.record
            newest[topic := record.topic()] = record
            step.records += 1
            event = item.event
            if event is None:
                self._take_other(part, step, item, topic)
                continue
            key = event_key(event)
            late = event.time < part.clock_ms
            if not late:  # a repeat, too: after a crash it stands for the event whose effects are durable
                part.clock_ms = event.time
            if not ids.add(key):
                step.duplicates += 1
                continue
            room -= 1
            new_ids.append(key)
            step.late += late and replay
            row_now_ms = part.clock_ms if replay else now_ms
            events.append(EventRow(number, event, _CODES[event.type], row_now_ms, key, record))
        if not newest:
            if replay and start_ms and part.merged():
                # a long silence: let the timers in it go first, a span at a time
                part.clock_ms = step.clock_ms[number] = start_ms + MAX_STEP_SPAN_MS
            return
        for topic, record in newest.items():
            step.newest[topic, number] = record
            step.offsets[topic, number] = record.offset() + 1
        step.ids[number] = new_ids
        if ids.full:
            ids.rotate()
            step.rotate.add(number)
        step.clock_ms[number] = part.clock_ms

    def _take_other(self, part: _Partition, step: Step, item: _Item, topic: str) -> None:
        """Take a broken record or a watermark out of its queue."""
        if item.dead is not None:
            step.dead.append(item.dead)
        elif item.time_ms == END_OF_STREAM_MS:
            part.ended.add(topic)
        elif self._replay:
            part.clock_ms = max(part.clock_ms, item.time_ms)


def _shares(waiting: Sequence[int], room: int) -> list[int]:
    """Divide a step's room: nobody starves another, and what one does not need the others may have.

    Args:
        waiting: records queued in each partition.
        room: of the step.

    Returns:
        How many records each may give; at least one.
    """
    shares = [0] * len(waiting)
    by_need = sorted(range(len(waiting)), key=waiting.__getitem__)
    for served, number in enumerate(by_need):
        shares[number] = max(1, min(waiting[number], room // (len(waiting) - served)))
        room = max(0, room - shares[number])
    return shares


def _in_its_place(item: _Item, customer_id: str, partitions: int) -> _Item:
    """Return the item, as a dead letter if it lies in another partition than its customer's."""
    record, wanted = item.record, _place_of(customer_id, partitions)
    if record.partition() == wanted:
        return item
    detail = (
        f"it is in partition {record.partition()}, its key belongs in {wanted} of {partitions}: sent without "
        "Kafka's own partitioner (murmur2), or before there were so many"
    )
    return _Item(_INVALID_MS, record, None, DeadRecord(record, DeadLetterReason.KEY_MISMATCH, detail))


@lru_cache(_PLACES)
def _place_of(customer_id: str, partitions: int) -> int:
    return partition_of(customer_id.encode(), partitions)


def _decoded(record: Message, decode: Decode, family: Family, now_ms: int) -> _Item:
    """Read a record, whatever it holds."""
    value = record.value()
    if not value and (mark_ms := watermark_ms(record)) is not None:
        return _Item(mark_ms, record)
    try:
        # only Avro senders put a schema's id there, and reading headers costs
        headers = record.headers() if value and value[0] != _JSON_START else None
        event = decode(family, value, record.key(), now_ms, headers)
    except InvalidEvent as error:
        return _Item(_INVALID_MS, record, None, DeadRecord(record, error.reason, error.detail))
    return _Item(event.time, record, event)
