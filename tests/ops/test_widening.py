"""More partitions on real servers: what comes of a log is the same as if there had always been as many."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from engine.demo.data import build_log
from engine.events import Event, Family
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.partition import partition_of
from engine.streams.wire.codec import encode_json
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER
from tests.faults.harness import Deployment

pytestmark = [pytest.mark.ops, pytest.mark.kafka, pytest.mark.timeout(900)]

CUSTOMERS = 60
BEFORE, AFTER = 3, 6
JOURNEYS = Path(__file__).parent.parent / "simulation" / "journeys"
PATIENCE_S = 240.0
Log = Sequence[tuple[Family, Event]]


class Shop(Deployment):
    """A deployment with event topics of its own, on the replay clock."""

    @property
    def event_topics(self) -> dict[Family, str]:
        """Event topics by family."""
        return {family: f"{self.name}.{family}" for family in Family}

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of every process of this deployment."""
        topics = {f"ENGAGE_TOPICS_{family.upper()}": topic for family, topic in self.event_topics.items()}
        return super().environment | topics

    def send(self, log: Log, partitions: int) -> dict[tuple[str, int], int]:
        """Send events, then say that time has gone on and that nothing follows; return the ends."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random"})
        for family, event in log:
            producer.produce(self.event_topics[family], encode_json(event), event.customer_id.encode())
        last_ms = log[-1][1].time + 1
        for mark in (last_ms, END_OF_STREAM_MS):
            for topic in self.event_topics.values():
                for number in range(partitions):
                    headers = [(WATERMARK_HEADER, str(mark).encode())]
                    producer.produce(topic, b"", None, partition=number, headers=headers)
        assert producer.flush(30) == 0
        return self.ends()

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the end of each partition of the event topics."""
        from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "ends"})
        try:
            known = consumer.list_topics(timeout=10).topics
            return {
                (topic, number): consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
                for topic in self.event_topics.values()
                for number in known[topic].partitions
            }
        finally:
            consumer.close()

    def try_engage(self, *arguments: str) -> tuple[int, str]:
        """Run a command to its end, whatever comes of it; return its exit code and what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def customers(self) -> dict[bytes, tuple[bytes, float | None]]:
        """Return state and timer of each customer; each must lie where it belongs, and once."""
        found: dict[bytes, tuple[bytes, float | None]] = {}
        with redis.Redis.from_url(self.redis_url) as client:
            count = int(client.hget(f"{{{self.name}:0}}:meta", "partitions") or 0)
            for key in client.scan_iter(f"{{{self.name}:*}}:c:*", count=1000):
                place, _, customer = key.partition(b"}:c:")
                number = int(place.rpartition(b":")[2])
                assert number == partition_of(customer, count), "a customer lies where nobody looks"
                due = client.zscore(f"{{{self.name}:{number}}}:timers", customer)
                found[customer] = client.get(key), due
        return found


def new_shop(name: str, kafka: ApacheKafka, valkey: ValkeyServer, folder: Path, partitions: int) -> Shop:
    """Make a deployment and its topics."""
    settings = {
        "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
        "ENGAGE_CLOCK": "replay",
        "ENGAGE_TOPICS_PARTITIONS": str(partitions),
        "ENGAGE_RULES_PATHS": str(JOURNEYS),
    }
    shop = Shop(name, kafka.bootstrap, valkey.url, folder, settings)
    shop.engage("topics", "create")
    return shop


@pytest.fixture(scope="module")
def halves() -> tuple[Log, Log]:
    """Provide a log in two parts."""
    log = list(build_log(seed=7, customers=CUSTOMERS).events())
    middle = len(log) // 2
    return log[:middle], log[middle:]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[ApacheKafka, ValkeyServer]]:
    """Start Kafka and Valkey of our own."""
    with ApacheKafka(tmp_path / "kafka") as kafka, ValkeyServer(tmp_path / "valkey") as valkey:
        yield kafka, valkey


def test_the_outcome_is_that_of_the_log(
    stack: tuple[ApacheKafka, ValkeyServer], tmp_path: Path, halves: tuple[Log, Log]
) -> None:
    """Widened in the middle, killed while moving: the same as with 3 partitions or 6 all the way."""
    shops = {
        name: new_shop(name, *stack, tmp_path, count)
        for name, count in (("few", BEFORE), ("wide", BEFORE), ("many", AFTER))
    }
    few, wide, many = shops.values()
    for part, log in enumerate(halves):
        for shop in shops.values():
            count = AFTER if shop is many or (shop is wide and part) else BEFORE
            ends = shop.send(log, count)
            with shop.worker(part):
                shop.wait_done(ends, PATIENCE_S)
        if part == 0:
            widen_with_kills(wide)
    assert few.actions().keys() == many.actions().keys() == wide.actions().keys()
    assert len(few.actions()) > 100
    assert all(len(each) == 1 for each in wide.actions().values())
    assert few.customers() == many.customers() == wide.customers()
    assert wide.decisions().keys() == few.decisions().keys()


def widen_with_kills(shop: Shop) -> None:
    """Widen, ended by `kill -9` now and then while customers are moved, and see workers refuse meanwhile."""
    code, said = shop.try_engage("partitions", "widen", "--to", str(AFTER), "--dry-run")
    assert code == 0, said
    for delay_s in (0.01,):
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "partitions", "widen", "--to", str(AFTER)],
            env=shop.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_mark(shop, process)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        with shop.worker(9) as worker:
            assert worker.wait(90) == 1
        assert (
            "engage partitions widen --to 6` finishes it" in (shop.folder / f"{shop.name}-9.log").read_text()
        )
    code, said = shop.try_engage("partitions", "widen", "--to", str(AFTER))
    assert code == 0, said
    assert "counts and checksums as before" in said
    shop.more = {**shop.more, "ENGAGE_TOPICS_PARTITIONS": str(AFTER)}


def wait_mark(shop: Shop, process: subprocess.Popen[bytes]) -> None:
    """Wait until the move has begun to write."""
    with redis.Redis.from_url(shop.redis_url) as client:
        end = time.monotonic() + 120
        fence = client.get(f"{{{shop.name}:0}}:fence")
        while client.get(f"{{{shop.name}:0}}:fence") == fence and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
