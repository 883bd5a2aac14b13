"""What `engage results` reads: decisions, and the events that say what customers did."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import msgspec
from confluent_kafka import Message

from engine.authoring.results.plans import Plan
from engine.authoring.results.result import Results
from engine.authoring.results.sums import results_of
from engine.authoring.results.tally import ResultTally
from engine.errors import ConfigError, InvalidEvent
from engine.events import Family
from engine.rules.times.period import iso, read_period
from engine.settings import Settings
from engine.streams.kafka import KafkaSettings
from engine.streams.reader import TopicReader
from engine.streams.wire.avro import Registry
from engine.streams.wire.codec import Decoder, decode_decision

_FAMILIES = (Family.ORDER, Family.SERVICE, Family.ENGAGEMENT)
_TELL_EVERY = 5_000
_HOUR_MS = 3_600_000


class Request(NamedTuple):
    """What is asked for.

    Args:
        since: start of the period: a duration before its end, or a date.
        until: its end: a date, or empty for now.
        journeys: only these; empty = all.
    """

    since: str
    until: str
    journeys: Collection[str]


def read_results(
    settings: Settings,
    kafka: KafkaSettings,
    request: Request,
    plans: Mapping[tuple[str, int], Plan],
    progress: Callable[[int], None],
    registry: Registry | None = None,
) -> Results:
    """Read what happened in a period; the reader has no group and commits nothing.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        request: what is asked for.
        plans: what is known of the journeys.
        progress: told now and then how many records were read.
        registry: where writer schemas come from.

    Raises:
        TransientError: Kafka does not answer.
        ConfigError: the period cannot be read, or there are no decisions at all.
    """
    live = settings.clock == "live"
    begins_ms, ends_ms = _reach_ms(settings, kafka)
    if live:
        ends_ms = max(ends_ms, time.time_ns() // 1_000_000)
    from_ms, to_ms = read_period(request.since, request.until, begins_ms, ends_ms)
    tally = ResultTally(from_ms, to_ms, frozenset(request.journeys) or None)
    families = {settings.event_topics()[family.value]: family for family in _FAMILIES}
    topics = [settings.topics.decisions, *families]
    decoder = Decoder("replay", registry)
    unreadable = 0
    # On the replay clock a record's own time says when it was replayed, not when things happened.
    with TopicReader(
        kafka,
        topics,
        last=None,
        since_ms=from_ms if live else None,
        timeout_s=settings.kafka.timeout_ms / 1000,
    ) as reader:
        for number, message in enumerate(reader.until_end(), 1):
            if number % _TELL_EVERY == 0:
                progress(number)
            unreadable += not _take(message, families, decoder, tally)
    tally.close()
    notes = []
    if begins_ms - from_ms > _HOUR_MS:
        notes.append(f"The decisions reach back to {iso(begins_ms)} only.")
    if unreadable:
        notes.append(
            f"{unreadable:,} records could not be read and count for nothing; see `engage dlq list`."
        )
    if request.journeys:
        notes.append(
            "Orders, repurchase, inquiries, NPS and CSAT are of all customers, whatever the journey."
        )
    return results_of(tally, plans, notes)


def _take(message: Message, families: Mapping[str, Family], decoder: Decoder, tally: ResultTally) -> bool:
    """Count a record; False when it cannot be read. One without a value marks a producer's progress."""
    value = message.value()
    if not value:
        return True
    try:
        family = families.get(message.topic())
        if family is None:
            tally.decision(decode_decision(value))
        else:
            tally.event(decoder.decode(family, value, message.key(), 0, message.headers()))
    except (msgspec.DecodeError, InvalidEvent):
        return False
    return True


def _reach_ms(settings: Settings, kafka: KafkaSettings) -> tuple[int, int]:
    """Return the instants of the oldest and the newest decision."""
    topic, timeout_s = settings.topics.decisions, settings.kafka.timeout_ms / 1000
    with TopicReader(kafka, [topic], last=1, timeout_s=timeout_s) as reader:
        newest = [decode_decision(message.value() or b"").time for message in reader.until_end()]
    with TopicReader(kafka, [topic], last=None, timeout_s=timeout_s) as reader:
        oldest = [decode_decision(message.value() or b"").time for message in reader.firsts(topic)]
    if not newest:
        raise ConfigError(f"nothing has been decided yet: topic {topic!r} is empty")
    return min(oldest), max(newest)
