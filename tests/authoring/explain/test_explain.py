"""Explaining is exact: the same verdicts as the machine, with values and thresholds, and what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from engine.authoring.explain.checks import Person
from engine.authoring.explain.explanation import Explanation, JourneyExplanation, Period, explain
from engine.authoring.explain.moments import say_moment
from engine.authoring.explain.parts import judge_parts, logged_facts
from engine.authoring.explain.text import Look, explanation_lines
from engine.features.catalog import NEVER_DAYS
from engine.features.profile import Contact, Inquiry, Position, Profile
from engine.rules.context import CustomerValues, MachineSettings
from engine.rules.guards import share_of
from engine.rules.ledger import Ledger
from engine.rules.release import Lane, Release
from engine.rules.ruleset import RuleSet
from engine.rules.sentences import Facts
from engine.rules.times.units import Cap
from tests.rules.driver import DAY, NOON, SPACE, VOCABULARY, Driver, rule_set

SETTINGS = MachineSettings(not_matched_sample=1.0)
RISKY = """
journey: risky
entry:
  on: ENTRY
  when: customer.churn_risk >= 0.6 && customer.segment == "regular" && customer.orders_lifetime >= 1
  reentry: after 30d
guards: {cap: [1 per 7d], quiet_hours: 22:00-09:00, consent: marketing}
steps:
  - {send: email, template: offer}
