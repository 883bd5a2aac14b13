"""What a customer does besides buying, as the churn model sees it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.events import EVENT_TYPES
from engine.features.catalog import NO_SCORE
from engine.features.churn.activity import (
    ACTIVITY_COUNT,
    ACTIVITY_FEATURES,
    NEEDED_COLUMNS,
    activity_features,
    activity_of,
)
from engine.features.definitions import Definitions
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import CustomerState

NOW_S = 1_700_000_000
DAY_S = 86_400


def state_of(days_ago: dict[str, list[float]], score: float = 2.0) -> CustomerState:
    """A customer who did things so many days ago."""
    state = CustomerState("a")
    for name, ages_d in days_ago.items():
        for age_d in ages_d:
            time_s = NOW_S - int(age_d * DAY_S)
            value = score if EVENT_TYPES[name].value_field else None
            state.record(EVENT_TYPES[name].code, time_s, value)
            if not 0 < state.first_seen_ms <= time_s * 1000:
                state.first_seen_ms = time_s * 1000
    return state


def seen(state: CustomerState) -> dict[str, float]:
    """The activity features of a state, by name."""
    space = Definitions().space(needed=())
    found = activity_of(space, space.matrix(RowBatch.of([state], [NOW_S * 1000], [255])))
    values = np.zeros((ACTIVITY_COUNT, 1)) if found is None else found
    return dict(zip(ACTIVITY_FEATURES, values[:, 0].tolist(), strict=True))


def test_a_week_against_the_habit() -> None:
    """Five visits a week for three months, then two: a habit just below five, a change below zero."""
    visits = [*(7.0 + at * 83 / 59 for at in range(60)), 1.0, 2.0]
    found = seen(state_of({"page.viewed": [min(age, 89.9) for age in visits], "order.placed": [120.0]}))
    habit = 62 * 7 / 90
    assert found["log_visit_habit"] == pytest.approx(np.log1p(habit))
    assert found["visit_change"] == pytest.approx(np.log1p(2) - np.log1p(habit))
    assert not any(value for name, value in found.items() if "visit" not in name)


def test_of_a_newcomer_the_habit_is_what_was_seen() -> None:
    """In the first week there is no change; after two the habit is that of two weeks, not of ninety days."""
    found = seen(state_of({"page.viewed": [5.0, 1.0, 0.5], "message.opened": [4.0]}))
    assert found["log_visit_habit"] == pytest.approx(np.log1p(3))
    assert found["visit_change"] == found["open_change"] == 0.0
    later = seen(state_of({"page.viewed": [14.0, 12.0, 10.0, 1.0]}))
    assert later["log_visit_habit"] == pytest.approx(np.log1p(2))
    assert later["visit_change"] == pytest.approx(np.log1p(1) - np.log1p(2))


def test_answers_are_centred() -> None:
    """A poor answer is below zero, a good one above; who never answered stands between."""
    assert seen(state_of({"feedback.csat": [3.0]}, score=1.0))["csat"] == -2.0
    assert seen(state_of({"feedback.nps": [3.0]}, score=9.0))["nps"] == 1.5
    assert seen(state_of({"feedback.nps": [3.0]}, score=0.0))["nps"] == -7.5
    assert seen(state_of({"inquiry.opened": [3.0]}))["csat"] == 0.0


def test_whoever_did_nothing_has_no_activity() -> None:
    """Purchases are no activity of this kind; a space that was made for less has none either."""
    space = Definitions().space(needed=())
    batch = RowBatch.of([state_of({"order.placed": [3.0, 1.0]})], [NOW_S * 1000], [8])
    assert activity_of(space, space.matrix(batch)) is None
    bare = FeatureSpace(needed=("orders_30d",))
    assert activity_of(bare, bare.matrix(batch)) is None


def test_rows_are_their_own() -> None:
    """What one customer did shows in no other's column, and chosen rows come in the order asked for."""
    space = Definitions().space(needed=())
    states = [state_of({"page.viewed": [float(at)] * at}) for at in range(1, 5)]
    matrix = space.matrix(RowBatch.of(states, [NOW_S * 1000] * 4, [255] * 4))
    whole = activity_of(space, matrix)
    some = activity_of(space, matrix, np.array([3, 1]))
    assert whole is not None
    assert some is not None
    np.testing.assert_array_equal(some, whole[:, [3, 1]])
    assert len(set(whole[0].tolist())) == 4


def test_zeros_have_no_sign() -> None:
    """A row is the same to the last bit whether or not somebody else in the batch did something."""
    columns = np.zeros((len(NEEDED_COLUMNS), 2))
    columns[6:8] = NO_SCORE
    columns[0, 1] = columns[3, 1] = 4.0
    found = activity_features(columns)
    assert found is not None
    assert found[:, 0].tobytes() == bytes(8 * ACTIVITY_COUNT)
