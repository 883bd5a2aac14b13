"""Results of decisions that real journeys made: whom they reached, what became of it, and beside whom."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from engine.actions import Decision
from engine.authoring.results.page import page
from engine.authoring.results.plans import plans_of
from engine.authoring.results.result import JourneyResult, Results
from engine.authoring.results.sums import results_of
from engine.authoring.results.tally import ResultTally
from engine.authoring.results.words import say_lift
from engine.events import Event
from engine.rules.context import MachineSettings
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, Driver, event, rule_set

COME_BACK = """
journey: come-back
entry: {on: order.cancelled, reentry: always}
goal: {on: order.placed, within: 30d, value: event.amount}
guards: {holdout: HOLDOUT}
steps:
  - split:
      - {name: short, weight: 50%, steps: [{send: email, template: short}]}
      - {name: long, weight: 50%, steps: [{send: push, template: long}]}
"""
END = NOON + 60 * DAY


def driver_of(customer_id: str, holdout: str = "0%") -> Driver:
    """Return a customer of the journey."""
    return Driver(
        rule_set(COME_BACK.replace("HOLDOUT", holdout)), MachineSettings(not_matched_sample=0), customer_id
    )


def told(
    decisions: Iterable[Decision],
    events: Iterable[Event] = (),
    from_ms: int = NOON - DAY,
    to_ms: int = END,
    journeys: frozenset[str] | None = None,
) -> Results:
    """Return the results of these decisions and events."""
    tally = ResultTally(from_ms, to_ms, journeys)
    for each in events:  # other topics may be read first
        tally.event(each)
    for decision in decisions:
        tally.decision(decision)
    tally.close()
    return results_of(tally, plans_of(rule_set(COME_BACK.replace("HOLDOUT", "0%")).journeys), [])


def only(results: Results) -> JourneyResult:
    """Return the one journey there is."""
    (journey,) = results.journeys
    return journey


def shop(customers: int, holdout: str, converts: int, first: int = 0) -> list[Decision]:
    """Return decisions of customers who cancel; one in `converts` orders again a day later."""
    found = []
    for number in range(first, first + customers):
        driver = driver_of(f"c{number}", holdout)
        driver.send("order.cancelled", NOON)
        if number % converts == 0:
            driver.send("order.placed", NOON + DAY, amount=50.0)
        found += driver.decisions
    return found


def test_treated_beside_the_holdout() -> None:
    """Arms of customers, the difference with its interval, value for each customer; and in words."""
    found = only(told([*shop(400, "0%", 4), *shop(200, "100%", 20, first=400)]))
    assert (found.entered, found.held_out, found.sent, found.reached, found.undecided) == (
        400,
        200,
        400,
        400,
        0,
    )
    assert found.goal == "order placed within 30 days"
    assert found.lift is not None
    treated, holdout = found.lift.arms
    assert (treated.name, treated.customers, treated.converted, treated.value) == ("treated", 400, 100, 12.5)
    assert (holdout.name, holdout.customers, holdout.converted, holdout.value) == ("holdout", 200, 10, 2.5)
    (effect,) = found.lift.effects
    assert effect.share == pytest.approx(0.2)
    assert 0.13 < effect.low < effect.share < effect.high < 0.26
    assert effect.verdict == "higher"
    assert effect.value == pytest.approx(10.0)
    assert say_lift(found) == "80 customers more than without it"


def test_what_cannot_be_told() -> None:
    """No holdout, a holdout too small, a time that is not over: each is said, none is called a success."""
    assert say_lift(only(told(shop(40, "0%", 4)))) == "no holdout to compare with"
    few = only(told([*shop(40, "0%", 4), *shop(10, "100%", 4, first=40)]))
    assert few.lift is not None
    assert few.lift.effects[0].verdict == "open"
    assert say_lift(few) == "no difference to be seen"
    early = only(told([*shop(40, "0%", 4), *shop(10, "100%", 4, first=40)], to_ms=NOON + 29 * DAY))
    assert (early.undecided, early.lift and early.lift.arms) == (50, [])
    assert say_lift(early) == "too early"


def test_a_customer_counts_once_by_the_first_entry() -> None:
    """Entering again moves the goal to the later run: here it is the first one's, if within its time."""
    driver = driver_of("c1")
    for number in range(3):
        driver.send("order.cancelled", NOON + number * 5 * DAY)
    driver.send("order.placed", NOON + 12 * DAY, amount=20.0)
    found = only(told(driver.decisions))
    assert found.entered == 3
    assert found.lift is not None
    assert [(arm.customers, arm.converted, arm.value) for arm in found.lift.arms] == [(1, 1, 20.0)]
    late = driver_of("c2")
    late.send("order.cancelled", NOON)
    late.send("order.cancelled", NOON + 20 * DAY)
    late.send("order.placed", NOON + 31 * DAY)
    later = only(told(late.decisions)).lift
    assert later is not None
    assert [(arm.customers, arm.converted) for arm in later.arms] == [(1, 0)]


