"""Laws of `per`: one run for each key, side by side, remembered within bounds."""

from __future__ import annotations

from engine.actions import Outcome
from engine.features.profile import MAX_POSITIONS
from engine.features.state import pack, unpack
from engine.rules.context import MachineSettings
from engine.rules.limits import MAX_KEY_CHARS, MAX_KEYS_REMEMBERED
from engine.rules.ruleset import RuleSet
from tests.rules.driver import DAY, MINUTE, NOON, SECOND, Driver, rule_set
from tests.rules.journeys import PER_ORDER, SERVICE


def per_order(reentry: str = "never", key: str = "event.order_id") -> RuleSet:
    """Return the journey of one run per order."""
    return rule_set(PER_ORDER.replace("REENTRY", reentry).replace("event.order_id\n", f"{key}\n", 1))


def test_each_order_has_a_run_of_its_own() -> None:
    """Two orders run side by side, each ends at its own time, and an exit is for its order only."""
    driver = Driver(per_order())
    for day, order in enumerate(("o1", "o2", "o3")):
        driver.send("order.delivered", NOON + day * DAY, order_id=order)
    assert [each.instance for each in driver.state.profile.positions] == ["o1", "o2", "o3"]
    driver.send("order.refunded", NOON + 3 * DAY, order_id="o2")
    driver.until(NOON + 30 * DAY)
    assert [each.time for each in driver.actions] == [NOON + 7 * DAY, NOON + 9 * DAY]
    assert len({each.id for each in driver.actions}) == 2


def test_reentry_is_judged_for_each_key() -> None:
    """The same order never again; another one at once; with `after` again when its own pause is over."""
    never, after = Driver(per_order()), Driver(per_order("after 10d"))
    for driver in (never, after):
        for day in (0, 8, 12):
            driver.send("order.delivered", NOON + day * DAY, order_id="o1")
            driver.send("order.delivered", NOON + day * DAY + SECOND, order_id=f"other{day}")
        driver.until(NOON + 40 * DAY)
    assert len(never.actions) == 1 + 3
    assert len(after.actions) == 2 + 3


def test_a_key_is_no_mark_of_an_inquiry() -> None:
    """Keys with slashes and number signs outlive the end of inquiries, and inquiries keep their own marks."""
    driver = Driver(rule_set(PER_ORDER.replace("REENTRY", "never"), SERVICE))
    driver.send("order.delivered", NOON, order_id="2024/q1#7")
    driver.send("inquiry.opened", NOON + SECOND, inquiry_id="q1#7")
    driver.until(NOON + 6 * MINUTE)
    assert set(driver.state.profile.entered) == {"per-order#2024/q1#7", "service/q1#7"}
    driver.send("inquiry.resolved", NOON + 7 * MINUTE, inquiry_id="q1#7")
    assert set(driver.state.profile.entered) == {"per-order#2024/q1#7"}
    driver.send("order.delivered", NOON + 8 * DAY, order_id="2024/q1#7")
    assert driver.templates() == ["call", "review"]


def test_remembered_keys_are_bounded() -> None:
    """Of very many keys the last ones are remembered; the oldest may enter again."""
    driver = Driver(rule_set(PER_ORDER.replace("REENTRY", "never").replace("  - wait: 7d\n", "")))
    for number in range(MAX_KEYS_REMEMBERED + 1):
        driver.send("order.delivered", NOON + number * SECOND, order_id=f"o{number}")
    assert len(driver.state.profile.entered) == MAX_KEYS_REMEMBERED
    driver.send("order.delivered", NOON + DAY, order_id=f"o{MAX_KEYS_REMEMBERED}")
    assert len(driver.actions) == MAX_KEYS_REMEMBERED + 1
    driver.send("order.delivered", NOON + DAY, order_id="o0")
    assert len(driver.actions) == MAX_KEYS_REMEMBERED + 2


def test_keys_whose_pause_is_over_are_forgotten() -> None:
    """With `after` a key that may enter again takes no place among those remembered."""
    driver = Driver(per_order("after 10d"))
    driver.send("order.delivered", NOON, order_id="old")
    driver.send("order.delivered", NOON + 11 * DAY, order_id="new")
    assert list(driver.state.profile.entered) == ["per-order#new"]


def test_an_event_without_the_key_enters_nothing() -> None:
    """Where `per` is a prop the event lacks, nothing tells the run apart: nobody enters."""
    driver = Driver(per_order("always", "event.props.parcel"))
    driver.send("order.delivered", NOON)
    driver.send("order.delivered", NOON + SECOND, props={"parcel": ""})
    assert driver.state.profile.positions == []
    assert driver.outcomes(Outcome.NOT_MATCHED) == []
    sampled = Driver(per_order("always", "event.props.parcel"), MachineSettings(not_matched_sample=1))
    sampled.send("order.delivered", NOON)
    assert sampled.outcomes(Outcome.NOT_MATCHED) == [(Outcome.NOT_MATCHED, "per")]
    driver.send("order.delivered", NOON + 2 * SECOND, props={"parcel": 7})
    assert [each.instance for each in driver.state.profile.positions] == ["7"]


def test_a_long_key_is_kept_short() -> None:
    """A key of any length takes a bounded place, and still tells runs apart."""
    driver = Driver(per_order("never", "event.props.parcel"))
    for second, end in enumerate("aab"):
        driver.send("order.delivered", NOON + second * SECOND, props={"parcel": "x" * 900 + end})
    positions = driver.state.profile.positions
    assert len({each.instance for each in positions}) == len(positions) == 2
    assert all(len(each.instance) <= MAX_KEY_CHARS for each in positions)


def test_runs_side_by_side_are_bounded() -> None:
    """Beyond the most runs a customer can be in, an entry is suppressed with the bound as its guard."""
    driver = Driver(per_order())
    for number in range(MAX_POSITIONS + 1):
        driver.send("order.delivered", NOON + number * SECOND, order_id=f"o{number}")
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "bound")]
    again = unpack("c1", pack(driver.state))
    assert again.profile == driver.state.profile
