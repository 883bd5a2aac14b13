"""What a churn score costs: `python -m loadtest.score`. Processor time, the least of many rounds.

From a customer's purchase statistics to the risk; with activity, also what it takes to read that off the
features computed for rules. Reading the statistics out of the state comes on top: 0.05 us a row in batches
of 128.

Beside it, what one row costs by River's own `predict_proba_one`, taken in the same rounds: only the hazard's
first step, without the chain and without MBG/NBD. Machines differ, and so do hours; the
ratio does much less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from river import linear_model, preprocessing

from engine.features.catalog import NO_SCORE
from engine.features.churn.activity import NEEDED_COLUMNS, activity_of
from engine.features.churn.hazard import FEATURE_COUNT, HAZARD_FEATURES
from engine.features.churn.purchases import DAY_S, unpack_many, update_purchase
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import shipped_prior
from engine.features.definitions import Definitions

BATCHES: Final = (32, 128, 256, 512, 1000)
_ROUND_ROWS: Final = 2_000
_RIVER_ROWS: Final = 50
Work = Callable[[], object]


def least_us(works: dict[Work, int], rounds: int) -> dict[Work, float]:
    """Return each call's least processor time in any round, microseconds a row.

    Args:
        works: what is timed, and how many rows a call of it scores; they take turns.
        rounds: of each.
    """
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for work, rows in works.items():
            calls = max(1, _ROUND_ROWS // rows) if rows > 1 else _RIVER_ROWS
            began = time.process_time_ns()
            for _ in range(calls):
                work()
            spent = time.process_time_ns() - began
            least[work] = min(least[work], spent / calls / rows / 1000)
    return least


def river_prediction() -> Work:
    """Return a call of River's scaler and regression on one row of as many features as ours."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    rng = np.random.default_rng(2)
    for values in rng.random((100, FEATURE_COUNT)).tolist():
        model.learn_one(dict(zip(HAZARD_FEATURES, values, strict=True)), values[0] > values[1])
    row = dict(zip(HAZARD_FEATURES, rng.random(FEATURE_COUNT).tolist(), strict=True))
    return lambda: model.predict_proba_one(row)


def main() -> int:
    """Print the cost of a row by batch size: orders alone, and with other activity."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.score", description=__doc__)
    parser.add_argument("--batches", type=int, nargs="*", default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    scorer, space = Scorer(shipped_prior()), Definitions().space()
    by_river = river_prediction()
    print(f"{'batch':>6}{'orders alone':>14}{'with activity':>15}{'River, a step':>15} us a row")
    for rows in options.batches:
        records = []
        for _ in range(rows):
            record, time_s = None, 1_600_000_000
            for _ in range(int(rng.integers(1, 9))):
                time_s += int(rng.integers(DAY_S, 60 * DAY_S))
                record = update_purchase(record, time_s, float(rng.gamma(2.0, 20.0)))
            records.append(record or b"")
        blob, has = b"".join(records), np.ones(rows, np.bool_)
        stats = unpack_many(blob, has)
        now_s = stats.last_s + rng.exponential(50.0, rows) * DAY_S
        rates = np.full(rows, 0.01)
        # as a worker has it: a wave's features, of which these are read off
        matrix = np.zeros((rows, len(space.names)))
        for name in NEEDED_COLUMNS:
            answer = name.endswith("_last")
            matrix[:, space.index[name]] = NO_SCORE if answer else rng.poisson(2.0, rows)

        def alone() -> object:
            return scorer.score_with_features(stats, now_s, rates)  # noqa: B023 - called here

        def active() -> object:
            found = activity_of(space, matrix)  # noqa: B023
            return scorer.score_with_features(stats, now_s, rates, found)  # noqa: B023

        figures = least_us({alone: rows, active: rows, by_river: 1}, options.rounds)
        print(f"{rows:>6}{figures[alone]:>14.3f}{figures[active]:>15.3f}{figures[by_river]:>15.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
