"""Makes the prior that ships with the engine: `python -m engine.features.churn.prior > prior.json`.

It is fitted on CDNOW customers with index % 4 = 0 only; the other customers stay untouched for tests.
"""

from __future__ import annotations

import sys

import msgspec

from engine.features.churn.mbg import MbgParameters
from engine.features.churn.model import HazardModel
from engine.features.churn.replay import TRAINED_SHARE, load_cdnow, run
from engine.features.churn.snapshot import Snapshot, encode_snapshot
from engine.features.churn.trainer import TrainerSettings

PRIOR_ROWS_PER_DAY = 1_000


def blank() -> Snapshot:
    """Return a model that has learned nothing: what the prior itself starts from."""
    parameters = HazardModel().parameters()
    return Snapshot(
        version=0,
        cut_off_s=0,
        horizon_days=90,
        hazard=parameters,
        mbg=MbgParameters(1.0, 90.0, 1.0, 1.0),
        prior=None,
        prior_share=0.0,
        mbg_share=0.5,
        labels_came_back=0,
        labels_gone=0,
        engine_version="",
        river_version="",
    )


def make() -> Snapshot:
    """Fit the prior on every fourth customer of CDNOW."""
    log = load_cdnow()
    log = log.of(log.customers % TRAINED_SHARE == 0)
    settings = TrainerSettings(partitions=1, rows_per_day=PRIOR_ROWS_PER_DAY, prior_labels=0)
    snapshot = run(log, settings, blank()).snapshot()
    return msgspec.structs.replace(snapshot, version=0)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(encode_snapshot(make()), indent=2).decode() + "\n")
