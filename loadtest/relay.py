"""The relay: poll, then produce, nothing in between. What Kafka itself costs on this machine.

For as many records as fire an action in the engine it writes one of its own: the records' ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from loadtest.workload import FIRE_PRICE, RELAY_OUTPUT

_POLL_S = 0.05
_MAX_CONSUME = 2_000
_FIRES = f'"price":{FIRE_PRICE}'.encode()
_ID_START = len(b'{"id":"')


def _consumer(bootstrap: str, topics: Sequence[str]) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "loadtest-relay",
            "enable.auto.commit": False,
            # The engine's own settings (engine/streams/kafka.py): the same hop, the same waits.
            "fetch.min.bytes": 16_384,
            "fetch.wait.max.ms": 2,
            "fetch.queue.backoff.ms": 1,
            "socket.nagle.disable": True,
        }
    )
    places = []
    for topic in topics:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            places.append(TopicPartition(topic, partition, end))
    consumer.assign(places)
    return consumer


def fired(messages: Sequence[Message]) -> list[tuple[bytes, bytes | None]]:
    """Return id and key of the records that fire."""
    found = []
    for message in messages:
        value = message.value() or b""
        if _FIRES in value:
            found.append((value[_ID_START : value.index(b'"', _ID_START)], message.key()))
    return found


def main(pipe: Connection, bootstrap: str, topics: Sequence[str]) -> None:
    """Relay until the parent says anything or goes away.

    Args:
        pipe: to the parent.
        bootstrap: Kafka.
        topics: what to read.
    """
    consumer = _consumer(bootstrap, topics)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "socket.nagle.disable": True,
        }
    )
    pipe.send("ready")
    try:
        while not pipe.poll():
            first = consumer.poll(_POLL_S)
            if first is None:
                continue
            for identifier, key in fired([first, *consumer.consume(_MAX_CONSUME, 0)]):
                producer.produce(RELAY_OUTPUT, identifier, key)
            producer.flush()
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass
    consumer.close()
