"""The one table of built-in features: name, kind, unit, default, window, meaning.

Everything that lists features (the CLI, the docs, the rule checker) reads this table; `registry.FeatureSpace`
computes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from engine.events import EVENT_TYPES, PURPOSES, VISIT_CODES
from engine.features.windows import MONTHS, VISITS, WINDOWS

NEVER_DAYS = 36_500.0
NO_SCORE = -1.0

ORDER = EVENT_TYPES["order.placed"].code
NPS = EVENT_TYPES["feedback.nps"].code
CSAT = EVENT_TYPES["feedback.csat"].code
_SIGNUP = EVENT_TYPES["customer.signed_up"].code
_ERASURE = EVENT_TYPES["erasure.requested"].code  # deletes the state: never counted


class Source(StrEnum):
    """Which computation a feature's column comes from."""

    COUNT = "count"
    DAYS = "days"
    SUM = "sum"
    MEAN = "mean"
    RECENCY = "recency"
    FIRST = "first"
    LAST_VALUE = "last_value"
    MONTH_COUNT = "month_count"
    MONTH_SUM = "month_sum"
    HABIT = "habit"
    GAP = "gap"
    RFM = "rfm"
    HEAD = "head"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature.

    Args:
        name: what a rule calls it: `customer.NAME`.
        kind: `number`, `bool` (0 or 1 in the matrix) or `code` (a name in rules, its code in the matrix).
        unit: unit of the number, or empty.
        default: the value when nothing is known.
        window: a key of `WINDOWS`, or empty.
        meaning: one sentence for a person.
        source: the computation behind it.
        event_kind: code of the event type or series it looks at (`VISITS` = any click), or -1.
        at: place within the computation (window, month, purpose or score).
        since: for declared features, from when on it counts; else empty.
    """

    name: str
    kind: Literal["number", "bool", "code"]
    unit: str
    default: float
    window: str
    meaning: str
    source: Source
    event_kind: int = -1
    at: int = 0
    since: str = ""


@dataclass(frozen=True, slots=True)
class _Counted:
    """Something that is counted: an event type, or visits."""

    kind: int
    stem: str
    singular: str
    what: str


_COUNTED = (
    *(
        _Counted(kind.code, kind.stem, kind.singular, f"`{kind.name}` events")
        for kind in EVENT_TYPES.values()
        if kind.code != _ERASURE
    ),
    _Counted(VISITS, "visits", "visit", "click-family events (any activity on site or app)"),
)
_SUMS = (
    (ORDER, "spend", "amount of orders placed"),
    (EVENT_TYPES["order.cancelled"].code, "cancelled_amount", "amount of orders cancelled"),
    (EVENT_TYPES["order.refunded"].code, "refunded_amount", "amount refunded"),
)
_MEANS = (
    (ORDER, "order_value_mean", "currency", "mean amount of an order"),
    (NPS, "nps_mean", "score 0-10", "mean NPS answer"),
    (CSAT, "csat_mean", "score 1-5", "mean CSAT answer"),
)


def _span(window: str) -> str:
    return "over the whole life" if window == "lifetime" else f"in the last {window}"


def _windowed() -> Iterator[Feature]:
    for at, window in enumerate(WINDOWS):
        for it in _COUNTED:
            yield Feature(
                f"{it.stem}_{window}", "number", "events", 0.0, window,
                f"Number of {it.what} {_span(window)}.", Source.COUNT, it.kind, at,
            )  # fmt: skip
    for at, window in enumerate(WINDOWS):
        for it in _COUNTED:
            yield Feature(
                f"{it.stem}_days_{window}", "number", "days", 0.0, window,
                f"Distinct local days with {it.what} {_span(window)}.", Source.DAYS, it.kind, at,
            )  # fmt: skip
    for at, window in enumerate(WINDOWS):
        for kind, stem, what in _SUMS:
            yield Feature(
                f"{stem}_{window}", "number", "currency", 0.0, window,
                f"Total {what} {_span(window)}.", Source.SUM, kind, at,
            )  # fmt: skip
    for at, window in enumerate(WINDOWS):
        for kind, stem, unit, what in _MEANS:
            yield Feature(
                f"{stem}_{window}", "number", unit, 0.0, window,
                f"The {what} {_span(window)}; 0 when there is none.", Source.MEAN, kind, at,
            )  # fmt: skip


def _recency() -> Iterator[Feature]:
    for it in _COUNTED:
        if it.kind != _SIGNUP:
            yield Feature(
                f"days_since_{it.singular}", "number", "days", NEVER_DAYS, "",
                f"Days since the last of {it.what}, with fractions; {NEVER_DAYS:.0f} when never.",
                Source.RECENCY, it.kind,
            )  # fmt: skip
    yield Feature(
        "days_since_first_order", "number", "days", NEVER_DAYS, "",
        f"Days since the first order, with fractions; {NEVER_DAYS:.0f} when never.", Source.FIRST, ORDER,
    )  # fmt: skip
    for at, (name, what) in enumerate((("signup", "sign-up"), ("first_seen", "the first event of any type"))):
        yield Feature(
            f"days_since_{name}", "number", "days", NEVER_DAYS, "",
            f"Days since {what}, with fractions; {NEVER_DAYS:.0f} when unknown.", Source.HEAD, -1, at,
        )  # fmt: skip


def _orders() -> Iterator[Feature]:
    for back in range(MONTHS):
        what = "this calendar month" if back == 0 else f"the calendar month {back} before this one"
        yield Feature(
            f"orders_month_{back}", "number", "events", 0.0, "",
            f"Orders placed in {what}, in the customer's zone.", Source.MONTH_COUNT, ORDER, back,
        )  # fmt: skip
        yield Feature(
            f"spend_month_{back}", "number", "currency", 0.0, "",
            f"Amount of orders placed in {what}, in the customer's zone.", Source.MONTH_SUM, ORDER, back,
        )  # fmt: skip
    yield Feature(
        "order_gap_mean_days", "number", "days", 0.0, "",
        "Mean days between one order and the next; 0 with fewer than two orders.", Source.GAP, ORDER,
    )  # fmt: skip
    for at, (name, what) in enumerate(
        (
            ("recency", "how recent the last order is"),
            ("frequency", "orders in 365 days"),
            ("monetary", "spend in 365 days"),
        )
    ):
        yield Feature(
            f"rfm_{name}", "number", "score 1-5", 1.0, "365d" if at else "",
            f"RFM score of {what}, 5 is best; steps in segments.yaml.", Source.RFM, ORDER, at,
        )  # fmt: skip


def _others() -> Iterator[Feature]:
    for at, window in enumerate(("30d", "90d")):
        yield Feature(
            f"activity_ratio_7d_{window}", "number", "ratio", 1.0, window,
            f"Daily visits of the last 7 days over those of the last {window}; 1 without any.",
            Source.HABIT, VISITS, at,
        )  # fmt: skip
    yield Feature(
        "nps_last",
        "number",
        "score 0-10",
        NO_SCORE,
        "",
        "The last NPS answer; -1 when none.",
        Source.LAST_VALUE,
        NPS,
    )
    yield Feature(
        "csat_last",
        "number",
        "score 1-5",
        NO_SCORE,
        "",
        "The last CSAT answer; -1 when none.",
        Source.LAST_VALUE,
        CSAT,
    )
    yield Feature(
        "open_inquiries", "number", "inquiries", 0.0, "", "Inquiries not resolved yet.", Source.HEAD, -1, 2
    )
    yield Feature(
        "inquiry_waiting_minutes", "number", "minutes", 0.0, "",
        "Minutes the oldest open inquiry has waited for an answer; 0 when none waits.", Source.HEAD, -1, 3,
    )  # fmt: skip
    for bit, purpose in enumerate(PURPOSES):
        yield Feature(
            f"consent_{purpose}", "bool", "", 0.0, "",
            f"Whether the customer consents to {purpose.replace('_', ' ')}; not known means no.",
            Source.HEAD, -1, 4 + bit,
        )  # fmt: skip
    yield Feature(
        "churn_risk", "number", "probability", 0.0, "",
        "Probability of no order within the churn horizon; 0 for customers who never ordered.", Source.CALLER,
    )  # fmt: skip
    yield Feature(
        "expected_orders_90d", "number", "events", 0.0, "",
        "Orders to expect of the customer in the next 90 days; 0 for customers who never ordered.",
        Source.CALLER,
    )  # fmt: skip
    yield Feature(
        "expected_spend_90d", "number", "currency", 0.0, "",
        "Spend to expect of the customer in the next 90 days; 0 for customers who never ordered.",
        Source.CALLER,
    )  # fmt: skip
    yield Feature(
        "segment", "code", "", 0.0, "",
        "The segment the customer is in now, by name (segments.yaml).", Source.CALLER,
    )  # fmt: skip


BUILT_IN: tuple[Feature, ...] = (*_windowed(), *_recency(), *_orders(), *_others())

# Texts of the profile a rule may read as `customer.NAME`; they have no column.
TEXTS: dict[str, str] = {
    "last_channel": "Where the customer was last seen acting (`web`, `app`, ...), or empty.",
    "time_zone": "IANA name of the customer's time zone, or empty.",
    "locale": "The customer's locale such as `zh-CN`, or empty.",
}


_RANGES: dict[str, tuple[float, float]] = {
    "events": (0.0, math.inf),
    "days": (0.0, math.inf),
    "currency": (0.0, math.inf),
    "ratio": (0.0, math.inf),
    "inquiries": (0.0, math.inf),
    "minutes": (0.0, math.inf),
    "probability": (0.0, 1.0),
    "score 0-10": (0.0, 10.0),
    "score 1-5": (1.0, 5.0),
}


def range_of(feature: Feature) -> tuple[float, float] | None:
    """Return the lowest and highest value a number can have, its default included; None when not known.

    Args:
        feature: an entry of the table; truth values and codes have no range.
    """
    found = _RANGES.get(feature.unit)
    if feature.kind != "number" or found is None:
        return None
    return min(found[0], feature.default), max(found[1], feature.default)


def kinds_of(feature: Feature) -> tuple[int, ...]:
    """Return the codes of the entries a feature is computed from; visits need every click kind."""
    if feature.event_kind == VISITS:
        return (*VISIT_CODES, VISITS)
    return () if feature.event_kind < 0 else (feature.event_kind,)
