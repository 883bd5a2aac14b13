"""Scores of a batch."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.features.churn.hazard import HAZARD_FEATURES
from engine.features.churn.model import HazardModel
from engine.features.churn.purchases import DAY_S, unpack_many, update_purchase
from engine.features.churn.scoring import Scorer
from engine.features.churn.sheet import hazard_matrix
from engine.features.churn.snapshot import Snapshot, shipped_prior
from tests.features.churn.samples import START_S, random_activity, random_stats


def trained(mbg_share: float = 0.5) -> tuple[HazardModel, Snapshot]:
    """A model trained on random customers, and its snapshot."""
    stats, now_s = random_stats(300, seed=2)
    rows = hazard_matrix(stats, now_s, 0.01, random_activity(300, seed=2))
    model = HazardModel(0.01)
    model.learn(rows, np.random.default_rng(1).random(300) < 0.3, np.ones(300))
    snapshot = msgspec.structs.replace(shipped_prior(), hazard=model.parameters(), mbg_share=mbg_share)
    return model, snapshot


@pytest.mark.parametrize("active", [True, False])
def test_chained_hazard_equals_river(*, active: bool) -> None:
    """The vector product gives River's own probabilities, chained over three steps, to 1e-9."""
    model, snapshot = trained(mbg_share=0.0)
    stats, now_s = random_stats(200)
    activity = random_activity(200) if active else None
    expected = np.ones(200)
    for ahead_d in (0, 30, 60):
        rows = hazard_matrix(stats, now_s + ahead_d * DAY_S, 0.01, activity)
        if ahead_d:
            rows[:, HAZARD_FEATURES.index("just_purchased")] = 0.0
        expected *= [1.0 - model.predict(row) for row in rows.tolist()]
    found = Scorer(snapshot).score(stats, now_s, 0.01, activity)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_mbg_share_of_one_is_mbg_alone() -> None:
    """The other end of the blend is MBG/NBD's own probability."""
    _, snapshot = trained(mbg_share=1.0)
    stats, now_s = random_stats(200)
    ages = (now_s - stats.first_s) / DAY_S
    last = (stats.last_s - stats.first_s) / DAY_S
    r, alpha, a, b = snapshot.mbg.r, snapshot.mbg.alpha, snapshot.mbg.a, snapshot.mbg.b
    repeats = stats.count - 1.0
    gone = a / (b + repeats) * ((alpha + ages) / (alpha + last)) ** (r + repeats)
    longer = ((alpha + ages) / (alpha + ages + 90.0)) ** (r + repeats)
    expected = (gone + longer) / (gone + 1.0)
    np.testing.assert_allclose(Scorer(snapshot).score(stats, now_s, 0.01), expected, rtol=1e-9)


def test_blend_is_the_mean_of_log_odds() -> None:
    """Half and half in log-odds, as the passport says."""
    _, snapshot = trained()
    stats, now_s = random_stats(100)
    risk = Scorer(snapshot).score_rows(hazard_matrix(stats, now_s, 0.01))
    odds = np.sqrt(risk.hazard / (1 - risk.hazard) * risk.mbg / (1 - risk.mbg))
    np.testing.assert_allclose(risk.blended, odds / (1 + odds), rtol=1e-9)


def test_frozen_rows_score_like_live_customers() -> None:
    """What the trainer judges is what the worker said, up to float32 rows."""
    _, snapshot = trained()
    stats, now_s = random_stats(200)
    activity = random_activity(200)
    rows = hazard_matrix(stats, now_s, 0.01, activity).astype(np.float32)
    live = Scorer(snapshot).score(stats, now_s, 0.01, activity)
    np.testing.assert_allclose(Scorer(snapshot).score_rows(rows).blended, live, atol=1e-4)


