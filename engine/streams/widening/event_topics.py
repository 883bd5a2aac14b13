"""What widening asks of Kafka: who works, what waits, and more partitions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, MemberDescription, NewPartitions, OffsetSpec

from engine.errors import ConfigError, TransientError
from engine.streams.kafka import KafkaSettings, check_topics, common_config, partition_counts
from engine.streams.producer import fetch_reports, open_producer, wait_for_reports
from engine.streams.security.refusals import failed, is_refusal, refused

_TIMEOUT_S = 15.0
_QUIET_S = 1.0
_PROBE_S = 3.0
_MAX_NAMED = 3
_NOT_TAKEN = "kafka did not take what was sent on"
_OnDelivery: TypeAlias = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True, slots=True)
class SentOn:
    """What waited in the old partitions and was sent again.

    Args:
        until: up to where each partition was sent on.
        taken: how many records each partition took of it; a customer may belong where it was.
    """

    until: Mapping[tuple[str, int], int]
    taken: Mapping[tuple[str, int], int]


class EventTopics:
    """The event topics of a deployment.

    Args:
        kafka: how to reach Kafka.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._admin = AdminClient(common_config(kafka))

    def partitions(self) -> int:
        """Return how many partitions they have; while they are being widened, the fewest.

        Raises:
            TransientError: a topic is missing.
        """
        counts = partition_counts(self._kafka)
        found = {counts[topic] for topic in self._kafka.topics if topic in counts}
        return min(found) if len(found) == 2 else check_topics(self._kafka, self._kafka.topics)

    def members(self) -> list[str]:
        """Say which workers are in the group, a line each."""
        group = self._kafka.group_id
        try:
            found = self._admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result()
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                return []
            raise TransientError(f"kafka does not tell of group {group!r}: {error.args[0].str()}") from error
        return [
            f"worker {member.client_id} at {member.host} with {_held(member)} is in group {group!r}: stop it"
            for member in found.members
        ]

    def read_before(self) -> frozenset[int]:
        """Return the partitions the group has offsets of in Kafka: workers have been there."""
        group, partitions = self._kafka.group_id, range(self.partitions())
        places = [TopicPartition(topic, number) for topic in self._kafka.topics for number in partitions]
        asked = [ConsumerGroupTopicPartitions(group, places)]
        try:
            found = self._admin.list_consumer_group_offsets(asked, request_timeout=_TIMEOUT_S)[group].result()
        except KafkaException as error:
            raise TransientError(f"kafka does not tell of group {group!r}: {error.args[0].str()}") from error
        return frozenset(place.partition for place in found.topic_partitions if place.offset > 0)

    def ends(self, partitions: int) -> dict[tuple[str, int], tuple[int, int]]:
        """Return the first and the end offset of the first partitions of each topic."""
        asked = [
            TopicPartition(topic, number) for topic in self._kafka.topics for number in range(partitions)
        ]
        found = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
            answers = self._admin.list_offsets(dict.fromkeys(asked, spec), request_timeout=_TIMEOUT_S)
            try:
                found.append({(at.topic, at.partition): each.result().offset for at, each in answers.items()})
            except KafkaException as error:
                raise TransientError(f"kafka does not tell offsets: {error.args[0].str()}") from error
        first, end = found
        return {place: (first[place], end[place]) for place in first}

    def behind(self, offsets: Mapping[tuple[str, int], int], partitions: int) -> dict[tuple[str, int], int]:
        """Return how many records have not been worked on yet, by topic and partition where there are any.

        Args:
            offsets: the durable ones.
            partitions: how many to look at.
        """
        left = self._left(offsets, partitions)
        return {place: end - start for place, (start, end) in left.items()}

    def send_on(self, offsets: Mapping[tuple[str, int], int], partitions: int) -> SentOn:
        """Send what has not been worked on again, by its key; Kafka puts it where its customer belongs now.

        Args:
            offsets: the durable ones.
            partitions: how many to look at.

        Returns:
            What was sent on, and where to.

        Raises:
            TransientError: Kafka takes or gives it not in time.
        """
        left = self._left(offsets, partitions)
        consumer = self._consumer()
        producer = open_producer(self._kafka)
        taken: Counter[tuple[str, int]] = Counter()
        refused_with: list[tuple[KafkaError, str]] = []

        def on_delivery(error: KafkaError | None, record: Message) -> None:
            if error is not None:
                refused_with.append((error, record.topic()))
            else:
                taken[record.topic(), record.partition()] += 1

        try:
            consumer.assign([TopicPartition(*place, start) for place, (start, _) in left.items()])
            _send_again(consumer, producer, {place: end for place, (_, end) in left.items()}, on_delivery)
        except KafkaException as error:
            raise failed(error.args[0], self._kafka.bootstrap, _NOT_TAKEN) from None
        finally:
            consumer.close()
        if refused_with:
            reason, topic = refused_with[0]
            raise failed(reason, self._kafka.bootstrap, _NOT_TAKEN, topic)
        return SentOn({place: end for place, (_, end) in left.items()}, taken)

    def _consumer(self) -> Consumer:
        """Make one that is given its partitions by hand, and told where they end."""
        return Consumer(
            common_config(self._kafka)
            | {
                "group.id": f"{self._kafka.group_id}-widen",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )

    def _left(
        self, offsets: Mapping[tuple[str, int], int], partitions: int
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """Return what is to be worked on yet: from where, and up to where."""
        starts = {
            place: (max(first, offsets.get(place, 0)), end)
            for place, (first, end) in self.ends(partitions).items()
        }
        left = {place: (start, end) for place, (start, end) in starts.items() if end > start}
        nothing = self._without_records(left) if left else set()
        return {place: span for place, span in left.items() if place not in nothing}

    def _without_records(self, left: Mapping[tuple[str, int], tuple[int, int]]) -> set[tuple[str, int]]:
        """Return where nothing can be read up to the end: there are marks of transactions alone."""
        consumer, unseen = self._consumer(), dict(left)
        nothing: set[tuple[str, int]] = set()
        deadline_s = time.monotonic() + _PROBE_S
        try:
            consumer.assign([TopicPartition(*place, start) for place, (start, _) in left.items()])
            while unseen and time.monotonic() < deadline_s:
                for record in consumer.consume(100, 0.1):
                    place = record.topic(), record.partition()
                    _, end = unseen.pop(place, (0, 0))
                    if end and _ends_at(record, end):
                        nothing.add(place)
        except KafkaException:
            return set()  # a user who may not read: then they count as records
        finally:
            consumer.close()
        return nothing

    def senders(self) -> list[str]:
        """Say whether anybody sends: whether a topic grows within a second."""
        partitions = self.partitions()
        before = self.ends(partitions)
        time.sleep(_QUIET_S)
        after = self.ends(partitions)
        grown = sum(after[place][1] - before[place][1] for place in before)
        return [f"{grown} records were sent within {_QUIET_S:.0f} s: stop the senders"] if grown else []

    def widen(self, partitions: int, *, validate_only: bool = False) -> None:
        """Give each topic so many partitions, unless it has them.

        Args:
            partitions: how many.
            validate_only: ask Kafka whether it would, and change nothing.

        Raises:
            ConfigError: Kafka refuses.
            TransientError: it does not show them in time.
        """
        counts = partition_counts(self._kafka)
        wanted = [
            NewPartitions(topic, partitions) for topic in self._kafka.topics if counts[topic] < partitions
        ]
        if not wanted:
            return
        more = {"validate_only": validate_only, "operation_timeout": _TIMEOUT_S}
        for topic, future in self._admin.create_partitions(wanted, **more).items():
            try:
                future.result()
            except KafkaException as error:
                reason = error.args[0]
                if is_refusal(reason):
                    raise refused(reason, self._kafka.bootstrap, topic) from None
                raise ConfigError(f"kafka refuses partitions for {topic!r}: {reason.str()}") from error
        deadline_s = time.monotonic() + _TIMEOUT_S
        while not validate_only and any(
            partition_counts(self._kafka)[topic] < partitions for topic in self._kafka.topics
        ):
            if time.monotonic() > deadline_s:
                raise TransientError(f"kafka does not show {partitions} partitions after {_TIMEOUT_S:.0f} s")
            time.sleep(0.1)


def in_words(behind: Mapping[tuple[str, int], int]) -> str:
    """Say how much has not been worked on, and where most; empty when everything has been."""
    if not behind:
        return ""
    worst = sorted(behind, key=lambda place: -behind[place])[:_MAX_NAMED]
    named = ", ".join(f"{topic}/{number} {behind[topic, number]}" for topic, number in worst)
    more = f", {len(behind) - len(worst)} more partitions" if len(behind) > len(worst) else ""
    return f"{sum(behind.values())} records have not been worked on ({named}{more})"


def _ends_at(record: Message, end: int) -> bool:
    """Whether this is the news that a partition ends, and not before it once did: at an open transaction."""
    error = record.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF and record.offset() >= end  # noqa: SLF001


def _held(member: MemberDescription) -> str:
    held = sorted({place.partition for place in member.assignment.topic_partitions})
    return f"partitions {', '.join(map(str, held))}" if held else "no partitions"


def _send_again(
    consumer: Consumer, producer: Producer, ends: Mapping[tuple[str, int], int], on_delivery: _OnDelivery
) -> None:
    """Send the records of each partition up to its end."""
    todo = dict(ends)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while todo:
        for record in consumer.consume(1000, 0.5):
            deadline_s = time.monotonic() + _TIMEOUT_S
            place = record.topic(), record.partition()
            if (end := todo.get(place)) is None:
                continue
            is_record = record.error() is None
            if is_record and record.offset() < end:  # where it ends with a mark, our own may come behind it
                _again(producer, record, on_delivery)
            if (is_record and record.offset() >= end - 1) or _ends_at(record, end):
                todo.pop(place)
        if wait_for_reports(producer, _TIMEOUT_S):
            raise TransientError(_NOT_TAKEN)
        if time.monotonic() > deadline_s:
            raise TransientError(f"kafka did not give {len(todo)} partitions to their end")


def _again(producer: Producer, record: Message, on_delivery: _OnDelivery) -> None:
    """Send a record as it is; repeats of it count once."""
    what = {
        "on_delivery": on_delivery,
        "key": record.key(),
        "value": record.value(),
        "headers": record.headers(),
    }
    while True:
        try:
            producer.produce(record.topic(), timestamp=record.timestamp()[1], **what)
        except BufferError:
            fetch_reports(producer, 0.1)
        else:
            return
