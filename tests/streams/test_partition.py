"""Tools look for a customer where Kafka's producers put them."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from engine.streams.local.stack import EmbeddedBroker
from engine.streams.partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, expected: int) -> None:
    """The hash equals the values in Apache Kafka's own test of its hash (signed there)."""
    assert murmur2(key) == expected % 2**32


@given(st.binary(max_size=200), st.integers(1, 1000))
def test_a_partition_is_one_of_them(key: bytes, partitions: int) -> None:
    """Any key has a partition in range."""
    assert 0 <= partition_of(key, partitions) < partitions


def test_the_producer_puts_records_where_we_look(embedded_broker: EmbeddedBroker) -> None:
    """Librdkafka's murmur2 partitioner and ours agree on every key, whatever its length."""
    topic = "partition-test"
    embedded_broker.create_topic(topic, 7)
    producer = Producer({"bootstrap.servers": embedded_broker.bootstrap, "partitioner": "murmur2_random"})
    keys = [f"customer-{'ж' * (index % 9)}{index}".encode() for index in range(200)]
    for key in keys:
        producer.produce(topic, b"", key)
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": embedded_broker.bootstrap, "group.id": "none"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(7)])
    found: dict[bytes, int] = {}
    for _ in range(100):
        for message in consumer.consume(200, 0.2):
            found[message.key()] = message.partition()
        if len(found) == len(keys):
            break
    consumer.close()
    assert found == {key: partition_of(key, 7) for key in keys}
