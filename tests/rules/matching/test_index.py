"""Laws of the column index: index + residual = CEL alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import EVENT_TYPES, TIMER_CODE, Event
from engine.rules.condition import Comparison
from engine.rules.context import CustomerValues
from engine.rules.ruleset import RuleSet
from engine.rules.sentences import Facts
from tests.rules.driver import NOON, SEGMENTS, SPACE, VOCABULARY, Driver, event, rule_set

NUMBERS = ("orders_30d", "spend_30d", "churn_risk", "days_since_order")
FLAGS = ("consent_marketing",)
VALUES = (0.0, -0.0, 0.5, 1.0, 2.0, 2.0000000000000004, 100.0, 36_500.0)

comparisons = st.builds(
    lambda name, operator, constant: f"{name} {operator} {constant}",
    st.sampled_from([*(f"customer.{name}" for name in NUMBERS)]),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from(["0", "0.5", "1", "2", "100", "-1", "2.0000000000000004"]),
)
flipped = st.builds(
    lambda constant, name: f"{constant} < customer.{name}", st.integers(0, 3), st.sampled_from(NUMBERS)
)
others = st.sampled_from(
    [
        "customer.consent_marketing",
        "!customer.consent_marketing",
        'customer.segment == "new"',
        'customer.segment != "new"',
        'customer.segment in ["new", "regular"]',
        "customer.orders_30d / customer.spend_30d > 1",
        "1 / int(customer.orders_30d) == 1",
        "true",
    ]
)
atoms = st.one_of(comparisons, flipped, others)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("{} && {}".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=6,
)
event_conditions = st.sampled_from(
    [
        "",
        "event.amount >= 2",
        "event.amount < 2 && event.items > 1",
        'event.coupon == "X" || event.amount == 100',
    ]
)
rows = st.lists(
    st.tuples(
        st.lists(st.sampled_from(VALUES), min_size=len(NUMBERS), max_size=len(NUMBERS)),
        st.booleans(),
        st.sampled_from(SEGMENTS),
        st.sampled_from(VALUES),
        st.sampled_from(["", "X"]),
    ),
    min_size=1,
    max_size=8,
)


def journey(number: int, when: str, where: str) -> str:
    """Return a one-step journey with the given conditions."""
    lines = [
        f"journey: j{number}",
        "entry:",
        "  on: order.placed",
        "  reentry: always",
        f"  when: '{quoted(when)}'",
    ]
    if where:
        lines.append(f"  where: '{quoted(where)}'")
    return "\n".join([*lines, "steps: [{send: email, template: a}]"])


def quoted(text: str) -> str:
    """Return a text for a single-quoted YAML scalar."""
    return text.replace("'", "''")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(conditions, event_conditions), min_size=1, max_size=5), rows)
def test_index_and_residual_are_cel_alone(
    rules: list[tuple[str, str]], customers: list[tuple[list[float], bool, str, float, str]]
) -> None:
    """A row is let in by columns and residual exactly when CEL says the whole condition is true."""
    compiled = rule_set(*(journey(number, when, where) for number, (when, where) in enumerate(rules)))
    matrix = np.zeros((len(customers), len(SPACE.names)))
    events: list[Event | None] = []
    for row, (numbers, flag, segment, amount, coupon) in enumerate(customers):
        for name, value in zip(NUMBERS, numbers, strict=True):
            matrix[row, SPACE.index[name]] = value
        matrix[row, SPACE.index[FLAGS[0]]] = flag
        matrix[row, SPACE.index["segment"]] = SEGMENTS.index(segment)
        events.append(event("order.placed", NOON, amount=amount, coupon=coupon, items=int(amount)))
    codes = np.full(len(customers), EVENT_TYPES["order.placed"].code, dtype=np.uint8)
    matched = compiled.match(codes, matrix, events)
    for row in range(len(customers)):
        facts = Facts(row_values(matrix, row), events[row])
        for index, each in enumerate(compiled.journeys):
            conditions_of = [part for part in (each.where, each.when) if part is not None]
            by_index = (row, index) in matched and all(facts.rest_holds(part) for part in conditions_of)
            by_cel = all(facts.holds(part) for part in conditions_of)
            assert by_index == by_cel, (rules[index], customers[row])


def row_values(matrix: Any, row: int) -> CustomerValues:
    """Return a row's values as the machine sees them."""
    columns: dict[str, Any] = {name: float(matrix[row, column]) for name, column in SPACE.index.items()}
    columns["segment"] = SEGMENTS[int(matrix[row, SPACE.index["segment"]])]
    return CustomerValues(columns, Driver(RuleSet((), VOCABULARY)).state.profile)


