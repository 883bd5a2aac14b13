"""The contact policy: whose row counts, which contacts it counts."""

from __future__ import annotations

import pytest

from engine.actions import Outcome
from engine.errors import RuleErrors
from engine.resources import shipped
from engine.rules.context import MachineSettings
from engine.rules.load import compile_sources, vocabulary_of
from engine.rules.policy import Policy
from engine.rules.policy_file import load_policy
from engine.rules.ruleset import RuleSet
from tests.rules.driver import DAY, NOON, SEGMENTS, SPACE, VOCABULARY, Driver
from tests.rules.journeys import TRIGGER

CARE = TRIGGER.replace("journey: trigger", "journey: care").replace(
    "steps:", "guards: {contact: care}\nsteps:"
)
QUIET = MachineSettings(not_matched_sample=0)


def policy(text: str) -> Policy:
    """Read a policy."""
    return load_policy("policy.yaml", text.encode(), VOCABULARY)


def rules(text: str, *journeys: str) -> RuleSet:
    """Compile journeys under a policy."""
    vocabulary = vocabulary_of(SPACE.kinds, SPACE.names, SEGMENTS, policy=policy(text))
    sources = [(f"{number}.yaml", each.encode()) for number, each in enumerate(journeys)]
    return compile_sources(sources, vocabulary)


def test_the_first_row_that_matches_counts() -> None:
    """Segment and condition must both hold; a later row is not looked at, and no row means no cap."""
    text = """
policy:
  - {segment: new, when: customer.orders_30d >= 3, caps: {any: [1 per 30d]}}
  - {segment: new, caps: {any: [2 per 30d]}}
"""
    sent = {}
    for segment, orders in (("new", 3), ("new", 2), ("regular", 9)):
        driver = Driver(rules(text, TRIGGER), QUIET, orders_30d=orders)
        driver.segment = segment
        for day in range(3):
            driver.send("order.placed", NOON + day * DAY)
        sent[segment, orders] = len(driver.actions)
    assert sent == {("new", 3): 1, ("new", 2): 2, ("regular", 9): 3}


def test_a_cap_of_a_kind_counts_and_holds_that_kind_only() -> None:
    """A promotion uses up no care contact; `any` counts both, and the decision says what it saw."""
    text = "policy: [{caps: {care: [1 per 7d], any: [3 per 7d]}}]"
    driver = Driver(rules(text, TRIGGER, CARE), QUIET)
    for second in range(3):
        driver.send("order.placed", NOON + second * 1000)
    assert [each.journey for each in driver.actions] == ["care", "trigger", "trigger"]
    reasons = [each.reason for each in driver.decisions if each.outcome is Outcome.SUPPRESSED]
    assert {each.guard for each in reasons} == {"policy"}
    assert reasons[0].text == "1 care contact in 7 days, the policy for everybody allows 1"
    assert reasons[-1].text == "3 contacts of any kind in 7 days, the policy for everybody allows 3"
    assert [each.kind for each in driver.state.profile.contacts] == ["care", "promotion", "promotion"]


def test_the_shipped_policy_is_what_the_handbook_says() -> None:
    """The shipped file reads, and names each of the segments that have a rhythm of their own."""
    found = load_policy("policy.yaml", shipped("policy.yaml").read_bytes(), VOCABULARY)
    assert [row.segment for row in found.rows] == ["high_value", "potential", "new", "new", "churn_risk"]
    assert found.features == {"days_since_signup"}


def test_rows_of_other_segments_can_be_left_out() -> None:
    """The shipped policy serves other segments as far as they go; a policy of one's own must fit."""
    data = b"policy: [{segment: new, caps: {any: 1 per 1d}}, {segment: gold, caps: {any: 2 per 1d}}]"
    found = load_policy("policy.yaml", data, VOCABULARY, other_segments=True)
    assert [row.segment for row in found.rows] == ["new"]
    with pytest.raises(RuleErrors, match="unknown segment 'gold'"):
        load_policy("policy.yaml", data, VOCABULARY)
