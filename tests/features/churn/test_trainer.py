"""The trainer's pure core."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, StateError
from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import Purchases, run, training_blocks
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Snapshot, decode_snapshot, encode_snapshot
from engine.features.churn.trainer import TrainerCore, TrainerReport, TrainerSettings
from engine.features.churn.trainer_state import dump_trainer, load_trainer
from tests.features.churn.samples import START_S, block_of, random_log

LOG = random_log(customers=120, days=260)
DAYS = list(training_blocks(LOG))
ONE = TrainerSettings(partitions=1, learning_rate=0.01)


def outcome(core: TrainerCore) -> tuple[Snapshot, TrainerReport]:
    """All that the outside sees of a trainer."""
    return core.snapshot(), core.report()


REFERENCE = outcome(run(LOG, ONE))


def day_s(day: float) -> int:
    """The instant of a day of the made-up shop."""
    return int(START_S + day * DAY_S)


def test_both_classes_are_released_only_at_maturity() -> None:
    """Neither who came back nor who stayed away is learned before 30 days are over."""
    core = TrainerCore(TrainerSettings(partitions=1))
    core.add_block(0, block_of([(1, 0, True), (2, 0, True), (1, 3, True)]))
    core.advance(0, day_s(30))
    assert core.snapshot().labels == 0
    core.advance(0, day_s(31))
    snapshot = core.snapshot()
    assert (snapshot.labels_came_back, snapshot.labels_gone) == (1, 1)
    core.advance(0, day_s(34))
    assert core.snapshot().labels_gone == 2


def test_risk_is_judged_only_after_the_whole_horizon() -> None:
    """The figures of quality wait for 90 days, not for the first return."""
    core = TrainerCore(TrainerSettings(partitions=1))
    core.add_block(0, block_of([(1, 0, True), (2, 0, True), (1, 60, True)]))
    core.advance(0, day_s(90))
    assert core.report().quality["all"].rows == 0
    core.advance(0, day_s(91))
    quality = core.report().quality["all"]
    assert (quality.rows, quality.base_rate) == (2, 0.5)


def test_quality_is_told_by_segment_too() -> None:
    """Each segment's rows are judged apart, under the name it goes by; together they are all rows."""
    core = TrainerCore(TrainerSettings(partitions=1))
    core.segment_names = ("", "loyal")
    core.add_block(0, block_of([(1, 0, True), (2, 0, True), (3, 1, True), (4, 1, False)]))
    core.advance(0, day_s(92))
    snapshot = core.snapshot()
    found = {name: quality.rows for name, quality in snapshot.segments.items()}
    assert found == {"loyal": 2, "no segment": 1, "segment 2": 1}
    assert snapshot.recent_segments == snapshot.segments
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


