"""Laws of splits: shares, stability, independence, and what is told of them."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.rules.guards import held_out
from tests.rules.driver import DAY, NOON, Driver, rule_set
from tests.rules.test_steps import HEAD, run, steps

SPLIT = (
    HEAD
    + """
steps:
  - split:
      - {name: a, weight: 20%, steps: [{send: email, template: a}]}
      - {name: b, weight: 30%, steps: []}
      - {name: c, weight: 50%, steps: [{send: email, template: c}, {wait: 1d}]}
  - {send: email, template: after}
"""
)


def test_a_variant_is_told_and_stays_in_the_reason() -> None:
    """The variant is a decision with its own path; all that is sent later says it, also behind the split."""
    seen = set()
    for number in range(40):
        driver = run(SPLIT, customer_id=f"c{number}")
        chosen = next(each for each in driver.decisions if each.step.startswith("steps[0].split."))
        name = chosen.step.rpartition(".")[2]
        assert (chosen.outcome, chosen.reason.text) == (Outcome.ENTERED, f"variant {name}")
        assert driver.templates() == [*([name] if name != "b" else []), "after"]
        assert all(f"; variant {name}" in each.reason.text for each in driver.actions)
        seen.add(name)
    assert seen == {"a", "b", "c"}


def test_a_split_of_a_name_says_it() -> None:
    """Two splits of one run are told apart by their names."""
    text = steps("""
  - split: [{name: x, weight: 100%, steps: []}]
    name: first
  - split: [{name: y, weight: 100%, steps: []}]
    name: second
  - {send: email, template: after}
""")
    assert run(text).actions[0].reason.text == "order placed; variant x of first; variant y of second"


def shares(text: str, names: list[str], customers: int = 1500) -> dict[str, list[bool]]:
    """Return who of many customers gets which template."""
    rules = rule_set(text)
    found: dict[str, list[bool]] = {name: [] for name in names}
    for number in range(customers):
        driver = Driver(rules, customer_id=f"customer-{number}")
        driver.send("order.placed", NOON)
        sent = driver.templates()
        for name in names:
            found[name].append(name in sent)
    return found


def near(part: int, whole: int, share: float) -> bool:
    """Tell whether a count lies within five standard deviations of what is expected."""
    return abs(part - whole * share) <= 5 * math.sqrt(whole * share * (1 - share)) + 1e-9


def test_splits_keep_their_weights_and_are_independent() -> None:
    """Shares are the weights; another split, another journey and the holdout cut across them alike."""
    text = """
  - split:
      - {name: a, weight: 20%, steps: [{send: email, template: a}]}
      - {name: b, weight: 80%, steps: [{send: email, template: b}]}
  - split:
      - {name: x, weight: 50%, steps: [{send: email, template: x}]}
      - {name: y, weight: 50%, steps: [{send: email, template: y}]}
"""
    one = shares(steps(text), ["a", "b", "x", "y"])
    other = shares(steps(text).replace("journey: j", "journey: k"), ["a", "b"])
    customers = len(one["a"])
    journey = rule_set(HEAD + "guards: {holdout: 30%}\n" + "steps:" + text).journeys[0]
    out = [held_out(journey, f"customer-{number}") for number in range(customers)]
    assert near(sum(one["a"]), customers, 0.2)
    assert near(sum(one["x"]), customers, 0.5)
    both = [[a and b for a, b in zip(one["a"], them, strict=True)] for them in (one["x"], other["a"], out)]
    for crossed, share in zip(both, (0.5, 0.2, 0.3), strict=True):
        assert near(sum(crossed), sum(one["a"]), share)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20).filter(str.strip), st.sampled_from(["1d", "3d"]))
def test_a_customer_stays_with_the_variant(customer_id: str, wait: str) -> None:
    """The same customer gets the same variant each time, whatever stands before it and in any version."""
    text = (
        HEAD
        + f"version: VERSION\nsteps:\n  - wait: {wait}\n"
        + """
  - split:
      - {name: a, weight: 33.3%, steps: [{send: email, template: a}]}
      - {name: b, weight: 66.7%, steps: [{send: email, template: b}]}
    name: offer
"""
    )
    first = Driver(rule_set(text.replace("VERSION", "1")), customer_id=customer_id)
    for day in (0, 10):
        first.send("order.placed", NOON + day * DAY)
    first.until(NOON + 30 * DAY)
    moved = text.replace("VERSION", "2").replace(
        "steps:\n  - wait", "steps:\n  - {send: push, template: p}\n  - wait", 1
    )
    second = Driver(rule_set(moved), customer_id=customer_id)
    second.send("order.placed", NOON)
    second.until(NOON + 30 * DAY)
    assert first.templates() == [first.templates()[0]] * 2
    assert second.templates() == ["p", first.templates()[0]]


def test_a_changed_weight_moves_as_few_as_can_be() -> None:
    """From 20:80 to 30:70 nobody leaves the variant that grows."""
    text = steps("""
  - split:
      - {name: a, weight: 20%, steps: [{send: email, template: a}]}
      - {name: b, weight: 80%, steps: [{send: email, template: b}]}
""")
    before = shares(text, ["a"], 500)["a"]
    after = shares(text.replace("20%", "30%").replace("80%", "70%"), ["a"], 500)["a"]
    assert all(now for was, now in zip(before, after, strict=True) if was)
    assert sum(after) > sum(before)


def test_a_variant_of_nothing_gets_nobody() -> None:
    """A weight of 0% sends nobody there, 100% everybody."""
    text = steps("""
  - split:
      - {name: off, weight: 0%, steps: [{send: email, template: off}]}
      - {name: on, weight: 100%, steps: [{send: email, template: on}]}
      - {name: late, weight: 0%, steps: [{send: email, template: late}]}
""")
    found = shares(text, ["off", "on", "late"], 200)
    assert (sum(found["off"]), sum(found["on"]), sum(found["late"])) == (0, 200, 0)
