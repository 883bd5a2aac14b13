"""Laws of absence: the vectorised judgement equals a plain one, row by row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.journey import Journey
from engine.rules.matching.absence import NEVER_MS, AbsenceIndex, LastSeen
from tests.rules.driver import DAY, NOON, Driver, rule_set
from tests.rules.journeys import ABSENT

ORDER = 8
instants = st.integers(0, 40)


def journeys() -> tuple[Journey, ...]:
    """Return journeys over each `since`, two of them with the same deadline."""
    kinds = (("last", "10d"), ("last", "3d"), ("first", "5d"), ("signup", "7d"), ("last", "3d"))
    texts = [
        ABSENT.replace("journey: absent", f"journey: a{number}").replace(
            "{absent: order.placed, for: 90d}", f"{{absent: order.placed, for: {length}, since: {since}}}"
        )
        for number, (since, length) in enumerate(kinds)
    ]
    return rule_set(*texts).journeys


JOURNEYS = journeys()


def deadline(journey: Journey, last: int, first: int, signup: int) -> int:
    """Return a journey's deadline by its definition, 0 when it has none."""
    begin = {"last": last, "first": first, "signup": signup}[journey.since]
    armed = {"last": True, "first": last == first, "signup": last < signup}[journey.since]
    return begin * 1000 + journey.for_ms if begin and armed else 0


@given(st.lists(st.tuples(instants, instants, instants, instants, instants), min_size=1, max_size=6))
def test_vectors_say_what_the_definition_says(rows: list[tuple[int, int, int, int, int]]) -> None:
    """Next deadlines and fired ones equal those found by applying the definition to each row."""
    day_s = DAY // 1000
    base = NOON // 1000
    table = [
        tuple(
            base + day * day_s if day else 0 for day in (max(one, two), min(one, two) or max(one, two), three)
        )
        for one, two, three, _, _ in rows
    ]
    last, first, signup = (np.array(column, dtype=np.int64) for column in zip(*table, strict=True))
    clock = np.array([NOON + min(a, b) * DAY for *_, a, b in rows], dtype=np.int64)
    now = np.array([NOON + max(a, b) * DAY for *_, a, b in rows], dtype=np.int64)
    judged = AbsenceIndex(JOURNEYS).judge(LastSeen({ORDER: last}, {ORDER: first}, signup), clock, now)
    fired = []
    for row, seen in enumerate(table):
        due = [deadline(each, *seen) for each in JOURNEYS]
        ahead = [each for each in due if each > now[row]]
        assert judged.next_due_ms[row] == min(ahead, default=NEVER_MS)
        fired += sorted((row, each, index) for index, each in enumerate(due) if clock[row] < each <= now[row])
    assert [(each.row, each.due_ms, each.journey) for each in judged.fired] == fired


def test_since_signup_is_for_those_who_never_ordered() -> None:
    """`since: signup` fires when no order came within the time, and not for those who ordered."""
    text = ABSENT.replace("for: 90d", "for: 7d, since: signup")
    lazy, eager = Driver(rule_set(text)), Driver(rule_set(text))
    for driver in (lazy, eager):
        driver.send("customer.signed_up", NOON)
    eager.send("order.placed", NOON + DAY)
    for driver in (lazy, eager):
        driver.until(NOON + 30 * DAY)
    assert [each.time for each in lazy.actions] == [NOON + 7 * DAY]
    assert lazy.actions[0].reason.text == "no order within 7 days of signing up"
    assert eager.actions == []


def test_since_first_is_for_those_who_did_not_come_back() -> None:
    """`since: first` fires when the first order stays the only one."""
    text = ABSENT.replace("for: 90d", "for: 30d, since: first")
    once, twice = Driver(rule_set(text)), Driver(rule_set(text))
    for driver in (once, twice):
        driver.send("order.placed", NOON)
    twice.send("order.placed", NOON + DAY)
    for driver in (once, twice):
        driver.until(NOON + 300 * DAY)
    assert [each.time for each in once.actions] == [NOON + 30 * DAY]
    assert twice.actions == []
