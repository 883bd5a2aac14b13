"""Intake: order, repeats, watermarks, broken records."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from engine.errors import InvalidEvent, TransientError
from engine.events import ClickEvent, Event, Family, OrderEvent
from engine.streams.steps.intake import (
    MAX_STEP_SPAN_MS,
    Intake,
    RecentIds,
    Step,
)
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER

TOPICS = {"clicks": Family.CLICK, "orders": Family.ORDER}
T0 = 1_700_000_000_000


@dataclass
class FakeRecord:
    """A Kafka record; its value is a test's own notation: `id@time`."""

    t: str
    o: int
    v: bytes
    p: int = 0
    h: list[tuple[str, bytes]] = field(default_factory=list)

    def topic(self) -> str:
        """Topic."""
        return self.t

    def partition(self) -> int:
        """Partition."""
        return self.p

    def offset(self) -> int:
        """Offset."""
        return self.o

    def key(self) -> bytes | None:
        """Key."""
        return b"c"

    def value(self) -> bytes | None:
        """Value."""
        return self.v

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Headers."""
        return self.h


def decode(
    family: Family, value: bytes | None, _key: bytes | None, _now: int, _headers: object = None
) -> Event:
    """Read the test's notation; `bad` is broken, `wait` needs a server that is away."""
    assert value is not None
    if value == b"bad":
        raise InvalidEvent("not_decodable", "no json")
    name, _, time_ms = value.decode().partition("@")
    if family is Family.ORDER:
        return OrderEvent(id=name, type="order.placed", customer_id="c", time=int(time_ms), order_id=name)
    return ClickEvent(id=name, type="page.viewed", customer_id="c", time=int(time_ms))


def log_of(topic: str, *values: str) -> list[FakeRecord]:
    """Lay out a topic's log; a number alone is a watermark."""
    records = []
    for offset, value in enumerate(values):
        if value.isdigit():
            records.append(FakeRecord(topic, offset, b"", h=[(WATERMARK_HEADER, value.encode())]))
        else:
            records.append(FakeRecord(topic, offset, value.encode()))
    return records


def intake(*, replay: bool, remembered: int = 1000) -> Intake:
    """Return an intake that owns partition 0."""
    made = Intake(TOPICS, decode, replay=replay, ids_remembered=remembered)
    made.assign(0, 0, b"", b"")
    return made


def drain(taken: Intake, most: int = 1000) -> list[Step]:
    """Take steps until nothing goes on."""
    steps = []
    while (step := taken.step(most, T0)) is not None:
        steps.append(step)
    return steps


def ids(steps: list[Step]) -> list[str]:
    """Return the events' ids in order."""
    return [row.event.id for step in steps for row in step.events]


def test_live_order_is_arrival_order() -> None:
    """On the live clock records go as they came, all with the wall clock as their instant."""
    taken = intake(replay=False)
    taken.add([*log_of("clicks", f"a@{T0 - 5}"), *log_of("orders", f"b@{T0 - 9}")], T0)
    (step,) = drain(taken)
    assert ids([step]) == ["a", "b"]
    assert [row.now_ms for row in step.events] == [T0, T0]
    assert step.offsets == {("clicks", 0): 1, ("orders", 0): 1}
    assert {place: record.value() for place, record in step.newest.items()} == {
        ("clicks", 0): f"a@{T0 - 5}".encode(),
        ("orders", 0): f"b@{T0 - 9}".encode(),
    }


def test_replay_holds_back_until_every_topic_has_spoken() -> None:
    """On the replay clock a record waits for a record or a watermark of each other topic."""
    taken = intake(replay=True)
    taken.add(log_of("clicks", f"a@{T0}", f"c@{T0 + 20}"), T0)
    assert drain(taken) == []
    assert taken.silent() == [("orders", 0)]
    taken.add(log_of("orders", str(T0 + 10)), T0)
    assert ids(drain(taken)) == ["a"]


def test_replay_merges_by_event_time_whatever_the_arrival() -> None:
    """Any interleaving of the polls and any step size give the same order and the same instants."""
    clicks = log_of("clicks", *(f"c{n}@{T0 + n * 7}" for n in range(50)), str(END_OF_STREAM_MS))
    orders = log_of("orders", *(f"o{n}@{T0 + n * 11}" for n in range(30)), str(END_OF_STREAM_MS))
    outcomes = set()
    for seed in range(20):
        rng = random.Random(seed)
        taken, steps, queues = intake(replay=True), [], [list(clicks), list(orders)]
        while any(queues):
            queue = rng.choice([queue for queue in queues if queue])
            taken.add([queue.pop(0) for _ in range(min(len(queue), rng.randint(1, 9)))], T0)
            steps += drain(taken, rng.randint(1, 20))
        outcomes.add(tuple((row.event.id, row.now_ms) for step in steps for row in step.events))
    (outcome,) = outcomes
    assert len(outcome) == 80
    assert [now for _, now in outcome] == sorted(now for _, now in outcome)


def test_late_event_does_not_turn_the_clock_back() -> None:
    """An event older than the stream time is worked on at the stream time."""
    taken = intake(replay=True)
    taken.add(log_of("clicks", f"a@{T0 + 100}", f"late@{T0}", str(END_OF_STREAM_MS)), T0)
    taken.add(log_of("orders", str(END_OF_STREAM_MS)), T0)
    assert [row.now_ms for step in drain(taken) for row in step.events] == [T0 + 100, T0 + 100]


