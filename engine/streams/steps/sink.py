"""From an outcome to Kafka records: actions, decisions, segment changes, training rows, dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from engine.errors import EngineError
from engine.events import DeadLetterReason
from engine.features.churn.blocks import TrainingBlock, concatenate
from engine.pipeline.core import Outcome
from engine.settings import Settings
from engine.streams.producer import OutRecord
from engine.streams.steps.intake import DeadRecord
from engine.streams.wire.codec import encode_action, encode_decision
from engine.streams.wire.letters import MAX_DETAIL_CHARS, MAX_LETTER_BYTES, PREFIX, dead_letter

CLOCK_HEADER = "engage-clock"
DAY_MS = 86_400_000
_encode = msgspec.json.Encoder().encode


class Sink:
    """Knows which topic each thing goes to.

    Args:
        settings: topic names and channels.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics
        self._action_topics = settings.action_topics()
        self._told_day: dict[int, int] = {}

    def actions(self, outcome: Outcome) -> list[OutRecord]:
        """Lay out a step's actions.

        Returns:
            Topic, key, value and headers of each record; keyed by customer, so order per customer holds.
        """
        out: list[OutRecord] = []
        for action in outcome.actions:
            value, headers = encode_action(action)
            out.append((self._action_topics[action.channel], action.customer_id.encode(), value, headers))
        return out

    def records(
        self, outcome: Outcome, dead: Sequence[DeadRecord], clocks_ms: Mapping[int, int]
    ) -> list[OutRecord]:
        """Lay out everything else a step sends.

        Args:
            outcome: what the pipeline made of the step.
            dead: records for the dead letters.
            clocks_ms: for partitions of ours, the instant up to which their training rows are complete.

        Returns:
            As `actions` does.
        """
        topics = self._topics
        out: list[OutRecord] = []
        for decision in outcome.decisions:
            value, headers = encode_decision(decision)
            out.append((topics.decisions, decision.customer_id.encode(), value, headers))
        out.extend(
            (topics.segments, change.customer_id.encode(), _encode(change), None)
            for change in outcome.segment_changes
        )
        for letter in dead:
            record = letter.record
            out.append(dead_letter(record, letter.reason, letter.detail, letter.exception, topics.dlq))
        out.extend(self._training(outcome, clocks_ms))  # last, for it takes note of what it told
        return out

    def refused(self, record: OutRecord, why: str) -> OutRecord:
        """Lay out the dead letter of a record of ours that Kafka will never take.

        Raises:
            EngineError: the record is a dead letter itself: there is nowhere left to put it.
        """
        topic, key, value, _ = record
        if topic == self._topics.dlq:
            raise EngineError(f"kafka refuses dead letters on {topic!r}: {why}")
        headers = {"reason": DeadLetterReason.PROCESSING_FAILED, "detail": why, "topic": topic}
        return (
            self._topics.dlq,
            key,
            (value or b"")[: MAX_LETTER_BYTES // 2],
            [(PREFIX + name, text.encode()[:MAX_DETAIL_CHARS]) for name, text in headers.items()],
        )

    def _training(self, outcome: Outcome, clocks_ms: Mapping[int, int]) -> Iterator[OutRecord]:
        """Lay out training rows; a partition without any tells its clock once a day, so training goes on."""
        for partition, clock_ms in clocks_ms.items():
            blocks = outcome.training.get(partition)
            day = clock_ms // DAY_MS
            if blocks is None and self._told_day.get(partition) == day:
                continue
            self._told_day[partition] = day
            block = concatenate(blocks) if blocks else TrainingBlock.empty()
            # keyed by partition, so that its blocks stay in order
            headers = [(CLOCK_HEADER, b"%d" % clock_ms)]
            yield self._topics.training, b"%d" % partition, block.encode(), headers
