"""Pull of record batches over librdkafka: one poll is one batch, offsets and partitions are the listener's.

No Faust here: `engine.streams.transport` hands these batches to a Faust agent. While a batch is in flight
nothing polls, and librdkafka runs rebalances inside polls: so a partition is never revoked under a batch, and
heartbeats go on meanwhile.

The consumer lives in one thread of its own, and only that thread may call it, not even to ask for something
it has in memory: inside a rebalance it holds locks while it waits for the event loop, so a call from the
loop would leave each waiting for the other for ever.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from engine.streams.batch import Batch, ConsumerStats, PartitionListener, check_together, forgotten
from engine.streams.kafka import KafkaSettings, TopicPartition, consumer_config, keys, named
from engine.streams.marks import Marks
from engine.streams.merge import Merge
from engine.streams.mirror import OffsetMirror
from engine.streams.reach import Reach
from engine.streams.security.refusals import failed, given_up, judge, tell

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Told after every rebalance: all partitions now assigned, and those just revoked.
RebalanceHook = Callable[[frozenset[TopicPartition], frozenset[TopicPartition]], Awaitable[None]]

#: How long a seek may be refused because the partition's fetcher has not started yet.
SEEK_PATIENCE_S = 5.0
ANSWER_PATIENCE_S = 2.0
COMMITTED_PATIENCE_S = 10.0

#: Without a poll for so long librdkafka may have fetched all it holds: only the brokers know the ends then.
HELD_UP_S = 2.0


class BatchConsumer:
    """Consumer of all event topics of one worker.

    Args:
        settings: how to reach Kafka; `topics` is the subscription.
        listener: owner of offsets and state.
        on_rebalance: told after every rebalance.
    """

    def __init__(
        self, settings: KafkaSettings, listener: PartitionListener, on_rebalance: RebalanceHook | None = None
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._hook = on_rebalance
        self._incremental = settings.group_protocol == "consumer"
        self._topics = frozenset(settings.topics)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engage-poll")
        self._consumer: Consumer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._starts: dict[TopicPartition, int] = {}
        self._touched: set[TopicPartition] = set()
        self._marks = Marks()
        self._reach = Reach()
        self._at_end: frozenset[TopicPartition] = frozenset()
        self._merge = Merge(self._reach, settings.batch_max_records)
        self._close_by: float | None = None
        self._fatal: KafkaError | None = None
        self.generation = 0
        self.stats = ConsumerStats()
        self._mirror = OffsetMirror(settings.commit_interval_s, self.stats)

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions this worker owns now."""
        return self._assigned

    @property
    def topics(self) -> frozenset[str]:
        """The subscription."""
        return self._topics

    @property
    def durable(self) -> Mapping[TopicPartition, int]:
        """Next offset of each partition as last reported durable."""
        return self._mirror.durable

    async def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        await self._in_thread(self._open)

    async def poll(self) -> Batch | None:
        """Wait for records or a due timer.

        Returns:
            What came; None when nothing did within the longest wait, or at a stop.

        Raises:
            ConfigError: topics are not assigned together, or access is refused.
            EngineError: librdkafka gave up for good.
        """
        records = await self._in_thread(self._poll, self._wait_s())
        self.stats.last_poll_ns = received_ns = time.perf_counter_ns()
        wanted = records or (self._assigned and (self._merge.further or self._timer_due()))
        if self._close_by is not None or not wanted:
            return None
        self.stats.batches += 1
        self.stats.records += len(records)
        finished = asyncio.get_running_loop().create_future()
        behind_ms = self._reach.behind_ms(self._assigned) if self._settings.live else None
        return Batch(records, received_ns, self.generation, finished, behind_ms)

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note offsets as durable; they are mirrored to Kafka within `commit_interval_s`.

        Args:
            offsets: next offset of each partition.
        """
        for partition, offset in offsets.items():
            if partition in self._assigned:
                self._mirror.durable[partition] = offset

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Mirror offsets to Kafka now, without waiting for the answer.

        Args:
            offsets: next offset of each partition.
        """
        self.report(offsets)
        self._mirror.hurry()
        await self._in_thread(self._mirror_offsets)

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from other offsets; call it while a batch is in flight.

        Args:
            offsets: next offset to read of each partition; partitions not assigned are ignored.

        Raises:
            KafkaException: the partition's fetcher refused for seconds.
        """
        mine = {partition: offset for partition, offset in offsets.items() if partition in self._assigned}
        self._mirror.durable.update(mine)
        await self._in_thread(self._seek, mine)

    async def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading from partitions, while timers and the others go on.

        Args:
            partitions: those to hold back; not assigned ones are ignored.
        """
        await self._in_thread(self._hold, frozenset(partitions), "pause")

    async def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Read again from partitions.

        Args:
            partitions: those held back; not assigned ones are ignored.
        """
        await self._in_thread(self._hold, frozenset(partitions), "resume")

    async def look(self) -> None:
        """Note how far the partitions reach, also while a batch is in flight and so nobody polls."""
        await self._in_thread(self._look)

    def end_offset(self, partition: TopicPartition) -> int:
        """Offset after the last record of a partition, as last noted; -1 when unknown."""
        return self._marks.end_offset(partition)

    def lag(self) -> dict[TopicPartition, int]:
        """Records of each assigned partition that are not durable yet, as last noted."""
        at_end = self._at_end if self._listener.settled() else frozenset()
        return self._marks.behind(self._assigned, {**self._starts, **self._mirror.durable}, at_end)

    def awaited(self) -> dict[TopicPartition, float]:
        """Return which topics hand out nothing though they are not known to be read, and for how long, s."""
        return self._merge.awaited()

    def begin_close(self) -> None:
        """Take no more partitions; what is given up must be within `drain_timeout_s` from now."""
        if self._close_by is None:
            self._close_by = time.monotonic() + self._settings.drain_timeout_s

    async def close(self) -> None:
        """Leave the group: offsets are committed, the listener gives its partitions up."""
        self.begin_close()
        if self._consumer is None:
            return
        try:
            await self._in_thread(self._close)
        finally:
            self._consumer = None
            self._thread.shutdown(wait=False)

    # ---- in the poll thread -----------------------------------------------------------------------

    def _open(self) -> None:
        callbacks = {"error_cb": self._on_error, "on_commit": self._mirror.on_commit}
        config = consumer_config(self._settings) | callbacks
        self._consumer = Consumer(config, logger=logger)
        self._consumer.subscribe(
            sorted(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _poll(self, wait_s: float) -> list[Message]:
        assert self._consumer is not None
        self._mirror.commit(self._consumer)
        records = self._fetch(self._consumer, wait_s)
        self._marks.look(self._consumer, self._assigned)
        if self._settings.live:
            records = self._merge.take(self._consumer, records, self._fetch_more)
        return self._without_touched(records) if self._touched else records

    def _fetch(self, consumer: Consumer, wait_s: float) -> list[Message]:
        first = consumer.poll(wait_s)
        if self._fatal is not None:
            raise given_up(self._fatal)
        self._touched.clear()
        return [] if first is None else self._fetch_more(consumer, first)

    def _fetch_more(self, consumer: Consumer, *first: Message) -> list[Message]:
        found = [*first, *consumer.consume(self._settings.batch_max_records - len(first), 0)]
        records = [record for record in found if record.error() is None]
        if len(records) < len(found):
            judge(found)
        return self._without_touched(records) if self._touched else records

    def _look(self) -> None:
        if self._consumer is None:
            return
        idle_s = (time.perf_counter_ns() - self.stats.last_poll_ns) / 1e9
        held_up = idle_s > HELD_UP_S
        self._marks.look(self._consumer, self._assigned, ask=held_up)
        self._at_end = self._reach.at_end() if self._settings.live and not held_up else frozenset()

    def _without_touched(self, records: list[Message]) -> list[Message]:
        """Drop what a rebalance inside `consume` overtook, and read it again from the listener's offsets."""
        kept = [record for record in records if (record.topic(), record.partition()) not in self._touched]
        if len(kept) < len(records):
            again = {p: offset for p, offset in self._starts.items() if p in self._touched & self._assigned}
            self._seek(again)
        return kept

    def _mirror_offsets(self) -> None:
        if self._consumer is not None:
            self._mirror.commit(self._consumer)

    def _seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        assert self._consumer is not None
        self._merge.begin(offsets)
        deadline = time.monotonic() + SEEK_PATIENCE_S
        for position in named(offsets, offsets):
            while True:
                try:
                    self._consumer.seek(position)
                except KafkaException:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)  # right after an assignment the fetcher may not have started
                else:
                    break

    def _hold(self, partitions: frozenset[TopicPartition], action: Literal["pause", "resume"]) -> None:
        # Never from the loop: these calls block, and a rebalance in the poll thread waits for the loop.
        if self._consumer is not None:
            getattr(self._consumer, action)(named(partitions & self._assigned))

    def _close(self) -> None:
        assert self._consumer is not None
        try:
            self._consumer.list_topics(topic=min(self._topics), timeout=ANSWER_PATIENCE_S)
        except KafkaException:
            self._mirror.away = True
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        added = keys(partitions)
        offsets: Mapping[TopicPartition, int] = {}
        if self._close_by is None:
            try:
                offsets = self._on_loop(self._assign(added), lambda: self._close_by is not None)
            except TimeoutError:
                if self._close_by is None:
                    raise
            else:
                self._refuse_forgotten(consumer, added, offsets)
        # At a stop librdkafka still wants its answer; `poll` hands nothing out any more.
        positions = named(added, offsets)
        if self._incremental:
            consumer.incremental_assign(positions)
        else:
            consumer.assign(positions)

    def _refuse_forgotten(
        self, consumer: Consumer, added: frozenset[TopicPartition], offsets: Mapping[TopicPartition, int]
    ) -> None:
        """Stop if the listener knows nothing of a partition that Kafka has offsets of."""
        known = {number for _, number in offsets}
        new = [(topic, number) for topic, number in added if number not in known]
        if not (new and self._settings.live):
            return
        try:
            found = consumer.committed(named(new), COMMITTED_PATIENCE_S)
        except KafkaException as error:
            bootstrap = self._settings.bootstrap
            raise failed(error.args[0], bootstrap, "kafka does not tell what the group has read") from None
        for place in found:
            if place.offset > 0:
                raise forgotten(place.partition)

    def _on_revoke(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=True)

    def _give_up(
        self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition], *, lost: bool
    ) -> None:
        try:
            last = self._on_loop(self._revoke(keys(partitions), lost=lost), self._out_of_time)
        except TimeoutError:
            logger.warning("stopping without the listener: it did not give its partitions up in time")
        else:
            if not lost:
                self._mirror.commit_now(consumer, last)
        # librdkafka keeps a partition paused for whenever it comes back, and nobody here would know.
        consumer.resume(partitions)
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        else:
            tell(error)

    def _on_loop(self, work: Coroutine[Any, Any, T], give_up: Callable[[], bool]) -> T:
        """Run a coroutine on the event loop and wait for it, at a stop not for ever."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(0.1)
            except TimeoutError:
                if future.done() or give_up():
                    future.cancel()
                    raise

    def _out_of_time(self) -> bool:
        return self._close_by is not None and time.monotonic() > self._close_by

    # ---- on the event loop ------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def _assign(self, added: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        assigned = self._assigned | added
        check_together(assigned, self._topics)
        self._begin_rebalance(added)
        offsets = await self._listener.on_assigned(added) if added else {}
        self._assigned = assigned
        starts = {p: offsets.get(p, confluent_kafka.OFFSET_BEGINNING) for p in added}
        self._starts.update(starts)
        self._merge.begin(starts)
        if self._hook is not None:
            await self._hook(assigned, frozenset())
        return offsets

    async def _revoke(self, removed: frozenset[TopicPartition], *, lost: bool) -> dict[TopicPartition, int]:
        """Let the listener give partitions up; return their durable offsets, those of its last step too."""
        removed &= self._assigned
        self._begin_rebalance(removed)
        try:
            if removed:
                await self._listener.on_revoked(removed, lost=lost)
        finally:
            self._assigned -= removed
            self._merge.forget(removed)
            last = self._mirror.forget(removed)
            for partition in removed:
                self._starts.pop(partition, None)
        if self._hook is not None:
            await self._hook(self._assigned, removed)
        return last

    def _begin_rebalance(self, touched: frozenset[TopicPartition]) -> None:
        self.generation += 1
        self._touched |= touched
        self.stats.rebalances += 1
        self.stats.last_rebalance_ns = time.perf_counter_ns()

    def _wait_s(self) -> float:
        if self._merge.more:
            return 0.0
        wakeup_s = self._listener.next_wakeup_s()
        if wakeup_s is None:
            return self._settings.poll_max_s
        # librdkafka waits whole milliseconds and cuts off the rest; half a microsecond guards the rounding.
        wait_s = math.ceil(max(0.0, wakeup_s) * 1000) / 1000 + 5e-7
        return min(self._settings.poll_max_s, wait_s)

    def _timer_due(self) -> bool:
        wakeup_s = self._listener.next_wakeup_s()
        return wakeup_s is not None and wakeup_s <= 0
