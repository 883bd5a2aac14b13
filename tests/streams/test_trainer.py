"""The trainer process: restarts change nothing, there is one of it, and broken blocks are passed over."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from engine.authoring.evaluation.report import ModelReport
from engine.cli import app
from engine.demo.data import build_log
from engine.errors import ConfigError, EngineError, StateError, TransientError
from engine.features.churn import trial
from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.snapshot import Snapshot, encode_snapshot
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.link_settings import RedisSettings
from engine.settings import ChurnSettings, Settings, TopicSettings
from engine.streams import trainer as module
from engine.streams.files import definitions_of
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from engine.streams.models.desk import ModelDesk
from engine.streams.models.topic import (
    MODEL_KEY,
    Kept,
    ModelFollower,
    kept_key,
    read_models,
    write_models,
)
from engine.streams.producer import ActionProducer, OutRecord
from engine.streams.steps.sink import CLOCK_HEADER
from engine.streams.trainer import Trainer
from tests.conftest import TopicMaker
from tests.streams.replay import replay, write_log

PARTITIONS = 2
WAIT_S = 30.0
Headers = dict[str, bytes]


@pytest.fixture(scope="module")
def blocks() -> list[OutRecord]:
    """Let a worker make the training rows of a year and a half of some customers."""
    settings = Settings(clock="replay")
    events = list(build_log(seed=3, customers=80).events())
    _, tap = asyncio.run(replay(settings, write_log(settings, events, PARTITIONS), seed=1, most=200))
    found = [record for record in tap.records if record[0] == settings.topics.training]
    assert len(found) > 100
    return found


@pytest.fixture
def site(embedded_broker: EmbeddedBroker, valkey: ValkeyServer, make_topic: TopicMaker) -> Site:
    """Provide topics and settings of the test's own."""
    topics = TopicSettings(
        training=make_topic(embedded_broker, "training", 4), models=make_topic(embedded_broker, "models", 1)
    )
    settings = Settings(
        topics=topics,
        redis=RedisSettings(url=valkey.url, prefix=f"t{uuid.uuid4().hex[:6]}"),
        churn=ChurnSettings(publish_every_s=3600),
    )
    return Site(settings, KafkaSettings(embedded_broker.bootstrap))


class Site:
    """Where a trainer runs.

    Args:
        settings: topics and Redis.
        kafka: the broker.
    """

    def __init__(self, settings: Settings, kafka: KafkaSettings) -> None:
        self.settings = settings
        self.kafka = kafka
        self.state_key = f"{settings.redis.prefix}:trainer"
        self.ends: dict[int, int] = {}

    def send(self, records: list[OutRecord]) -> None:
        """Put training records on this site's topic."""
        topic = self.settings.topics.training

        async def produce() -> None:
            producer = ActionProducer(self.kafka)
            sent = await producer.send([(topic, key, value, headers) for _, key, value, headers in records])
            await producer.aclose()
            for place in sent:
                self.ends[place.partition] = max(self.ends.get(place.partition, 0), place.offset + 1)

        asyncio.run(produce())

    def redis(self) -> redis.Redis:
        """Connect to the store."""
        return redis.Redis.from_url(self.settings.redis.url)

    def trainer(self) -> Trainer:
        """Make a trainer."""
        return Trainer(self.settings, self.kafka, PARTITIONS)

    @contextmanager
    def running(self) -> Iterator[Trainer]:
        """Run a trainer in a thread; it is stopped in order at the end."""
        trainer = self.trainer()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(trainer.run())
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield trainer
        finally:
            trainer.stopped = True
            thread.join(WAIT_S)
        if failed:
            raise failed[0]

    def learn(self) -> None:
        """Run a trainer until it has read everything."""
        with self.running() as trainer:
            deadline = time.monotonic() + WAIT_S
            while trainer._offsets != self.ends and time.monotonic() < deadline:
                time.sleep(0.05)
            assert trainer._offsets == self.ends

    def published(self) -> Snapshot:
        """Return the newest snapshot on the model topic, as a worker gets it."""
        follower = ModelFollower(self.kafka, self.settings.topics.models)
        follower.start()
        try:
            newest: Snapshot | None = None
            deadline = time.monotonic() + WAIT_S
            quiet = 0
            while time.monotonic() < deadline and quiet < 10:
                found = follower.take()
                quiet = 0 if found or newest is None else quiet + 1
                newest = found or newest
                time.sleep(0.05)
        finally:
            follower.stop()
        assert newest is not None
        assert follower.refused_total == 0
        return newest


def expected(records: list[OutRecord]) -> Snapshot:
    """Return what one undisturbed core learns."""
    core = TrainerCore(TrainerSettings(partitions=PARTITIONS))
    definitions = definitions_of(Settings())
    core.segment_names = definitions.segments_over(definitions.space(())).names
    for _, key, value, headers in records:
        partition = int(key or b"")
        clock_s = int(dict(headers or ())[CLOCK_HEADER]) // 1000
        core.add_block(partition, TrainingBlock.decode(value or b""))
        core.advance(partition, clock_s)
    return same(core.snapshot())


