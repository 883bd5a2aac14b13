"""What did not hold under stress is called so."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.config import load_settings
from engine.streams.wiring import build_pipeline
from loadtest import stress
from loadtest.bench import Run
from loadtest.generator import Sent
from loadtest.reader import Latencies
from loadtest.stress import Overload, judge_overload, judge_steady
from loadtest.workload import Workload, templates

_BORNE = Overload(sent=90_000, done=90_000, backlog=60_000, told=50_000.0, grown_mib=120.0, caught_up_s=9.0)


def test_a_borne_overload() -> None:
    """All done, lag told, memory bounded, caught up in time."""
    assert judge_overload(_BORNE, 10_000.0).held


@pytest.mark.parametrize(
    "wrong",
    [{"done": 89_999}, {"told": 20_000.0}, {"grown_mib": 1_500.0}, {"caught_up_s": 60.0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_each_failing_is_seen(wrong: dict[str, Any]) -> None:
    """A lost event, lag not told, memory without bound, or catching up for too long does not hold."""
    assert not judge_overload(dataclasses.replace(_BORNE, **wrong), 10_000.0).held


def _run(p99_ms: float, fault: str = "") -> Run:
    latencies = Latencies(100, 0, 100, {"50": 9.0, "99": p99_ms}, [], [])
    return Run("engine", 5_000.0, 30.0, Sent(150_000, 4_500, 0, 1.0, 0.0), latencies, fault=fault)


def test_others_may_wait_only_so_long() -> None:
    """The steady events' p99 may be some times the quiet one; a run with a fault never holds."""
    assert judge_steady("hot", _run(200.0), 40.0).held
    assert not judge_steady("hot", _run(400.0), 40.0).held
    assert not judge_steady("hot", _run(40.0, "3 of 90 actions were not seen"), 40.0).held


def test_the_hot_customer_has_a_tenth() -> None:
    """One customer has the share of events that is asked, whoever else is drawn."""
    drawn = Counter(each.key for each in templates(Workload(hot_share=0.1)))
    (_, most), (_, next_most) = drawn.most_common(2)
    assert 0.095 < most / drawn.total() < 0.105
    assert next_most < most / 3


def test_the_timed_journey_is_sound(tmp_path: Path) -> None:
    """The journey whose waits all end at once is taken by the engine, and its events enter it."""
    (tmp_path / "timed.yaml").write_text(stress._timed_journey("09:00"), "utf-8")
    build_pipeline(load_settings({"rules.paths": str(tmp_path)}, environ={}))
    events = list(itertools.islice(stress._timed_events(10), 3))
    assert len({template.key for template, _, _ in events}) == 3


def test_without_a_rate_nothing_starts(tmp_path: Path) -> None:
    """The sustained rate comes from the last load test or from the command line."""
    with pytest.raises(SystemExit):
        stress.arguments(["--out", str(tmp_path)])
    (tmp_path / "loadtest.json").write_text('{"sustained_per_s": 9000}', "utf-8")
    assert stress.arguments(["--out", str(tmp_path)]).sustained == 9_000
