"""The feeder: writes the demo's log to Kafka, no further ahead of the workers than the broker can keep.

It runs as a process of its own, `python -m engine.demo.feed JSON`, and reports its progress to a file.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from engine.demo.cdnow import END_MS, START_MS
from engine.demo.data import DEFAULT_SEED, Log, build_log
from engine.errors import TransientError
from engine.events import Event, Family
from engine.streams.wire.codec import encode_json
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER

MAX_AHEAD = 4_000  # records; the embedded broker keeps the last 15,000 of a partition
MAX_PENDING = 2_000  # records handed to librdkafka and not yet acknowledged
WATERMARK_EVERY_MS = 6 * 3_600_000  # of simulated time: what the workers wait for before they go on
WATERMARK_EVERY_EVENTS = 2_000
_CHECK_EVERY_EVENTS = 128
_FIRST_EVENTS = 512  # written before the workers are there, so that the first action comes at once
_PAUSE_S = 0.004
_BLOCKED_POLL_S = 0.05
_SAY_TIME_EVERY_S = 1.0
_REPORT_EVERY_S = 0.25
_METADATA_TIMEOUT_S = 10.0
_FLUSH_TIMEOUT_S = 30.0
_MAX_FLUSHES = 10


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the feeder is told.

    Args:
        bootstrap: Kafka's address.
        topics: the event topic of each family.
        group: consumer group of the workers; its committed offsets say how far they are.
        seed: seed of the log.
        customers: about how many customers; None takes all.
        duration_s: shortest time the whole log may take; 0 writes as fast as the workers read.
        max_ahead: records a partition may be ahead of the group; 0 writes without waiting for anybody, for a
            broker that keeps everything.
        progress: file for the progress report; empty for none.
    """

    bootstrap: str
    topics: dict[Family, str]
    group: str
    seed: int = DEFAULT_SEED
    customers: int | None = None
    duration_s: float = 50.0
    max_ahead: int = MAX_AHEAD
    progress: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the feeder is.

    Args:
        sent: events written.
        total: events of the whole log.
        records: records written, watermarks included.
        time_ms: simulated time, ms.
        is_done: whether the log is written and acknowledged.
    """

    sent: int
    total: int
    records: int
    time_ms: int
    is_done: bool = False


class Feeder:
    """Writes a log to the event topics, with watermarks.

    Args:
        settings: where to, and how fast.
        log: what to write.
        report: called with the progress a few times a second.
        stop: set from outside to end early.
    """

    def __init__(
        self,
        settings: FeedSettings,
        log: Log,
        report: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._log = log
        self._report = report
        self._stop = stop
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 10 * MAX_PENDING,
                "socket.nagle.disable": True,
            }
        )
        self._group = _GroupPosition(settings.bootstrap, settings.group)
        self._partitions: list[tuple[str, int]] = []
        self._written: dict[tuple[str, int], int] = {}
        self._failure = ""
        self._sent = self._records = 0
        self._reported_s = self._waited_s = 0.0

    def run(self) -> Progress:
        """Write the whole log, the last watermark included; return early when told to stop.

        Raises:
            TransientError: the broker does not answer or refuses records.
        """
        try:
            self._partitions = self._find_partitions()
            self._write_log()
            if not self._stop.is_set():
                self._watermark(END_MS)
                self._watermark(END_OF_STREAM_MS)
                self._flush()
            progress = self._progress(END_MS, is_done=not self._stop.is_set())
            self._report(progress)
            return progress
        finally:
            self._group.close()

    def _write_log(self) -> None:
        topics, produce, callback = self._settings.topics, self._producer.produce, self._acknowledged
        next_watermark_ms, unmarked = START_MS, 0
        for family, event in self._paced():
            if event.time >= next_watermark_ms or unmarked >= WATERMARK_EVERY_EVENTS:
                self._watermark(event.time)
                next_watermark_ms = event.time - event.time % WATERMARK_EVERY_MS + WATERMARK_EVERY_MS
                unmarked = 0
            produce(topics[family], encode_json(event), event.customer_id.encode(), on_delivery=callback)
            self._sent += 1
            self._records += 1
            unmarked += 1

    def _paced(self) -> Iterator[tuple[Family, Event]]:
        """Yield the events, each not before its turn and not further ahead than allowed."""
        total, duration_s = max(len(self._log), 1), self._settings.duration_s
        half_event_s = 0.5 * duration_s / total
        half_ms_s = 0.5 * duration_s / (END_MS - START_MS)
        started_s = time.monotonic()
        for number, (family, event) in enumerate(self._log.events()):
            # Half of the pace by events, half by days: neither a busy month nor a quiet year takes for ever.
            turn_s = number * half_event_s + (event.time - START_MS) * half_ms_s
            if number % _CHECK_EVERY_EVENTS == 0:
                self._check(event.time, is_started=number >= _FIRST_EVENTS)
            # Time spent waiting for the workers is not made up for: that would only lengthen their queue.
            while time.monotonic() < started_s + self._waited_s + turn_s and not self._stop.is_set():
                self._check(event.time)
                time.sleep(_PAUSE_S)
            if self._stop.is_set():
                return
            yield family, event

    def _check(self, time_ms: int, *, is_started: bool = False) -> None:
        """Take acknowledgements in, report, and wait while the workers are too far behind.

        Args:
            time_ms: time of the next event, ms.
            is_started: whether the first events are out: before more follow, the workers must have begun.
        """
        self._producer.poll(0)
        while len(self._producer) > MAX_PENDING:
            self._producer.poll(_BLOCKED_POLL_S)
        if self._failure:
            raise TransientError(f"kafka refused a record: {self._failure}")
        if time.monotonic() - self._reported_s > _REPORT_EVERY_S:
            self._reported_s = time.monotonic()
            self._report(self._progress(time_ms))
        if self._settings.max_ahead and (self._is_ahead() or (is_started and not self._group.has_begun)):
            self._wait_for_group(time_ms, must_begin=is_started)

    def _wait_for_group(self, time_ms: int, *, must_begin: bool) -> None:
        """Wait until the workers have committed enough; tell them the time now and then.

        They may be waiting for a word about the time before they can go on, or for a batch to commit with.
        """
        began_s, said_s = time.monotonic(), float("-inf")
        while not self._stop.is_set():
            if not self._is_ahead(refresh=True) and (self._group.has_begun or not must_begin):
                break
            if time.monotonic() - said_s >= _SAY_TIME_EVERY_S:
                self._watermark(time_ms)
                said_s = time.monotonic()
            self._producer.poll(_BLOCKED_POLL_S)
            self._report(self._progress(time_ms))
        self._waited_s += time.monotonic() - began_s

    def _is_ahead(self, *, refresh: bool = False) -> bool:
        limit = self._settings.max_ahead - len(self._producer)
        if not refresh and all(end - self._group.known(key) <= limit for key, end in self._written.items()):
            return False
        known = self._group.refresh(self._partitions)
        limit = self._settings.max_ahead - len(self._producer)
        return any(end - known.get(key, 0) > limit for key, end in self._written.items())

    def _watermark(self, time_ms: int) -> None:
        """Promise every partition of every topic that no event earlier than `time_ms` follows."""
        headers = [(WATERMARK_HEADER, str(time_ms).encode())]
        for topic, partition in self._partitions:
            self._producer.produce(
                topic, b"", None, partition=partition, headers=headers, on_delivery=self._acknowledged
            )
        self._records += len(self._partitions)

    def _acknowledged(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or str(error)
            return
        offset = message.offset()
        key = (message.topic(), message.partition())
        if offset is not None and offset >= self._written.get(key, 0):
            self._written[key] = offset + 1

    def _flush(self) -> None:
        for _ in range(_MAX_FLUSHES):
            if self._producer.flush(_FLUSH_TIMEOUT_S / _MAX_FLUSHES) == 0 or self._stop.is_set():
                break
        if self._failure or (len(self._producer) and not self._stop.is_set()):
            raise TransientError(f"kafka did not take the end of the log: {self._failure or 'time-out'}")

    def _find_partitions(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for topic in self._settings.topics.values():
            try:
                metadata = self._producer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic]
            except KafkaException as error:
                raise TransientError(f"kafka does not answer: {error.args[0].str()}") from error
            if metadata.error is not None or not metadata.partitions:
                raise TransientError(f"topic {topic!r} is not there: {metadata.error}")
            found.extend((topic, partition) for partition in sorted(metadata.partitions))
        return found

    def _progress(self, time_ms: int, *, is_done: bool = False) -> Progress:
        return Progress(
            sent=self._sent, total=len(self._log), records=self._records, time_ms=time_ms, is_done=is_done
        )


class _GroupPosition:
    """How far a consumer group has committed, asked of the broker without joining the group."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
        )
        self._known: dict[tuple[str, int], int] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the group has committed anything."""
        return bool(self._known)

    def known(self, key: tuple[str, int]) -> int:
        """Return the last known committed offset of a topic and partition."""
        return self._known.get(key, 0)

    def refresh(self, partitions: list[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Ask the broker; on an error the last known offsets stand."""
        wanted = [TopicPartition(topic, partition) for topic, partition in partitions]
        try:
            answer = self._consumer.committed(wanted, timeout=_METADATA_TIMEOUT_S)
        except KafkaException:
            return self._known
        for place in answer:
            if place.error is None and place.offset >= 0:
                self._known[place.topic, place.partition] = place.offset
        return self._known

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def read_progress(path: Path) -> Progress | None:
    """Read a feeder's progress report; None before the first one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write_progress(path: str, progress: Progress) -> None:
    if not path:
        return
    draft = Path(path + ".new")
    draft.write_bytes(msgspec.json.encode(progress))
    draft.replace(path)


def main(text: str) -> None:
    """Run the feeder until the log is written or the process is told to end.

    Args:
        text: `FeedSettings` as JSON.
    """
    settings = msgspec.json.decode(text, type=FeedSettings)
    stop = threading.Event()

    def end(*_: Any) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    log = build_log(settings.seed, settings.customers)
    os.nice(1)  # the worker comes first
    Feeder(settings, log, lambda progress: _write_progress(settings.progress, progress), stop).run()


if __name__ == "__main__":
    main(sys.argv[1])
