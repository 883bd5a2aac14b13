"""Index + residual = CEL alone, on random journeys that enter by an event, any of several, or a count."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import EVENT_TYPES, TIMER_CODE, Event
from engine.rules.sentences import Facts
from tests.fuzz.world import random_event
from tests.rules.driver import NOON, SEGMENTS, SPACE, rule_set
from tests.rules.matching.test_index import row_values
from tests.rules.random_journeys import NUMBERS, TYPES, Author, Data
from tests.rules.random_layout import write_yaml


def entering_by_event(rng: random.Random, name: str) -> Data:
    """Think up a journey that enters by events."""
    entry = Author(rng).entry()
    while not (isinstance(entry["on"], str | list) or "count" in entry["on"]):
        entry = Author(rng).entry()
    return {"journey": name, "entry": entry, "steps": [{"send": "email", "template": "t"}]}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_index_and_residual_are_cel_alone_for_every_entry_by_event(seed: int) -> None:
    """A row is a candidate and passes the residual when type and CEL say so, only then; of counts `where`."""
    rng = random.Random(seed)
    rules = rule_set(*(write_yaml(rng, entering_by_event(rng, f"j{number}")) for number in range(8)))
    names = [rng.choice(TYPES) for _ in range(30)]
    events: list[Event | None] = [random_event(rng, name, "c", NOON) for name in names]
    codes = np.array([EVENT_TYPES[name].code for name in names], np.uint8)
    codes[-1], events[-1] = TIMER_CODE, None
    matrix = np.zeros((len(names), len(SPACE.names)))
    for name in NUMBERS:
        matrix[:, SPACE.index[name]] = [rng.choice((0.0, 0.5, 1.0, 2.5, 90.0)) for _ in names]
    matrix[:, SPACE.index["consent_marketing"]] = [rng.choice((0.0, 1.0)) for _ in names]
    matrix[:, SPACE.index["segment"]] = [rng.randrange(len(SEGMENTS)) for _ in names]
    found = {
        "event": set(rules.match(codes, matrix, events)),
        "count": set(rules.match_counts(codes, matrix, events)),
    }
    for row, event in enumerate(events):
        facts = Facts(row_values(matrix, row), event, {}, {"tier": "gold"} if row % 2 else {})
        for index, journey in enumerate(rules.journeys):
            judged = (journey.where,) if journey.kind == "count" else (journey.where, journey.when)
            conditions = [each for each in judged if each is not None]
            by_index = (row, index) in found[journey.kind] and all(map(facts.rest_holds, conditions))
            by_cel = event is not None and codes[row] in journey.codes and all(map(facts.holds, conditions))
            assert by_index == by_cel, (journey.name, row)
