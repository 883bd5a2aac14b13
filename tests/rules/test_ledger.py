"""Limits over all customers: shares, windows, reservations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StateError
from engine.rules.ledger import Ledger, same_window
from engine.rules.times.units import Cap
from tests.rules.driver import DAY, HOUR, MINUTE, NOON

MONDAY = 4 * DAY
limits = st.builds(Cap, st.integers(1, 40), st.sampled_from([MINUTE, HOUR, DAY, 7 * DAY]))


@given(limits, st.integers(1, 20), st.integers(0, 500))
def test_the_shares_of_all_partitions_add_up(limit: Cap, partitions: int, windows: int) -> None:
    """In each window the partitions' shares are the limit, and in turn every partition has one."""
    ledgers = [Ledger(number, partitions) for number in range(partitions)]
    now_ms = NOON + windows * limit.window_ms
    assert sum(ledger.share(limit, now_ms) for ledger in ledgers) == limit.count
    for ledger in ledgers:
        turns = (ledger.share(limit, now_ms + turn * limit.window_ms) for turn in range(partitions))
        assert sum(turns) == limit.count


@given(
    limits,
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3 * HOUR), st.booleans()), max_size=150),
)
def test_no_window_holds_more_than_the_limit(
    limit: Cap, partitions: int, wants: list[tuple[int, int, bool]]
) -> None:
    """Taken at once or reserved for later, in any order and through any restart, no window is overfull."""
    ledgers = [Ledger(number, partitions) for number in range(partitions)]
    used: Counter[int] = Counter()
    now_ms = NOON
    for number, gap_ms, restart in wants:
        now_ms += gap_ms
        number %= partitions  # noqa: PLW2901 - whichever there are
        if restart:
            ledgers[number] = Ledger.from_bytes(ledgers[number].to_bytes(), number, partitions)
        at_ms = now_ms
        if not ledgers[number].take("a", limit, now_ms):
            at_ms = ledgers[number].reserve("a", limit, now_ms + MINUTE, now_ms, now_ms + 400 * DAY)
            assert at_ms >= now_ms + MINUTE
        used[(at_ms - MONDAY) // limit.window_ms] += 1
    assert max(used.values(), default=0) <= limit.count


@given(
    limits,
    st.integers(1, 4),
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3 * HOUR), st.booleans()), max_size=120),
    st.integers(0, 120),
)
def test_no_window_holds_more_after_widening(
    limit: Cap, before: int, times: int, wants: list[tuple[int, int, bool]], at: int
) -> None:
    """Divided among more partitions at any moment, the counts leave no more room than there was."""
    ledgers = [Ledger(number, before) for number in range(before)]
    taken: Counter[int] = Counter()
    now_ms = NOON
    for turn, (who, later_ms, at_once) in enumerate(wants):
        if turn == at:
            blobs = [Ledger.split(ledger.to_bytes(), times) for ledger in ledgers]
            after = before * times
            ledgers = [Ledger.from_bytes(blobs[number % before], number, after) for number in range(after)]
        ledger = ledgers[who % len(ledgers)]
        now_ms += later_ms % MINUTE
        if at_once:
            at_ms = now_ms if ledger.take("x", limit, now_ms) else 0
        else:
            at_ms = ledger.reserve("x", limit, now_ms + later_ms, now_ms, now_ms + 60 * DAY)
        if at_ms:
            taken[(at_ms - MONDAY) // limit.window_ms] += 1
    assert all(count <= limit.count for count in taken.values())


def test_a_queue_is_served_in_turn_and_each_place_once() -> None:
    """A hundred thousand at one instant get the next windows, one after the other, without looking twice."""
    ledger, limit = Ledger(), Cap(75, MINUTE)
    start_ms = NOON + 7
    assert [ledger.take("a", limit, start_ms) for _ in range(76)] == [True] * 75 + [False]
    places = [ledger.reserve("a", limit, start_ms + MINUTE, start_ms, start_ms + DAY) for _ in range(110_000)]
    found = [place for place in places if place]
    assert found == sorted(found)
    assert set(Counter(place // MINUTE for place in found).values()) == {75}
    assert places.count(0) == 110_000 - 75 * (DAY // MINUTE)
    assert not ledger.take("a", limit, start_ms + HOUR)
    assert len(ledger.to_bytes()) < 100


def test_a_late_reservation_is_refused() -> None:
    """Where the next room lies behind the message's expiry nothing is reserved."""
    ledger, limit = Ledger(), Cap(1, DAY)
    assert ledger.take("a", limit, NOON)
    assert ledger.reserve("a", limit, NOON + MINUTE, NOON, NOON + HOUR) == 0
    assert ledger.reserve("a", limit, NOON + MINUTE, NOON, NOON + DAY) == NOON + 12 * HOUR


def test_windows_of_a_week_begin_on_mondays() -> None:
    """Seven days from Monday midnight UTC are one window, and a clock that went back finds no new room."""
    limit, ledger = Cap(1, 7 * DAY), Ledger()
    monday_ms = MONDAY + 2000 * DAY * 7
    assert same_window(limit, monday_ms, monday_ms + 7 * DAY - 1)
    assert not same_window(limit, monday_ms - 1, monday_ms)
    assert ledger.take("a", limit, monday_ms)
    assert not ledger.take("a", limit, monday_ms - 1)


def test_a_ledger_of_nonsense_is_refused() -> None:
    """Bytes that are no ledger are an error that says so."""
    with pytest.raises(StateError, match="cannot be read"):
        Ledger.from_bytes(b"\xc1", 0, 1)