def same(snapshot: Snapshot) -> Snapshot:
    """Leave out what counts publications and compares them."""
    return msgspec.structs.replace(snapshot, version=0, trial=None, progress=None)


def test_a_restart_changes_nothing(site: Site, blocks: list[OutRecord]) -> None:
    """Stopped half-way and started again, the trainer publishes what an undisturbed one learns."""
    half = len(blocks) // 2
    site.send(blocks[:half])
    site.learn()
    first = site.published()
    site.send(blocks[half:])
    site.learn()
    found = site.published()
    assert found.version > first.version
    assert found.labels > 0
    assert same(found) == expected(blocks)


def test_the_report_is_of_what_was_published(
    site: Site, blocks: list[OutRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a worker's rows over trainer and topic to the page: the live model's figures, by segment too."""
    site.send(blocks)
    site.learn()
    live = site.published()
    monkeypatch.setenv("ENGAGE_CONFIG", str(tmp_path / "engage.toml"))
    (tmp_path / "engage.toml").write_text("", "utf-8")
    monkeypatch.setenv("ENGAGE_KAFKA_BOOTSTRAP_SERVERS", site.kafka.bootstrap)
    monkeypatch.setenv("ENGAGE_TOPICS_MODELS", site.settings.topics.models)
    page = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["model", "report", "--html", str(page)]).exit_code == 0
    told = CliRunner().invoke(app, ["model", "report", "--json"])
    assert msgspec.json.decode(told.stdout, type=ModelReport).model == live
    assert {"new", "churn_risk"} < set(live.segments)
    judged = live.validation["all"]
    assert sum(quality.rows for quality in live.segments.values()) == judged.rows > 1_000
    text = page.read_text("utf-8")
    assert f"version {live.version}" in text
    assert f"{judged.auc:.4f}" in text
    for name, quality in live.segments.items():
        assert f">{name}<" in text
        assert f"{quality.log_loss:.4f}" in text


def test_rows_read_twice_count_once(site: Site, blocks: list[OutRecord]) -> None:
    """Killed after its last checkpoint, the trainer reads rows again and learns them once."""
    third = len(blocks) // 3
    site.send(blocks[:third])
    site.learn()
    with site.redis() as client:
        checkpoint = client.get(site.state_key)
        site.send(blocks[third:])
        site.learn()
        assert isinstance(checkpoint, bytes)
        client.set(site.state_key, checkpoint)
    site.learn()
    assert same(site.published()) == expected(blocks)


def test_a_number_once_published_is_not_used_again(site: Site, blocks: list[OutRecord]) -> None:
    """Killed between publishing and its checkpoint, the trainer goes on with a number of its own."""
    site.send(blocks[: len(blocks) // 2])
    site.learn()
    first = site.published()
    taken = msgspec.structs.replace(first, version=41)
    kept = {kept_key(41): msgspec.json.encode(Kept(taken, 1, went_live=False))}
    write_models(site.kafka, site.settings.topics.models, kept)
    site.send(blocks[len(blocks) // 2 :])
    site.learn()
    assert site.published().version == 42


def test_what_fails_its_trial_does_not_go_live(
    site: Site, blocks: list[OutRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live snapshot stays, the new one is kept with the reason, and an operator may promote it."""
    monkeypatch.setattr(trial, "MIN_TRIAL_ROWS", 1)
    site.settings = msgspec.structs.replace(
        site.settings, churn=ChurnSettings(publish_every_s=3600, max_loss_increase=0.0)
    )
    topic = site.settings.topics.models
    site.send(blocks)
    unbeaten = msgspec.structs.replace(expected(blocks), version=3)
    write_models(site.kafka, topic, {MODEL_KEY: encode_snapshot(unbeaten)})
    site.learn()
    assert site.published() == unbeaten
    board = read_models(site.kafka, topic)
    newest = board.highest_version
    kept = board.kept[newest]
    assert not kept.went_live
    assert kept.snapshot.trial is not None
    assert (kept.snapshot.trial.live_version, kept.snapshot.trial.passed) == (3, False)
    desk = ModelDesk(site.settings, site.kafka, "ann")
    live = desk.promote(None).live
    assert live is not None
    assert live.version == newest


def test_while_frozen_the_trainer_learns_and_nothing_switches(site: Site, blocks: list[OutRecord]) -> None:
    """Operators hold, roll back and let go; the trainer's snapshots are kept all the while."""
    half = len(blocks) // 2
    site.send(blocks[:half])
    site.learn()
    desk = ModelDesk(site.settings, site.kafka, "ann")
    assert desk.freeze("a sale").frozen
    with pytest.raises(EngineError, match="frozen already"):
        desk.freeze()
    site.send(blocks[half:])
    site.learn()
    board = desk.read()
    assert board.live is not None
    assert (board.live.version, sorted(board.kept)) == (1, [1, 2])
    rolled = desk.roll_back(None, "back to the prior").live
    assert rolled is not None
    assert rolled.version == 0
    assert desk.promote(2).frozen
    again = desk.thaw()
    assert again.live is not None
    assert (again.live.version, again.frozen) == (2, False)
    before = desk.roll_back(None).live
    assert before is not None
    assert before.version == 0, "that is what 2 was promoted over"
    with pytest.raises(EngineError, match=r"nothing was before it.*promote N"):
        desk.roll_back(None)
    for version in (1, 0):
        desk.promote(version)
    back = desk.roll_back(None).live
    assert back is not None
    assert back.version == 1
    for wrong, match in ((1, "live already"), (9, "no version 9; kept are: 1, 2")):
        with pytest.raises(EngineError, match=match):
            desk.promote(wrong)
    other = msgspec.structs.replace(site.settings, churn=ChurnSettings(horizon_days=180))
    with pytest.raises(ConfigError, match=r"version 2 is for 90 days, churn\.horizon_days is 180"):
        ModelDesk(other, site.kafka, "ann").promote(2)


def test_there_is_one_trainer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second trainer is refused by name, and touches neither the lock nor what the first has learned."""
    monkeypatch.setattr(module, "LOCK_MS", 1)
    with site.redis() as client:
        client.set(f"{site.state_key}:lock", "elsewhere:1")
        with pytest.raises(ConfigError, match="another trainer runs as elsewhere:1"):
            asyncio.run(site.trainer().run())
        stopped = site.trainer()
        stopped.stopped = True
        asyncio.run(stopped.run())
        assert client.get(f"{site.state_key}:lock") == b"elsewhere:1"
        assert client.get(site.state_key) is None


def test_who_lost_the_lock_stops(site: Site) -> None:
    """A trainer whose lock went to another one stops without writing its state."""
    lock = f"{site.state_key}:lock"
    with site.redis() as client:

        def rob() -> None:
            with site.running():
                deadline = time.monotonic() + WAIT_S
                while client.get(lock) is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                client.set(lock, "elsewhere:1")
                client.set(site.state_key, "theirs")

        with pytest.raises(ConfigError, match="another trainer took over"):
            rob()
        assert client.get(lock) == b"elsewhere:1"
        assert client.get(site.state_key) == b"theirs"


def test_a_stop_gives_the_lock_back(site: Site) -> None:
    """After an orderly stop another trainer may start at once."""
    site.send([])
    site.learn()
    with site.redis() as client:
        assert client.get(f"{site.state_key}:lock") is None
        assert client.get(site.state_key) is not None


def test_broken_blocks_are_passed_over(site: Site, blocks: list[OutRecord]) -> None:
    """A record that is no training block is told of and passed over; the rest is learned."""
    clock = [(CLOCK_HEADER, b"1000")]
    broken: list[OutRecord] = [
        ("", b"0", b"rubbish", clock),
        ("", None, b"", clock),
        ("", b"x", TrainingBlock.empty().encode(), clock),
        ("", b"9", TrainingBlock.empty().encode(), clock),
        ("", b"0", TrainingBlock.empty().encode(), None),
        ("", b"1", TrainingBlock.empty().encode(), [(CLOCK_HEADER, b"soon")]),
    ]
    some = blocks[: len(blocks) // 2]
    site.send([*broken, *some])
    site.learn()
    assert same(site.published()) == expected(some)


def test_a_checkpoint_that_cannot_be_read_is_refused(site: Site) -> None:
    """A broken checkpoint stops the trainer instead of starting from nothing."""
    with site.redis() as client:
        client.set(site.state_key, b"\xff\xff")
        with pytest.raises(StateError, match="checkpoint"):
            asyncio.run(site.trainer().run())
        assert client.get(site.state_key) == b"\xff\xff"


def test_redis_that_does_not_answer_is_waited_for(
    site: Site, blocks: list[OutRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the trainer learns on, and neither saves nor publishes; nothing of it is lost."""
    monkeypatch.setattr(module, "_RENEW_EVERY_S", 0.0)
    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", 0.0)
    asked = 0

    async def gone(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise TransientError("redis does not answer")

    with site.running() as trainer, site.redis() as client:
        wait_for(lambda: client.get(site.state_key) is not None)
        before = client.get(site.state_key)
        with monkeypatch.context() as away:
            away.setattr(trainer, "_ask", gone)
            site.send(blocks)
            wait_for(lambda: trainer._offsets == site.ends and asked > 1)
        assert client.get(site.state_key) == before
        wait_for(lambda: client.get(site.state_key) != before)
    assert same(site.published()) == expected(blocks)


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_redis_it_says_so(site: Site, tmp_path: Path) -> None:
    """A trainer that does not reach Redis ends with an error a retry may cure."""
    nowhere = RedisSettings(url=f"unix://{tmp_path}/none.sock", prefix="none")
    settings: Any = msgspec.structs.replace(site.settings, redis=nowhere)
    with pytest.raises(TransientError, match="redis"):
        asyncio.run(Trainer(settings, site.kafka, PARTITIONS).run())
