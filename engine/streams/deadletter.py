"""The dead-letter topic: look at what was set aside, and send it again after a fix."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from engine.errors import ConfigError, EngineError, TransientError
from engine.events import Family
from engine.streams.kafka import KafkaSettings, common_config
from engine.streams.producer import fetch_reports, open_producer, wait_for_reports
from engine.streams.security.refusals import failed, is_refusal, refused
from engine.streams.wire.codec import Decode
from engine.streams.wire.letters import (
    DLQ_TOPIC,
    EVERYTHING,
    REPLAYED_FROM,
    DeadLetter,
    Origin,
    Selection,
    from_line,
    parse,
)

READ_BATCH = 1000
#: Of so many dead letters it is remembered which record they are of; beyond that a repeat is not seen.
MAX_REMEMBERED = 100_000
TIMEOUT_S = 10.0


def read(
    settings: KafkaSettings,
    selection: Selection = EVERYTHING,
    *,
    topic: str = DLQ_TOPIC,
    limit: int | None = 100,
) -> list[DeadLetter]:
    """Read the newest dead letters that are there now, oldest first.

    Args:
        settings: how to reach Kafka.
        selection: which ones.
        topic: the dead-letter topic.
        limit: at most so many, the newest; `None` for all.

    Returns:
        The dead letters in the order they were set aside.

    Raises:
        ConfigError: the topic does not exist.
        TransientError: Kafka does not answer.
    """
    newest: dict[int, deque[DeadLetter]] = {}
    for letter in scan(settings, selection, topic=topic):
        newest.setdefault(letter.partition, deque(maxlen=limit)).append(letter)
    found = [letter for letters in newest.values() for letter in letters]
    found.sort(key=lambda letter: (letter.set_aside_ms, letter.partition, letter.offset))
    return found if limit is None else found[max(0, len(found) - limit) :]


def scan(
    settings: KafkaSettings, selection: Selection = EVERYTHING, *, topic: str = DLQ_TOPIC
) -> Iterator[DeadLetter]:
    """Read all dead letters that are there now, one at a time, in order within each partition.

    After a restore of Redis records are worked on again, and set aside again: of several dead letters of one
    record, place for place the same, only the first is given, unless positions are asked for.

    Args:
        settings: how to reach Kafka.
        selection: which ones.
        topic: the dead-letter topic.

    Returns:
        An iterator over the dead letters; it reads as it goes.

    Raises:
        ConfigError: the topic does not exist.
        TransientError: Kafka does not answer.
    """
    chosen = (letter for letter in _scan(settings, topic) if selection.matches(letter))
    return chosen if selection.positions else _once(chosen)


def _once(found: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Leave out dead letters of a record that has been given already, for the same reason."""
    seen: set[tuple[Origin, str, int]] = set()
    for letter in found:
        of = letter.origin, letter.reason, hash(letter.value)  # a topic made anew counts from 0 again
        if letter.origin.topic and of in seen:
            continue
        if len(seen) < MAX_REMEMBERED:
            seen.add(of)
        yield letter


def find(settings: KafkaSettings, partition: int, offset: int, *, topic: str = DLQ_TOPIC) -> DeadLetter:
    """Read one dead letter.

    Args:
        settings: how to reach Kafka.
        partition: its partition.
        offset: its offset.
        topic: the dead-letter topic.

    Returns:
        The dead letter.

    Raises:
        ConfigError: the topic does not exist.
        EngineError: there is no dead letter at that place.
        TransientError: Kafka does not answer.
    """
    for letter in _scan(settings, topic, only=(partition, offset)):
        if (letter.partition, letter.offset) == (partition, offset):
            return letter
    raise EngineError(f"no dead letter at {partition}/{offset} of {topic}")


def _scan(settings: KafkaSettings, topic: str, only: tuple[int, int] | None = None) -> Iterator[DeadLetter]:
    """Read the topic from its start, or one place of it, to where it ends now."""
    config = common_config(settings) | {
        "group.id": f"engage-dlq-{uuid4().hex}",  # never joined: partitions are assigned by hand
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
    }
    consumer = Consumer(config)
    try:
        ends = _ends(consumer, settings, topic)
        starts = {number: low for number, (low, high) in ends.items() if low < high}
        if only is not None:
            inside = only[0] in starts and ends[only[0]][0] <= only[1] < ends[only[0]][1]
            starts = {only[0]: only[1]} if inside else {}
        open_ends = {number: only[1] + 1 if only else ends[number][1] for number in starts}
        consumer.assign([confluent_kafka.TopicPartition(topic, number, at) for number, at in starts.items()])
        yield from _until(consumer, open_ends)
    except KafkaException as error:
        raise failed(error.args[0], settings.bootstrap, f"reading {topic} failed", topic) from error
    finally:
        consumer.close()


