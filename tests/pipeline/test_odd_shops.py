"""However odd the shop, events through the pipeline give the trainer something it stays sound on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest

from engine.events import EVENT_CLASSES, EVENT_TYPES, Event, event_key
from engine.features.churn import mbg
from engine.features.churn.purchases import MAX_AMOUNT, unpack_many
from engine.features.churn.rate import GlobalRate
from engine.features.churn.scoring import Scorer
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.features.state import CustomerState
from engine.pipeline.core import Work
from engine.pipeline.waves import EventRow
from engine.rules.ruleset import RuleSet
from engine.settings import Settings
from engine.streams.wiring import pipeline_of
from tests.fuzz.world import DAY_MS, definitions, vocabulary

START_MS = 20_000 * DAY_MS
Order = tuple[str, float, float]  # customer, day, amount
REFUND_AFTER_D = 1.0


class Shop:
    """A worker's pipeline and a trainer that learns from its rows.

    Args:
        orders: of customers, in the order they arrive; days may go back.
        until_d: timers run up to here.
        refunded: whether each order is refunded a day later.
    """

    def __init__(self, orders: list[Order], until_d: float = 200.0, *, refunded: bool = False) -> None:
        found = definitions()
        self.pipeline = pipeline_of(Settings(clock="replay"), found, RuleSet([], vocabulary(found)))
        self.states = {name: CustomerState(name) for name, _, _ in orders}
        self.rates = {0: GlobalRate()}
        self.trainer = TrainerCore(TrainerSettings(partitions=1, learning_rate=0.01, prior_labels=50))
        self.clock_ms = START_MS
        for day, same_day in groupby(orders, key=lambda each: each[1]):
            these = list(same_day)
            self.step([order(*each) for each in these], START_MS + int(day * DAY_MS))
            if refunded:
                later_d = day + REFUND_AFTER_D
                back = [order(name, later_d, amount, "order.refunded") for name, _, amount in these]
                self.step(back, START_MS + int(later_d * DAY_MS))
        self.step([], START_MS + int(until_d * DAY_MS))

    def step(self, events: list[Event], now_ms: int) -> None:
        """Work on one step; the partition's clock does not go back."""
        self.clock_ms = max(self.clock_ms, now_ms)
        until = self.clock_ms
        rows = [EventRow(0, each, EVENT_TYPES[each.type].code, until, event_key(each)) for each in events]
        due = {name: 0 for name, state in self.states.items() if 0 < state.due_ms <= until}
        work = Work(
            events=rows, timers=due, states=self.states, until_ms={0: until}, rates=self.rates, replay=True
        )
        for block in self.pipeline.process(work).training.get(0, []):
            assert np.isfinite(block.features).all()
            self.trainer.add_block(0, block)
        self.trainer.advance(0, until // 1000)

    def risks(self) -> dict[str, float]:
        """What the trainer's newest snapshot says of each customer now."""
        scorer = Scorer(self.trainer.snapshot())
        names = sorted(self.states)
        blob = b"".join(self.states[name].purchases for name in names)
        has = np.array([bool(self.states[name].purchases) for name in names])
        now_s = self.clock_ms / 1000
        risks = scorer.score(unpack_many(blob, has), now_s, self.rates[0].at([now_s])[0])
        return dict(zip(names, risks.tolist(), strict=True))


def order(name: str, day: float, amount: float, what: str = "order.placed") -> Event:
    """An order of a customer, or what became of one."""
    time_ms = START_MS + int(day * DAY_MS)
    kind = EVENT_TYPES[what]
    fields: dict[str, Any] = {"order_id": f"{name}-{day}", "amount": amount}
    made = EVENT_CLASSES[kind.family](
        id=f"{name}-{day}-{amount}", type=kind.name, customer_id=name, time=time_ms, **fields
    )
    assert isinstance(made, Event)
    return made


def same_rhythm(amount: Callable[[int], float], customers: int = 30) -> list[Order]:
    """Customers who all buy every fifteen days."""
    return [(f"c{n}", float(day), amount(n)) for day in range(0, 120, 15) for n in range(customers)]


def test_a_single_customer_is_scored_by_the_prior() -> None:
    """One customer teaches the hazard a little and MBG/NBD nothing; silence raises the risk all the same."""
    orders = [("only", float(day), 20.0) for day in (0, 20, 40, 60)]
    soon, late = Shop(orders, until_d=65), Shop(orders, until_d=400)
    assert soon.risks()["only"] < 0.5 < late.risks()["only"]
    assert late.trainer.mbg == TrainerCore(TrainerSettings(1)).mbg
    report = late.trainer.report()
    assert (report.mbg_fitted, report.mbg_failed > 0) == (0, True)


def test_where_nobody_buys_twice_the_risk_is_high() -> None:
    """Without one repeat buyer every label is that of somebody gone; MBG/NBD keeps its last parameters."""
    shop = Shop([(f"c{n}", n % 10, 20.0) for n in range(80)])
    assert min(shop.risks().values()) > 0.8
    assert shop.trainer.report().labels_came_back == 0
    assert shop.trainer.report().mbg_fitted == 0


def test_a_shop_where_all_are_alike_has_finite_scores() -> None:
    """Features that never vary weigh nothing and divide nothing by zero."""
    risks = Shop(same_rhythm(lambda _: 20.0), until_d=121).risks()
    assert max(risks.values()) - min(risks.values()) < 1e-9
    assert 0.0 < risks["c0"] < 0.5


def test_a_year_of_silence_is_lived_through() -> None:
    """Nobody buys for a year: weekly rows go on, labels say gone, and who comes back is at low risk again."""
    orders = [(f"c{n}", float(n % 30), 20.0) for n in range(60)] + [("c1", 400.0, 20.0), ("c1", 410.0, 20.0)]
    shop = Shop(orders, until_d=415)
    risks = shop.risks()
    assert risks["c1"] < 0.7
    assert risks["c2"] > 0.95
    assert shop.trainer.report().labels_gone > 1_000


def test_amounts_of_a_trillion_stay_finite() -> None:
    """The largest amounts are kept at `MAX_AMOUNT` and spoil nobody else's score."""
    usual = Shop(same_rhythm(lambda _: 20.0), until_d=121).risks()
    risks = Shop(same_rhythm(lambda n: 1e12 if n % 2 else 20.0), until_d=121).risks()
    assert all(0.0 < risk < 1.0 for risk in risks.values())
    assert abs(risks["c0"] - usual["c0"]) < 0.2
    above = Shop([("c", 0.0, 1e300)], until_d=1)
    assert unpack_many(above.states["c"].purchases, np.ones(1, np.bool_)).sum_amount[0] == np.float32(
        MAX_AMOUNT
    )


def test_a_negative_amount_counts_as_a_purchase_of_nothing() -> None:
    """Events refuse negative amounts (a refund is an event of its own); one that came by would read as 0."""
    risks = Shop(same_rhythm(lambda n: -50.0 if n % 2 else 0.0), until_d=121).risks()
    assert risks["c0"] == pytest.approx(risks["c1"], abs=1e-12)


def test_a_refund_is_no_purchase() -> None:
    """Every order refunded a day later: the same labels, and the same risks to the last bit."""
    orders = same_rhythm(float)
    kept, refunded = Shop(orders, until_d=130), Shop(orders, until_d=130, refunded=True)
    assert refunded.states["c1"].pack() != kept.states["c1"].pack()
    assert refunded.risks() == kept.risks()
    assert refunded.trainer.labels == kept.trainer.labels


def test_a_clock_that_jumps_back_loses_no_purchase() -> None:
    """Purchases dated before the last one are folded in; the trainer's days do not go back."""
    forth = [(f"c{n}", float(day), 20.0) for day in (0, 30, 60) for n in range(60)]
    shop = Shop([*forth, *((f"c{n}", 10.0, 20.0) for n in range(60)), ("c0", 61.0, 20.0)], until_d=100)
    stats = unpack_many(shop.states["c1"].purchases, np.ones(1, np.bool_))
    assert stats.count[0] == 4
    assert shop.trainer.next_day == 20_100
    assert shop.trainer.report().late_rows == 60
    assert all(0.0 < risk < 1.0 for risk in shop.risks().values())


def test_an_empty_log_leaves_the_prior() -> None:
    """Without an order nothing is learned, nobody is scored, and the snapshot is the prior's."""
    shop = Shop([])
    snapshot = shop.trainer.snapshot()
    assert (snapshot.labels, snapshot.prior_share, shop.risks()) == (0, 1.0, {})


def test_mbg_that_does_not_converge_keeps_the_last_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried with every penalty, then left as it was; the report counts it and scores go on."""
    tried: list[float] = []

    def never(_start: object, _groups: object, _weight: object, penalizer: float) -> None:
        tried.append(penalizer)

    monkeypatch.setattr(mbg, "_climb", never)
    shop = Shop(same_rhythm(lambda _: 20.0, mbg.MIN_CUSTOMERS), until_d=121)
    assert set(tried) == set(mbg.PENALIZERS)
    assert shop.trainer.mbg == TrainerCore(TrainerSettings(1)).mbg
    assert shop.trainer.report().mbg_failed > 0
    assert all(0.0 < risk < 1.0 for risk in shop.risks().values())
