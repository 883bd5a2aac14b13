"""The models the churn model is compared with, each refit monthly on what was known by then.

All see the same rows and features. A label counts from the day its horizon has passed, as for our own model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.authoring.evaluation import bgnbd
from engine.authoring.evaluation.rows import Rows
from engine.errors import ConfigError
from engine.features.churn.hazard import HAZARD_FEATURES, basis_of_features
from engine.features.churn.history import StatisticsLog
from engine.features.churn.purchases import DAY_S

Floats = npt.NDArray[np.float64]

REFIT_DAYS: Final = 30
RULE_DAYS: Final = 90.0
MIN_LABELS: Final = 200
MAX_RISK: Final = 1.0 - 1e-6
Step = Callable[[], None]


class Trees(msgspec.Struct, frozen=True):
    """What is tuned of LightGBM; everything else is its default.

    Args:
        leaves: of a tree.
        rounds: trees.
        min_rows: in a leaf.
        learning_rate: of each tree.
    """

    leaves: int = 4
    rounds: int = 240
    min_rows: int = 1000
    learning_rate: float = 0.05

    def __str__(self) -> str:
        return f"{self.rounds} trees of {self.leaves} leaves with at least {self.min_rows} rows"


GRID: Final = tuple(
    Trees(leaves, rounds, min_rows)
    for leaves in (4, 8, 16, 32)
    for rounds in (120, 240)
    for min_rows in (100, 1000)
)
"""What tuning tries."""
CHOSEN_ON_CDNOW: Final = Trees(leaves=8, rounds=240, min_rows=1000)
"""The best of `GRID` on every fourth CDNOW customer (`python -m loadtest.churn --tune`)."""


@dataclass(frozen=True, slots=True)
class Month:
    """One refit: what may be learned from, and what is to be said.

    Args:
        at_s: when.
        known: rows whose label was known by then, as a number of rows from the start.
        seen: rows that lie before, as a number of rows from the start.
        said: the rows of the month.
    """

    at_s: int
    known: int
    seen: int
    said: slice


def months(rows: Rows, from_s: int, horizon_days: int) -> list[Month]:
    """Cut rows into months.

    Args:
        rows: in time order.
        from_s: rows from here on are judged.
        horizon_days: after so many days a label is known.
    """
    if not len(rows) or rows.time_s[-1] < from_s:
        return []
    starts = np.arange(from_s, rows.time_s[-1] + 1, REFIT_DAYS * DAY_S)
    edges = np.searchsorted(rows.time_s, np.append(starts, rows.time_s[-1] + 1)).tolist()
    known = np.searchsorted(rows.time_s, starts - horizon_days * DAY_S).tolist()
    return [
        Month(int(at_s), known[number], edges[number], slice(edges[number], edges[number + 1]))
        for number, at_s in enumerate(starts)
    ]


def base_rate(rows: Rows, cuts: Sequence[Month]) -> Floats:
    """Always say the share that had gone by then, (judged rows,)."""
    return _by_month(cuts, lambda month: np.full(_length(month), _share(rows.gone[: month.known])))


def recency_rule(rows: Rows, cuts: Sequence[Month]) -> Floats:
    """Say the share that had gone among those silent for more than 90 days, or among the others."""

    def say(month: Month) -> Floats:
        silent = rows.recency_d > RULE_DAYS
        known, now = silent[: month.known], silent[month.said]
        gone = rows.gone[: month.known]
        return np.where(now, _share(gone[known]), _share(gone[~known]))

    return _by_month(cuts, say)


def bg_nbd(rows: Rows, cuts: Sequence[Month], horizon_days: int, step: Step = lambda: None) -> Floats:
    """BG/NBD, fitted to all customers seen by then, (judged rows,)."""
    basis = basis_of_features(rows.features)
    repeats, age = basis.repeats, basis.tenure_d
    last = np.maximum(age - basis.recency_d, 0.0)
    histories = StatisticsLog()
    noted = 0
    model: bgnbd.BgNbd | None = None
    parts = []
    for month in cuts:
        new = slice(noted, month.seen)
        histories.add(rows.customers[new], rows.time_s[new].astype(np.uint32), rows.features[new])
        noted = month.seen
        model = bgnbd.fit(*histories.as_of(float(month.at_s)), model) or model
        if model is None:
            parts.append(np.full(_length(month), _share(rows.gone[: month.known])))
        else:
            at = month.said
            parts.append(bgnbd.stays_away(model, repeats[at], last[at], age[at], float(horizon_days)))
        step()
    return np.concatenate(parts) if parts else np.empty(0)


def light_gbm(rows: Rows, cuts: Sequence[Month], trees: Trees, step: Step = lambda: None) -> Floats:
    """LightGBM on the same features, trained anew on all labels known by then, (judged rows,).

    Raises:
        ConfigError: LightGBM is not installed.
    """
    library = load_light_gbm()
    settings = {
        "objective": "binary",
        "num_leaves": trees.leaves,
        "min_data_in_leaf": trees.min_rows,
        "learning_rate": trees.learning_rate,
        "verbose": -1,
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # on a busy machine its threads wait for one another
    }

    def say(month: Month) -> Floats:
        gone = rows.gone[: month.known]
        step()
        if month.known < max(MIN_LABELS, 2 * trees.min_rows) or gone.all() or not gone.any():
            return np.full(_length(month), _share(gone))
        data = library.Dataset(rows.features[: month.known], gone.astype(np.float64))
        booster = library.train(settings, data, trees.rounds)
        return np.asarray(booster.predict(rows.features[month.said]), np.float64)

    return _by_month(cuts, say)


def load_light_gbm() -> Any:
    """Import LightGBM.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import lightgbm  # noqa: PLC0415 - an extra
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"LightGBM is not to be had ({error}): pip install 'engage[evaluate]', or leave it out "
            "with --alone"
        ) from None
    return lightgbm


def tune(
    rows: Rows, cuts: Sequence[Month], grid: Sequence[Trees], step: Step = lambda: None
) -> Iterator[tuple[Trees, float]]:
    """Try each setting on rows that are not tested.

    Yields:
        The setting, and the log-loss of its monthly retrained models.
    """
    judged = rows.gone[cuts[0].said.start :] if cuts else rows.gone[:0]
    for trees in grid:
        risk = np.clip(light_gbm(rows, cuts, trees, step), 1.0 - MAX_RISK, MAX_RISK)
        yield trees, float(-np.log(np.where(judged, risk, 1.0 - risk)).mean()) if len(judged) else 0.0


def _by_month(cuts: Sequence[Month], say: Callable[[Month], Floats]) -> Floats:
    return np.concatenate([say(month) for month in cuts]) if cuts else np.empty(0)


def _length(month: Month) -> int:
    return int(month.said.stop - month.said.start)


def _share(gone: npt.NDArray[np.bool_]) -> float:
    """Share gone, drawn a little towards one half so that it is never 0 or 1."""
    return float((gone.sum() + 0.5) / (len(gone) + 1.0))


FEATURES_GIVEN: Final = len(HAZARD_FEATURES)
