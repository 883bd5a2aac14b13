"""The offline replay of CDNOW."""

from __future__ import annotations

import pytest

from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import load_cdnow, main, render, run
from engine.features.churn.trainer import TrainerSettings


def test_cdnow_is_whole() -> None:
    """The log read from the package is the public one, in time order."""
    log = load_cdnow()
    assert len(log.customers) == 69_659
    assert len(set(log.customers.tolist())) == 23_570
    assert (log.time_s[1:] >= log.time_s[:-1]).all()
    assert (log.time_s[-1] - log.time_s[0]) // DAY_S == 545


def test_model_beats_its_references_on_real_purchases() -> None:
    """On a tenth of CDNOW's customers the blend beats the base rate by far and MBG/NBD alone."""
    log = load_cdnow()
    log = log.of(log.customers % 10 == 1)
    settings = TrainerSettings(1, rows_per_day=150, evaluate_from_s=int(log.time_s[0]) + 120 * DAY_S)
    report = run(log, settings).report()
    quality = report.quality["all"]
    assert quality.auc is not None
    assert quality.log_loss is not None
    assert quality.base_log_loss is not None
    assert quality.mbg_log_loss is not None
    assert quality.auc > 0.77
    assert quality.log_loss < 0.85 * quality.base_log_loss
    assert quality.log_loss < quality.mbg_log_loss
    assert "actionable" in render(report)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says what it does and what it takes."""
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "--horizon-days" in capsys.readouterr().out
