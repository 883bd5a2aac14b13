"""Folding keeps totals exact, errors within a tile's width, and size bounded."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import CustomerState, pack, unpack
from engine.features.tiles import MAX_MARKS, MAX_TILES, MAX_VALUES, TILE_BYTES, TILE_DTYPE
from engine.features.windows import WINDOWS
from tests.features.brute import Log, features
from tests.features.test_windows import NOW_S, VALUED

DAY_S = 86_400
SPACE = FeatureSpace()
# How far into the past a window may reach too far, by window: the width of the tiles at its edge.
# (The second ladder: what a customer with five kinds of events every day comes to.)
SLACK_S = {"1h": 3600, "24h": 3600, "7d": DAY_S, "30d": DAY_S, "90d": 16 * DAY_S, "365d": 31 * DAY_S}


def grow(log: Log, fold_at_s: int | None = None) -> CustomerState:
    """Record a log in order of arrival, folding as the pipeline does, each row's now being its time."""
    state = CustomerState("c")
    state.mutate().time_zone = log.zone
    clock_s = 0
    for kind, time_s, value in log.entries:
        clock_s = max(clock_s, time_s)
        if state.record(kind, time_s, value if kind in VALUED else None):
            state.fold((fold_at_s or clock_s) * 1000)
    return state


def row_of(state: CustomerState, now_s: int) -> dict[str, float]:
    """Return a customer's features by name."""
    matrix = SPACE.matrix(RowBatch.of([state], [now_s * 1000], [255]))
    return dict(zip(SPACE.names, matrix[0].tolist(), strict=True))


