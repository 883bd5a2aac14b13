"""What is held back while a partition number lags behind, on a stand-in for librdkafka.

`test_transport` has the brokers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from engine.streams import merge as merge_module
from engine.streams.merge import PATIENCE_S, SILENCE_S, Merge
from engine.streams.reach import LOOK_EVERY_S, Reach

TOPICS = ("clicks", "orders", "service")
PLACES = tuple((topic, 0) for topic in TOPICS)
CLICKS, ORDERS, SERVICE = PLACES
MOST = 50
SIZE = 10


@dataclass(frozen=True)
class Record:
    """A polled record."""

    place: tuple[str, int]
    number: int
    at_ms: int

    def topic(self) -> str:
        """Tell the topic."""
        return self.place[0]

    def partition(self) -> int:
        """Tell the partition."""
        return self.place[1]

    def offset(self) -> int:
        """Tell the offset."""
        return self.number

    def timestamp(self) -> tuple[int, int]:
        """Tell when it was appended."""
        return confluent_kafka.TIMESTAMP_CREATE_TIME, self.at_ms

    def __len__(self) -> int:
        return SIZE


@dataclass
class Kafka:
    """The topics of one partition number, and a consumer that reads them in whatever order it is told."""

    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: {place: [] for place in PLACES})
    positions: dict[tuple[str, int], int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    away: set[tuple[str, int]] = field(default_factory=set)
    paused: set[tuple[str, int]] = field(default_factory=set)
    open_from: dict[tuple[str, int], int] = field(default_factory=dict)
    now_s: float = 100.0

    def append(self, place: tuple[str, int], *at_ms: int) -> None:
        """Append records."""
        log = self.logs[place]
        log += [Record(place, len(log) + count, at) for count, at in enumerate(at_ms)]

    def readable(self, place: tuple[str, int]) -> int:
        """Tell where what may be read ends."""
        return self.open_from.get(place, len(self.logs[place]))

    def poll(self, place: tuple[str, int], count: int) -> list[Record]:
        """Hand the next records of one topic out."""
        if place in self.away or place in self.paused:
            return []
        first = self.positions[place]
        found = self.logs[place][first : min(first + count, self.readable(place))]
        self.positions[place] = first + len(found)
        return found

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Tell what was handed out."""
        return [TopicPartition(p.topic, p.partition, self.positions[p.topic, p.partition]) for p in places]

    def get_watermark_offsets(self, place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        """Tell what the last fetch told."""
        assert cached
        return 0, len(self.logs[place.topic, place.partition])

    def offsets_for_times(self, places: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        """Tell the ends, as the brokers do."""
        assert timeout_s > 0
        keys = [(p.topic, p.partition) for p in places]
        return [TopicPartition(*key, -1 if key in self.away else self.readable(key)) for key in keys]

    def pause(self, places: list[TopicPartition]) -> None:
        """Fetch no more."""
        self.paused |= {(p.topic, p.partition) for p in places}

    def resume(self, places: list[TopicPartition]) -> None:
        """Fetch again."""
        resumed = {(p.topic, p.partition) for p in places}
        assert resumed <= self.paused
        self.paused -= resumed


class Reader:
    """A merge over the topics, and what it has handed out."""

    def __init__(self) -> None:
        self.kafka = Kafka()
        self.merge = Merge(Reach(lambda: self.kafka.now_s), MOST, lambda: self.kafka.now_s)
        self.out: list[tuple[str, int]] = []

    def begin(self) -> None:
        """Begin to read at the first records."""
        self.merge.begin(dict.fromkeys(PLACES, confluent_kafka.OFFSET_BEGINNING))

    def poll(self, place: tuple[str, int], count: int = MOST, after_s: float = LOOK_EVERY_S) -> list[int]:
        """Poll, be it that one topic's records come; return when those handed out were appended."""
        self.kafka.now_s += after_s
        polled: list[Any] = list(self.kafka.poll(place, count))
        consumer: Any = self.kafka
        found: list[Any] = list(self.merge.take(consumer, polled, lambda _: []))
        self.out += [(record.topic(), record.offset()) for record in found]
        return [record.at_ms for record in found]


@pytest.fixture
def reader() -> Reader:
    """Provide a reader that has not begun."""
    return Reader()


def read_to_the_end(reader: Reader) -> None:
    """Let a reader begin with nothing there, and find that it is at the end."""
    reader.begin()
    assert reader.poll(CLICKS) == []


def test_up_to_date_nothing_is_held(reader: Reader) -> None:
    """What comes goes on at once, whatever its time."""
    read_to_the_end(reader)
    reader.kafka.append(ORDERS, 20)
    reader.kafka.append(CLICKS, 10)
    assert reader.poll(ORDERS) == [20]
    assert reader.poll(CLICKS) == [10]


def test_a_backlog_is_handed_out_in_the_order_of_its_appends(reader: Reader) -> None:
    """A topic that comes first waits for what was appended before it elsewhere, but not for an empty one."""
    reader.kafka.append(CLICKS, 10, 30, 50)
    reader.kafka.append(ORDERS, 20, 40, 60)
    reader.begin()
    assert reader.poll(ORDERS, 2) == []
    assert reader.poll(CLICKS, 2) == [10, 20, 30]
    assert reader.poll(CLICKS) == [40], "the last order has not come"
    assert reader.poll(ORDERS) == [50, 60]
    assert not reader.merge.more


def test_a_worker_that_has_fallen_behind_merges_from_there_on(reader: Reader) -> None:
    """Behind by a moment, all goes on as it comes; for longer, in order; at the end, as it comes again."""
    read_to_the_end(reader)
    reader.kafka.append(CLICKS, *range(0, 1_000, 10))
    assert reader.poll(CLICKS, 1) == [0]
    reader.kafka.append(ORDERS, 500, 991)
    assert reader.poll(ORDERS, 1) == [500]
    for _ in range(30):
        reader.poll(CLICKS, 1, 0.2)
    assert 991 not in reader.poll(ORDERS)
    while len(reader.out) < 102:
        reader.poll(CLICKS, 7)
    assert reader.out[-1] == ("orders", 1)
    reader.poll(SERVICE)
    reader.kafka.append(CLICKS, 2_000)
    reader.kafka.append(ORDERS, 3_000)
    assert reader.poll(ORDERS) == [3_000]


def test_a_process_that_stood_still_merges_what_came_meanwhile(reader: Reader) -> None:
    """The first poll after it holds back already: librdkafka may have fetched one topic alone."""
    read_to_the_end(reader)
    reader.kafka.append(CLICKS, 10)
    reader.kafka.append(ORDERS, 20)
    assert reader.poll(ORDERS, after_s=60) == []
    assert reader.poll(CLICKS) == [10, 20]


def test_a_clock_ahead_holds_a_topic_back_no_longer_than_the_backlog_lasts(reader: Reader) -> None:
    """A sender's time in the far future is now; what has none goes first."""
    far_ms = 2**60
    reader.kafka.append(ORDERS, far_ms, 20)
    reader.kafka.append(CLICKS, 10, 30)
    reader.kafka.append(SERVICE, -1)
    reader.begin()
    reader.poll(ORDERS)
    reader.poll(SERVICE)
    reader.poll(CLICKS, 1)
    reader.poll(CLICKS)
    assert reader.out == [("service", 0), ("clicks", 0), ("clicks", 1), ("orders", 0), ("orders", 1)]


def test_a_topic_whose_leader_is_away_is_waited_for_a_while(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the others go on; while nothing comes from anybody, nobody's patience ends."""
    reader.kafka.append(CLICKS, 10)
    reader.kafka.append(ORDERS, 20, 30)
    reader.kafka.away.add(CLICKS)
    reader.begin()
    assert reader.poll(ORDERS, 1) == []
    for _ in range(int(PATIENCE_S) - 1):
        assert reader.poll(SERVICE, after_s=1) == []
    assert reader.merge.awaited() == {CLICKS: pytest.approx(PATIENCE_S - 1)}
    for _ in range(2):
        reader.poll(SERVICE, after_s=1)
    assert reader.out == [("orders", 0)]
    assert [each for each in caplog.messages if each.startswith("clicks/0 hand out nothing")] != []
    reader.kafka.append(ORDERS, 40)
    assert reader.poll(ORDERS, 1, after_s=1) == [30], "nor are they waited for anew"
    assert reader.poll(ORDERS, 1, after_s=1) == [40]
    assert CLICKS in reader.merge.awaited()
    reader.kafka.away.update(PLACES)
    for _ in range(int(SILENCE_S) + 4):  # until they are asked again
        reader.poll(SERVICE, after_s=1)
    reader.kafka.append(ORDERS, 50)
    reader.kafka.away.clear()
    assert reader.poll(ORDERS) == [], "nothing came from anybody: the link was away, not the leader"
    reader.poll(CLICKS)
    for _ in range(3):  # until the brokers are asked again
        reader.poll(SERVICE, after_s=1)
    assert reader.out == [*(("orders", number) for number in range(3)), ("clicks", 0), ("orders", 3)]
    assert reader.merge.awaited() == {}


def test_what_hands_out_nothing_is_told_of_though_nothing_is_held_for_it(reader: Reader) -> None:
    """Deadlines wait for it, so who asks is to hear of it."""
    reader.kafka.append(CLICKS, 10)
    reader.kafka.away.add(CLICKS)
    reader.begin()
    for _ in range(5):
        reader.poll(SERVICE, after_s=1)
    assert reader.merge.awaited() == {CLICKS: pytest.approx(4)}
    reader.kafka.away.clear()
    for _ in range(5):
        reader.poll(CLICKS, after_s=1)
    assert reader.merge.awaited() == {}


def test_what_lies_behind_an_open_transaction_is_not_waited_for(reader: Reader) -> None:
    """It is not handed out before the transaction ends, and nobody knows when that is."""
    reader.kafka.append(CLICKS, 10, 20)
    reader.kafka.open_from[CLICKS] = 1
    reader.kafka.append(ORDERS, 30)
    reader.begin()
    assert reader.poll(ORDERS) == []
    assert reader.poll(CLICKS) == [10, 30]


def test_a_seek_and_a_rebalance_forget_what_is_held(reader: Reader) -> None:
    """It is read again, here or elsewhere, and held back there no longer than it has to be."""
    reader.kafka.append(CLICKS, 10)
    reader.kafka.append(ORDERS, 20)
    reader.begin()
    assert reader.poll(ORDERS) == []
    reader.kafka.positions[ORDERS] = 0
    reader.merge.begin({ORDERS: 0})
    assert reader.poll(CLICKS) == []
    reader.merge.forget(PLACES)
    assert reader.poll(SERVICE) == []
    reader.kafka.positions = dict.fromkeys(PLACES, 0)
    reader.begin()
    reader.poll(CLICKS)
    reader.poll(ORDERS)
    assert reader.out == [("clicks", 0), ("orders", 0)]


def test_what_is_held_is_bounded(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic far ahead is not fetched from until the others come near; then its end is asked for anew."""
    monkeypatch.setattr(merge_module, "RECORD_BYTES", 0)
    monkeypatch.setattr(merge_module, "HELD_BYTES", 3 * 20 * SIZE)
    reader.kafka.append(ORDERS, *range(1, 200, 2))
    reader.kafka.append(CLICKS, *range(0, 200, 2))
    reader.begin()
    most = 0
    for _ in range(20):
        reader.poll(ORDERS, 15)
        most = max(most, reader.kafka.positions[ORDERS])
    assert most == 30
    assert reader.kafka.paused == {ORDERS}
    while len(reader.out) < 200:
        reader.poll(ORDERS, 15)
        reader.poll(CLICKS, 5)
    assert not reader.kafka.paused
    times = [reader.kafka.logs[topic, 0][offset].at_ms for topic, offset in reader.out]
    assert times == sorted(times)


def test_not_more_than_a_batch_is_handed_out(reader: Reader) -> None:
    """What is left comes with the next poll, which need not wait."""
    reader.kafka.append(ORDERS, *range(1, 2 * MOST, 2))
    reader.kafka.append(CLICKS, *range(0, 2 * MOST, 2))
    reader.begin()
    assert reader.poll(ORDERS) == []
    assert reader.poll(CLICKS) == list(range(MOST))
    assert reader.merge.more
    assert reader.poll(SERVICE) == list(range(MOST, 2 * MOST))


def test_while_most_is_held_back_more_is_polled(reader: Reader) -> None:
    """Until half a batch is there, or nothing comes."""
    reader.kafka.append(CLICKS, *range(0, 4 * MOST, 2))
    reader.kafka.append(ORDERS, *range(1, 4 * MOST, 2))
    reader.begin()
    polls = [(ORDERS, 5), (CLICKS, 5), (ORDERS, 5), (CLICKS, 20), (ORDERS, 20), (CLICKS, 20)]
    consumer: Any = reader.kafka

    def poll_more(_consumer: object) -> list[Any]:
        return list(reader.kafka.poll(*polls.pop(0))) if polls else []

    taken: list[Any] = list(reader.merge.take(consumer, poll_more(consumer), poll_more))
    assert [record.at_ms for record in taken] == list(range(49))
    assert polls == [(CLICKS, 20)]


@given(st.data())
def test_a_backlog_read_in_any_order_comes_out_in_one(data: st.DataObject) -> None:
    """Whatever topics a consumer is handed first, and how many records: all come once, sorted."""
    reader = Reader()
    times = data.draw(st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 3)), max_size=80))
    now_ms = 0
    for place, step_ms in times:
        now_ms += step_ms
        reader.kafka.append(place, now_ms)
    reader.begin()
    polls = st.tuples(st.sampled_from(PLACES), st.integers(1, 30))
    for place, count in data.draw(st.lists(polls, max_size=20)):
        reader.poll(place, count)
    for _ in range(5):
        for place in PLACES:
            reader.poll(place)
    out = [reader.kafka.logs[topic, 0][offset] for topic, offset in reader.out]
    assert [record.at_ms for record in out] == sorted(record.at_ms for record in out)
    for place in PLACES:
        assert [record for record in out if record.place == place] == reader.kafka.logs[place]
