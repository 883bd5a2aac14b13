"""A made-up shop whose customers also visit, open messages, ask and answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.events import EVENT_CLASSES, EVENT_TYPES, Event
from engine.features.churn.purchases import DAY_S
from engine.streams.evaluate.log import PurchaseLog
from tests.features.churn.samples import START_S

FADE_D = 21.0
"""So long before they leave, customers of a telling shop begin to lose interest."""
LEFT = 0.05
LOOKS_D = 4.0


def active_shop(customers: int, days: int, *, telling: bool, seed: int = 1) -> PurchaseLog:
    """A shop whose customers buy at rates of their own until they leave without a word.

    Args:
        customers: how many.
        days: from the first to the last event.
        telling: whether what they do besides buying falls before they leave; else it goes on for ever.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, int, str, float]] = []
    for customer in range(customers):
        gap_d = rng.gamma(2.0, 15.0)
        begins = rng.uniform(0.0, days * 0.6)
        leaves = begins + rng.exponential(150.0)
        day = begins
        while day < min(days, leaves):
            rows.append((day, customer, "order.placed", float(rng.gamma(2.0, 20.0))))
            if telling:  # who is about to buy looks around
                looks = day - rng.uniform(0.0, LOOKS_D, rng.poisson(1.5))
                rows += [(float(d), customer, "product.viewed", 0.0) for d in looks[looks > begins]]
            day += 1.0 + rng.exponential(gap_d)
        for kind, a_week in (("page.viewed", rng.gamma(1.5, 1.5)), ("message.opened", rng.gamma(1.5, 0.4))):
            at = np.sort(rng.uniform(begins, days, rng.poisson(a_week * (days - begins) / 7.0)))
            interest = np.clip((leaves - at) / FADE_D, LEFT, 1.0) if telling else np.ones(len(at))
            rows += [(float(d), customer, kind, 0.0) for d in at[rng.random(len(at)) < interest]]
        for asked in rng.uniform(begins, days, rng.poisson(0.5 * (days - begins) / 90.0)):
            near = abs(leaves - asked) < FADE_D
            score = float(rng.integers(1, 4) if telling and near else rng.integers(3, 6))
            rows.append((float(asked), customer, "inquiry.opened", 0.0))
            rows.append((float(asked) + 1.0, customer, "feedback.csat", score))
    rows.sort()
    time_ms = np.array([int((START_S + day * DAY_S) * 1000) for day, *_ in rows], np.int64)
    other = {
        at: _event(at, int(time_ms[at]), *row[1:]) for at, row in enumerate(rows) if row[2] != "order.placed"
    }
    return PurchaseLog(
        [str(number) for number in range(customers)],
        np.array([row[1] for row in rows], np.int64),
        time_ms,
        np.array([row[3] for row in rows]),
        other,
    )


def orders_alone(log: PurchaseLog) -> PurchaseLog:
    """The same log without what customers did besides buying."""
    kept = np.array([row not in log.other for row in range(len(log))])
    return PurchaseLog(log.names, log.customers[kept], log.time_ms[kept], log.amount[kept])


def _event(number: int, time_ms: int, customer: int, kind: str, score: float) -> Event:
    more: dict[str, Any] = {}
    if kind == "inquiry.opened":
        more["inquiry_id"] = str(number)
    elif kind == "feedback.csat":
        more["score"] = score
    family = EVENT_TYPES[kind].family
    return EVENT_CLASSES[family](id=str(number), type=kind, customer_id=str(customer), time=time_ms, **more)
