"""Two rule sets are compared by what they say."""

from __future__ import annotations

import pytest

from engine.authoring.rules_diff import Change, JourneyDiff, diff_rules
from engine.errors import RuleErrors

BASE = """
journey: a
entry: {on: order.placed, when: customer.orders_lifetime > 1}
guards: {cap: [1 per 7d]}
steps:
  - {send: email, template: one}
  - wait: 3d
  - {send: email, template: two}
"""


def differ(before: list[str], after: list[str]) -> list[JourneyDiff]:
    """Compare journeys given as text."""
    old, new = ([(f"{n}.yaml", text.encode()) for n, text in enumerate(side)] for side in (before, after))
    return diff_rules(old, new)


def test_layout_is_no_difference() -> None:
    """Comments, order of keys, quotes and flow or block style say nothing."""
    other = """
    # a comment
    steps:
    - template: one
      send: "email"
    - {wait: 3d}
    - {send: email, template: two}
    guards:
      cap:
      - 1 per 7d
    entry:
      when: "customer.orders_lifetime > 1"
      on: order.placed
    journey: a
    """
    assert differ([BASE], [other]) == []


def test_each_place_that_differs_is_named() -> None:
    """Conditions and guards are compared by key, steps by what they are: one put between moves no other."""
    changed = BASE.replace("> 1", "> 2").replace("7d", "9d").replace("  - wait", "  - exit: {}\n  - wait")
    changed = changed.replace("template: two", "template: three")
    assert differ([BASE], [changed]) == [
        JourneyDiff(
            journey="a",
            kind="changed",
            changes=[
                Change(
                    where="entry.when",
                    before="customer.orders_lifetime > 1",
                    after="customer.orders_lifetime > 2",
                ),
                Change(where="guards.cap", before='["1 per 7d"]', after='["1 per 9d"]'),
                Change(where="steps[1]", before="—", after='{"exit":{}}'),
                Change(where="steps[3].template", before="two", after="three"),
            ],
        )
    ]


def test_journeys_come_and_go_and_have_versions() -> None:
    """A journey on one side only is added or removed; two versions of one are told apart."""
    second = BASE.replace("journey: a", "journey: a\nversion: 2")
    other = BASE.replace("journey: a", "journey: b")
    assert differ([BASE], [other]) == [
        JourneyDiff(journey="a", kind="removed"),
        JourneyDiff(journey="b", kind="added"),
    ]
    assert [each.journey for each in differ([BASE, second], [BASE, second.replace("3d", "4d")])] == ["a v2"]


def test_numbers_and_texts_are_not_the_same() -> None:
    """`"1"` and `1` differ, and so do `1` and `true`."""
    one, text, yes = (
        BASE.replace("template: one", f"template: one, data: {{x: {x}}}") for x in ("1", '"1"', "true")
    )
    assert differ([one], [text])
    assert differ([one], [yes])


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    """What is no YAML cannot be compared."""
    with pytest.raises(RuleErrors):
        differ([BASE], ["a: [b"])
