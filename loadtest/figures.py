"""Figures out of the worker's own metrics: what happened between two looks at /metrics."""

from __future__ import annotations

from collections.abc import Iterable

from engine.metrics import ACTION_LATENCY, BATCH_RECORDS, ENGINE_LATENCY, STAGE_LATENCY, STAGES
from engine.top.scrape import Samples, add_up, difference, percentiles_ms, read_samples


def read_all(pages: Iterable[str]) -> Samples:
    """Read the pages of several workers as if they were one: sums by series."""
    return add_up(read_samples(page) for page in pages)


def engine_figures(before: Samples, after: Samples) -> dict[str, object]:
    """Return the worker's own view of a run: time in the engine, time by stage, batch size.

    Args:
        before: its metrics at the start.
        after: its metrics at the end.

    Returns:
        Plain data for the report.
    """
    grown = difference(before, after)
    batches = grown.get((f"{BATCH_RECORDS.name}_count", ()), 0.0)
    records = grown.get((f"{BATCH_RECORDS.name}_sum", ()), 0.0)
    stages = {}
    for stage in STAGES:
        key = (("stage", stage),)
        spent_s = grown.get((f"{STAGE_LATENCY.name}_sum", key), 0.0)
        stages[stage] = {
            "us_per_event": round(spent_s * 1e6 / records, 3) if records else None,
            **percentiles_ms(grown, STAGE_LATENCY, stage=stage),
        }
    return {
        "action_ms": percentiles_ms(grown, ACTION_LATENCY),
        "event_ms": percentiles_ms(grown, ENGINE_LATENCY),
        "stages": stages,
        "batch_records_mean": round(records / batches, 1) if batches else None,
    }
