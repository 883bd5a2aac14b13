"""Model snapshots reach the workers: the newest that fits, and none that does not."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import msgspec
import numpy as np
import pytest

from engine import metrics as table
from engine.errors import EngineError
from engine.features.churn.evaluation import Quality, Tally
from engine.features.churn.snapshot import Progress, Snapshot, Trial, encode_snapshot, shipped_prior
from engine.metrics import Metrics
from engine.settings import ChurnSettings, Settings
from engine.streams.health import WorkerHealth
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import EmbeddedBroker
from engine.streams.models.switch import ModelSwitch
from engine.streams.models.topic import (
    DESK_KEY,
    MODEL_KEY,
    Desk,
    Kept,
    ModelBoard,
    ModelFollower,
    kept_key,
    write_models,
)
from engine.streams.producer import ActionProducer
from engine.streams.wiring import build_pipeline
from tests.conftest import TopicMaker

WAIT_S = 20.0


def snapshot(version: int, **changes: Any) -> Snapshot:
    """Return a snapshot of some version."""
    return msgspec.structs.replace(shipped_prior(), version=version, labels_gone=7, **changes)


def publish(kafka: KafkaSettings, topic: str, *payloads: bytes | None) -> None:
    """Put payloads on the model topic."""

    async def produce() -> None:
        producer = ActionProducer(kafka)
        await producer.send([(topic, MODEL_KEY, payload, None) for payload in payloads])
        await producer.aclose()

    asyncio.run(produce())


def wait_for(follower: ModelFollower, version: int) -> Snapshot:
    """Wait for a version to arrive."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = follower.take()
        if found is not None and found.version == version:
            return found
        time.sleep(0.02)
    raise AssertionError(f"version {version} never came")


def test_the_newest_that_fits_arrives(embedded_broker: EmbeddedBroker, make_topic: TopicMaker) -> None:
    """What cannot be read or was made for other features is refused and counted; a good one arrives."""
    kafka, topic = KafkaSettings(embedded_broker.bootstrap), make_topic(embedded_broker, "models", 1)
    follower = ModelFollower(kafka, topic)
    other = encode_snapshot(snapshot(2, features=("other",)))
    publish(kafka, topic, encode_snapshot(snapshot(1)), b"rubbish", other, None, encode_snapshot(snapshot(3)))
    follower.start()
    try:
        assert wait_for(follower, 3) == snapshot(3)
        assert follower.refused_total == 2
        assert follower.take() is None, "each one is handed out once"
        publish(kafka, topic, encode_snapshot(snapshot(4)))
        wait_for(follower, 4)
    finally:
        follower.stop()


