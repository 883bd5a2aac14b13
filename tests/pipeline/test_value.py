"""What customers are expected to buy, in the pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from engine.features.churn.purchases import PurchaseStats
from engine.features.churn.rate import GlobalRate
from engine.features.churn.scoring import Scorer
from engine.features.state import CustomerState
from engine.pipeline.core import Work
from engine.settings import Settings
from engine.streams.wiring import pipeline_of
from tests.fuzz.world import compile_text, definitions, vocabulary
from tests.pipeline.test_training import row

VALUED = """journey: valued
description: d
entry:
  on: order.placed
  when: {when}
steps:
  - send: agent
    template: x
"""


def test_expected_orders_cost_nothing_where_no_rule_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a rule that compares them they are not computed; with one they are those of the scorer."""
    found = definitions()
    whole = vocabulary(found)
    asked: list[int] = []
    expect = Scorer.expect

    def count(scorer: Scorer, stats: PurchaseStats, *rest: Any) -> tuple[Any, Any]:
        asked.append(len(stats))
        return expect(scorer, stats, *rest)

    monkeypatch.setattr(Scorer, "expect", count)
    for when, calls in (("customer.churn_risk < 2.0", 0), ("customer.expected_orders_90d > 0.1", 1)):
        text = VALUED.format(when=when).encode()
        rules = compile_text(text, found, whole)
        pipeline = pipeline_of(Settings(clock="replay"), found, rules)
        event = row("order.placed", "a", 0)
        work = Work(
            events=[event],
            timers={},
            states={"a": CustomerState("a")},
            until_ms={0: event.now_ms},
            rates={0: GlobalRate()},
            replay=True,
        )
        outcome = pipeline.process(work)
        assert [action.journey for action in outcome.actions] == ["valued"]
        assert len(asked) == calls
