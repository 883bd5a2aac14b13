"""Laws of goals: told once for each entry, for those held out too, whatever became of the run."""

from __future__ import annotations

from engine.actions import Decision, Outcome
from engine.features.profile import MAX_GOALS
from engine.features.state import pack, unpack
from engine.rules.context import MachineSettings
from tests.rules.driver import DAY, NOON, SECOND, Driver, rule_set
from tests.rules.journeys import GOAL, PER_ORDER


def driver_of(holdout: str = "0%", *more: str) -> Driver:
    """Return a customer with the journey that has a goal."""
    return Driver(rule_set(GOAL.replace("HOLDOUT", holdout), *more), MachineSettings(not_matched_sample=0))


def conversions(driver: Driver) -> list[Decision]:
    """Return the decisions that tell of a goal reached."""
    return [each for each in driver.decisions if each.outcome is Outcome.CONVERTED]


def test_the_first_event_reaches_the_goal_once() -> None:
    """The first order after the entry is told, with its value, arm and the entry's event; the next is not."""
    driver = driver_of()
    driver.send("order.cancelled", NOON, order_id="o1")
    driver.send("order.placed", NOON + DAY, order_id="o2", amount=99.5)
    driver.send("order.placed", NOON + 2 * DAY, order_id="o3", amount=5.0)
    (found,) = conversions(driver)
    assert found.reason.values == {"value": 99.5, "arm": "treated"}
    assert found.reason.text == "order placed within 30 days of the entry"
    assert (found.step, found.event_id, found.time) == ("goal", f"order.cancelled@{NOON}", NOON + DAY)
    assert [each.outcome for each in driver.decisions[:2]] == [Outcome.ENTERED, Outcome.FIRED]
    assert driver.state.profile.goals == []


def test_those_held_out_convert_too() -> None:
    """A customer who gets nothing is watched all the same, in the other arm, so that lift can be told."""
    driver = driver_of("100%")
    driver.send("order.cancelled", NOON, order_id="o1")
    driver.send("order.placed", NOON + DAY, order_id="o2", amount=7.0)
    assert driver.actions == []
    assert [each.reason.values["arm"] for each in conversions(driver)] == ["holdout"]


def test_only_events_of_the_time_count() -> None:
    """Neither an order after the time nor one that happened before the entry and came late counts."""
    late, early, last = driver_of(), driver_of(), driver_of()
    for driver in (late, early, last):
        driver.send("order.cancelled", NOON, order_id="o1")
    late.send("order.placed", NOON + 30 * DAY, order_id="o2")
    early.send("order.placed", NOON + DAY, order_id="o2", time=NOON - SECOND)
    last.send("order.placed", NOON + 30 * DAY - 1, order_id="o2")
    assert [len(conversions(driver)) for driver in (late, early, last)] == [0, 0, 1]
    assert late.state.profile.goals == []


def test_the_event_of_the_entry_is_no_success() -> None:
    """An event that both enters and is hoped for counts for the entry only."""
    text = GOAL.replace("order.cancelled", "order.placed").replace("HOLDOUT", "0%")
    driver = Driver(rule_set(text.replace("where: event.order_id != entry.event.order_id, ", "")))
    driver.send("order.placed", NOON)
    assert conversions(driver) == []
    driver.send("order.placed", NOON + SECOND)
    assert [each.event_id for each in conversions(driver)] == [f"order.placed@{NOON}"]


def test_where_can_ask_about_the_entry() -> None:
    """`entry.event` ties the goal to what caused the entry: here another order than the one cancelled."""
    driver = driver_of()
    driver.send("order.cancelled", NOON, order_id="o1")
    driver.send("order.placed", NOON + SECOND, order_id="o1")
    assert conversions(driver) == []
    driver.send("order.placed", NOON + 2 * SECOND, order_id="o2")
    assert len(conversions(driver)) == 1


def test_a_new_entry_takes_the_place_of_the_last() -> None:
    """One event is one success of a journey: that of the last entry."""
    driver = driver_of()
    for number in range(3):
        driver.send("order.cancelled", NOON + number * DAY, order_id=f"o{number}")
    driver.send("order.placed", NOON + 4 * DAY, order_id="new")
    assert [each.event_id for each in conversions(driver)] == [f"order.cancelled@{NOON + 2 * DAY}"]


def test_a_goal_ends_no_run_and_outlives_it() -> None:
    """A run goes on when its goal is reached, and the goal is looked out for when the run is over."""
    goal = "goal: {on: order.placed, within: 30d}\n"
    driver = Driver(rule_set(PER_ORDER.replace("REENTRY", "never") + goal))
    driver.send("order.delivered", NOON, order_id="o1")
    driver.send("order.placed", NOON + DAY, order_id="o2")
    driver.send("order.delivered", NOON + 2 * DAY, order_id="o2")
    driver.until(NOON + 12 * DAY)
    driver.send("order.placed", NOON + 13 * DAY, order_id="o3")
    assert driver.templates() == ["review", "review"]
    assert [each.reason.values for each in conversions(driver)] == [{"arm": "treated"}, {"arm": "treated"}]


def test_goals_are_bounded_and_stored() -> None:
    """Beyond the bound the goal that ends first is given up; the state reads back as it was."""
    texts = [
        GOAL.replace("journey: goal", f"journey: goal-{number:02d}")
        .replace("HOLDOUT", "0%")
        .replace("30d", f"{30 + number}d")
        for number in range(MAX_GOALS + 1)
    ]
    driver = Driver(rule_set(*texts))
    driver.send("order.cancelled", NOON, order_id="o1")
    kept = {each.journey for each in driver.state.profile.goals}
    assert kept == {f"goal-{number:02d}" for number in range(1, MAX_GOALS + 1)}
    assert unpack("c1", pack(driver.state)).profile == driver.state.profile


def test_a_value_that_cannot_be_computed_is_left_out() -> None:
    """A division by zero hides neither the success nor anything else."""
    text = GOAL.replace("value: event.amount", "value: 1 / event.items").replace("HOLDOUT", "0%")
    driver = Driver(rule_set(text))
    driver.send("order.cancelled", NOON, order_id="o1")
    driver.send("order.placed", NOON + DAY, order_id="o2")
    assert [each.reason.values for each in conversions(driver)] == [{"arm": "treated"}]
