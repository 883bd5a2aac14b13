"""The matrix equals the definition of each feature, whatever the log."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.registry import CHUNK_ROWS, FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import CustomerState
from tests.features.brute import Log, features

NOW_S = 1_711_843_200  # 2024-03-31 00:00 UTC, the night Europe's clocks change
VALUED = (8, 9, 10, 38, 39)
SPACE = FeatureSpace()

zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
)
near = st.sampled_from([0, 1, 3599, 3600, 3601, 86_399, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400])
ages = near | st.integers(-3600, 7200) | st.integers(0, 40 * 86_400) | st.integers(0, 800 * 86_400)
entries = st.tuples(
    st.sampled_from([0, 1, 5, 16, 24, 32, 8, 8, 9, 10, 38, 39]),
    ages,
    st.integers(0, 40_000).map(lambda n: n / 4),
)
logs = st.builds(
    Log,
    zone=zones,
    signup_ms=st.just(0) | st.integers(NOW_S * 1000 - 10**11, NOW_S * 1000),
    first_seen_ms=st.just(0) | st.integers(NOW_S * 1000 - 10**11, NOW_S * 1000),
    consents=st.sets(st.sampled_from(["marketing", "analytics", "personalization", "third_party"])),
    entries=st.lists(entries, max_size=40),
)


def state_of(log: Log) -> CustomerState:
    """Return a state that knows the log's profile and none of its entries yet."""
    state = CustomerState("c")
    state.signup_ms, state.first_seen_ms = log.signup_ms, log.first_seen_ms
    profile = state.mutate()
    profile.time_zone = log.zone
    profile.consents = dict.fromkeys(log.consents, 5)
    return state


def assert_equal(
    matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]], row: int, log: Log, now_s: int
) -> None:
    """Compare one row with the definition, naming the feature that differs."""
    expected = features(log, now_s)
    assert set(expected) == set(SPACE.names)
    got = dict(zip(SPACE.names, matrix[row].tolist(), strict=True))
    wrong = {name: (got[name], expected[name]) for name in got if abs(got[name] - expected[name]) > 1e-9}
    assert not wrong


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(logs, st.integers(-1000, 90 * 86_400)), min_size=1, max_size=4))
def test_matrix_equals_definition(histories: list[tuple[Log, int]]) -> None:
    """Customers with late and out-of-order events, rows as of each event: every feature agrees."""
    rows, expected = [], []
    for log, later_s in histories:
        state = state_of(log)
        aged = [(kind, NOW_S + min(later_s, 0) - age_s, value) for kind, age_s, value in log.entries]
        seen: list[tuple[int, int, float]] = []
        for number, (kind, time_s, value) in enumerate(aged):
            state.record(kind, time_s, value if kind in VALUED else None)
            seen.append((kind, time_s, value if kind in VALUED else 0.0))
            if number % 7 == 0 or number == len(aged) - 1:
                rows.append(RowBatch.of([state], [(NOW_S + later_s) * 1000 + 999], [kind]))
                expected.append(
                    (
                        Log(log.zone, log.signup_ms, log.first_seen_ms, log.consents, list(seen)),
                        NOW_S + later_s,
                    )
                )
    matrix = SPACE.matrix(join(rows))
    assert matrix.shape == (len(rows), len(SPACE.names))
    for row, (log, now_s) in enumerate(expected):
        assert_equal(matrix, row, log, now_s)


def join(batches: list[RowBatch]) -> RowBatch:
    """Put batches behind each other."""
    return RowBatch(
        states=[item for batch in batches for item in batch.states],
        heads=[item for batch in batches for item in batch.heads],
        marks=[item for batch in batches for item in batch.marks],
        values=[item for batch in batches for item in batch.values],
        tiles=[item for batch in batches for item in batch.tiles],
        purchases=[item for batch in batches for item in batch.purchases],
        now_ms=np.array([batch.now_ms[0] for batch in batches], np.int64),
        codes=np.array([batch.codes[0] for batch in batches], np.uint8),
    )


def test_a_wave_of_no_rows_is_an_empty_matrix() -> None:
    """Nothing in, nothing out, with the right width."""
    assert SPACE.matrix(RowBatch.of([], [], [])).shape == (0, len(SPACE.names))


def test_a_customer_nothing_is_known_of_has_defaults() -> None:
    """A fresh state shows the declared default in every column."""
    matrix = SPACE.matrix(RowBatch.of([CustomerState("n")], [NOW_S * 1000], [0]))
    assert matrix[0].tolist() == [feature.default for feature in SPACE.features]


@settings(max_examples=30, deadline=None)
@given(log=logs, names=st.sets(st.sampled_from(SPACE.names), min_size=1, max_size=12))
def test_needed_features_equal_the_full_space(log: Log, names: set[str]) -> None:
    """Computing only what is needed never changes a value."""
    state = state_of(log)
    for kind, age_s, value in log.entries:
        state.record(kind, NOW_S - age_s, value if kind in VALUED else None)
    rows = RowBatch.of([state], [NOW_S * 1000], [0])
    part = FeatureSpace(needed=names)
    full, some = SPACE.matrix(rows), part.matrix(rows)
    assert set(part.names) == names
    for name in names:
        assert some[0, part.index[name]] == full[0, SPACE.index[name]], name


def test_a_long_wave_equals_its_rows_one_by_one() -> None:
    """Working a wave in chunks shows in no value."""
    states = []
    for number in range(2 * CHUNK_ROWS + 3):
        state = CustomerState(f"c{number}")
        state.mutate().time_zone = ("UTC", "Asia/Tokyo")[number % 2]
        state.record(number % 6, NOW_S - number * 7000)
        state.record(8, NOW_S - number * 9000, number / 4)
        states.append(state)
    now_ms = [NOW_S * 1000 + number for number in range(len(states))]
    whole = SPACE.matrix(RowBatch.of(states, now_ms, [0] * len(states)))
    for number in (0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS, len(states) - 1):
        alone = SPACE.matrix(RowBatch.of([states[number]], [now_ms[number]], [0]))
        assert np.array_equal(alone[0], whole[number])
