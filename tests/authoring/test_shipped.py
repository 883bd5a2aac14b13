"""The fixtures that ship pass."""

from __future__ import annotations

from pathlib import Path

from engine.authoring.fixtures_run import run_fixtures
from engine.settings import Settings
from engine.streams.bench import bench_of

FOLDER = Path(__file__).parents[2] / "deploy" / "journeys"


def test_the_shipped_fixtures_pass() -> None:
    """Every case beside a shipped journey comes out as it says."""
    report = run_fixtures([FOLDER], bench_of(Settings()))
    assert report.passed, [line for each in report.results if not each.passed for line in each.lines]
    assert report.results