def test_who_did_nothing_is_scored_by_purchases_alone() -> None:
    """Zeros weigh exactly nothing, whatever was learned of others: to the last bit the score without them."""
    _, snapshot = trained()
    stats, now_s = random_stats(200)
    activity = random_activity(200)
    activity[:, ::2] = 0.0
    scorer = Scorer(snapshot)
    alone, found = scorer.score(stats, now_s, 0.01), scorer.score(stats, now_s, 0.01, activity)
    assert (found[::2] == alone[::2]).all()
    assert (found[1::2] != alone[1::2]).any()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_prior_is_blended_in_by_its_share(share: float) -> None:
    """At share 0 the prior is not heard, at 1 only the prior is."""
    _, snapshot = trained(mbg_share=0.0)
    prior = shipped_prior().hazard
    blended = msgspec.structs.replace(snapshot, prior=prior, prior_share=share)
    stats, now_s = random_stats(50)
    got = Scorer(blended).score(stats, now_s, 0.01)
    live = Scorer(snapshot).score(stats, now_s, 0.01)
    alone = Scorer(msgspec.structs.replace(snapshot, hazard=prior)).score(stats, now_s, 0.01)
    if share in (0.0, 1.0):
        np.testing.assert_allclose(got, live if share == 0.0 else alone, rtol=1e-9)
    else:
        assert not np.allclose(got, live)
        assert not np.allclose(got, alone)


@pytest.mark.parametrize("horizon_days", [30, 90, 360])
@pytest.mark.parametrize("now_d", [-50.0, 0.0, 1e4])
def test_scores_lie_strictly_between_0_and_1(horizon_days: int, now_d: float) -> None:
    """Whatever the clock and the horizon: a probability, never NaN."""
    snapshot = msgspec.structs.replace(shipped_prior(), horizon_days=horizon_days)
    stats, _ = random_stats(100)
    risk = Scorer(snapshot).score(stats, START_S + now_d * DAY_S, 0.0)
    assert ((risk > 0.0) & (risk < 1.0)).all()


def test_customer_without_purchases_has_no_risk() -> None:
    """Nobody can be lost who never bought: NaN, and the others keep their scores."""
    stats, _ = random_stats(2)
    first = stats.first_s[0]
    record_less = unpack_many(b"", np.zeros(3, np.bool_))
    assert np.isnan(Scorer(shipped_prior()).score(record_less, float(first), 0.01)).all()


def test_prior_orders_customers_sensibly() -> None:
    """The shipped prior finds a long silence riskier than a fresh purchase."""
    stats, _ = random_stats(50)
    scorer = Scorer(shipped_prior())
    fresh = scorer.score(stats, stats.last_s + DAY_S, 0.01)
    silent = scorer.score(stats, stats.last_s + 400 * DAY_S, 0.01)
    assert (silent > fresh).all()


@pytest.mark.parametrize("horizon_days", [30, 90])
def test_a_risk_does_not_depend_on_who_else_is_in_the_batch(horizon_days: int) -> None:
    """However a batch is cut, each row's risk and features are the same to the last bit."""
    rng = np.random.default_rng(5)
    records, now_s = [], []
    for _ in range(150):
        time_s, record = 1_600_000_000, None
        for _ in range(int(rng.integers(1, 9))):
            time_s += int(rng.integers(1_000, 4_000_000))
            record = update_purchase(record, time_s, float(rng.random() * 100))
        assert record is not None
        records.append(record)
        now_s.append(float(time_s + int(rng.integers(0, 20_000_000))))
    scorer = Scorer(msgspec.structs.replace(trained()[1], horizon_days=horizon_days))
    activity = random_activity(150)

    def score(start: int, end: int) -> tuple[list[float], list[list[float]]]:
        stats = unpack_many(b"".join(records[start:end]), np.ones(end - start, np.bool_))
        rates = np.full(end - start, 0.0123)
        risk, sheet = scorer.score_with_features(
            stats, np.array(now_s[start:end]), rates, activity[:, start:end]
        )
        return risk.tolist(), sheet.features().tolist()

    whole = score(0, len(records))
    for size in (1, 2, 3, 5, 7, 8, 13, 64):
        parts = [score(start, min(start + size, 150)) for start in range(0, 150, size)]
        assert [risk for part in parts for risk in part[0]] == whole[0]
        assert [row for part in parts for row in part[1]] == whole[1]
