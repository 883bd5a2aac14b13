"""Reading topics from outside: from the end, the newest N, or the start; ending where asked."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from engine.errors import ConfigError, InvalidEvent, TransientError
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import EmbeddedBroker
from engine.streams.reader import TopicReader
from engine.streams.sender import EventSender, parse_line
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER

FAMILIES = ("click", "order", "service", "profile", "engagement")


@pytest.fixture
def topics(embedded_broker: EmbeddedBroker) -> dict[str, str]:
    """Make an event topic of two partitions for each family."""
    made = {family: f"{family}-{time.monotonic_ns()}" for family in FAMILIES}
    for topic in made.values():
        embedded_broker.create_topic(topic, 2)
    return made


def _send(kafka: KafkaSettings, topics: dict[str, str], numbers: range) -> None:
    sender = EventSender(kafka, topics)
    for number in numbers:
        line = f'{{"id":"{number}","type":"page.viewed","customer_id":"c{number % 5}","time":1700000000000}}'
        sender.send(parse_line(line, None))
    sender.flush()
    assert sender.acknowledged == len(numbers)


def test_from_the_start_the_newest_or_what_comes(
    embedded_broker: EmbeddedBroker, topics: dict[str, str]
) -> None:
    """`last` counts per partition; `until_end` ends with what was there; `follow` sees what comes after."""
    kafka = KafkaSettings(embedded_broker.bootstrap)
    _send(kafka, topics, range(20))
    with TopicReader(kafka, [topics["click"]], last=None) as reader:
        whole = [(message.partition(), message.offset()) for message in reader.until_end()]
    assert len(whole) == 20
    with TopicReader(kafka, [topics["click"]], last=3) as reader:
        newest = {(message.partition(), message.offset()) for message in reader.until_end()}
    for partition in (0, 1):
        offsets = sorted(offset for number, offset in whole if number == partition)
        assert {offset for number, offset in newest if number == partition} == set(offsets[-3:])
    with TopicReader(kafka, [topics["click"]], last=0) as reader:
        _send(kafka, topics, range(20, 25))
        assert len(list(itertools.islice(reader.follow(), 5))) == 5


def test_the_newest_of_all_partitions_and_then_what_comes(
    embedded_broker: EmbeddedBroker, topics: dict[str, str]
) -> None:
    """The newest N are those of all partitions together; going on, nothing is left out or repeated."""
    kafka = KafkaSettings(embedded_broker.bootstrap)
    for number in range(12):
        _send(kafka, topics, range(number, number + 1))
        time.sleep(0.002)  # a time of its own for each
    with TopicReader(kafka, [topics["click"]], last=4) as reader:
        _send(kafka, topics, range(12, 14))
        newest = [json.loads(message.value())["id"] for message in reader.newest(4)]
        assert newest == ["8", "9", "10", "11"]
        assert {json.loads(message.value())["id"] for message in itertools.islice(reader.follow(), 2)} == {
            "12",
            "13",
        }
    with TopicReader(kafka, [topics["click"]], last=None, key=b"c2") as reader:
        hers = reader.newest(2, lambda message: message.key() == b"c2")
        assert [json.loads(message.value())["id"] for message in hers] == ["7", "12"]


def test_the_end_of_a_log_is_told_to_every_partition(
    embedded_broker: EmbeddedBroker, topics: dict[str, str]
) -> None:
    """A worker on the replay clock waits for every topic of a partition: each gets the last watermark."""
    kafka = KafkaSettings(embedded_broker.bootstrap)
    sender = EventSender(kafka, topics)
    sender.end_of_stream()
    sender.flush()
    with TopicReader(kafka, list(topics.values()), last=None) as reader:
        marks = [
            (message.topic(), message.partition(), dict(message.headers() or ())[WATERMARK_HEADER])
            for message in reader.until_end()
        ]
    expected = str(END_OF_STREAM_MS).encode()
    assert sorted(marks) == sorted(
        (topic, number, expected) for topic in topics.values() for number in (0, 1)
    )


def test_no_kafka_is_transient_and_no_topic_is_a_mistake(embedded_broker: EmbeddedBroker) -> None:
    """A command can tell a server that is away from a topic that is not there."""
    with pytest.raises(TransientError, match="does not answer"):
        TopicReader(KafkaSettings("127.0.0.1:1", extra={"log_level": 0}), ["x"], timeout_s=0.3)
    with pytest.raises(ConfigError, match="topics create"):
        TopicReader(KafkaSettings(embedded_broker.bootstrap), ["not a topic name"], timeout_s=2)


@pytest.mark.parametrize("line", ["", "[]", "7", "{", '{"type": 3}', '{"type": "x.y"}', "[" * 100_000])
def test_a_wrong_line_is_an_invalid_event(line: str) -> None:
    """Whatever stands in a line, it is an event or an InvalidEvent."""
    with pytest.raises(InvalidEvent):
        parse_line(line, None)
