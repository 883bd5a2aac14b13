"""Makes the prior that ships with the engine: `python -m engine.features.churn.prior > prior.json`.

It is fitted on CDNOW customers with index % 4 = 0 only; the other customers stay untouched for tests.
Rows of all days are learned in shuffled order, so that it favours no season of that shop, and the
features that speak of money or of the shop as a whole are held at zero: a prior must hold elsewhere.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Final

import msgspec
import numpy as np

from engine.errors import EngineError
from engine.features.churn import mbg
from engine.features.churn.blocks import TrainingBlock, concatenate
from engine.features.churn.hazard import HAZARD_FEATURES
from engine.features.churn.history import StatisticsLog
from engine.features.churn.labels import came_back
from engine.features.churn.model import HazardModel
from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import CHOICE_SHARE, load_cdnow, training_blocks
from engine.features.churn.snapshot import HAZARD_DAYS, HazardParameters, Snapshot, encode_snapshot
from engine.features.churn.trainer import TrainerSettings

NOT_CARRIED_OVER: Final = ("log_mean_amount", "log_last_amount", "log_decayed_spend_90", "global_rate")
SEED: Final = 1
LEARNING_RATE: Final = 0.002
"""Larger than live, because a prior starts from nothing; the second half of the rows is learned slower."""


def make() -> Snapshot:
    """Fit the prior on every fourth customer of CDNOW.

    Returns:
        A snapshot of version 0.

    Raises:
        EngineError: the log is not installed, or MBG/NBD does not converge on it.
    """
    log = load_cdnow()
    blocks = training_blocks(log.of(log.customers % CHOICE_SHARE == 0))
    rows = concatenate([block for _, block in blocks])
    end_s = int(rows.time_s.max()) + DAY_S
    hazard, labels = _fit_hazard(rows, end_s)
    statistics = StatisticsLog()
    statistics.add(rows.customers, rows.time_s, rows.features)
    buying = mbg.fit(*statistics.as_of(float(end_s)))
    if buying is None:
        raise EngineError("mbg/nbd does not converge on the prior's customers")
    return Snapshot(
        version=0,
        cut_off_s=end_s,
        horizon_days=TrainerSettings(1).horizon_days,
        hazard=hazard,
        mbg=buying,
        prior=None,
        prior_share=0.0,
        mbg_share=TrainerSettings(1).mbg_share,
        labels_came_back=labels[0],
        labels_gone=labels[1],
        engine_version=version("engage"),
        river_version=version("river"),
    )


def _fit_hazard(rows: TrainingBlock, end_s: int) -> tuple[HazardParameters, tuple[int, int]]:
    horizon_s = HAZARD_DAYS * DAY_S
    bought = rows.is_purchase
    back = came_back(rows.customers, rows.time_s, rows.customers[bought], rows.time_s[bought], horizon_s)
    mature = np.flatnonzero(rows.time_s.astype(np.int64) + horizon_s < end_s)
    np.random.default_rng(SEED).shuffle(mature)
    features = rows.features.astype(np.float64)
    features[:, [HAZARD_FEATURES.index(name) for name in NOT_CARRIED_OVER]] = 0.0
    fast, slow = np.array_split(mature, 2)
    model = HazardModel(LEARNING_RATE, head_start=1.0)
    model.learn(features[fast], back[fast], np.ones(len(fast)))
    model.learn(features[slow], back[slow], np.full(len(slow), 0.1))
    returned = int(back[mature].sum())
    return model.parameters(), (returned, len(mature) - returned)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(encode_snapshot(make()), indent=2).decode() + "\n")
