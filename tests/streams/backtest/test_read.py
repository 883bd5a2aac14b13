"""Logs from wherever they are kept give the same backtest; reading them leaves no trace."""

from __future__ import annotations

import builtins
import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pyarrow as pa
import pytest
import redis
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyarrow import parquet

from engine.demo.data import build_log
from engine.errors import ConfigError
from engine.events import Event, Family
from engine.link_settings import KafkaSettings as KafkaSection
from engine.link_settings import RedisSettings
from engine.rules.times.period import read_period
from engine.settings import RuleSettings, Settings, TopicSettings
from engine.streams import wiring
from engine.streams.backtest.job import Request, backtest, live_rules
from engine.streams.backtest.read import LogReader
from engine.streams.backtest.run import compile_rules
from engine.streams.kafka import TopicSpec, create_topics, producer_config
from engine.streams.local.stack import ApacheKafka, EmbeddedBroker, ValkeyServer
from engine.streams.partition import partition_of
from engine.streams.rules.desk import RuleDesk
from engine.streams.sender import EventSender
from engine.streams.topics import topic_specs
from engine.streams.wire.codec import encode_json

PARTITIONS = 2
DAY_MS = 86_400_000


class Quiet:
    """Shows nothing."""

    def read(self, records: int) -> None:
        """See `Screen`."""

    def begin(self, events: int) -> None:
        """See `Screen`."""

    def advance(self, events: int) -> None:
        """See `Screen`."""


def request(*logs: Path, **more: Any) -> Request:
    """Return a request for the shipped journeys over a year."""
    fields = {"paths": (), "alone": False, "since": "365d", "until": "", "diff": "", "workers": 1}
    return Request(**{**fields, "logs": logs, **more})


@pytest.fixture(scope="module")
def events() -> list[tuple[Family, Event]]:
    """A year and a half of some customers."""
    return list(build_log(seed=5, customers=25).events())


def figures(result: Any) -> Any:
    """Return what a backtest found, without where from and how fast."""
    return (result.journeys, result.days, result.segments, result.collisions, result.population, result.since)


def test_file_formats_hold_the_same_log(tmp_path: Path, events: list[tuple[Family, Event]]) -> None:
    """JSON Lines, one file or one a family, Avro container files and Parquet: the same figures."""
    rows = [msgspec.to_builtins(event) for _, event in events]
    lines = tmp_path / "all.jsonl"
    lines.write_bytes(b"".join(encode_json(event) + b"\n" for _, event in events))
    by_family: dict[Family, list[dict[str, Any]]] = {}
    for (family, _), row in zip(events, rows, strict=True):
        by_family.setdefault(family, []).append(row)
    schemas = Path("schemas")
    avro, lines_each, tables = [], [], []
    for family, some in by_family.items():
        schema = json.loads((schemas / f"{family.value}.avsc").read_text("utf-8"))
        avro.append(tmp_path / f"{family.value}.avro")
        with avro[-1].open("wb") as file:
            fastavro.writer(file, fastavro.parse_schema(schema), some)
        lines_each.append(tmp_path / f"{family.value}.ndjson")
        lines_each[-1].write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in some))
        tables.append(tmp_path / f"{family.value}.parquet")
        columns = [{**row, "time": dt.datetime.fromtimestamp(row["time"] / 1000, dt.UTC)} for row in some]
        for row in columns:
            for name in ("props", "traits"):  # a map's values have one type
                if name in row:
                    row[name] = [(key, str(value)) for key, value in row[name].items()]
        parquet.write_table(pa.Table.from_pylist(columns, _table_schema(columns[0])), tables[-1])
    expected = figures(backtest(Settings(), _nowhere(), request(lines), Quiet()))
    assert sum(each.sent for each in expected[0]) > 20
    for logs in (lines_each, avro, tables):
        assert figures(backtest(Settings(), _nowhere(), request(*logs), Quiet())) == expected


def _nowhere() -> Any:
    return wiring.kafka_settings(Settings(kafka=KafkaSection(bootstrap_servers="127.0.0.1:1")), "test")


def _table_schema(row: dict[str, Any]) -> pa.Schema:
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), dt.datetime: pa.timestamp("ms", "UTC")}
    fields = []
    for name, value in row.items():
        kind = pa.map_(pa.string(), pa.string()) if isinstance(value, list) else kinds[type(value)]
        fields.append((name, kind))
    return pa.schema(fields)


