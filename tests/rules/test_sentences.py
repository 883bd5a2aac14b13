"""Reasons are plain sentences with the values seen, and hold no text of the customer's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.rules.sentences import as_written, say_name, say_number
from tests.rules.driver import NOON, Driver, rule_set

DOCS = Path(__file__).parents[2] / "docs" / "journeys.md"


def reason_of(where: str = "", when: str = "", segment: str = "", **fields: object) -> str:
    """Return the reason of an inquiry's action under the given conditions."""
    conditions = "".join(f"\n  {key}: {text!r}" for key, text in (("where", where), ("when", when)) if text)
    text = f"journey: a\nentry:\n  on: inquiry.opened\n  reentry: always{conditions}\n"
    driver = Driver(
        rule_set(text + "steps: [{send: agent, template: a}]"), churn_risk=0.714, spend_30d=1234.5
    )
    driver.segment = segment
    driver.send("inquiry.opened", NOON, **fields)
    return driver.actions[0].reason.text


@pytest.mark.parametrize(
    ("where", "when", "sentence"),
    [
        ("", "", "inquiry opened"),
        ("", "customer.churn_risk >= 0.6", "inquiry opened and churn risk 0.71 >= 0.60"),
        ("", "customer.spend_30d > 1000", "inquiry opened and spend in 30 days 1234.50 > 1000"),
        ("", "customer.inquiries_1h == 1", "inquiry opened and inquiries in 1 hour is 1"),
        (
            "",
            "customer.spend_30d > customer.orders_30d * 2 + 1",
            "inquiry opened and spend in 30 days 1234.50 > orders in 30 days 0 * 2 + 1",
        ),
        (
            "",
            "customer.spend_month_0 >= customer.spend_month_1 && customer.spend_month_2 >= 0",
            "inquiry opened and spend this month 0 >= spend last month 0 and spend 2 months ago 0 >= 0",
        ),
        ("", "!customer.consent_marketing", "inquiry opened and consent marketing is false"),
        ("", 'customer.segment == "new"', 'inquiry opened and segment is "new"'),
        ("event.sentiment < -0.3", "", "inquiry opened and sentiment -0.80 < -0.30"),
        ('event.text.contains("late")', "", 'inquiry opened and text contains "late"'),
        (
            'event.sentiment > 0 || event.text.contains("late")',
            "customer.churn_risk > 0.9 || customer.churn_risk > 0.5",
            'inquiry opened and text contains "late" and churn risk 0.71 > 0.50',
        ),
    ],
)
def test_reasons_read_well(where: str, when: str, sentence: str) -> None:
    """A reason names the trigger and each part that held, with its value; of alternatives those that held."""
    assert reason_of(where, when, "new", sentiment=-0.8, text="so late, Jane Doe") == sentence


def test_texts_of_customers_stay_out_of_reasons() -> None:
    """What a customer wrote is in no reason, only what the rule looked for."""
    where = 'event.text.size() > 3 && event.text != "x" && event.subject.startsWith("Re")'
    assert "secret" not in reason_of(where, text="my secret", subject="Re: secret")


def test_names_are_said_in_words() -> None:
    """Feature names become words, windows are named."""
    names = (
        "orders_lifetime",
        "spend_90d",
        "page_views_24h",
        "visits_1h",
        "churn_risk",
        "activity_ratio_7d_30d",
    )
    said = [say_name(("customer", name)) for name in names]
    assert said == [
        "orders in total",
        "spend in 90 days",
        "page views in 24 hours",
        "visits in 1 hour",
        "churn risk",
        "activity ratio of 7 to 30 days",
    ]


def test_whole_numbers_stand_as_written() -> None:
    """The `.0` that CEL needs is in no sentence; what stands in quotes is left alone."""
    text = 'event.amount * 2.0 > 50.0 && event.coupon != "v1.0" && event.price > 1.05'
    assert as_written(text) == 'event.amount * 2 > 50 && event.coupon != "v1.0" && event.price > 1.05'


def test_numbers_are_short() -> None:
    """Whole numbers have no point, others two decimals."""
    assert [say_number(each) for each in (3, 3.0, 0.714, -0.3, 1e20)] == ["3", "3", "0.71", "-0.30", "1e+20"]


def test_the_examples_of_the_docs_are_valid() -> None:
    """Every journey in docs/journeys.md passes the check."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    journeys = [block for block in blocks if block.startswith("journey:")]
    assert journeys
    assert len(rule_set(*journeys).journeys) == len(journeys)