def test_repeats_change_nothing() -> None:
    """What a crash made the engine write twice counts once, in whatever order."""
    decisions = [*shop(30, "0%", 3), *shop(10, "100%", 5, first=30)]
    events = [
        event(
            "message.opened", NOON + HOUR, decision.customer_id, id=decision.id, action_id=decision.action_id
        )
        for decision in decisions
        if decision.action_id
    ]
    once = told(decisions, events)
    assert told([*decisions, *decisions], [*events, *events]) == once
    assert [step.opened for step in only(once).steps] == [step.sent for step in only(once).steps]


def test_variants_beside_each_other() -> None:
    """A split's variants by name, each pair with its difference; messages of each by template."""
    found = only(told(shop(300, "0%", 3)))
    comparison = found.splits["steps[0].split"]
    assert [arm.name for arm in comparison.arms] == ["long", "short"]
    assert sum(arm.customers for arm in comparison.arms) == 300
    assert [(each.arm, each.than) for each in comparison.effects] == [("long", "short")]
    assert {(step.channel, step.template) for step in found.steps} == {("email", "short"), ("push", "long")}
    assert sum(step.sent for step in found.steps) == 300


def test_outside_of_the_period_nothing_counts() -> None:
    """Neither entries before it, nor the conversions they bring, nor what another journey did."""
    decisions = shop(20, "0%", 1)
    assert told(decisions, from_ms=NOON + HOUR).journeys == []
    assert told(decisions, journeys=frozenset({"other"})).journeys == []


def test_what_came_back_of_messages() -> None:
    """By the action's id only; what names none, or another time's, is said in a note."""
    driver = driver_of("c1")
    driver.send("order.cancelled", NOON)
    (action,) = driver.actions
    events = [
        event("message.delivered", NOON + MINUTE, action_id=action.id),
        event("message.clicked", NOON + 2 * MINUTE, action_id=action.id),
        event("message.opened", NOON + HOUR, action_id="another"),
        event("message.opened", NOON + HOUR, id="without"),
        event("message.opened", END + DAY, action_id=action.id),
    ]
    found = told(driver.decisions, events)
    (step,) = only(found).steps
    assert (step.sent, step.delivered, step.opened, step.clicked) == (1, 1, 0, 1)
    assert ["1 engagement events name no message" in note for note in found.notes] == [True, False]
    assert "Something came back of 1 messages" in found.notes[1]


