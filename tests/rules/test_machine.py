"""Laws of the journey machine, on one customer with a simulated clock."""

from __future__ import annotations

import msgspec

from engine.actions import Outcome, action_id
from engine.features.profile import MAX_POSITIONS, Position
from engine.features.state import unpack
from engine.rules.context import MachineSettings
from engine.rules.journey import Journey
from engine.rules.ruleset import RuleSet
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, SECOND, VOCABULARY, Driver, rule_set
from tests.rules.journeys import ABSENT, ASK, COUNT, NIGHT, SERVICE, TRIGGER, drip


def test_a_trigger_fires_once_per_event_and_leaves_no_trace() -> None:
    """A journey of one step fires for each event and keeps nothing with the customer but the contact."""
    driver = Driver(rule_set(TRIGGER))
    driver.send("order.placed", NOON)
    driver.send("order.placed", NOON + SECOND)
    assert driver.templates() == ["thanks", "thanks"]
    assert driver.state.profile.positions == []
    assert driver.state.profile.entered == {}
    assert driver.due_ms == 0


def test_ids_are_a_function_of_journey_customer_event_and_step() -> None:
    """The same history gives the same action and decision ids, and the id is the documented hash."""
    runs = []
    for _ in range(2):
        driver = Driver(rule_set(drip("always")))
        driver.send("order.placed", NOON)
        driver.until(NOON + 3 * DAY)
        runs.append(driver)
    assert [each.id for each in runs[0].actions] == [each.id for each in runs[1].actions]
    assert [each.id for each in runs[0].decisions] == [each.id for each in runs[1].decisions]
    expected = action_id("drip", 1, "c1", f"order.placed@{NOON}", "steps[2]")
    assert runs[0].actions[1].id == expected
    assert len({each.id for each in runs[0].decisions}) == len(runs[0].decisions)


def test_a_wait_ends_at_its_instant() -> None:
    """The step behind a wait runs exactly when the wait is over, and its reason tells how it came there."""
    driver = Driver(rule_set(drip("never")))
    driver.send("order.placed", NOON)
    assert driver.due_ms == NOON + 3 * DAY
    driver.until(NOON + 3 * DAY - 1)
    assert driver.templates() == ["first"]
    driver.until(NOON + 3 * DAY)
    assert driver.templates() == ["first", "second"]
    assert driver.actions[1].reason.text == "order placed; 3 days later"
    assert driver.actions[1].event_id == f"order.placed@{NOON}"
    assert driver.outcomes(Outcome.COMPLETED) == [(Outcome.COMPLETED, "")]


def test_what_came_due_during_a_stop_fires_once() -> None:
    """After an hour without a worker the step that was due fires once, and waits begin anew from then."""
    driver = Driver(rule_set(drip("never")))
    driver.send("order.placed", NOON)
    driver.late(NOON + 3 * DAY + HOUR)
    driver.late(NOON + 3 * DAY + 2 * HOUR)
    assert driver.templates() == ["first", "second"]
    assert driver.actions[1].time == NOON + 3 * DAY + HOUR


def test_an_exit_ends_a_run_in_the_middle_of_a_wait() -> None:
    """The exit event takes the customer out at once; nothing of the journey is sent afterwards."""
    driver = Driver(rule_set(drip("never")))
    driver.send("order.placed", NOON, order_id="o1")
    driver.send("order.cancelled", NOON + DAY, order_id="o1")
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["first"]
    assert driver.outcomes(Outcome.EXITED) == [(Outcome.EXITED, "exit")]
    assert driver.due_ms == 0


def test_an_exit_can_be_for_the_same_order_only() -> None:
    """`entry.event` ties an exit to the order that caused the entry; another order changes nothing."""
    driver = Driver(rule_set(drip("never")))
    driver.send("order.placed", NOON, order_id="o1")
    driver.send("order.cancelled", NOON + DAY, order_id="o2")
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["first", "second"]


def test_never_means_never_again() -> None:
    """With `reentry: never` a customer goes through a journey once in a lifetime."""
    driver = Driver(rule_set(drip("never")))
    for month in range(4):
        driver.send("order.placed", NOON + month * 30 * DAY)
    assert driver.templates() == ["first", "second"]


def test_after_counts_from_the_last_entry() -> None:
    """With `reentry: after 10d` a customer enters again ten days after the last entry, not before."""
    driver = Driver(rule_set(drip("after 10d")))
    for day in (0, 5, 10, 19, 20):
        driver.send("order.placed", NOON + day * DAY)
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["first", "second"] * 3


def test_always_still_means_one_run_at_a_time() -> None:
    """With `reentry: always` an event during a run starts no second one; one after it does."""
    driver = Driver(rule_set(drip("always")))
    driver.send("order.placed", NOON)
    driver.send("order.placed", NOON + DAY)
    driver.send("order.placed", NOON + 4 * DAY)
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["first", "second", "first", "second"]


