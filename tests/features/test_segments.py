"""Segments: precedence, precise edges, and errors that say where."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RuleErrors
from engine.features.definitions import Definitions, load_definitions
from engine.features.rows import RowBatch
from engine.features.segments import NO_CHANGE_MS
from engine.features.state import CustomerState
from engine.resources import shipped
from tests.features.test_apply import NOW_MS, happen

SHIPPED: Definitions = load_definitions(shipped("segments.yaml").read_text(encoding="utf-8"), "segments.yaml")
SPACE = SHIPPED.space(needed=())
SEGMENTS = SHIPPED.segments_over(SPACE)
DAY_S = 86_400


def segment_at(state: CustomerState, now_ms: int) -> str:
    """Return the name of a customer's segment at an instant."""
    codes = SEGMENTS.classify(SPACE.matrix(RowBatch.of([state], [now_ms], [255])))
    return SEGMENTS.names[int(codes[0])]


def next_change(state: CustomerState, now_ms: int) -> int:
    """Return when a customer's segment may change by itself."""
    rows = RowBatch.of([state], [now_ms], [255])
    return int(SEGMENTS.next_change_ms(SPACE.matrix(rows), rows.now_ms)[0])


def customer(orders: list[tuple[int, float]], signup_age_s: int = 400 * DAY_S) -> CustomerState:
    """Return a customer with orders of (age in seconds, amount)."""
    state = CustomerState("c")
    happen(state, "customer.signed_up", -signup_age_s)
    for age_s, amount in orders:
        happen(state, "order.placed", -age_s, amount=amount)
    return state


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([(DAY_S, 1000.0)] * 5, "high_value"),
        ([(30 * DAY_S, 1000.0)] * 5, "regular"),
        ([(DAY_S, 1000.0)] * 4, "potential"),
        ([(DAY_S, 2500.0)] * 2, "potential"),
        ([(DAY_S, 2501.0)] * 2, "regular"),
        ([(DAY_S, 10.0)], "new"),
        ([(DAY_S, 10.0)] * 2, "regular"),
        ([(8 * DAY_S, 10.0)], "regular"),
        ([(90 * DAY_S, 10.0)], "regular"),
        ([(90 * DAY_S + 1, 10.0)], "churn_risk"),
        ([(366 * DAY_S, 9000.0)] * 9, "churn_risk"),
        ([], "regular"),
    ],
)
def test_shipped_segments_follow_the_handbook(orders: list[tuple[int, float]], expected: str) -> None:
    """The shipped file gives each customer the segment of the handbook's table, edges included."""
    assert segment_at(customer(orders), NOW_MS) == expected


def test_someone_who_just_signed_up_is_new() -> None:
    """A sign-up less than a week ago makes a new customer, without any order."""
    state = customer([], signup_age_s=7 * DAY_S - 1)
    assert segment_at(state, NOW_MS) == "new"
    assert segment_at(state, NOW_MS + 1000) == "regular"


@given(st.lists(st.tuples(st.integers(0, 200 * DAY_S), st.sampled_from([10.0, 800.0, 1500.0])), max_size=7))
def test_nothing_changes_before_next_change(orders: list[tuple[int, float]]) -> None:
    """Up to next_change_ms the segment stands, and the changes come to an end."""
    state = customer(orders, signup_age_s=3 * DAY_S)
    now_ms = NOW_MS
    for _ in range(12):
        change_ms = next_change(state, now_ms)
        assert change_ms > now_ms
        if change_ms == NO_CHANGE_MS:
            return
        within_year = change_ms - NOW_MS < 100 * DAY_S * 1000
        if within_year:
            assert segment_at(state, change_ms - 1000) == segment_at(state, now_ms)
        now_ms = change_ms
    pytest.fail("changes must come to an end")


def test_a_customer_nothing_is_known_of_never_changes() -> None:
    """Without any event there is no deadline to wait for."""
    assert next_change(CustomerState("c"), NOW_MS) == NO_CHANGE_MS


def test_a_wave_of_no_rows() -> None:
    """No rows, no codes."""
    matrix = SPACE.matrix(RowBatch.of([], [], []))
    assert len(SEGMENTS.classify(matrix)) == 0
    assert len(SEGMENTS.next_change_ms(matrix, np.zeros(0, np.int64))) == 0