"""


def person(profile: Profile | None = None, **values: Any) -> Person:
    """Return a customer at noon, of whom nothing else is known."""
    known = {feature.name: feature.default for feature in SPACE.features}
    profile = profile or Profile()
    return Person("c1", profile, CustomerValues({**known, "segment": "regular", **values}, profile), NOON)


def explained(text: str, who: Person, settings: MachineSettings = SETTINGS) -> JourneyExplanation:
    """Explain the one journey."""
    return explain(rule_set(text), settings, who, [], Period(0, 0)).journeys[0]


def test_what_is_missing_names_value_and_threshold() -> None:
    """Each part of `when` is judged alone; what fails says what it is and what it must be."""
    found = explained(
        RISKY.replace("ENTRY", "order.placed"), person(churn_risk=0.42, segment="new", orders_lifetime=3.0)
    )
    assert [(each.verdict, each.text) for each in found.checks if each.about == "when"] == [
        ("no", "churn risk is 0.42, must be >= 0.6"),
        ("no", 'segment is "new", must be "regular"'),
        ("yes", "orders in total is 3 (>= 1)"),
    ]
    assert "churn risk is 0.42, must be >= 0.6" in found.missing


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6, "churn risk is 0.6 (>= 0.6)"),
        (0.5999, "churn risk is 0.5999, must be >= 0.6"),
        (0.599999, "churn risk is 0.599999, must be >= 0.6"),
    ],
)
def test_a_near_miss_shows_enough_digits(value: float, text: str) -> None:
    """Rounding never makes a value look like the threshold it missed."""
    found = explained(RISKY.replace("ENTRY", "order.placed"), person(churn_risk=value))
    assert text in [each.text for each in found.checks]


def test_nothing_is_missing_but_the_event() -> None:
    """When every condition and guard lets pass, only the event is awaited."""
    profile = Profile(consents={"marketing": 1})
    found = explained(
        RISKY.replace("ENTRY", "order.placed"), person(profile, churn_risk=0.7, orders_lifetime=1.0)
    )
    assert found.missing == ("an event: order placed",)
    assert [each.verdict for each in found.checks] == ["open", "yes", "yes", "yes", "yes", "yes"]


def test_guards_are_those_of_the_machine() -> None:
    """Consent, suppression, caps and quiet hours are said in the machine's sentences, with the way out."""
    text = RISKY.replace("ENTRY", "order.placed")
    assert "email now: held back, no consent to marketing on email" in explained(text, person()).missing
    profile = Profile(consents={"marketing": 1}, suppressed={"email": "unsubscribed"})
    assert any("unsubscribed" in each for each in explained(text, person(profile)).missing)
    profile = Profile(consents={"marketing": 1}, contacts=[Contact(NOON // 1000 - 86_400, "risky", "email")])
    found = explained(text, person(profile), MachineSettings(global_caps=(Cap(3, 7 * DAY),)))
    assert [(each.count, each.cap, each.free_ms) for each in found.contacts] == [
        (1, 1, NOON + 6 * DAY),
        (1, 3, 0),
    ]
    assert any("the cap is 1" in each for each in found.missing)
    night = Profile(consents={"marketing": 1}, time_zone="Asia/Shanghai")
    late = Person("c1", night, person(night).values, NOON + 3 * 3_600_000)  # 23:00 there
    assert any("put off until" in each and "01:00 UTC" in each for each in explained(text, late).missing)


@pytest.mark.parametrize(
    ("entry", "values", "missing"),
    [
        (
            "{absent: order.placed, for: 90d}",
            {"days_since_order": NEVER_DAYS},
            "the last order, then 90 days without one",
        ),
        (
            "{absent: order.placed, for: 90d}",
            {"days_since_order": 12.0},
            "no order until 2024-01-31 12:00 UTC",
        ),
        ("{absent: order.placed, for: 90d}", {"days_since_order": 120.0}, "the moment has passed"),
        (
            "{absent: order.placed, for: 30d, since: first}",
            {"days_since_first_order": 20.0, "days_since_order": 5.0},
            "an order came within 30 days of the first order: this entry cannot come any more",
        ),
        (
            "{segment_entered: new}",
            {},
            'segment is "regular", must enter "new"',
        ),
        ("{segment_exited: regular}", {}, 'segment is "regular", must leave "regular"'),
        ("{unanswered: inquiry, for: 5m}", {}, "an inquiry unanswered for 5 minutes"),
        ('{schedule: "0 9 * * MON"}', {}, "the next time: at 09:00 on Monday"),
        ("{count: product.viewed, at_least: 3, within: 1h}", {}, "3 more: product viewed"),
    ],
)
def test_each_kind_of_entry_says_what_must_happen(entry: str, values: dict[str, Any], missing: str) -> None:
    """An entry that has not come says what it waits for, with the instant where there is one."""
    found = explained(RISKY.replace("ENTRY", entry), person(**values))
    (check,) = [each for each in found.checks if each.about == "entry"]
    assert check.missing.startswith(missing)


def test_an_open_inquiry_has_its_deadline() -> None:
    """An inquiry that is still unanswered enters at its own instant."""
    profile = Profile(inquiries={"q1": Inquiry(NOON - 60_000, "e1")})
    found = explained(RISKY.replace("ENTRY", "{unanswered: inquiry, for: 5m}"), person(profile))
    assert "no reply until 2023-11-14 12:04 UTC" in found.missing


def test_a_count_says_how_far_it_is() -> None:
    """Events within the time are told, those before it are not; with `per` there is no one number."""
    profile = Profile(counts={"risky": [NOON - 3_600_000, NOON - 60_000]})
    entry = "{count: product.viewed, at_least: 3, within: 1h}"
    found = explained(RISKY.replace("ENTRY", entry), person(profile))
    assert "enters at 3 product views within 1 hour, 1 so far" in [each.text for each in found.checks]
    keyed = explained(RISKY.replace("ENTRY", f"{entry}\n  per: event.product_id"), person(profile))
    assert "3 product views within 1 hour: product viewed" in keyed.missing


def test_the_log_is_judged_by_what_it_holds() -> None:
    """A part is judged only when the log has every value it reads; a text nobody logged stays unknown."""
    text = (
        "journey: a\nentry:\n  on: inquiry.opened\n"
        "  where: event.sentiment < -0.3 && event.text.contains('x')\nsteps: [{send: email, template: t}]\n"
    )
    condition = rule_set(text).journeys[0].where
    parts = judge_parts(condition, logged_facts({"event.sentiment": -0.8}))
    assert [part.holds for part in parts] == [True, None]
    assert "not known from the log" in parts[1].text
    assert judge_parts(condition, Facts({}))[0].holds is None


def test_alternatives_name_those_that_held_or_all_that_failed() -> None:
    """Of an `||` those that held are told; when none did, each with its value."""
    text = (
        "journey: a\nentry:\n  on: order.placed\n"
        "  when: customer.churn_risk > 0.9 || !customer.consent_marketing\n"
        "steps: [{send: email, template: t}]\n"
    )
    found = explained(text, person(churn_risk=0.2))
    assert [each.text for each in found.checks if each.about == "when"] == ["consent marketing is false"]
    found = explained(text, person(churn_risk=0.2, consent_marketing=True))
    (check,) = [each for each in found.checks if each.about == "when"]
    assert check.text == (
        "none of these: churn risk is 0.2, must be > 0.9; or consent marketing is true, must be false"
    )


def test_a_run_is_told_from_its_decisions() -> None:
    """What the machine decided comes back with lines, parts by the values it saw, and where it stands now."""
    text = (
        "journey: drip\nentry:\n  on: order.placed\n  where: event.amount > 10\n  reentry: always\n"
        "exit:\n  - on: order.cancelled\nsteps:\n  - {send: email, template: a}\n  - wait: 3d\n"
        "  - {send: email, template: b}\n"
    )
    rules = rule_set(text)
    driver = Driver(rules, SETTINGS)
    driver.send("order.placed", NOON, amount=20.0)
    who = Person("c1", driver.state.profile, person(driver.state.profile).values, NOON)
    whole = explain(rules, SETTINGS, who, driver.decisions, Period(0, NOON))
    journey = whole.journeys[0]
    assert [(each.outcome, each.line) for each in journey.considered] == [("entered", 3), ("fired", 9)]
    assert journey.considered[1].parts[0].text == "amount is 20 (> 10)"
    (standing,) = journey.standing
    assert (standing.step, standing.line, standing.due) == ("steps[1]", 10, NOON + 3 * DAY)
    assert standing.ends == ("2023-11-17 12:00 UTC: goes on", "order cancelled: leaves the journey")
    gone = explain(
        rule_set(RISKY.replace("ENTRY", "order.placed")), SETTINGS, who, driver.decisions, Period(0, 0)
    )
    drip = gone.journeys[0]
    assert (drip.journey, drip.version, drip.considered[0].line) == ("drip", 0, 0)
    assert "not among the rules any more" in drip.standing[0].text


def lines_of(whole: Explanation) -> str:
    """Return an explanation as plain text."""
    return "\n".join(text for text, _ in explanation_lines(whole, Look(alone=False)))


def test_the_reach_of_the_log_and_the_sample_are_told() -> None:
    """Who reads learns how far back the topic goes, and that non-matches are a sample."""
    rules = rule_set(RISKY.replace("ENTRY", "order.placed"))
    few = MachineSettings(not_matched_sample=0.001)
    text = lines_of(explain(rules, few, person(), [], Period(NOON - 30 * DAY, NOON - DAY)))
    assert "the decision topic reaches back to 2023-11-13 12:00 UTC only" in text
    assert "logged for 0.1% of events only" in text
    assert "holds nothing" in lines_of(explain(rules, SETTINGS, person(), [], Period(0, 0)))
    assert "logged for" not in lines_of(explain(rules, SETTINGS, person(), [], Period(0, 0)))


SHOPPER = """
journey: shopper
VERSION
entry: {on: order.delivered, per: event.order_id, reentry: never}
goal: {on: feedback.csat, where: event.score >= 4, within: 30d}
steps:
  - wait: 7d
  - {send: email, template: review}
"""


def test_runs_by_key_and_open_goals_are_told() -> None:
    """With `per` each key is judged for itself; a goal that can still be reached is told with its end."""
    rules = rule_set(SHOPPER.replace("VERSION", ""))
    driver = Driver(rules, SETTINGS)
    for number in (1, 2):
        driver.send("order.delivered", NOON, order_id=f"o{number}", id=f"e{number}")
    who = Person("c1", driver.state.profile, person(driver.state.profile).values, NOON)
    (journey,) = explain(rules, SETTINGS, who, driver.decisions, Period(0, NOON)).journeys
    assert [each.instance for each in journey.standing] == ["o1", "o2"]
    reentry = next(each for each in journey.checks if each.about == "reentry")
    assert reentry.text == "one run for each order_id, none comes twice; inside with 2 now"
    assert (
        journey.goals
        == ("feedback csat where `event.score >= 4` until 2023-12-14 12:00 UTC counts as reached",) * 2
    )
    later_ms = NOON + 30 * 86_400_000
    later = Person("c1", driver.state.profile, who.values, later_ms)
    (journey,) = explain(rules, SETTINGS, later, driver.decisions, Period(0, later_ms)).journeys
    assert journey.goals == (), "its time is over"


def test_the_version_a_customer_would_enter_is_explained() -> None:
    """While a publication is staged it depends on the customer; paused or retired journeys say so."""
    texts = [SHOPPER.replace("VERSION", f"version: {version}") for version in (1, 2)]
    journeys = rule_set(*texts).journeys

    def version_of(release: Release) -> JourneyExplanation:
        rules = RuleSet(journeys, VOCABULARY, release)
        return explain(rules, SETTINGS, person(), [], Period(0, 0)).journeys[0]

    staged = {("shopper", 1): Lane.BEFORE, ("shopper", 2): Lane.NEW}
    share = share_of("stage", "shopper", "c1")
    assert version_of(Release(7, staged, share * 0.9)).version == 1
    assert version_of(Release(7, staged, min(share * 1.1, 1.0))).version == 2
    paused = version_of(Release(7, {("shopper", 2): Lane.ALL}, paused=frozenset({"shopper"})))
    assert paused.missing[0] == "the journey is paused: nobody enters, messages wait"
    assert version_of(Release(7, {})).missing[0] == "no version of this journey lets anybody in any more"


@pytest.mark.parametrize(
    ("priority", "verdict", "text"),
    [
        (
            40,
            "no",
            "is inside other, of the same group care (priority 50 against 40): that run must end first",
        ),
        (
            60,
            "yes",
            "is inside other, of the same group care; entering would end that run (priority 50 against 60)",
        ),
    ],
)
def test_a_run_of_the_same_group_stands_in_the_way_unless_outranked(
    priority: int, verdict: str, text: str
) -> None:
    """Of an exclusion group the run inside is named, with both priorities."""
    group = "journey: {}\nentry: {{on: order.placed}}\nguards: {{exclusion_group: care, priority: {}}}\n"
    steps = "steps: [{wait: 1d}, {send: email, template: t}]\n"
    rules = rule_set(group.format("mine", priority) + steps, group.format("other", 50) + steps)
    profile = Profile(positions=[Position("other", 1, "", 0, NOON, NOON + DAY, "e1")])
    (journey,) = explain(rules, SETTINGS, person(profile), [], Period(0, 0), ["mine"]).journeys
    check = next(each for each in journey.checks if each.about == "exclusion_group")
    assert (check.verdict, check.text) == (verdict, text)


def test_a_change_of_segment_ends_a_wait() -> None:
    """An exit by segment is told like one by an event."""
    text = (
        "journey: a\nentry: {on: order.placed}\nexit:\n  - on: {segment_entered: new}\n"
        "steps: [{wait: 1d}, {send: email, template: t}]\n"
    )
    profile = Profile(positions=[Position("a", 1, "", 0, NOON, NOON + DAY, "e1")])
    (standing,) = explained(text, person(profile)).standing
    assert standing.ends[1] == "segment entered new: leaves the journey"


LOGGED = """
journey: a
entry:
  on: order.placed
  where: event.channel == "web" && event.amount > 100 && event.coupon.contains("X")
  when: CONDITION
steps: [{wait: 1d}, {send: email, template: t}]
"""


def logged(driver: Driver) -> list[list[tuple[bool | None, str]]]:
    """Return the parts told of each decision."""
    found = explain(driver.rules, SETTINGS, person(), driver.decisions, Period(0, 0)).journeys[0]
    return [[(part.holds, part.text) for part in each.parts] for each in found.considered if each.parts]


def test_a_value_the_sentence_shows_is_not_called_unknown() -> None:
    """Texts, traits and what only the entry saw are told from the decision's own words, also later on."""
    trait = 'has(customer.traits.tier) && customer.traits.tier == "gold" && customer.orders_lifetime >= 1'
    driver = Driver(rule_set(LOGGED.replace("CONDITION", trait)))
    driver.send("profile.updated", NOON, traits={"tier": "gold"})
    driver.send("order.placed", NOON, channel="web", amount=120.0, coupon="X5")
    driver.until(NOON + 2 * DAY)
    told = [
        (True, 'channel is "web"'),
        (True, "amount is 120 (> 100)"),
        (True, '`event.coupon.contains("X")` holds'),
        (True, "`has(customer.traits.tier)` holds"),
        (True, 'tier is "gold"'),
        (True, "orders in total is 1 (>= 1)"),
    ]
    entered, fired = logged(driver)
    assert entered == told
    assert fired == told


def test_what_did_not_hold_by_the_sentence_is_told_so() -> None:
    """Of an event that did not match, parts without a logged value are judged by the words `not: …`."""
    driver = Driver(rule_set(LOGGED.replace("CONDITION", "customer.churn_risk >= 0.0")), SETTINGS)
    driver.send("order.placed", NOON, channel="app", amount=20.0, coupon="X5")
    assert logged(driver) == [
        [
            (False, 'channel is something else, must be "web"'),
            (False, "amount is 20, must be > 100"),
            (None, '`event.coupon.contains("X")` is not known from the log'),
        ]
    ]


def test_traits_are_shown_as_they_are_now() -> None:
    """What would make it fire now names a trait's value, and one that is not set, not what the log lacks."""
    when = 'has(customer.traits.tier) && customer.traits.tier == "gold" && customer.traits.vip'
    text = LOGGED.replace("CONDITION", when + " && customer.traits.points > 5")
    text = text.replace("has(customer.traits.tier)", "has(customer.traits.tier) && has(customer.traits.vip)")
    text = text.replace(
        " && customer.traits.points", " && has(customer.traits.points) && customer.traits.points"
    )

    def said(**traits: Any) -> list[str]:
        found = explained(text, person(Profile(traits=traits)))
        parts = [each.text for each in found.checks if each.about == "when"]
        return [each for each in parts if not each.startswith("`has")]

    assert said(tier="gold", vip=True, points=7) == ['tier is "gold"', "vip is true", "points is 7 (> 5)"]
    assert said(tier="iron", vip=False, points=2) == [
        'tier is something else, must be "gold"',
        "vip is false, must be true",
        "points is 2, must be > 5",
    ]
    assert said() == [
        'tier is not set, must be "gold"',
        "vip is not set, must be true",
        "points is not set, must be > 5",
    ]


def test_the_rate_limit_of_a_channel_is_named() -> None:
    """A message that may have to wait for a place says so, one that has a place says when; no other does."""
    limited = MachineSettings(rate_limits={"email": Cap(1, DAY)}, not_matched_sample=0)
    steps = "steps: [{send: email, template: t}, {send: push, template: p}]"
    text = f"journey: a\nentry: {{on: order.placed}}\n{steps}"
    sends = [each.text for each in explained(text, person(), limited).checks if each.about == "send"]
    assert sends == [
        "email now: no guard holds it back, but the rate limit may put it off: 1 in 1 day over all customers",
        "push now: no guard holds it back",
    ]
    receipt = explained(text.replace("entry:", "transactional: true\nentry:"), person(), limited)
    assert "rate limit" not in " ".join(each.text for each in receipt.checks)
    ledger = Ledger()
    for name in ("c1", "c2"):
        driver = Driver(rule_set(text), limited, customer_id=name, ledger=ledger)
        driver.send("order.placed", NOON)
    (standing,) = explained(text, person(driver.state.profile), limited).standing
    assert standing.text == (
        f"the t has to wait by the rate limit of email: its place is kept for {say_moment(driver.due_ms)}"
    )
