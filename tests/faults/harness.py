"""Run real workers on real servers, and read back what they did."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisError

from engine.settings import Settings, TopicSettings

TOPICS = TopicSettings()
_READ_TIMEOUT_S = 60.0
OUTBOX = b"f:outbox"  # each has a name of its own


@dataclass
class Deployment:
    """One deployment: its own group, keys and output topics, over shared event topics.

    Args:
        name: tells deployments apart.
        bootstrap: Kafka.
        redis_url: Redis or Valkey.
        folder: for logs.
        more: further settings, as environment.
    """

    name: str
    bootstrap: str
    redis_url: str
    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def topics(self) -> dict[str, str]:
        """Output topics by what they are for."""
        return {
            kind: f"{self.name}.{kind}" for kind in ("decisions", "segments", "dlq", "training", "models")
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of every process of this deployment."""
        names = {f"ENGAGE_TOPICS_{kind.upper()}": topic for kind, topic in self.topics.items()}
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("ENGAGE_")},
            **names,
            "ENGAGE_TOPICS_ACTIONS_PREFIX": f"{self.name}.actions.",
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "ENGAGE_KAFKA_GROUP": self.name,
            "ENGAGE_REDIS_URL": self.redis_url,
            "ENGAGE_REDIS_PREFIX": self.name,
            "ENGAGE_HTTP_PORT": "0",
            **self.more,
        }

    @property
    def partitions(self) -> int:
        """How many partitions each topic has."""
        return int(self.more.get("ENGAGE_TOPICS_PARTITIONS", TOPICS.partitions))

    def engage(self, *arguments: str, text: str | None = None) -> str:
        """Run a command to its end and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"engage {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def worker(self, number: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker; it is ended by its id, whatever happens."""
        process = self.start_worker(number)
        try:
            yield process
        finally:
            end(process)

    def start_worker(self, number: int = 0, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, with settings of its own if need be; the caller ends it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.name}-{number}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "engine.cli", "worker"],
                env={**self.environment, **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def offsets(self) -> Counter[tuple[str, int]]:
        """Return the durable offsets, by topic and partition; empty while Redis is away."""
        found: Counter[tuple[str, int]] = Counter()
        with suppress(RedisError), redis.Redis.from_url(self.redis_url) as client:
            for number in range(self.partitions):
                for name, value in client.hgetall(f"{{{self.name}:{number}}}:meta").items():
                    if name.startswith(b"o:"):
                        found[name[2:].decode(), number] = int(value)
        return found

    def wait_done(self, ends: Mapping[tuple[str, int], int], timeout_s: float) -> None:
        """Wait until every record of the log is durable."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            offsets = self.offsets()
            if all(offsets[key] >= end for key, end in ends.items()):
                return
            time.sleep(0.05)
        behind = {key: (offsets[key], end) for key, end in ends.items() if offsets[key] < end}
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
        raise AssertionError(f"not done after {timeout_s} s: {behind}\n{logs}")

    def stored(self) -> dict[bytes, Any]:
        """Return everything that must be equal between runs: states, timers, clocks, rates."""
        found: dict[bytes, Any] = {}
        with redis.Redis.from_url(self.redis_url) as client:
            for key in client.scan_iter(f"{{{self.name}:*".encode(), count=1000):
                tail = key.split(b"{" + self.name.encode())[1]
                if b":c:" in tail:
                    found[tail] = client.get(key)
                elif tail.endswith(b":timers"):
                    found[tail] = client.zrange(key, 0, -1, withscores=True)
                elif tail.endswith(b":meta"):
                    mine = (b"o:", b"f:", b"clock")
                    fields = client.hgetall(key).items()
                    found[tail] = {k: v for k, v in fields if k.startswith(mine) and k != OUTBOX}
        return found

    def actions(self) -> dict[str, list[bytes]]:
        """Return every action record, by action id."""
        channels = Settings().channels
        return self._by_id([f"{self.name}.actions.{channel}" for channel in channels])

    def decisions(self) -> dict[str, list[bytes]]:
        """Return every decision record, by id."""
        return self._by_id([self.topics["decisions"]])

    def _by_id(self, topics: list[str]) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        for value in read_all(self.bootstrap, topics):
            found.setdefault(msgspec.json.decode(value)["id"], []).append(value)
        return found


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process we started: politely, then surely."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
    if process.poll() is None:
        process.kill()
    process.wait()


def read_all(bootstrap: str, topics: list[str]) -> list[bytes]:
    """Read the values of topics from their beginning to their present end."""
    return [message.value() for message in read_messages(bootstrap, topics)]


def read_messages(bootstrap: str, topics: list[str]) -> list[Message]:
    """Read topics from their beginning to their present end."""
    own = {"group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({"bootstrap.servers": bootstrap, **own})
    try:
        known = consumer.list_topics(timeout=10).topics
        parts = [(topic, number) for topic in topics for number in known[topic].partitions]
        ends = {part: consumer.get_watermark_offsets(TopicPartition(*part), timeout=10)[1] for part in parts}
        left = {part: stop for part, stop in ends.items() if stop}
        consumer.assign([TopicPartition(*part, OFFSET_BEGINNING) for part in left])
        found: list[Message] = []
        deadline = time.monotonic() + _READ_TIMEOUT_S
        while left and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                error = message.error()
                if error is None:
                    found.append(message)
                    continue
                # the last offsets may be those of transactions' ends, which nobody is given
                assert error.code() == KafkaError._PARTITION_EOF, error
                left.pop((message.topic(), message.partition()), None)
        assert not left, f"not read to the end: {left}"
        return found
    finally:
        consumer.close()


def end_offsets(bootstrap: str) -> dict[tuple[str, int], int]:
    """Return the end of every event topic's partitions."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    try:
        known = consumer.list_topics(timeout=10).topics
        return {
            (topic, number): consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
            for topic in Settings().event_topics().values()
            for number in known[topic].partitions
        }
    finally:
        consumer.close()


__all__ = ["Deployment", "RedisGone", "end", "end_offsets", "read_all", "read_messages"]
