"""Published rules on Kafka: publishers that meet, workers that follow, versions that cannot be loaded."""

from __future__ import annotations

import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import metrics as table
from engine.errors import RuleErrors, StateError
from engine.metrics import Metrics
from engine.rules.publishing.publication import Contents, JourneyFile, Pause, Publication, Publish
from engine.rules.publishing.refused import Refused
from engine.rules.publishing.requests import approve_request, pause_request, stage_request
from engine.settings import RuleSettings, Settings, TopicSettings
from engine.streams.health import WorkerHealth
from engine.streams.kafka import KafkaSettings, create_topics
from engine.streams.local.stack import ApacheKafka
from engine.streams.producer import ActionProducer
from engine.streams.rules import loader
from engine.streams.rules.desk import RuleDesk
from engine.streams.rules.follower import RuleFollower
from engine.streams.rules.loader import RuleLoader
from engine.streams.rules.switch import RuleSwitch
from engine.streams.rules.topic import append
from engine.streams.topics import topic_specs
from engine.streams.wiring import build_pipeline
from tests.rules.publishing.test_publication import BYE, CHANGED, HELLO

pytestmark = pytest.mark.kafka

WAIT_S = 15.0


class Place:
    """One deployment's rules topic, journey files and desks.

    Args:
        kafka: how to reach Kafka.
        folder: for the journey files.
    """

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        topics = TopicSettings(rules=f"rules-{uuid.uuid4().hex[:8]}")
        rules = RuleSettings(paths=[str(folder)], source="topic")
        self.settings = Settings(topics=topics, rules=rules)
        create_topics(kafka, [spec for spec in topic_specs(self.settings) if spec.name == topics.rules])

    def write(self, *texts: str) -> None:
        """Put these journeys, and no others, into the folder."""
        for path in self.folder.glob("*.yaml"):
            path.unlink()
        for number, text in enumerate(texts):
            (self.folder / f"journey{number}.yaml").write_text(text, "utf-8")

    def desk(self, author: str = "anna", **rules: object) -> RuleDesk:
        """Return somebody's desk."""
        changed = msgspec.structs.replace(self.settings.rules, **rules)
        settings = msgspec.structs.replace(self.settings, rules=changed)
        return RuleDesk(settings, self.kafka, author)

    def publish(self, *texts: str, share: float = 1.0) -> int:
        """Publish journeys; return the version."""
        self.write(*texts)
        desk = self.desk()
        return desk.send(desk.draft("", share)).publish.version

    def follower(self) -> RuleFollower:
        """Return a worker's follower that rests after no piece of work."""
        loader = RuleLoader(self.settings, rest=lambda _: None)
        return RuleFollower(self.kafka, self.settings.topics.rules, loader)


@pytest.fixture
def place(apache_kafka: ApacheKafka, tmp_path: Path) -> Place:
    """Provide a deployment of its own."""
    return Place(KafkaSettings(apache_kafka.bootstrap), tmp_path)


class Following:
    """A worker as far as rules go: a follower, and the switch it feeds."""

    def __init__(self, place: Place) -> None:
        self.follower = place.follower()
        self.follower.start()
        loaded = self.follower.first(WAIT_S)
        place.write(HELLO)
        self.pipeline = loaded.pipeline if loaded is not None else build_pipeline(place.settings)
        self.metrics, self.health = Metrics(), WorkerHealth(now_s=time.monotonic)
        self.forgot = 0
        self.switch = RuleSwitch(self.follower, self.pipeline, self.metrics, self.health, self.forget)

    def forget(self) -> None:
        """Count it."""
        self.forgot += 1

    @property
    def version(self) -> int:
        """The version that runs."""
        return self.pipeline.rules.release.version

    def until(self, holds: Callable[[Following], bool]) -> None:
        """Switch as a worker does before each batch, until something holds."""
        deadline = time.monotonic() + WAIT_S
        while not holds(self):
            self.switch.switch()
            assert time.monotonic() < deadline, (self.version, self.health.rules, self.health.rules_error)
            time.sleep(0.005)


@pytest.fixture
def following(place: Place) -> Iterator[Callable[[], Following]]:
    """Provide workers' sides; they are stopped at the end."""
    made: list[Following] = []

    def make() -> Following:
        made.append(Following(place))
        return made[-1]

    yield make
    for each in made:
        each.follower.stop()


