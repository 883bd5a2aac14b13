"""What a peer wrote, held against the plain count."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import orjson
from confluent_kafka import Consumer, TopicPartition

from loadtest.peers.jobs import Task

_TIMEOUT_S = 30.0


def records(bootstrap: str, topic: str) -> Iterator[tuple[str, bytes]]:
    """Yield key and value of everything in a topic now."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "loadtest-outputs", "enable.auto.commit": False}
    )
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        left: dict[int, int] = {}
        places = []
        for partition in known:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if high > low:
                left[partition] = high
                places.append(TopicPartition(topic, partition, low))
        consumer.assign(places)
        deadline_s = time.monotonic() + _TIMEOUT_S
        while left and time.monotonic() < deadline_s:
            for message in consumer.consume(5_000, 0.2):
                partition = message.partition()
                if message.error() is None and message.value() is not None:
                    yield (message.key() or b"").decode(), message.value()
                if partition in left and message.offset() + 1 >= left[partition]:
                    del left[partition]
    finally:
        consumer.close()


Counts = dict[tuple[str, int], int]


def counts(task: Task, peer: str) -> tuple[Counts, int]:
    """Read the windowed counts that a peer wrote.

    Returns:
        the counts by customer and window's start, and how many windows were written twice.
    """
    found: Counts = {}
    repeats = 0
    if peer == "faust":
        # The table's changelog: every update, the last one counts.
        for key, value in records(task.bootstrap, f"{task.name}-counts-changelog"):
            customer, (start_s, _) = orjson.loads(key)
            found[customer, round(start_s * 1000)] = int(value)
        return found, 0
    for key, value in records(task.bootstrap, task.target):
        said = orjson.loads(value)
        repeats += (key, said["start"]) in found
        found[key, said["start"]] = said["count"]
    return found, repeats


def actions(task: Task) -> tuple[set[tuple[str, str]], int]:
    """Read the actions that a peer wrote.

    Returns:
        customer and causing event's id of each, and how many were written twice.
    """
    found: set[tuple[str, str]] = set()
    repeats = 0
    for key, value in records(task.bootstrap, task.target):
        action = key, orjson.loads(value)["event_id"]
        repeats += action in found
        found.add(action)
    return found, repeats


def fault_of_counts(
    found: Counts, repeats: int, expected: Mapping[tuple[str, int], int], *, whole: bool
) -> str:
    """Say what is wrong with counts; empty when nothing is.

    Args:
        found: what was written.
        repeats: windows written twice.
        expected: what the plain count says.
        whole: whether everything must be there, or only what is there must be right.
    """
    wrong = sum(1 for window, count in found.items() if expected.get(window) != count)
    missing = len(expected) - len(found) if whole else 0
    return _fault(wrong, missing, repeats, "windows")


def fault_of_actions(
    found: set[tuple[str, str]], repeats: int, expected: set[tuple[str, str]], *, whole: bool
) -> str:
    """Say what is wrong with actions; empty when nothing is. Arguments as for counts."""
    return _fault(len(found - expected), len(expected - found) if whole else 0, repeats, "actions")


def _fault(wrong: int, missing: int, repeats: int, what: str) -> str:
    said = ((wrong, "wrong"), (missing, "missing"), (repeats, "written twice"))
    return ", ".join(f"{number} {what} {how}" for number, how in said if number)