def test_risk_judged_is_that_of_the_time() -> None:
    """A row is judged by what was said when it came, not by what has been learned since."""
    core = TrainerCore(ONE)
    block = block_of([(1, 0, True), (2, 0, False)])
    before = Scorer(core.snapshot()).score_rows(block.features).blended
    core.add_block(0, block)
    for end_s, rows in DAYS:
        core.add_block(0, rows)
        core.advance(0, end_s)
        if end_s == day_s(10):
            early = core.scored[START_S // DAY_S]
    kept = dict(zip(early.customers.tolist(), early.risk.tolist(), strict=True))
    np.testing.assert_allclose([kept[1], kept[2]], before, atol=1e-6)
    assert core.snapshot().hazard.rows > 100


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_outcome_does_not_depend_on_arrival(seed: int) -> None:
    """Other batches, several partitions, interleaved, repeated: the same model and the same figures."""
    rng = np.random.default_rng(seed)
    core = TrainerCore(TrainerSettings(partitions=3, learning_rate=0.01))
    ahead: list[tuple[int, TrainingBlock]] = []
    for index, (end_s, rows) in enumerate(DAYS):
        shuffled = rows.take(rng.permutation(len(rows)))
        for part in np.array_split(np.arange(len(rows)), rng.integers(1, 4)):
            block = shuffled.take(part)
            owner = block.customers % 3
            ahead.extend((p, block.take(owner == p)) for p in range(3))
        if rng.random() < 0.3 or index == len(DAYS) - 1:
            for place in rng.permutation(len(ahead)):
                core.add_block(*ahead[place])
                if rng.random() < 0.1:
                    core.add_block(*ahead[place])
            ahead = []
            for partition in rng.permutation(3):
                core.advance(int(partition), end_s)
    assert outcome(core) == REFERENCE


def test_block_delivered_twice_counts_once() -> None:
    """A repeat after a crash is late and doubles no label."""
    core = TrainerCore(ONE)
    for end_s, rows in DAYS:
        core.add_block(0, rows)
        core.advance(0, end_s)
        core.add_block(0, rows)
    report = core.report()
    assert report.late_rows == sum(len(rows) for _, rows in DAYS)
    assert msgspec.structs.replace(core.snapshot(), progress=None) == msgspec.structs.replace(
        run(LOG, ONE).snapshot(), progress=None
    )


def test_slowest_partition_holds_the_labels_back() -> None:
    """A purchase may still be on its way: nothing matures until every partition has passed."""
    core = TrainerCore(TrainerSettings(partitions=2))
    core.add_block(0, block_of([(1, 0, True)]))
    assert core.advance(0, day_s(400)) == 0
    assert core.advance(1, day_s(20)) == 20
    assert core.snapshot().labels == 0
    core.advance(1, day_s(31))
    assert core.snapshot().labels == 1


def test_late_purchase_still_answers_its_label() -> None:
    """A purchase that arrives after its day was done turns a row that has not matured into a return."""
    core = TrainerCore(ONE)
    core.add_block(0, block_of([(1, 0, True)]))
    core.advance(0, day_s(25))
    core.add_block(0, block_of([(1, 20, True)]))
    core.advance(0, day_s(31))
    assert core.snapshot().labels_came_back == 1
    assert core.report().late_rows == 1


def test_restart_goes_on_to_the_same_bytes() -> None:
    """Dumped and restored in the middle, the trainer ends with the same state, queues included."""
    whole, halves = TrainerCore(ONE), TrainerCore(ONE)
    for number, (end_s, rows) in enumerate(DAYS):
        for core in (whole, halves):
            core.add_block(0, rows)
        if number % 40 == 20:
            halves = load_trainer(dump_trainer(halves))
        for core in (whole, halves):
            core.advance(0, end_s)
    assert dump_trainer(halves) == dump_trainer(whole)
    assert outcome(halves) == outcome(whole)


def test_state_of_another_trainer_is_refused() -> None:
    """Garbage, and queues kept for another horizon or partition count, raise."""
    payload = dump_trainer(TrainerCore(ONE))
    with pytest.raises(StateError, match="horizon_days 90, now 60"):
        load_trainer(payload, TrainerSettings(partitions=1, horizon_days=60))
    with pytest.raises(StateError, match="partitions 1, now 2"):
        load_trainer(payload, TrainerSettings(partitions=2))
    with pytest.raises(StateError, match="trainer state"):
        load_trainer(payload[:-5])
    older = msgspec.msgpack.encode({"format": 4, "features_hash": "c6b10c6d10747e23"})
    with pytest.raises(StateError, match="of another release, format 4 and features c6b10c6d10747e23"):
        load_trainer(older)


def test_same_rows_give_the_same_snapshot_bytes() -> None:
    """Learning is a function of the log: two runs publish the same JSON."""
    assert encode_snapshot(run(LOG, ONE).snapshot()) == encode_snapshot(run(LOG, ONE).snapshot())


def test_prior_fades_as_labels_mature() -> None:
    """The prior's share falls with the labels and ends at nothing."""
    fresh = TrainerCore(ONE).snapshot()
    assert (fresh.prior_share, fresh.prior is None) == (1.0, False)
    part = run(LOG, TrainerSettings(partitions=1, prior_labels=10_000)).snapshot()
    assert part.prior_share == 1.0 - part.labels / 10_000
    full = run(LOG, TrainerSettings(partitions=1, prior_labels=100)).snapshot()
    assert (full.prior_share, full.prior) == (0.0, None)


def shop(purchases: list[tuple[int, int, float]]) -> Purchases:
    """A log of (customer, day, amount)."""
    ordered = sorted(purchases, key=lambda row: row[1])
    return Purchases(
        np.array([c for c, _, _ in ordered]),
        np.array([day_s(d) for _, d, _ in ordered]),
        np.array([a for _, _, a in ordered]),
    )


@pytest.mark.parametrize(
    "log",
    [
        shop([(0, 0, 10.0), (0, 200, 10.0)]),
        shop([(c, 0, 10.0) for c in range(60)] + [(99, 200, 10.0)]),
        shop([(c, d, 1e12) for c in range(60) for d in range(0, 201, 7)]),
        shop([(c, c % 5, -3.0) for c in range(60)] + [(c, 700, 0.0) for c in range(60)]),
    ],
    ids=["single customer", "no repeat buyer", "constant rhythm", "years of silence"],
)
def test_odd_shops_have_scores(log: Purchases) -> None:
    """However little or odd the log, the model stays finite and every score a probability."""
    core = run(log, TrainerSettings(partitions=1, learning_rate=0.01, prior_labels=50))
    scorer = Scorer(core.snapshot())
    for _, rows in training_blocks(log):
        risk = scorer.score_rows(rows.features)
        for one in (risk.blended, risk.hazard, risk.mbg):
            assert ((one > 0.0) & (one < 1.0)).all()


def test_fit_that_fails_keeps_the_last_parameters() -> None:
    """Without repeat buyers MBG/NBD stays where it was, and the report says so."""
    core = run(shop([(c, 0, 10.0) for c in range(60)] + [(99, 200, 10.0)]), ONE)
    assert core.mbg == TrainerCore(ONE).mbg
    assert core.report().mbg_failed > 0
    assert core.report().mbg_fitted == 0


def test_mbg_is_fitted_monthly() -> None:
    """Once in thirty days of stream time, from the first day with rows on; the start is the last fit."""
    core, fitted = TrainerCore(ONE), []
    for end_s, rows in DAYS:
        before = core.mbg
        core.add_block(0, rows)
        core.advance(0, end_s)
        if core.mbg != before:
            fitted.append(end_s // DAY_S)
    assert len(fitted) == core.report().mbg_fitted >= 6
    assert {later - earlier for earlier, later in pairwise(fitted)} == {30}


def test_empty_input_is_harmless() -> None:
    """Without a row there is nothing to do, and the snapshot is the prior's."""
    core = TrainerCore(ONE)
    core.add_block(0, TrainingBlock.empty())
    assert core.advance(0, day_s(1_000)) == 0
    assert core.snapshot().labels == 0
    assert core.report().quality["all"].auc is None


def test_unknown_partition_is_refused() -> None:
    """A partition outside the configured ones is a wiring mistake, said at once."""
    with pytest.raises(EngineError, match="training partition 1, expected 0"):
        TrainerCore(ONE).advance(1, day_s(1))


def test_continued_occasion_opens_no_row() -> None:
    """A second purchase within the day neither trains nor answers a label."""
    core = TrainerCore(ONE)
    block = block_of([(1, 0, True), (1, 1, False)])
    continued = dataclasses.replace(block, is_purchase=np.array([True, True]))
    core.add_block(0, continued)
    core.advance(0, day_s(32))
    assert core.snapshot().labels_gone == 1
    assert core.snapshot().labels_came_back == 0