def busy_log(
    seed: int, number: int, span_s: int, zone: str = "Asia/Shanghai", late: float = 0.1, now_s: int = NOW_S
) -> Log:
    """Return a history of clicks, orders and scores up to now_s, some arriving late."""
    rng = random.Random(seed)
    times = sorted(now_s - rng.randrange(span_s) for _ in range(number))
    entries = [(rng.choice([0, 0, 1, 5, 8, 38]), time_s, rng.randrange(40) / 4) for time_s in times]
    keys = [at + (rng.randrange(50) if rng.random() < late else 0) for at in range(number)]
    return Log(
        zone, entries=[entry for _, entry in sorted(zip(keys, entries, strict=True), key=lambda it: it[0])]
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    number=st.integers(200, 900),
    span_s=st.sampled_from([3600, 5 * DAY_S, 60 * DAY_S, 500 * DAY_S, 1500 * DAY_S]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    now_s=st.integers(NOW_S, NOW_S + 60 * DAY_S),
)
def test_folded_windows_are_exact_to_the_tile(
    seed: int, number: int, span_s: int, zone: str, now_s: int
) -> None:
    """Totals, instants and months are exact; a window errs by at most what lies in one tile's width."""
    log = busy_log(seed, number, span_s, zone, now_s=now_s)
    state = grow(log)
    got, exact = row_of(state, now_s), features(log, now_s)
    for name in SPACE.names:
        if name.startswith(
            ("consent", "days_since_first_seen", "rfm", "activity", "order_value", "nps_mean", "csat")
        ):
            continue
        window = name.rpartition("_")[2]
        if (
            window in SLACK_S
            and not name.startswith(("spend", "cancelled", "refunded"))
            and "_days_" not in name
        ):
            kinds = {
                "visits": {0, 1, 5},
                "page_views": {0},
                "product_views": {1},
                "sessions": {5},
                "orders": {8},
            }
            kind = kinds.get(name.removesuffix(f"_{window}"))
            if kind is not None:
                longer = sum(
                    1
                    for other, time_s, _ in log.entries
                    if other in kind and now_s - time_s < WINDOWS[window] + SLACK_S[window]
                )
                assert exact[name] <= got[name] <= longer, name
        elif window not in SLACK_S and not name.endswith("_days_lifetime"):
            assert got[name] == pytest.approx(exact[name], abs=1e-9), name


@settings(max_examples=15, deadline=None)
@example(seed=797_288, span_s=1500 * DAY_S)  # a day on the edge between month and lifetime tiles
@given(seed=st.integers(0, 10**6), span_s=st.sampled_from([5 * DAY_S, 200 * DAY_S, 1500 * DAY_S]))
def test_distinct_days_survive_folding(seed: int, span_s: int) -> None:
    """When nothing is late, lifetime day counts stay exact however often entries were folded."""
    log = busy_log(seed, 900, span_s, late=0.0)
    got, exact = row_of(grow(log), NOW_S), features(log, NOW_S)
    for stem in ("page_views", "product_views", "sessions", "orders", "nps_answers"):
        assert got[f"{stem}_days_lifetime"] == exact[f"{stem}_days_lifetime"]


def test_the_first_fold_changes_no_day_or_hour() -> None:
    """Hour tiles of two days and day tiles of a month leave the edges of those windows where they are."""
    log = Log(entries=[(0, NOW_S - 40 * DAY_S + at * DAY_S // 5, 0.0) for at in range(200)])
    got, exact = row_of(grow(log), NOW_S), features(log, NOW_S)
    for window in ("1h", "24h", "7d", "30d"):
        assert abs(got[f"visits_{window}"] - exact[f"visits_{window}"]) <= 5
        assert got[f"visits_days_{window}"] == exact[f"visits_days_{window}"]


def test_a_customer_of_10_000_events_stays_small() -> None:
    """Whatever happens, marks, values and tiles stay within their bounds and the value below 8 kB."""
    log = busy_log(7, 10_000, 900 * DAY_S)
    state = grow(log)
    assert len(state.marks) <= MAX_MARKS * 5
    assert len(state.values) <= MAX_VALUES * 13
    assert len(state.tiles) <= MAX_TILES * TILE_BYTES
    assert len(pack(state)) <= 8000
    assert row_of(state, NOW_S)["visits_lifetime"] == features(log, NOW_S)["visits_lifetime"]


def test_tiles_are_bounded_even_with_every_kind_in_use() -> None:
    """Ninety kinds over four years still fit: the ladder goes down to one tile per kind."""
    rng = random.Random(3)
    log = Log(entries=[(rng.randrange(90), NOW_S - rng.randrange(1500 * DAY_S), 1.0) for _ in range(5000)])
    state = grow(log, fold_at_s=NOW_S)
    assert len(state.tiles) <= MAX_TILES * TILE_BYTES
    tiles = np.frombuffer(state.tiles, TILE_DTYPE)
    kept = len(state.marks) // 5 + len(state.values) // 13
    assert int(tiles["count"].sum()) + kept == 5000


def test_the_last_score_is_never_folded() -> None:
    """However many orders follow, the last NPS answer keeps its value."""
    log = Log(entries=[(38, NOW_S - 300 * DAY_S, 3.0), *((8, NOW_S - at, 1.0) for at in range(500, 0, -1))])
    assert row_of(grow(log), NOW_S)["nps_last"] == 3.0


def test_folding_within_bounds_does_nothing() -> None:
    """A call of fold before the bound is exceeded leaves every byte as it is."""
    state = grow(busy_log(1, 60, 40 * DAY_S))
    before = pack(state)
    state.fold(NOW_S * 1000)
    assert pack(state) == before


def test_folding_halves() -> None:
    """A hot customer does not fold at each event: half of the bound is free after a fold."""
    state = CustomerState("c")
    folds = 0
    for at in range(10 * MAX_MARKS):
        if state.record(0, NOW_S + at):
            state.fold((NOW_S + at) * 1000)
            folds += 1
            assert len(state.marks) == MAX_MARKS // 2 * 5
    assert folds <= 20


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), stops=st.sets(st.integers(0, 499), max_size=20))
def test_where_a_batch_ends_does_not_show(seed: int, stops: set[int]) -> None:
    """Storing and reading the state between any two events leaves the same bytes at the end."""
    log = busy_log(seed, 500, 300 * DAY_S)
    state = CustomerState("c")
    state.mutate().time_zone = log.zone
    clock_s = 0
    for number, (kind, time_s, value) in enumerate(log.entries):
        clock_s = max(clock_s, time_s)
        if state.record(kind, time_s, value if kind in VALUED else None):
            state.fold(clock_s * 1000)
        if number in stops:
            state = unpack("c", pack(state))
    assert pack(state) == pack(grow(log))
