"""What `engage top` makes of two looks at workers."""

from __future__ import annotations

import pytest

from engine import metrics as table
from engine.metrics import Metrics
from engine.top.figures import Count, Look, Watch
from engine.top.scrape import Samples, read_samples


def page(
    events: int = 0,
    *,
    rules: int = 0,
    lag: int = 0,
    latency_ms: float = 5.0,
    dead: int = 0,
    rebalances: int = 0,
    retries: int = 0,
    held_s: float = 0.0,
) -> Samples:
    """Return a worker's metrics."""
    counted = Metrics()
    counted.add(table.EVENTS, events, "click")
    counted.add(table.ACTIONS, events / 10, "welcome", "email")
    counted.add(table.SUPPRESSED, events / 5, "consent")
    counted.observe_one(table.ENGINE_LATENCY, latency_ms / 1000, times=max(events, 1))
    counted.observe_one(table.STAGE_LATENCY, latency_ms / 1000, "rules", times=max(events, 1))
    counted.set(table.LAG, lag, "3")
    counted.set(table.DEADLINES_HELD, held_s)
    counted.set(table.LAG_AGE, lag / 100, "3")
    counted.set(table.PARTITIONS, 4)
    counted.set(table.EVENT_PARTITIONS, 8)
    counted.set(table.RULES_VERSION, rules)
    counted.add(table.DEAD_LETTERS, dead, "not_decodable")
    counted.add(table.REBALANCES, rebalances)
    counted.add(table.RETRIES, retries, "commit")
    return read_samples(counted.render().decode())


def test_rates_and_percentiles_are_of_the_time_between_two_looks() -> None:
    """What was counted before the first look is in the totals and in no rate."""
    watch = Watch(["a:1", "b:1"])
    first = watch.take([Look(10.0, page(1000)), Look(10.0, page(500))])
    assert first.events_per_s == 0
    assert first.p99_ms is None
    view = watch.take([Look(12.0, page(3000, latency_ms=9.0, lag=70)), Look(12.0, page(1500))])
    assert [worker.events_per_s for worker in view.workers] == [1000, 500]
    assert view.events_per_s == 1500
    assert view.journeys == (Count("welcome", 150, 450),)
    assert view.held_back == (Count("consent", 300, 900),)
    assert view.lag == 70
    assert view.worst == (("3", 70, 0.7),)
    assert view.p99_ms is not None
    assert 8 <= view.p99_ms <= 10
    assert [worker.partitions for worker in view.workers] == [4, 4]
    assert (view.partitions, view.all_partitions) == (8, 8)
    assert view.events_history == (1500,)
    assert {name: p50 for name, p50, _ in view.stages}["decode"] is None


def test_a_restart_gives_no_negative_rates() -> None:
    """A worker that began anew counts from nothing."""
    watch = Watch(["a:1"])
    watch.take([Look(0.0, page(5000))])
    view = watch.take([Look(1.0, page(40))])
    assert view.events_per_s == pytest.approx(40)


def test_what_happened_is_told_once() -> None:
    """Gone and back, not ready, rebalances, rules, dead letters: each is a notice of its worker."""
    watch = Watch(["a:1"])
    looks = [
        Look(0.0, page(10)),
        Look(1.0, page(20, rules=3, rebalances=1)),
        Look(2.0, page(30, rules=3, rebalances=1, dead=2), ("redis {x} does not answer",)),
        Look(3.0, None),
        Look(4.0, None),
        Look(5.0, page(30, rules=3, rebalances=1, dead=2)),
        Look(6.0, page(40, rules=3, rebalances=1, dead=2)),
    ]
    for look in looks:
        view = watch.take([look])
    assert [(at_s, text.removeprefix("a:1: ")) for at_s, text in view.notices] == [
        (5.0, "answers again"),
        (3.0, "does not answer"),
        (2.0, "2 dead letters: not_decodable"),
        (2.0, "not ready: redis {x} does not answer"),
        (1.0, "rules version 3 (was 0)"),
        (1.0, "1 rebalances, now 4 partitions"),
    ]
    assert view.workers[0].state == "ready"


def test_what_goes_on_stays_one_line() -> None:
    """An outage of minutes does not push out what came before it."""
    watch = Watch(["a:1", "b:1"])
    for number in range(30):
        pages = page(10, dead=number // 20, retries=number), page(10, rebalances=int(number > 5))
        view = watch.take([Look(float(number), each) for each in pages])
    assert [text for _, text in view.notices] == [
        "a:1: 29 tries of commit failed: a server does not answer",
        "a:1: 1 dead letters: not_decodable",
        "b:1: 1 rebalances, now 4 partitions",
    ]
    assert view.notices[0][0] == 29.0


def test_a_worker_that_does_not_answer_counts_nothing() -> None:
    """The others' figures stand beside it."""
    watch = Watch(["a:1", "b:1"])
    watch.take([Look(0.0, page(10)), Look(0.0, None)])
    view = watch.take([Look(1.0, page(30)), Look(1.0, None)])
    assert [worker.state for worker in view.workers] == ["ready", "does not answer"]
    assert (view.partitions, view.all_partitions) == (4, 8), "its partitions have nobody we know of"
    assert view.events_per_s == 20