def _ends(consumer: Consumer, settings: KafkaSettings, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first and the next offset of each partition."""
    try:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            if is_refusal(metadata.error):
                raise refused(metadata.error, settings.bootstrap, topic)
            raise ConfigError(f"topic {topic} is missing in kafka; create it with `engage topics create`")
        return {
            number: consumer.get_watermark_offsets(
                confluent_kafka.TopicPartition(topic, number), timeout=TIMEOUT_S
            )
            for number in metadata.partitions
        }
    except KafkaException as error:
        silent = f"kafka at {settings.bootstrap!r} does not answer"
        raise failed(error.args[0], settings.bootstrap, silent, topic) from error


def _until(consumer: Consumer, ends: dict[int, int]) -> Iterator[DeadLetter]:
    """Yield what lies before the ends; the end-of-partition mark counts too, for records may be gone."""
    while ends:
        # consume() alone would wait out its time when fewer records are there than asked for
        first = consumer.poll(1.0)
        records = [] if first is None else [first, *consumer.consume(READ_BATCH, timeout=0)]
        for record in records:
            number, error = record.partition(), record.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent's name
                raise KafkaException(error)
            if number in ends and error is None and record.offset() < ends[number]:
                yield parse(record)
            if number in ends and (error is not None or record.offset() + 1 >= ends[number]):
                del ends[number]
        if not records:
            consumer.list_topics(timeout=TIMEOUT_S)  # raises when the silence is Kafka's, not the topic's


def mended(
    lines: Iterable[str], topics: Mapping[str, Family], decode: Decode, now_ms: int
) -> tuple[list[DeadLetter], list[str]]:
    """Read dead letters that a person has edited, and look at each as the reader of its topic will.

    Args:
        lines: what `as_line` wrote; empty ones are passed over.
        topics: the event topics and their families.
        decode: the codec's decoder.
        now_ms: the wall clock.

    Returns:
        Those that can be sent, and of every other line its number and what is still wrong with it.

    Raises:
        TransientError: the schema registry does not answer.
    """
    good: list[DeadLetter] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            letter = from_line(line)
            _check(letter, topics, decode, now_ms)
        except TransientError:
            raise
        except EngineError as error:
            wrong.append(f"line {number}: {error}")
        else:
            good.append(letter)
    return good, wrong


def _check(letter: DeadLetter, topics: Mapping[str, Family], decode: Decode, now_ms: int) -> None:
    topic = letter.origin.topic
    if topic not in topics:
        raise EngineError(f"it came from {topic!r}, which is none of the event topics")
    if letter.cut_from:
        raise EngineError(f"it was cut, the whole had {letter.cut_from} bytes")
    headers = [(name, content or b"") for name, content in letter.headers]
    decode(topics[topic], letter.value, letter.key, now_ms, headers)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay.

    Args:
        sent: dead letters whose record Kafka has taken again.
        failed: position and reason of those it has not.
        skipped: positions of those that cannot be sent: foreign records without an origin, and cut ones.
    """

    sent: int
    failed: tuple[tuple[str, str], ...] = ()
    skipped: tuple[str, ...] = ()


def replay(settings: KafkaSettings, letters: Iterable[DeadLetter]) -> Replayed:
    """Send the original records again, each to its original topic and by its original key.

    The dead letters stay where they are: a record that is still wrong comes back as a new one, and one that
    got through twice counts once, by its event id.

    Args:
        settings: how to reach Kafka.
        letters: what to send; it may have been edited.

    Returns:
        How many were sent and what failed.

    Raises:
        ConfigError: a Kafka property is refused, or our user may not write.
        TransientError: Kafka ended the producer.
    """
    producer = open_producer(settings)
    outcome = _Outcome()
    try:
        for letter in letters:
            if not letter.origin.topic or letter.cut_from:
                outcome.skipped.append(letter.position)
                continue
            outcome.send(producer, letter)
        wait_for_reports(producer, settings.delivery_timeout_ms / 1000 + 1)
    except KafkaException as error:
        raise failed(error.args[0], settings.bootstrap, "kafka takes no records") from None
    left = [(position, reason or "no acknowledgement in time") for position, reason in outcome.open.items()]
    return Replayed(outcome.sent, tuple(left), tuple(outcome.skipped))


class _Outcome:
    """Counts acknowledgements; what is not acknowledged stays open with the reason known so far."""

    def __init__(self) -> None:
        self.sent = 0
        self.open: dict[str, str] = {}
        self.skipped: list[str] = []

    def send(self, producer: Producer, letter: DeadLetter) -> None:
        position = letter.position
        self.open[position] = ""

        def report(error: KafkaError | None, _: object) -> None:
            if error is None:
                self.sent += 1
                self.open.pop(position, None)
            else:
                self.open[position] = error.str()

        headers = [*letter.headers, (REPLAYED_FROM, position.encode())]
        while True:
            try:
                producer.produce(
                    letter.origin.topic, letter.value, letter.key, headers=headers, on_delivery=report
                )
            except BufferError:
                fetch_reports(producer, 0.1)
                continue
            except KafkaException as error:
                self.open[position] = error.args[0].str()
            fetch_reports(producer, 0)
            return
