"""A slower engine is told from a slower machine."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest import keep, regress


def _run(rate: float, p50: float, p99: float, cpu_us: float, fault: str = "") -> dict[str, Any]:
    latencies = {"percentiles_ms": {"50": p50, "99": p99}, "curve_ms": [[50.0, p50]]}
    return {"rate": rate, "latencies": latencies, "cpu_us_per_event": cpu_us, "fault": fault, "samples": []}


def _parts(machine_speed: float = 1.0, engine_speed: float = 1.0) -> dict[str, Any]:
    """Return a run on a machine, with an engine, so many times as fast."""
    ours, all_ = machine_speed * engine_speed, machine_speed
    pair = {
        "relay": _run(5_000.0 * ours, 6.0 / all_, 12.0 / all_, 8.0 / all_),
        "engine": _run(5_000.0 * ours, 9.0 / ours, 24.0 / ours, 50.0 / ours),
    }
    loadtest = {
        "machine": {"taken_at": "2026-11-23T05:00:00+00:00", "processor": "Some CPU", "cores": 2},
        "sustained_per_s": 10_000.0 * ours,
        "backlog_per_s": 15_000.0 * ours,
        "latency": [pair],
        "search_runs": [1, 2],
    }
    peer = {"subject": "bytewax", "job": "count", "engine_times": 0.5 * engine_speed, "fault": ""}
    curve = {"pipeline_us": {"128": {"1": 20.0 / ours, "1000": 24.0 / ours}}}
    return {"loadtest": loadtest, "peers": {"peers": {"medians": [peer]}}, "curve": curve}


def _regressed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [each.name for each in regress.compare(before, now) if each.regressed]


@pytest.mark.parametrize("speed", [0.4, 1.0, 3.0])
def test_a_slower_machine_is_no_regression(speed: float) -> None:
    """Every time may change with the machine's speed; the ratios do not."""
    verdicts = regress.compare(_parts(), _parts(machine_speed=speed))
    assert len(verdicts) == 7
    assert all(abs(each.worse) < 1e-9 for each in verdicts)


def test_a_slower_engine_is_a_regression() -> None:
    """An engine that takes half as long again is found by its rate, its processor time and its latency."""
    found = _regressed(_parts(), _parts(machine_speed=1.3, engine_speed=0.67))
    assert found == [
        "p50 at half of the sustained rate, times the relay's",
        "p99 at half of the sustained rate, times the relay's",
        "processor time an event at half of the sustained rate, times the relay's",
        "sustained rate, in processor time of the relay",
        "rate on a backlog, in processor time of the relay",
        "rate on a backlog, times bytewax count",
    ]
    assert _regressed(_parts(engine_speed=0.67), _parts()) == []


def test_scatter_is_no_regression() -> None:
    """A tenth either way is what repeated runs differ by."""
    assert _regressed(_parts(), _parts(engine_speed=0.92)) == []


def test_failed_runs_are_not_compared() -> None:
    """What must not be reported is not compared either."""
    now = _parts()
    now["loadtest"]["latency"][0]["engine"]["fault"] = "the generator fell behind"
    names = [each.name for each in regress.compare(_parts(), now)]
    assert names == ["rate on a backlog, times bytewax count", "1,000 rules, batch 128, times one rule"]


def test_more_rules_cost_more() -> None:
    """Rules that cost more of an event than before are found on any machine."""
    now = copy.deepcopy(_parts())
    now["curve"]["pipeline_us"]["128"]["1000"] = 31.0
    assert _regressed(_parts(), now) == ["1,000 rules, batch 128, times one rule"]


def _main(monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    monkeypatch.setattr(sys, "argv", ["regress", *given])
    return regress.main()


def test_keep_then_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept file holds every ratio and none of the bulk, and is what the next run is held against."""
    monkeypatch.setattr(keep, "RESULTS", tmp_path / "results")
    out = tmp_path / "out"
    out.mkdir()
    for part, result in _parts().items():
        (out / f"{part}.json").write_text(json.dumps(result), "utf-8")
    monkeypatch.setattr(sys, "argv", ["keep", "--out", str(out)])
    assert keep.main() == 0
    kept = tmp_path / "results" / "2026-11-23-some-cpu-2-cores.json"
    text = kept.read_text("utf-8")
    assert "curve_ms" not in text
    assert regress.figures(keep.read(kept)) == regress.figures(_parts())
    assert keep.latest(kept.parent) == kept
    assert _main(monkeypatch, str(out), "--against", str(kept)) == 0
    (out / "loadtest.json").write_text(json.dumps(_parts(engine_speed=0.5)["loadtest"]), "utf-8")
    assert _main(monkeypatch, str(out), "--against", str(kept)) == 1


def test_nothing_to_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without results is told apart from a regression."""
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(_parts()), "utf-8")
    assert _main(monkeypatch, str(tmp_path), "--against", str(kept)) == 2
