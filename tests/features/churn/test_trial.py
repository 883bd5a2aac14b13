"""A new snapshot is tried on the labels that matured last before it may go live."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from engine.features.churn.replay import training_blocks
from engine.features.churn.snapshot import Snapshot, decode_snapshot, encode_snapshot, shipped_prior
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.features.churn.trainer_state import dump_trainer, load_trainer
from engine.features.churn.trial import MIN_TRIAL_ROWS, TRIAL_DAYS, TrialWindow
from tests.features.churn.samples import block_of, random_log

ONE = TrainerSettings(partitions=1, learning_rate=0.01, prior_labels=100)

BOUND = 0.05  # a trainer that learns ten times as fast as usual knows its past better than it foretold it


@pytest.fixture(scope="module")
def core() -> TrainerCore:
    """A trainer that has seen five months of a made-up shop."""
    trained = TrainerCore(ONE)
    for end_s, rows in training_blocks(random_log(customers=320, days=150)):
        trained.add_block(0, rows)
        trained.advance(0, end_s)
    return trained


def spoiled(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """The snapshot with another hazard."""
    return msgspec.structs.replace(snapshot, hazard=msgspec.structs.replace(snapshot.hazard, **changes))


def test_what_is_no_worse_passes(core: TrainerCore) -> None:
    """A snapshot held against itself passes, and its passport says on how many labels and against whom."""
    live = core.snapshot()
    trial = core.snapshot(live, BOUND).trial
    assert trial is not None
    assert trial.passed
    assert trial.live_version == live.version
    assert trial.rows > MIN_TRIAL_ROWS
    assert trial.own_log_loss == trial.live_log_loss
    assert decode_snapshot(encode_snapshot(core.snapshot(live, BOUND))).trial == trial


def test_what_has_gone_wrong_is_refused(core: TrainerCore) -> None:
    """A snapshot whose weights were spoiled a moment ago fails, though the trainer was good until then."""
    live = core.snapshot()
    bad = spoiled(live, intercept=live.hazard.intercept + 5.0)
    trial = core.trials.judge(bad, live, bound=BOUND)
    assert not trial.passed
    assert core.trials.judge(bad, live, bound=10.0).passed, "the bound is the operator's"


def test_a_trainer_that_was_wrong_within_the_window_is_refused(core: TrainerCore) -> None:
    """What was said before learning counts, not only how well the past is known afterwards."""
    window, good = TrialWindow(), core.snapshot()
    bad = spoiled(good, intercept=good.hazard.intercept + 5.0)
    rows = block_of([(customer, customer % 9, False) for customer in range(1_200)])
    back = np.arange(1_200) % 3 == 0
    window.add(100, rows, back, np.ones(1_200), bad)
    trial = window.judge(good, good, bound=BOUND)
    assert (trial.own_log_loss, trial.passed) == (trial.live_log_loss, False)
    window.add(100 + TRIAL_DAYS, rows, back, np.ones(1_200), good)
    assert window.judge(good, good, bound=BOUND).passed, "what left the window is forgotten"


def test_few_labels_decide_nothing() -> None:
    """With nothing live, no labels, or too few of them, a snapshot passes."""
    fresh = TrainerCore(ONE)
    trial = fresh.snapshot().trial
    assert trial is not None
    assert (trial.rows, trial.live_version, trial.log_loss, trial.passed) == (0, -1, None, True)
    window, prior = TrialWindow(), shipped_prior()
    window.add(100, block_of([(1, 0, True), (2, 0, True)]), np.array([True, False]), np.ones(2), prior)
    bad = msgspec.structs.replace(spoiled(prior, intercept=20.0), prior_share=0.0)
    assert window.judge(bad, prior, bound=0.0).passed
    assert window.judge(bad, None, bound=0.0).live_log_loss is None


def test_a_trainer_that_lost_its_state_replaces_nothing(core: TrainerCore) -> None:
    """Without labels to judge by, one that has learned less than the live one does not pass."""
    trial = TrainerCore(ONE).snapshot(core.snapshot()).trial
    assert trial is not None
    assert (trial.rows, trial.passed) == (0, False)


def test_a_live_snapshot_of_another_horizon_is_none(core: TrainerCore) -> None:
    """Workers that wait for another horizon score with nothing yet: the first that fits goes live."""
    live = msgspec.structs.replace(core.snapshot(), horizon_days=180)
    trial = core.snapshot(live).trial
    assert trial is not None
    assert (trial.live_version, trial.passed) == (-1, True)


def test_a_restart_keeps_the_window(core: TrainerCore) -> None:
    """Dumped and restored, the trial's rows are the same to the byte."""
    live = spoiled(core.snapshot(), intercept=0.5)
    again = load_trainer(dump_trainer(core))
    assert again.snapshot(live).trial == core.snapshot(live).trial
    assert again.trials.to_state() == core.trials.to_state()