@given(
    st.sampled_from(["<", "<=", ">", ">=", "=="]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_infinity=True),
)
def test_normalised_comparisons_are_exact(operator: str, constant: float, value: float) -> None:
    """`sign * column >= threshold` says the same as the comparison for every double, NaN included."""
    truth = {
        "<": value < constant,
        "<=": value <= constant,
        ">": value > constant,
        ">=": value >= constant,
        "==": value == constant,
    }
    tests = Comparison("customer.x", operator, constant).at_least()
    assert all(sign * value >= threshold for sign, threshold in tests) == truth[operator]


def test_only_rows_of_the_entry_type_match() -> None:
    """A journey matches rows of its own event type; timers and other types never."""
    compiled = rule_set(journey(0, "true", ""))
    codes = [EVENT_TYPES["order.placed"].code, EVENT_TYPES["page.viewed"].code, TIMER_CODE]
    events = [event("order.placed", NOON), event("page.viewed", NOON), None]
    matched = compiled.match(np.array(codes, dtype=np.uint8), np.zeros((3, len(SPACE.names))), events)
    assert matched == [(0, 0)]


def test_a_column_a_journey_does_not_ask_for_keeps_nobody_out() -> None:
    """A journey with fewer conditions than others depends on its own columns, whatever the others hold."""
    texts = [f"customer.{name} >= 0" for name in sorted(NUMBERS)]
    compiled = rule_set(journey(0, " && ".join(texts), ""), journey(1, texts[-1], ""), journey(2, "true", ""))
    matrix = np.full((1, len(SPACE.names)), np.nan)
    matrix[0, SPACE.index[max(NUMBERS)]] = 1.0
    codes = np.array([EVENT_TYPES["order.placed"].code], dtype=np.uint8)
    assert compiled.match(codes, matrix, [event("order.placed", NOON)]) == [(0, 1), (0, 2)]


def test_an_empty_batch_matches_nothing() -> None:
    """A batch without rows is no special case."""
    compiled = rule_set(journey(0, "customer.orders_30d > 1", "event.amount > 1"))
    assert compiled.match(np.zeros(0, dtype=np.uint8), np.zeros((0, len(SPACE.names))), []) == []


@pytest.mark.parametrize("selectivity", [0.51, 1.0, 50.0])
def test_big_groups_give_the_same_as_plain_comparisons(selectivity: float) -> None:
    """Judging many rows in pieces, densely or pair by pair, finds the same as judging each row by CEL."""
    texts = [
        journey(
            number,
            f"customer.orders_30d >= {number % 7} && customer.spend_30d < {number % 11 * 10}"
            + (" && customer.churn_risk > 0.5 && customer.visits_7d == 1" if number % 3 else ""),
            "event.amount >= 1" if number % 2 else "",
        )
        for number in range(60)
    ]
    compiled = rule_set(*texts)
    generator = np.random.default_rng(1)
    matrix = np.zeros((300, len(SPACE.names)))
    matrix[:, SPACE.index["orders_30d"]] = generator.integers(0, 9, 300)
    matrix[:, SPACE.index["spend_30d"]] = generator.integers(0, 120, 300)
    matrix[:, SPACE.index["churn_risk"]] = generator.random(300) * selectivity
    matrix[:, SPACE.index["visits_7d"]] = generator.integers(0, 3, 300)
    code = EVENT_TYPES["order.placed"].code
    events: list[Event | None] = [event("order.placed", NOON, amount=2.0)] * 300
    together = compiled.match(np.full(300, code, dtype=np.uint8), matrix, events)
    alone = []
    for row in range(300):
        facts = Facts(row_values(matrix, row), events[row])
        for index, each in enumerate(compiled.journeys):
            if all(facts.holds(part) for part in (each.where, each.when) if part is not None):
                alone.append((row, index))
    assert together == alone
