"""How each kind of feature is computed from the window tables, a whole wave at once.

Each maker plans once, when a `FeatureSpace` is built, and returns the function that writes the columns of a
wave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.features.catalog import NEVER_DAYS, ORDER, Feature, Source
from engine.features.state import HEAD_COLUMNS
from engine.features.windows import VISITS, WINDOWS, Kinds, Tables

Floats = npt.NDArray[np.float64]
Picks = npt.NDArray[np.int64]
Fill = Callable[[Floats, Tables], None]  # fill(out, tables): out is (rows, columns)

_DAY_S = 86_400.0
_WINDOW = {name: at for at, name in enumerate(WINDOWS)}


@dataclass(frozen=True, slots=True)
class RfmSteps:
    """Where the RFM scores step up; each tuple has four bounds.

    Args:
        recency_days: at most this many days since the last order gives 5, 4, 3, 2; else 1.
        orders: at least this many orders in 365 days gives 2, 3, 4, 5; else 1.
        spend: at least this much spent in 365 days gives 2, 3, 4, 5; else 1.
    """

    recency_days: tuple[float, ...] = (30, 60, 90, 180)
    orders: tuple[float, ...] = (2, 3, 5, 10)
    spend: tuple[float, ...] = (500, 2000, 5000, 10000)


def _at(members: Sequence[Feature]) -> Picks:
    return np.array([feature.at for feature in members])


def _columns(members: Sequence[Feature], kinds: Kinds) -> Picks:
    return np.array([kinds.column[feature.event_kind] for feature in members])


def _value_columns(members: Sequence[Feature], kinds: Kinds) -> Picks:
    return np.array([kinds.value_column[feature.event_kind] for feature in members])


def _windows(table: Callable[[Tables], Floats], at: Picks, columns: Picks, width: int) -> Fill:
    """Return the filler of columns picked from a `(window, row, kind)` table."""
    whole = np.array_equal(at * width + columns, np.arange(len(WINDOWS) * width))

    def fill_all(out: Floats, tables: Tables) -> None:
        out.reshape(tables.rows, len(WINDOWS), width)[...] = table(tables)[:, :, :width].transpose(1, 0, 2)

    def fill_some(out: Floats, tables: Tables) -> None:
        out[...] = table(tables)[at, :, columns].T

    return fill_all if whole else fill_some


def _counts(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    return _windows(lambda tables: tables.counts, _at(members), _columns(members, kinds), kinds.width - 1)


def _days(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    return _windows(lambda tables: tables.days, _at(members), _columns(members, kinds), kinds.width - 1)


def _sums(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    width = kinds.value_width - 1
    return _windows(lambda tables: tables.sums, _at(members), _value_columns(members, kinds), width)


def _means(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    at, columns, counted = _at(members), _value_columns(members, kinds), _columns(members, kinds)

    def fill(out: Floats, tables: Tables) -> None:
        sums, counts = tables.sums[at, :, columns], tables.counts[at, :, counted]
        out[...] = (sums / np.maximum(counts, 1.0)).T

    return fill


def _days_ago(now_s: npt.NDArray[np.int64], then_s: npt.NDArray[np.int64]) -> Floats:
    """Return `(rows, columns)` days from `then_s` to `now_s`, at least 0; `NEVER_DAYS` where that is 0."""
    days = np.maximum(now_s[:, None] - then_s, 0) / _DAY_S
    return np.where(then_s == 0, NEVER_DAYS, days)


def _recency(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    columns = _columns(members, kinds)

    def fill(out: Floats, tables: Tables) -> None:
        out[...] = _days_ago(tables.now_s, tables.last_s[:, columns])

    return fill


def _first(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    columns = _columns(members, kinds)

    def fill(out: Floats, tables: Tables) -> None:
        out[...] = _days_ago(tables.now_s, tables.first_s[:, columns])

    return fill


def _month_counts(members: Sequence[Feature], _: Kinds, __: RfmSteps) -> Fill:
    at = _at(members)

    def fill(out: Floats, tables: Tables) -> None:
        out[...] = tables.order_months[0][at].T

    return fill


def _month_sums(members: Sequence[Feature], _: Kinds, __: RfmSteps) -> Fill:
    at = _at(members)

    def fill(out: Floats, tables: Tables) -> None:
        out[...] = tables.order_months[1][at].T

    return fill


def _last_values(members: Sequence[Feature], _: Kinds, __: RfmSteps) -> Fill:
    def fill(out: Floats, tables: Tables) -> None:
        for column, feature in enumerate(members):
            out[:, column] = tables.last_values(feature.event_kind, feature.default)

    return fill


def _habits(members: Sequence[Feature], kinds: Kinds, _: RfmSteps) -> Fill:
    visits, week = kinds.column[VISITS], _WINDOW["7d"]
    habits = np.array([_WINDOW[feature.window] for feature in members])
    lengths_d = np.array([float(feature.window.removesuffix("d")) for feature in members])

    def fill(out: Floats, tables: Tables) -> None:
        by_window = tables.counts[:, :, visits]
        habit = by_window[habits].T / lengths_d
        recent = by_window[week][:, None] / 7.0
        out[...] = np.where(habit > 0, recent / np.where(habit > 0, habit, 1.0), 1.0)

    return fill


def _gaps(_: Sequence[Feature], kinds: Kinds, __: RfmSteps) -> Fill:
    order = kinds.column[ORDER]

    def fill(out: Floats, tables: Tables) -> None:
        gaps = tables.counts[-1, :, order] - 1
        span_s = tables.last_s[:, order] - tables.first_s[:, order]
        out[:, 0] = np.where(gaps > 0, span_s / _DAY_S / np.maximum(gaps, 1.0), 0.0)

    return fill


def _rfm(members: Sequence[Feature], kinds: Kinds, steps: RfmSteps) -> Fill:
    at, year = _at(members), _WINDOW["365d"]
    column, value_column = kinds.column[ORDER], kinds.value_column[ORDER]
    recency_d, orders, spend = (
        np.array(it, np.float64) for it in (steps.recency_days, steps.orders, steps.spend)
    )

    def fill(out: Floats, tables: Tables) -> None:
        days = _days_ago(tables.now_s, tables.last_s[:, [column]])[:, 0]
        scores = (
            5.0 - np.searchsorted(recency_d, days, side="left"),
            1.0 + np.searchsorted(orders, tables.counts[year, :, column], side="right"),
            1.0 + np.searchsorted(spend, tables.sums[year, :, value_column], side="right"),
        )
        out[...] = np.stack(scores)[at].T

    return fill


def _heads(members: Sequence[Feature], _: Kinds, __: RfmSteps) -> Fill:
    fills = [_HEADS.get(feature.at) or _consent(feature.at - len(_HEADS)) for feature in members]

    def fill(out: Floats, tables: Tables) -> None:
        for column, one in enumerate(fills):
            out[:, column] = one(tables)

    return fill


def _head(tables: Tables, name: str) -> npt.NDArray[np.int64]:
    return tables.heads[:, HEAD_COLUMNS.index(name)]


def _minutes_waiting(tables: Tables) -> Floats:
    opened_ms = _head(tables, "inquiry_ms")
    waited = np.maximum(tables.now_s * 1000 - opened_ms, 0) / 60_000.0
    return np.where(opened_ms == 0, 0.0, waited)


def _consent(bit: int) -> Callable[[Tables], npt.NDArray[np.int64]]:
    return lambda tables: (_head(tables, "consents") >> bit) & 1


# By `Feature.at`; the consents follow.
_HEADS: dict[int, Callable[[Tables], Floats | npt.NDArray[np.int64]]] = {
    0: lambda tables: _days_ago(tables.now_s, _head(tables, "signup_s")[:, None])[:, 0],
    1: lambda tables: _days_ago(tables.now_s, _head(tables, "first_seen_s")[:, None])[:, 0],
    2: lambda tables: _head(tables, "inquiries"),
    3: _minutes_waiting,
}


def _callers(members: Sequence[Feature], _: Kinds, __: RfmSteps) -> Fill:
    def fill(out: Floats, _: Tables) -> None:
        for column, feature in enumerate(members):
            out[:, column] = feature.default

    return fill


MAKERS: dict[Source, Callable[[Sequence[Feature], Kinds, RfmSteps], Fill]] = {
    Source.COUNT: _counts,
    Source.DAYS: _days,
    Source.SUM: _sums,
    Source.MEAN: _means,
    Source.RECENCY: _recency,
    Source.FIRST: _first,
    Source.LAST_VALUE: _last_values,
    Source.MONTH_COUNT: _month_counts,
    Source.MONTH_SUM: _month_sums,
    Source.HABIT: _habits,
    Source.GAP: _gaps,
    Source.RFM: _rfm,
    Source.HEAD: _heads,
    Source.CALLER: _callers,
}
