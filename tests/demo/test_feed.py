"""Laws of the feeder, on the embedded broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message

from engine.demo.cdnow import DAY_MS, END_MS, START_MS
from engine.demo.data import Log, build_log
from engine.demo.feed import Feeder, FeedSettings, Progress, _write_progress, read_progress
from engine.events import Family
from engine.streams.local.stack import EmbeddedBroker
from engine.streams.wire.codec import Decoder
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER

PARTITIONS = 2
MAX_AHEAD = 100


@pytest.fixture(scope="module")
def log() -> Log:
    """Two months of 1,200 customers."""
    return build_log(customers=1_200, until=START_MS + 60 * DAY_MS)


@pytest.fixture
def settings(embedded_broker: EmbeddedBroker, request: pytest.FixtureRequest) -> FeedSettings:
    """Topics of the test's own, and how to feed them at full speed."""
    topics = {family: f"{request.node.name}.{family}" for family in Family}
    for topic in topics.values():
        embedded_broker.create_topic(topic, PARTITIONS)
    return FeedSettings(
        bootstrap=embedded_broker.bootstrap,
        topics=topics,
        group=f"{request.node.name}-group",
        duration_s=0,
        max_ahead=MAX_AHEAD,
    )


def _open(settings: FeedSettings) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "group.id": settings.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 2,
        }
    )
    consumer.subscribe(list(settings.topics.values()))
    return consumer


def _read_to_end(consumer: Consumer) -> Iterator[Message]:
    """Yield records and commit as a worker would, until every topic and partition has ended."""
    ended, deadline_s = 0, time.monotonic() + 60
    while ended < len(Family) * PARTITIONS and time.monotonic() < deadline_s:
        messages = consumer.consume(50, 0.2)
        for message in messages:
            assert message.error() is None
            ended += _watermark_ms(message) == END_OF_STREAM_MS
            yield message
        if messages:
            consumer.commit(asynchronous=False)


def _watermark_ms(message: Message) -> int | None:
    for name, value in message.headers() or ():
        if name == WATERMARK_HEADER:
            return int(value)
    return None


def test_whole_log_arrives_with_honest_watermarks(settings: FeedSettings, log: Log) -> None:
    """Every event arrives once, valid, keyed by customer; no event is earlier than a watermark before it."""
    reports: list[Progress] = []
    feeder = Feeder(settings, log, reports.append, threading.Event())
    thread = threading.Thread(target=feeder.run)
    consumer = _open(settings)
    decoder = Decoder("replay")
    families = {topic: family for family, topic in settings.topics.items()}
    promised: dict[tuple[str, int], int] = {}
    seen: list[tuple[str, str]] = []
    marks = 0
    thread.start()
    for message in _read_to_end(consumer):
        key = (message.topic(), message.partition())
        if (watermark_ms := _watermark_ms(message)) is not None:
            assert watermark_ms >= promised.get(key, 0)
            promised[key], marks = watermark_ms, marks + 1
            continue
        event = decoder.decode(families[message.topic()], message.value(), message.key(), 0)
        assert event.time >= promised.get(key, 0)
        assert message.key() == event.customer_id.encode()
        seen.append((event.source, event.id))
    thread.join(10)
    consumer.close()
    assert len(promised) == len(Family) * PARTITIONS
    assert marks >= 59 * len(Family) * PARTITIONS
    assert len(seen) == len(set(seen)) == len(log)
    assert reports[-1] == Progress(
        sent=len(log), total=len(log), records=len(log) + marks, time_ms=END_MS, is_done=True
    )


def test_feeder_waits_for_the_group(settings: FeedSettings, log: Log) -> None:
    """Nobody reads: the feeder stops near the bound it was given, and ends when told to."""
    reports: list[Progress] = []
    stop = threading.Event()
    thread = threading.Thread(target=Feeder(settings, log, reports.append, stop).run)
    thread.start()
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s and (len(reports) < 8 or reports[-1].sent != reports[-5].sent):
        time.sleep(0.05)
    held = reports[-1]
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert 0 < held.sent < len(log)
    assert held.records < len(Family) * PARTITIONS * MAX_AHEAD + 500
    assert not reports[-1].is_done


def test_progress_report_survives_the_file(tmp_path: Path) -> None:
    """What the feeder writes to its progress file is what the viewer reads; before that there is nothing."""
    path = tmp_path / "progress.json"
    assert read_progress(path) is None
    progress = Progress(sent=1, total=2, records=3, time_ms=START_MS)
    _write_progress(str(path), progress)
    assert read_progress(path) == progress
