"""How far partitions are read, on a stand-in for librdkafka; `test_transport` has the brokers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition

from engine.streams.reach import ASK_AGAIN_S, ASK_EVERY_S, AWAY_S, LOOK_EVERY_S, Reach

CLICKS, ORDERS = ("clicks", 0), ("orders", 0)
BOTH = (CLICKS, ORDERS)
UNKNOWN = confluent_kafka.OFFSET_INVALID


@dataclass
class Log:
    """Two topics of a partition: where they end, what fetches told of it, and where the consumer is."""

    ends: dict[tuple[str, int], int] = field(default_factory=lambda: dict.fromkeys(BOTH, 0))
    fetched: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    now_s: float = 100.0
    silent: bool = False
    asked: int = 0

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Tell what was handed out."""
        found = [(p.topic, p.partition) for p in places]
        return [TopicPartition(*place, self.positions.get(place, UNKNOWN)) for place in found]

    def get_watermark_offsets(self, place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        """Tell what the last fetch told."""
        assert cached
        return self.fetched.get((place.topic, place.partition), (UNKNOWN, UNKNOWN))

    def offsets_for_times(self, places: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        """Tell the ends, as the brokers do."""
        assert timeout_s > 0
        assert {place.offset for place in places} == {confluent_kafka.OFFSET_END}
        self.asked += 1
        if self.silent:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError._TIMED_OUT)
        return [TopicPartition(p.topic, p.partition, self.ends[p.topic, p.partition]) for p in places]

    def fetch(self, place: tuple[str, int], to: int) -> None:
        """Let the consumer hand records out."""
        self.positions[place] = to
        self.fetched[place] = (0, self.ends[place])


@pytest.fixture
def log() -> Log:
    """Provide a log of nothing."""
    return Log()


@pytest.fixture
def reach(log: Log) -> Reach:
    """Provide a reach that has begun at the first records."""
    made = Reach(lambda: log.now_s)
    made.begin(dict.fromkeys(BOTH, confluent_kafka.OFFSET_BEGINNING))
    return made


def look(reach: Reach, log: Log, after_s: float = LOOK_EVERY_S) -> tuple[bool, dict[int, int]]:
    """Let time pass and a poll happen; return whether there is news, and how far behind it is."""
    log.now_s += after_s
    consumer: Any = log
    return reach.look(consumer, {}), reach.behind_ms(BOTH)


def test_empty_topics_are_read_at_once(reach: Reach, log: Log) -> None:
    """Nothing is known before the brokers were asked; then there is nothing left to read."""
    assert reach.behind_ms(BOTH) == {}
    assert look(reach, log) == (True, {0: 0})
    assert look(reach, log) == (False, {0: 0})
    assert log.asked == 1


def test_a_backlog_is_read_up_to_where_it_ended(reach: Reach, log: Log) -> None:
    """What was there when the brokers were asked is to be handed out first; the slowest topic counts."""
    log.ends = {CLICKS: 10, ORDERS: 4}
    assert look(reach, log) == (False, {})
    log.fetch(CLICKS, 10)
    log.fetch(ORDERS, 3)
    assert look(reach, log) == (True, {}), "an order is missing"
    log.ends[ORDERS] = 9
    log.fetch(ORDERS, 4)
    moved, behind = look(reach, log)
    assert moved
    assert behind[0] == pytest.approx(2 * LOOK_EVERY_S * 1000, abs=2), "read as of when the brokers said 4"
    log.fetch(ORDERS, 9)
    assert look(reach, log)[1] == {0: 0}


def test_who_falls_behind_is_as_far_as_before(reach: Reach, log: Log) -> None:
    """While more is fetched than handed out, the last moment at which nothing was left counts."""
    look(reach, log)
    log.ends[CLICKS] = 1_000
    log.fetch(CLICKS, 100)
    behind_ms = [look(reach, log, 0.5)[1][0] for _ in range(2)]
    assert behind_ms == pytest.approx([500, 1000], abs=2)
    log.fetch(CLICKS, 1_000)
    assert look(reach, log) == (True, {0: 0})


def test_under_lasting_overload_it_follows(reach: Reach, log: Log) -> None:
    """Never at the end, it is behind by about as much as is waiting, and does not stand still."""
    look(reach, log)
    worst_ms = 0
    for second in range(1, 60):
        log.ends[CLICKS] = 100 * second + 300  # three seconds of records wait
        log.fetch(CLICKS, 100 * second)
        worst_ms = max(worst_ms, look(reach, log, 1.0)[1][0])
    assert 3_000 <= worst_ms <= 2 * (3_000 + 2 * ASK_EVERY_S * 1000)


def test_the_mark_of_a_transaction_is_no_record(reach: Reach, log: Log) -> None:
    """The position goes past it, and with it past the end."""
    log.ends[CLICKS] = 6
    log.positions[CLICKS], log.fetched[CLICKS] = 6, (0, 6)
    assert look(reach, log) == (True, {0: 0})


def test_what_lies_behind_an_open_transaction_is_not_read(reach: Reach, log: Log) -> None:
    """The brokers tell where it begins as the end; what others have written behind it is not handed out."""
    look(reach, log)
    log.ends[CLICKS] = 5
    log.positions[CLICKS], log.fetched[CLICKS] = 5, (0, 8)
    behind_ms = [look(reach, log, 0.5)[1][0] for _ in range(20)]
    assert behind_ms == sorted(behind_ms)
    assert behind_ms[-1] >= 9_500
    log.ends[CLICKS] = log.positions[CLICKS] = 9
    log.fetched[CLICKS] = (0, 9)
    assert look(reach, log) == (True, {0: 0})


def test_a_link_that_hangs_is_not_the_end(reach: Reach, log: Log) -> None:
    """What fetches told stays as it was, and so tells nothing: the brokers have to answer."""
    look(reach, log)
    for _ in range(30):
        assert look(reach, log, 0.3)[1] == {0: 0}
    assert log.asked <= 1 + 30 * 0.3 / AWAY_S + 1
    log.silent = True
    behind_ms = [look(reach, log, 0.5)[1][0] for _ in range(20)]
    assert max(behind_ms[:3]) <= (AWAY_S + 0.5) * 1000, "since they were heard of last"
    assert behind_ms[-1] >= 8_000
    log.silent = False
    assert look(reach, log, ASK_AGAIN_S) == (True, {0: 0})


def test_what_retention_took_need_not_be_read(log: Log) -> None:
    """A partition whose records have all expired is read to its end."""
    reach = Reach(lambda: log.now_s)
    reach.begin({CLICKS: 20})
    log.ends[CLICKS] = 50
    log.fetched[CLICKS] = (50, 50)
    assert look(reach, log) == (True, {0: 0})


def test_a_process_that_stood_still_asks_anew(reach: Reach, log: Log) -> None:
    """After SIGSTOP all seems to be read, as of before: the brokers know better."""
    look(reach, log)
    log.ends[ORDERS] = 3
    assert look(reach, log, 60.0)[1][0] == pytest.approx(60_000, abs=2)
    log.fetch(ORDERS, 3)
    assert look(reach, log) == (True, {0: 0})


def test_brokers_that_do_not_answer_are_asked_again(reach: Reach, log: Log) -> None:
    """Until they do, nothing is known; they are not asked at every poll."""
    log.silent = True
    for _ in range(20):
        assert look(reach, log) == (False, {})
    assert log.asked == 1
    log.silent = False
    assert look(reach, log, ASK_AGAIN_S) == (True, {0: 0})


def test_reading_elsewhere_is_a_beginning(reach: Reach, log: Log) -> None:
    """After a seek, or when a partition comes back, what was known of it does not count."""
    log.ends[CLICKS] = 9
    log.fetch(CLICKS, 9)
    assert look(reach, log)[1] == {0: 0}
    reach.begin({CLICKS: 2})
    log.positions[CLICKS] = UNKNOWN
    assert look(reach, log) == (False, {})
    reach.forget([CLICKS])
    assert reach.behind_ms([ORDERS]) == {0: 0}
