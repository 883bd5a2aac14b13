"""Laws of decision tables: the first row that holds gives the values, as a plain look from the top says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.errors import RuleErrors
from engine.rules.limits import MAX_TABLE_ROWS
from tests.rules.driver import NOON, SEGMENTS, Driver, rule_set

NUMBERS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
ON = ["customer.segment", "customer.churn_risk", "customer.consent_marketing", "entry.event.coupon"]
HEAD = "journey: j\nentry: {on: order.placed, reentry: always}\n"
OFFER = (
    HEAD
    + """
steps:
  - send: email
    template: offer
    data: {greeting: HELLO}
    table:
      on: [customer.segment, customer.churn_risk]
      give: [coupon, minimum]
      rows:
        - [high_value, ">= 0.8", BACK50, 0]
        - [potential, "0.2..0.8", BACK20, 200.5]
        - [any, any, BACK10, 100]
"""
)

segments = st.sampled_from(SEGMENTS[1:])
numbers = st.sampled_from(NUMBERS)
bounds = st.tuples(st.sampled_from(("<", "<=", ">", ">=")), numbers).map(lambda pair: f"{pair[0]} {pair[1]}")
spans = (
    st.tuples(numbers, numbers)
    .filter(lambda pair: pair[0] < pair[1])
    .map(lambda pair: f"{pair[0]}..{pair[1]}")
)
coupons = st.sampled_from(("", "X", 'a "quoted" \\ text', "优惠 🎁", "line\nbreak", ">= 1", "0..1"))
rows = st.lists(
    st.tuples(
        st.just("any") | segments,
        st.just("any") | numbers | bounds | spans,
        st.just("any") | st.booleans(),
        st.just("any") | coupons,
    ).filter(lambda row: any(cell != "any" for cell in row)),
    max_size=12,
    unique_by=json.dumps,
)


def written(cell: object, quoted: bool) -> str:
    """Write a cell as an author does: texts in quotes, but for `any`."""
    if cell == "any" and not quoted:
        return "any"
    return json.dumps(cell, ensure_ascii=False)


def holds(cell: Any, value: Any) -> bool:
    """Tell whether a cell holds for a value: what docs/journeys.md says, in plain Python."""
    if cell == "any":
        return True
    if isinstance(value, float) and isinstance(cell, str):
        if ".." in cell:
            low, high = cell.split("..")
            return float(low) <= value < float(high)
        sign, number = cell.split(" ")
        return {
            "<": value < float(number),
            "<=": value <= float(number),
            ">": value > float(number),
            ">=": value >= float(number),
        }[sign]
    return bool(cell == value)


@settings(max_examples=60, deadline=None)
@given(rows, segments, numbers, st.booleans(), coupons)
def test_a_table_is_a_look_from_the_top(
    table: list[tuple[Any, ...]], segment: str, risk: float, consents: bool, coupon: str
) -> None:
    """The row chosen is the first whose cells all hold, as a plain loop finds it."""
    lines = [
        f"[{', '.join([*(written(cell, False) for cell in row), str(number)])}]"
        for number, row in enumerate(table)
    ]
    lines.append(f"[any, any, any, any, {len(table)}]")
    body = "".join(f"        - {line}\n" for line in lines)
    text = (
        HEAD + "steps:\n  - send: email\n    template: offer\n    table:\n"
        f"      on: [{', '.join(ON)}]\n      give: [row]\n      rows:\n{body}"
    )
    driver = Driver(rule_set(text), churn_risk=risk, consent_marketing=float(consents))
    driver.segment = segment
    driver.send("order.placed", NOON, coupon=coupon)
    values = (segment, risk, consents, coupon)
    expected = next(
        (
            number
            for number, row in enumerate(table)
            if all(holds(cell, value) for cell, value in zip(row, values, strict=True))
        ),
        len(table),
    )
    assert driver.actions[0].data == {"row": expected}


@pytest.mark.parametrize(
    ("segment", "risk", "coupon", "minimum"),
    [
        ("high_value", 0.8, "BACK50", 0.0),
        ("high_value", 0.79, "BACK10", 100.0),
        ("potential", 0.2, "BACK20", 200.5),
        ("potential", 0.8, "BACK10", 100.0),
        ("new", 0.9, "BACK10", 100.0),
    ],
)
def test_a_table_gives_further_data(segment: str, risk: float, coupon: str, minimum: float) -> None:
    """What a table gives stands beside `data`; a span holds its lower end, not its upper one."""
    driver = Driver(rule_set(OFFER), churn_risk=risk)
    driver.segment = segment
    driver.send("order.placed", NOON)
    assert driver.actions[0].data == {"greeting": "HELLO", "coupon": coupon, "minimum": minimum}


def test_the_largest_table_is_still_judged() -> None:
    """As many rows as there may be are no deeper for CEL than a few: each of them can be chosen."""
    lines = [f"        - [{number / MAX_TABLE_ROWS}, C{number}]\n" for number in range(MAX_TABLE_ROWS - 1)]
    text = (
        OFFER[: OFFER.index("      on:")]
        + "      on: [customer.churn_risk]\n      give: [coupon]\n      rows:\n"
    )
    rules = rule_set(text + "".join(lines) + "        - [any, LAST]\n")
    for number in range(MAX_TABLE_ROWS):
        driver = Driver(rules, churn_risk=number / MAX_TABLE_ROWS)
        driver.send("order.placed", NOON)
        expected = f"C{number}" if number < MAX_TABLE_ROWS - 1 else "LAST"
        assert driver.actions[0].data["coupon"] == expected


def test_a_table_too_long_for_cel_is_refused() -> None:
    """Long columns times many rows are refused by the size of what they become."""
    column = (
        " || ".join(f'customer.segment == "{name}"' for name in ("new", "regular"))
        + ' || customer.locale == "'
    )
    column += "x" * 1500 + '"'
    lines = "".join(f"        - [true, {number}, C]\n" for number in range(MAX_TABLE_ROWS - 1))
    text = (
        OFFER[: OFFER.index("      on:")]
        + f"      on: ['{column}', customer.churn_risk]\n      give: [coupon]\n      rows:\n"
    )
    with pytest.raises(RuleErrors) as caught:
        rule_set(text + lines + "        - [any, any, LAST]\n")
    assert [error.code for error in caught.value.errors] == ["E0208"]


def test_a_column_without_a_value_suppresses_the_message() -> None:
    """A column that cannot be computed for a customer holds the message back, with the reason."""
    text = OFFER.replace("customer.churn_risk]", "int(customer.locale)]").replace("0.2..0.8", "1..3")
    text = text.replace(">= 0.8", ">= 1")
    driver = Driver(rule_set(text))
    driver.segment = "potential"
    driver.send("order.placed", NOON)
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "data")]
    driver.state.note().locale = "2"
    driver.send("order.placed", NOON + 1000)
    assert driver.actions[0].data["coupon"] == "BACK20"


def test_a_quoted_any_is_a_text() -> None:
    """Only the bare word `any` holds for all; in quotes it is the text."""
    text = OFFER.replace("customer.segment", "customer.locale").replace("[high_value,", '["any",')
    for locale, coupon in (("any", "BACK50"), ("en", "BACK10")):
        driver = Driver(rule_set(text), churn_risk=0.9)
        driver.state.note().locale = locale
        driver.send("order.placed", NOON)
        assert driver.actions[0].data["coupon"] == coupon