BAD = """\
rfm: {recency_days: [1, 2, 2, 4], x: 1}
segments:
  - {name: Alpha, code: 0, all: [orders_30d > x, ordrs_30d > 1]}
  - {name: beta, code: 3, any: []}
  - {name: gamma, code: 3, any: [orders_30d > 2], all: []}
  - {name: delta, code: 4, otherwise: true}
  - {name: delta, code: 4, otherwise: true}
features:
  - {name: orders_30d, code: 64, event: order.placed, aggregate: count, window: 7d, since: 2026-01-01}
  - {name: x, code: 65, event: order.placd, aggregate: sum, window: 8d, since: soon}
  - {name: y, code: 66, event: order.placed, aggregate: sum, window: 7d, since: 2026-01-01, field: amont}
"""


def test_every_problem_is_told_at_once_with_its_place() -> None:
    """A wrong file yields all its problems, in file order, as the golden file shows."""
    with pytest.raises(RuleErrors) as caught:
        load_definitions(BAD, "bad.yaml")
    golden = Path(__file__).parent / "golden" / "definitions.txt"
    assert str(caught.value) + "\n" == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\nb: *x", "2:4: E0801: aliases"),
        ("segments: []\nsegments: []", "2:1: E0801: not valid yaml"),
        ("[", "E0801"),
        ("", "E0802"),
        ("segments: 3", "1:11: E0802: segments must be a list"),
        ("segments: [3]", "1:12: E0802"),
        ("x" * 300_000, "E0801: file is larger"),
        ("a: " + "[" * 50_000, "1:19: E0801: nested"),
    ],
)
def test_files_that_are_no_definitions(text: str, expected: str) -> None:
    """Broken, aliased, oversized or deeply nested yaml is an error with a place, never a crash."""
    with pytest.raises(RuleErrors, match=re.escape(expected)):
        load_definitions(text, "f.yaml")


DECLARED = """\
features:
  - name: premium_views_7d
    code: 64
    event: product.viewed
    aggregate: count
    window: 7d
    where: ["props.tier == premium", "event.price >= 10"]
    since: 2026-01-31
    meaning: Views of premium products.
  - {name: tip_sum, code: 65, event: order.placed, aggregate: sum, window: 30d, since: 2026-01-31,
     field: props.tip}
  - {name: tip_mean, code: 66, event: order.placed, aggregate: mean, window: 30d, since: 2026-01-31,
     field: props.tip}
  - {name: big_days, code: 67, event: order.placed, aggregate: distinct_days, window: lifetime,
     since: 2026-01-31, where: ["amount > 100"]}
segments:
  - {name: fans, code: 9, any: [premium_views_7d >= 2, tip_sum > 5]}
"""


def test_declared_features_count_what_they_declare() -> None:
    """A declared feature takes the events that pass its tests, over its window, and says since when."""
    definitions = load_definitions(DECLARED, "d.yaml")
    space = definitions.space()
    state, series = CustomerState("c"), definitions.series

    def view(after_s: int, **fields: object) -> None:
        happen(state, "product.viewed", after_s, series=series, **fields)

    view(-8 * DAY_S, price=20.0, props={"tier": "premium"})
    view(-DAY_S, price=20.0, props={"tier": "premium"})
    view(-DAY_S, price=9.0, props={"tier": "premium"})
    view(-DAY_S, price=20.0, props={"tier": "basic"})
    view(-DAY_S, price=20.0)
    view(-60, price=10.0, props={"tier": "premium"})
    for tip, amount in ((2.0, 50.0), (4.0, 200.0), ("many", 300.0)):
        happen(state, "order.placed", -60, series=series, amount=amount, props={"tip": tip})
    matrix = space.matrix(RowBatch.of([state], [NOW_MS], [1]))
    names = ("premium_views_7d", "tip_sum", "tip_mean", "big_days", "product_views_30d", "orders_7d")
    assert [matrix[0, space.index[name]] for name in names] == [2, 6, 3, 1, 6, 3]
    assert (
        space.describe("premium_views_7d").meaning
        == "Views of premium products (7d; counted since 2026-01-31)."
    )
    segments = definitions.segments_over(space)
    assert segments.names[segments.classify(matrix)[0]] == "fans"