def test_a_topic_that_comes_later_is_waited_for(
    embedded_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that started before the model topic existed finds it when it comes."""
    monkeypatch.setattr("engine.streams.models.topic._ABSENT_RETRY_S", 0.05)
    kafka, topic = KafkaSettings(embedded_broker.bootstrap), f"late-{uuid.uuid4().hex[:8]}"
    follower = ModelFollower(kafka, topic)
    follower.start()
    try:
        time.sleep(0.2)
        publish(kafka, topic, encode_snapshot(snapshot(1)))
        wait_for(follower, 1)
    finally:
        follower.stop()


def test_what_is_frozen_counts_whatever_comes(
    embedded_broker: EmbeddedBroker, make_topic: TopicMaker
) -> None:
    """A worker scores with what operators hold from its first batch on, and switches when they let go."""
    kafka, topic = KafkaSettings(embedded_broker.bootstrap), make_topic(embedded_broker, "models", 1)
    held = msgspec.json.encode(Desk(snapshot(2), "ann", 1, "why"))
    write_models(kafka, topic, {MODEL_KEY: encode_snapshot(snapshot(7)), DESK_KEY: held})
    follower = ModelFollower(kafka, topic)
    follower.start()
    try:
        follower.wait(WAIT_S)
        assert follower.take() == snapshot(2)
        assert follower.board.frozen
        write_models(kafka, topic, {MODEL_KEY: encode_snapshot(snapshot(8))})
        write_models(kafka, topic, {DESK_KEY: msgspec.json.encode(Desk(None, "ann"))})
        wait_for(follower, 8)
        assert not follower.board.frozen
    finally:
        follower.stop()


def test_the_oldest_snapshots_go_but_not_those_that_are_needed() -> None:
    """Beyond the number kept the oldest go; what is live and what was live before it stay."""
    board = ModelBoard()
    for version in range(1, 11):
        kept = Kept(snapshot(version), version, went_live=version in {1, 3})
        board.take(kept_key(version), msgspec.json.encode(kept))
    board.take(MODEL_KEY, encode_snapshot(snapshot(3)))
    assert board.surplus(4) == [2, 4, 5, 6]
    assert board.before(3) == snapshot(1)
    assert board.before(1) is None
    assert board.highest_version == 10
    board.take(kept_key(10), None)
    board.take(b"churn/other", b"not ours")
    assert board.highest_version == 9
    with pytest.raises(EngineError, match="model topic"):
        board.take(DESK_KEY, b"rubbish")
    assert board.live == snapshot(3)


class Queue:
    """Stands in for the follower: hands out what the test put in."""

    def __init__(self) -> None:
        self.next: Snapshot | None = None
        self.board = ModelBoard()
        self.records_total = self.refused_total = 0

    def take(self) -> Snapshot | None:
        """Hand it out once."""
        found, self.next = self.next, None
        return found


def test_the_worker_switches_between_batches() -> None:
    """A snapshot that fits becomes the scorer, its passport is shown; one of another horizon does not."""
    settings = Settings()
    pipeline, metrics, health = build_pipeline(settings), Metrics(), WorkerHealth(now_s=time.monotonic)
    queue: Any = Queue()
    models = ModelSwitch(settings, queue, pipeline, metrics, health)
    assert health.model["version"] == shipped_prior().version
    models.switch()
    assert pipeline.scorer.snapshot.version == shipped_prior().version
    queue.next = snapshot(5, cut_off_s=1_700_000_000)
    models.switch()
    assert pipeline.scorer.snapshot.version == 5
    assert (health.model["version"], health.model["cut_off_ms"]) == (5, 1_700_000_000_000)
    assert metrics.value(table.MODEL_LABELS, "gone") == 7
    queue.next = snapshot(6, horizon_days=180)
    models.switch()
    assert pipeline.scorer.snapshot.version == 5
    assert metrics.value(table.MODEL_REFUSED) == 1


def test_a_worker_keeps_its_model_when_one_of_other_features_comes(
    embedded_broker: EmbeddedBroker, make_topic: TopicMaker
) -> None:
    """From the topic to the metric: the old one scores on, and what was refused is counted."""
    kafka, topic = KafkaSettings(embedded_broker.bootstrap), make_topic(embedded_broker, "models", 1)
    settings, metrics = Settings(), Metrics()
    follower, pipeline = ModelFollower(kafka, topic), build_pipeline(settings)
    models = ModelSwitch(settings, follower, pipeline, metrics, WorkerHealth(now_s=time.monotonic))
    publish(kafka, topic, encode_snapshot(snapshot(1)))
    models.start()
    try:
        follower.wait(WAIT_S)
        models.switch()
        assert pipeline.scorer.snapshot.version == 1
        publish(kafka, topic, encode_snapshot(snapshot(2, features=("other",), features_hash="0" * 16)))
        deadline = time.monotonic() + WAIT_S
        while not metrics.value(table.MODEL_REFUSED) and time.monotonic() < deadline:
            time.sleep(0.02)
            models.switch()
    finally:
        models.stop()
    assert metrics.value(table.MODEL_REFUSED) == 1
    assert pipeline.scorer.snapshot.version == 1
    assert metrics.value(table.MODEL_VERSION, "live") == 1


def test_the_metrics_say_how_good_the_model_is() -> None:
    """What the trainer said last is shown by group, segment, decile and queue, also if it did not go live."""
    settings, metrics, health = Settings(), Metrics(), WorkerHealth(now_s=time.monotonic)
    queue: Any = Queue()
    models = ModelSwitch(settings, queue, build_pipeline(settings), metrics, health)
    tally = Tally()
    risk = np.linspace(0.05, 0.95, 400)
    tally.add(risk, np.full(400, 0.5), np.arange(400) % 2 == 0)
    told = snapshot(
        9,
        recent={"all": tally.summary(), "actionable": Quality(0)},
        recent_segments={"regular": tally.summary()},
        progress=Progress(1, 2, 3, 4, 5, 6),
        trial=Trial(400, 3, 0.5, 0.5, 0.4, 0.005, passed=False),
    )
    queue.board.take(kept_key(9), msgspec.json.encode(Kept(told, 1, went_live=False)))
    queue.board.take(DESK_KEY, msgspec.json.encode(Desk(snapshot(3))))
    queue.records_total, queue.refused_total = 4, 2
    models.switch()
    models.switch()
    read = metrics.value
    assert (read(table.MODEL_VERSION, "newest"), read(table.MODEL_VERSION, "live")) == (9, 0)
    assert (read(table.MODEL_FROZEN), read(table.MODEL_TRIAL), read(table.MODEL_REFUSED)) == (1, 0, 2)
    assert read(table.MODEL_AUC, "all") == pytest.approx(0.5, abs=0.01)
    assert read(table.MODEL_MBG_LOG_LOSS, "all") == pytest.approx(np.log(2.0))
    assert read(table.MODEL_LOG_LOSS, "all") > read(table.MODEL_BASE_LOG_LOSS, "all")
    assert read(table.MODEL_CALIBRATION, "all") > 0.2
    # a rule that tells nobody apart, as here no row is one to act on, knows only the base rate
    assert read(table.MODEL_RULE_LOG_LOSS) == pytest.approx(read(table.MODEL_BASE_LOG_LOSS, "all"))
    assert read(table.MODEL_LOG_LOSS, "segment:regular") == read(table.MODEL_LOG_LOSS, "all")
    assert read(table.MODEL_DECILE, "1", "predicted") < 0.15 < read(table.MODEL_DECILE, "1", "observed")
    assert read(table.MODEL_DRIFT) == pytest.approx(0.0, abs=0.01)
    assert [read(table.MODEL_QUEUE, name) for name in ("partitions", "labels", "judgements")] == [1, 2, 3]
    assert (read(table.MODEL_LATE_ROWS), read(table.MODEL_FITS, "failed")) == (4, 6)


@pytest.mark.parametrize(
    ("clock", "follow", "expected"),
    [
        ("live", "auto", True),
        ("replay", "auto", False),
        ("replay", "yes", True),
        ("live", "no", False),
    ],
)
def test_who_follows(clock: Any, follow: Any, *, expected: bool) -> None:
    """Left to itself a worker follows on the live clock only: a replay's outcome is a function of the log."""
    settings = Settings(clock=clock, churn=ChurnSettings(follow=follow))
    started: list[str] = []

    class Noted(Queue):
        def start(self) -> None:
            started.append("start")

        def stop(self) -> None:
            started.append("stop")

    queue: Any = Noted()
    pipeline, health = build_pipeline(settings), WorkerHealth(now_s=time.monotonic)
    models = ModelSwitch(settings, queue, pipeline, Metrics(), health)
    models.start()
    models.stop()
    assert started == (["start", "stop"] if expected else [])
