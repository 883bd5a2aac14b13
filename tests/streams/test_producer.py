"""Actions go out in one flush, and every one is acknowledged or the flush raises."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from engine.errors import TransientError
from engine.streams.kafka import KafkaSettings
from engine.streams.producer import ActionProducer, DeliveryError, wait_for_reports
from tests.streams.transport_harness import Lane, Worker, until


async def test_produced_records_land_by_murmur2(lane: Lane) -> None:
    """Keys land on the partition the Java client's partitioner gives, headers and values unharmed."""
    worker = Worker(lane.settings())
    producer = ActionProducer(worker.settings)
    headers = {"ce_id": b"1"}
    async with worker.running():
        places = await producer.send(
            [(lane.topics[0], b"21", b"x", headers), (lane.topics[0], b"foobar", b"y", None)]
        )
        await until(lambda: len(worker.seen) >= 2, "both seen")
    await producer.aclose()
    # Kafka's own test vectors: murmur2("21") = -973932308, murmur2("foobar") = -790332482.
    expected = [(value & 0x7FFFFFFF) % lane.partitions for value in (-973932308, -790332482)]
    assert [place.partition for place in places] == expected
    headers_seen = {m.value(): m.headers() for batch in worker.batches for m in batch.records}
    assert headers_seen == {b"x": [("ce_id", b"1")], b"y": None}


async def test_failed_produce_raises() -> None:
    """A flush that no broker acknowledged raises, with the count; it never passes silently."""
    settings = KafkaSettings("127.0.0.1:9", delivery_timeout_ms=300, extra={"log_level": 0})
    producer = ActionProducer(settings)
    with pytest.raises(TransientError, match="2 of 2 records not acknowledged"):
        await producer.send([("actions", b"k", b"1", None), ("actions", b"k", b"2", None)])
    assert producer.failed_total == 2
    await producer.aclose()


async def test_a_partly_failed_flush_raises(lane: Lane) -> None:
    """One record too large among good ones fails the flush; the producer works afterwards."""
    producer = ActionProducer(lane.settings())
    topic = lane.topics[0]
    with pytest.raises(DeliveryError, match=r"1 of 2 records .* MSG_SIZE_TOO_LARGE") as caught:
        await producer.send([(topic, b"k", b"small", None), (topic, b"k", bytes(2_000_000), None)])
    assert caught.value.failed == caught.value.refused == (1,)
    assert len(await producer.send([(topic, b"k", b"again", None)])) == 1
    await producer.aclose()


class _Ended:
    """A producer of librdkafka's that a fatal error has ended, as confluent-kafka hands that out."""

    def __init__(self, told: BaseException | None) -> None:
        self._told = told

    def __len__(self) -> int:
        return 1

    def produce(self, *_: Any, **__: Any) -> None:
        """Take the record; it will never be reported."""

    def poll(self, _: float) -> int:
        """Raise in a callback."""
        raise SystemError("returned a result with an exception set") from self._told

    def purge(self) -> None:
        """Nothing is left."""


FATAL = KafkaException(KafkaError(KafkaError._FATAL, "ended", fatal=True))


@pytest.mark.parametrize("told", [FATAL, None], ids=["with its reason", "reason lost"])
async def test_a_producer_that_has_ended_is_replaced(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, told: BaseException | None
) -> None:
    """A fatal error fails the flush at once, as one that is tried again; the next has a new producer."""
    producer = ActionProducer(lane.settings())
    record = (lane.topics[0], b"k", b"1", None)
    with monkeypatch.context() as patched:
        patched.setattr("engine.streams.producer.Producer", lambda *_, **__: _Ended(told))
        with pytest.raises(DeliveryError, match=r"1 of 1 records .* _FATAL"):
            await producer.send([record])
    assert len(await producer.send([record])) == 1
    await producer.aclose()


def test_a_fatal_error_ends_the_wait_for_reports() -> None:
    """It is told at once, as Kafka's error."""
    with pytest.raises(KafkaException, match="ended"):
        wait_for_reports(cast("Producer", _Ended(FATAL)), 60.0)