def test_all_journeys_beside_the_control_group() -> None:
    """Who ordered after the first entry, and for how much; an order before it does not count."""
    found, events = [], []
    settings = MachineSettings(not_matched_sample=0, control_group=0.3)
    rules = rule_set(COME_BACK.replace("HOLDOUT", "0%"))
    for number in range(200):
        driver = Driver(rules, settings, f"c{number}")
        driver.send("order.cancelled", NOON)
        found += driver.decisions
        treated = bool(driver.actions)
        events.append(event("order.placed", NOON - HOUR, f"c{number}", order_id="before"))
        if number % (2 if treated else 5) == 0:
            events += [
                event("order.placed", NOON + at * DAY, f"c{number}", order_id=f"o{at}", amount=10.0)
                for at in (1, 2)
            ]
    together = told(found, events).together
    assert together is not None
    treated_arm, control = together.arms
    assert (treated_arm.name, control.name) == ("treated", "control group")
    assert treated_arm.customers + control.customers == 200
    assert 40 < control.customers < 80
    assert treated_arm.value == pytest.approx(20.0 * treated_arm.share)
    assert together.effects[0].verdict == "higher"
    assert told(shop(5, "0%", 2)).together is None
    assert "beside the control group" in page(told(found, events))


def test_the_shop() -> None:
    """Buyers who bought again, less what was cancelled; answers and feedback."""
    events = [
        event("order.placed", NOON, "a", order_id="1"),
        event("order.placed", NOON + DAY, "a", order_id="2"),
        event("order.placed", NOON + DAY, "a", order_id="2", id="repeat"),
        event("order.cancelled", NOON, "b", order_id="4"),  # read before its order
        event("order.placed", NOON, "b", order_id="3"),
        event("order.placed", NOON, "b", order_id="4"),
        event("inquiry.opened", NOON, "a", inquiry_id="q1"),
        event("inquiry.replied", NOON + MINUTE, "a", inquiry_id="q1"),
        event("inquiry.replied", NOON + HOUR, "a", inquiry_id="q1"),
        event("inquiry.opened", NOON, "b", inquiry_id="q2"),
        event("inquiry.resolved", NOON + HOUR, "b", inquiry_id="q2"),
        event("inquiry.opened", END - 10 * MINUTE, "b", inquiry_id="q3"),
        event("inquiry.opened", END - MINUTE, "b", inquiry_id="q4"),
        event("inquiry.opened", END - 2 * MINUTE, "b", inquiry_id="q5"),  # too young to be counted as in time
        event("inquiry.replied", END - MINUTE, "b", inquiry_id="q5"),
        *(event("feedback.nps", NOON, score=score, id=f"n{score}") for score in (10, 9, 8, 0)),
        event("feedback.csat", NOON, score=4, id="c"),
    ]
    found = told([], events)
    shop = found.repurchase
    assert (shop.orders, shop.buyers, shop.again) == (3, 2, 1)
    replies = found.responses
    assert (replies.opened, replies.answered, replies.late) == (5, 3, 1)
    assert (replies.in_time, replies.due) == (1, 3)
    assert replies.p50_s == pytest.approx(60.0)
    said = found.satisfaction
    assert (said.nps, said.nps_answers, said.csat, said.csat_answers) == (25.0, 4, 4.0, 1)


def test_a_version_that_is_not_known() -> None:
    """Its messages have no template, its goals no time that must be over; a note says so."""
    tally = ResultTally(NOON - DAY, NOON + 2 * DAY)
    for decision in shop(10, "0%", 2):
        tally.decision(decision)
    tally.close()
    found = results_of(tally, {}, [])
    assert "Of come-back, a version ran" in found.notes[0]
    journey = only(found)
    assert {step.template for step in journey.steps} == {""}
    assert journey.lift is not None
    assert journey.lift.arms[0].converted == 5


def test_the_page_holds_everything_and_no_script() -> None:
    """One file: names are escaped, intervals drawn, nothing loaded from elsewhere; and one of nothing."""
    found = told([*shop(60, "0%", 3), *shop(20, "100%", 4, first=60)])
    text = page(found)
    assert text.count("<svg") == 2
    assert "come-back" in text
    assert "steps[0].split" in text
    assert "<script" not in text
    assert "http" not in text
    assert "What they cannot say" in page(told([]))
