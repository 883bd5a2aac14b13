"""Priority, exclusion groups, entry caps, rate limits and the control group, one customer at a time."""

from __future__ import annotations

from engine.actions import Outcome
from engine.rules.context import MachineSettings
from engine.rules.guards import in_control_group
from engine.rules.ledger import Ledger
from engine.rules.times.units import Cap
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, Driver, rule_set
from tests.rules.journeys import TRIGGER

MEMBER = """
journey: NAME
entry: {on: EVENT, reentry: REENTRY}
guards: {exclusion_group: one, priority: PRIORITY}
steps:
  - {send: email, template: NAME}
  - wait: 3d
  - {send: email, template: NAME-later}
"""
QUIET = MachineSettings(not_matched_sample=0)


def member(name: str, priority: int, event: str = "order.placed", reentry: str = "always") -> str:
    """Return a journey of the group."""
    text = MEMBER.replace("NAME", name).replace("PRIORITY", str(priority))
    return text.replace("EVENT", event).replace("REENTRY", reentry)


def test_the_highest_priority_of_a_group_enters() -> None:
    """At one row one journey of a group is entered: by priority, then by name; the others say who won."""
    driver = Driver(rule_set(member("b", 60), member("a", 60), member("c", 40)), QUIET)
    driver.send("order.placed", NOON)
    assert driver.templates() == ["a"]
    refused = [each for each in driver.decisions if each.outcome is Outcome.SUPPRESSED]
    assert [(each.journey, each.reason.guard) for each in refused] == [
        ("b", "exclusion_group"),
        ("c", "exclusion_group"),
    ]
    assert refused[1].reason.text == "a of the group one was entered at the same moment"
    assert refused[1].reason.values == {"priority": 40, "other_priority": 60}


def test_who_may_not_enter_leaves_the_turn_to_the_next() -> None:
    """A journey barred by re-entry does not hold the others of its group back."""
    driver = Driver(rule_set(member("a", 60, reentry="never"), member("b", 40)), QUIET)
    driver.send("order.placed", NOON)
    driver.until(NOON + 4 * DAY)
    driver.send("order.placed", NOON + 5 * DAY)
    assert driver.templates() == ["a", "a-later", "b"]


def test_a_higher_priority_ends_the_run_of_a_lower_one() -> None:
    """Against what is under way the higher priority wins; the same or a lower one stays out."""
    texts = (member("low", 40), member("high", 60, "cart.added"), member("same", 60, "product.viewed"))
    driver = Driver(rule_set(*texts), QUIET)
    driver.send("order.placed", NOON)
    driver.send("cart.added", NOON + HOUR)
    driver.send("product.viewed", NOON + 2 * HOUR)
    driver.send("order.placed", NOON + 3 * HOUR)
    driver.until(NOON + 9 * DAY)
    assert driver.templates() == ["low", "high", "high-later"]
    assert driver.outcomes(Outcome.EXITED) == [(Outcome.EXITED, "exclusion_group")]
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "exclusion_group")] * 2


def test_the_more_important_message_gets_what_the_caps_leave() -> None:
    """Of journeys that answer one event the higher priority goes first, whatever their names."""
    urgent = TRIGGER.replace("journey: trigger", "journey: z-urgent").replace(
        "steps:", "guards: {priority: 90}\nsteps:"
    )
    limits = MachineSettings(global_caps=(Cap(1, DAY),), not_matched_sample=0)
    driver = Driver(rule_set(TRIGGER, urgent), limits)
    driver.send("order.placed", NOON)
    assert [each.journey for each in driver.actions] == ["z-urgent"]


def test_an_entry_cap_counts_all_customers() -> None:
    """Beyond the cap nobody enters until the next window; refused entries are not remembered."""
    text = TRIGGER.replace("reentry: always", "reentry: never").replace(
        "steps:", "guards: {entry_cap: 2 per 1d}\nsteps:"
    )
    rules, ledger = rule_set(text), Ledger()
    people = [Driver(rules, QUIET, customer_id=f"c{number}", ledger=ledger) for number in range(4)]
    for person in people:
        person.send("order.placed", NOON)
    assert [len(person.actions) for person in people] == [1, 1, 0, 0]
    assert people[2].outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "entry_cap")]
    assert people[2].decisions[0].reason.values == {"cap": 2, "share": 2}
    people[3].send("order.placed", NOON + 12 * HOUR)
    assert len(people[3].actions) == 1


def test_a_rate_limit_puts_messages_off_to_a_reserved_place() -> None:
    """Who finds no room is judged once more, at the place reserved; transactional messages use none."""
    receipt = TRIGGER.replace("journey: trigger", "journey: receipt\ntransactional: true")
    limits = MachineSettings(rate_limits={"email": Cap(1, MINUTE)}, not_matched_sample=0)
    rules, ledger = rule_set(TRIGGER, receipt), Ledger()
    people = [Driver(rules, limits, customer_id=f"c{number}", ledger=ledger) for number in range(5)]
    for person in people:
        person.send("order.placed", NOON)
    for person in people:
        person.until(NOON + HOUR)
    assert [each.time for person in people for each in person.actions if each.journey == "receipt"] == [
        NOON
    ] * 5
    sent = sorted(each.time for person in people for each in person.actions if each.journey == "trigger")
    assert sent == [NOON + minute * MINUTE for minute in range(5)]
    for person in people[1:]:
        assert person.outcomes(Outcome.DEFERRED) == [(Outcome.DEFERRED, "rate_limit")]
        assert person.state.profile.positions == []


def test_a_place_that_was_missed_is_taken_anew() -> None:
    """A worker that comes too late for a place takes another one, so that no minute is overfull."""
    limits = MachineSettings(rate_limits={"email": Cap(1, MINUTE)}, not_matched_sample=0)
    rules, ledger = rule_set(TRIGGER), Ledger()
    people = [Driver(rules, limits, customer_id=f"c{number}", ledger=ledger) for number in range(4)]
    for person in people:
        person.send("order.placed", NOON)
    for person in people:
        person.late(NOON + HOUR)
    for person in people:
        person.until(NOON + 2 * HOUR)
    minutes = [each.time // MINUTE for person in people for each in person.actions]
    assert len(minutes) == len(set(minutes)) == 4


def test_a_message_put_off_again_and_again_is_dropped_in_the_end() -> None:
    """The time a message is of use counts from when it was first put off, whichever guards put it off."""
    text = TRIGGER.replace(
        "steps:", "guards: {quiet_hours: 22:00-11:59, send_window: 12:00-13:00}\nsteps:"
    ).replace("template: thanks", "template: thanks, expires: 13h")
    late_ms = NOON + 10 * HOUR + 30 * MINUTE
    driver = Driver(rule_set(text), QUIET)
    driver.send("order.placed", late_ms)
    driver.until(NOON + 3 * DAY)
    assert driver.actions == []
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "expired")]


def test_the_control_group_gets_transactional_messages_only() -> None:
    """About the named share of all customers is in no journey but transactional ones."""
    settings = MachineSettings(control_group=0.2, not_matched_sample=0)
    people = [f"customer-{number}" for number in range(5_000)]
    members = [each for each in people if in_control_group(settings, each)]
    assert 0.18 < len(members) / len(people) < 0.22
    receipt = TRIGGER.replace("journey: trigger", "journey: receipt\ntransactional: true")
    driver = Driver(rule_set(TRIGGER, receipt), settings, customer_id=members[0])
    driver.send("order.placed", NOON)
    assert [each.journey for each in driver.actions] == ["receipt"]
    assert driver.outcomes(Outcome.HELD_OUT) == [(Outcome.HELD_OUT, "control_group")]
