"""What an entry rules out does not happen when the journey runs; what may happen is not warned of."""

from __future__ import annotations

import pytest

from engine.errors import RuleError
from engine.rules.load import compile_sources
from tests.rules.driver import DAY, HOUR, NOON, VOCABULARY, Driver, rule_set

JOURNEY = """\
journey: hello
entry: {{on: {on}, when: '{when}', reentry: always}}
guards: {{consent: marketing}}
steps:
  - {{send: email, template: hello}}
"""
ABSENT = "{absent: order.placed, for: 90d}"
RULED_OUT = [
    ("order.placed", "customer.days_since_order > 30"),
    ("order.placed", "customer.orders_lifetime == 0"),
    ("order.placed", "customer.orders_30d < 1"),
    ("{count: order.placed, at_least: 2, within: 30d}", "customer.orders_30d == 0"),
    (ABSENT, "customer.orders_30d > 0"),
    (ABSENT, "customer.spend_30d >= 1"),
    (ABSENT, "customer.days_since_order < 60"),
]
POSSIBLE = [
    ("order.placed", "customer.orders_30d == 1 && customer.orders_lifetime > 1"),
    ("order.placed", "customer.orders_1h == 0"),  # an order that comes late
    ("order.placed", "customer.days_since_cart_add > 30"),
    ("order.placed", "customer.days_since_order > 0"),
    ("[order.placed, order.delivered]", "customer.days_since_order > 30"),
    (ABSENT, "customer.orders_90d == 0"),
    (ABSENT, "customer.orders_365d > 0"),
    (ABSENT, "customer.days_since_order >= 90"),
    ("{absent: order.placed, for: 30d, since: signup}", "customer.days_since_signup >= 30"),
    ("{rises: customer.churn_risk, above: 0.7}", "customer.churn_risk < 0.9"),
    ("{segment_exited: high_value}", 'customer.segment == "high_value"'),
    ("cart.added", "customer.sessions_7d / customer.cart_adds_7d > 2"),
    ("cart.added", "customer.sessions_7d / customer.visits_7d > 2"),
    ("cart.added", "customer.orders_30d > 0 && customer.spend_30d / customer.orders_30d > 2"),
    ("cart.added", "customer.orders_30d == 0 || customer.spend_30d / customer.orders_30d > 2"),
    ("cart.added", 'customer.segment == "high_value" && customer.spend_30d / customer.orders_30d > 2'),
    ("cart.added", "customer.spend_lifetime / customer.days_since_signup > 2"),
    ("cart.added", "customer.spend_lifetime / (customer.orders_lifetime + 1) > 2"),
]


def warned(on: str, when: str) -> list[str]:
    """Return the codes of the warnings for a journey."""
    warnings: list[RuleError] = []
    compile_sources([("a.yaml", JOURNEY.format(on=on, when=when).encode())], VOCABULARY, warnings=warnings)
    return [each.code for each in warnings]


def entered(on: str, when: str) -> bool:
    """Tell whether a customer who orders now and then ever enters."""
    driver = Driver(rule_set(JOURNEY.format(on=on, when=when)))
    driver.send("consent.granted", NOON - DAY, purpose="marketing")
    for day in (0, 1, 40, 300):
        driver.send("order.placed", NOON + day * DAY, amount=20.0)
    driver.until(NOON + 400 * DAY)
    return bool(driver.actions)


@pytest.mark.parametrize(("on", "when"), RULED_OUT)
def test_what_an_entry_rules_out_never_happens(on: str, when: str) -> None:
    """Nobody enters by a condition that is warned of, and somebody by the same entry without it."""
    assert warned(on, when) == ["W0414"]
    assert not entered(on, when)
    assert entered(on, "true")


@pytest.mark.parametrize(("on", "when"), POSSIBLE)
def test_what_can_happen_is_not_warned_of(on: str, when: str) -> None:
    """A condition that can hold for somebody who enters, or that asks before it divides, is let through."""
    assert warned(on, when) == []


def test_the_first_order_after_a_pause_is_said_as_the_hint_says() -> None:
    """What the hint gives instead takes the customer in at the order after forty days, and at no other."""
    when = "customer.orders_30d == 1 && customer.orders_lifetime > 1"
    driver = Driver(rule_set(JOURNEY.format(on="order.placed", when=when)))
    driver.send("consent.granted", NOON - DAY, purpose="marketing")
    for day in (0, 1, 41, 42):
        driver.send("order.placed", NOON + day * DAY, amount=20.0)
    assert [action.time for action in driver.actions] == [NOON + 41 * DAY]


def sends(step: str, guards: str = "consent: marketing, quiet_hours: 22:00-09:00") -> list[str]:
    """Return the codes of the warnings for a journey of a step or two."""
    warnings: list[RuleError] = []
    text = f"journey: hello\nentry: {{on: order.placed}}\nguards: {{{guards}}}\nsteps:\n{step}\n"
    compile_sources([("a.yaml", text.encode())], VOCABULARY, warnings=warnings)
    return [each.code for each in warnings]


def test_expiry_beside_quiet_hours() -> None:
    """A message that quiet hours can drop is warned of; one that lives longer or goes by the clock is not."""
    push = "  - {{send: push, template: a, expires: {}}}"
    assert sends(push.format("10h")) == ["W0416"]
    assert sends(push.format("11h")) == []
    assert sends('  - wait: {until: "10:00"}\n' + push.format("1h")) == []
    assert sends(push.format("1h"), "consent: marketing") == []


def test_quiet_hours_drop_what_the_warning_names() -> None:
    """With two hours to live a message due at 23:00 is dropped, one due at 07:30 goes out at nine."""
    guards = "guards: {consent: marketing, quiet_hours: 22:00-09:00}"
    text = JOURNEY.format(on="order.placed", when="true").replace("guards: {consent: marketing}", guards)
    driver = Driver(rule_set(text.replace("template: hello", "template: hello, expires: 2h")))
    driver.send("consent.granted", NOON - DAY, purpose="marketing")
    driver.send("order.placed", NOON + 11 * HOUR)
    driver.until(NOON + 22 * HOUR)
    assert driver.actions == []
    driver.send("order.placed", NOON + 19 * HOUR + 24 * HOUR + HOUR // 2)
    driver.until(NOON + 48 * HOUR)
    assert [action.time for action in driver.actions] == [NOON + 45 * HOUR]