def test_an_empty_topic_leaves_the_files(place: Place, following: Callable[[], Following]) -> None:
    """While nothing is published a worker runs its files, and takes the first publication over."""
    worker = following()
    assert (worker.version, len(worker.pipeline.rules.journeys)) == (0, 1)
    assert place.publish(HELLO, BYE) == 1
    worker.until(lambda each: each.version == 1)
    assert worker.metrics.value(table.RULES_VERSION) == 1
    assert worker.health.rules["journeys"] == 2


def test_two_publishers_at_once(place: Place, following: Callable[[], Following]) -> None:
    """One wins, the other is told and its publication is cleared away; every worker runs the winner's."""
    place.publish(HELLO)
    worker = following()
    anna, otto = place.desk("anna"), place.desk("otto")
    place.write(CHANGED)
    of_anna = anna.draft("mine")
    place.write(HELLO, BYE)
    of_otto = otto.draft("his")
    assert otto.send(of_otto).publish.version == 2
    with pytest.raises(Refused, match="E0602: otto published version 2 first"):
        anna.send(of_anna)
    worker.until(lambda each: each.version == 2)
    assert {each.name for each in worker.pipeline.rules.journeys} == {"hello", "bye"}
    assert anna.read().lost == []
    late = following()
    assert late.version == 2


def test_only_what_changed_is_taken_in(place: Place, following: Callable[[], Following]) -> None:
    """Of a new version a worker takes in the journeys that are new in it, and none for a stage or a pause."""
    place.publish(HELLO, BYE)
    worker = following()
    place.publish(CHANGED, BYE, share=0.05)
    worker.until(lambda each: each.version == 2)
    assert worker.metrics.value(table.RULES_NEW) == 1
    desk = place.desk()
    desk.operate(lambda found: stage_request(found, 1.0, "anna", 0))
    worker.until(lambda each: each.pipeline.rules.release.share == 1)
    desk.operate(lambda found: pause_request(found, "bye", "anna", 0, ""))
    worker.until(lambda each: each.pipeline.rules.release.paused == {"bye"})
    assert worker.metrics.value(table.RULES_NEW) == 0
    assert worker.health.rules["paused"] == ["bye"]