def test_long_silence_is_crossed_in_spans() -> None:
    """Stream time never moves more than a span in a step, so timers in a silence get their turn."""
    taken = intake(replay=True)
    far = T0 + 3 * MAX_STEP_SPAN_MS + 1
    taken.add(log_of("clicks", f"a@{T0}", f"b@{far}", str(END_OF_STREAM_MS)), T0)
    taken.add(log_of("orders", str(END_OF_STREAM_MS)), T0)
    steps = drain(taken)
    assert ids(steps) == ["a", "b"]
    clocks = [step.clock_ms[0] for step in steps]
    assert max(later - earlier for earlier, later in itertools.pairwise(clocks)) <= MAX_STEP_SPAN_MS


def test_repeated_id_counts_once() -> None:
    """A second event with the same id is dropped, and its offset passed."""
    taken = intake(replay=False)
    taken.add(log_of("clicks", f"a@{T0}", f"a@{T0}", f"b@{T0}"), T0)
    (step,) = drain(taken)
    assert ids([step]) == ["a", "b"]
    assert step.duplicates == 1
    assert step.offsets == {("clicks", 0): 3}


@pytest.mark.parametrize("step_size", [1, 2, 3, 100])
def test_repeats_are_found_over_generations_whatever_the_steps(step_size: int) -> None:
    """Which repeats are found depends on the log alone, also where generations of ids turn over."""
    names = [f"n{n % 13}" for n in range(60)]
    taken = intake(replay=False, remembered=5)
    taken.add(log_of("clicks", *(f"{name}@{T0}" for name in names)), T0)
    found = ids(drain(taken, step_size))
    known: tuple[set[str], set[str]] = (set(), set())
    expected = []
    for name in names:
        if name not in known[0] and name not in known[1]:
            expected.append(name)
            known[0].add(name)
            if len(known[0]) == 5:
                known = (set(), known[0])
    assert found == expected


@pytest.mark.parametrize("forgotten_after", [2, 3])
def test_a_forgotten_id_keeps_its_place(forgotten_after: int) -> None:
    """A generation is full at the same event wherever a step ended in which one failed; it may come again."""
    ids = RecentIds(b"", b"", 3)
    for key in (1, 2, 3):
        assert not ids.full
        assert ids.add(key)
        if key == forgotten_after:
            ids.forget(2)
    assert ids.full
    assert ids.add(2)
    assert ids.full
    ids.rotate()
    assert ids.room == 3
    assert not ids.add(2)


def test_restored_ids_are_known() -> None:
    """Ids stored by a former owner of the partition are repeats here too."""
    first = intake(replay=False)
    first.add(log_of("clicks", f"a@{T0}"), T0)
    (step,) = drain(first)
    stored = b"".join(key.to_bytes(8, "little") for key in step.ids[0])
    second = Intake(TOPICS, decode, replay=False, ids_remembered=1000)
    second.assign(0, 0, b"", stored)
    second.add(log_of("clicks", f"a@{T0}"), T0)
    assert [step.duplicates for step in drain(second)] == [1]


def test_fewer_ids_to_remember_than_are_stored() -> None:
    """A partition taken over with more ids than are to be remembered now goes on, and turns them over."""
    stored = b"".join(number.to_bytes(8, "little") for number in range(10))
    taken = Intake(TOPICS, decode, replay=False, ids_remembered=3)
    taken.assign(0, 0, stored, b"")
    taken.add(log_of("clicks", f"a@{T0}", f"b@{T0}"), T0)
    steps = drain(taken)
    assert ids(steps) == ["a", "b"]
    assert [step.rotate for step in steps] == [{0}, set()]


def test_broken_record_goes_aside_and_the_rest_passes() -> None:
    """A record that can't be decoded is named with its reason; its neighbours are untouched."""
    taken = intake(replay=False)
    taken.add(log_of("clicks", f"a@{T0}", "bad", f"b@{T0}"), T0)
    (step,) = drain(taken)
    assert ids([step]) == ["a", "b"]
    assert [(letter.reason, letter.record.offset()) for letter in step.dead] == [("not_decodable", 1)]


def test_decoding_goes_on_where_a_server_was_away() -> None:
    """When the schema registry is away, nothing is lost and nothing is decoded twice."""
    away = True

    def fragile(family: Family, value: bytes | None, key: bytes | None, now: int, _h: object = None) -> Event:
        if away and value == f"b@{T0}".encode():
            raise TransientError("registry does not answer")
        return decode(family, value, key, now)

    taken = Intake(TOPICS, fragile, replay=False, ids_remembered=1000)
    taken.assign(0, 0, b"", b"")
    with pytest.raises(TransientError):
        taken.add(log_of("clicks", f"a@{T0}", f"b@{T0}", f"c@{T0}"), T0)
    away = False
    taken.add([], T0)
    assert ids(drain(taken)) == ["a", "b", "c"]


def test_records_of_foreign_partitions_are_dropped() -> None:
    """A record of a partition that was just revoked has no effect."""
    taken = intake(replay=False)
    taken.add([FakeRecord("clicks", 0, f"a@{T0}".encode(), p=7)], T0)
    assert drain(taken) == []


@pytest.mark.parametrize(("waiting", "taken_first"), [((9, 1), (5, 1)), ((1, 9), (1, 5)), ((9, 9), (3, 3))])
def test_a_step_is_filled_and_nobody_starves(waiting: tuple[int, int], taken_first: tuple[int, int]) -> None:
    """Partitions share a step evenly; what one of them does not need, the other takes."""
    taken = intake(replay=False)
    taken.assign(1, 0, b"", b"")
    for partition, count in enumerate(waiting):
        records = [
            FakeRecord("clicks", at, f"{partition}.{at}@{T0}".encode(), partition) for at in range(count)
        ]
        taken.add(records, T0)
    step = taken.step(6, T0)
    assert step is not None
    assert tuple([row.partition for row in step.events].count(each) for each in (0, 1)) == taken_first
    assert len(ids(drain(taken))) == sum(waiting) - sum(taken_first)
