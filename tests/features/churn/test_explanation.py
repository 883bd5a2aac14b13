"""A risk taken apart: the parts add up, point the right way, and are said in a marketer's words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.features.churn.activity import activity_features
from engine.features.churn.evaluation import Band, Quality, Tally
from engine.features.churn.explanation import explain_risk, risk_lines
from engine.features.churn.hazard import HAZARD_FEATURES
from engine.features.churn.purchases import DAY_S
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Snapshot, decode_snapshot, encode_snapshot, shipped_prior
from tests.features.churn.samples import START_S, stats_of

REGULAR = stats_of([[(START_S + week * 14 * DAY_S, 30.0) for week in range(12)]])
LAST_S = float(REGULAR.last_s[0])


def judged(bands: tuple[Band, ...]) -> Snapshot:
    """The shipped prior, as if it had been judged."""
    return msgspec.structs.replace(shipped_prior(), version=7, recent={"all": Quality(900, bands=bands)})


@pytest.mark.parametrize("days", [0, 3, 40, 400])
@pytest.mark.parametrize("horizon_days", [30, 90])
def test_the_parts_add_up(days: int, horizon_days: int) -> None:
    """From the typical customer's log-odds the contributions lead exactly to this customer's."""
    snapshot = shipped_prior(horizon_days)
    explained = explain_risk(snapshot, REGULAR, LAST_S + days * DAY_S, 0.01)
    score = Scorer(snapshot).score(REGULAR, np.array([LAST_S + days * DAY_S]), 0.01)[0]
    assert explained.risk == pytest.approx(score, rel=1e-9)
    from_log = np.log(explained.typical_risk / (1.0 - explained.typical_risk))
    to_log = np.log(score / (1.0 - score))
    total = sum(part.log_odds for part in explained.contributions)
    assert total == pytest.approx(to_log - from_log, abs=1e-9)
    sizes = [abs(part.log_odds) for part in explained.contributions]
    assert sizes == sorted(sizes, reverse=True)


def test_silence_raises_and_a_fresh_order_lowers_the_risk() -> None:
    """For one who bought every two weeks the last order is what counts most after a long silence."""
    silent = explain_risk(shipped_prior(), REGULAR, LAST_S + 300 * DAY_S, 0.01)
    first = silent.contributions[0]
    assert (first.what, first.value) == ("time since the last order", "300 days")
    assert first.log_odds > 0.0
    fresh = explain_risk(shipped_prior(), REGULAR, LAST_S + DAY_S, 0.01)
    parts = {part.what: part.log_odds for part in fresh.contributions}
    assert parts["time since the last order"] < 0.0
    assert parts["times ordered"] < 0.0


def test_what_else_a_customer_does_is_said_in_a_marketers_words() -> None:
    """Where the model learned of visits and answers, they are parts; elsewhere they are not named."""
    activity = activity_features(np.array([[50.0, 0, 0, 1, 0, 0, 1, -1, 300]]).T)
    assert activity is not None
    prior = shipped_prior()
    silent = explain_risk(prior, REGULAR, LAST_S + DAY_S, 0.01, activity)
    assert "visits" not in {part.what for part in silent.contributions}
    learned = dict(
        zip(HAZARD_FEATURES, zip(prior.hazard.weights, prior.hazard.variances, strict=True), strict=True)
    )
    learned |= {"visit_change": (0.4, 0.25), "log_visit_habit": (0.2, 0.5), "csat": (0.3, 1.0)}
    weights, variances = zip(*learned.values(), strict=True)
    hazard = msgspec.structs.replace(prior.hazard, weights=weights, variances=variances)
    snapshot = msgspec.structs.replace(prior, hazard=hazard)
    explained = explain_risk(snapshot, REGULAR, LAST_S + DAY_S, 0.01, activity)
    parts = {part.what: part for part in explained.contributions}
    assert len(parts) == 9
    visits, answer = parts["visits"], parts["last satisfaction answer (CSAT)"]
    assert visits.value == "1.0 in the last 7 days, usually 3.9 a week"
    assert (answer.value, answer.typical) == ("1.0", "no answer")
    assert answer.log_odds > 0.0
    score = Scorer(snapshot).score(REGULAR, np.array([LAST_S + DAY_S]), 0.01, activity)[0]
    assert explained.risk == pytest.approx(score, rel=1e-9)
    total = sum(part.log_odds for part in explained.contributions)
    typical = np.log(explained.typical_risk / (1.0 - explained.typical_risk))
    assert total == pytest.approx(np.log(score / (1.0 - score)) - typical, abs=1e-9)
    down = activity_features(np.array([[50.0, 0, 0, 0, 0, 0, 1, -1, 300]]).T)
    fewer = explain_risk(snapshot, REGULAR, LAST_S + DAY_S, 0.01, down)
    assert {part.what: part.log_odds for part in fewer.contributions}["visits"] > visits.log_odds


def test_a_band_says_how_many_truly_left() -> None:
    """The band of the risk is named once it has been judged on enough rows, else that nothing is known."""
    at_s = LAST_S + 300 * DAY_S
    risk = explain_risk(shipped_prior(), REGULAR, at_s, 0.01).risk
    few = explain_risk(judged((Band(0.0, 1.0, 40, 0.7, 0.7),)), REGULAR, at_s, 0.01)
    assert few.band is None
    assert risk_lines(few)[-1].endswith("is not known yet: 40 have been judged, it takes 100")
    band = Band(risk - 0.1, risk + 0.1, 900, risk, 0.9)
    explained = explain_risk(judged((band,)), REGULAR, at_s, 0.01)
    assert explained.band == band
    text = "\n".join(risk_lines(explained))
    assert "90% truly stayed away (900 judged)" in text
    assert "raises it +" in text
    assert "(model 7;" in text
    assert "time since the last order: 300 days, typically" in text
    unknown = explain_risk(shipped_prior(), REGULAR, at_s, 0.01)
    assert "not known yet: none has been judged" in risk_lines(unknown)[-1]


def test_the_page_shows_what_is_said() -> None:
    """The example of docs/explain.md is what the code says."""
    page = (Path(__file__).parents[3] / "docs" / "explain.md").read_text("utf-8")
    explained = explain_risk(shipped_prior(), REGULAR, LAST_S + 300 * DAY_S, 0.005)
    assert "\n".join(risk_lines(explained)) in page


def test_bands_count_every_row_once() -> None:
    """The bands of a tally hold all its rows, with the mean risk within each band's edges."""
    rng = np.random.default_rng(3)
    risk = rng.uniform(0.001, 0.999, 5_000)
    tally = Tally()
    tally.add(risk, risk, rng.random(5_000) < risk)
    quality = tally.summary()
    assert sum(band.rows for band in quality.bands) == 5_000
    for band in quality.bands:
        assert band.low - 0.01 <= band.predicted <= band.high + 0.01
        assert band.observed == pytest.approx(band.predicted, abs=0.06)
    snapshot = msgspec.structs.replace(shipped_prior(), recent={"all": quality})
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