def test_wait_until_goes_on_when_the_event_comes() -> None:
    """The awaited event leads into `then` and past `otherwise`, and the journey goes on behind both."""
    driver = Driver(rule_set(ASK))
    driver.send("order.delivered", NOON)
    driver.send("message.responded", NOON + DAY, template="other")
    assert driver.templates() == ["survey"]
    driver.send("message.responded", NOON + 2 * DAY, template="survey")
    driver.until(NOON + 60 * DAY)
    assert driver.templates() == ["survey", "thanks", "after"]


def test_wait_until_times_out() -> None:
    """Without the event the timeout leads into `otherwise`, exactly when it is over."""
    driver = Driver(rule_set(ASK))
    driver.send("order.delivered", NOON)
    driver.until(NOON + 7 * DAY)
    assert driver.templates() == ["survey", "reminder", "after"]
    assert driver.actions[1].time == NOON + 7 * DAY
    assert driver.actions[1].reason.text == "order delivered; then no message responded within 7 days"
    assert driver.actions[1].step == "steps[1].otherwise[0]"


def test_an_absence_fires_once_and_arms_again_after_the_next_event() -> None:
    """90 days without an order fire once, however long it lasts; a new order starts a new absence."""
    driver = Driver(rule_set(ABSENT))
    driver.send("order.placed", NOON)
    driver.send("page.viewed", NOON + 89 * DAY)
    assert driver.templates() == []
    driver.until(NOON + 90 * DAY)
    assert driver.templates() == ["miss-you"]
    assert driver.actions[0].event_id == f"absent:{NOON + 90 * DAY}"
    assert driver.actions[0].reason.text == "no order for 90 days"
    driver.send("page.viewed", NOON + 300 * DAY)
    assert len(driver.actions) == 1
    driver.send("order.placed", NOON + 301 * DAY)
    driver.until(NOON + 500 * DAY)
    assert [each.time for each in driver.actions] == [NOON + 90 * DAY, NOON + 391 * DAY]


def test_an_absence_that_was_over_before_the_engine_knew_does_not_fire() -> None:
    """A customer whose deadline lies behind the first thing the engine hears of them does not enter."""
    driver = Driver(rule_set(ABSENT))
    driver.send("order.placed", NOON, time=NOON - 100 * DAY)
    driver.until(NOON + 400 * DAY)
    assert driver.templates() == []


def test_an_unanswered_inquiry_escalates_at_its_deadline_once() -> None:
    """Five minutes without a reply make one task, whatever else happens to the inquiry later."""
    driver = Driver(rule_set(SERVICE))
    driver.send("inquiry.opened", NOON, inquiry_id="a")
    assert driver.due_ms == NOON + 5 * MINUTE
    driver.until(NOON + 5 * MINUTE)
    driver.send("page.viewed", NOON + HOUR)
    driver.send("inquiry.opened", NOON + DAY, inquiry_id="a", text="still waiting")
    driver.until(NOON + 10 * DAY)
    assert [(each.time, each.data) for each in driver.actions] == [(NOON + 5 * MINUTE, {"inquiry": "a"})]
    assert driver.actions[0].event_id == f"inquiry.opened@{NOON}"


def test_a_reply_cancels_the_escalation() -> None:
    """An inquiry answered in time does not escalate, and its timer is gone."""
    driver = Driver(rule_set(SERVICE))
    driver.send("inquiry.opened", NOON)
    driver.send("inquiry.replied", NOON + 4 * MINUTE)
    assert driver.due_ms == 0
    driver.send("page.viewed", NOON + HOUR)
    driver.until(NOON + DAY)
    assert driver.actions == []


def test_urgent_inquiries_do_not_wait_and_do_not_escalate_twice() -> None:
    """Complaint words, an angry tone or a high-value customer escalate at once, and only once."""
    for fields, segment in (({"text": "refund!"}, ""), ({"sentiment": -0.8}, ""), ({}, "high_value")):
        driver = Driver(rule_set(SERVICE))
        driver.segment = segment
        driver.send("inquiry.opened", NOON, **fields)
        driver.until(NOON + DAY)
        assert [each.time for each in driver.actions] == [NOON], (fields, segment)


def test_each_inquiry_has_a_run_of_its_own() -> None:
    """Two open inquiries escalate each at its own deadline, with ids of their own."""
    driver = Driver(rule_set(SERVICE))
    driver.send("inquiry.opened", NOON, inquiry_id="a")
    driver.send("inquiry.opened", NOON + MINUTE, inquiry_id="b")
    driver.until(NOON + DAY)
    assert [each.data["inquiry"] for each in driver.actions] == ["a", "b"]
    assert [each.time for each in driver.actions] == [NOON + 5 * MINUTE, NOON + 6 * MINUTE]


