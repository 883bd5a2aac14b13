"""Laws of entries by count: enough within the time, told from the log alone, in bounded memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.features.profile import MAX_COUNTED
from engine.rules.release import Lane, Release
from engine.rules.ruleset import RuleSet
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, SECOND, VOCABULARY, Driver, rule_set
from tests.rules.journeys import COUNT


def counting(at_least: int, within: str = "1h", more: str = "") -> RuleSet:
    """Return the counting journey with other bounds and further lines of its entry."""
    text = COUNT.replace("at_least: 3, within: 1h", f"at_least: {at_least}, within: {within}")
    return rule_set(text.replace("  reentry:", f"{more}  reentry:"))


def brute(log: list[int], at_least: int, within_ms: int) -> list[int]:
    """Return the places in a log of event times at which a count is reached, straight from the definition."""
    counted: list[int] = []
    reached = []
    for place, time in enumerate(log):
        counted.append(time)
        latest = sorted(counted)[-at_least:]
        if len(latest) == at_least and latest[-1] - latest[0] < within_ms:
            reached.append(place)
            counted = []
    return reached


@given(
    gaps=st.lists(st.sampled_from([0, 1, 5, 20, 30, 59, 60, 61, 90]), max_size=40),
    late=st.lists(st.sampled_from([0, 0, 0, 10, 45, 70]), min_size=40, max_size=40),
    at_least=st.integers(2, 5),
)
@settings(deadline=None)
def test_a_count_is_reached_where_the_definition_says(
    gaps: list[int], late: list[int], at_least: int
) -> None:
    """Over random logs, late events among them, entries are those found by looking at the whole log."""
    driver = Driver(counting(at_least))
    now_ms = NOON
    log = []
    for gap, behind in zip(gaps, late, strict=False):
        now_ms += gap * MINUTE
        log.append(now_ms - behind * MINUTE)
        driver.send("product.viewed", now_ms, time=log[-1], id=f"e{len(log) - 1}")
        assert all(len(times) < at_least for times in driver.state.profile.counts.values())
    expected = [f"e{place}" for place in brute(log, at_least, HOUR)]
    assert [each.event_id for each in driver.actions] == expected


def test_the_reason_says_what_was_counted() -> None:
    """The third view within an hour enters, with its own id and in words; what was counted is used up."""
    driver = Driver(rule_set(COUNT))
    for minute in (0, 20, 59):
        driver.send("product.viewed", NOON + minute * MINUTE)
    assert [each.event_id for each in driver.actions] == [f"product.viewed@{NOON + 59 * MINUTE}"]
    assert driver.actions[0].reason.text == "3 product views within 1 hour"
    assert driver.state.profile.counts == {}
    assert driver.due_ms == 0


def test_an_hour_ago_is_outside() -> None:
    """Of three views the first exactly an hour before the third counts no more."""
    driver = Driver(rule_set(COUNT))
    for minute in (0, 20, 60):
        driver.send("product.viewed", NOON + minute * MINUTE)
    assert driver.actions == []
    driver.send("product.viewed", NOON + 79 * MINUTE)
    assert len(driver.actions) == 1


def test_only_what_where_holds_for_is_counted() -> None:
    """Events for which `where` does not hold add nothing, whether columns or CEL tell."""
    for where in ("event.price > 10.0", 'event.category.startsWith("sh")'):
        driver = Driver(counting(2, more=f"  where: {where}\n"))
        for second, fits in enumerate((True, False, False, True)):
            fields = {"price": 20.0 if fits else 5.0, "category": "shoes" if fits else "hats"}
            driver.send("product.viewed", NOON + second * SECOND, **fields)
        assert [each.event_id for each in driver.actions] == [f"product.viewed@{NOON + 3 * SECOND}"]


def test_when_is_asked_at_the_event_that_makes_it_enough() -> None:
    """Whoever does not fulfil `when` then keeps the count, and enters by the next event once they do."""
    driver = Driver(counting(2, more='  when: customer.segment == "new"\n'))
    driver.send("product.viewed", NOON)
    driver.send("product.viewed", NOON + MINUTE)
    assert driver.actions == []
    driver.segment = "new"
    driver.send("product.viewed", NOON + 2 * MINUTE)
    assert len(driver.actions) == 1


def test_with_per_each_key_is_counted_apart() -> None:
    """Three views of one product enter, three of different ones do not."""
    driver = Driver(counting(3, more="  per: event.product_id\n"))
    for second, product in enumerate("abcab"):
        driver.send("product.viewed", NOON + second * SECOND, product_id=product)
    assert driver.actions == []
    driver.send("product.viewed", NOON + 9 * SECOND, product_id="a")
    assert len(driver.actions) == 1
    assert sorted(driver.state.profile.counts) == ["browse#b", "browse#c"]


def test_counted_keys_are_bounded() -> None:
    """Beyond the bound the key that was counted longest ago is forgotten, none other."""
    driver = Driver(counting(2, "1d", "  per: event.product_id\n"))
    for number in range(MAX_COUNTED + 1):
        driver.send("product.viewed", NOON + number * SECOND, product_id=f"p{number}")
    assert len(driver.state.profile.counts) == MAX_COUNTED
    driver.send("product.viewed", NOON + MINUTE, product_id="p1")
    assert len(driver.actions) == 1
    driver.send("product.viewed", NOON + MINUTE, product_id="p0")
    assert len(driver.actions) == 1


def test_a_count_that_may_not_enter_again_is_used_up_all_the_same() -> None:
    """Re-entry bars the entry, and counting begins anew."""
    driver = Driver(rule_set(COUNT.replace("reentry: always", "reentry: after 1d")))
    for hour in (0, 2):
        for minute in range(3):
            driver.send("product.viewed", NOON + hour * HOUR + minute * MINUTE)
    assert len(driver.actions) == 1
    assert driver.state.profile.counts == {}
    driver.send("product.viewed", NOON + DAY + HOUR)
    assert driver.outcomes(Outcome.FIRED) == [(Outcome.FIRED, "")]


def test_two_versions_side_by_side_count_once() -> None:
    """While a version is staged, an event counts for the one version that takes the customer."""
    two = rule_set(COUNT, COUNT.replace("journey: browse", "journey: browse\nversion: 2"))
    release = Release(1, {("browse", 1): Lane.BEFORE, ("browse", 2): Lane.NEW}, share=0.5)
    rules = RuleSet(two.journeys, VOCABULARY, release)
    versions = set()
    for number in range(20):
        driver = Driver(rules, customer_id=f"c{number}")
        for second in range(3):
            driver.send("product.viewed", NOON + second * SECOND)
            assert len(driver.actions) == (second == 2)
        versions.add(driver.actions[0].version)
    assert versions == {1, 2}
