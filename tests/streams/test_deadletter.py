"""Laws of dead letters: nothing is lost or changed, and what is sent again arrives where it came from."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import ConfigError, EngineError, TransientError
from engine.events import Family
from engine.streams import deadletter
from engine.streams.kafka import KafkaSettings, producer_config
from engine.streams.local.stack import ApacheKafka, EmbeddedBroker
from engine.streams.producer import ActionProducer
from engine.streams.wire import letters
from engine.streams.wire.codec import Decoder
from engine.streams.wire.letters import DeadLetter, Origin, Selection, as_line, dead_letter, from_line, parse
from tests.conftest import TopicMaker


class Record:
    """A Kafka record made by hand."""

    def __init__(self, key: bytes | None, value: bytes | None, headers: Any = None, offset: int = 41) -> None:
        self._content = (key, value, headers, offset)

    def topic(self) -> str:
        """Return its topic."""
        return "engage.orders"

    def partition(self) -> int:
        """Return its partition."""
        return 3

    def offset(self) -> int:
        """Return its offset."""
        return int(self._content[3])

    def timestamp(self) -> tuple[int, int]:
        """Return its time stamp."""
        return (1, 1_700_000_000_000)

    def key(self) -> bytes | None:
        """Return its key."""
        found: bytes | None = self._content[0]
        return found

    def value(self) -> bytes | None:
        """Return its value."""
        found: bytes | None = self._content[1]
        return found

    def headers(self) -> Any:
        """Return its headers."""
        return self._content[2]


def test_a_dead_letter_keeps_the_record_and_says_why() -> None:
    """Key, value and headers stay byte for byte; reason and origin are text in headers of their own."""
    record = Record(b"\xffkey", b"\x00\xff", [("traceparent", b"00-1"), ("engage-reason", b"forged")])
    topic, key, value, headers = dead_letter(record, "field_invalid", "field amount is nan", "InvalidEvent")
    assert (topic, key, value) == ("engage.dlq", b"\xffkey", b"\x00\xff")
    assert headers == [
        ("traceparent", b"00-1"),
        ("engage-reason", b"field_invalid"),
        ("engage-detail", b"field amount is nan"),
        ("engage-topic", b"engage.orders"),
        ("engage-partition", b"3"),
        ("engage-offset", b"41"),
        ("engage-timestamp", b"1700000000000"),
        ("engage-exception", b"InvalidEvent"),
    ]


def test_a_detail_is_bounded() -> None:
    """However long an explanation gets, the dead letter is hardly larger than its record."""
    _, _, _, headers = dead_letter(Record(None, None), "processing_failed", "x" * 10_000)
    assert sum(len(name) + len(content) for name, content in headers) < 1_000


_BYTES = (
    st.none() | st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode(errors="ignore"))
)


def test_a_record_too_large_for_a_dead_letter_is_cut() -> None:
    """No record may stop the worker: a huge one is set aside in part, and is not sent again."""
    whole = Record(b"k", b"x" * (letters.MAX_LETTER_BYTES - 2), [("h", b"")])
    assert dead_letter(whole, "record_too_large", "why")[2] == whole.value()
    for huge in (
        Record(b"k", b"x" * 5_000_000),
        Record(b"k" * 2_000_000, b"x" * 2_000_000),
        Record(b"k", None, [("h", b"x" * 2_000_000)]),
    ):
        _, key, value, headers = dead_letter(huge, "record_too_large", "why")
        assert len(key or b"") + len(value or b"") + sum(len(content) for _, content in headers) < 1_000_000
        letter = parse(Record(key, value, headers))
        assert letter.cut_from > letters.MAX_LETTER_BYTES
        outcome = deadletter.replay(KafkaSettings(bootstrap="127.0.0.1:1"), [letter])
        assert outcome == deadletter.Replayed(sent=0, skipped=("3/41",))


@example(b"", "a\x85b\u2028c\u2029".encode(), [])
@given(_BYTES, _BYTES, st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3))
def test_a_dead_letter_is_read_and_written_as_a_line(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    """From record to dead letter, to one editable line and back nothing is lost, whatever the bytes."""
    _, _, _, written = dead_letter(Record(key, value, headers), "not_decodable", "why", "Error")
    letter = parse(Record(key, value, written))
    assert (letter.key, letter.value, letter.headers) == (key, value, tuple(headers))
    assert (letter.reason, letter.detail, letter.exception) == ("not_decodable", "why", "Error")
    assert letter.origin == Origin(
        topic="engage.orders", partition=3, offset=41, timestamp_ms=1_700_000_000_000
    )
    (line,) = as_line(letter).splitlines()
    assert from_line(line) == letter


@given(st.lists(st.tuples(st.sampled_from(["engage-offset", "engage-reason", "x"]), _BYTES), max_size=4))
def test_foreign_records_on_the_topic_do_no_harm(headers: list[tuple[str, bytes | None]]) -> None:
    """Whatever else somebody writes to the topic can be listed."""
    assert parse(Record(b"k", b"v", headers)).value == b"v"


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"key": 5}',
        '{"key": {"base64": "!"}}',
        '{"headers": 7}',
        '{"key": {"base64": "YQ"}}',
    ],
)
def test_a_broken_line_is_named(line: str) -> None:
    """A line that was edited wrongly is told with its number."""
    good, wrong = deadletter.mended(["", line], {}, Decoder().decode, 0)
    assert good == []
    assert len(wrong) == 1
    assert wrong[0].startswith("line 2: not a dead letter: ")


def test_edited_records_are_looked_at_as_their_reader_will() -> None:
    """What would become a dead letter again is told with line and reason; the others can be sent."""
    now_ms = 1_700_000_000_000
    event = {
        "id": "e",
        "type": "order.placed",
        "customer_id": "c",
        "time": now_ms,
        "order_id": "o",
    }
    contents = [{**event, "amount": 1}, event, {**event, "amount": 1, "customer_id": "d"}]
    _, _, _, headers = dead_letter(Record(b"c", b""), "field_missing", "why")
    lines = [as_line(parse(Record(b"c", json.dumps(each).encode(), headers))) for each in contents]
    lines += [
        lines[0].replace("engage.orders", "elsewhere"),
        lines[0].replace('"cut_from":0', '"cut_from":9'),
    ]
    good, wrong = deadletter.mended(lines, {"engage.orders": Family.ORDER}, Decoder().decode, now_ms)
    assert [letter.value for letter in good] == [json.dumps(contents[0]).encode()]
    assert wrong == [
        "line 2: field_missing: field amount is missing (order.placed)",
        "line 3: key_mismatch: the record's key differs from the customer id; it must be the customer id",
        "line 4: it came from 'elsewhere', which is none of the event topics",
        "line 5: it was cut, the whole had 9 bytes",
    ]


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (Selection(), True),
        (Selection(positions=frozenset({(3, 41)})), True),
        (Selection(positions=frozenset({(3, 42)})), False),
        (Selection(reasons=frozenset({"not_decodable"})), True),
        (Selection(reasons=frozenset({"type_unknown"})), False),
        (Selection(topics=frozenset({"engage.clicks"})), False),
        (Selection(since_ms=1_700_000_000_000), True),
        (Selection(since_ms=1_700_000_000_001), False),
    ],
)
def test_selections(selection: Selection, matches: bool) -> None:
    """Each criterion narrows what is meant; an empty one does not."""
    _, _, _, headers = dead_letter(Record(b"k", b"v"), "not_decodable", "why")
    assert selection.matches(parse(Record(b"k", b"v", headers))) is matches


def received(settings: KafkaSettings, topic: str, count: int) -> list[Any]:
    """Read the first records of a topic."""
    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap, "group.id": "reader", "enable.auto.commit": False}
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    records: list[Any] = []
    deadline = time.monotonic() + 20
    while len(records) < count and time.monotonic() < deadline:
        records += [record for record in consumer.consume(100, timeout=0.05) if record.error() is None]
    consumer.close()
    return records


async def the_whole_way(server: EmbeddedBroker | ApacheKafka, make_topic: TopicMaker) -> None:
    """Set broken records aside, list them, mend one, send both again, and look where they arrive."""
    settings = KafkaSettings(bootstrap=server.bootstrap)
    events, dlq = make_topic(server, "orders", 4), make_topic(server, "dlq", 4)
    producer = Producer(producer_config(settings))
    for number in range(6):
        producer.produce(events, f"v{number}".encode(), f"c{number}", headers=[("traceparent", b"t")])
    producer.flush(10)
    records = received(settings, events, 6)
    sink = ActionProducer(settings)
    await sink.send(
        dead_letter(record, "field_invalid" if index % 2 else "type_unknown", "why", topic=dlq)
        for index, record in enumerate(records)
    )
    await sink.aclose()

    found = deadletter.read(settings, topic=dlq)
    assert {letter.value for letter in found} == {record.value() for record in records}
    assert len(deadletter.read(settings, topic=dlq, limit=2)) == 2
    assert deadletter.read(settings, topic=dlq, limit=0) == []
    chosen = Selection(reasons=frozenset({"field_invalid"}))
    assert len(deadletter.read(settings, chosen, topic=dlq, limit=None)) == 3
    one = found[0]
    assert deadletter.find(settings, one.partition, one.offset, topic=dlq) == one
    with pytest.raises(EngineError, match=f"no dead letter at {one.partition}/99"):
        deadletter.find(settings, one.partition, 99, topic=dlq)

    mended = as_line(one).replace(f'"{(one.value or b"").decode()}"', '"mended"')
    outcome = deadletter.replay(settings, [from_line(mended), found[1]])
    assert outcome == deadletter.Replayed(sent=2)
    again = received(settings, events, 8)
    replayed = [record for record in again if letters.REPLAYED_FROM in dict(record.headers() or [])]
    homes = {record.key(): record.partition() for record in records}
    assert {record.value() for record in replayed} == {b"mended", found[1].value}
    for record in replayed:
        assert record.partition() == homes[record.key()]
        assert dict(record.headers())["traceparent"] == b"t"
        origin = one if record.value() == b"mended" else found[1]
        assert dict(record.headers())[letters.REPLAYED_FROM] == origin.position.encode()


async def test_a_record_set_aside_twice_is_one_dead_letter(
    embedded_broker: EmbeddedBroker, make_topic: TopicMaker
) -> None:
    """Of a record that came again the first stays; another reason stays, and what is asked for by place."""
    settings = KafkaSettings(bootstrap=embedded_broker.bootstrap)
    dlq = make_topic(embedded_broker, "dlq", 1)
    sink = ActionProducer(settings)
    for number, reason in (
        (0, "field_invalid"),
        (1, "field_invalid"),
        (0, "field_invalid"),
        (0, "type_unknown"),
    ):
        await sink.send([dead_letter(Record(b"k", b"v", offset=number), reason, "why", topic=dlq)])
    await sink.send([(dlq, b"k", b"foreign", None)] * 2)
    await sink.aclose()
    assert [letter.offset for letter in deadletter.read(settings, topic=dlq)] == [0, 1, 3, 4, 5]
    second = Selection(positions=frozenset({(0, 0), (0, 2)}))
    assert [letter.offset for letter in deadletter.scan(settings, second, topic=dlq)] == [0, 2]
    assert deadletter.find(settings, 0, 2, topic=dlq).offset == 2


def test_what_comes_back_of_a_replay_says_so() -> None:
    """A record that is set aside again names the letter it was sent from, also as a line of a file."""
    _, key, value, headers = dead_letter(
        Record(b"k", b"v", [(letters.REPLAYED_FROM, b"0/17")]), "field_invalid", "why"
    )
    letter = parse(Record(key, value, headers))
    assert letter.replayed_from == "0/17"
    assert letter.headers == ()
    assert from_line(as_line(letter)) == letter
    assert parse(Record(*dead_letter(Record(b"k", b"v"), "field_invalid", "why")[1:])).replayed_from == ""


async def test_set_aside_and_sent_again_on_the_embedded_broker(
    embedded_broker: EmbeddedBroker, make_topic: TopicMaker
) -> None:
    """What was set aside arrives again on its topic and partition, mended or as it was."""
    await the_whole_way(embedded_broker, make_topic)


@pytest.mark.kafka
async def test_set_aside_and_sent_again_on_apache_kafka(
    apache_kafka: ApacheKafka, make_topic: TopicMaker
) -> None:
    """The same holds on Apache Kafka."""
    await the_whole_way(apache_kafka, make_topic)


@pytest.mark.kafka
def test_a_missing_topic_is_named(apache_kafka: ApacheKafka) -> None:
    """Without the topic the operator is told how to create it."""
    with pytest.raises(ConfigError, match=r"no\.such\.dlq is missing in kafka"):
        deadletter.read(KafkaSettings(bootstrap=apache_kafka.bootstrap), topic="no.such.dlq")


def test_kafka_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is down is worth trying again, and the message names its address."""
    monkeypatch.setattr(deadletter, "TIMEOUT_S", 0.2)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1'? does not answer"):
        deadletter.read(KafkaSettings(bootstrap="127.0.0.1:1"))


def test_records_without_an_origin_are_not_sent() -> None:
    """A foreign record on the topic has no topic to go back to; the replay says so and goes on."""
    foreign: DeadLetter = parse(Record(b"k", b"v", []))
    outcome = deadletter.replay(KafkaSettings(bootstrap="127.0.0.1:1"), [foreign])
    assert outcome == deadletter.Replayed(sent=0, skipped=("3/41",))