def test_a_worker_compiles_itself_only_what_another_make_has_published(
    place: Place, following: Callable[[], Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publication comes compiled; a worker that can't use that compiles the texts, to the same rules."""
    place.publish(HELLO)
    worker = following()
    place.publish(CHANGED)
    worker.until(lambda each: each.version == 2)
    assert worker.metrics.value(table.RULES_NEW) == 1
    assert worker.metrics.value(table.RULES_COMPILED) == 0
    monkeypatch.setattr(loader, "make_of", lambda _: "another make")
    other = following()
    place.publish(BYE)
    other.until(lambda each: each.version == 3)
    assert other.metrics.value(table.RULES_COMPILED) == 1
    worker.until(lambda each: each.version == 3)
    assert repr(pickle.loads(pickle.dumps(other.pipeline.rules.journeys))) == repr(
        worker.pipeline.rules.journeys
    )


def test_a_rollback_and_an_approval(place: Place, following: Callable[[], Following]) -> None:
    """A version that waits for a second person runs nowhere; a rollback runs at once."""
    place.publish(HELLO)
    worker = following()
    place.write(CHANGED)
    desk = place.desk("anna", approvals=1)
    version = desk.send(desk.draft("please look"))
    assert version.state == "pending"
    place.desk("otto").operate(lambda found: approve_request(found, 2, "otto", 0))
    worker.until(lambda each: each.version == 2)
    back = desk.send(desk.draft_rollback(None, ""))
    assert (back.state, back.publish.restores) == ("live", 1)
    worker.until(lambda each: each.version == 3)
    live = {(each.name, each.version) for each in worker.pipeline.rules.journeys}
    assert live == {("hello", 1), ("hello", 2)}


def _by_hand(place: Place, found: Publication, text: str) -> None:
    """Publish past the check, as a newer engine or a broken tool might."""
    assert found.live is not None
    number = found.live.publish.version
    file = JourneyFile("hello", number + 1, "hello.yaml", text, "other", before=False)
    publish = Publish(
        version=number + 1, parent=number, base=number, author="x", message="", time_ms=0, digest="d"
    )
    append(place.kafka, place.settings.topics.rules, publish, Contents((file,)))


def test_a_version_that_cannot_be_loaded_is_kept_out(
    place: Place, following: Callable[[], Following]
) -> None:
    """The worker keeps what it runs and says so, goes on with the next good one; so does one that starts."""
    place.publish(HELLO)
    worker = following()
    _by_hand(place, place.desk().read(), CHANGED.replace("order.placed", "order.plced"))
    worker.until(lambda each: bool(each.health.rules_error))
    assert worker.version == 1
    assert "version 2 cannot be loaded: E0211 at hello.yaml:3" in worker.health.rules_error
    assert "rules: version 2" in " ".join(worker.health.obstacles(place.settings))
    assert worker.metrics.value(table.RULES_FAILED) == 1
    assert worker.metrics.value(table.RULES_WANTED) == 2
    started = following()
    assert started.version == 1
    assert "version 2 cannot be loaded" in started.health.rules_error
    place.publish(HELLO, BYE)
    for each in (worker, started):
        each.until(lambda one: one.version == 3 and not one.health.rules_error)
        assert each.metrics.value(table.RULES_FAILED) == 0


def test_a_record_of_a_newer_engine_is_told(place: Place, following: Callable[[], Following]) -> None:
    """What can't be read changes nothing and stops no worker; who publishes is told not to."""
    place.publish(HELLO)
    worker = following()
    topic = place.settings.topics.rules

    async def send() -> None:
        producer = ActionProducer(place.kafka)
        await producer.send([(topic, b"k", b"engage-rules/2 {}\n", None)])
        await producer.aclose()

    import asyncio  # noqa: PLC0415

    asyncio.run(send())
    worker.until(lambda each: "form this engine" in each.health.rules_error)
    assert worker.version == 1
    with pytest.raises(StateError, match="form this engine"):
        place.desk().read()


def test_nothing_that_runs_is_the_first_to_fail(place: Place) -> None:
    """A worker that starts when nothing published can be loaded does not start with something else."""
    file = JourneyFile("hello", 1, "hello.yaml", HELLO.replace("email", "mail"), "x", before=False)
    publish = Publish(version=1, parent=0, base=0, author="x", message="", time_ms=0, digest="d")
    append(place.kafka, place.settings.topics.rules, publish, Contents((file,)))
    follower = place.follower()
    follower.start()
    with pytest.raises(RuleErrors):
        follower.first(WAIT_S)
    follower.stop()


def test_the_topic_is_cleared_but_for_what_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old versions go, in an order in which every reader sees the same live version at any time."""
    monkeypatch.setattr("engine.streams.rules.topic.to_clear", _keep_three)
    for number in range(6):
        assert place.publish(HELLO.replace("template: hello", f"template: t{number}")) == number + 1
    topic = place.settings.topics.rules
    append(place.kafka, topic, Pause(journey="hello", author="a", time_ms=0))
    assert sorted(place.desk().read().versions) == [4, 5, 6]
    assert place.publish(BYE) == 7


def _keep_three(found: Publication) -> list[str]:
    from engine.rules.publishing.publication import to_clear  # noqa: PLC0415

    return to_clear(found, keep=3)


def test_a_large_set_travels_in_one_record(place: Place, following: Callable[[], Following]) -> None:
    """Two thousand journeys of two kilobytes each fit, although packed they are beyond the usual megabyte."""
    notes = "".join(f"# {uuid.uuid4().hex}\n" for _ in range(55))
    files = tuple(
        JourneyFile(f"hello{number}", 1, "h.yaml", f"{HELLO}# {uuid.uuid4().hex}\n{notes}", str(number))
        for number in range(2_000)
    )
    publish = Publish(version=1, parent=0, base=0, author="x", message="", time_ms=0, digest="d")
    noise = {"noise": "".join(uuid.uuid4().hex for _ in range(60_000))}
    append(place.kafka, place.settings.topics.rules, publish, Contents(files, noise))
    found = place.desk().read()
    assert found.live is not None
    assert len(found.live.record.body) > 1_000_000