def test_an_inquiry_heard_of_too_late_escalates_at_once() -> None:
    """An inquiry that arrives after its deadline is overdue, not forgotten."""
    driver = Driver(rule_set(SERVICE))
    driver.send("inquiry.opened", NOON + HOUR, time=NOON)
    assert [each.time for each in driver.actions] == [NOON + HOUR]


def test_marks_of_closed_inquiries_are_forgotten() -> None:
    """What is remembered of an escalated inquiry goes away with the inquiry."""
    driver = Driver(rule_set(SERVICE))
    driver.send("inquiry.opened", NOON)
    driver.until(NOON + DAY)
    assert driver.state.profile.entered
    driver.send("inquiry.resolved", NOON + 2 * DAY)
    driver.send("inquiry.opened", NOON + 3 * DAY, inquiry_id="z")
    assert driver.state.profile.entered == {}


def test_quiet_hours_defer_to_their_end_and_an_exit_still_counts() -> None:
    """A message at night waits for the morning, and leaving the journey meanwhile cancels it."""
    driver = Driver(rule_set(NIGHT))
    night = NOON + 11 * HOUR
    driver.send("order.placed", night)
    assert driver.templates() == []
    assert driver.due_ms == NOON + 21 * HOUR
    assert driver.outcomes(Outcome.DEFERRED) == [(Outcome.DEFERRED, "quiet_hours")]
    driver.until(NOON + 22 * HOUR)
    assert [(each.template, each.time) for each in driver.actions] == [
        ("late", NOON + 21 * HOUR),
        ("later", NOON + 22 * HOUR),
    ]
    driver.send("order.placed", night + DAY)
    driver.send("order.cancelled", night + DAY + HOUR)
    driver.until(NOON + 5 * DAY)
    assert len(driver.actions) == 2


def test_a_deferred_message_that_comes_too_late_is_dropped() -> None:
    """A deferred message is not sent when a stop kept it beyond its expiry; the journey goes on."""
    driver = Driver(rule_set(NIGHT))
    driver.send("order.placed", NOON + 11 * HOUR)
    driver.late(NOON + 4 * DAY)
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "expired")]
    driver.until(NOON + 4 * DAY + HOUR)
    assert driver.templates() == ["later"]


def test_a_journey_that_is_gone_is_left_with_a_decision() -> None:
    """A position of a journey the rule set does not know ends, and says so."""
    driver = Driver(rule_set(drip("never")))
    driver.send("order.placed", NOON)
    driver.rules = rule_set(TRIGGER)
    driver.machine.rules = driver.rules
    driver.until(NOON + 3 * DAY)
    assert driver.templates() == ["first"]
    assert driver.outcomes(Outcome.EXITED) == [(Outcome.EXITED, "removed")]
    assert driver.state.profile.positions == []


def test_those_inside_keep_their_version() -> None:
    """With two versions in the rule set, the higher takes the new entries, the lower keeps who is inside."""
    old, new = drip("always"), drip("always").replace("journey: drip", "journey: drip\nversion: 2")
    new = new.replace("second", "second-new")
    driver = Driver(rule_set(old))
    driver.send("order.placed", NOON)
    driver.rules = rule_set(old, new)
    driver.machine.rules = driver.rules
    driver.send("order.placed", NOON + 3 * DAY)
    driver.until(NOON + 30 * DAY)
    assert [(each.version, each.template) for each in driver.actions] == [
        (1, "first"),
        (1, "second"),
        (2, "first"),
        (2, "second-new"),
    ]


def test_a_disabled_journey_lets_nobody_in_but_carries_on() -> None:
    """`enabled: false` stops entries; a customer inside still gets the rest."""
    driver = Driver(rule_set(drip("always")))
    driver.send("order.placed", NOON)
    off = rule_set(drip("always").replace("journey: drip", "journey: drip\nenabled: false"))
    driver.rules = driver.machine.rules = off
    driver.send("order.placed", NOON + 4 * DAY)
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["first", "second"]


def test_positions_are_bounded() -> None:
    """Beyond the bound on journeys at a time an entry is suppressed, not squeezed in."""
    names = [f"journey: drip{number}" for number in range(MAX_POSITIONS + 2)]
    texts = [drip("never").replace("journey: drip", name) for name in names]
    driver = Driver(rule_set(*texts))
    driver.send("order.placed", NOON)
    assert len(driver.state.profile.positions) == MAX_POSITIONS
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "bound")] * 2


