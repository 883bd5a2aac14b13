"""What `engage explain` looks at: a customer's decisions on the topic, and their state in the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from confluent_kafka import Message

from engine.actions import Decision
from engine.errors import ConfigError, EngineError, TransientError
from engine.events import Family
from engine.features.profile import Profile
from engine.rules.ruleset import RuleSet
from engine.rules.text.source import nearest
from engine.settings import Settings
from engine.streams.customer import CustomerView, read_stored, view_stored
from engine.streams.kafka import KafkaSettings
from engine.streams.reader import TopicReader
from engine.streams.rules.loader import RuleLoader
from engine.streams.rules.topic import read_rules
from engine.streams.wire.codec import Decoder, decode_decision

MAX_DECISIONS = 10_000  # of one customer; the newest are kept
_ERASURE = "erasure.requested"
_NEAR = 1_000  # newest decisions of each partition looked through for a name like the one asked for


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a customer.

    Args:
        view: features, segment, churn risk as of now.
        profile: zone, consents, contacts, positions.
        decisions: what was decided, oldest first; none from before an erasure.
        reaches_ms: the oldest decision (of anybody) the topic still holds on the customer's partition; 0 =
            the topic is empty.
    """

    view: CustomerView
    profile: Profile
    decisions: tuple[Decision, ...]
    reaches_ms: int


async def read_evidence(
    settings: Settings, kafka: KafkaSettings, customer_id: str, span_ms: int
) -> Evidence | None:
    """Read what there is about a customer.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        customer_id: whom.
        span_ms: how far to look back from the customer's now.

    Returns:
        The evidence; None when the store does not know the customer, as after an erasure: what the topic may
        still hold of them is not looked at.

    Raises:
        TransientError: Kafka or Redis does not answer.
        ConfigError: there is no decision topic.
    """
    stored = await read_stored(settings, kafka, customer_id)
    if stored is None:
        return None
    view = view_stored(settings, kafka, stored)
    since_ms = max(view.now_ms - span_ms, 0)
    after_ms = max(since_ms, view.first_seen_ms, _erased_ms(settings, kafka, customer_id, since_ms) + 1)
    decisions, reaches_ms = _decisions_of(settings, kafka, customer_id, since_ms)
    kept = tuple(each for each in decisions if each.time >= after_ms)
    return Evidence(view, stored.state.profile, kept, reaches_ms)


def live_rules(settings: Settings, kafka: KafkaSettings) -> RuleSet | None:
    """Return the published rules that run; None when nothing has been published.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.

    Raises:
        TransientError: Kafka does not answer.
        EngineError: what is published cannot be loaded by this engine.
    """
    try:
        found = read_rules(kafka, settings.topics.rules, settings.kafka.timeout_ms / 1000)
    except ConfigError:
        return None  # no such topic
    if found.live is None:
        return None
    loaded = RuleLoader(settings).load_newest(found)
    return loaded.pipeline.rules if loaded is not None else None


def _decisions_of(
    settings: Settings, kafka: KafkaSettings, customer_id: str, since_ms: int
) -> tuple[deque[Decision], int]:
    key = customer_id.encode()
    found: deque[Decision] = deque(maxlen=MAX_DECISIONS)
    with _reader(settings, kafka, settings.topics.decisions, since_ms, key=key) as reader:
        firsts = [_decision(each.value()) for each in reader.firsts(settings.topics.decisions)]
        reaches_ms = max((first.time for first in firsts if first is not None), default=0)
        for message in reader.until_end():
            if message.key() == key and (decision := _decision(message.value())) is not None:
                found.append(decision)
    return found, reaches_ms


def _reader(
    settings: Settings, kafka: KafkaSettings, topic: str, since_ms: int, key: bytes | None = None
) -> TopicReader:
    # On the replay clock a record's own time says when it was replayed, not when things happened.
    bound_ms = since_ms if settings.clock == "live" else None
    return TopicReader(
        kafka, [topic], last=None, key=key, since_ms=bound_ms, timeout_s=settings.kafka.timeout_ms / 1000
    )


def _decision(value: bytes | None) -> Decision | None:
    try:
        decoded: Decision = decode_decision(value or b"")
    except msgspec.DecodeError:
        return None  # not written by the engine
    return decoded


def _erased_ms(settings: Settings, kafka: KafkaSettings, customer_id: str, since_ms: int) -> int:
    """Return when the customer last asked to be erased since an instant; 0 = did not."""
    key = customer_id.encode()
    decoder = Decoder(settings.clock)
    erased_ms = 0
    try:
        topic = settings.event_topics()[Family.PROFILE.value]
        with _reader(settings, kafka, topic, since_ms, key=key) as reader:
            for message in reader.until_end():
                if message.key() == key:
                    erased_ms = max(erased_ms, _erasure_ms(decoder, message, live=settings.clock == "live"))
    except ConfigError:
        pass  # no such topic: nobody asked for anything
    return erased_ms


def _erasure_ms(decoder: Decoder, message: Message, *, live: bool) -> int:
    """Return when a record asked for an erasure, ms; 0 if it did not. What cannot be read may have."""
    value, written_ms = message.value() or b"", int(message.timestamp()[1])
    try:
        event = decoder.decode(Family.PROFILE, value, message.key(), written_ms, message.headers())
    except EngineError:
        return written_ms if _ERASURE.encode() in value else 0
    if event.type != _ERASURE:
        return 0
    return max(event.time, written_ms) if live else event.time


def find_message(
    settings: Settings, kafka: KafkaSettings, action_id: str, now_ms: int, span_ms: int
) -> tuple[Decision | None, str]:
    """Look for the decision that fired a message.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        action_id: the message's id.
        now_ms: the present.
        span_ms: how far to look back.

    Returns:
        The decision, or None and a hint that names the id most like it, or an empty one.

    Raises:
        TransientError: Kafka does not answer.
        ConfigError: there is no decision topic.
    """
    ids: deque[str] = deque(maxlen=MAX_DECISIONS)
    for decision in _all_decisions(settings, kafka, max(now_ms - span_ms, 0)):
        if decision.action_id == action_id:
            return decision, ""
        if decision.action_id:
            ids.append(decision.action_id)
    return None, nearest(action_id, ids)


def _all_decisions(settings: Settings, kafka: KafkaSettings, since_ms: int) -> Iterator[Decision]:
    with _reader(settings, kafka, settings.topics.decisions, since_ms) as reader:
        for message in reader.until_end():
            decision = _decision(message.value())
            if decision is not None and decision.time >= (since_ms if settings.clock == "live" else 0):
                yield decision


def near_customer(settings: Settings, kafka: KafkaSettings, customer_id: str) -> str:
    """Return a hint naming a customer decided on lately whose id is like the one asked for, or nothing."""
    names: set[str] = set()
    try:
        with TopicReader(
            kafka, [settings.topics.decisions], last=_NEAR, timeout_s=settings.kafka.timeout_ms / 1000
        ) as reader:
            for message in reader.until_end():
                names.add((message.key() or b"").decode("utf-8", "replace"))
    except (ConfigError, TransientError):
        return ""
    return nearest(customer_id, names - {customer_id})
