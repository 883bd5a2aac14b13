"""A downstream service: takes every action once, whatever the engine repeats and however often it is killed.

    python -m tests.chaos.taker BOOTSTRAP GROUP TOPICS EFFECTS

TOPICS are separated by commas. EFFECTS is where the effects go: a `redis://` URL, or an SQLite file's path.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import redis
from confluent_kafka import Consumer, KafkaException, Message

from engine.once import RedisOnce, SqlOnce

EFFECTS = "effects"
_AT_ONCE = 100

Take = Callable[[Sequence[str]], None]


def main(bootstrap: str, group: str, topics: str, effects: str) -> None:
    """Take actions until killed."""
    take = to_redis(effects) if effects.startswith("redis://") else to_sqlite(effects)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 2000,
            "heartbeat.interval.ms": 500,
            "reconnect.backoff.max.ms": 500,
            "log_level": 2,
        }
    )
    consumer.subscribe(topics.split(","))
    while True:
        messages = [each for each in consumer.consume(_AT_ONCE, 0.2) if each.error() is None]
        if messages:
            take([action_id(each) for each in messages])
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:  # the broker is down, or the partition is somebody else's by now
                sys.stderr.write(f"not committed: {error}\n")


def action_id(message: Message) -> str:
    """Return the id of an action's record."""
    found: str = msgspec.json.decode(message.value())["id"]
    return found


def to_sqlite(path: str) -> Take:
    """Return what makes effects in an SQLite file: one transaction for a batch's ids and effects."""
    connection = sqlite3.connect(path, isolation_level=None)
    once = SqlOnce()
    once.create(connection.cursor())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {EFFECTS} (id TEXT)")

    def take(ids: Sequence[str]) -> None:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        new = once.first_time(cursor, ids, time.time())
        cursor.executemany(f"INSERT INTO {EFFECTS} VALUES (?)", [(each,) for each in new])
        cursor.execute("COMMIT")

    return take


def to_redis(url: str) -> Take:
    """Return what makes effects in Redis: one `MULTI` for an id and its effect."""
    client = redis.Redis.from_url(url)
    once = RedisOnce(client)

    def take(ids: Sequence[str]) -> None:
        for each in ids:
            once.take(each, lambda pipe, each=each: pipe.rpush(EFFECTS, each))  # type: ignore[misc]

    return take


if __name__ == "__main__":
    main(*sys.argv[1:])
