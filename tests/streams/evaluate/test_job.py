"""An evaluation from beginning to end on small logs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import numpy as np
import pytest

from engine.authoring.evaluation.page import page
from engine.authoring.evaluation.references import Trees, light_gbm, months
from engine.authoring.evaluation.result import BASE, BG, MBG, OURS, RULE, TREES, Evaluation
from engine.errors import EngineError
from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import Purchases, load_cdnow, run
from engine.features.churn.trainer import TrainerSettings
from engine.settings import Settings
from engine.streams.evaluate import job
from engine.streams.evaluate.job import Request, evaluate, trainer_settings
from engine.streams.evaluate.run import from_purchases, run_log

START_S = 1_767_225_600  # 2026-01-01
SHARE = 100  # of CDNOW's customers one in so many


class Quiet:
    """Shows nothing, remembers what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """See `Screen`."""
        assert total >= 0
        self.begun.append(what)
        return lambda _: None


def some() -> Purchases:
    """Every hundredth CDNOW customer, of those that choices may be made on; ten months."""
    log = load_cdnow()
    return log.of((log.customers % SHARE == 0) & (log.time_s < log.time_s[0] + 300 * DAY_S))


def made(customers: list[int], days: list[float]) -> Purchases:
    """A log of one purchase for each customer and day."""
    times = (START_S + np.array(days) * DAY_S).astype(np.int64)
    return Purchases(np.array(customers, np.int64), times, np.full(len(days), 20.0))


@cache
def evaluated() -> Evaluation:
    """All models on the sample."""
    return evaluate(from_purchases(some()), Settings(), Request("cdnow", tune=False), Quiet())


def test_the_products_path_gives_what_the_trainer_alone_gives() -> None:
    """Rows made by the pipeline are learned and judged as those an offline run makes, to 1e-6."""
    log = some()
    from_s = int(log.time_s[0]) + 120 * DAY_S
    offline = run(log, TrainerSettings(1, evaluate_from_s=from_s)).report()
    online = run_log(from_purchases(log), Settings(), trainer_settings(Settings(), from_s), features=False)
    for group, quality in offline.quality.items():
        other = online.report.quality[group]
        assert other.rows == quality.rows > 10
        assert other.log_loss == pytest.approx(quality.log_loss, abs=1e-6)
        assert other.auc == pytest.approx(quality.auc, abs=1e-6)
        assert evaluated().models[0].quality[group].log_loss == pytest.approx(quality.log_loss, abs=1e-6)
        assert evaluated().models[0].quality[group].rows == quality.rows


def test_all_models_are_judged_on_the_same_rows() -> None:
    """Every model says what it was given and has the same rows; ours comes first."""
    found = evaluated()
    assert [each.name for each in found.models] == [OURS, MBG, RULE, BASE, BG, TREES]
    assert len({each.quality["all"].rows for each in found.models}) == 1
    assert all(each.given for each in found.models)
    loss = {each.name: each.quality["all"].log_loss or 9.0 for each in found.models}
    assert loss[OURS] < loss[BASE]
    assert msgspec.json.decode(msgspec.json.encode(found), type=Evaluation) == found


def test_page_shows_every_model_and_stands_alone() -> None:
    """The page names each model, draws, and loads nothing."""
    written = page(evaluated())
    assert all(name in written for name in (OURS, MBG, RULE, BG, TREES, "<svg", "95 % interval"))
    assert "src=" not in written
    assert "<script" not in written


def test_figures_are_told_by_segment_too() -> None:
    """Each row counts in the segment its customer was in then, for every model, on the page too."""
    found = evaluated()
    for model in found.models:
        assert sum(each.rows for each in model.segments.values()) == model.quality["all"].rows
    segments = found.models[0].segments
    # who has been silent for more than 90 days is in this segment, and few of them come back
    silent = segments["churn_risk"]
    assert silent.base_rate is not None
    assert all(
        silent.base_rate > each.base_rate for each in segments.values() if each.base_rate and each != silent
    )
    assert all(name in page(found) for name in segments)


def test_tuning_sets_customers_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tuning, a fourth of the customers is judged by nobody, and the report says so."""
    monkeypatch.setattr(job, "GRID", (Trees(4, 5, 20), Trees(8, 5, 20)))
    screen = Quiet()
    log = some()
    found = evaluate(from_purchases(log), Settings(), Request("cdnow"), screen)
    assert found.tested < found.customers
    assert "tuning" in screen.begun
    assert any("set aside" in note for note in found.notes)


def test_light_gbm_knows_no_label_before_its_time() -> None:
    """Changing labels that had not matured changes nothing that was said."""
    log = some()
    rows = run_log(from_purchases(log), Settings(), trainer_settings(Settings()), features=True).rows
    from_s = int(log.time_s[0]) + 180 * DAY_S
    cut = months(rows, from_s, 90)[:1]
    before = light_gbm(rows, cut, Trees(4, 10, 20))
    rows.gone[cut[0].known :] = ~rows.gone[cut[0].known :]
    assert np.array_equal(before, light_gbm(rows, cut, Trees(4, 10, 20)))
    assert rows.time_s[cut[0].known - 1] + 90 * DAY_S < cut[0].at_s <= rows.time_s[cut[0].known] + 90 * DAY_S


def test_a_single_customer() -> None:
    """One customer who buys monthly: figures, and no fit of MBG/NBD."""
    log = made([7] * 14, [float(30 * at) for at in range(14)])
    found = evaluate(from_purchases(log), Settings(), Request("one", alone=True), Quiet())
    assert found.tested == 1
    assert found.models[0].quality["all"].rows > 0
    assert any("MBG/NBD kept its earlier parameters" in note for note in found.notes)


def test_no_repeat_buyer() -> None:
    """Nobody comes back: a base rate of one, no AUC, and a note that says why; all models agree to it."""
    log = made(list(range(300)), [float(at) for at in range(300)])
    found = evaluate(from_purchases(log), Settings(), Request("once", tune=False), Quiet())
    quality = found.models[0].quality["all"]
    assert (quality.base_rate, quality.auc) == (1.0, None)
    assert any("nobody came back" in note for note in found.notes)
    assert "nobody came back" in page(found)


def test_a_year_of_silence_and_huge_amounts() -> None:
    """A gap of a year and an amount of 1e12 leave finite figures."""
    days = [*map(float, range(200)), *map(float, range(565, 800))]
    log = made([at % 20 for at in range(len(days))], days)
    log.amount[5] = 1e12
    found = evaluate(from_purchases(log), Settings(), Request("gap", alone=True), Quiet())
    assert np.isfinite(found.models[0].quality["all"].log_loss or np.nan)
    assert any("nothing happened for 366 days" in note for note in found.notes)


def test_a_log_that_is_too_short_says_how_long_it_must_be() -> None:
    """Nothing can be judged before warm-up and horizon have passed."""
    with pytest.raises(EngineError, match="the log spans 41 days, and it takes 211"):
        evaluate(from_purchases(made([1, 2], [0.0, 40.0])), Settings(), Request("short", alone=True), Quiet())
