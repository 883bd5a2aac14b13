"""Whether a score is good enough to act on, in a sentence."""

from __future__ import annotations

import re

import pytest

from engine.features.churn.evaluation import Quality
from engine.features.churn.quality import ENOUGH_ROWS, fit_to_act


def judged(rows: int, log_loss: float = 0.4, error: float = 0.02) -> Quality:
    """Make the figures of some rows; the base rate's log-loss is 0.5."""
    return Quality(rows, log_loss=log_loss, base_log_loss=0.5, calibration_error=error)


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        (Quality(0), "not yet: 0 risks"),
        (judged(ENOUGH_ROWS - 1), "not yet: 1,999 risks"),
        (judged(ENOUGH_ROWS, log_loss=0.5), "no: log-loss 0.500 is no better"),
        (judged(ENOUGH_ROWS, error=0.28), "only to sort by: .* by 28%"),
        (judged(ENOUGH_ROWS), "yes: 2,000 risks"),
    ],
)
def test_fit_to_act(quality: Quality, said: str) -> None:
    """It takes enough judged rows of customers one can still act on, a gain, and risks that hold."""
    assert re.match(said, fit_to_act({}, {"all": Quality(10**6), "actionable": quality}))
    worse = {"actionable": judged(ENOUGH_ROWS, log_loss=0.6)}
    assert fit_to_act(worse, {"actionable": judged(10**6)}).startswith("no: ")