def test_positions_survive_packing() -> None:
    """A customer in the middle of a journey, stored and read again, goes on as if nothing had happened."""
    driver = Driver(rule_set(ASK, drip("never")))
    driver.send("order.delivered", NOON)
    driver.send("order.placed", NOON + HOUR)
    driver.state = unpack("c1", driver.state.pack())
    driver.send("message.responded", NOON + DAY, template="survey")
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["survey", "first", "thanks", "after", "second"]


def test_segment_changes_are_entries() -> None:
    """Entering and leaving a segment lets a customer into the journeys that ask for it."""
    entered = "journey: vip\nentry: {on: {segment_entered: high_value}}\nsteps: [{send: email, template: hi}]"
    exited = "journey: ex\nentry: {on: {segment_exited: high_value}}\nsteps: [{send: email, template: bye}]"
    driver = Driver(rule_set(entered, exited))
    driver.segment = "new"
    driver.send("page.viewed", NOON)
    driver.segment = "high_value"
    driver.send("page.viewed", NOON + DAY)
    driver.send("page.viewed", NOON + 2 * DAY)
    driver.segment = "regular"
    driver.send("page.viewed", NOON + 3 * DAY)
    assert driver.templates() == ["hi", "bye"]
    assert driver.actions[0].reason.text == "entered segment high_value"


def test_steps_set_traits_and_message_values_are_computed() -> None:
    """`set` writes a trait others can read, and data values see the customer and the entry event."""
    text = """
journey: traits
entry: {on: order.placed, reentry: always}
steps:
  - set: {trait: last_amount, to: entry.event.amount}
  - set: {trait: buyer, to: true}
  - send: email
    template: a
    data:
      amount: entry.event.amount
      orders: int(customer.orders_lifetime)
      code: SAVE10
      minimum: 200
      first: customer.orders_lifetime == 1
"""
    driver = Driver(rule_set(text))
    driver.send("order.placed", NOON, amount=12.5)
    assert driver.state.profile.traits == {"last_amount": 12.5, "buyer": True}
    expected = {"amount": 12.5, "orders": 1, "code": "SAVE10", "minimum": 200, "first": True}
    assert driver.actions[0].data == expected


def test_a_message_whose_value_has_no_result_is_suppressed() -> None:
    """A value that cannot be computed stops the one message, with the reason, and nothing else."""
    text = """
journey: broken
entry: {on: order.placed, reentry: always}
steps:
  - {send: email, template: a, data: {share: 1 / int(customer.sessions_30d)}}
  - {send: email, template: a, data: {share: customer.orders_30d / customer.sessions_30d}}
  - {send: email, template: b}
"""
    driver = Driver(rule_set(text))
    driver.send("order.placed", NOON)
    assert driver.templates() == ["b"]
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "data")] * 2


def test_non_matches_of_sampled_events_say_which_condition_failed() -> None:
    """A sampled event reports why a journey on its type did not take the customer, with the value seen."""
    text = TRIGGER.replace("reentry: always", "reentry: always, where: event.amount >= 100")
    driver = Driver(rule_set(text), MachineSettings(not_matched_sample=1.0))
    driver.send("order.placed", NOON, amount=30.0)
    decision = driver.decisions[0]
    assert (decision.outcome, decision.reason.guard) == (Outcome.NOT_MATCHED, "where")
    assert decision.reason.text == "not: amount 30 >= 100"
    assert decision.reason.values == {"event.amount": 30.0}


def test_the_shortest_delay_covers_every_wait() -> None:
    """`min_delay_ms` is the shortest wait, timeout, deadline or deferral any journey can create."""
    assert rule_set(TRIGGER).min_delay_ms > 300 * DAY
    assert rule_set(drip("never"), ASK).min_delay_ms == 3 * DAY
    assert rule_set(SERVICE, ASK).min_delay_ms == 5 * MINUTE
    assert rule_set(NIGHT).min_delay_ms == MINUTE
    assert rule_set(COUNT).min_delay_ms > 300 * DAY


def test_a_position_behind_the_end_of_its_program_is_left() -> None:
    """A shortened journey of the same version does not break on who stands behind its new end."""
    driver = Driver(rule_set(drip("never")))
    driver.send("order.placed", NOON)
    position: Position = driver.state.profile.positions[0]
    driver.state.mutate().positions = [msgspec.structs.replace(position, pc=99)]
    driver.until(NOON + 3 * DAY)
    assert driver.outcomes(Outcome.EXITED) == [(Outcome.EXITED, "version")]


def test_a_rule_set_can_be_laid_over_other_columns() -> None:
    """Compiled journeys do not depend on the columns of a matrix: the same ones serve a narrower one."""
    journeys: tuple[Journey, ...] = rule_set(TRIGGER, ABSENT).journeys
    assert RuleSet(journeys, VOCABULARY).features == {"days_since_order"}
