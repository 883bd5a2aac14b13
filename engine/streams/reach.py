"""How far partitions have been read: up to which moment nothing that was there is still unread.

A deadline says that something has not happened. A worker that comes back after a stop, or has fallen behind,
cannot say so before it has read what came meanwhile (docs/decisions/013-deadlines-wait-for-reading.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from engine.streams.kafka import TopicPartition, named

#: How often it is looked whether a partition that was read to its end still is.
LOOK_EVERY_S = 0.1
ASK_EVERY_S = 1.0
ASK_PATIENCE_S = 0.5
#: Where they did not answer: the wait for them holds up everything else.
ASK_AGAIN_S = 3.0
#: What is less far behind than this is not held to be lagging: under load some records are always on the way,
#: and while one broker is silent the others are asked no more often than every three seconds.
LAGS_S = 4.0
#: Without a look for so long the process may have stood still, and with it what it knows of the ends. And so
#: long after their last answer the brokers are asked of everything: a link that hangs brings no new ends.
AWAY_S = 2.0


@dataclass(slots=True)
class _Behind:
    """A partition that is not known to be read to its end.

    Args:
        since_s: what was there at that moment has been read; None = not known.
        sure: whether the end is known well enough from fetches; if not, the brokers have to be asked.
        end: as the brokers told it; -1 = they have not been asked.
        asked_s: when they were.
        readable: the end without what lies behind an open transaction, as the brokers told it.
        handed: next offset to be handed out, whatever is held back.
    """

    since_s: float | None
    sure: bool = False
    end: int = -1
    asked_s: float = 0.0
    readable: int = -1
    handed: int = -1


class Reach:
    """How far each assigned partition is read.

    `begin` and `forget` may be called in the middle of a rebalance, `look` and `behind_ms` by the thread that
    polls alone.

    Args:
        now_s: a clock that never goes back.

    Attributes:
        answered_s: when a broker last told an end.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._starts: dict[TopicPartition, int] = {}
        self._behind: dict[TopicPartition, _Behind] = {}
        self._last_s = self._all_seen_s = self.answered_s = now_s()
        self._heard_s: dict[TopicPartition, float] = {}
        self._look_due_s = self._ask_due_s = 0.0
        self._confirm_due_s = now_s() + AWAY_S
        self._silent = False

    def begin(self, starts: Mapping[TopicPartition, int]) -> None:
        """Reading begins, or goes on elsewhere.

        Args:
            starts: next offset of each partition; negative = its first record.
        """
        self._starts.update(starts)
        self._behind.update((place, _Behind(None)) for place in starts)
        self._heard_s.update(dict.fromkeys(starts, self._now_s()))
        self._ask_due_s = 0.0

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are not read any more."""
        for place in partitions:
            self._starts.pop(place, None)
            self._behind.pop(place, None)
            self._heard_s.pop(place, None)

    def doubt(self, partitions: Iterable[TopicPartition]) -> None:
        """Ask the brokers anew where partitions end: nothing has been fetched of them for a while."""
        for place in partitions:
            self._behind.setdefault(place, _Behind(self._all_seen_s)).sure = False
        self._ask_due_s = 0.0

    def look(self, consumer: Consumer, held: Mapping[TopicPartition, int]) -> bool:
        """Note how far partitions are read; call it after each poll.

        Args:
            consumer: knows what it has handed out, and from its fetches where partitions end.
            held: the first offset of what it has handed out and is held back, so not read.

        Returns:
            whether a partition that was behind is further now.
        """
        now_s = self._now_s()
        everything = now_s >= self._look_due_s
        self._mistrust(now_s)
        places = self._starts.keys() if everything else self._behind.keys() | held.keys()
        self._ask(consumer, now_s)
        moved = False
        positions = consumer.position(named(places)) if places else []
        for position in positions:
            place = position.topic, position.partition
            low, end = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(*place), cached=True)
            read = max(0, low, self._starts[place], position.offset)
            if place in self._behind:
                self._behind[place].handed = read
            moved |= self._judge(place, held.get(place, read), end)
        if everything:
            self._look_due_s, self._all_seen_s = now_s + LOOK_EVERY_S, now_s
        return moved

    def behind_ms(self, assigned: Iterable[TopicPartition]) -> dict[int, int]:
        """Tell how long ago all that was there had been read, ms, by partition number.

        Args:
            assigned: all partitions; a number is as far as the topic of it that is read least far.

        Returns:
            0 for what is read to its end; a number of which nothing is known yet is missing.
        """
        now_s = self._now_s()
        found = dict.fromkeys((number for _, number in assigned), 0)
        for (_, number), behind in self._behind.items():
            if behind.since_s is None:
                found.pop(number, None)
            elif number in found:
                found[number] = max(found[number], int((now_s - behind.since_s) * 1000) + 1)
        return found

    def at_end(self) -> frozenset[TopicPartition]:
        """Return the partitions that are read to their end; from the thread that polls."""
        return frozenset(self._starts.keys() - self._behind.keys())

    def lagging(self) -> dict[int, set[TopicPartition]]:
        """List the partition numbers that lag behind or of which nothing is known yet.

        Returns:
            for each number, those of its topics that do, and may have more to hand out now.
        """
        now_s = self._now_s()
        self._mistrust(now_s)
        found: dict[int, set[TopicPartition]] = {}
        for place, behind in self._behind.items():
            if behind.since_s is None or now_s - behind.since_s > LAGS_S:
                unread = found.setdefault(place[1], set())
                if behind.readable < 0 or behind.handed < behind.readable:
                    unread.add(place)
        return found

    def _mistrust(self, now_s: float) -> None:
        """Take nothing for read that was so before the process stood still, or that brokers are silent of."""
        if now_s - self._last_s > AWAY_S:
            for place in self._starts.keys() - self._behind.keys():
                self._behind[place] = _Behind(self._all_seen_s)
            for behind in self._behind.values():
                behind.sure, behind.end, behind.readable = False, -1, -1
            self._ask_due_s = 0.0
        self._last_s = now_s
        if now_s < self._confirm_due_s:
            return
        # All at once: each question holds the poll up.
        self._confirm_due_s = now_s + AWAY_S
        for place in self._starts.keys() - self._behind.keys():
            self._behind[place] = _Behind(self._heard_s[place])
        for behind in self._behind.values():
            behind.sure &= behind.end >= 0
        if not self._silent:
            self._ask_due_s = 0.0

    def _ask(self, consumer: Consumer, now_s: float) -> None:
        """Ask the brokers where partitions end that are not known to be read.

        What lies behind a transaction that goes on is not handed out, and is unread all the same: the answer
        ends before it, what fetches told does not.
        """
        if now_s < self._ask_due_s:
            return
        wanted = [
            place
            for place, behind in self._behind.items()
            if behind.end < 0
            and (not behind.sure or behind.since_s is None or now_s - behind.since_s > ASK_EVERY_S)
        ]
        if not wanted:
            return
        ends = dict.fromkeys(wanted, confluent_kafka.OFFSET_END)
        try:
            found = consumer.offsets_for_times(named(wanted, ends), ASK_PATIENCE_S)
        except KafkaException:
            found = []
        answers = [place for place in found if place.error is None and place.offset >= 0]
        self._silent = len(answers) < len(wanted)
        self._ask_due_s = now_s + (ASK_AGAIN_S if self._silent else ASK_EVERY_S)
        if answers:
            self.answered_s = now_s
        for answer in answers:
            _, fetched = consumer.get_watermark_offsets(answer, cached=True)
            behind = self._behind[answer.topic, answer.partition]
            behind.sure, behind.end, behind.asked_s = True, max(answer.offset, fetched), now_s
            behind.readable = answer.offset
            self._heard_s[answer.topic, answer.partition] = now_s

    def _judge(self, place: TopicPartition, read: int, end: int) -> bool:
        """Note how far one partition is read; tell whether it was behind and is further now.

        Args:
            place: the partition.
            read: next offset to be handed out and not held back.
            end: offset after its last record as the last fetch told it; negative = not known.
        """
        behind = self._behind.get(place)
        if behind is None:
            if read < end:
                self._behind[place] = _Behind(self._all_seen_s, sure=True)
            return False
        if read < behind.end:
            return False
        if behind.sure and read >= end:
            del self._behind[place]
            return True
        if behind.end < 0:
            return False
        behind.since_s, behind.end, behind.readable = behind.asked_s, -1, -1
        return True
