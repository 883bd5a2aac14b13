"""The rows the churn model learns from: how the log was cut into steps changes none of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.events import EVENT_TYPES, event_key
from engine.features.churn.blocks import TrainingBlock, concatenate
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Work
from engine.pipeline.waves import EventRow
from engine.rules.ruleset import RuleSet
from engine.settings import Settings
from engine.streams.wiring import pipeline_of
from tests.fuzz.world import DAY_MS, START_MS, definitions, random_event, vocabulary

CUSTOMERS = ("a", "b", "c", "d", "e")


def row(name: str, customer_id: str, day: float, seed: int = 0) -> EventRow:
    """An event of some day."""
    time_ms = START_MS + int(day * DAY_MS)
    event = random_event(random.Random(seed), name, customer_id, time_ms)
    return EventRow(0, event, EVENT_TYPES[name].code, time_ms, event_key(event))


def history(seed: int) -> list[EventRow]:
    """Orders and erasures of a few customers over some weeks."""
    rng = random.Random(seed)
    days = sorted(rng.uniform(0, 40) for _ in range(80))
    names = ("order.placed", "order.placed", "erasure.requested", "page.viewed")
    return [row(rng.choice(names), rng.choice(CUSTOMERS), day, seed + at) for at, day in enumerate(days)]


def training_rows(rows: list[EventRow], size: int) -> tuple[TrainingBlock, bytes]:
    """Work on the rows in steps of a size; return the frozen rows, by time and customer, and the rate."""
    found = definitions()
    pipeline = pipeline_of(Settings(clock="replay"), found, RuleSet([], vocabulary(found)))
    states = {name: CustomerState(name) for name in CUSTOMERS}
    rates = {0: GlobalRate()}
    blocks: list[TrainingBlock] = []
    for first in range(0, len(rows), size):
        taken = rows[first : first + size]
        until_ms = taken[-1].now_ms
        timers = {name: 0 for name, state in states.items() if 0 < state.due_ms <= until_ms}
        work = Work(
            events=taken, timers=timers, states=states, until_ms={0: until_ms}, rates=rates, replay=True
        )
        blocks += pipeline.process(work).training.get(0, [])
    block = concatenate(blocks)
    return block.take(np.lexsort((block.is_purchase, block.customers, block.time_s))), rates[0].to_bytes()


def same(rows: list[EventRow], size: int) -> None:
    """Hold a step of so many rows to steps of one."""
    (one, rate_of_one), (many, rate_of_many) = training_rows(rows, 1), training_rows(rows, size)
    assert one.encode() == many.encode()
    assert rate_of_one == rate_of_many


def test_a_first_order_after_an_erasure_in_one_step_is_a_new_customers() -> None:
    """Whoever was erased and buys again is new, also where both come in one step."""
    rows = [
        row("order.placed", "a", 0),
        row("order.placed", "b", 1),
        row("erasure.requested", "a", 2),
        row("order.placed", "a", 3),
        row("order.placed", "b", 5),
    ]
    same(rows, len(rows))
    same(rows[1:], 3)


def test_rows_carry_the_segment_of_their_instant() -> None:
    """A first order makes a new customer; after a silence the weekly rows are of one at risk."""
    rows = [row("order.placed", "a", 0), row("page.viewed", "a", 200)]
    block, _ = training_rows(rows, 1)
    codes = definitions().segments_over(definitions().space()).codes
    assert block.is_purchase[0]
    assert block.segments[0] == codes["new"]
    assert block.segments[-1] == codes["churn_risk"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [7, 80])
def test_how_the_log_is_cut_changes_no_row(seed: int, size: int) -> None:
    """Purchase rows, timer rows and the purchase rate are those of one event at a time."""
    same(history(seed), size)