def test_parquet_without_its_library_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not installed the extra is told which one it is."""
    real = builtins.__import__

    def without(name: str, *more: Any, **also: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *more, **also)

    file = tmp_path / "log.parquet"
    file.write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"engage\[parquet\]"):
        LogReader(1).files([file], tmp_path / "spool")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("log.csv", b"a,b", "name it by what it holds"),
        ("log.avro", b"nonsense", "not an Avro object container file"),
        ("log.avro", b"Obj\x01nonsense", "not an Avro object container file"),
        ("log.jsonl", b"Obj\x01nonsense", "is an Avro object container file; name it"),
        ("log.jsonl", b"\x1f\x8b\x08\x00", "is compressed; unpack it first"),
        ("log.parquet", b"nonsense", "not a Parquet file"),
        ("log.jsonl", b"\n\n", "holds no event"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    """A wrong file is one clear error, not an empty backtest."""
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        LogReader(1).files([file], tmp_path / "spool").span_ms()


def test_broken_lines_are_counted_and_named(tmp_path: Path, events: list[tuple[Family, Event]]) -> None:
    """What a worker would set aside is left out, and the report says how much and where."""
    lines = [encode_json(event) for _, event in events]
    lines[1:1] = [b"{", b'{"type": "no.such", "customer_id": "c"}', b'{"type": "page.viewed"}', b"[]"]
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(lines))
    result = backtest(Settings(), _nowhere(), request(file), Quiet())
    assert (result.run.invalid, result.run.events) == (4, len(events))
    note = next(note for note in result.notes if "no valid event" in note)
    assert "log.jsonl:2: not_decodable" in note


def test_periods_are_read_as_people_write_them() -> None:
    """A duration counts back from the end; a date of the end is whole; nothing in between is an error."""
    begins, ends = 1_700_000_000_000, 1_700_000_000_000 + 100 * DAY_MS
    assert read_period("30d", "", begins, ends) == (ends - 30 * DAY_MS, ends)
    assert read_period("400d", "", begins, ends) == (ends - 400 * DAY_MS, ends)
    assert read_period("2023-12-01", "2023-12-02", begins, ends) == (1_701_388_800_000, 1_701_561_599_999)
    assert read_period("2023-12-01T08:00:00+08:00", "", begins, ends)[0] == 1_701_388_800_000
    for since, until in (("2030-01-01", ""), ("1d", "2020-01-01"), ("soon", ""), ("1d", "soon")):
        with pytest.raises(ConfigError):
            read_period(since, until, begins, ends)
    with pytest.raises(ConfigError, match="--from '2023-02-29': February 2023 has 28 days"):
        read_period("2023-02-29", "", begins, ends)


def test_the_report_says_what_the_log_is_too_short_for(
    tmp_path: Path, events: list[tuple[Family, Event]]
) -> None:
    """When the log begins later than the rules look back, the result says so and names them."""
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(encode_json(event) for _, event in events))
    short = " ".join(backtest(Settings(), _nowhere(), request(file, since="700d"), Quiet()).notes)
    assert "win-back after 90 days" in short
    assert "features that look back further count too little at first" in short
    whole = " ".join(backtest(Settings(), _nowhere(), request(file, since="10d"), Quiet()).notes)
    assert "win-back after 90 days" not in whole


Server = ApacheKafka | EmbeddedBroker


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Any:
    """Provide each kind of broker."""
    name = "apache_kafka" if request.param == "apache" else "embedded_broker"
    return request.getfixturevalue(name)


def test_a_backtest_of_topics_leaves_no_trace(
    tmp_path: Path, broker: Server, valkey: ValkeyServer, events: list[tuple[Family, Event]]
) -> None:
    """Topics and a file of the same events give the same; not a record, group, offset or key has changed."""
    prefix = f"bt{time.time_ns()}"
    names = ("click", "order", "service", "profile", "engagement", "decisions", "segments", "dlq", "training")
    topics = {name: f"{prefix}.{name}" for name in (*names, "models")}
    named: Any = topics
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=broker.bootstrap),
        redis=RedisSettings(url=valkey.url),
        topics=TopicSettings(**named, actions_prefix=f"{prefix}.actions.", partitions=PARTITIONS),
    )
    kafka = wiring.kafka_settings(settings, "test")
    create_topics(kafka, [TopicSpec(spec.name, spec.partitions) for spec in topic_specs(settings)])
    sender = EventSender(kafka, settings.event_topics())
    for _, event in events:
        sender.send(event)
    sender.end_of_stream()
    sender.flush()
    with redis.Redis.from_url(valkey.url) as client:
        client.mset({f"engage:{number}": number for number in range(50)})
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(encode_json(event) for _, event in events))
    expected = figures(backtest(settings, kafka, request(file), Quiet()))

    look = _looks(broker, valkey, settings, topics)
    before = look()
    result = backtest(settings, kafka, request(), Quiet())
    assert look() == before
    assert result.run.events == len(events)
    assert figures(result) == expected


def test_after_a_widening_a_customer_is_whole(
    tmp_path: Path, embedded_broker: Server, events: list[tuple[Family, Event]]
) -> None:
    """What was sent when there were fewer partitions lies where the key does not say; it counts."""
    topics = {family: f"bt{time.time_ns()}.{family}" for family in Family}
    named: Any = {str(family): topic for family, topic in topics.items()}
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap),
        topics=TopicSettings(**named, models=f"{topics[Family.CLICK]}.models", partitions=4),
    )
    kafka = wiring.kafka_settings(settings, "test")
    create_topics(kafka, [TopicSpec(topic, 4) for topic in (*topics.values(), settings.topics.models)])
    producer = Producer(producer_config(kafka))
    for number, (family, event) in enumerate(events):
        key = event.customer_id.encode()
        place = partition_of(key, 2 if number < len(events) // 2 else 4)
        producer.produce(topics[family], encode_json(event), key, partition=place)
    producer.flush()
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(encode_json(event) for _, event in events))
    expected = figures(backtest(settings, kafka, request(file), Quiet()))
    assert figures(backtest(settings, kafka, request(), Quiet())) == expected


def _looks(
    broker: Server, valkey: ValkeyServer, settings: Settings, topics: dict[str, str]
) -> Callable[[], tuple[Any, ...]]:
    """Return a function that looks at everything a backtest must not touch."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    every = [*topics.values(), *settings.action_topics().values()]

    def ends() -> dict[tuple[str, int], tuple[int, int]]:
        reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "look"})
        try:
            return {
                (topic, number): reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                for topic, about in admin.list_topics(timeout=10).topics.items()
                if topic in every
                for number in about.partitions
            }
        finally:
            reader.close()

    def groups() -> Any:
        if not isinstance(broker, ApacheKafka):
            return ()  # the embedded broker cannot list groups
        found = admin.list_consumer_groups(request_timeout=10).result().valid
        names = sorted(group.group_id for group in found)
        offsets = {
            name: [
                (place.topic, place.partition, place.offset)
                for place in admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])[name]
                .result()
                .topic_partitions
            ]
            for name in names
        }
        return names, offsets

    def keys() -> tuple[int, dict[bytes, bytes]]:
        with redis.Redis.from_url(valkey.url) as client:
            stored = {key: client.dump(key) for key in client.scan_iter()}
            return client.info("persistence")["rdb_changes_since_last_save"], stored

    return lambda: (ends(), groups(), keys(), sorted(admin.list_topics(timeout=10).topics))


@pytest.mark.kafka
def test_live_is_what_is_published(apache_kafka: ApacheKafka, tmp_path: Path) -> None:
    """With rules from the topic, `live` is the published set; while nothing is published, the files are."""
    folder = tmp_path / "journeys"
    folder.mkdir()
    (folder / "one.yaml").write_text(
        "journey: one\ntransactional: true\nentry: {on: order.placed, reentry: always}\n"
        "steps:\n  - {send: email, template: thanks}\n",
        "utf-8",
    )
    rules = RuleSettings(paths=[str(folder)], source="topic")
    topics = TopicSettings(rules=f"rules-{time.time_ns()}")
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=apache_kafka.bootstrap), topics=topics, rules=rules
    )
    kafka = wiring.kafka_settings(settings, "test")
    create_topics(kafka, [spec for spec in topic_specs(settings) if spec.name == topics.rules])
    assert live_rules(settings, kafka).label == "the live journeys"
    desk = RuleDesk(settings, kafka, "anna")
    published = desk.send(desk.draft("first"))
    (folder / "one.yaml").unlink()
    found = live_rules(settings, kafka)
    assert found.label == f"the live journeys (version {published.publish.version})"
    assert [journey.name for journey in compile_rules(found, settings).journeys] == ["one"]
